"""N-bit flip-flop: every channel holds the sign of its last pulse."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.core.compiling import compiled
from degeneracy.core.streams import Streams
from degeneracy.tasks.task import Task, Variant
from degeneracy.tasks.trials import Trials


class FlipFlop(Task):
    """N-bit flip-flop.

    Each channel gets a pulse of +1 or -1 (equally likely) with probability `switch_probability` at each step,
    else 0; its target is the sign of its last pulse, the current step's included, and 0 before the first.
    """

    name: ClassVar[str] = "flip_flop"
    summary: ClassVar[str] = "hold the last pulse of every channel"
    citation: ClassVar[str] = (
        "Sussillo & Barak (2013), Neural Computation 25:626; parameters of Huang et al. (2025), arXiv 2410.03972"
    )
    difficulty_fields: ClassVar[tuple[str, ...]] = ("channels", "switch_probability")
    training_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-3,
        "steps_per_epoch": 128,
        "batch_size": 256,
        "max_epochs": 300,
    }

    channels: int = pydantic.Field(3, ge=1, le=64, description="number of bits")
    n_steps: int = pydantic.Field(100, ge=2, description="time steps per trial")
    switch_probability: float = pydantic.Field(0.3, gt=0, le=1, description="chance of a pulse, a channel and step")
    threshold: float = pydantic.Field(0.001, gt=0, description="training stops under this mean squared error")

    @property
    def input_size(self) -> int:
        """One pulse train per channel."""
        return self.channels

    @property
    def output_size(self) -> int:
        """One held sign per channel."""
        return self.channels

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        return tuple(f"pulses {k + 1}" for k in range(self.channels))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel."""
        return tuple(f"bit {k + 1}" for k in range(self.channels))

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials: pulses (member, trial, time, channel) and the signs to hold."""
        # One draw decides both whether there is a pulse (u < p) and its sign (which half of [0, p) u falls in).
        draw = streams.uniform((n_trials, self.n_steps, self.channels))
        p = self.switch_probability
        if draw.is_cuda:
            inputs = _pulses(draw, p)
            return Trials.of(inputs, self.solve(inputs))
        # Half of what an update of a small network waits for its trials, were they made by torch.
        pulses, held = np.empty(draw.shape, np.float32), np.empty(draw.shape, np.float32)
        _pulse_and_hold(draw.numpy(), np.float32(p), np.float32(p / 2), pulses, held)
        return Trials.of(torch.from_numpy(pulses), torch.from_numpy(held))

    def solve(self, inputs: Tensor) -> Tensor:
        """Hold the sign of the last non-zero input of every channel."""
        steps = torch.arange(inputs.shape[2], device=inputs.device).view(-1, 1)
        last_pulse = ((inputs != 0) * steps).cummax(dim=2).values
        return inputs.gather(2, last_pulse).sign()

    def chance_loss(self) -> float:
        """The target's variance: the mean over steps of the chance that a pulse has come, 1 - (1 - p)^t."""
        q = 1 - self.switch_probability
        return 1 - sum(q**t for t in range(1, self.n_steps + 1)) / self.n_steps

    def pulses(self) -> Sequence[Sequence[float]]:
        """The pulses of one bit: +1 and -1 on each channel alone."""
        return [
            [sign * (k == channel) for k in range(self.channels)]
            for channel in range(self.channels)
            for sign in (1.0, -1.0)
        ]

    def variants(self) -> Mapping[str, Variant]:
        """Twice as long, noisy inputs, and pulses of half the trained height."""
        return {
            **self.longer_trials(2),
            "input_noise": self.noisy_inputs(0.2),
            "amplitude": self.scaled_inputs(0.5),
        }


def _pulses(draw: Tensor, p: float) -> Tensor:
    """The pulses for uniform draws, on any device."""
    return (draw < p).to(draw.dtype).sub_((draw < p / 2).to(draw.dtype), alpha=2)


@compiled()
def _pulse_and_hold(
    draw: NDArray[np.float32],
    p: np.float32,
    half: np.float32,
    pulses: NDArray[np.float32],
    held: NDArray[np.float32],
) -> None:
    """Write the pulses and the signs to hold for uniform draws (member, trial, time, channel)."""
    n_steps, channels = draw.shape[2:]
    u, pulse, sign = draw.reshape(-1), pulses.reshape(-1), held.reshape(-1)
    one, two = np.float32(1), np.float32(2)
    for i in range(len(u)):  # without a branch, which chance would make costly
        pulse[i] = np.float32(u[i] < p) - two * np.float32(u[i] < half)
    for start in range(0, len(u), n_steps * channels):
        for i in range(start, start + channels):
            sign[i] = pulse[i]
        for i in range(start + channels, start + n_steps * channels):
            sign[i] = pulse[i] + (one - abs(pulse[i])) * sign[i - channels]
