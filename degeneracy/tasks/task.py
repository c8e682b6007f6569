"""What a task is: it draws trials, says how well an ideal solver does, and how to leave its distribution.

A task knows no network. Its own task is one subclass of `Task` in the user's own file.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pydantic
import torch
from torch import Tensor

from degeneracy.core.specs import Spec
from degeneracy.core.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Trials:
    """A batch of trials of several members, all of one length, aligned on their first step.

    `loss_weights` says how much each step counts in the training loss (0 at steps that are no part of the trial:
    those where `valid` is false), `scored` the steps on which behavior is judged.
    """

    inputs: Tensor  # (member, trial, time, in)
    targets: Tensor  # (member, trial, time, out)
    loss_weights: Tensor  # (member, trial, time), >= 0
    valid: Tensor  # (member, trial, time), bool
    scored: Tensor  # (member, trial, time), bool

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor, *, scored: Tensor | None = None) -> "Trials":
        """Trials whose every step is valid and counts once; all steps are scored unless `scored` is given."""
        everywhere = torch.ones(inputs.shape[:3], dtype=torch.bool, device=inputs.device)
        return cls(
            inputs=inputs,
            targets=targets,
            loss_weights=everywhere.to(inputs.dtype),
            valid=everywhere,
            scored=everywhere if scored is None else scored,
        )

    @property
    def n_trials(self) -> int:
        """Trials a member."""
        return self.inputs.shape[1]

    def replace(self, **changes: Tensor) -> "Trials":
        """The same trials with some fields changed."""
        return replace(self, **changes)


def mean_squared_error(outputs: Tensor, trials: Trials) -> Tensor:
    """The training loss of each member: squared error averaged over trials, steps (by `loss_weights`) and outputs.

    Args:
        outputs: (member, trial, time, out).
        trials: the trials answered.

    Returns:
        (member,), >= 0; 0 means every weighted step is exact.
    """
    squared = (outputs - trials.targets).square().mean(-1)
    return (squared * trials.loss_weights).sum((1, 2)) / trials.loss_weights.sum((1, 2))


def trial_errors(outputs: Tensor, trials: Trials) -> Tensor:
    """Mean squared error on the scored steps of each trial, shape (member, trial)."""
    squared = (outputs - trials.targets).square().mean(-1)
    return (squared * trials.scored).sum(2) / trials.scored.sum(2)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Trials out of the training distribution: what was changed by how much, and which target rule holds."""

    description: str
    sample: Callable[[Streams, int], Trials]


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """Trials on which a predictor runs free: true inputs for `warm_up` steps, its own outputs as inputs from then on.

    `judge(predicted, true)` gives how long each prediction stays near the truth, (member, trial) in the task's
    `step_unit`, from the free-running part of the outputs and of the targets, (member, trial, time, out) each.
    """

    sample: Callable[[Streams, int], Trials]
    warm_up: int
    judge: Callable[[Tensor, Tensor], Tensor]


class Task(Spec):
    """Base of all tasks. Fields are the task's parameters; the class variables describe it.

    `complexity` names the fields that make it harder, `recipe` holds the training defaults (fields of
    `Training`) that a study takes where it sets none itself.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    citation: ClassVar[str]
    complexity: ClassVar[tuple[str, ...]]
    recipe: ClassVar[Mapping[str, Any]]
    step_unit: ClassVar[str] = "steps"

    n_steps: int = pydantic.Field(ge=2, description="time steps a trial")
    threshold: float = pydantic.Field(gt=0, description="training stops under this mean squared error")

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Number of input channels."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Number of output channels."""

    @property
    def step_size(self) -> float:
        """Length of one time step in `step_unit`."""
        return 1.0

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        return tuple(f"input {k + 1}" for k in range(self.input_size))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel."""
        return tuple(f"output {k + 1}" for k in range(self.output_size))

    @abstractmethod
    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials of every member of `streams`, made on the streams' device."""

    @abstractmethod
    def solve(self, inputs: Tensor) -> Tensor:
        """The ideal solver: outputs (member, trial, time, out) from inputs alone, causal in time."""

    @abstractmethod
    def chance_loss(self) -> float:
        """Mean squared error of the best constant output (one number an output channel)."""

    def ideal_loss(self) -> float:
        """Mean squared error of the ideal solver; 0 unless the task itself leaves something unknowable."""
        return 0.0

    @abstractmethod
    def variants(self) -> Mapping[str, Variant]:
        """The out-of-distribution variants, by name."""

    def closed_loop(self) -> ClosedLoop | None:
        """How to run free on one's own outputs; None for a task whose outputs are not its next inputs."""
        return None

    def noisy_inputs(self, sd: float) -> Variant:
        """Gaussian noise on every input at every step; targets are those of the clean inputs."""

        def sample(streams: Streams, n_trials: int) -> Trials:
            trials = self.sample(streams, n_trials)
            noise = sd * streams.normal(trials.inputs.shape[1:])
            return trials.replace(inputs=trials.inputs + noise)

        return Variant(
            description=f"Gaussian noise of sd {sd:g} on every input at every step; targets of the clean inputs",
            sample=sample,
        )

    def scaled_inputs(self, factor: float) -> Variant:
        """All inputs times a factor; targets are those of the unscaled inputs."""

        def sample(streams: Streams, n_trials: int) -> Trials:
            trials = self.sample(streams, n_trials)
            return trials.replace(inputs=factor * trials.inputs)

        return Variant(
            description=f"inputs times {factor:g}; targets of the unscaled inputs",
            sample=sample,
        )
