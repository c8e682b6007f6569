"""Delayed discrimination: compare two stimuli that are a variable delay apart."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import pydantic
import torch
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.tasks.task import Task, Variant
from degeneracy.tasks.trials import Trials


class DelayedDiscrimination(Task):
    """Delayed discrimination.

    A trial is fixation | first stimulus f1 | delay d | second stimulus f2 | response, which lasts to the end. The
    delay is drawn once a trial, uniform over the integers from `delay_min` to `delay_max`. Every channel has its
    own f1 and f2, two different integers, all such pairs equally likely; its input is the stimulus while it is
    shown (times `input_scale`) and 0 otherwise. There is no fixation cue: that the second stimulus has ended tells
    when to respond. The target in the response is sign(f2 - f1): +1 where the second stimulus is the larger one,
    else -1; before, it is 0. With `auxiliary`, further outputs report (f2 - f1)/(stimulus_max - stimulus_min) in
    the response: within [-1, 1], so that both kinds of output weigh alike.
    """

    name: ClassVar[str] = "delayed_discrimination"
    summary: ClassVar[str] = "say which of two stimuli, a delay apart, was the larger"
    citation: ClassVar[str] = "Romo et al. (1999), Nature 399:470; parameters of Huang et al. (2025), arXiv 2410.03972"
    difficulty_fields: ClassVar[tuple[str, ...]] = ("channels", "delay_max", "auxiliary")
    training_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-3,
        "schedule": "cosine_warm_restarts",
        "batch_size": 256,
        "max_epochs": 500,
    }

    channels: int = pydantic.Field(1, ge=1, le=64, description="number of pairs compared at once")
    n_steps: int = pydantic.Field(60, ge=2, description="time steps per trial")
    fixation_steps: int = pydantic.Field(5, ge=1, description="steps before the first stimulus")
    stimulus_steps: int = pydantic.Field(5, ge=1, description="steps that each stimulus is shown")
    delay_min: int = pydantic.Field(5, ge=1, description="shortest delay between the stimuli, steps")
    delay_max: int = pydantic.Field(20, ge=1, description="longest delay between the stimuli, steps")
    stimulus_min: int = pydantic.Field(2, ge=1, description="smallest stimulus")
    stimulus_max: int = pydantic.Field(10, ge=2, description="largest stimulus")
    input_scale: float = pydantic.Field(1.0, gt=0, description="input per unit of stimulus; 1 feeds it raw")
    auxiliary: bool = pydantic.Field(False, description="also report the difference of the stimuli")
    threshold: float = pydantic.Field(0.01, gt=0, description="training stops under this mean squared error")

    @pydantic.model_validator(mode="after")
    def _periods_fit(self) -> Self:
        if self.delay_min > self.delay_max:
            raise ValueError(f"delay_min = {self.delay_min} exceeds delay_max = {self.delay_max}")
        if self.stimulus_min >= self.stimulus_max:
            raise ValueError(
                f"stimulus_min = {self.stimulus_min} must be under stimulus_max = {self.stimulus_max}: "
                "the two stimuli differ"
            )
        if self.n_steps <= self._longest_wait:
            raise ValueError(
                f"n_steps = {self.n_steps} leaves no response: fixation {self.fixation_steps} + stimulus "
                f"{self.stimulus_steps} + delay up to {self.delay_max} + stimulus {self.stimulus_steps} take "
                f"{self._longest_wait} steps, so n_steps must be at least {self._longest_wait + 1}"
            )
        return self

    @property
    def _longest_wait(self) -> int:
        """Steps before the response of the trial with the longest delay."""
        return self.fixation_steps + 2 * self.stimulus_steps + self.delay_max

    @property
    def input_size(self) -> int:
        """One stimulus per channel."""
        return self.channels

    @property
    def output_size(self) -> int:
        """One decision per channel, and one difference per channel with `auxiliary`."""
        return 2 * self.channels if self.auxiliary else self.channels

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        return tuple(f"stimulus {k + 1}" for k in range(self.channels))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel: all decisions, then all differences."""
        kinds = ("decision", "difference") if self.auxiliary else ("decision",)
        return tuple(f"{kind} {k + 1}" for kind in kinds for k in range(self.channels))

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials: stimuli (member, trial, time, channel), the decisions, and the response as scored steps."""
        delay = streams.integers((n_trials, 1), self.delay_min, self.delay_max + 1)
        n_values = self.stimulus_max - self.stimulus_min + 1
        # One number per pair: n (n - 1) ordered pairs of different values, the second counted on from the first.
        pair = streams.integers((n_trials, 1, self.channels), 0, n_values * (n_values - 1))
        first = pair // (n_values - 1)
        second = (first + 1 + pair % (n_values - 1)) % n_values
        f1, f2 = (self.stimulus_min + value.float() for value in (first, second))

        step = torch.arange(self.n_steps, device=streams.device)
        begin_f1 = self.fixation_steps
        begin_f2 = begin_f1 + self.stimulus_steps + delay
        response = step >= begin_f2 + self.stimulus_steps
        show_f1 = (step >= begin_f1) & (step < begin_f1 + self.stimulus_steps)
        show_f2 = (step >= begin_f2) & ~response
        inputs = self.input_scale * (f1 * show_f1.unsqueeze(-1) + f2 * show_f2.unsqueeze(-1))
        return Trials.of(inputs, self._answer(f2 - f1) * response.unsqueeze(-1), scored=response)

    def solve(self, inputs: Tensor) -> Tensor:
        """Average each stimulus while it is shown, and answer once the second has ended.

        A stimulus counts as shown where the largest channel is over half the smallest stimulus.
        """
        value = inputs / self.input_scale
        shown = value.amax(-1) > self.stimulus_min / 2
        onset = shown & ~torch.nn.functional.pad(shown, (1, 0))[..., :-1]
        n_onsets = onset.cumsum(-1)
        means = []
        for which in (1, 2):
            during = (shown & (n_onsets == which)).unsqueeze(-1)
            means.append((value * during).cumsum(2) / during.cumsum(2).clamp(min=1))
        response = (~shown & (n_onsets >= 2)).unsqueeze(-1)
        return self._answer(means[1] - means[0]) * response

    def _answer(self, difference: Tensor) -> Tensor:
        """What to output in the response for f2 - f1 of each channel (last axis)."""
        if not self.auxiliary:
            return difference.sign()
        return torch.cat([difference.sign(), difference / (self.stimulus_max - self.stimulus_min)], -1)

    def chance_loss(self) -> float:
        """The target's variance, its mean being 0: the response's share of the trial times E[answer^2].

        E[answer^2] is 1 for a decision and, n values being possible, n (n + 1)/6 (n - 1)^-2 for a difference.
        """
        delay = (self.delay_min + self.delay_max) / 2
        share = 1 - (self.fixation_steps + 2 * self.stimulus_steps + delay) / self.n_steps
        if not self.auxiliary:
            return share
        n = self.stimulus_max - self.stimulus_min + 1
        return share * (1 + n * (n + 1) / 6 / (n - 1) ** 2) / 2

    def pulses(self) -> Sequence[Sequence[float]]:
        """The smallest and the largest stimulus on each channel alone."""
        stimuli = [self.input_scale * value for value in (self.stimulus_min, self.stimulus_max)]
        channels = range(self.channels)
        return [[value * (k == channel) for k in channels] for channel in channels for value in stimuli]

    @property
    def pulse_steps(self) -> int:
        """As long as a stimulus is shown."""
        return self.stimulus_steps

    def variants(self) -> Mapping[str, Variant]:
        """Delays over the trained ones, noisy inputs, and stimuli of one and a half times the strength."""
        # The trial is as long as in training if the longest delay leaves 5 steps to respond, else just long enough.
        longest = self._longest_wait + self.delay_max
        longer = self.replace(
            delay_min=self.delay_max + 1,
            delay_max=2 * self.delay_max,
            n_steps=max(self.n_steps, longest + 5),
        )
        return {
            "delay_2x": Variant(
                description=(
                    f"delays of {longer.delay_min} to {longer.delay_max} steps instead of {self.delay_min} to "
                    f"{self.delay_max}, in trials of {longer.n_steps} steps; the same rule"
                ),
                sample=longer.sample,
            ),
            "input_noise": self.noisy_inputs(0.2 * self.input_scale),
            "amplitude": self.scaled_inputs(1.5),
        }
