"""The task library: tasks in the style of neuroscience. Knows no network.

`TASKS` is the table of what is here; adding one is a file and a line.
"""

from degeneracy.tasks.flip_flop import FlipFlop
from degeneracy.tasks.task import Task, Trials, Variant, mean_squared_error, trial_errors

TASKS: dict[str, type[Task]] = {
    FlipFlop.name: FlipFlop,
}

__all__ = ["TASKS", "FlipFlop", "Task", "Trials", "Variant", "mean_squared_error", "trial_errors"]
