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

from degeneracy.analysis.recording import Array, Weights
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

    With f = signs * scales, recurrent'[g, i, j] = r[g, i] recurrent[g, p_i, p_j] / f_j, where r[g, i] is f_i for
    the candidate gate and 1 for the others; rows of input and bias take r[g, i], readout columns 1 / f_j.
    It is the same network only where the cell allows signs and scales (see `SYMMETRIES`).

    Args:
        weights: the network.
        permutation: (unit,), the old unit each new unit is.
        signs: (unit,), +1 or -1; all +1 when left out.
        scales: (unit,), positive; all 1 when left out.

    Returns:
        The transformed weights; blocks that were absent stay absent.
    """
    n = len(permutation)
    factor = np.ones(n) if signs is None else real_array(signs, "signs")
    inverse = factor.copy()  # 1 / sign = sign
    if scales is not None:
        factor, inverse = factor * scales, inverse / scales
    rows = np.ones((weights.recurrent.shape[0], n))
    rows[weights.candidate] = factor
    recurrent = weights.recurrent[:, permutation][:, :, permutation]
    return replace(
        weights,
        recurrent=rows[:, :, None] * recurrent * inverse,
        input=None if weights.input is None else rows[:, :, None] * weights.input[:, permutation],
        bias=None if weights.bias is None else rows[:, None, :] * weights.bias[:, :, permutation],
        readout=None if weights.readout is None else weights.readout[:, permutation] * inverse,
    )


def random_copy(weights: Weights, rng: np.random.Generator) -> Weights:
    """A random copy under the symmetry the weights name: the same network, written differently.

    Units are permuted uniformly; signs are fair coins; scales are log-uniform in [1/2, 2].
    """
    symmetry = symmetry_of(weights)
    n = weights.recurrent.shape[-1]
    permutation = rng.permutation(n)
    signs = rng.choice([-1.0, 1.0], size=n) if symmetry.signs else None
    scales = 2.0 ** rng.uniform(-1, 1, size=n) if symmetry.scaling else None
    return transform(weights, permutation, signs, scales)


def normalise_scaling(weights: Weights, *, tolerance: float = 1e-13, max_iter: int = 100) -> Weights:
    """The one rescaling of a ReLU network with the smallest weights: same network, scales normalised out.

    Minimises, over positive scales d, F(d) = ||D W D^-1||^2 + ||D W_in||^2 + ||D b||^2 + ||W_out D^-1||^2 over the
    blocks given. In u = log d, F is a sum of exponentials of u_i - u_j, u_i and -u_j, hence convex; at the minimum
    each unit's incoming weights (recurrent row, input, bias) have the norm of its outgoing ones (recurrent column,
    readout), self-connection aside. The result is unique where every unit lies on a directed cycle of the graph
    of weights joined to one outside node. Without readout, or with neither input nor bias, only W is balanced,
    which leaves one common factor: it is set so that the blocks outside W have norm 1 (W does not see it).

    Args:
        weights: a one-gate network whose activation is positively homogeneous.
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
    exponent = common_exponent(_blocks(weights).values())
    if abs(exponent) > LARGE:
        canonical = normalise_scaling(_resized(weights, -exponent, _blocks(weights)))
        # Outside weights of one kind alone have norm 1, whatever the size of the others.
        return _resized(canonical, exponent, _blocks(weights) if _anchored(weights) else ["recurrent"])
    squares, incoming, outgoing = _squares(weights)
    anchored = _anchored(weights)
    if anchored:
        log_scales = _balance(squares, incoming, outgoing, tolerance, max_iter)
    else:
        nothing = np.zeros(len(squares))
        log_scales = _balance(squares, nothing, nothing, tolerance, max_iter)
        outside = (incoming * np.exp(2 * log_scales)).sum(), (outgoing * np.exp(-2 * log_scales)).sum()
        log_scales += 0.5 * (np.log(outside[1] or 1.0) - np.log(outside[0] or 1.0))
    return transform(weights, np.arange(len(squares)), None, np.exp(log_scales))


def scaling_obstacle(weights: Weights) -> str:
    """Why a network's scales cannot be normalised out, in one line; "" where they can.

    A unit that no cycle of non-zero weights runs through (nothing reaches it, or it reaches nothing) could be scaled
    without end, so there is no smallest network.
    """
    if weights.recurrent.shape[0] != 1:
        return f"scaling symmetry is for cells with one gate, not {weights.recurrent.shape[0]}"
    blocks = _blocks(weights)
    squares, incoming, outgoing = _squares(_resized(weights, -common_exponent(blocks.values()), blocks))
    graph = squares
    if incoming.any() and outgoing.any():
        graph = np.block([[squares, incoming[:, None]], [outgoing[None, :], np.zeros((1, 1))]])
    parts, _ = connected_components(graph > 0, directed=True, connection="strong")
    return "" if parts == 1 else "scales cannot be normalised: some units have no weights in or none out"


def _anchored(weights: Weights) -> bool:
    """Whether there are weights both from the outside and to it: then F fixes the common factor of all scales."""
    blocks = _blocks(weights)
    into = any(blocks[name].any() for name in ("input", "bias") if name in blocks)
    return into and "readout" in blocks and bool(blocks["readout"].any())


def _blocks(weights: Weights) -> dict[str, Array]:
    """The blocks that are there, by name."""
    blocks = {name: getattr(weights, name) for name in ("recurrent", "input", "bias", "readout")}
    return {name: block for name, block in blocks.items() if block is not None}


def _resized(weights: Weights, exponent: int, blocks: Iterable[str]) -> Weights:
    """The weights with some blocks times 2^exponent."""
    return replace(weights, **{name: np.ldexp(getattr(weights, name), exponent) for name in blocks})


def _squares(weights: Weights) -> tuple[Array, Array, Array]:
    """Squared recurrent weights without the diagonal (unit, unit); of all weights in, and out, of each unit."""
    squares = weights.recurrent[0] ** 2
    np.fill_diagonal(squares, 0.0)
    incoming, outgoing = np.zeros(len(squares)), np.zeros(len(squares))
    if weights.input is not None:
        incoming += (weights.input[0] ** 2).sum(axis=1)
    if weights.bias is not None:
        incoming += (weights.bias[0] ** 2).sum(axis=0)
    if weights.readout is not None:
        outgoing += (weights.readout**2).sum(axis=0)
    return squares, incoming, outgoing


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
