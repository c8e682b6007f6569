"""Sine-wave generation: a static input sets the frequency of the wave to produce."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pydantic
import torch
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.tasks.task import Task, Variant
from degeneracy.tasks.trials import Trials


class SineWave(Task):
    """Sine-wave generation.

    Each channel draws one of `n_frequencies` evenly spaced frequencies f from `frequency_min` to `frequency_max`
    a trial; its input is `input_scale` times f (in Hz) at every step, its target sin(2 pi f t). Time is
    t = step * dt with t = 0 at the first step, so that every wave starts at 0 and rises.

    The default feeds raw Hz: networks trained on it learned the task, those fed f/30 stayed at chance.
    """

    name: ClassVar[str] = "sine_wave"
    summary: ClassVar[str] = "produce a sine wave of the frequency that a static input sets"
    citation: ClassVar[str] = (
        "Sussillo & Barak (2013), Neural Computation 25:626; parameters of Huang et al. (2025), arXiv 2410.03972"
    )
    difficulty_fields: ClassVar[tuple[str, ...]] = ("channels", "frequency_max", "n_frequencies")
    training_defaults: ClassVar[Mapping[str, Any]] = {"learning_rate": 5e-4, "batch_size": 32, "max_epochs": 500}
    step_unit: ClassVar[str] = "s"

    channels: int = pydantic.Field(1, ge=1, le=64, description="number of waves produced at once")
    n_steps: int = pydantic.Field(100, ge=2, description="time steps per trial")
    dt: float = pydantic.Field(0.01, gt=0, description="length of a time step, s")
    frequency_min: float = pydantic.Field(1.0, gt=0, description="lowest frequency, Hz")
    frequency_max: float = pydantic.Field(30.0, gt=0, description="highest frequency, Hz")
    n_frequencies: int = pydantic.Field(100, ge=2, description="number of evenly spaced frequencies")
    input_scale: float = pydantic.Field(1.0, gt=0, description="input a Hz; 1 feeds raw Hz")
    threshold: float = pydantic.Field(0.05, gt=0, description="training stops under this mean squared error")

    @pydantic.model_validator(mode="after")
    def _frequencies_possible(self) -> Self:
        if self.frequency_min >= self.frequency_max:
            raise ValueError(
                f"frequency_min = {self.frequency_min:g} Hz must be under frequency_max = {self.frequency_max:g} Hz"
            )
        if 2 * self.frequency_max * self.dt >= 1:
            raise ValueError(
                f"frequency_max = {self.frequency_max:g} Hz cannot be drawn in steps of dt = {self.dt:g} s: "
                f"a period needs more than 2 steps, so frequency_max must be under {1 / (2 * self.dt):g} Hz"
            )
        return self

    @property
    def input_size(self) -> int:
        """One frequency per channel."""
        return self.channels

    @property
    def output_size(self) -> int:
        """One wave per channel."""
        return self.channels

    @property
    def step_size(self) -> float:
        """Length of one time step, s."""
        return self.dt

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        unit = "Hz" if self.input_scale == 1 else f"{self.input_scale:g}/Hz"
        return tuple(f"frequency {k + 1} ({unit})" for k in range(self.channels))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel."""
        return tuple(f"wave {k + 1}" for k in range(self.channels))

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials: constant inputs (member, trial, time, channel) and the waves to produce."""
        return self._sample(streams, n_trials, stretch=1.0)

    def _sample(self, streams: Streams, n_trials: int, *, stretch: float) -> Trials:
        """Trials whose frequencies are `stretch` times those of the task."""
        index = streams.integers((n_trials, 1, self.channels), 0, self.n_frequencies)
        spacing = (self.frequency_max - self.frequency_min) / (self.n_frequencies - 1)
        frequency = stretch * (self.frequency_min + spacing * index.float())
        inputs = (self.input_scale * frequency).repeat(1, 1, self.n_steps, 1)
        return Trials.of(inputs, self.solve(inputs))

    def solve(self, inputs: Tensor) -> Tensor:
        """The wave at time t of the frequency that the input shows at t."""
        time = self.dt * torch.arange(inputs.shape[2], device=inputs.device, dtype=inputs.dtype)
        return torch.sin((2 * math.pi / self.input_scale) * inputs * time.view(-1, 1))

    def chance_loss(self) -> float:
        """The variance of sin(2 pi f t) over the frequencies and steps: the exact finite sum."""
        frequency = torch.linspace(
            self.frequency_min, self.frequency_max, self.n_frequencies, dtype=torch.float64, device="cpu"
        )
        time = self.dt * torch.arange(self.n_steps, dtype=torch.float64, device="cpu")
        return torch.sin(2 * math.pi * torch.outer(frequency, time)).var(correction=0).item()

    def variants(self) -> Mapping[str, Variant]:
        """Twice as long, noisy inputs, and frequencies (the inputs' amplitude) over the trained ones."""
        stretch = 1.2
        return {
            **self.longer_trials(2, said="; the wave goes on"),
            "input_noise": self.noisy_inputs(1.0 * self.input_scale),
            "amplitude": Variant(
                description=(
                    f"inputs times {stretch:g}: up to {stretch * self.frequency_max:g} Hz; targets are the waves "
                    "of these higher frequencies"
                ),
                sample=lambda streams, n_trials: self._sample(streams, n_trials, stretch=stretch),
            ),
        }
