"""Compiled Riemannian L-BFGS: the starts of one pair descend side by side, and after every round only the best go on.

    min over C in O(rank) of sum_k <L_k, C R_k C^T> + <K, C>

Gradients and steps are skew matrices, packed as in `curvature`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.compiling import compiled

MEMORY = 8  # pairs of vectors in L-BFGS
REACH = 2.0  # the longest step, as the norm of a skew matrix: no plane is turned by more than 1 / sqrt 2 of it
COPY = 1e-6  # above the least value possible: of operators of norm 1 an angle of 0.0014

jit = compiled(error_model="numpy")  # a division by 0 is an infinity, not an exception


class Fits(NamedTuple):
    """The state of all searches of one pair; the leading axis is the start."""

    rotation: Any  # (start, rank, rank)
    gradient: Any  # (start, number), packed
    direction: Any  # (start, number)
    steps: Any  # (start, MEMORY, number): the last steps s
    changes: Any  # (start, MEMORY, number): the gradient's change y over each
    curvature: Any  # (start, MEMORY): 1 / s . y
    value: Any  # (start,): the objective
    slope: Any  # (start,): the gradient's norm
    length: Any  # (start,): of the next step, in units of the direction
    scale: Any  # (start,): s . y / y . D y of the newest, D the diagonal of the model
    drift: Any  # (start,): how far the rotation may be from orthogonal
    slots: Any  # (start, 2): filled ones, next to write


class Work(NamedTuple):
    """What is minimised, and room for products, (rank, rank) where nothing else is said, and for a packed gradient.

    Blocks of (rank, rank), one per term, stand under or beside one another, so that few products do for all terms.
    """

    left: Any  # ((term + 1) * rank, rank): L_k, then K^T; no K, here and below, where there is none
    right: Any  # (term * rank, rank): R_k
    halfway: Any  # (term * rank, rank): R_k c^T
    below: Any  # ((2 term + 1) * rank, rank): X_k = c R_k c^T, then c^T, then L_k^T
    beside: Any  # (rank, (2 term + 1) * rank): L_k^T, then K, then -X_k
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


def new_work(left: NDArray[Any], right: NDArray[Any], linear: NDArray[Any] | None = None) -> Work:
    """Room for the products of sum_k <left_k, C right_k C^T> + <linear, C>; left and right (term, rank, rank)."""
    n_terms, rank = left.shape[:2]
    kind = left.dtype
    linear = np.empty((rank, 0), kind) if linear is None else linear
    turned, room = left.transpose(0, 2, 1), np.empty((n_terms, rank, rank), kind)
    first, second, third, skew, trial = (np.empty((rank, rank), kind) for _ in range(5))
    return Work(
        left=np.concatenate([*left, linear.T]),
        right=np.concatenate(right),
        halfway=np.empty((n_terms * rank, rank), kind),
        below=np.concatenate([*room, np.empty_like(linear.T), *turned]),
        beside=np.hstack([*turned, linear, *room]),
        first=first,
        second=second,
        third=third,
        skew=skew,
        trial=trial,
        gradient=np.empty(rank * (rank - 1) // 2, kind),
    )


@jit
def multiply(x, y, out):  # type: ignore[no-untyped-def]
    """A function of its own, so that it is compiled once."""
    np.dot(x, y, out)


@jit
def multiply_transposed(x, y, out):  # type: ignore[no-untyped-def]
    """x y^T."""
    np.dot(x, y.T, out)


@compiled(error_model="numpy", fastmath={"reassoc", "contract"})
def inner(x, y):  # type: ignore[no-untyped-def]
    """The inner product of two vectors; summed in any order, several entries at a time."""
    total = x.dtype.type(0)
    for k in range(x.shape[0]):
        total += x[k] * y[k]
    return total


@jit
def objective(work, c, gradient):  # type: ignore[no-untyped-def]
    """The objective at c; writes its gradient over rotations of c.

    That is the skew part of sum_k (L^T X - X L^T) + K c^T, X = c R c^T, packed.
    """
    rank, size, done = c.shape[0], work.right.shape[0], work.left.shape[0]
    below, beside = work.below, work.beside
    multiply_transposed(work.right, c, work.halfway)
    for start in range(0, size, rank):
        multiply(c, work.halfway[start : start + rank], below[start : start + rank])
        for i in range(rank):
            for j in range(rank):
                beside[i, done + start + j] = -below[start + i, j]
    if done > size:
        for i in range(rank):
            for j in range(rank):
                below[size + j, i] = c[i, j]
    multiply(beside, below, work.first)
    half, k = c.dtype.type(0.5), 0
    for i in range(1, rank):
        for j in range(i):
            gradient[k] = half * (work.first[i, j] - work.first[j, i])
            k += 1
    return inner(work.left.reshape(-1), below[:done].reshape(-1))


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
            work.trial[i, j] = c[i, j] + work.first[i, j] + half * work.second[i, j] + eighth * work.third[i, j]


@jit
def orthogonalise(work, c):  # type: ignore[no-untyped-def]
    """One Newton-Schulz step to the nearest orthogonal matrix, in place."""
    multiply_transposed(c, c, work.first)
    multiply(work.first, c, work.second)
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
    # A turn of any plane by more than about one radian leaves the range of the quadratic model (and of `turn`).
    fits.length[f] = min(fits.length[f], REACH / max(size, 1e-30))
    length = fits.length[f]
    turn(work, direction, length, fits.rotation[f])
    drift = fits.drift[f] + (length * size / np.sqrt(2.0)) ** 6 / 64.0
    while drift > 1e-6:
        orthogonalise(work, work.trial)
        drift = drift**2
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
def descend(work, fits, inverse, kept, iterations, tolerance, slack, least):  # type: ignore[no-untyped-def]
    """All rounds of one pair, in place; returns all searches, the best first: those of the last round, then others.

    Round r goes on with the best kept[r] for iterations[r] steps; a search whose gradient is under the tolerance,
    or which no step improves any more, stands still. So do all others once one has come to `least`, what a copy has.
    """
    n, packed = fits.gradient.shape
    alpha = np.empty((n, MEMORY), fits.value.dtype)
    rows, solved = np.empty((n, packed), np.float32), np.empty((n, packed), np.float32)  # as `Model.dense`
    alive, moved = np.arange(n), np.empty(n, np.int64)
    for f in range(n):
        fits.value[f] = objective(work, fits.rotation[f], fits.gradient[f])
        fits.slope[f] = np.sqrt(2 * inner(fits.gradient[f], fits.gradient[f]))
    for round_, n_kept in enumerate(kept):
        alive = best(fits.value, alive, n_kept)
        if round_ == 0:
            new_directions(fits, alive, inverse, alpha, rows, solved)
        moving = alive[:1] if fits.value[alive[0]] < COPY + least else alive
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
    for f in range(n):
        orthogonalise(work, fits.rotation[f])
    return best(fits.value, np.arange(n), n)
