"""Perceptual decision: gather noisy evidence while fixating, and choose once fixation ends."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.tasks.losses import BCE, Loss
from degeneracy.tasks.task import Task, Variant
from degeneracy.tasks.trials import Trials

CERTAIN = 20.0  # the solver's logit of fixation: it costs e^-20 = 2e-9 nats
# Of the best share of wrong decisions, which only an ideal observer reaches, a trained network may make this many more.
TOLERANCE = 1.1


class PerceptualDecision(Task):
    """Perceptual decision between two choices.

    A trial is fixation | stimulus | response, which lasts to the end. The first input is the fixation cue: 1 until the
    stimulus has ended, 0 in the response. The other two are the evidence for left and right, shown during the stimulus
    and 0 otherwise: at every step (1 - c)/2 and (1 + c)/2 plus independent Gaussian noise of sd `noise`, c being the
    signed coherence of the trial. The size of c is one of `n_coherences` values, equally likely, each half of the next
    larger one, the largest being `coherence_max`; its sign is the side to choose, left and right equally likely. The
    stimulus lasts from `stimulus_min` to `stimulus_max` steps, equally likely, so that the cue alone tells when to
    respond.

    Both outputs are logits. The target of "fixate" is 1 until the response and 0 in it. That of "right" is 1 or 0 by
    the side to choose; it counts in the response alone, where it is also judged. In every trial both outputs weigh
    alike in the loss: the steps of the response share the weight of all steps. At times noise hides which side is
    right: `ideal_wrong` says how often the best observer errs, and training stops once a network errs less than 1.1
    times as often plus `threshold`.
    """

    name: ClassVar[str] = "perceptual_decision"
    summary: ClassVar[str] = "choose the side of noisy evidence once fixation ends"
    citation: ClassVar[str] = "Gold & Shadlen (2007), Annual Review of Neuroscience 30:535"
    difficulty_fields: ClassVar[tuple[str, ...]] = ("coherence_max", "n_coherences", "noise", "stimulus_max")
    training_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 3e-3,
        "batch_size": 256,
        "steps_per_epoch": 50,
        "max_epochs": 300,
    }
    loss: ClassVar[Loss] = BCE
    stop: ClassVar[Literal["loss", "wrong"]] = "wrong"

    n_steps: int = pydantic.Field(50, ge=2, description="time steps per trial")
    fixation_steps: int = pydantic.Field(5, ge=1, description="steps before the stimulus")
    stimulus_min: int = pydantic.Field(15, ge=1, description="shortest stimulus, steps")
    stimulus_max: int = pydantic.Field(35, ge=1, description="longest stimulus, steps")
    coherence_max: float = pydantic.Field(0.512, gt=0, description="largest difference of the evidence's means")
    n_coherences: int = pydantic.Field(4, ge=1, le=16, description="coherences, each half of the next larger one")
    noise: float = pydantic.Field(0.3, gt=0, description="sd of the evidence at every step")
    threshold: float = pydantic.Field(
        0.005, gt=0, description="training stops under 1.1 times the ideal share of wrong decisions plus this"
    )

    @pydantic.model_validator(mode="after")
    def _periods_fit(self) -> Self:
        if self.stimulus_min > self.stimulus_max:
            raise ValueError(f"stimulus_min = {self.stimulus_min} exceeds stimulus_max = {self.stimulus_max}")
        before = self.fixation_steps + self.stimulus_max
        if self.n_steps <= before:
            raise ValueError(
                f"n_steps = {self.n_steps} leaves no response: fixation {self.fixation_steps} + stimulus up to "
                f"{self.stimulus_max} take {before} steps, so n_steps must be at least {before + 1}"
            )
        return self

    @property
    def input_size(self) -> int:
        """The fixation cue, and the evidence for each side."""
        return 3

    @property
    def output_size(self) -> int:
        """Whether to fixate, and which side to choose."""
        return 2

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        return ("fixation cue", "evidence left", "evidence right")

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel."""
        return ("fixate", "right")

    @property
    def coherences(self) -> tuple[float, ...]:
        """The sizes of the coherence, from the largest on."""
        return tuple(self.coherence_max / 2**k for k in range(self.n_coherences))

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials: the cue and the evidence (member, trial, time, 3), and what to do."""
        return self._sample(streams, n_trials, strength=1.0)

    def _sample(self, streams: Streams, n_trials: int, *, strength: float) -> Trials:
        """Trials whose coherences are `strength` times those of the task."""
        shown = streams.integers((n_trials, 1), self.stimulus_min, self.stimulus_max + 1)
        # One number decides both the size of the coherence and its side.
        which = streams.integers((n_trials, 1), 0, 2 * self.n_coherences)
        right = (which % 2).float()
        coherence = strength * self.coherence_max * torch.exp2(-(which // 2).float()) * (2 * right - 1)
        step = torch.arange(self.n_steps, device=streams.device)
        response = step >= self.fixation_steps + shown  # (member, trial, time)
        stimulus = (step >= self.fixation_steps) & ~response
        means = torch.stack([1 - coherence, 1 + coherence], -1) / 2
        evidence = (means + self.noise * streams.normal((n_trials, self.n_steps, 2))) * stimulus.unsqueeze(-1)
        inputs = torch.cat([(~response).float().unsqueeze(-1), evidence], -1)
        targets = torch.stack([(~response).float(), right * response], -1)
        n_response = response.sum(-1, keepdim=True)
        weights = torch.stack([torch.ones_like(targets[..., 0]), response * (self.n_steps / n_response)], -1)
        scored = torch.stack([torch.zeros_like(response), response], -1)
        return Trials.of(inputs, targets, scored=scored).replace(loss_weights=weights)

    def solve(self, inputs: Tensor) -> Tensor:
        """The logarithm of the odds that right is the side, given all evidence so far; fixation by the cue.

        Of n steps of evidence, only the sum S of right minus left matters, which has mean n c and variance 2 n noise^2.
        The odds are those of S under the coherences c of either sign:

            log sum_c exp((S c - n c^2/2) / (2 noise^2)) - log sum_c exp((-S c - n c^2/2) / (2 noise^2)).
        """
        fixate = inputs[..., 0] > 0.5
        evidence = inputs[..., 1:]
        n_shown = (evidence != 0).any(-1).cumsum(2)
        log_odds = self._log_odds((evidence[..., 1] - evidence[..., 0]).cumsum(2), n_shown)
        return torch.stack([CERTAIN * (2 * fixate.to(inputs.dtype) - 1), log_odds], -1)

    def _log_odds(self, total: Tensor, n_shown: Tensor) -> Tensor:
        """Of right against left, for sums of right minus left over numbers of steps, of one shape."""
        c = torch.tensor(self.coherences, dtype=total.dtype, device=total.device)
        drift, loss = total.unsqueeze(-1) * c, n_shown.unsqueeze(-1) * c.square() / 2
        right, left = (torch.logsumexp((sign * drift - loss) / (2 * self.noise**2), -1) for sign in (1, -1))
        return right - left

    def chance_loss(self) -> float:
        """The mean of both outputs' costs: the entropy of the share of fixation, and ln 2."""
        share = (self.fixation_steps + (self.stimulus_min + self.stimulus_max) / 2) / self.n_steps
        return -(share * math.log(share) + (1 - share) * math.log(1 - share) - math.log(2)) / 2

    def ideal_loss(self) -> float:
        """Half the error of the choice: fixation is certain, and both outputs weigh alike."""
        return self.ideal_error() / 2

    def ideal_error(self) -> float:
        """The entropy that the evidence leaves of the side, in nats, averaged over durations and coherences.

        E[ln(1 + exp(-L))], L the log odds of the side that is right, by the trapezoid rule over 12 sd to either side of
        the mean of S: of a smooth function that falls to e^-72 there, it is exact to rounding.
        """
        z = np.linspace(-12.0, 12.0, 481)
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
        n, c = self._durations[:, None, None], np.array(self.coherences)[:, None]
        total = n * c + np.sqrt(2 * n) * self.noise * z  # (duration, coherence, z)
        log_odds = self._log_odds(torch.from_numpy(total), torch.from_numpy(np.broadcast_to(n, total.shape).copy()))
        return float((np.logaddexp(0, -log_odds.numpy()) * density).sum(-1).mean())

    def ideal_wrong(self) -> float:
        """How often noise outweighs the evidence: Phi(-c sqrt(n) / (sqrt(2) noise)), over durations and coherences."""
        chances = [math.erfc(c * math.sqrt(n) / (2 * self.noise)) / 2 for n in self._durations for c in self.coherences]
        return sum(chances) / len(chances)

    @property
    def _durations(self) -> NDArray[np.float64]:
        """All durations of the stimulus, steps."""
        return np.arange(self.stimulus_min, self.stimulus_max + 1, dtype=np.float64)

    def goal(self) -> float:
        """1.1 times the best share of wrong decisions, plus the threshold."""
        return TOLERANCE * self.ideal_wrong() + self.threshold

    def held_inputs(self) -> Mapping[str, Sequence[float]]:
        """No input, as in the response, and the cue alone, as before the stimulus."""
        return {"none": (0.0, 0.0, 0.0), "fixation": (1.0, 0.0, 0.0)}

    def variants(self) -> Mapping[str, Variant]:
        """Twice as long in all parts, weaker evidence, noisy and stronger inputs."""
        longer = self.replace(
            n_steps=2 * self.n_steps,
            fixation_steps=2 * self.fixation_steps,
            stimulus_min=2 * self.stimulus_min,
            stimulus_max=2 * self.stimulus_max,
        )
        weaker = 0.5
        return {
            "length_2x": Variant(
                description=(
                    f"stimuli of {longer.stimulus_min} to {longer.stimulus_max} steps instead of {self.stimulus_min} "
                    f"to {self.stimulus_max}, in trials of {longer.n_steps} steps; the same rule"
                ),
                sample=longer.sample,
            ),
            "weaker_evidence": Variant(
                description=(
                    f"coherences times {weaker:g}: up to {weaker * self.coherence_max:g} instead of "
                    f"{self.coherence_max:g}; the same rule"
                ),
                sample=lambda streams, n_trials: self._sample(streams, n_trials, strength=weaker),
            ),
            "input_noise": self.noisy_inputs(0.2),
            "amplitude": self.scaled_inputs(1.5),
        }
