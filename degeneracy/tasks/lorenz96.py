"""Lorenz-96: predict the next state of a chaotic ring, and run free on one's own predictions."""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Self

import pydantic
import torch
from torch import Tensor

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams, generator
from degeneracy.tasks.task import ClosedLoop, Task, Variant
from degeneracy.tasks.trials import Trials

N_STARTS = 400  # steps of each reference run at which a trial may start
WARM_UP = 20  # steps of true inputs before a closed loop, for the networks' state to settle
FREE = 10.0  # time units of a closed loop: errors grow e^1.6 per unit, so rounding alone of float32 takes 9.5 to 0.4 sd
BURN_IN = 20.0  # time units: volumes shrink as exp(-sites t), so only where it led is left of the start


class Lorenz96(Task):
    """Lorenz-96: state to next state.

    dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F on a ring of `dimensions` sites with F = `forcing`, one
    fourth-order Runge-Kutta step of length `dt` per time step. Input is the state x(t), target the state x(t + dt),
    both as (x - mean)/sd with the mean and sd over the attractor (one number each: all sites are alike), so that
    chance is 1. At F = 8 it is chaotic from 5 sites on (largest Lyapunov exponent 1.6 per time unit at 8 sites).

    A trial is a stretch of a reference run: after the transients have been burned off it begins at a random step of
    one of many runs of a fixed seed, turned by a random number of sites, under which the equation stays the same.
    The runs are computed once (in float64, within a second) and shared by all members; they hold 1.6 million
    different trials, which are thus as good as fresh.

    The default threshold, 0.001, is a seventieth of what repeating the input scores (`persistence_loss`: 0.073 at
    8 sites and dt = 0.05), a fiftieth of the best linear map of the input (0.051) and half of what the best linear
    extrapolation from three successive states scores (0.0023): below it a network must know the dynamics.
    """

    name: ClassVar[str] = "lorenz96"
    summary: ClassVar[str] = "predict the next state of a chaotic ring"
    citation: ClassVar[str] = "Lorenz (1996), Predictability: a problem partly solved, ECMWF Seminar 1:1"
    difficulty_fields: ClassVar[tuple[str, ...]] = ("dimensions", "forcing", "dt")
    training_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-3,
        "steps_per_epoch": 128,
        "batch_size": 64,
        "max_epochs": 300,
    }
    step_unit: ClassVar[str] = "time units"

    dimensions: int = pydantic.Field(8, ge=4, le=256, description="number of sites on the ring")
    forcing: float = pydantic.Field(8.0, gt=0, description="forcing F")
    dt: float = pydantic.Field(0.05, gt=0, description="length of a time step, time units (5 days of weather)")
    n_steps: int = pydantic.Field(100, ge=2, description="time steps per trial")
    threshold: float = pydantic.Field(0.001, gt=0, description="training stops under this mean squared error")

    @pydantic.model_validator(mode="after")
    def _moves(self) -> Self:
        critical = critical_forcing(self.dimensions)
        if self.forcing <= critical:
            raise ValueError(
                f"forcing = {self.forcing:g} lets {self.dimensions} sites come to rest at x = F: "
                f"it must be over {critical:.4g}"
            )
        longest = longest_step(self.forcing)
        if self.dt > longest:
            raise ValueError(
                f"dt = {self.dt:g} is too long a step at forcing = {self.forcing:g}: "
                f"dt (2 forcing + 1) must be at most 1, so dt at most {longest:.4g}"
            )
        return self

    @property
    def input_size(self) -> int:
        """One channel a site."""
        return self.dimensions

    @property
    def output_size(self) -> int:
        """One channel a site."""
        return self.dimensions

    @property
    def step_size(self) -> float:
        """Length of one time step, time units."""
        return self.dt

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        return tuple(f"x{k + 1}(t)" for k in range(self.dimensions))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel."""
        return tuple(f"x{k + 1}(t + dt)" for k in range(self.dimensions))

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials: normalised states (member, trial, time, site) and the states one step later."""
        runs = _reference_runs(self.dimensions, self.forcing, self.dt, self.n_steps, str(streams.device))
        chosen = streams.integers((n_trials, 1, 1), 0, runs.shape[0])
        start = streams.integers((n_trials, 1, 1), 0, N_STARTS)
        turn = streams.integers((n_trials, 1, 1), 0, self.dimensions)
        step = start + torch.arange(self.n_steps + 1, device=streams.device).view(-1, 1)
        site = (turn + torch.arange(self.dimensions, device=streams.device)) % self.dimensions
        states = runs[chosen, step, site]
        return Trials.of(states[:, :, :-1].contiguous(), states[:, :, 1:].contiguous())

    def solve(self, inputs: Tensor) -> Tensor:
        """One Runge-Kutta step of every input state."""
        mean, sd = climate(self.dimensions, self.forcing, self.dt)
        return (runge_kutta_step(mean + sd * inputs, self.forcing, self.dt) - mean) / sd

    def chance_loss(self) -> float:
        """1: the variance of a normalised site over the steps where trials start."""
        return 1.0

    def persistence_loss(self) -> float:
        """Mean squared error of repeating the input, over the reference runs."""
        runs = _reference_runs(self.dimensions, self.forcing, self.dt, self.n_steps, "cpu")
        return runs.diff(dim=1).square().mean().item()

    def closed_loop(self) -> ClosedLoop:
        """Run free over `FREE` time units after `WARM_UP` steps of truth; judged by `valid_prediction_time`."""
        steps = WARM_UP + math.ceil(FREE / self.dt)

        def judge(predicted: Tensor, true: Tensor) -> Tensor:
            return valid_prediction_time(predicted, true, dt=self.dt)

        return ClosedLoop(sample=self.replace(n_steps=steps).sample, warm_up=WARM_UP, judge=judge)

    def variants(self) -> Mapping[str, Variant]:
        """Twice as long, noisy inputs, and states further from the mean than the attractor's."""
        factor = 1.5

        def sample_amplified(streams: Streams, n_trials: int) -> Trials:
            inputs = factor * self.sample(streams, n_trials).inputs
            return Trials.of(inputs, self.solve(inputs))

        return {
            **self.longer_trials(2),
            "input_noise": self.noisy_inputs(0.1),
            "amplitude": Variant(
                description=(
                    f"states {factor:g} times as far from the mean; targets are where the equation takes these "
                    "states in one step"
                ),
                sample=sample_amplified,
            ),
        }


def rate_of_change(state: Tensor, forcing: float) -> Tensor:
    """dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F, sites on the last axis, a ring."""
    ring = torch.cat([state[..., -2:], state, state[..., :1]], -1)
    return torch.addcmul(forcing - state, ring[..., 3:] - ring[..., :-3], ring[..., 1:-2])


def runge_kutta_step(state: Tensor, forcing: float, dt: float | Tensor) -> Tensor:
    """The state `dt` time units later, by one step of the classical fourth-order method.

    `dt` enters here and nowhere else: the rates of change are per time unit.
    """
    k1 = rate_of_change(state, forcing)
    k2 = rate_of_change(state + dt / 2 * k1, forcing)
    k3 = rate_of_change(state + dt / 2 * k2, forcing)
    k4 = rate_of_change(state + dt * k3, forcing)
    return state + dt / 6 * (k1 + 2 * (k2 + k3) + k4)


def critical_forcing(dimensions: int) -> float:
    """The forcing under which the state of rest x = F is stable.

    A ripple of wave number k grows at rate F (cos a - cos 2a) - 1 with a = 2 pi k/dimensions.
    """
    angles = [2 * math.pi * k / dimensions for k in range(dimensions)]
    return 1 / max(math.cos(a) - math.cos(2 * a) for a in angles)


def _orbit(state: Tensor, forcing: float, dt: float, n_steps: int) -> Tensor:
    """The next `n_steps` states of every run, (run, step, site)."""
    states = []
    for _ in range(n_steps):
        state = runge_kutta_step(state, forcing, dt)
        states.append(state)
    return torch.stack(states, 1)


@lru_cache(maxsize=8)
@ordinary_state()
def _attractor(dimensions: int, forcing: float, dt: float) -> Tensor:
    """Runs on the attractor, (run, `N_STARTS` steps, site), float64, transients burned off; a fixed seed.

    The fewer sites, the more runs: turned by a random number of sites, they always make 1.6 million trials.
    """
    n_runs = max(32, 4096 // dimensions)
    gen = generator(0, "lorenz96 reference runs")
    state = forcing + torch.randn((n_runs, dimensions), generator=gen, dtype=torch.float64, device="cpu")
    coarse = dt * max(1, math.floor(longest_step(forcing) / dt))
    for _ in range(math.ceil(BURN_IN / coarse)):
        state = runge_kutta_step(state, forcing, coarse)
    runs = _orbit(state, forcing, dt, N_STARTS)
    if not runs.isfinite().all():
        raise UserError(f"Lorenz96: the states grow without bound at forcing = {forcing:g} and dt = {dt:g}")
    return runs


@lru_cache(maxsize=32)
@ordinary_state()
def climate(dimensions: int, forcing: float, dt: float) -> tuple[float, float]:
    """Mean and sd of a site over the attractor; they do not depend on the length of the trials."""
    runs = _attractor(dimensions, forcing, dt)
    return runs.mean().item(), runs.std(correction=0).item()


@lru_cache(maxsize=8)
@ordinary_state()
def _reference_runs(dimensions: int, forcing: float, dt: float, n_steps: int, device: str) -> Tensor:
    """Normalised runs, (run, step, site), float32, long enough for a trial from any of the starts."""
    mean, sd = climate(dimensions, forcing, dt)
    starts = _attractor(dimensions, forcing, dt)
    runs = torch.cat([starts, _orbit(starts[:, -1], forcing, dt, n_steps)], 1)
    return ((runs - mean) / sd).to(device, torch.float32)


def longest_step(forcing: float) -> float:
    """The longest step of tolerable error: the fastest rate at rest is 2 F + 1, and the rate times dt at most 1."""
    return 1 / (2 * forcing + 1)


def closed_loop(
    step: Callable[[Tensor, Any], tuple[Tensor, Any]], inputs: Tensor, *, warm_up: int, state: Any = None
) -> Tensor:
    """Outputs of a predictor that is fed the true inputs for `warm_up` steps and its own outputs from then on.

    Args:
        step: takes one input (member, trial, in) and the predictor's own state, and returns its output, as large
            as the input, and its next state. The first call gets `state`.
        inputs: (member, trial, time, in); only the first `warm_up` steps are read.
        warm_up: true inputs given, from 1 to time.
        state: the predictor's state before the first step.

    Returns:
        (member, trial, time, in): the output at each step, to be held against the targets of the trials. The first
        prediction from a prediction is the one at step `warm_up`.

    Raises:
        UserError: `warm_up` is out of range.
    """
    n_steps = inputs.shape[2]
    if not 1 <= warm_up <= n_steps:
        raise UserError(f"closed loop: warm_up = {warm_up} must be from 1 to the {n_steps} steps of the trials")
    outputs: list[Tensor] = []
    for t in range(n_steps):
        output, state = step(inputs[:, :, t] if t < warm_up else outputs[-1], state)
        outputs.append(output)
    return torch.stack(outputs, 2)


def valid_prediction_time(predicted: Tensor, true: Tensor, *, threshold: float = 0.4, dt: float = 1.0) -> Tensor:
    """How long a free-running prediction stays near the truth.

    The time before the first step at which sqrt(mean over channels of (predicted - true)^2) exceeds `threshold`,
    for states normalised to variance 1.

    Args:
        predicted: (..., time, channel), such as the part of `closed_loop` after its warm-up.
        true: the same shape.
        threshold: error at which a prediction is called lost, in sd of a channel.
        dt: length of a step; 1 gives the answer in steps.

    Returns:
        (...), from 0 (lost at the first step) to time * dt (never lost while looked at). A prediction that is not
        finite is lost.

    Source: Pathak et al. (2018), Chaos 28:041101, whose threshold is 0.4.
    """
    error = (predicted - true).square().mean(-1).sqrt()
    near = error <= threshold  # false for NaN
    return dt * near.long().cumprod(-1).sum(-1)
