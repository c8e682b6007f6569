"""Closed curves that a run goes round in any number of steps, whole or not: limit cycles of continuous time."""

from dataclasses import dataclass

import numpy as np
import torch

from degeneracy.analysis.dynamics.fixed_point_search import host
from degeneracy.analysis.dynamics.forward_runs import APPROACHING
from degeneracy.analysis.recording import Array, StepFunction

N_STEPS = 1600  # that a run is followed; periods up to half of it are seen
# A run is on a closed curve if some lag brings it back to within this share of its variance: 1% of a turn off. Of many
# turns some number is that near to a whole number of steps, and of few a step is little; a chaotic run does not return.
RECURS = 2e-3
# The first lag that comes back to within this share: a period of 7 steps or more, half a step off.
FIRST = 0.1


@dataclass(frozen=True, kw_only=True)
class Orbit:
    """A closed curve and the time that a turn takes."""

    position: Array  # (step, state): the steps of one turn at least, and no fewer than three turns where there are
    period: float  # steps per turn


def orbit_from(step: StepFunction, start: Array, x: torch.Tensor, near: float) -> Orbit | None:
    """The closed curve that a state runs on under a constant input; None where it is on none.

    With the mean squared change over a lag, D(l) = mean_t ||h_{t+l} - h_t||^2 / (2 var h), 0 where l is a whole number
    of turns: of the minima of D over lags up to half the run, the lowest is a number of turns, and the
    first one that is low says of how many.

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
    first, several = int(back[0]), int(back[change[back].argmin()])
    period = several / round(several / first)
    return Orbit(position=states[: min(len(states), int(np.ceil(3 * period)) + 1)], period=period)


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
    """The distance of states (state, unit) from the curve through an orbit's steps, root mean square per unit."""
    first, along = orbit[:-1], np.diff(orbit, axis=0)
    lengths = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)
    nearest = np.full(len(states), np.inf)
    for start, edge, length in zip(first, along, lengths, strict=True):
        ahead = np.clip((states - start) @ edge / length, 0.0, 1.0)
        gap = ((states - start - ahead[:, None] * edge) ** 2).sum(axis=1)
        nearest = np.minimum(nearest, gap)
    distance: Array = np.sqrt(nearest / orbit.shape[1])
    return distance
