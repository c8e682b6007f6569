"""The orthogonal change of coordinates that makes one operator most like another.

    max over C in O(rank) of <A, C B C^T>          (A, B of unit Frobenius norm)

It has many local maxima, on two unconnected components (determinant 1 and -1). All pairs and starts are searched
at once: starts from matched eigenvectors and at random, successive halving, Riemannian L-BFGS.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# Successive halving: the share of the starts that enters each round and its iterations, in float32; the best
# FINALISTS are then polished in float64. On operators of trained networks this ends 0.3% (rank 20) and 1% (rank
# 50) above 64 to 128 full searches.
ROUNDS = ((1.0, 25), (1 / 2, 20), (1 / 4, 40), (1 / 8, 40))
FINALISTS = 2
MEMORY = 8  # pairs of vectors in L-BFGS
BLOCK = 128  # fits descended at once: their L-BFGS memory stays in the cache


def align(a: Tensor, b: Tensor, n_starts: int, max_iter: int, tolerance: float, seed: int) -> tuple[Tensor, Tensor]:
    """b in the coordinates most like a's: the best FINALISTS searches of each pair.

    Args:
        a, b: (pair, rank, rank), float64, of Frobenius norm 1 (or 0).
        n_starts, max_iter, tolerance, seed: as in `pairs.fit_pairs`.

    Returns:
        C b C^T, (pair, finalist, rank, rank), and the gradient's norm there, (pair, finalist).
    """
    starts = _starts(a, b, n_starts, seed)  # (pair, start, rank, rank)
    for share, iterations in ROUNDS:
        starts = _best(a, b, starts, max(FINALISTS, round(share * n_starts)))
        starts, _ = _descend_all(a, b, starts, iterations, tolerance, torch.float32)
    starts, slope = _descend_all(a, b, _best(a, b, starts, FINALISTS), max_iter, tolerance, torch.float64)
    return starts @ b[:, None] @ starts.mT, slope


def _starts(a: Tensor, b: Tensor, n_starts: int, seed: int) -> Tensor:
    """Orthogonal matrices to search from: identity, then matched eigenvectors and random ones, half of each sign."""
    pairs, rank = a.shape[:2]
    generator = torch.Generator().manual_seed(seed)
    n_matched = max(2, n_starts // 2)
    signs = torch.randint(0, 2, (n_matched, rank), generator=generator).to(a.dtype) * 2 - 1
    signs[:2] = 1.0
    matched = _matched_eigenvectors(a, b, signs)
    normal = torch.randn((n_starts - n_matched, rank, rank), generator=generator, dtype=a.dtype)
    random = _with_determinants(torch.linalg.qr(normal)[0])
    random[:1] = torch.eye(rank, dtype=a.dtype)
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
    left, _, right = torch.linalg.svd((vectors_a[:, None] * twist[:, :, None, :] @ vectors_b.mH[:, None]).real)
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
        """Put one pair per fit in slot k; a pair without positive curvature (also a zero step) is left out."""
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
