"""Closed curves that a run goes round in any number of steps, whole or not: limit cycles of continuous time."""

from dataclasses import dataclass

import numpy as np
import torch

from degeneracy.analysis.dynamics.attractors.fixed_point_search import host
from degeneracy.analysis.dynamics.attractors.forward_runs import APPROACHING
from degeneracy.analysis.recording import Array, StepFunction

N_STEPS = 1600  # that a run is followed; periods up to half of it are seen
N_PHASES = 100
# A run is on a closed curve if some lag brings it back to within this share of its variance: 1% of a turn off. Of many
# turns some number is that near to a whole number of steps, and of few a step is little; a chaotic run does not return.
RECURS = 2e-3
# The first lag that comes back to within this share: a period of 7 steps or more, half a step off.
FIRST = 0.1


@dataclass(frozen=True, kw_only=True)
class Orbit:
    """A closed curve and the time that a turn takes."""

    position: Array  # (phase, state), `N_PHASES` evenly spaced ones of one turn
    period: float  # steps per turn


def orbit_from(step: StepFunction, start: Array, x: torch.Tensor, near: float) -> Orbit | None:
    """The closed curve that a state runs on under a constant input; None where it is on none.

    With the mean squared change over a lag, D(l) = mean_t ||h_{t+l} - h_t||^2 / (2 var h), 0 where l is a whole number
    of turns: the first low minimum of D over lags is one turn to half a step, and those after it are counted on from
    there to the lowest one, which says best how long a turn is.

    Args:
        step: of one member.
        start: (state,).
        x: the constant input, (in,).
        near: the size of a neighbourhood, root mean square per unit: a run that moves less is at rest.
    """
    states = _followed(step, start, x)
    centred = states - states.mean(axis=0)
    variance = (centred**2).sum(axis=1).mean()
    if not np.isfinite(variance) or variance <= (APPROACHING * near) ** 2 * states.shape[1]:
        return None
    change = _changes(centred) / (2 * variance)
    inner = change[1:-1]
    back = 1 + np.flatnonzero((inner <= change[:-2]) & (inner <= change[2:]) & (inner <= FIRST))  # lags
    if not len(back) or change[back].min() > RECURS:
        return None
    several, period = int(back[change[back].argmin()]), float(back[0])
    for lag in back[back <= several]:  # how many turns a lag is, by the period that those before it give
        turns = round(lag / period)
        period = lag / turns
    period = _lowest(change, several) / turns
    return Orbit(position=_one_turn(states, period), period=period)


def _lowest(change: Array, lag: int) -> float:
    """Where the parabola through a minimum and its neighbours is lowest: D rises with the square of the lag."""
    before, at, after = change[lag - 1 : lag + 2]
    return lag + float(before - after) / (2 * float(before - 2 * at + after))


def _one_turn(states: Array, period: float) -> Array:
    """The states of a run nearest to each of the phases, (phase, state)."""
    at = np.arange(len(states)) / period
    wanted = np.arange(N_PHASES) / N_PHASES
    turned: Array = states[[int(abs((at - phase + 0.5) % 1 - 0.5).argmin()) for phase in wanted]]
    return turned


def _followed(step: StepFunction, start: Array, x: torch.Tensor) -> Array:
    """The states of a run, (step, state)."""
    h = torch.from_numpy(start).to(step.visited.device)[None, None]
    held = x.to(h).expand(1, 1, -1)
    run = [h]
    with torch.no_grad():
        for _ in range(N_STEPS - 1):
            h = step.step(h, held)
            run.append(h)
    return host(torch.cat(run, dim=1))[0]


def _changes(centred: Array) -> Array:
    """The mean squared change over each lag from 0 to half the run, (lag,)."""
    inner = centred @ centred.T
    squares = np.diag(inner)
    n, half = len(inner), len(inner) // 2
    return np.array([(squares[lag:] + squares[: n - lag] - 2 * np.diagonal(inner, lag)).mean() for lag in range(half)])


def distance_to_orbit(states: Array, orbit: Array) -> Array:
    """The distance of states (state, unit) from the curve through an orbit's phases, root mean square per unit."""
    along = np.roll(orbit, -1, axis=0) - orbit
    lengths = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)
    nearest = np.full(len(states), np.inf)
    for start, edge, length in zip(orbit, along, lengths, strict=True):
        ahead = np.clip((states - start) @ edge / length, 0.0, 1.0)
        gap = ((states - start - ahead[:, None] * edge) ** 2).sum(axis=1)
        nearest = np.minimum(nearest, gap)
    distance: Array = np.sqrt(nearest / orbit.shape[1])
    return distance
