"""Fixed points of networks under a constant input, and how far two networks' sets of them are apart.

The search minimises the speed of the state (Sussillo & Barak 2013) from all starts of a network at once: Adam
from visited states finds the neighbourhoods, Newton's steps in float64 finish them, and restarts from midpoints
between the points found reach the saddles that lie between attractors.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.analysis.dynamics.fixed_point_search import (
    JACOBIAN_BUDGET,
    affine_part,
    affine_step,
    descend,
    distinct,
    host,
    jacobians,
    midpoints,
    move,
    polish,
    scale,
)
from degeneracy.analysis.dynamics.spectra import Spectra, leading, spectra_distance
from degeneracy.analysis.recording import Array, StepFunction
from degeneracy.errors import UserError
from degeneracy.streams import generator

# A state that moves by less than this per step is called slow: it takes 100 steps or more to move by 1.
SLOW_SPEED = 1e-2
# An eigenvalue nearer to 1 than this is marginal: neither unstable, nor is the point isolated as far as it can be
# solved for (speed 1e-14 over 1e-6 is a position known to 1e-8).
MARGINAL = 1e-6
# Ends of the descent closer than this, in units of the starts' root mean square, are one neighbourhood: fixed
# points of trained 3-bit flip-flops are more than 0.3 apart, and other neighbourhoods are reached by midpoints.
COARSE_DISTANCE = 0.1
MIDPOINT_ROUNDS = 5
# Restarts polished together: points that one chunk finds catch what the next would bring to them.
CHUNK = 64
# A point found before this near (root mean square per unit) is the same: no position is known more exactly.
SAME = 1e-9
# Numbers in one batch of states on an accelerator; on a CPU a batch is one member, which stays in cache.
STATE_BUDGET = 2**24


@dataclass(frozen=True, kw_only=True)
class FixedPoints:
    """The fixed points found in one member, the stable ones first.

    `index` is the number of eigenvalues of the Jacobian outside the unit circle (by more than `MARGINAL`): 0 is
    stable, k a saddle with k unstable directions. `note` says where the number of points has no meaning: on a
    continuum, such as a line attractor, it is the search's spacing. `n_starts` is 0 where the member could not be
    searched.
    """

    position: Array  # (point, state)
    speed: Array  # (point,): ||step(h, x) - h||, how far the point moves in one step
    eigenvalues: Spectra  # (point, state), by descending modulus, then imaginary part
    index: NDArray[np.int64]  # (point,)
    n_starts: int  # starts from which the step was finite
    n_rejected: int  # distinct ends of the search that move faster than the tolerance: no fixed points
    n_slow: int  # those among them slower than SLOW_SPEED
    n_marginal: int = 0  # points with an eigenvalue of 1, to within MARGINAL: on a continuum
    capped: bool = False  # more than `max_points` were found, and the search ended there
    note: str = ""

    def __len__(self) -> int:
        return len(self.position)


@dataclass(frozen=True, kw_only=True)
class _Limits:
    n_adam: int
    tolerance: float
    unique: float
    max_points: int


def find_fixed_points(
    step: StepFunction,
    *,
    input_index: int = 0,
    n_starts: int = 256,
    n_adam: int = 100,
    noise: float = 0.0,
    tolerance: float = 1e-10,
    unique_tolerance: float = 1e-3,
    max_points: int = 512,
    seed: int = 0,
    found_before: Sequence[FixedPoints] = (),
) -> list[FixedPoints]:
    """The states h of every member with step(h, x) = h, at one constant input x.

    Minimises q(h) = ||step(h, x) - h||^2 / 2 from visited states. What is found of a member depends on the member
    and the options, not on its companions. A search is no proof: points that no start leads to are missed, and
    a second seed says how often (`repeat_census_distance`).

    Args:
        step: the step of all members, their visited states and the constant inputs.
        input_index: the row of `step.inputs` held constant; 0 is no input.
        n_starts: starts a member, drawn without replacement from the visited states.
        n_adam: updates of the coarse search.
        noise: Gaussian noise added to the starts, in units of the visited states' root mean square.
        tolerance: the largest speed (Euclidean, state units a step) of a fixed point.
        unique_tolerance: points closer than this are one (root-mean-square difference over the state's units).
        max_points: the search of a member ends once it has more; this many are kept, and `capped` says so.
        seed: of the draw of starts and of their noise.
        found_before: what another search found of each member under the same input. The search does not look at it;
            only the eigenvalues at points that it found too are taken from there, which spares most of their time.

    Returns:
        One `FixedPoints` a member, in the members' order; points sorted by index, then by first coordinate. No
        points where the member's step is nowhere finite.

    Raises:
        UserError: an option out of range, no such row of inputs, or another search's points of other members.

    Source:
        Sussillo & Barak (2013), Neural Computation 25(3), 626-649. Damping ||F||^2 of the steps where Newton's do
        not help, which converge fast on continua too: Yamashita & Fukushima (2001), Computing Suppl. 15, 239-249.
    """
    if not 0 <= input_index < len(step.inputs):
        raise UserError(f"fixed points: input_index = {input_index}, but there are {len(step.inputs)} inputs")
    _at_least("n_starts", n_starts, 1)
    _at_least("n_adam", n_adam, 0)
    _at_least("noise", noise, 0)
    _at_least("tolerance", tolerance, 1e-14)  # round-off of a float64 step is larger
    _at_least("unique_tolerance", unique_tolerance, 1e-9)  # the position of a point is no more exact
    _at_least("max_points", max_points, 1)
    starts = _draw_starts(step.visited, n_starts, noise, seed)
    n_members, _, n_units = starts.shape
    if found_before and [p.position.shape[1] for p in found_before] != [n_units] * n_members:
        raise UserError(
            f"fixed points: found_before is not of these {n_members} members with states of {n_units}"
        )
    limits = _Limits(n_adam=n_adam, tolerance=tolerance, unique=unique_tolerance, max_points=max_points)
    found: list[FixedPoints] = []
    for members in _member_batches(starts):
        before = [found_before[k] for k in members] if found_before else [None] * len(members)
        found += _search(step.select(members), starts[members], step.inputs[input_index], limits, before)
    return found


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise UserError(f"fixed points: {name} = {value} is wrong: at least {least}")


def _draw_starts(visited: Tensor, n_starts: int, noise: float, seed: int) -> Tensor:
    """Visited states, the same rows for every member so that no member's draw depends on its companions."""
    gen = generator(seed, "fixed_points")
    rows = torch.randperm(visited.shape[1], generator=gen)[:n_starts].to(visited.device)
    starts = visited.detach()[:, rows]
    if noise > 0:
        starts = starts + noise * scale(starts) * torch.randn(starts.shape[1:], generator=gen).to(starts)
    return starts


def _member_batches(starts: Tensor) -> list[list[int]]:
    n_members, n_points, n_units = starts.shape
    size = 1 if starts.device.type == "cpu" else max(1, STATE_BUDGET // (n_points * n_units))
    return [list(range(k, min(k + size, n_members))) for k in range(0, n_members, size)]


# --- The search ------------------------------------------------------------------------------------------------


def _search(
    step: StepFunction, starts: Tensor, x: Tensor, limits: _Limits, before: Sequence[FixedPoints | None]
) -> list[FixedPoints]:
    """The fixed points of a batch of members; starts is (member, point, state)."""
    usable = move(step, starts, x).isfinite().all(-1)  # (member, point)
    starts = torch.where(usable[..., None], starts, 0.0)
    near = [COARSE_DISTANCE * length for length in scale(starts).flatten().tolist()]
    inner = affine_part(step, starts, x)
    quick = step if inner is None else affine_step(step, inner, starts, x)
    tried = _coarse_ends(quick, starts, usable, x, near, inner, limits)
    points = [np.zeros((0, starts.shape[-1]))] * len(starts)
    rejected = list(points)
    for _ in range(MIDPOINT_ROUNDS + 1):
        n_old = [len(h) for h in points]
        for first in range(0, max(map(len, tried)), CHUNK):
            chunk = [h[first : first + CHUNK] for h in tried]
            for k, (h, speed) in enumerate(polish(quick, chunk, x, inner, points, near)):
                at_rest, moves = speed <= limits.tolerance, speed > limits.tolerance  # neither where caught
                kept = distinct(np.concatenate([points[k], h[at_rest]]), limits.unique)
                points[k] = kept[: limits.max_points + 1]  # one more than allowed says that there are more
                rejected[k] = distinct(np.concatenate([rejected[k], h[moves]]), limits.unique)
        tried = [
            midpoints(h, n, close) if len(h) <= limits.max_points else h[:0]
            for h, n, close in zip(points, n_old, near, strict=True)
        ]
        if not any(map(len, tried)):
            break
    if quick is not step and any(map(len, points)):
        points = [h[speed <= limits.tolerance] for h, speed in polish(step, points, x, inner)]
    n_usable = usable.sum(1).tolist()
    return [
        _describe(step.select([k]), x, points[k], rejected[k], n_usable[k], limits, before[k])
        for k in range(len(points))
    ]


def _coarse_ends(
    step: StepFunction,
    starts: Tensor,
    usable: Tensor,
    x: Tensor,
    near: Sequence[float],
    inner: Tensor | None,
    limits: _Limits,
) -> list[Array]:
    """One state (the slowest) of each neighbourhood where the descent from a member's usable starts ends."""
    ends = descend(step, starts, x, limits.n_adam, inner)
    speed = move(step, ends, x).norm(dim=-1)
    some = []
    for k, ok in enumerate(usable):
        order = torch.argsort(speed[k, ok], stable=True)
        some.append(distinct(host(ends[k, ok][order]), near[k]))
    return some


def _describe(
    step: StepFunction,
    x: Tensor,
    points: Array,
    rejected: Array,
    n_starts: int,
    limits: _Limits,
    before: FixedPoints | None,
) -> FixedPoints:
    """Speeds and Jacobian spectra of the points of one member."""
    capped = len(points) > limits.max_points
    h = torch.from_numpy(points[: limits.max_points]).to(step.visited.device)[None]
    eigenvalues = _eigenvalues(step, x, h, before)
    index = (abs(eigenvalues) > 1 + MARGINAL).sum(axis=1)
    n_marginal = int((abs(eigenvalues - 1) < MARGINAL).any(axis=1).sum())
    speed = host(move(step, h, x).norm(dim=-1))[0]
    slow = move(step, torch.from_numpy(rejected).to(h)[None], x).norm(dim=-1) < SLOW_SPEED
    rank = np.lexsort((points[: len(index), 0], index))
    return FixedPoints(
        position=points[: len(index)][rank],
        speed=speed[rank],
        eigenvalues=eigenvalues[rank],
        index=index[rank],
        n_starts=n_starts,
        n_rejected=len(rejected),
        n_slow=int(slow.sum()),
        n_marginal=n_marginal,
        capped=capped,
        note=_note(n_starts, n_marginal, capped, limits),
    )


def _eigenvalues(step: StepFunction, x: Tensor, h: Tensor, before: FixedPoints | None) -> Spectra:
    """Eigenvalues of the Jacobians at the points h (1, point, state), (point, state), sorted as `FixedPoints` has them.

    Those at a point found before are taken from there.
    """
    n_units = h.shape[-1]
    eigenvalues = np.zeros(h.shape[1:], dtype=np.complex128)
    new = np.ones(len(eigenvalues), dtype=bool)
    if before is not None and len(before):
        gap = torch.cdist(
            h[0], torch.from_numpy(before.position).to(h), compute_mode="donot_use_mm_for_euclid_dist"
        )
        distance, which = (each.cpu().numpy() for each in gap.min(dim=1))
        new = distance > SAME * n_units**0.5
        eigenvalues[~new] = before.eigenvalues[which[~new]]
    for some in np.array_split(np.flatnonzero(new), -(-int(new.sum()) * n_units**2 // JACOBIAN_BUDGET) or 1):
        spectra = np.linalg.eigvals(host(jacobians(step, h[:, some], x))[0]).astype(np.complex128)
        order = np.lexsort((-spectra.imag, -abs(spectra)), axis=-1)
        eigenvalues[some] = np.take_along_axis(spectra, order, axis=1)
    return eigenvalues


def _note(n_starts: int, n_marginal: int, capped: bool, limits: _Limits) -> str:
    if n_starts == 0:
        return "the step is not finite at any start"
    notes = [f"more than {limits.max_points} points"] * capped
    notes += [f"{n_marginal} points on a continuum: their number has no meaning"] * (n_marginal > 0)
    return "; ".join(notes)


# --- Sets of fixed points compared -----------------------------------------------------------------------------


def census(points: FixedPoints) -> Mapping[int, int]:
    """How many fixed points there are of each index, e.g. {0: 8, 1: 12, 2: 6, 3: 1}; empty for none."""
    return dict(sorted(Counter(points.index.tolist()).items()))


def census_distance(points: Sequence[FixedPoints]) -> Array:
    """Whether two members' numbers of fixed points differ at any index.

    Args:
        points: the fixed points of each member.

    Returns:
        (member, member): 0 where the counts by index are equal, 1 where not, NaN for pairs with a member that
        could not be searched. The diagonal is 0. The triangle inequality holds.
    """
    distance = np.zeros((len(points), len(points)))
    for i, j in combinations(range(len(points)), 2):
        distance[i, j] = distance[j, i] = _census_differs(points[i], points[j])
    return distance


def repeat_census_distance(points: Sequence[FixedPoints], repeated: Sequence[FixedPoints]) -> Array:
    """The census distance of each member to itself, searched with another seed: the floor of the measure.

    Args:
        points: the fixed points of each member.
        repeated: those of the same members, in the same order, found with another seed.

    Returns:
        (member,): 0 where both searches found the same counts by index, 1 where not, NaN where not searched.

    Raises:
        UserError: the two are not of equally many members.
    """
    if len(points) != len(repeated):
        raise UserError(f"fixed points: {len(points)} members searched and {len(repeated)} searched again")
    return np.array([_census_differs(a, b) for a, b in zip(points, repeated, strict=True)], dtype=np.float64)


def _census_differs(a: FixedPoints, b: FixedPoints) -> float:
    return float(census(a) != census(b)) if a.n_starts and b.n_starts else float("nan")


def spectrum_distance(points: Sequence[FixedPoints], *, n_eigenvalues: int = 8, cutoff: float = 1.0) -> Array:
    """How far apart the fixed points of two members are, by the spectra of their Jacobians.

    Between two points with leading eigenvalues a and b, d = min_perm sqrt(mean_k |a_k - b_perm(k)|^2), and between
    two members with n >= m points,

        D = (min_assignment sum_{m pairs} min(d, c) + c (n - m)) / n,

    so that a point without a partner costs the cutoff c, as much as one with an entirely different spectrum.

    Args:
        points: the fixed points of each member.
        n_eigenvalues: compared a point, the largest in modulus; 0 stands for those a smaller network lacks.
        cutoff: c, in units of eigenvalues (1 is the distance from a marginal to a dead direction).

    Returns:
        (member, member) in [0, cutoff]; 0: equally many points with equal leading spectra. NaN for pairs with a
        member that could not be searched. The diagonal is 0. The triangle inequality holds.

    Raises:
        UserError: an option out of range.

    Source:
        The optimal-subpattern-assignment metric of order 1, Schuhmacher, Vo & Vo (2008), IEEE Transactions on
        Signal Processing 56(8), eq. 3, on the Wasserstein-2 distance of spectra.
    """
    _at_least("n_eigenvalues", n_eigenvalues, 1)
    if not cutoff > 0:
        raise UserError(f"fixed points: cutoff = {cutoff} is wrong: greater than 0")
    spectra = [leading(p.eigenvalues, n_eigenvalues) for p in points]
    distance = np.zeros((len(points), len(points)))
    for i, j in combinations(range(len(points)), 2):
        searched = points[i].n_starts and points[j].n_starts
        value = spectra_distance(spectra[i], spectra[j], cutoff) if searched else np.nan
        distance[i, j] = distance[j, i] = value
    return distance
