"""Where visited states end when a network runs on under a constant input: at rest, in a cycle, or in neither.

Serves `fixed_points`: the ends of forward runs stand among the starts of its search, so that no attractor that they
reach is missed, and what is no fixed point is counted for what it is. Each run goes on its own: where it ends does
not depend on its companions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.analysis.dynamics.attractors.fixed_point_search import (
    MARGINAL,
    distinct,
    host,
    jacobians,
    move,
    polish,
)
from degeneracy.analysis.dynamics.spectra import Spectra
from degeneracy.analysis.recording import Array, StepFunction

# A run ends once it has settled, checked after 100, 200, 400, ... steps, and after the most at the latest.
FIRST_STEPS, MOST_STEPS = 100, 3200
MAX_PERIOD = 12
# A state that is back after p steps to within this, in units of `near`, has settled: at that rate it would leave its
# neighbourhood in none of the steps that a run takes.
SETTLED = 1 / MOST_STEPS
# One that is back to within this has not settled, but may be on its way to an attractor that it nears slowly.
APPROACHING = 0.1
# On a continuum, ends lie up to `near` from the point that stands for their neighbourhood, which moves as it is solved.
SAME_END = 2.0
# Solved cycles nearer to each other than this share of `near` are one; settled ends nearer are solved once.
ALIKE = 0.01
# A point that is back after fewer steps, to within this share of `near`, has that smaller period.
CLOSED = 1e-6


@dataclass(frozen=True, kw_only=True)
class RunEnds:
    """Where forward runs end, and how near that is to where they were 1, 2, ..., `MAX_PERIOD` steps before."""

    state: Tensor  # (member, run, state); not finite where a run has grown without bound
    gap: Tensor  # (member, run, period): root mean square per unit, in units of the member's `near`

    def of_member(self, k: int, usable: NDArray[np.bool_]) -> tuple[Array, Array]:
        """State (run, state) and gap (run, period) of one member's usable runs."""
        return host(self.state[k])[usable], host(self.gap[k])[usable]


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """A periodic orbit that forward runs end in.

    The eigenvalues are those of the Jacobian of as many steps as the period has; they are the same at all its points.
    """

    position: Array  # (period, state), in the order of the steps
    eigenvalues: Spectra  # (state,), by descending modulus, then imaginary part
    n_runs: int  # forward runs that end in it

    @property
    def is_stable(self) -> bool:
        """Whether no eigenvalue is outside the unit circle, by more than `MARGINAL`."""
        return bool((abs(self.eigenvalues) <= 1 + MARGINAL).all())

    @property
    def is_marginal(self) -> bool:
        """Whether an eigenvalue is 1, to within `MARGINAL`: the cycle is one of a continuum."""
        return bool((abs(self.eigenvalues - 1) < MARGINAL).any())


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What the forward runs of one member end in; those that are not counted below end at rest."""

    n_runs: int = 0
    cycles: tuple[Cycle, ...] = ()
    n_restless: int = 0  # bounded, but neither at rest nor in a cycle of a period up to `MAX_PERIOD`
    n_unbounded: int = 0  # grown until they are not finite


# --- Running ---------------------------------------------------------------------------------------------------


def run_forward(step: StepFunction, starts: Tensor, x: Tensor, near: Sequence[float]) -> RunEnds:
    """Runs every start forward until it has settled at rest or in a cycle, or `MOST_STEPS` steps are taken.

    Args:
        step: the step of all members.
        starts: (member, run, state).
        x: the constant input, (in,).
        near: the size of a neighbourhood in each member's states, root mean square per unit.
    """
    h = starts.clone()
    unit = torch.tensor([length * h.shape[-1] ** 0.5 for length in near]).to(h)[:, None, None]
    gap = h.new_full((*h.shape[:2], MAX_PERIOD), torch.inf)
    n_done, n_steps = 0, FIRST_STEPS
    while n_done < MOST_STEPS:
        active = (gap > SETTLED).all(-1) & h.isfinite().all(-1)
        width = int(active.sum(1).max()) if active.numel() else 0
        if width == 0:
            break
        some = torch.argsort(active, dim=1, descending=True, stable=True)[:, :width]  # (member, width)
        at, of_gaps = (some[..., None].expand(-1, -1, each.shape[-1]) for each in (h, gap))
        end, distance = _run(step, h.gather(1, at), x, n_steps - n_done)
        on = active.gather(1, some)[..., None]
        h.scatter_(1, at, torch.where(on, end, h.gather(1, at)))
        gap.scatter_(1, of_gaps, torch.where(on, distance / unit, gap.gather(1, of_gaps)))
        n_done, n_steps = n_steps, 2 * n_steps
    return RunEnds(state=h, gap=gap)


def _run(step: StepFunction, h: Tensor, x: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
    """The state after some steps, and its distance from those 1, 2, ... steps before, (member, run, period)."""
    held = x.to(h).expand(*h.shape[:2], -1)
    before: list[Tensor] = []
    with torch.no_grad():
        for k in range(n_steps):
            if k >= n_steps - MAX_PERIOD:
                before.append(h)
            h = step.step(h, held)
    return h, torch.stack([(h - other).norm(dim=-1) for other in reversed(before)], dim=-1)


# --- What runs end in ------------------------------------------------------------------------------------------


def outcomes(
    step: StepFunction,
    x: Tensor,
    runs: tuple[Array, Array],
    points: Array,
    stable: NDArray[np.bool_],
    near: float,
    tolerance: float,
) -> Outcomes:
    """What the forward runs of one member end in.

    A run ends at rest where it has settled near a fixed point, or approaches a stable one; in a cycle likewise.

    Args:
        step: the step of that member alone.
        x: the constant input, (in,).
        runs: the states at their ends and their gaps, see `RunEnds.of_member`.
        points: the fixed points, (point, state).
        stable: which of them are stable.
        near: the size of a neighbourhood, root mean square per unit.
        tolerance: the largest speed of a fixed point of the steps of one period.
    """
    bounded = np.asarray(np.isfinite(runs[0]).all(axis=1))
    ends, gap = (each[bounded] for each in runs)
    close = state_distances(ends, points) <= SAME_END * near
    rests = (gap[:, 0] <= SETTLED) & close.any(axis=1)
    rests |= (gap[:, 0] <= APPROACHING) & close[:, stable].any(axis=1)
    cycles: list[Cycle] = []
    left = ~rests
    for share in (SETTLED, APPROACHING):
        period = periods(gap, share) * left
        for p in sorted(set(period[period > 1].tolist())):
            cycles += new_cycles(step, x, ends[period == p], p, near, tolerance, cycles, share == SETTLED)
        which = np.where(period > 1, _cycles_of(ends, cycles, near, share == SETTLED), -1)
        cycles = [replace(c, n_runs=c.n_runs + int((which == k).sum())) for k, c in enumerate(cycles)]
        left &= which < 0
    return Outcomes(
        n_runs=len(bounded),
        cycles=tuple(cycle for cycle in cycles if cycle.n_runs),
        n_restless=int(left.sum()),
        n_unbounded=int((~bounded).sum()),
    )


def periods(gap: Array, share: float) -> NDArray[np.int64]:
    """After how many steps each run is back to within a share of `near`, (run,); 0 where never."""
    back = gap <= share
    return np.where(back.any(axis=1), back.argmax(axis=1) + 1, 0)


def state_distances(a: Array, b: Array) -> Array:
    """Root-mean-square differences per unit of the states a (i, state) and b (j, state), (i, j)."""
    gap = torch.cdist(torch.from_numpy(a), torch.from_numpy(b), compute_mode="donot_use_mm_for_euclid_dist")
    apart: Array = gap.numpy() / a.shape[1] ** 0.5
    return apart


def _cycles_of(ends: Array, cycles: Sequence[Cycle], near: float, settled: bool) -> NDArray[np.int64]:
    """The cycle that each end is nearest to, (run,), -1 where it is near none; a stable one if it has not settled."""
    distance = np.full((len(ends), len(cycles) + 1), np.inf)
    for k, cycle in enumerate(cycles):
        if settled or cycle.is_stable:
            distance[:, k] = state_distances(ends, cycle.position).min(axis=1)
    return np.where(distance.min(axis=1) <= SAME_END * near, distance.argmin(axis=1), -1)


def new_cycles(
    step: StepFunction,
    x: Tensor,
    ends: Array,
    period: int,
    near: float,
    tolerance: float,
    known: Sequence[Cycle],
    settled: bool,
) -> list[Cycle]:
    """The cycles near the ends, as fixed points of the step taken `period` times, each once."""
    several = iterated(step, period)
    [(solved, speed)] = polish(several, [distinct(ends, ALIKE * near if settled else near)], x)
    cycles: list[Cycle] = []
    for point in solved[speed <= tolerance]:
        orbit = _orbit(step, x, point, period, near)
        if len(orbit) == 1:
            continue
        cycle = Cycle(position=orbit, eigenvalues=multipliers(step, x, orbit), n_runs=0)
        # On a continuum of cycles they are kept at the spacing of neighbourhoods, as points are.
        apart = near if cycle.is_marginal else ALIKE * near
        if all((state_distances(orbit[:1], other.position) > apart).all() for other in (*known, *cycles)):
            cycles.append(cycle)
    return cycles


def iterated(step: StepFunction, n_steps: int) -> StepFunction:
    """The step taken several times in a row, under one constant input."""

    def several(h: Tensor, x: Tensor) -> Tensor:
        for _ in range(n_steps):
            h = step.step(h, x)
        return h

    return replace(step, step=several, select=lambda members: iterated(step.select(members), n_steps))


def _orbit(step: StepFunction, x: Tensor, point: Array, period: int, near: float) -> Array:
    """The states from a point on until it is back, (smallest period, state)."""
    h = torch.from_numpy(point).to(step.visited.device)[None, None]
    orbit = [point]
    for _ in range(period - 1):
        h = h + move(step, h, x)
        state = host(h)[0, 0]
        if float(np.sqrt(np.mean((state - point) ** 2))) <= CLOSED * near:
            break
        orbit.append(state)
    return np.array(orbit)


def multipliers(step: StepFunction, x: Tensor, orbit: Array) -> Spectra:
    """Eigenvalues of the Jacobian of one period from the first of its points (period, state) on, (state,).

    They are sorted by descending modulus, then imaginary part; NaN where the Jacobian is not finite.
    """
    h = torch.from_numpy(orbit[:1]).to(step.visited.device)[None]
    matrix = host(jacobians(iterated(step, len(orbit)), h, x))[0, 0]
    if not np.isfinite(matrix).all():
        return np.full(len(matrix), np.nan, dtype=np.complex128)
    spectrum = np.linalg.eigvals(matrix).astype(np.complex128)
    return spectrum[np.lexsort((-spectrum.imag, -abs(spectrum)))]


# --- In words --------------------------------------------------------------------------------------------------


def outcome_notes(members: Sequence[Outcomes]) -> list[str]:
    """What the forward runs of one or more members end in that is no fixed point, with the share of all their runs.

    Returns:
        One phrase for each kind of ending; none where all runs end at rest.
    """
    lengths = sorted({len(cycle.position) for each in members for cycle in each.cycles})
    endings = (
        (
            f"end in cycles of period{'s' * (len(lengths) > 1)} {', '.join(map(str, lengths))}",
            [sum(cycle.n_runs for cycle in each.cycles) for each in members],
        ),
        (
            f"reach no fixed point and no cycle of a period up to {MAX_PERIOD} within {MOST_STEPS} steps",
            [each.n_restless for each in members],
        ),
        ("grow without bound", [each.n_unbounded for each in members]),
    )
    n_runs = sum(each.n_runs for each in members)
    notes = []
    for ending, counts in endings:
        if any(counts):
            where = f" ({sum(map(bool, counts))} of {len(counts)} networks)" if len(counts) > 1 else ""
            notes.append(f"{_percent(sum(counts), n_runs)} of forward runs{where} {ending}")
    if any(cycle.is_marginal for each in members for cycle in each.cycles):
        notes.append("cycles on a continuum, whose number has no meaning")
    return notes


def _percent(count: int, total: int) -> str:
    if count == total:
        return "100%"
    return "under 1%" if 100 * count < total else f"{min(99, round(100 * count / total))}%"
