"""Compiled search for the orthogonal change of coordinates that makes one operator most like another.

    max over C in O(rank) of <A, C B C^T>          (A, B of unit Frobenius norm)

The starts of one pair descend side by side by Riemannian L-BFGS; after every round only the best go on. L-BFGS
starts from the inverse Gauss-Newton matrix of A instead of a multiple of the identity:

    G(S) = skew part of [[S, A], A^T] = (S M + M S) / 2 - (A S A^T + A^T S A),  M = A A^T + A^T A,

the Hessian where C B C^T = A. At small rank it takes a third of the iterations and ends in better minima. At large
rank its first part alone is inverted, which is a division of each entry in the eigenvectors of M: the search is done
in those. Gradients and steps are skew matrices, kept as their lower triangle ("packed"): k = i (i - 1) / 2 + j for
i > j.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri

from degeneracy.analysis.recording import Array
from degeneracy.compiling import compiled

MEMORY = 8  # pairs of vectors in L-BFGS
FINALISTS = 2
# The dense Gauss-Newton matrix has rank^4 / 4 numbers: above this rank it leaves the cache and costs more than the
# iterations it saves (measured: rank 20 3 times faster with it, rank 50 3 times slower).
DENSE_RANK = 32
DAMPING = (
    0.02  # added to the Gauss-Newton matrix, over rank: eigenvalues of an operator of norm 1 are ~ rank^-1/2
)
# In the rounds in single precision a search with this slope stands still: its value is known to 1e-8 then, enough to
# choose by (measured: the same distances in 85% of the time).
ROUNDS_TOLERANCE = 3e-5
COPY = 1e-6  # above the least value possible, -1: an angle of 0.0014
# Successive halving: the share of the starts that enters each round and its steps. The best FINALISTS go on until
# they converge. Steps before the first choice pay more than starts: at rank 50, 24 starts of 60 steps end 0.4% above
# the best distance known, 64 of 25 steps 0.6%, in twice the time; 32 of 90 steps 0.2%.
SHARES = (1.0, 1 / 2, 1 / 4, 1 / 8)
STEPS_DENSE, STEPS = (12, 10, 10, 10), (90, 60, 80, 100)

jit = compiled(error_model="numpy")  # a division by 0 is an infinity, not an exception


class Model(NamedTuple):
    """The inverse curvature that searches start from, known from the first operator alone."""

    frame: Any  # (rank, rank), orthogonal: the coordinates of the search are along its columns
    dense: Any  # (number, number) on packed skew matrices; empty at large rank, and rank 1
    diagonal: Any  # (number,): what stands in for it then, else 1


def model(a: Array) -> Model:
    """The model of an operator (rank, rank) of norm 1 (or 0)."""
    rank = len(a)
    i, j = np.tril_indices(rank, -1)
    if rank <= DENSE_RANK:
        return Model(np.eye(rank), inverse_gauss_newton(a), np.ones(len(i)))
    squares, frame = np.linalg.eigh(a @ a.T + a.T @ a)
    return Model(frame, np.empty((0, 0)), 1 / ((squares[i] + squares[j]) / 2 + DAMPING / rank))


def align(
    a: Array, b: Array, starts: Array, inverse: Model, *, max_iter: int, tolerance: float
) -> tuple[Array, Array]:
    """b in the coordinates most like a's: the best FINALISTS searches.

    Args:
        a, b: (rank, rank), of Frobenius norm 1 (or 0).
        starts: (start, rank, rank), orthogonal.
        inverse: `model(a)`.
        max_iter: steps of the finalists, after the rounds.
        tolerance: a search has converged when its gradient's norm is under this.

    Returns:
        C b C^T, (finalist, rank, rank), and the gradient's norm there, (finalist,).
    """
    n, dense = len(starts), len(inverse.dense) > 0
    a, starts = inverse.frame.T @ a @ inverse.frame, inverse.frame.T @ starts
    kept = [max(FINALISTS, round(share * n)) for share in SHARES]
    steps = list(STEPS_DENSE if dense else STEPS)
    if not dense:  # the rounds in single precision, which is twice as fast where products are the work
        enough = max(tolerance, ROUNDS_TOLERANCE)
        starts = _run(a, b, starts, inverse, kept, steps, enough, np.float32)[0][:FINALISTS]
        kept, steps = [], []
    rotations, slope = _run(
        a, b, starts, inverse, [*kept, FINALISTS], [*steps, max_iter], tolerance, np.float64
    )
    rotations = inverse.frame @ rotations
    return rotations @ b @ rotations.transpose(0, 2, 1), slope


def _run(
    a: Array,
    b: Array,
    starts: Array,
    inverse: Model,
    kept: list[int],
    steps: list[int],
    tolerance: float,
    kind: type,
) -> tuple[Array, Array]:
    """The searches of the last round, the best first, and their slopes, computed in one precision."""
    work = new_work(np.ascontiguousarray(a, kind), np.ascontiguousarray(b, kind))
    fits = new_fits(np.array(starts, kind))
    # The objective is of order 1: smaller rises are rounding.
    slack = 10 * float(np.finfo(kind).eps)
    own = Model(*(part.astype(kind) for part in inverse))
    last = descend(work, fits, own, np.array(kept), np.array(steps), float(tolerance), slack)
    rotations = fits.rotation[last].astype(np.float64)
    if kind is np.float32:
        rotations = 1.5 * rotations - 0.5 * rotations @ rotations.transpose(0, 2, 1) @ rotations
    return rotations, fits.slope[last].astype(np.float64)


class Fits(NamedTuple):
    """The state of all searches of one pair; the leading axis is the start."""

    rotation: Any  # (start, rank, rank)
    gradient: Any  # (start, number), packed
    direction: Any  # (start, number)
    steps: Any  # (start, MEMORY, number): the last steps s
    changes: Any  # (start, MEMORY, number): the gradient's change y over each
    curvature: Any  # (start, MEMORY): 1 / s . y
    value: Any  # (start,): -<a, c b c^T>
    slope: Any  # (start,): the gradient's norm
    length: Any  # (start,): of the next step, in units of the direction
    scale: Any  # (start,): s . y / y . D y of the newest, D the diagonal of the model
    drift: Any  # (start,): how far the rotation may be from orthogonal
    slots: Any  # (start, 2): filled ones, next to write


class Work(NamedTuple):
    """One pair and room for products, all (rank, rank), and a packed gradient."""

    a: Any
    at: Any
    b: Any
    left: Any
    aligned: Any
    first: Any
    second: Any
    third: Any
    skew: Any
    trial: Any
    gradient: Any


def new_fits(starts: NDArray[Any]) -> Fits:
    """Searches that have not moved yet."""
    n, rank = starts.shape[:2]
    packed, kind = rank * (rank - 1) // 2, starts.dtype
    return Fits(
        rotation=starts,
        gradient=np.empty((n, packed), kind),
        direction=np.empty((n, packed), kind),
        steps=np.empty((n, MEMORY, packed), kind),
        changes=np.empty((n, MEMORY, packed), kind),
        curvature=np.empty((n, MEMORY), kind),
        value=np.empty(n, kind),
        slope=np.empty(n, kind),
        length=np.ones(n, kind),
        scale=np.ones(n, kind),
        drift=np.zeros(n, kind),
        slots=np.zeros((n, 2), np.int64),
    )


def new_work(a: NDArray[Any], b: NDArray[Any]) -> Work:
    """Room for the products of one pair."""
    number = len(a) * (len(a) - 1) // 2
    left, aligned, first, second, third, skew, trial = (np.empty_like(a) for _ in range(7))
    at, gradient = np.ascontiguousarray(a.T), np.empty(number, a.dtype)
    return Work(a, at, b, left, aligned, first, second, third, skew, trial, gradient)


def inverse_gauss_newton(a: Array) -> Array:
    """(G + damping)^{-1} on packed skew matrices, (number, number); empty at rank 1."""
    rank = len(a)
    if rank < 2:
        return np.empty((0, 0))
    matrix = gauss_newton(a, a @ a.T + a.T @ a, DAMPING / rank)
    factor, failed = dpotrf(matrix, lower=1)
    inverse, failed_too = dpotri(factor, lower=1)
    assert failed == failed_too == 0, "G is positive semi-definite and damped"
    return np.tril(inverse) + np.tril(inverse, -1).T


@jit
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


@jit
def multiply(x, y, out):  # type: ignore[no-untyped-def]
    """A function of its own, so that it is compiled once."""
    np.dot(x, y, out)


@jit
def inner(x, y):  # type: ignore[no-untyped-def]
    """The inner product of two vectors."""
    return np.dot(x, y)


@jit
def objective(work, c, gradient):  # type: ignore[no-untyped-def]
    """-<a, c b c^T>; writes its gradient over rotations of c, half of [a^T, x]^T - [a^T, x], packed."""
    multiply(c, work.b, work.left)
    for i in range(c.shape[0]):
        for j in range(c.shape[0]):
            work.skew[j, i] = c[i, j]
    multiply(work.left, work.skew, work.aligned)
    multiply(work.at, work.aligned, work.first)
    multiply(work.aligned, work.at, work.second)
    half = c.dtype.type(0.5)
    k = 0
    for i in range(1, c.shape[0]):
        for j in range(i):
            gradient[k] = half * (work.first[j, i] - work.second[j, i] - work.first[i, j] + work.second[i, j])
            k += 1
    value = 0.0
    for i in range(c.shape[0]):
        value -= inner(work.a[i], work.aligned[i])
    return value


@jit
def turn(work, direction, length, c):  # type: ignore[no-untyped-def]
    """Writes c turned by the skew step S: c + S c + S^2 c / 2 + S^3 c / 8.

    Its singular values are sqrt(1 + angle^6 / 64): nearer to orthogonal than more terms of the exponential.
    """
    k = 0
    for i in range(c.shape[0]):
        work.skew[i, i] = 0
        for j in range(i):
            value = length * direction[k]
            work.skew[i, j], work.skew[j, i] = value, -value
            k += 1
    multiply(work.skew, c, work.first)
    multiply(work.skew, work.first, work.second)
    multiply(work.skew, work.second, work.third)
    half, eighth = c.dtype.type(0.5), c.dtype.type(0.125)
    for i in range(c.shape[0]):
        for j in range(c.shape[0]):
            work.trial[i, j] = (
                c[i, j] + work.first[i, j] + half * work.second[i, j] + eighth * work.third[i, j]
            )


@jit
def orthogonalise(work, c):  # type: ignore[no-untyped-def]
    """One Newton-Schulz step to the nearest orthogonal matrix, in place."""
    for i in range(c.shape[0]):
        for j in range(c.shape[0]):
            work.skew[j, i] = c[i, j]
    multiply(work.skew, c, work.first)
    multiply(c, work.first, work.second)
    one_and_half, half = c.dtype.type(1.5), c.dtype.type(0.5)
    for i in range(c.shape[0]):
        for j in range(c.shape[0]):
            c[i, j] = one_and_half * c[i, j] - half * work.second[i, j]


@jit
def copy(x, y):  # type: ignore[no-untyped-def]
    """Writes the matrix x to y; an assignment of whole arrays takes seconds to compile."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[i, j] = x[i, j]


@jit
def add(factor, x, y):  # type: ignore[no-untyped-def]
    """Adds factor * x to y."""
    for k in range(x.shape[0]):
        y[k] += factor * x[k]


@jit
def step(work, fits, f, diagonal, slack):  # type: ignore[no-untyped-def]
    """One step of search f; False where it was refused, and the next one is shorter."""
    direction = fits.direction[f]
    size = np.sqrt(2.0 * inner(direction, direction))
    # A rotation by more than about one radian leaves the range of the quadratic model (and of `turn`).
    fits.length[f] = min(fits.length[f], 1.0 / max(size, 1e-30))
    length = fits.length[f]
    turn(work, direction, length, fits.rotation[f])
    drift = fits.drift[f] + (length * size) ** 6 / 64.0
    if drift > 1e-6:
        orthogonalise(work, work.trial)
        drift = 0.0
    value = objective(work, work.trial, work.gradient)
    expected = 2.0 * length * inner(direction, fits.gradient[f])
    rise = value - fits.value[f]
    if not rise <= 1e-4 * expected + slack:
        # The minimum of the parabola through both values and the slope, kept within 0.1 to 0.5.
        shrink = -expected / max(2.0 * (rise - expected), 1e-30)
        fits.length[f] *= min(max(shrink, 0.1), 0.5)
        return False
    remember(work, fits, f, diagonal)
    copy(work.trial, fits.rotation[f])
    fits.drift[f], fits.value[f], fits.length[f] = drift, value, 1.0
    fits.slope[f] = np.sqrt(2.0 * inner(work.gradient, work.gradient))
    return True


@jit
def remember(work, fits, f, diagonal):  # type: ignore[no-untyped-def]
    """The step just taken and the gradient's change, unless the curvature along it is not positive."""
    slot = fits.slots[f, 1]
    taken, change, old = fits.steps[f, slot], fits.changes[f, slot], fits.gradient[f]
    for k in range(taken.shape[0]):
        taken[k] = fits.length[f] * fits.direction[f, k]
        change[k] = work.gradient[k] - old[k]
        old[k] = work.gradient[k]
    curvature, size = inner(taken, change), 0.0
    for k in range(change.shape[0]):
        size += diagonal[k] * change[k] * change[k]
    if curvature > 1e-10 * size and size > 0:
        fits.curvature[f, slot] = 1.0 / curvature
        fits.scale[f] = curvature / size
        fits.slots[f, 0] = min(fits.slots[f, 0] + 1, MEMORY)
        fits.slots[f, 1] = (slot + 1) % MEMORY


@jit
def new_directions(fits, moved, inverse, alpha, rows, solved):  # type: ignore[no-untyped-def]
    """L-BFGS directions of some searches (Nocedal & Wright 2006, algorithm 7.4); one product for them all."""
    dense = inverse.dense.shape[0] > 0
    for row, f in enumerate(moved):
        direction = fits.direction[f]
        for k in range(direction.shape[0]):
            direction[k] = -fits.gradient[f, k]
        for i in range(fits.slots[f, 0]):
            slot = (fits.slots[f, 1] - 1 - i) % MEMORY
            alpha[f, slot] = fits.curvature[f, slot] * inner(fits.steps[f, slot], direction)
            add(-alpha[f, slot], fits.changes[f, slot], direction)
        if dense:
            for k in range(direction.shape[0]):
                rows[row, k] = direction[k]
    if dense:
        multiply(rows[: len(moved)], inverse.dense, solved[: len(moved)])
    for row, f in enumerate(moved):
        direction = fits.direction[f]
        for k in range(direction.shape[0]):
            direction[k] = solved[row, k] if dense else fits.scale[f] * inverse.diagonal[k] * direction[k]
        for i in range(fits.slots[f, 0]):
            slot = (fits.slots[f, 1] - fits.slots[f, 0] + i) % MEMORY
            beta = fits.curvature[f, slot] * inner(fits.changes[f, slot], direction)
            add(alpha[f, slot] - beta, fits.steps[f, slot], direction)
        if not inner(direction, fits.gradient[f]) < 0:  # not downhill: from the gradient again
            fits.slots[f, 0] = 0
            for k in range(direction.shape[0]):
                direction[k] = -fits.gradient[f, k]


@jit
def best(value, alive, n_kept):  # type: ignore[no-untyped-def]
    """The n_kept searches of least value, in that order, the earlier one first where they are equal."""
    order = alive.copy()
    for i in range(1, len(order)):
        one, k = order[i], i
        while k > 0 and value[order[k - 1]] > value[one]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = one
    return order[:n_kept]


@jit
def descend(work, fits, inverse, kept, iterations, tolerance, slack):  # type: ignore[no-untyped-def]
    """All rounds of one pair, in place; returns the searches of the last round, the best first.

    Round r goes on with the best kept[r] for iterations[r] steps; a search whose gradient is under the tolerance,
    or which no step improves any more, stands still. So do all others once one has found a copy.
    """
    n, packed = fits.gradient.shape
    alpha = np.empty((n, MEMORY), work.a.dtype)
    rows, solved = np.empty((n, packed), work.a.dtype), np.empty((n, packed), work.a.dtype)
    alive, moved = np.arange(n), np.empty(n, np.int64)
    for f in range(n):
        fits.value[f] = objective(work, fits.rotation[f], fits.gradient[f])
        fits.slope[f] = np.sqrt(2 * inner(fits.gradient[f], fits.gradient[f]))
    for round_, n_kept in enumerate(kept):
        alive = best(fits.value, alive, n_kept)
        if round_ == 0:
            new_directions(fits, alive, inverse, alpha, rows, solved)
        moving = alive[:1] if fits.value[alive[0]] < COPY - 1.0 else alive
        for _ in range(iterations[round_]):
            n_moved = 0
            for f in moving:
                if (
                    fits.slope[f] >= tolerance
                    and fits.length[f] > 1e-6
                    and step(work, fits, f, inverse.diagonal, slack)
                ):
                    moved[n_moved] = f
                    n_moved += 1
            new_directions(fits, moved[:n_moved], inverse, alpha, rows, solved)
    for f in alive:
        orthogonalise(work, fits.rotation[f])
    return best(fits.value, alive, len(alive))
