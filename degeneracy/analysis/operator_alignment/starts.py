"""Where the search for a change of coordinates starts: matched eigenvectors and random rotations.

Half of the orthogonal matrices have determinant 1 and half -1, because no descent leads from one kind to the other.
What depends on one operator alone is computed once (`frames`), not for every pair it is in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from degeneracy.analysis.recording import Array

POWER = 6  # squarings of the matrix whose leading eigenvector is wanted: 64 power iterations
FAST = (3.4445, -4.7750, 2.0315)  # a quintic that brings singular values of 0.01 to near 1 in four rounds
FAST_ROUNDS, ROUNDS = 10, 5
# Above this rank few starts are matched: they end near one another. With half of 32 matched, one pair in 66 ended 0.2%
# above dsa-metric at rank 50; with an eighth, one in 264 (four seeds). At rank 20 a half ends 0.1% above the best known
# distances, an eighth 0.2%.
SMALL_RANK = 32


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The eigenvectors of several operators."""

    values: NDArray[np.complex128]  # (operator, rank)
    vectors: NDArray[np.complex128]  # (operator, rank, rank): in columns
    gram: NDArray[np.complex128]  # (operator, rank, rank): inner products of the eigenvectors
    partner: NDArray[np.int64]  # (operator, rank): the first of each conjugate pair, for both
    weakest: Array  # (operator, rank): the direction in which the operator does least


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
        weakest=np.linalg.eigh(operators @ transposed + transposed @ operators)[1][:, :, 0],
    )


def count_matched(n_starts: int, rank: int) -> int:
    """How many starts match eigenvectors: half, at large rank an eighth; never under 2, one of either sign."""
    return max(2, n_starts // (2 if rank <= SMALL_RANK else 8))


def shared_starts(n_starts: int, rank: int, seed: int) -> tuple[Array, Array]:
    """What all pairs start from alike.

    Returns:
        Signs of the matched eigenvectors, (`count_matched`, rank), 1 in the first two rows; and rotations,
        (the rest, rank, rank), the identity first, determinants 1, -1, 1, ...
    """
    gen = np.random.default_rng(seed)
    n_matched = count_matched(n_starts, rank)
    signs = gen.choice([-1.0, 1.0], size=(n_matched, rank))
    signs[:2] = 1.0
    rotations = np.linalg.qr(gen.standard_normal((n_starts - n_matched, rank, rank)))[0]
    wanted = 1.0 - 2.0 * (np.arange(len(rotations)) % 2)
    rotations[:, :, -1] *= (wanted * np.sign(np.linalg.det(rotations)))[:, None]
    rotations[:1] = np.eye(rank)
    return signs, rotations


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
    weakest = of.weakest[j]
    rotations[wrong] -= 2.0 * (rotations[wrong] @ weakest)[:, :, None] * weakest
    return rotations


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
