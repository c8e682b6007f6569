"""Starts of a search from the leading axes of two operators: signs that agree, and the best alignments of few axes.

Operators of principal axes agree in the order of their axes, and differ in the signs of these at least. In the axes in
which an operator does most, the eigenvectors of A A^T + A^T A, so do any two that are alike, whatever their
coordinates.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.operator_alignment import curvature
from degeneracy.analysis.operator_alignment.descent import descend, new_fits, new_work
from degeneracy.analysis.recording import Array
from degeneracy.core.compiling import compiled

LEADING = 8  # axes that are aligned by themselves: they have most of an operator's norm
STEPS = 15  # of each search there; the searches that go on from them take many more
DISTINCT = 1e-4  # difference of values over which two alignments are two
SWEEPS = 5  # over all signs; two or three are enough where any more would flip
STILL, SLACK = 1e-6, 1e-14  # the gradient's norm at which a search stands still; rounding of a value of order 1


def agreeing_signs(a: Array, b: Array) -> tuple[Array, Array]:
    """Signs z such that a and diag(z) b diag(z) agree, and their twin of the other determinant.

    Where a = diag(z) b diag(z) without noise, the signs of a o b (entrywise) are z z^T. So z starts as the signs of the
    leading eigenvector of the symmetric part of a o b, each axis taken at its own size, and is improved sign by sign.
    The twin has the sign turned that costs least.

    Args:
        a, b: (frame, rank, rank), two operators in several coordinates.

    Returns:
        (frame, rank) each, of 1 and -1.
    """
    products = a * b
    both = products + products.transpose(0, 2, 1)
    size = 1 / np.sqrt(np.abs(both).sum(axis=2) + 1e-300)
    vectors = np.linalg.eigh(both * size[:, :, None] * size[:, None, :])[1][:, :, -1]
    signs = np.where(vectors >= 0, 1.0, -1.0)
    twins = np.empty_like(signs)
    for z, twin, matrix in zip(signs, twins, both, strict=True):
        twin[:] = z
        k = improve_signs(matrix, z, 0)
        twin[:] = z
        twin[k] *= -1
    return signs, twins


@compiled()
def improve_signs(both, z, first):  # type: ignore[no-untyped-def]
    """Turns signs from the first-th on while z^T both z rises, in place; returns the one whose turn costs least.

    Args:
        both: (rank, rank), symmetric.
        z: (rank,), of 1 and -1.
    """
    cheapest, least = first, np.inf
    for _ in range(SWEEPS):
        turned = False
        cheapest, least = first, np.inf
        for i in range(first, len(z)):
            pull = 0.0
            for k in range(len(z)):
                if k != i:
                    pull += both[i, k] * z[k]
            cost = pull * z[i]
            if cost < 0:
                z[i] = -z[i]
                cost, turned = -cost, True
            if cost <= least:
                cheapest, least = i, cost
        if not turned:
            break
    return cheapest


def synchronised_starts(operators: Array, axes: Array, i: int, j: int) -> Array:
    """Orthogonal matrices that carry operator j's axes onto those of i, with signs that agree.

    Args:
        operators: (operator, rank, rank).
        axes: (operator, rank, rank), those in which each does most, in columns.

    Returns:
        (4, rank, rank): in the coordinates as they are, and the twin of the other determinant; in the leading axes, and
        their twin.
    """
    a, b = (np.stack([operators[k], axes[k].T @ operators[k] @ axes[k]]) for k in (i, j))
    signs, twins = agreeing_signs(a, b)
    rank = a.shape[1]
    starts = np.empty((4, rank, rank))
    for k, z in enumerate((signs, twins)):
        starts[k] = np.diag(z[0])
        starts[2 + k] = (axes[i] * z[1]) @ axes[j].T
    return starts


def first_block(operator: Array) -> Array:
    """The first `LEADING` axes of an operator, at norm 1 (or 0)."""
    block = np.ascontiguousarray(operator[:LEADING, :LEADING])
    return block / max(float(np.linalg.norm(block)), 1e-300)


def leading_starts(
    a: Array, b: Array, axes_a: Array, axes_b: Array, model: curvature.Model, rotations: Array, n: int
) -> NDArray[Any]:
    """Orthogonal matrices from the best alignments of two operators' leading axes, at most n and the best first.

    Args:
        a, b: (rank, rank), each in its own axes; the rank is over `LEADING`.
        axes_a, axes_b: (rank, rank), those axes in columns.
        model: of the first block of a.
        rotations: (start, LEADING, LEADING), where the searches for alignments start.
    """
    fits = new_fits(rotations.copy())
    work = new_work(-first_block(a)[None], first_block(b)[None])
    rounds = np.array([len(rotations)]), np.array([STEPS])
    order = descend(work, fits, model, *rounds, STILL, SLACK, -1.0)
    values = fits.value[order]
    distinct = order[np.diff(values, prepend=-np.inf) > DISTINCT][:n]
    starts = np.empty((len(distinct), *a.shape))
    for start, f in zip(starts, distinct, strict=True):
        block, z = fits.rotation[f], np.ones(len(a))
        turned = b.copy()
        turned[:LEADING] = block @ b[:LEADING]
        turned[:, :LEADING] = turned[:, :LEADING] @ block.T
        products = a * turned
        improve_signs(products + products.T, z, LEADING)
        start[:] = axes_a * z
        start[:, :LEADING] = axes_a[:, :LEADING] @ block
        start[:] = start @ axes_b.T
    return starts
