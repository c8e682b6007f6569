"""The probe: on which trials, and with which pushes and lesions, networks are measured."""

from collections.abc import Mapping
from typing import Any

import pydantic

from degeneracy.analysis import Measure
from degeneracy.analysis.recording import MEAN_INPUT
from degeneracy.core.specs import Spec
from degeneracy.tasks import Task

OF_BEHAVIOR = ("behavior", "prediction_times")  # what is recorded on the behavior trials
OF_DYNAMICS = "lag_grams"  # what is recorded on the dynamics trials
TRIALS_AT_ONCE = 128  # dynamics trials whose states are held


class Probe(Spec):
    """The probe trials and the network probes."""

    n_trials: int = pydantic.Field(64, ge=4, description="trials, common to all members")
    n_behavior_trials: int = pydantic.Field(
        0,
        ge=0,
        description="trials per variant for errors and closed loops; 0 for n_trials. Outputs of 256 at most are kept",
    )
    n_dynamics_trials: int = pydantic.Field(
        2048, ge=4, description="trials for linear models of dynamics, in two halves; their states are not kept"
    )
    seed: int = pydantic.Field(0, ge=0, description="of the trials, kicks and lesions")
    kick: float = pydantic.Field(0.5, gt=0, description="state_kick: size, as a share of the state's rms norm")
    lesion: float = pydantic.Field(0.1, gt=0, lt=1, description="lesion: share of units silenced")

    @pydantic.field_validator("n_behavior_trials")
    @classmethod
    def _halves_of_two(cls, value: int) -> int:
        if 0 < value < 4:
            raise ValueError("4 or more are needed, or 0 for n_trials")
        return value

    @property
    def behavior_trials(self) -> int:
        """How many trials per variant of the task."""
        return self.n_behavior_trials or self.n_trials

    def seen_by(self, needs: tuple[str, ...]) -> dict[str, Any]:
        """What of this a measure with these needs can tell, as plain data."""
        seen = self.model_dump(mode="json")
        if not self.n_behavior_trials or (needs and not set(needs) & set(OF_BEHAVIOR)):
            del seen["n_behavior_trials"]
        if OF_DYNAMICS not in needs and needs:
            del seen["n_dynamics_trials"]
        return seen


def held_input_names(task: Task) -> tuple[str, ...]:
    """The constant inputs that networks can be searched under: the task's, and the mean where there can be none."""
    return (*task.held_inputs(), *(() if task.rest_input() is None else (MEAN_INPUT,)))


def probe_descriptions(task: Task, probe: Probe) -> dict[str, str]:
    """What each row of behavior was measured on, by variant."""
    return {
        "in_distribution": "fresh trials of the training distribution",
        **{name: variant.description for name, variant in task.variants().items()},
        "state_kick": f"all states pushed once, in mid-trial, in a random direction by {probe.kick:g} of their rms "
        "norm; the trained rule, scored from there on",
        "lesion": f"{probe.lesion:.0%} of the units held at 0, others in every trial; the trained rule",
    }


def check_measures(measures: Mapping[str, Measure], task: Task, n_units: int, probe: Probe) -> None:
    """Refuse options of measures that recordings of networks of so many units on a task cannot serve.

    Raises:
        UserError: such an option.
    """
    for measure in measures.values():
        measure.check(
            n_units=n_units,
            n_steps=task.n_steps,
            n_trials=probe.n_trials,
            held_inputs=held_input_names(task),
        )
