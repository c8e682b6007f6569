"""Dynamical Similarity Analysis: how far apart two networks' dynamics are, whatever their coordinates.

The states of each network are delay-embedded, a reduced-rank linear operator is fitted to one time step of
them, and two operators are compared after the best orthogonal change of coordinates:

    d(x, y) = min_{C in O(rank)} || A_x - C A_y C^T ||_F

Source: Ostrow, Eisen, Kozachkov & Fiete, "Beyond Geometry" (NeurIPS 2023), sections 3.1-3.2.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment
from scipy.sparse.linalg import ArpackError, eigsh

from degeneracy.analysis.dynamics import conjugation
from degeneracy.analysis.dynamics.conjugation_starts import Frames, frames, matched_starts, shared_starts
from degeneracy.analysis.recording import Array
from degeneracy.errors import UserError, unknown_name

try:
    from degeneracy.analysis.dynamics import conjugation_search as compiled
except ImportError:  # numba has no release for this Python or machine: the reference path, in torch
    compiled = None  # type: ignore[assignment]

Score = Literal["angular", "frobenius", "wasserstein"]

# Directions of the embedded states under this share of the largest singular value are rounding: the Gram matrix
# squares singular values, so float64 resolves them to about 1e-8, and float32 states to about 1e-7.
RELATIVE_TOLERANCE = 1e-6
# Ridge on the (orthonormal) delay coordinates, as in dsa-metric: damps directions seen at the last step alone.
RIDGE = 1e-8
CHUNK_NUMBERS = 2**22  # numbers in one (pair, start, rank, rank) array: 32 MiB


@dataclass(frozen=True, kw_only=True)
class DelayOperators:
    """The linear operators of several networks' delay-embedded states."""

    operators: Array  # (member, rank, rank)
    ranks: NDArray[np.int64]  # (member,): directions the data has; the rest of the operator is 0

    @property
    def n_deficient(self) -> int:
        """How many members' states span fewer directions than the rank asked for."""
        return int((self.ranks < self.operators.shape[1]).sum())


@dataclass(frozen=True, kw_only=True)
class DSAFit:
    """The distances of pairs of operators, and how far the search can be trusted."""

    distance: Array  # (pair,), in the unit of the score; 0: the same dynamics
    spread: Array  # (pair,), same unit: range of the best restarts' distances; 0: they agree
    converged: NDArray[np.bool_]  # (pair,): the best restart reached the tolerance
    n_starts: int  # 1 where the distance is exact ("wasserstein")
    score: Score


def delay_operator(states: Array, *, rank: int, n_delays: int) -> Array:
    """The linear operator that carries a network's delay-embedded states one step on.

    With H (sample, n_delays * unit) the embedded states, H = V S U^T, and v_t the first `rank` coordinates of V:

        A = argmin_A sum_t || v_{t+1} - A v_t ||^2 + ridge ||A||_F^2     (t, t+1 in one trial)

    Args:
        states: (trial, time, unit), finite. The embedding of step t is [h_t, h_{t-1}, ..., h_{t-n_delays+1}].
        rank: number of delay coordinates. Where the states span fewer directions (singular values above 1e-6 of
            the largest), the operator is fitted on those and padded with zeros.
        n_delays: number of lagged copies, 1 to time - 1.

    Returns:
        (rank, rank), no unit; defined up to the signs of the coordinates.

    Raises:
        UserError: an impossible rank or number of delays, a wrong shape or non-finite states.

    Source: Ostrow et al. 2023, section 3.1; the HAVOK form of dsa-metric's `DMD`.
    """
    return _fit_operator(states, rank, n_delays, "states")[0]


def delay_operators(states: Sequence[Array], *, rank: int, n_delays: int) -> DelayOperators:
    """The operators of several networks, each as `delay_operator`; `ranks` says whose states span too little."""
    fitted = [_fit_operator(each, rank, n_delays, f"states of member {k}") for k, each in enumerate(states)]
    return DelayOperators(
        operators=np.array([operator for operator, _ in fitted]).reshape(-1, rank, rank),
        ranks=np.array([effective for _, effective in fitted], dtype=np.int64),
    )


def _fit_operator(states: Array, rank: int, n_delays: int, where: str) -> tuple[Array, int]:
    """The operator and the number of directions it was fitted on."""
    states = np.asarray(states, dtype=np.float64)
    _check_states(states, rank, n_delays, where)
    operator = np.zeros((rank, rank))
    coordinates = _delay_coordinates(states, rank, n_delays)  # (trial, sample, effective rank)
    effective = coordinates.shape[2]
    if effective == 0:  # a silent network
        return operator, 0
    now, following = (part.reshape(-1, effective) for part in (coordinates[:, :-1], coordinates[:, 1:]))
    gram = now.T @ now + RIDGE * np.eye(effective)
    operator[:effective, :effective] = np.linalg.solve(gram, now.T @ following).T
    return operator, effective


def _check_states(states: Array, rank: int, n_delays: int, where: str) -> None:
    if states.ndim != 3 or 0 in states.shape:
        raise UserError(
            f"DSA: {where} have shape {states.shape}; expected (trial, time, unit), none of them 0"
        )
    trials, time, units = states.shape
    if not np.isfinite(states).all():
        raise UserError(f"DSA: {where} have non-finite values")
    if not 1 <= n_delays < time:
        raise UserError(
            f"DSA: n_delays = {n_delays} is impossible: {where} have {time} steps, so 1 to {time - 1}"
        )
    largest = min(n_delays * units, trials * (time - n_delays))
    if not 1 <= rank <= largest:
        raise UserError(
            f"DSA: rank = {rank} is impossible: {where} have n_delays x units = {n_delays * units} and "
            f"{trials * (time - n_delays)} embedded steps, so 1 to {largest}"
        )


def _delay_coordinates(states: Array, rank: int, n_delays: int) -> Array:
    """The leading right singular vectors V of the embedded states, (trial, sample, effective rank)."""
    trials, time, units = states.shape
    samples = time - n_delays + 1
    scale = np.abs(states).max()
    if scale == 0.0:
        return np.zeros((trials, samples, 0))
    lagged = [states[:, n_delays - 1 - d : time - d] / scale for d in range(n_delays)]
    power, vectors = _leading_eigenvectors(_lag_gram(states / scale, n_delays), rank)
    kept = power > RELATIVE_TOLERANCE**2 * power[0]
    weights = (vectors[:, kept] / np.sqrt(power[kept])).reshape(n_delays, units, -1)
    return sum((lag @ weight for lag, weight in zip(lagged, weights, strict=True)), start=np.zeros(()))


def _lag_gram(states: Array, n_delays: int) -> Array:
    """H^T H without building H: block (i, j) is sum_t h_{t-i} h_{t-j}^T over the embedded steps t.

    Block (i+1, j+1) is block (i, j) with the window one step earlier, so a lag costs one product and the rest
    are updates by one step at either end.
    """
    time, units = states.shape[1:]
    steps = np.ascontiguousarray(
        states.transpose(1, 0, 2)
    )  # so that a window of steps is one block of memory
    gram = np.empty((n_delays, units, n_delays, units))
    last = time - 1
    late = steps[n_delays - 1 :].reshape(-1, units)
    for lag in range(n_delays):
        block = late.T @ steps[n_delays - 1 - lag : time - lag].reshape(-1, units)
        for i in range(n_delays - lag):
            gram[i, :, i + lag], gram[i + lag, :, i] = block, block.T
            if i + lag + 1 < n_delays:
                entering, leaving = n_delays - 2 - i, last - i
                block = block + steps[entering].T @ steps[entering - lag]
                block -= steps[leaving].T @ steps[leaving - lag]
    return gram.reshape(n_delays * units, n_delays * units)


def _leading_eigenvectors(gram: Array, rank: int) -> tuple[Array, Array]:
    """The `rank` largest eigenvalues, falling, and their eigenvectors; Lanczos where few of many are wanted."""
    size = len(gram)
    if 4 * rank < size:
        try:
            values, vectors = eigsh(gram, k=rank, v0=np.ones(size))
            order = np.argsort(values)[::-1]
            return values[order], vectors[:, order]
        except ArpackError:
            pass  # slow convergence: the full decomposition always works
    values, vectors = eigh(gram, subset_by_index=(size - rank, size - 1))
    return values[::-1], vectors[:, ::-1]


def fit_pairs(
    operators_x: Array,
    operators_y: Array,
    *,
    score: Score = "angular",
    n_starts: int = 32,
    max_iter: int = 500,
    tolerance: float = 1e-7,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> DSAFit:
    """The distance of each pair of operators under the best orthogonal change of coordinates.

    As `fit_among`, with operators_x[k] and operators_y[k] the two of pair k, each (pair, rank, rank).
    """
    pairs = np.arange(len(operators_x)), np.arange(len(operators_y))
    return fit_among(
        operators_x, operators_y, *pairs, score=score, n_starts=n_starts, max_iter=max_iter,
        tolerance=tolerance, seed=seed, progress=progress,
    )  # fmt: skip


def fit_among(
    operators_x: Array,
    operators_y: Array,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    score: Score = "angular",
    n_starts: int = 32,
    max_iter: int = 500,
    tolerance: float = 1e-7,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> DSAFit:
    """The distance of operators_x[first[k]] and operators_y[second[k]] for each pair k.

    With d = min_C ||A_x - C A_y C^T||_F over rotations and reflections C:

        frobenius:   d
        angular:     2 asin(d / 2) with A_x and A_y divided by their Frobenius norms
        wasserstein: sqrt(min over matchings of mean |lambda_x - lambda_y|^2), eigenvalues only

    The first two are not convex: the least of several searches is taken, an upper bound. Each pair's search
    depends on its two operators and the seed alone, and d(x, y) = d(y, x) exactly.

    Args:
        operators_x, operators_y: (operator, rank, rank), finite. Each is prepared once, however many pairs it is in.
        first, second: (pair,), positions in operators_x and operators_y.
        n_starts: searches a pair, 2 or more: identity, matched eigenvectors and random, of both determinants.
        max_iter: iterations of the last round.
        tolerance: a search has converged when the gradient's norm on the normalised problem is under this.
        seed: of the random starts.
        progress: called with the number of pairs just finished.

    Returns:
        Distances >= 0; angular in [0, pi] radians. 0: one operator is the other in rotated coordinates. Two zero
        operators are 0 apart; the angle of a zero operator to another is pi/2 (no common direction).

    Raises:
        UserError: shapes that differ or are no operators, non-finite values, an unknown score, too few starts.

    Source: Ostrow et al. 2023, equation 5 (angular form, section 3.2); eigenvalue form: Redman et al. 2023.
    """
    x, y = (np.asarray(each, dtype=np.float64) for each in (operators_x, operators_y))
    _check_pairs(x, y, score, n_starts, max_iter)
    assert len(first) == len(second), "positions of pairs"
    operators, order_x, order_y = _distinct(x, y)
    one, other = order_x[first], order_y[second]
    one, other = np.minimum(one, other), np.maximum(one, other)
    if score == "wasserstein":
        spectra = np.linalg.eigvals(operators)
        distance = np.array(
            [_spectral_distance(spectra[i], spectra[j]) for i, j in zip(one, other, strict=True)]
        )
        zeros = np.zeros(len(one))
        return DSAFit(distance=distance, spread=zeros, converged=zeros == 0, n_starts=1, score=score)
    search = _search_torch if compiled is None else _search_compiled
    found = np.zeros((3, len(one)))
    for chunk, *fitted in search(operators, one, other, score, n_starts, max_iter, tolerance, seed):
        found[:, chunk] = fitted
        if progress is not None:
            progress(len(chunk))
    distance, spread, converged = found
    return DSAFit(
        distance=distance, spread=spread, converged=converged.astype(bool), n_starts=n_starts, score=score
    )


def _check_pairs(x: Array, y: Array, score: str, n_starts: int, max_iter: int) -> None:
    if score not in get_args(Score):
        raise unknown_name("score", score, get_args(Score), where="DSA")
    if x.ndim != 3 or x.shape[1] != x.shape[2] or x.shape[1] == 0 or x.shape[1:] != y.shape[1:]:
        raise UserError(
            f"DSA: operators have shapes {x.shape} and {y.shape}; expected two alike (pair, rank, rank)"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("DSA: operators have non-finite values")
    if n_starts < 2:
        raise UserError(f"DSA: n_starts = {n_starts} is too few; 2 or more (one of either determinant)")
    if max_iter < 1:
        raise UserError(f"DSA: max_iter = {max_iter} is too few; 1 or more")


def _distinct(x: Array, y: Array) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """The distinct operators in an order of their own, and where those of x and y are among them.

    A pair is searched from the earlier to the later, so that d(x, y) and d(y, x) are one computation.
    """
    keys = [each.tobytes() for each in (*x, *y)]
    place = {key: k for k, key in enumerate(sorted(set(keys)))}
    where = np.array([place[key] for key in keys], dtype=np.int64)
    operators = np.empty((len(place), *x.shape[1:]))
    operators[where[: len(x)]], operators[where[len(x) :]] = x, y
    return operators, where[: len(x)], where[len(x) :]


def _spectral_distance(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> float:
    """W2 between two operators' eigenvalues, each of weight 1/rank; 0: the same spectrum."""
    cost = np.abs(a[:, None] - b[None, :]) ** 2
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


Chunk = tuple[NDArray[np.int64], Array, Array, Array]  # pairs, and their distance, spread and convergence


def _search_compiled(
    operators: Array,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    score: Score,
    n_starts: int,
    max_iter: int,
    tolerance: float,
    seed: int,
) -> Iterator[Chunk]:
    """The pairs of one first operator after those of another: what is prepared for it is let go again."""
    size = np.linalg.norm(operators, axis=(1, 2))
    unit = operators / np.where(size == 0, 1, size)[:, None, None]
    signs, rotations = shared_starts(n_starts, operators.shape[1], seed)
    prepared: Frames = frames(unit)
    for i in np.unique(one):
        chunk = np.flatnonzero(one == i)
        inverse = compiled.model(unit[i])
        aligned, slope = [], []
        for j in other[chunk]:
            starts = np.stack([np.eye(len(unit[i]))] * 2)  # which carry an operator onto itself
            if i != j:
                starts = np.concatenate([matched_starts(prepared, i, j, signs), rotations])
            found = compiled.align(unit[i], unit[j], starts, inverse, max_iter=max_iter, tolerance=tolerance)
            aligned.append(found[0])
            slope.append(found[1])
        sizes = size[np.full(len(chunk), i)], size[other[chunk]]
        yield chunk, *_judge(unit[i][None], np.array(aligned), *sizes, np.array(slope), score, tolerance)


def _search_torch(
    operators: Array,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    score: Score,
    n_starts: int,
    max_iter: int,
    tolerance: float,
    seed: int,
) -> Iterator[Chunk]:
    """The reference path: all starts of many pairs at once."""
    size = np.linalg.norm(operators, axis=(1, 2))
    unit = operators / np.where(size == 0, 1, size)[:, None, None]
    pairs = max(1, CHUNK_NUMBERS // (n_starts * operators.shape[1] ** 2))
    for start in range(0, len(one), pairs):
        chunk = np.arange(start, min(start + pairs, len(one)))
        a, b = unit[one[chunk]], unit[other[chunk]]
        aligned, slope = conjugation.align(
            torch.from_numpy(a), torch.from_numpy(b), n_starts, max_iter, tolerance, seed
        )
        sizes = size[one[chunk]], size[other[chunk]]
        yield chunk, *_judge(a, aligned.numpy(), *sizes, slope.numpy(), score, tolerance)


def _judge(
    a: Array, aligned: Array, size_x: Array, size_y: Array, slope: Array, score: Score, tolerance: float
) -> tuple[Array, Array, Array]:
    """Distance, spread and convergence of some pairs, from the searches that came furthest.

    Args:
        a: (pair, rank, rank), of norm 1 (or 0), or (1, rank, rank).
        aligned: (pair, finalist, rank, rank), the other operator in a's coordinates, of norm 1 (or 0).
        size_x, size_y: (pair,), the norms that were divided out.
        slope: (pair, finalist), the gradient's norm.
    """
    if score == "angular":
        distances = 2 * np.arcsin(np.clip(np.linalg.norm(a[:, None] - aligned, axis=(2, 3)) / 2, 0, 1))
        distances[(size_x == 0) ^ (size_y == 0)] = np.pi / 2
    else:
        scale_x, scale_y = size_x[:, None, None, None], size_y[:, None, None, None]
        distances = np.linalg.norm(scale_x * a[:, None] - scale_y * aligned, axis=(2, 3))
    best = distances.argmin(axis=1)
    rows = np.arange(len(best))
    return distances[rows, best], np.ptp(distances, axis=1), (slope < tolerance)[rows, best]
