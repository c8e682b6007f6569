"""Fixed points of networks under a constant input, and the cycles that networks end in instead.

The search minimises the speed of the state (Sussillo & Barak 2013) from all starts of a network at once: Adam
from visited states finds the neighbourhoods, Newton's steps in float64 finish them, and restarts from midpoints
between the points found reach the saddles that lie between attractors. Ends of forward runs stand among the starts: a
stable point may attract states from far, and yet no descent of the speed from there leads to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.analysis.dynamics.attractors.fixed_point_search import (
    JACOBIAN_BUDGET,
    MARGINAL,
    affine_part,
    affine_step,
    apart,
    coarse_ends,
    distinct,
    draw_starts,
    host,
    jacobians,
    midpoints,
    move,
    polish,
    scale,
)
from degeneracy.analysis.dynamics.attractors.forward_runs import (
    SETTLED,
    Cycle,
    Outcomes,
    outcome_notes,
    outcomes,
    run_forward,
)
from degeneracy.analysis.dynamics.spectra import Spectra
from degeneracy.analysis.recording import NO_INPUT, Array, StepFunction
from degeneracy.core.errors import UserError, unknown_name

# A state that moves by less than this per step is called slow: it takes 100 steps or more to move by 1.
SLOW_SPEED = 1e-2
# Ends of the descent closer than this, in units of the starts' root mean square, are one neighbourhood: fixed
# points of trained 3-bit flip-flops are more than 0.3 apart, and other neighbourhoods are reached by midpoints.
COARSE_DISTANCE = 0.1
MIDPOINT_ROUNDS = 5
# Restarts polished together: points that one chunk finds catch what the next would bring to them.
CHUNK = 64
# A point found before this near (root mean square per unit) is the same: no position is known more exactly.
SAME = 1e-9
MOST_NAMES = 6  # of networks in one note; of more it says how many
# Numbers in one batch of states on an accelerator; on a CPU a batch is one member, which stays in cache.
STATE_BUDGET = 2**24


@dataclass(frozen=True, kw_only=True)
class FixedPoints:
    """The fixed points found in one member, the stable ones first.

    `index` is the number of eigenvalues of the Jacobian outside the unit circle (by more than `MARGINAL`): 0 is
    stable, k a saddle with k unstable directions. `note` says where the number of points has no meaning (on a
    continuum, such as a line attractor, it is the search's spacing), and what share of forward runs end in something
    else than a fixed point. `n_starts` is 0 where the member could not be searched, and `note` says why.
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
    runs: Outcomes = field(default_factory=Outcomes)  # what half of the starts end in when they are run forward
    reservations: tuple[str, ...] = ()  # why the number of points has no meaning, or was not had

    def __len__(self) -> int:
        return len(self.position)

    @property
    def note(self) -> str:
        """The reservations, and what forward runs end in that is no fixed point; "" for neither."""
        return notes([self])

    @property
    def cycles(self) -> tuple[Cycle, ...]:
        """The periodic orbits that forward runs end in, each once."""
        return self.runs.cycles


@dataclass(frozen=True, kw_only=True)
class _Limits:
    n_adam: int
    tolerance: float
    unique: float
    max_points: int


def find_fixed_points(
    step: StepFunction,
    *,
    held_input: str = NO_INPUT,
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

    Minimises q(h) = ||step(h, x) - h||^2 / 2 from visited states. Half of them are also run forward, for 100 steps, or
    up to 3,200 where they have not settled by then, and what they end in is searched too: every stable point that such
    a run ends in is found. A cycle of a period p up to 12 is solved as a fixed point of p steps in a row and counted
    once, among the `cycles` and not among the points. `runs` counts the runs that end in neither, and `note` says so.

    What is found of a member depends on the member and the options, not on its companions. A search is no proof:
    points and cycles that no start leads to are missed, and a second seed says how often (`repeat_census_distance`).

    Args:
        step: the step of all members, their visited states and the constant inputs.
        held_input: the name in `step.inputs` of the one that is held constant.
        n_starts: starts per member, drawn without replacement from the visited states; the first half of them is also
            run forward.
        n_adam: updates of the coarse search.
        noise: Gaussian noise added to the starts, in units of the visited states' root mean square.
        tolerance: the largest speed (Euclidean, state units per step) of a fixed point.
        unique_tolerance: points closer than this are one (root-mean-square difference over the state's units).
        max_points: the search of a member ends once it has more; this many are kept, and `capped` says so.
        seed: of the draw of starts and of their noise.
        found_before: what another search found of each member under the same input. The search does not look at it;
            only the eigenvalues at points that it found too are taken from there, which spares most of their time.

    Returns:
        One `FixedPoints` per member, in the members' order; points sorted by index, then by first coordinate. No
        points, and `n_starts` = 0, where the member's step is nowhere finite or its parameters are not.

    Raises:
        UserError: an option out of range, no such input, or another search's points of other members.

    Source:
        Sussillo & Barak (2013), Neural Computation 25(3), 626-649. Damping ||F||^2 of the steps where Newton's do
        not help, which converge fast on continua too: Yamashita & Fukushima (2001), Computing Suppl. 15, 239-249.
    """
    if held_input not in step.inputs:
        raise unknown_name("held input", held_input, step.inputs, where="fixed points")
    at_least("n_starts", n_starts, 1)
    at_least("n_adam", n_adam, 0)
    at_least("noise", noise, 0)
    at_least("tolerance", tolerance, 1e-14)  # round-off of a float64 step is larger
    at_least("unique_tolerance", unique_tolerance, 1e-9)  # the position of a point is no more exact
    at_least("max_points", max_points, 1)
    starts = draw_starts(step.visited, n_starts, noise, seed)
    n_members, _, n_units = starts.shape
    if found_before and [p.position.shape[1] for p in found_before] != [n_units] * n_members:
        raise UserError(f"fixed points: found_before is not of these {n_members} members with states of {n_units}")
    limits = _Limits(n_adam=n_adam, tolerance=tolerance, unique=unique_tolerance, max_points=max_points)
    found = {k: _unsearched(n_units, fault) for k, fault in enumerate(step.faults) if fault}
    sound = [k for k in range(n_members) if k not in found]
    for batch in _member_batches(starts[sound]):
        members = [sound[k] for k in batch]
        before = [found_before[k] for k in members] if found_before else [None] * len(members)
        searched = _search(step.select(members), starts[members], step.inputs[held_input], limits, before)
        found |= zip(members, searched, strict=True)
    return [found[k] for k in range(n_members)]


def at_least(name: str, value: float, least: float) -> None:
    """Refuses an option below the least value that it can have, in one line."""
    if not value >= least:
        raise UserError(f"fixed points: {name} = {value} is wrong: at least {least}")


def _member_batches(starts: Tensor) -> list[list[int]]:
    n_members, n_points, n_units = starts.shape
    size = 1 if starts.device.type == "cpu" else max(1, STATE_BUDGET // (n_points * n_units))
    return [list(range(k, min(k + size, n_members))) for k in range(0, n_members, size)]


# --- The search ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Search:
    """The search of a batch of members under one constant input."""

    step: StepFunction
    quick: StepFunction  # the same step, written out where it can be
    inner: Tensor | None  # its affine part
    x: Tensor
    near: list[float]  # the size of a neighbourhood in each member's states, root mean square per unit
    limits: _Limits

    def polish(self, states: Sequence[Array], known: Sequence[Array] = ()) -> list[tuple[Array, Array]]:
        """Where states of each member come to rest, and their speeds there: see `fixed_point_search.polish`."""
        return polish(self.quick, states, self.x, self.inner, known, self.near)

    def distinct(self, *states: Sequence[Array]) -> list[Array]:
        """One state of each neighbourhood, the first, from lists of every member's states."""
        return [distinct(np.concatenate(some), near) for *some, near in zip(*states, self.near, strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a search has found so far of each member, (point, state)."""

    points: list[Array]
    rejected: list[Array]
    limits: _Limits

    def add(self, polished: Sequence[tuple[Array, Array]]) -> None:
        """Adds states and their speeds; NaN, which is neither at rest nor moving, where a known point caught one."""
        for k, (h, speed) in enumerate(polished):
            at_rest, moves = speed <= self.limits.tolerance, speed > self.limits.tolerance
            kept = distinct(np.concatenate([self.points[k], h[at_rest]]), self.limits.unique)
            self.points[k] = kept[: self.limits.max_points + 1]  # one more than allowed says that there are more
            self.rejected[k] = distinct(np.concatenate([self.rejected[k], h[moves]]), self.limits.unique)


def _search(
    step: StepFunction, starts: Tensor, x: Tensor, limits: _Limits, before: Sequence[FixedPoints | None]
) -> list[FixedPoints]:
    """The fixed points of a batch of members; starts is (member, point, state)."""
    usable = move(step, starts, x).isfinite().all(-1)  # (member, point)
    starts = torch.where(usable[..., None], starts, 0.0)
    near = [COARSE_DISTANCE * length for length in scale(starts).flatten().tolist()]
    inner = affine_part(step, starts, x)
    quick = step if inner is None else affine_step(step, inner, starts, x)
    search = _Search(step=step, quick=quick, inner=inner, x=x, near=near, limits=limits)
    n_runs = (starts.shape[1] + 1) // 2
    ended = run_forward(quick, starts[:, :n_runs], x, near)
    runs = [ended.of_member(k, ok) for k, ok in enumerate(usable[:, :n_runs].cpu().numpy())]
    descended = coarse_ends(quick, starts, usable, x, near, inner, limits.n_adam)
    found = _search_from(search, descended, runs)
    points = found.points
    if quick is not step and any(map(len, points)):
        points = [h[speed <= limits.tolerance] for h, speed in polish(step, points, x, inner)]
    n_usable = usable.sum(1).tolist()
    return [
        _describe(search, k, points[k], found.rejected[k], runs[k], n_usable[k], before[k]) for k in range(len(points))
    ]


def _search_from(search: _Search, descended: Sequence[Array], runs: Sequence[tuple[Array, Array]]) -> _Found:
    """What is found from the ends of descents and of forward runs, and from midpoints between what is found."""
    limits, nothing = search.limits, [h[:0] for h in descended]
    found = _Found(points=nothing, rejected=list(nothing), limits=limits)
    _add_rests(search, found, [h[gap[:, 0] <= SETTLED] for h, gap in runs])
    moving = [h[(gap[:, 0] > SETTLED) & np.isfinite(h).all(axis=1)] for h, gap in runs]
    # One search per neighbourhood: what ends near a point where a run came to rest is not searched again.
    n_old, others = [0] * len(runs), search.distinct(descended, moving)
    neighbourhoods = zip(others, found.points, search.near, strict=True)
    tried = [h[apart(h, points, near).all(axis=1)] for h, points, near in neighbourhoods]
    for _ in range(MIDPOINT_ROUNDS + 1):
        for first in range(0, max(map(len, tried)), CHUNK):
            found.add(search.polish([h[first : first + CHUNK] for h in tried], found.points))
        pairs = zip(found.points, n_old, search.near, strict=True)
        n_old = [len(h) for h in found.points]
        tried = [midpoints(h, n, close) if len(h) <= limits.max_points else h[:0] for h, n, close in pairs]
        if not any(map(len, tried)):
            break
    return found


def _add_rests(search: _Search, found: _Found, rests: Sequence[Array]) -> None:
    """Adds the points where forward runs of each member have come to rest, (run, state).

    Of points in one neighbourhood all are added, except for those on a continuum, where runs end anywhere.
    """
    one_each = search.distinct(rests)
    found.add(search.polish(one_each))
    unique = search.limits.unique
    triples = zip(one_each, rests, search.near, strict=True)
    close = [distinct(np.concatenate([one, h]), min(unique, near))[len(one) :] for one, h, near in triples]
    if not any(map(len, close)):
        return
    polished = search.polish(close)
    for k, (h, speed) in enumerate(polished):
        states = torch.from_numpy(h).to(search.step.visited.device)[None]
        isolated = ~marginal(point_spectra(search.step.select([k]), search.x, states))
        polished[k] = h[isolated], speed[isolated]
    found.add(polished)


def _describe(
    search: _Search,
    member: int,
    points: Array,
    rejected: Array,
    runs: tuple[Array, Array],
    n_starts: int,
    before: FixedPoints | None,
) -> FixedPoints:
    """Speeds and Jacobian spectra of the points of one member, and what its forward runs end in."""
    if n_starts == 0:
        return _unsearched(points.shape[1], "the step is not finite at any start")
    step, x, limits = search.step.select([member]), search.x, search.limits
    capped = len(points) > limits.max_points
    h = torch.from_numpy(points[: limits.max_points]).to(step.visited.device)[None]
    eigenvalues = point_spectra(step, x, h, before)
    if not np.isfinite(eigenvalues).all():
        return _unsearched(h.shape[-1], "the step has no finite derivative at a fixed point")
    index = (abs(eigenvalues) > 1 + MARGINAL).sum(axis=1)
    ended = outcomes(step, x, runs, host(h)[0], index == 0, search.near[member], limits.tolerance)
    n_marginal = int(marginal(eigenvalues).sum())
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
        runs=ended,
        reservations=_reservations(n_marginal, capped, limits),
    )


def _unsearched(n_units: int, reason: str) -> FixedPoints:
    """A member of which there is no number of fixed points."""
    return FixedPoints(
        position=np.zeros((0, n_units)),
        speed=np.zeros(0),
        eigenvalues=np.zeros((0, n_units), dtype=np.complex128),
        index=np.zeros(0, dtype=np.int64),
        n_starts=0,
        n_rejected=0,
        n_slow=0,
        reservations=(reason,),
    )


def marginal(eigenvalues: Spectra) -> NDArray[np.bool_]:
    """Which points (point,) have an eigenvalue of 1, to within `MARGINAL`: those on a continuum."""
    return np.asarray((abs(eigenvalues - 1) < MARGINAL).any(axis=1))


def point_spectra(step: StepFunction, x: Tensor, h: Tensor, before: FixedPoints | None = None) -> Spectra:
    """Eigenvalues of the Jacobians at the points h (1, point, state), (point, state), sorted as `FixedPoints` has them.

    Those at a point found before are taken from there; NaN where the Jacobian is not finite.
    """
    n_units = h.shape[-1]
    eigenvalues = np.zeros(h.shape[1:], dtype=np.complex128)
    new = np.ones(len(eigenvalues), dtype=bool)
    if before is not None and len(before):
        gap = torch.cdist(h[0], torch.from_numpy(before.position).to(h), compute_mode="donot_use_mm_for_euclid_dist")
        distance, which = (each.cpu().numpy() for each in gap.min(dim=1))
        new = distance > SAME * n_units**0.5
        eigenvalues[~new] = before.eigenvalues[which[~new]]
    for some in np.array_split(np.flatnonzero(new), -(-int(new.sum()) * n_units**2 // JACOBIAN_BUDGET) or 1):
        matrices = host(jacobians(step, h[:, some], x))[0]
        finite = np.isfinite(matrices).all(axis=(1, 2))
        spectra = np.full(matrices.shape[:2], np.nan, dtype=np.complex128)
        spectra[finite] = np.linalg.eigvals(matrices[finite])
        order = np.lexsort((-spectra.imag, -abs(spectra)), axis=-1)
        eigenvalues[some] = np.take_along_axis(spectra, order, axis=1)
    return eigenvalues


def _reservations(n_marginal: int, capped: bool, limits: _Limits) -> tuple[str, ...]:
    too_many = (f"more than {limits.max_points} points",) * capped
    return too_many + ("points on a continuum, whose number has no meaning",) * (n_marginal > 0)


def notes(members: Sequence[FixedPoints], names: Sequence[str] = ()) -> str:
    """What is to be said of one or more members beside their numbers of points, "" for nothing.

    Args:
        members: their fixed points.
        names: of the members, to say whose reservations they are; none for a member alone.
    """
    said, texts = [], {text for points in members for text in points.reservations}
    for text in sorted(texts):
        some = [name for name, points in zip(names, members, strict=False) if text in points.reservations]
        listed = f"network{'s' * (len(some) > 1)} {', '.join(some)}: " if some else ""
        said.append((listed if len(some) <= MOST_NAMES else f"{len(some)} of {len(names)} networks: ") + text)
    return "; ".join([*said, *outcome_notes([points.runs for points in members])])
