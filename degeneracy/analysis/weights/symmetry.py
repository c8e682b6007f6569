"""Which rewirings of a network leave it the same network: the symmetry group of each cell.

Relabelling hidden units never changes what a network does. An odd activation (tanh) also lets each unit change
sign, a ReLU lets each unit be rescaled. A weight distance has to look past these, and past nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from degeneracy.analysis.recording import Array, Block, Weights
from degeneracy.analysis.scaling import common_exponent
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.numeric import real_array

# Weights beyond 2^+-200 are brought near 1 before they are squared.
LARGE = 200
Permutation = NDArray[np.int64]  # (unit,): new unit i is old unit permutation[i]
Given = TypeVar("Given", Array, None)


@dataclass(frozen=True, kw_only=True)
class Symmetry:
    """What may be done to the hidden units of a cell without changing the network; permuting them always may."""

    signs: bool  # each unit may change sign
    scaling: bool  # each unit may be multiplied by a positive number
    note: str


SYMMETRIES: dict[str, Symmetry] = {
    "permutation": Symmetry(
        signs=False, scaling=False, note="units relabelled; all that holds for any activation, e.g. a sigmoid"
    ),
    "signed_permutation": Symmetry(
        signs=True,
        scaling=False,
        note="units relabelled, each with a sign: tanh is odd. In gated cells the sign acts on the candidate's "
        "rows and biases and on the recurrent columns of all gates",
    ),
    "scaled_permutation": Symmetry(
        signs=False, scaling=True, note="units relabelled, each with a positive factor: relu(a x) = a relu(x)"
    ),
    "linear_permutation": Symmetry(
        signs=True,
        scaling=True,
        note="units relabelled, each with a factor of either sign on the candidate's rows: each unit's state is linear "
        "in its candidate",
    ),
}


def symmetry_of(weights: Weights) -> Symmetry:
    """The symmetry that the weights name; of an unknown cell, permutations, which hold for any.

    Raises:
        UserError: the name is not in `SYMMETRIES`.
    """
    if not weights.symmetry:
        return SYMMETRIES["permutation"]
    if weights.symmetry not in SYMMETRIES:
        raise unknown_name("symmetry", weights.symmetry, SYMMETRIES, where="Weights")
    return SYMMETRIES[weights.symmetry]


def transform(
    weights: Weights, permutation: Permutation, signs: Array | None = None, scales: Array | None = None
) -> Weights:
    """The network with its hidden units relabelled: new unit i is f_i times old unit p_i.

    With f = signs * scales: every axis of units is permuted, and their classes along; rows ("unit") of recurrent, input
    and bias weights take f_i in the candidate gate and nothing in the others; columns ("pre") take 1 / f_j; a property
    of units, of role "unit", takes nothing. So recurrent'[g, i, j] = r[g, i] recurrent[g, p_i, p_j] / f_j, with
    r[g, i] = f_i or 1.
    It is the same network only where the cell allows signs and scales (see `SYMMETRIES`).

    Args:
        weights: the network.
        permutation: (unit,), the old unit each new unit is.
        signs: (unit,), +1 or -1; all +1 when left out.
        scales: (unit,), positive; all 1 when left out.

    Returns:
        The transformed weights; blocks that were absent stay absent.
    """
    factor = np.ones(len(permutation)) if signs is None else real_array(signs, "signs")
    inverse = factor.copy()  # 1 / sign = sign
    if scales is not None:
        factor, inverse = factor * scales, inverse / scales
    transformed = weights.replace(
        **{
            name: _transformed(block, permutation, factor, inverse, weights.candidate)
            for name, block in weights.blocks.items()
        }
    )
    classes = tuple(weights.classes[k] for k in permutation) if weights.classes else ()
    return replace(transformed, classes=classes)


def _transformed(block: Block, permutation: Permutation, factor: Array, inverse: Array, candidate: int) -> Array:
    array = block.array
    for place, axis in enumerate(block.axes):
        if axis in ("unit", "pre"):
            array = array[(slice(None),) * place + (permutation,)]
    if block.role == "unit":
        return array
    for place, axis in enumerate(block.axes):
        if axis not in ("unit", "pre"):
            continue
        shape = [1] * array.ndim
        shape[place] = len(permutation)
        if axis == "pre":
            array = array * inverse.reshape(shape)
            continue
        rows = factor.reshape(shape)
        if block.gated:
            gate = np.arange(len(array)).reshape(-1, *[1] * (array.ndim - 1))
            rows = np.where(gate == candidate, rows, 1.0)
        array = rows * array
    return array


def random_copy(weights: Weights, rng: np.random.Generator) -> Weights:
    """A random copy under the symmetry the weights name: the same network, written differently.

    Units are permuted uniformly; signs are fair coins; scales are log-uniform in [1/2, 2].
    """
    symmetry = symmetry_of(weights)
    n = weights.n_units
    permutation = rng.permutation(n)
    signs = rng.choice([-1.0, 1.0], size=n) if symmetry.signs else None
    scales = 2.0 ** rng.uniform(-1, 1, size=n) if symmetry.scaling else None
    return transform(weights, permutation, signs, scales)


def normalise_scaling(weights: Weights, *, tolerance: float = 1e-13, max_iter: int = 100) -> Weights:
    """The one rescaling of a network with the smallest weights: same network, scales normalised out.

    Minimises, over positive scales d, F(d) = ||D W D^-1||^2 + ||D W_in||^2 + ||D b||^2 + ||W_out D^-1||^2 over the
    blocks given; rows of gates other than the candidate take no D. In u = log d, F is a sum of exponentials of
    u_i - u_j, u_i and -u_j, hence convex; at the minimum each unit's incoming weights (recurrent row, input, bias) have
    the norm of its outgoing ones (recurrent column, readout), self-connection aside. The result is unique where every
    unit lies on a directed cycle of the graph of weights joined to one outside node. Without readout, or with neither
    input nor bias, only W is balanced, which leaves one common factor: it is set so that the blocks outside W have norm
    1 (W does not see it). A unit that has no weights to or from anything else has no scale: its own is 1.

    Args:
        weights: a network whose units may be rescaled.
        tolerance: relative change of F at which Newton's method stops.
        max_iter: most Newton steps; a dozen is usual.

    Returns:
        The rescaled weights.

    Raises:
        UserError: the minimum does not exist (see `scaling_obstacle`).

    Source: matrix balancing (Osborne 1960, J. ACM 7:338) with the outside world as one more, unscaled node.
    """
    obstacle = scaling_obstacle(weights)
    if obstacle:
        raise UserError(obstacle)
    scaled = _scaled(weights)
    exponent = common_exponent([weights[name] for name in scaled])
    if abs(exponent) > LARGE:
        canonical = normalise_scaling(_resized(weights, -exponent, scaled))
        # Outside weights of one kind alone have norm 1, whatever the size of the others.
        between = [name for name in scaled if weights.blocks[name].role == "recurrent"]
        return _resized(canonical, exponent, scaled if _anchored(weights) else between)
    squares, incoming, outgoing, units = _connected(*_squares(weights))
    if not len(units):
        return weights
    anchored = _anchored(weights)
    if anchored:
        log_scales = _balance(squares, incoming, outgoing, tolerance, max_iter)
    else:
        nothing = np.zeros(len(squares))
        log_scales = _balance(squares, nothing, nothing, tolerance, max_iter)
        outside = (incoming * np.exp(2 * log_scales)).sum(), (outgoing * np.exp(-2 * log_scales)).sum()
        log_scales += 0.5 * (np.log(outside[1] or 1.0) - np.log(outside[0] or 1.0))
    scales = np.ones(weights.n_units)
    scales[units] = np.exp(log_scales)
    return transform(weights, np.arange(len(scales)), None, scales)


def scaling_obstacle(weights: Weights) -> str:
    """Why a network's scales cannot be normalised out, in one line; "" where they can.

    A unit that no cycle of non-zero weights runs through (nothing reaches it, or it reaches nothing, but not both)
    could be scaled without end, so there is no smallest network.
    """
    scaled = _scaled(weights)
    exponent = common_exponent([weights[name] for name in scaled])
    squares, incoming, outgoing, _ = _connected(*_squares(_resized(weights, -exponent, scaled)))
    if not len(squares):
        return ""
    graph = squares
    if incoming.any() and outgoing.any():
        graph = np.block([[squares, incoming[:, None]], [outgoing[None, :], np.zeros((1, 1))]])
    parts, _ = connected_components(graph > 0, directed=True, connection="strong")
    return "" if parts == 1 else "scales cannot be normalised: some units have no weights in or none out"


def _anchored(weights: Weights) -> bool:
    """Whether there are weights both from the outside and to it: then F fixes the common factor of all scales."""
    _, into, out = _terms(weights)
    return any(array.any() for array in into) and any(array.any() for array in out)


def _scaled(weights: Weights) -> list[str]:
    """The blocks that scales act on."""
    return [name for name, block in weights.blocks.items() if block.role != "unit"]


def _resized(weights: Weights, exponent: int, blocks: Iterable[str]) -> Weights:
    """The weights with some blocks times 2^exponent."""
    return weights.replace(**{name: np.ldexp(weights[name], exponent) for name in blocks})


def _terms(weights: Weights) -> tuple[list[Array], list[Array], list[Array]]:
    """What F sums: weights (unit, unit) between units, (unit, k) into them alone, and (k, unit) out of them alone."""
    between, into, out = [], [], []
    for block in weights.blocks.values():
        for gate, array in enumerate(block.by_gate):
            rows = "unit" in block.inner and (not block.gated or gate == weights.candidate) and block.role != "unit"
            columns = "pre" in block.inner and block.role != "unit"
            if rows and columns:
                between.append(array)
            elif rows:
                into.append(np.moveaxis(array, block.inner.index("unit"), 0).reshape(weights.n_units, -1))
            elif columns:
                out.append(np.moveaxis(array, block.inner.index("pre"), -1).reshape(-1, weights.n_units))
    return between, into, out


def _squares(weights: Weights) -> tuple[Array, Array, Array]:
    """Squared recurrent weights without the diagonal (unit, unit); of all weights in, and out, of each unit."""
    n = weights.n_units
    between, into, out = _terms(weights)
    squares, incoming, outgoing = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    for array in between:
        squares += array**2
    np.fill_diagonal(squares, 0.0)
    for array in into:
        incoming += (array**2).sum(axis=1)
    for array in out:
        outgoing += (array**2).sum(axis=0)
    return squares, incoming, outgoing


def _connected(squares: Array, incoming: Array, outgoing: Array) -> tuple[Array, Array, Array, Permutation]:
    """The same of the units that have weights to or from anything else, and which these are."""
    units = np.flatnonzero(squares.any(axis=0) | squares.any(axis=1) | (incoming > 0) | (outgoing > 0))
    return squares[np.ix_(units, units)], incoming[units], outgoing[units], units


def _balance(squares: Array, incoming: Array, outgoing: Array, tolerance: float, max_iter: int) -> Array:
    """Logarithms of the scales at the minimum of F, by damped Newton steps; mean 0 where F does not fix it."""
    n = len(squares)
    u = np.zeros(n)

    def parts(u: Array) -> tuple[Array, Array, Array]:
        return squares * np.exp(2 * (u[:, None] - u)), incoming * np.exp(2 * u), outgoing * np.exp(-2 * u)

    value = np.inf
    for _ in range(max_iter):
        between, into, out = parts(u)
        gradient = 2 * (between.sum(axis=1) - between.sum(axis=0) + into - out)
        hessian = 4 * (np.diag(between.sum(axis=1) + between.sum(axis=0) + into + out) - between - between.T)
        value = between.sum() + into.sum() + out.sum()
        # F may not see a common shift of u: weigh it, so that the step has none of it then.
        free = 0.0 if into.any() or out.any() else np.trace(hessian) / n**2
        step = np.linalg.solve(hessian + free, -gradient)
        # Newton's own estimate of what is left to gain; quadratic convergence makes it reliable near the end.
        gain = -0.5 * gradient @ step
        size = min(1.0, 2.0 / np.abs(step).max()) if gain > 0 else 1.0
        while size > 1e-6 and sum(p.sum() for p in parts(u + size * step)) > value:
            size /= 2
        u = u + size * step
        if gain <= tolerance**2 * value:
            break
    return u
