"""The curvature that a search starts from, known from the operator alone that is kept in place.

    G(S) = skew part of [[S, A], A^T] = (S M + M S) / 2 - (A S A^T + A^T S A),  M = A A^T + A^T A,

is the Gauss-Newton matrix of <A, C B C^T> over rotations of C: the Hessian where C B C^T = A. At small rank its inverse
takes a third of the iterations and ends in better minima than a multiple of the identity. At large rank its first part
alone is inverted, which is a division of each entry in the eigenvectors of M: the search is done in those. Skew
matrices are kept as their lower triangle ("packed"): k = i (i - 1) / 2 + j for i > j.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from degeneracy.analysis.recording import Array
from degeneracy.core.compiling import compiled

# The dense Gauss-Newton matrix has rank^4 / 4 numbers: above this rank it leaves the cache and costs more than the
# iterations it saves (measured: rank 20 3 times faster with it, rank 50 3 times slower).
DENSE_RANK = 32
DAMPING = 0.02  # added to the Gauss-Newton matrix, over rank: eigenvalues of an operator of norm 1 are ~ rank^-1/2
NONE = np.empty((0, 0), np.float32)


class Model(NamedTuple):
    """The inverse curvature that searches start from, known from the first operator alone."""

    frame: Any  # (rank, rank), orthogonal: the coordinates of the search are along its columns
    dense: Any  # (number, number) on packed skew matrices, single precision; empty at large rank, and rank 1
    diagonal: Any  # (number,): what stands in for it then, else 1


def model(a: Array, b: Array | None = None) -> Model:
    """The model of an operator (rank, rank) of norm 1 (or 0); with b, (rank, column), of both under one C."""
    rank = len(a)
    i, j = np.tril_indices(rank, -1)
    square = a @ a.T + a.T @ a if b is None else a @ a.T + a.T @ a + b @ b.T
    if rank <= DENSE_RANK:
        return Model(np.eye(rank), inverse_gauss_newton(a, square).astype(np.float32), np.ones(len(i)))
    squares, frame = np.linalg.eigh(square)
    return Model(frame, NONE, 1 / ((squares[i] + squares[j]) / 2 + DAMPING / rank))


def commutator_model(parts: Sequence[tuple[Array, Array]]) -> Model:
    """The model of sum_k || [S, P_k] W_k ||^2 over skew S, of order 1: what a small turn of each P_k costs.

    Args:
        parts: P_k, (rank, rank), and W_k, (rank, rank).
    """
    rank = len(parts[0][0])
    i, j = np.tril_indices(rank, -1)
    damping = DAMPING / rank
    if rank > DENSE_RANK:
        own = np.full(len(i), damping)
        for p, w in parts:  # the size of each [S, P] W without what its two halves have in common
            rows, columns, weights = np.sum((p @ w) ** 2, axis=1), np.sum(p**2, axis=0), np.sum(w**2, axis=1)
            own += rows[i] + rows[j] + weights[j] * columns[i] + weights[i] * columns[j]
        return Model(np.eye(rank), NONE, 1 / own)
    basis = np.zeros((len(i), rank, rank))
    basis[np.arange(len(i)), i, j], basis[np.arange(len(i)), j, i] = 1.0, -1.0
    matrix = damping * np.eye(len(i))
    for p, w in parts:
        moved = (basis @ (p @ w) - p @ (basis @ w)).reshape(len(i), rank * rank)
        matrix += moved @ moved.T
    return Model(np.eye(rank), _inverse(matrix).astype(np.float32), np.ones(len(i)))


def inverse_gauss_newton(a: Array, square: Array) -> Array:
    """(G + damping)^{-1} on packed skew matrices, (number, number), square being M; empty at rank 1."""
    return _inverse(gauss_newton(a, square, DAMPING / len(a)))


def _inverse(matrix: Array) -> Array:
    """The inverse of a positive definite matrix."""
    if len(matrix) == 0:
        return np.empty((0, 0))
    factor, failed = dpotrf(matrix, lower=1)
    inverse, failed_too = dpotri(factor, lower=1)
    assert failed == failed_too == 0, "G is positive semi-definite and damped"
    return np.asarray(np.tril(inverse) + np.tril(inverse, -1).T)


@compiled(error_model="numpy")
def gauss_newton(a, square, damping):  # type: ignore[no-untyped-def]
    """The matrix of S -> skew part of [[S, a], a^T] on packed skew S, damped; square: a a^T + a^T a."""
    rank = a.shape[0]
    number = rank * (rank - 1) // 2
    half = a.dtype.type(0.5)
    out = np.zeros((number, number), a.dtype)
    row = 0
    for i in range(1, rank):
        for j in range(i):
            column = 0
            for k in range(1, rank):
                for m in range(k):
                    value = a[i, m] * a[j, k] - a[i, k] * a[j, m] + a[m, i] * a[k, j] - a[k, i] * a[m, j]
                    if i == k:
                        value += half * square[m, j]
                    if i == m:
                        value -= half * square[k, j]
                    if m == j:
                        value += half * square[i, k]
                    if k == j:
                        value -= half * square[i, m]
                    out[row, column] = value
                    column += 1
            out[row, row] += damping
            row += 1
    return out
