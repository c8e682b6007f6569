"""Where the search for a change of coordinates starts: leading axes, matched eigenvectors and random rotations.

Copies are known by signs of axes that agree, whatever noise is in them; pairs that differ are served by the best
alignments of their leading axes (`leading`), by matched eigenvectors and by chance. Half of the orthogonal matrices
have determinant 1 and half -1, because no descent leads from one kind to the other. What depends on one operator alone
is computed once, not for every pair it is in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from degeneracy.analysis.operator_alignment import curvature
from degeneracy.analysis.operator_alignment.leading import LEADING, first_block, leading_starts, synchronised_starts
from degeneracy.analysis.recording import Array

POWER = 6  # squarings of the matrix whose leading eigenvector is wanted: 64 power iterations
FAST = (3.4445, -4.7750, 2.0315)  # a quintic that brings singular values of 0.01 to near 1 in four rounds
FAST_ROUNDS, ROUNDS = 10, 5
# Searches in few axes for each start that is wanted of them, and in all: many end in the same alignment.
LEADING_SEARCHES, MOST_LEADING_SEARCHES = 4, 24
# Above this rank few starts are matched: they end near one another. With half of 32 matched, one pair in 66 ended 0.2%
# above dsa-metric at rank 50; with an eighth, one in 264 (four seeds). At rank 20 none matched ends 4 to 9% above the
# least squared distances of whitened operators known, none of leading axes 1 to 2% above those of linear flow.
SMALL_RANK = 32


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The eigenvectors of several operators."""

    values: NDArray[np.complex128]  # (operator, rank)
    vectors: NDArray[np.complex128]  # (operator, rank, rank): in columns
    gram: NDArray[np.complex128]  # (operator, rank, rank): inner products of the eigenvectors
    partner: NDArray[np.int64]  # (operator, rank): the first of each conjugate pair, for both
    axes: Array  # (operator, rank, rank): the directions in which the operator does most, falling, in columns


def frames(operators: Array) -> Frames:
    """The eigenvectors of operators (operator, rank, rank)."""
    values, vectors = np.linalg.eig(operators)
    values, vectors = values.astype(np.complex128), vectors.astype(np.complex128)
    transposed = operators.transpose(0, 2, 1)
    return Frames(
        values=values,
        vectors=vectors,
        gram=vectors.conj().transpose(0, 2, 1) @ vectors,
        # Eigenvalues come with the conjugate (imaginary part < 0) right behind its partner.
        partner=np.arange(values.shape[1]) - (values.imag < 0),
        axes=np.linalg.eigh(operators @ transposed + transposed @ operators)[1][:, :, ::-1],
    )


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many of the starts of a fit are of which kind."""

    matched: int
    synchronised: int
    leading: int
    random: int


def counts(n_starts: int, rank: int) -> Counts:
    """Two matched and two or four synchronised starts first, then the others' shares."""
    small = rank <= SMALL_RANK
    matched = max(2, n_starts * 2 // 5 if small else n_starts // 8)
    left = n_starts - matched
    synchronised = min(left, 4 if left >= 4 else 2)
    left -= synchronised
    leading = min(left, n_starts // (4 if small else 8)) if rank > LEADING else 0
    return Counts(matched=matched, synchronised=synchronised, leading=leading, random=left - leading)


class Starts:
    """The starts of all pairs among some operators.

    Args:
        operators: (operator, rank, rank), of norm 1 (or 0).
        n_starts: per pair, 2 or more.
        seed: of what is drawn, the same for all pairs.
    """

    def __init__(self, operators: Array, n_starts: int, seed: int) -> None:
        rank = operators.shape[1]
        gen = np.random.default_rng(seed)
        self.counts = counts(n_starts, rank)
        self._operators, self._frames = operators, frames(operators)
        self._signs = gen.choice([-1.0, 1.0], size=(self.counts.matched, rank))
        self._signs[:2] = 1.0
        self._rotations = random_rotations(gen, self.counts.random, rank)
        axes = self._frames.axes
        self._inner = axes.transpose(0, 2, 1) @ operators @ axes
        if self.counts.leading:
            searches = min(LEADING_SEARCHES * self.counts.leading, MOST_LEADING_SEARCHES)
            self._few = random_rotations(gen, searches, LEADING)
            self._models = [curvature.model(first_block(each)) for each in self._inner]

    def of(self, i: int, j: int) -> Array:
        """Orthogonal matrices that carry operator j's coordinates into those of i, (start, rank, rank).

        There are fewer than asked for where leading axes have few alignments.
        """
        axes = self._frames.axes
        parts = [matched_starts(self._frames, i, j, self._signs)]
        if self.counts.synchronised:
            parts.append(synchronised_starts(self._operators, axes, i, j)[: self.counts.synchronised])
        if self.counts.leading:
            sides = self._inner[i], self._inner[j], axes[i], axes[j]
            parts.append(leading_starts(*sides, self._models[i], self._few, self.counts.leading))
        return np.concatenate([*parts, self._rotations])


def random_rotations(gen: np.random.Generator, n: int, rank: int) -> Array:
    """Random orthogonal matrices (n, rank, rank), determinants 1, -1, 1, ..."""
    rotations = np.linalg.qr(gen.standard_normal((n, rank, rank)))[0]
    wanted = 1.0 - 2.0 * (np.arange(n) % 2)
    rotations[:, :, -1] *= (wanted * np.sign(np.linalg.det(rotations)))[:, None]
    return np.asarray(rotations)


def matched_starts(of: Frames, i: int, j: int, signs: Array) -> Array:
    """Orthogonal matrices that carry the eigenvectors of operator j onto those of i with the nearest eigenvalue.

    An eigenvector's phase is free. Where a = C b C^T the matrices of inner products of eigenvectors agree up to
    the phases z, so z is the leading eigenvector of their entrywise product (angular synchronisation); `signs`
    (start, rank) perturbs it. The wrong determinant is mended by a reflection in b's weakest direction.

    Returns:
        (start, rank, rank), determinants 1, -1, 1, ...
    """
    match = linear_sum_assignment(np.abs(of.values[i][:, None] - of.values[j][None, :]) ** 2)[1]
    product = of.gram[i] * of.gram[j][np.ix_(match, match)].conj()
    for _ in range(POWER):
        product = product @ product
        product /= max(np.abs(product).max(), 1e-300)
    phase = product.sum(axis=1)
    phase /= np.maximum(np.abs(phase), 1e-12)
    onto, of_b = of.vectors[i] * phase, of.vectors[j][:, match]
    twisted = signs[:, of.partner[i]][:, None, :]  # one sign for both of a conjugate pair
    carried = (onto.real * twisted) @ of_b.real.T + (onto.imag * twisted) @ of_b.imag.T
    rotations = nearest_orthogonal(carried)
    wanted = 1.0 - 2.0 * (np.arange(len(signs)) % 2)
    wrong = wanted * np.linalg.det(rotations) < 0
    weakest = of.axes[j][:, -1]
    rotations[wrong] -= 2.0 * (rotations[wrong] @ weakest)[:, :, None] * weakest
    return rotations


def polar_twins(matrix: Array) -> Array:
    """The orthogonal C with the largest <C, matrix>, and the one of the other determinant, (2, rank, rank)."""
    left, _, right = np.linalg.svd(matrix)
    turned = left.copy()
    turned[:, -1] *= -1
    return np.stack([left @ right, turned @ right])


def nearest_orthogonal(matrices: Array) -> Array:
    """The orthogonal factor of each (matrix, rank, rank); by products alone, 10 times faster than an SVD.

    Polynomials in x x^T act on the singular values: a quintic first, then Newton-Schulz, x <- (3 x - x x^T x) / 2.
    """
    size = np.abs(matrices).sum(axis=1).max(axis=1) * np.abs(matrices).sum(axis=2).max(axis=1)
    x = (matrices / np.sqrt(np.maximum(size, 1e-300))[:, None, None]).astype(np.float32)
    first, third, fifth = (np.float32(factor) for factor in FAST)
    for _ in range(FAST_ROUNDS):
        square = x @ x.transpose(0, 2, 1)
        x = first * x + (third * square + fifth * (square @ square)) @ x
    for _ in range(ROUNDS):
        x = _newton_schulz(x)
    rotations = _newton_schulz(x.astype(np.float64))
    error = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(matrices.shape[1])).max(axis=(1, 2))
    for k in np.flatnonzero(~(error < 1e-8)):  # (nearly) singular: the products did not get there
        left, _, right = np.linalg.svd(matrices[k])
        rotations[k] = left @ right
    return rotations


def _newton_schulz(x: NDArray[Any]) -> NDArray[Any]:
    half = x.dtype.type(0.5)
    return (3 * half) * x - half * ((x @ x.transpose(0, 2, 1)) @ x)
