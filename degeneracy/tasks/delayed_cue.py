"""Delayed cue discrimination: name, a fixed delay after it, which of two cues was given."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import pydantic
import torch
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.tasks.task import Task, Variant
from degeneracy.tasks.trials import Trials

POST_REACTION_STEPS = 6  # after the reaction, unless `n_steps` says otherwise


class DelayedCue(Task):
    """Delayed cue discrimination.

    A trial is cue | delay | reaction | post-reaction. One of two cues, equally likely, is 1 on a channel of its own
    while it is shown; nothing tells when to react, so that the delay has to be timed. The target in the reaction is 1
    on the channel of the cue that was given; it is 0 on the other channel and at all other times.

    The steps are the 5 ms of the source, whose units have tau = 10 ms (`leaky_tanh` with dt_ms = 5 and tau_ms = 10):
    cues of 30 ms, delays of 0 to 400 ms, reactions of 50 ms, and 30 ms after them. Networks hold the cue by slow points
    or on limit cycles. What follows a trial tells them apart: on a cycle, a network reacts again.
    """

    name: ClassVar[str] = "delayed_cue"
    summary: ClassVar[str] = "say, a fixed delay later, which of two cues was given"
    citation: ClassVar[str] = "Kurtkaya, Dinc et al. (2025), ICML, arXiv 2502.17433"
    difficulty_fields: ClassVar[tuple[str, ...]] = ("delay_steps",)
    training_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-3,
        "batch_size": 16,
        "steps_per_epoch": 50,
        "max_epochs": 400,
    }

    n_steps: int = pydantic.Field(
        42, ge=2, description=f"time steps per trial; where it is not set, {POST_REACTION_STEPS} after the reaction"
    )
    cue_steps: int = pydantic.Field(6, ge=1, description="steps that the cue is shown")
    delay_steps: int = pydantic.Field(20, ge=0, description="steps between cue and reaction")
    reaction_steps: int = pydantic.Field(10, ge=1, description="steps of the reaction")
    threshold: float = pydantic.Field(0.005, gt=0, description="training stops under this mean squared error")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _ends_after_the_reaction(cls, fields: Any) -> Any:
        """The trial's length where it is not set."""
        if not isinstance(fields, Mapping) or "n_steps" in fields:
            return fields
        names = ("cue_steps", "delay_steps", "reaction_steps")
        steps = [fields.get(name, cls.model_fields[name].default) for name in names]
        return {**fields, "n_steps": sum(steps) + POST_REACTION_STEPS} if all(type(s) is int for s in steps) else fields

    @pydantic.model_validator(mode="after")
    def _periods_fit(self) -> Self:
        if self.n_steps < self._reaction.stop:
            raise ValueError(f"n_steps = {self.n_steps} must be {self._reaction.stop} or more: cue, delay and reaction")
        return self

    @property
    def _reaction(self) -> slice:
        """The steps of the reaction."""
        start = self.cue_steps + self.delay_steps
        return slice(start, start + self.reaction_steps)

    @property
    def input_size(self) -> int:
        """One channel per cue."""
        return 2

    @property
    def output_size(self) -> int:
        """One channel per cue."""
        return 2

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        return ("cue 1", "cue 2")

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel."""
        return ("cue 1 was given", "cue 2 was given")

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials: which cue is given is drawn once per trial."""
        cue = torch.nn.functional.one_hot(streams.integers((n_trials, 1), 0, 2), 2).float()
        step = torch.arange(self.n_steps, device=streams.device).unsqueeze(-1)
        inputs = cue * (step < self.cue_steps)
        return Trials.of(inputs, self.solve(inputs))

    def solve(self, inputs: Tensor) -> Tensor:
        """React, when it is time, with the cue whose channel was higher on average until then."""
        first = (inputs.cumsum(2).diff(dim=-1) <= 0).float()
        step = torch.arange(inputs.shape[2], device=inputs.device).unsqueeze(-1)
        reacts = (step >= self._reaction.start) & (step < self._reaction.stop)
        return torch.cat([first, 1 - first], -1) * reacts

    def chance_loss(self) -> float:
        """The target's variance: it is 1 for half of the trials in the reaction's share of the steps."""
        mean = self.reaction_steps / self.n_steps / 2
        return mean * (1 - mean)

    def pulses(self) -> Sequence[Sequence[float]]:
        """Either cue."""
        return [(1.0, 0.0), (0.0, 1.0)]

    @property
    def pulse_steps(self) -> int:
        """As long as a cue is shown."""
        return self.cue_steps

    def variants(self) -> Mapping[str, Variant]:
        """Two and five times as long with nothing to do after the reaction, noisy inputs, and weaker cues."""
        return {
            **self.longer_trials(2, 5, said=", without input after the cue; the same rule: one reaction"),
            "input_noise": self.noisy_inputs(0.2),
            "amplitude": self.scaled_inputs(0.5),
        }
