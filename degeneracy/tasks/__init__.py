"""The task library: tasks in the style of neuroscience. Knows no network.

`TASKS` is the table of what is here; adding one is a file and a line.
"""

from degeneracy.tasks.delayed_cue import DelayedCue
from degeneracy.tasks.delayed_discrimination import DelayedDiscrimination
from degeneracy.tasks.environments import from_environment
from degeneracy.tasks.flip_flop import FlipFlop
from degeneracy.tasks.lorenz96 import Lorenz96, closed_loop, valid_prediction_time
from degeneracy.tasks.losses import (
    BCE,
    CROSS_ENTROPY,
    LOSSES,
    MSE,
    Loss,
    task_loss,
    task_slope,
    trial_errors,
    wrong_decisions,
)
from degeneracy.tasks.path_integration import PathIntegration
from degeneracy.tasks.perceptual_decision import PerceptualDecision
from degeneracy.tasks.sine_wave import SineWave
from degeneracy.tasks.streaming_parity import StreamingParity
from degeneracy.tasks.task import ClosedLoop, Task, Variant
from degeneracy.tasks.trials import Trials

TASKS: dict[str, type[Task]] = {
    FlipFlop.name: FlipFlop,
    DelayedDiscrimination.name: DelayedDiscrimination,
    SineWave.name: SineWave,
    PathIntegration.name: PathIntegration,
    Lorenz96.name: Lorenz96,
    DelayedCue.name: DelayedCue,
    PerceptualDecision.name: PerceptualDecision,
    StreamingParity.name: StreamingParity,
}

__all__ = [
    "BCE",
    "CROSS_ENTROPY",
    "LOSSES",
    "MSE",
    "TASKS",
    "ClosedLoop",
    "DelayedCue",
    "DelayedDiscrimination",
    "FlipFlop",
    "Lorenz96",
    "Loss",
    "PathIntegration",
    "PerceptualDecision",
    "SineWave",
    "StreamingParity",
    "Task",
    "Trials",
    "Variant",
    "closed_loop",
    "from_environment",
    "task_loss",
    "task_slope",
    "trial_errors",
    "valid_prediction_time",
    "wrong_decisions",
]


def __dir__() -> list[str]:
    """The public names, without the files that they are in."""
    return sorted(__all__)
