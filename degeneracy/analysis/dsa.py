"""Dynamical Similarity Analysis: how far apart two networks' dynamics are, whatever their coordinates.

The states of each network are delay-embedded, a reduced-rank linear operator is fitted to one time step of
them, and two operators are compared after the best orthogonal change of coordinates:

    d(x, y) = min_{C in O(rank)} || A_x - C A_y C^T ||_F

Source: Ostrow, Eisen, Kozachkov & Fiete, "Beyond Geometry" (NeurIPS 2023), sections 3.1-3.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment
from scipy.sparse.linalg import ArpackError, eigsh
from torch import Tensor

from degeneracy.analysis.recording import Array
from degeneracy.errors import UserError, unknown_name

Score = Literal["angular", "frobenius", "wasserstein"]

# Directions of the embedded states under this share of the largest singular value are rounding: the Gram matrix
# squares singular values, so float64 resolves them to about 1e-8, and float32 states to about 1e-7.
RELATIVE_TOLERANCE = 1e-6
# Ridge on the (orthonormal) delay coordinates, as in dsa-metric: damps directions seen at the last step alone.
RIDGE = 1e-8
# Successive halving: share of the starts that enters each round, its iterations and its precision.
ROUNDS = ((1.0, 40, torch.float32), (1 / 3, 40, torch.float32), (1 / 6, 60, torch.float64))
FINALISTS = 2
MEMORY = 8  # pairs of vectors in L-BFGS
BLOCK = 256  # fits descended at once: their L-BFGS memory stays in the cache
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
    gram = np.empty((n_delays, units, n_delays, units))
    last = time - 1
    for lag in range(n_delays):
        late = states[:, n_delays - 1 :].reshape(-1, units)
        early = states[:, n_delays - 1 - lag : time - lag].reshape(-1, units)
        block = late.T @ early
        for i in range(n_delays - lag):
            gram[i, :, i + lag], gram[i + lag, :, i] = block, block.T
            if i + lag + 1 < n_delays:
                entering = n_delays - 2 - i
                block = block + states[:, entering].T @ states[:, entering - lag]
                block -= states[:, last - i].T @ states[:, last - i - lag]
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
    n_starts: int = 24,
    max_iter: int = 500,
    tolerance: float = 1e-7,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> DSAFit:
    """The distance of each pair of operators under the best orthogonal change of coordinates.

    With d = min_C ||A_x - C A_y C^T||_F over rotations and reflections C:

        frobenius:   d
        angular:     2 asin(d / 2) with A_x and A_y divided by their Frobenius norms
        wasserstein: sqrt(min over matchings of mean |lambda_x - lambda_y|^2), eigenvalues only

    The first two are not convex: the least of several searches is taken, an upper bound. Each pair's search
    depends on its two operators and the seed alone, and d(x, y) = d(y, x) exactly.

    Args:
        operators_x, operators_y: (pair, rank, rank), finite.
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
    x, y = _in_one_order(x, y)
    if score == "wasserstein":
        distance = np.array([_eigenvalue_distance(a, b) for a, b in zip(x, y, strict=True)])
        zeros, n_starts = np.zeros(len(x)), 1
        return DSAFit(distance=distance, spread=zeros, converged=zeros == 0, n_starts=1, score=score)
    pairs = max(1, CHUNK_NUMBERS // (n_starts * x.shape[1] ** 2))
    parts = []
    for first in range(0, len(x), pairs):
        chunk = slice(first, first + pairs)
        parts.append(_search(x[chunk], y[chunk], score, n_starts, max_iter, tolerance, seed))
        if progress is not None:
            progress(len(parts[-1][0]))
    distance, spread, converged = (
        [np.concatenate(each) for each in zip(*parts, strict=True)] if parts else [np.zeros(0)] * 3
    )
    return DSAFit(
        distance=distance, spread=spread, converged=converged.astype(bool), n_starts=n_starts, score=score
    )


def _check_pairs(x: Array, y: Array, score: str, n_starts: int, max_iter: int) -> None:
    if score not in get_args(Score):
        raise unknown_name("score", score, get_args(Score), where="DSA")
    if x.ndim != 3 or x.shape[1] != x.shape[2] or x.shape[1] == 0 or x.shape != y.shape:
        raise UserError(
            f"DSA: operators have shapes {x.shape} and {y.shape}; expected two alike (pair, rank, rank)"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("DSA: operators have non-finite values")
    if n_starts < 2:
        raise UserError(f"DSA: n_starts = {n_starts} is too few; 2 or more (one of either determinant)")
    if max_iter < 1:
        raise UserError(f"DSA: max_iter = {max_iter} is too few; 1 or more")


def _in_one_order(x: Array, y: Array) -> tuple[Array, Array]:
    """Each pair in the order of its first differing entries, so that d(x, y) and d(y, x) are one computation."""
    difference = (x - y).reshape(len(x), x.shape[1] ** 2)
    where = np.argmax(difference != 0, axis=1)
    swap = (difference[np.arange(len(x)), where] > 0)[:, None, None]
    return np.where(swap, y, x), np.where(swap, x, y)


def _eigenvalue_distance(a: Array, b: Array) -> float:
    """W2 between two operators' eigenvalues, each of weight 1/rank; 0: the same spectrum."""
    cost = np.abs(np.linalg.eigvals(a)[:, None] - np.linalg.eigvals(b)[None, :]) ** 2
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


def _search(
    x: Array, y: Array, score: Score, n_starts: int, max_iter: int, tolerance: float, seed: int
) -> tuple[Array, Array, Array]:
    """Distance, spread and convergence of some pairs: halving rounds from all starts, then a polish."""
    norm_x, norm_y = (np.linalg.norm(each, axis=(1, 2)) for each in (x, y))
    a, b = (
        torch.from_numpy(each / np.where(norm == 0, 1, norm)[:, None, None])
        for each, norm in ((x, norm_x), (y, norm_y))
    )
    starts = _starts(a, b, n_starts, seed)  # (pair, start, rank, rank)
    for share, iterations, dtype in ROUNDS:
        starts = _best(a, b, starts, max(FINALISTS, round(share * n_starts)))
        starts, _ = _descend_all(a, b, starts, iterations, tolerance, dtype)
    starts, slope = _descend_all(a, b, _best(a, b, starts, FINALISTS), max_iter, tolerance, torch.float64)
    aligned = starts @ b[:, None] @ starts.mT
    if score == "angular":
        size = (a[:, None] - aligned).flatten(2).norm(dim=2).numpy()
        distances = 2 * np.arcsin(np.clip(size / 2, 0, 1))
        distances[(norm_x == 0) ^ (norm_y == 0)] = np.pi / 2
    else:
        scale_x, scale_y = (torch.from_numpy(norm)[:, None, None, None] for norm in (norm_x, norm_y))
        distances = (scale_x * a[:, None] - scale_y * aligned).flatten(2).norm(dim=2).numpy()
    best = distances.argmin(axis=1)
    rows = np.arange(len(best))
    return distances[rows, best], np.ptp(distances, axis=1), (slope.numpy() < tolerance)[rows, best]


def _starts(a: Tensor, b: Tensor, n_starts: int, seed: int) -> Tensor:
    """Orthogonal matrices to search from: identity, then matched eigenvectors and random ones, half of each sign."""
    pairs, rank = a.shape[:2]
    generator = torch.Generator().manual_seed(seed)
    n_matched = max(1, n_starts // 2)
    signs = torch.randint(0, 2, (n_matched, rank), generator=generator).to(a.dtype) * 2 - 1
    signs[: min(2, n_matched)] = 1.0
    matched = _matched_eigenvectors(a, b, signs)
    normal = torch.randn((n_starts - n_matched, rank, rank), generator=generator, dtype=a.dtype)
    random = _with_determinants(torch.linalg.qr(normal)[0])
    random[0] = torch.eye(rank, dtype=a.dtype)
    return torch.cat([matched, random.expand(pairs, -1, -1, -1)], dim=1)


def _with_determinants(rotations: Tensor) -> Tensor:
    """The orthogonal matrices with their last column's sign such that determinants go +1, -1, +1, ..."""
    wanted = 1.0 - 2.0 * (torch.arange(rotations.shape[-3]) % 2).to(rotations.dtype)
    flipped = rotations.clone()
    flipped[..., -1] *= (wanted * torch.linalg.det(rotations).sign())[..., None]
    return flipped


def _matched_eigenvectors(a: Tensor, b: Tensor, signs: Tensor) -> Tensor:
    """Orthogonal matrices that carry b's eigenvectors onto those of a with the nearest eigenvalue.

    An eigenvector's phase is free. Where a = C b C^T the matrices of inner products of eigenvectors agree up to
    the phases z, so z is the leading eigenvector of their entrywise product (angular synchronisation); `signs`
    (start, rank) perturbs it. The nearest orthogonal matrix of either determinant is then a Procrustes problem.
    """
    values_a, vectors_a = torch.linalg.eig(a)
    values_b, vectors_b = torch.linalg.eig(b)
    cost = (values_a[:, :, None] - values_b[:, None, :]).abs().numpy() ** 2
    match = torch.from_numpy(np.stack([linear_sum_assignment(each)[1] for each in cost]))
    vectors_b = vectors_b.gather(2, match[:, None, :].expand_as(vectors_b))
    product = (vectors_a.mH @ vectors_a) * (vectors_b.mH @ vectors_b).conj()
    phase = torch.linalg.eigh(product)[1][:, :, -1]
    phase = phase / phase.abs().clamp_min(1e-12)
    # Eigenvalues come with the conjugate (imaginary part < 0) right behind its partner: one sign for both.
    partner = torch.arange(a.shape[1]) - (values_a.imag < 0).long()
    twist = phase[:, None, :] * signs[:, partner].transpose(0, 1)
    left, _, right = torch.linalg.svd(
        (vectors_a[:, None] * twist[:, :, None, :] @ vectors_b.mH[:, None]).real
    )
    wanted = 1.0 - 2.0 * (torch.arange(len(signs)) % 2).to(a.dtype)
    left[..., -1] *= (wanted * torch.linalg.det(left @ right).sign())[..., None]
    return left @ right


def _best(a: Tensor, b: Tensor, starts: Tensor, n_kept: int) -> Tensor:
    """The n_kept starts of each pair that are nearest so far, (pair, n_kept, rank, rank), nearest first."""
    if n_kept >= starts.shape[1]:
        return starts
    likeness = (a[:, None] * (starts @ b[:, None] @ starts.mT)).sum(dim=(2, 3))
    order = likeness.sort(dim=1, descending=True, stable=True)[1][:, :n_kept]
    return starts.gather(1, order[:, :, None, None].expand(-1, -1, *starts.shape[2:]))


def _descend_all(
    a: Tensor, b: Tensor, starts: Tensor, iterations: int, tolerance: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Every start moved downhill, and the gradient's norm there, (pair, start); in blocks that fit the cache."""
    pairs, n_starts, rank = starts.shape[:3]
    wide = [each[:, None].expand(starts.shape).reshape(-1, rank, rank).to(dtype) for each in (a, b)]
    flat = starts.reshape(-1, rank, rank).to(dtype)
    done = [
        _descend(wide[0][k : k + BLOCK], wide[1][k : k + BLOCK], flat[k : k + BLOCK], iterations, tolerance)
        for k in range(0, len(flat), BLOCK)
    ]
    moved = torch.cat([each for each, _ in done]).double()
    slope = torch.cat([each for _, each in done]).double()
    return _orthogonal(moved).reshape(starts.shape), slope.reshape(pairs, n_starts)


def _orthogonal(c: Tensor) -> Tensor:
    """One Newton-Schulz step to the nearest orthogonal matrix: removes what rounding added over many steps."""
    return torch.baddbmm(c, c, c.mT @ c, beta=1.5, alpha=-0.5)


def _objective(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """-<a, c b c^T> (fit,) and its gradient over rotations of c, skew (fit, rank, rank)."""
    aligned = c @ b @ c.mT
    turn = aligned.mT @ a - a @ aligned.mT
    return -(a * aligned).sum(dim=(1, 2)), 0.5 * (turn - turn.mT)


def _rotate(step: Tensor, c: Tensor) -> Tensor:
    """C turned by a skew step, and still orthogonal.

    float64: the Cayley transform (1 - step/2)^{-1} (1 + step/2) c. float32: three terms of the exponential and a
    Newton-Schulz step, products only, which is 4 times faster; what is left of the error goes at the next step.
    """
    eye = torch.eye(step.shape[-1], dtype=step.dtype)
    if step.dtype == torch.float64:
        return torch.linalg.solve(eye - 0.5 * step, (eye + 0.5 * step) @ c)
    square = step @ step
    turn = torch.baddbmm(eye + step, 0.5 * eye + step / 6, square)
    return _orthogonal(turn @ c)


def _descend(a: Tensor, b: Tensor, c: Tensor, iterations: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Riemannian L-BFGS with backtracking over C in O(n), all fits in step; each stops for itself.

    Gradients and steps are skew matrices seen from the current C, so L-BFGS needs no transport. A refused step
    leaves an empty slot in the fit's memory, so all fits write the same slot.
    """
    result, final_slope = c.clone(), torch.zeros(len(c), dtype=c.dtype)
    index, memory = torch.arange(len(c)), _Memory.empty(len(c), a.shape[1] ** 2, c)
    slack = 10 * torch.finfo(c.dtype).eps  # the objective is of order 1: smaller rises are rounding
    value, turn = _objective(a, b, c)
    gradient = turn.flatten(1)
    direction, length = -gradient, torch.ones_like(value)
    for k in range(iterations):
        moving = gradient.norm(dim=1) >= tolerance
        if 2 * int(moving.sum()) <= len(moving):
            result[index], final_slope[index] = c, gradient.norm(dim=1)
            if not moving.any():
                return result, final_slope
            a, b, c, value, gradient, direction, length, index = (
                each[moving] for each in (a, b, c, value, gradient, direction, length, index)
            )
            memory, moving = memory.select(moving), moving[moving]
        # A rotation by more than about one radian leaves the range of the quadratic model (and of `_rotate`).
        length = torch.minimum(length, 1 / direction.norm(dim=1).clamp_min(1e-30))
        step = length[:, None] * direction
        trial = _rotate(step.view_as(c), c)
        trial_value, turn = _objective(a, b, trial)
        trial_gradient = turn.flatten(1)
        expected = (step * gradient).sum(dim=1)
        rise = trial_value - value
        taken = (rise <= 1e-4 * expected + slack) & moving
        memory.write(k, torch.where(taken[:, None], step, 0), trial_gradient - gradient)
        # Refused: the minimum of the parabola through both values and the slope, kept within 0.1 to 0.5.
        shrink = (-expected / (2 * (rise - expected)).clamp_min(1e-30)).clamp(0.1, 0.5)
        length = torch.where(taken, 1.0, length * shrink)
        c = torch.where(taken[:, None, None], trial, c)
        value = torch.where(taken, trial_value, value)
        gradient = torch.where(taken[:, None], trial_gradient, gradient)
        fresh = memory.direction(gradient, k)
        downhill = (fresh * gradient).sum(dim=1) < 0
        fresh = torch.where(downhill[:, None], fresh, -gradient)
        direction = torch.where(taken[:, None], fresh, direction)
    result[index], final_slope[index] = c, gradient.norm(dim=1)
    return result, final_slope


@dataclass(kw_only=True)
class _Memory:
    """The last steps s and gradient changes y of each fit, with their inner products (compact L-BFGS)."""

    vectors: Tensor  # (fit, 2, MEMORY, number): s, y
    step_change: Tensor  # (fit, MEMORY, MEMORY): s_i . y_j, of use where j is not older than i
    change_change: Tensor  # (fit, MEMORY, MEMORY): y_i . y_j
    scale: Tensor  # (fit, 1): s . y / y . y of the newest

    @classmethod
    def empty(cls, fits: int, size: int, like: Tensor) -> "_Memory":
        gram = like.new_zeros(fits, MEMORY, MEMORY)
        return cls(
            vectors=like.new_zeros(fits, 2, MEMORY, size),
            step_change=gram,
            change_change=gram.clone(),
            scale=like.new_ones(fits, 1),
        )

    def select(self, fits: Tensor) -> "_Memory":
        return _Memory(**{name: value[fits] for name, value in vars(self).items()})

    def write(self, k: int, step: Tensor, change: Tensor) -> None:
        """Put one pair a fit in slot k; a pair without positive curvature (also a zero step) is left out."""
        curvature, size = (step * change).sum(dim=1), (change * change).sum(dim=1)
        good = (curvature > 1e-10 * size)[:, None]
        step, change = torch.where(good, step, 0), torch.where(good, change, 0)
        slot = k % MEMORY
        self.vectors[:, 0, slot], self.vectors[:, 1, slot] = step, change
        product = (change[:, None] @ self.vectors.flatten(1, 2).mT).view(-1, 2, MEMORY)
        self.step_change[:, slot], self.step_change[:, :, slot] = 0, product[:, 0]
        self.change_change[:, slot], self.change_change[:, :, slot] = product[:, 1], product[:, 1]
        self.scale = torch.where(good, (curvature / size.clamp_min(1e-30))[:, None], self.scale)

    def direction(self, gradient: Tensor, k: int) -> Tensor:
        """-H gradient with H the L-BFGS inverse Hessian (Nocedal & Wright 2006, algorithm 7.4 in matrix form)."""
        order = [(k + 1 + i) % MEMORY for i in range(MEMORY)]  # oldest first
        products = (gradient[:, None] @ self.vectors.flatten(1, 2).mT).view(-1, 2, MEMORY)[:, :, order]
        upper = self.step_change[:, order][:, :, order].triu()
        diagonal = upper.diagonal(dim1=1, dim2=2)
        curvature = diagonal.clone()
        diagonal += (diagonal == 0).to(diagonal.dtype)  # an empty slot solves to 0
        change_change = self.change_change[:, order][:, :, order]
        alpha = torch.linalg.solve_triangular(upper, products[:, 0, :, None], upper=True)
        right = curvature[:, :, None] * alpha
        right -= self.scale[:, :, None] * (products[:, 1, :, None] - change_change @ alpha)
        beta = torch.linalg.solve_triangular(upper.mT, right, upper=False)
        weights = torch.stack([beta, -self.scale[:, :, None] * alpha], dim=1)  # of s and of y
        inverse = weights.new_empty(weights.shape[:3])
        inverse[:, :, order] = weights[..., 0]
        change = (inverse.flatten(1)[:, None] @ self.vectors.flatten(1, 2))[:, 0]
        return -(self.scale * gradient + change)
