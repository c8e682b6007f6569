"""How far apart two networks' weights are once hidden units have been matched as well as can be found.

Weights between units make matching a quadratic assignment problem, which is NP-hard, so that distances are upper
bounds, from several starts of a Frank-Wolfe search over the convex hull of (signed) permutations and a local search at
its end. Blocks with one axis of units are its linear terms; networks that have no other are matched exactly.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.matching.assignment import Side, assignment, exact, side
from degeneracy.analysis.matching.frank_wolfe import solve
from degeneracy.analysis.recording import ORDINARY, Array, Block, Weights
from degeneracy.analysis.scaling import common_exponent, norm
from degeneracy.analysis.weights.symmetry import (
    Permutation,
    normalise_scaling,
    scaling_obstacle,
    symmetry_of,
    transform,
)
from degeneracy.core.errors import UserError, unknown_name

Variant = Literal["recurrent", "joint"]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The best matching found of network y to network x."""

    distance: float  # >= 0; an upper bound on the distance over all matchings
    norm: float  # of what is compared: root mean square of the two networks' norms
    n_parameters: int  # weights that are compared, units without any left out; of the network that has more
    permutation: Permutation  # x's unit i is matched to y's unit permutation[i] ...
    signs: Array  # ... times signs[i]
    spread: float  # worst less best distance of the starts that were not dropped; 0: they agree
    converged: bool  # the search stopped by itself; no swap of two units nor flip of one improves the result
    n_restarts: int


def align(
    x: Weights,
    y: Weights,
    *,
    signed: bool,
    blocks: Sequence[str] = ("recurrent",),
    block_scales: Mapping[str, float] | None = None,
    n_restarts: int = 8,
    max_iter: int = 100,
    seed: int = 0,
) -> Alignment:
    """The least Frobenius distance found between x and y, over relabellings of y's hidden units.

    d(x, y) = min_T sqrt(sum_b ||x_b - T(y)_b||_F^2 / scale_b^2), T ranging over the permutations of units, with a
    sign each if `signed` (`symmetry.transform`); what is found is an upper bound. Where the cell allows scaling, both
    networks are rescaled to their canonical scales first. The starts do not know in which order units come; they
    depend on `seed` and the networks alone. The worse half of them is dropped after 10 Frank-Wolfe steps, and half
    of those left after 10 more.

    Args:
        x: one network.
        y: another of the same cell and size.
        signed: whether units may change sign; the cell must allow it.
        blocks: the names of those that count; a block absent from both networks counts nothing.
        block_scales: what each block is divided by; 1 for a block left out.
        n_restarts: starts of the search, 1 or more: more finds shorter distances.
        max_iter: most Frank-Wolfe steps per start.
        seed: seed of the random starts.

    Returns:
        The best matching. Distance 0: the same network. Swapping x and y gives exactly the same distance.

    Raises:
        UserError: the networks cannot be compared (`comparable`), or an unknown block.

    Source: FAQ, Vogelstein et al. 2015 (PLOS ONE 10:e0121002), for several blocks and with signs.
    """
    scales = dict(block_scales or {})
    return pif_pairs(
        [(x, y)],
        signed=signed,
        block_scales={block: scales.get(block, 1.0) for block in blocks},
        n_restarts=n_restarts,
        max_iter=max_iter,
        seed=seed,
    )[0]


def pif_pairs(
    pairs: Sequence[tuple[Weights, Weights]],
    *,
    signed: bool,
    block_scales: Mapping[str, float],
    n_restarts: int = 8,
    max_iter: int = 100,
    seed: int = 0,
) -> list[Alignment]:
    """The alignment of each pair, over the blocks that `block_scales` names (see `align`).

    A network that stands in several pairs is prepared once; a pair's result does not depend on the other pairs.
    """
    if n_restarts < 1:
        raise UserError(f"align: n_restarts = {n_restarts} is wrong: at least 1 start is needed")
    networks: dict[int, _Network] = {}
    found = []
    for x, y in pairs:
        _check_names(block_scales, x, y)
        reason = comparable(x, y, signed=signed)
        if reason:
            raise UserError(f"align: {reason}")
        for weights in (x, y):
            if id(weights) not in networks:
                networks[id(weights)] = _prepared(weights, signed, block_scales)
        first, second = networks[id(x)], networks[id(y)]
        found.append(_align_canonical(first, second, signed, n_restarts, max_iter, seed))
    return found


def _check_names(names: Iterable[str], x: Weights, y: Weights) -> None:
    """Refuse a name that is no block of the networks, nor of ordinary ones."""
    known = list(dict.fromkeys((*ORDINARY, *x.blocks, *y.blocks)))
    for name in names:
        if name not in known:
            raise unknown_name("block", name, known, where="align")


def block_scales(weights: Sequence[Weights], variant: Variant) -> dict[str, float]:
    """The blocks of a variant and what each is divided by: 1 for those of `recurrent`, mean norms for those of `joint`.

    `recurrent` are the weights between units, `joint` all blocks, each over its mean norm over members. Norms are those
    at canonical scales where the cell allows scaling. Blocks that a member lacks, or that are zero in all members, are
    left out.

    Raises:
        UserError: an unknown variant, or scales that cannot be normalised.
    """
    if variant == "recurrent":
        return {name: 1.0 for name, block in weights[0].blocks.items() if block.role == "recurrent"}
    if variant != "joint":
        raise unknown_name("variant", variant, ("recurrent", "joint"), where="pif")
    canonical = [normalise_scaling(w) if symmetry_of(w).scaling else w for w in weights]
    present = [name for name in canonical[0].blocks if all(name in w.blocks for w in canonical)]
    norms = {name: float(np.mean([norm(w[name]) for w in canonical])) for name in present}
    return {block: size for block, size in norms.items() if size > 0}


def comparable(x: Weights, y: Weights, *, signed: bool = False) -> str:
    """Why two networks cannot be aligned, in one line; "" where they can."""
    if x.symmetry != y.symmetry or x.candidate != y.candidate:
        return f"networks of different cells ({x.symmetry} and {y.symmetry})"
    if sorted(x.classes) != sorted(y.classes):
        return f"networks of different classes of units ({_counted(x.classes)}, and {_counted(y.classes)})"
    if signed and not symmetry_of(x).signs:
        which = f"in a cell of symmetry '{x.symmetry}'" if x.symmetry else "where the cell is not known"
        which = f"where they are {' or '.join(sorted(set(x.classes)))}" if x.classes else which
        return f"units may not change sign {which}"
    for name in dict.fromkeys((*x.blocks, *y.blocks)):
        if (name in x.blocks) != (name in y.blocks):
            return f"{name} weights are given for one network only"
        a, b = x[name], y[name]
        if a.shape != b.shape:
            return f"networks of different sizes ({name} weights {a.shape} and {b.shape})"
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return f"{name} weights are not finite"
        if not _matched(x.blocks[name]):
            return f"{name} weights with the axes {', '.join(x.blocks[name].axes)} cannot be matched"
    return (scaling_obstacle(x) or scaling_obstacle(y)) if symmetry_of(x).scaling else ""


def class_distances(pairs: Sequence[tuple[Weights, Weights]], found: Sequence[Alignment]) -> dict[str, Array]:
    """What the recurrent weights from each class of units to each add to the distances: squares add up to theirs.

    Args:
        pairs: networks x and y, of the same classes of units.
        found: their alignments.

    Returns:
        By the row's name, "recurrent/E to I", (pair,); nothing where units are all alike.
    """
    names = sorted(set(pairs[0][0].classes)) if pairs else []
    squares: dict[str, list[float]] = {f"recurrent/{a} to {b}": [] for a in names for b in names}
    for (x, y), alignment in zip(pairs, found, strict=True):
        apart = x.recurrent - transform(y, alignment.permutation, alignment.signs).recurrent
        of = {name: np.array(x.classes) == name for name in names}
        for a in names:
            for b in names:
                squares[f"recurrent/{a} to {b}"].append(float(np.square(apart[:, of[b]][:, :, of[a]]).sum()))
    return {name: np.sqrt(np.array(values)) for name, values in squares.items()}


def _counted(classes: Sequence[str]) -> str:
    """How many units there are of each class, in words."""
    return " and ".join(f"{classes.count(name)} {name}" for name in sorted(set(classes))) or "all alike"


def _matched(block: Block) -> bool:
    """Whether the search knows what to do with a block: recurrent weights, or at most one axis of units."""
    units = [axis for axis in block.inner if axis in ("unit", "pre")]
    return len(units) < 2 or (block.role == "recurrent" and block.inner == ("unit", "pre"))


def shuffled(weights: Weights, rng: np.random.Generator) -> Weights:
    """Weights with the entries of each block of each gate in random order: same values, no structure left.

    Bias and input entries are shuffled within a gate (and within each of the gate's bias rows), weights between units
    among those from one class of units, all of which may have one sign. Units without any weight stay so.
    """
    units = units_with_weights(weights)
    classes = tuple(weights.classes[k] for k in units) if weights.classes else ()

    def mixed(block: Block) -> Array:
        keep = sum(axis in ("gate", "bias") for axis in block.axes)
        between = block.role == "recurrent" and block.inner == ("unit", "pre")
        inner, array = _among(block, units), np.zeros_like(block.array)
        array[inner] = shuffled_entries(block.array[inner], classes if between else (), rng, keep)
        return array

    return weights.replace(**{name: mixed(block) for name, block in weights.blocks.items()})


def units_with_weights(weights: Weights) -> Permutation:
    """Positions of the units that have any weight into, out of or of them that is not 0."""
    there = np.zeros(weights.n_units, dtype=bool)
    for block in weights.blocks.values():
        for place, axis in enumerate(block.axes):
            if axis in ("unit", "pre"):
                there |= np.moveaxis(block.array != 0, place, 0).reshape(len(there), -1).any(axis=1)
    return np.flatnonzero(there)


def _among(block: Block, units: Permutation) -> tuple[NDArray[np.int64], ...]:
    """The index of a block's entries that are of some units, or of none in particular."""
    sizes = zip(block.axes, block.array.shape, strict=True)
    return np.ix_(*(units if axis in ("unit", "pre") else np.arange(size) for axis, size in sizes))


def shuffled_entries(array: Array, classes: Sequence[str], rng: np.random.Generator, keep: int = 0) -> Array:
    """The entries of an array (..., pre) in random order: within the first `keep` axes, and within classes of `pre`."""
    if not classes:
        return rng.permuted(array.reshape(*array.shape[:keep], -1), axis=-1).reshape(array.shape)
    mixed = array.copy()
    for name in sorted(set(classes)):
        columns = np.array(classes) == name
        mixed[..., columns] = shuffled_entries(array[..., columns], (), rng, keep)
    return mixed


def weight_change(initial: Weights, final: Weights) -> tuple[float, float]:
    """How far training moved the recurrent weights: ||W_T - W_0||_F, and that over ||W_0||_F.

    Args:
        initial: a member before training.
        final: the same member, units in the same order.

    Returns:
        Absolute and relative change, >= 0; 0: nothing moved. The relative one is NaN where W_0 is zero.

    Raises:
        UserError: the sizes differ.
    """
    if initial.recurrent.shape != final.recurrent.shape:
        sizes = f"{initial.recurrent.shape} and {final.recurrent.shape}"
        raise UserError(f"weight_change: recurrent weights of different shapes ({sizes})")
    change, size = norm(final.recurrent - initial.recurrent), norm(initial.recurrent)
    return change, change / size if size > 0 else float("nan")


@dataclass(frozen=True, kw_only=True)
class _Network:
    """A network prepared for all of its pairs."""

    weights: Weights  # at canonical scales, with the blocks that count, each divided by its scale
    side: Side
    norm: float  # of these blocks together
    n_parameters: int  # in them, units without any weight left out
    key: list[bytes]  # puts two networks in an order that does not depend on how they were given


def _prepared(weights: Weights, signed: bool, scales: Mapping[str, float]) -> _Network:
    """Weights at canonical scales, with the blocks that count, each divided by its scale."""
    if symmetry_of(weights).scaling:
        weights = normalise_scaling(weights)
    units = units_with_weights(weights)
    weights = weights.replace(
        **{name: weights[name] / scales[name] if name in scales else None for name in weights.blocks}
    )
    takes = {name: _takes_sign(block, weights.candidate, signed) for name, block in weights.blocks.items()}
    between = [name for name, block in weights.blocks.items() if block.role == "recurrent"]
    outside = [_outside(weights, takes, True)]
    if not all(mask.all() for mask in takes.values()):
        outside.append(_outside(weights, takes, False))
    nothing = np.zeros((0, weights.n_units, weights.n_units))
    own, other = (
        np.concatenate([nothing, *(np.stack(weights.blocks[name].by_gate)[takes[name] == sign] for name in between)])
        for sign in (True, False)
    )
    return _Network(
        weights=weights,
        side=side(own, other, outside, signed=signed, classes=weights.classes),
        norm=norm([norm(array) for array in _arrays(weights)]),
        n_parameters=sum(block.array[_among(block, units)].size for block in weights.blocks.values()),
        key=[a.tobytes() for a in _arrays(weights)],
    )


def _takes_sign(block: Block, candidate: int, signed: bool) -> NDArray[np.bool_]:
    """Which gates of a block have rows that change sign with the unit; all where units do not change sign."""
    n = len(block.by_gate)
    if not signed:
        return np.full(n, True)
    if block.role == "unit":
        return np.full(n, False)
    return np.arange(n) == candidate if block.gated else np.full(n, True)


def _outside(weights: Weights, takes: Mapping[str, NDArray[np.bool_]], sign: bool) -> Array:
    """The weights of each unit's rows that take a sign (or not) from the outside, and to it, (unit, weight)."""
    n = weights.n_units
    columns: list[Array] = [np.zeros((n, 0))]
    for name, block in weights.blocks.items():
        axes = [axis for axis in block.inner if axis in ("unit", "pre")]
        if block.role == "recurrent" or not axes:
            continue
        place = block.inner.index(axes[0])
        columns += [
            np.moveaxis(array, place, 0).reshape(n, -1)
            for array, own in zip(block.by_gate, takes[name], strict=True)
            if own == sign
        ]
    return np.concatenate(columns, axis=1)


def _arrays(weights: Weights) -> list[Array]:
    return [block.array for block in weights.blocks.values()]


def _align_canonical(x: _Network, y: _Network, signed: bool, n_restarts: int, max_iter: int, seed: int) -> Alignment:
    """Align in an order of the two that depends on their values alone, so that the distance is symmetric exactly."""
    swap = x.key > y.key
    first, second = (y, x) if swap else (x, y)
    problem = assignment(first.side, second.side, signed=signed)
    if problem.linear_only:
        results = [(*exact(problem), True)]
    else:
        results = solve(problem, n_restarts=n_restarts, max_iter=max_iter, seed=seed)
    found = [_distance(first.weights, transform(second.weights, matching, signs)) for matching, signs, _ in results]
    best = int(np.argmin(found))
    permutation, signs, converged = results[best]
    if swap:
        permutation = np.argsort(permutation)
        signs = signs[permutation]
    return Alignment(
        distance=found[best],
        norm=root_mean_square(x.norm, y.norm),
        n_parameters=max(x.n_parameters, y.n_parameters),
        permutation=permutation,
        signs=signs,
        spread=max(found) - found[best],
        converged=converged,
        n_restarts=n_restarts,
    )


def root_mean_square(a: float, b: float) -> float:
    """Of two norms, of any size; the order of the two does not matter."""
    return float(np.hypot(a, b) / np.sqrt(2))


def _distance(x: Weights, y: Weights) -> float:
    differences = [a - b for a, b in zip(_arrays(x), _arrays(y), strict=True)]
    exponent = common_exponent(differences)
    square = sum((np.ldexp(difference, -exponent) ** 2).sum() for difference in differences)
    return float(np.ldexp(np.sqrt(square), exponent))
