"""The memory that probe trials and measures take, seen before anything is trained or recorded."""

from collections.abc import Mapping

from degeneracy.analysis import Measure
from degeneracy.core.memory import check_memory
from degeneracy.measuring.behaving import OUTPUT_TRIALS
from degeneracy.measuring.probe import TRIALS_AT_ONCE, Probe
from degeneracy.tasks import Task

NUMBER = 8  # bytes: recordings are float64
OUTPUT = 4  # bytes: outputs stay float32
RUNS = 4  # states that are kept: driven and autonomous, of the networks trained and untrained


def _of_dynamics(
    task: Task, n_units: int, probe: Probe, measures: Mapping[str, Measure], n_members: int
) -> dict[str, int]:
    """The sums over dynamics trials, trained and untrained, and the trials whose states are held at once."""
    n_lags = max((measure.n_lags for measure in measures.values()), default=0)
    if not n_lags:
        return {}
    n_at_once = min(TRIALS_AT_ONCE, probe.n_dynamics_trials)
    size = n_units + task.input_size + 1
    sums = 4 * n_members * (n_lags + 1) ** 2 * size**2
    return {
        f"n_lags = {n_lags} of {n_members} networks with hidden_size = {n_units}": NUMBER * sums,
        f"states of {n_at_once} of probe.n_dynamics_trials with n_steps = {task.n_steps}": (
            (OUTPUT * n_members + NUMBER) * n_at_once * task.n_steps * size
        ),
    }


def check_measuring_memory(
    task: Task, n_units: int, probe: Probe, measures: Mapping[str, Measure], n_members: int
) -> None:
    """Refuse probe trials and options of measures that no process could hold.

    Args:
        task: draws the probe trials.
        n_units: of each network, that are recorded.
        probe: how many trials.
        measures: by name.
        n_members: that are recorded.

    Raises:
        UserError: says how much memory they would take, and which field is to blame.
    """
    n_steps, n_trials = task.n_steps, probe.n_trials
    states = n_members * n_trials * n_steps * n_units
    drawn = probe.behavior_trials * n_steps * (task.input_size + task.output_size)  # inputs and targets
    outputs = min(probe.behavior_trials, OUTPUT_TRIALS) * n_steps * n_members * task.output_size
    errors = probe.behavior_trials * n_members
    variants = 1 + len(task.variants())
    parts = {
        f"states of {n_members} networks in probe.n_trials = {n_trials} trials with n_steps = {n_steps} and"
        f" hidden_size = {n_units}": RUNS * NUMBER * states,
        f"probe.n_behavior_trials = {probe.behavior_trials} trials of each variant with n_steps = {n_steps}": (
            variants * (OUTPUT * (drawn + outputs) + NUMBER * errors)
        ),
    }
    check_memory(parts | _of_dynamics(task, n_units, probe, measures, n_members), "recording")
    for name, measure in measures.items():
        needed = measure.memory(n_units=n_units, n_steps=n_steps, n_trials=n_trials)
        check_memory(needed, f"measure '{name}'")
