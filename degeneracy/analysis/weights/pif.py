"""How far apart two networks' weights are once hidden units have been matched as well as can be found.

Matching is a quadratic assignment problem and NP-hard, so every distance here is an upper bound, from several starts
of a Frank-Wolfe search over the convex hull of (signed) permutations and a local search at its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.matching.assignment import Side, assignment, side
from degeneracy.analysis.matching.frank_wolfe import solve
from degeneracy.analysis.recording import Array, Weights
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
BLOCKS = ("recurrent", "input", "bias", "readout")


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The best matching found of network y to network x."""

    distance: float  # >= 0; an upper bound on the distance over all matchings
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
        blocks: those of `BLOCKS` that count; a block absent from both networks counts nothing.
        block_scales: what each block is divided by; 1 for a block left out.
        n_restarts: starts of the search, 1 or more: more finds shorter distances.
        max_iter: most Frank-Wolfe steps a start.
        seed: seed of the random starts.

    Returns:
        The best matching. Distance 0: the same network. Swapping x and y gives exactly the same distance.

    Raises:
        UserError: the networks cannot be compared (`comparable`), or an unknown block.

    Source: FAQ, Vogelstein et al. 2015 (PLOS ONE 10:e0121002), for several blocks and with signs.
    """
    options = _checked(blocks, n_restarts)
    scales = dict.fromkeys(BLOCKS, 1.0) | dict(block_scales or {})
    return pif_pairs(
        [(x, y)],
        signed=signed,
        block_scales={block: scales[block] for block in options},
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
    blocks = _checked(tuple(block_scales), n_restarts)
    networks: dict[int, _Network] = {}
    found = []
    for x, y in pairs:
        reason = comparable(x, y, signed=signed)
        if reason:
            raise UserError(f"align: {reason}")
        for weights in (x, y):
            if id(weights) not in networks:
                networks[id(weights)] = _prepared(weights, signed, blocks, block_scales)
        first, second = networks[id(x)], networks[id(y)]
        found.append(_align_canonical(first, second, signed, n_restarts, max_iter, seed))
    return found


def _checked(blocks: Sequence[str], n_restarts: int) -> tuple[str, ...]:
    """The blocks, all known; and at least one start."""
    for block in blocks:
        if block not in BLOCKS:
            raise unknown_name("block", block, BLOCKS, where="align")
    if n_restarts < 1:
        raise UserError(f"align: n_restarts = {n_restarts} is wrong: at least 1 start is needed")
    return tuple(blocks)


def block_scales(weights: Sequence[Weights], variant: Variant) -> dict[str, float]:
    """The blocks of a variant and what each is divided by: 1 for `recurrent`, mean norms over members for `joint`.

    Norms are those at canonical scales where the cell allows scaling. Blocks that a member lacks, or that are zero in
    all members, are left out.

    Raises:
        UserError: an unknown variant, or scales that cannot be normalised.
    """
    if variant == "recurrent":
        return {"recurrent": 1.0}
    if variant != "joint":
        raise unknown_name("variant", variant, ("recurrent", "joint"), where="pif")
    canonical = [normalise_scaling(w) if symmetry_of(w).scaling else w for w in weights]
    present = [b for b in BLOCKS if all(getattr(w, b) is not None for w in canonical)]
    norms = {b: float(np.mean([norm(getattr(w, b)) for w in canonical])) for b in present}
    return {block: size for block, size in norms.items() if size > 0}


def comparable(x: Weights, y: Weights, *, signed: bool = False) -> str:
    """Why two networks cannot be aligned, in one line; "" where they can."""
    if x.symmetry != y.symmetry or x.candidate != y.candidate:
        return f"networks of different cells ({x.symmetry} and {y.symmetry})"
    if signed and not symmetry_of(x).signs:
        which = f"in a cell of symmetry '{x.symmetry}'" if x.symmetry else "where the cell is not known"
        return f"units may not change sign {which}"
    for block in BLOCKS:
        a, b = getattr(x, block), getattr(y, block)
        if (a is None) != (b is None):
            return f"{block} weights are given for one network only"
        if a is not None and a.shape != b.shape:
            return f"networks of different sizes ({block} weights {a.shape} and {b.shape})"
        if a is not None and not (np.isfinite(a).all() and np.isfinite(b).all()):
            return f"{block} weights are not finite"
    return (scaling_obstacle(x) or scaling_obstacle(y)) if symmetry_of(x).scaling else ""


def shuffled(weights: Weights, rng: np.random.Generator) -> Weights:
    """Weights with the entries of each block of each gate in random order: same values, no structure left.

    Bias and input entries are shuffled within a gate (and within each of the gate's bias rows).
    """

    def mix(block: Array | None, keep: int) -> Array | None:
        if block is None:
            return None
        return rng.permuted(block.reshape(*block.shape[:keep], -1), axis=-1).reshape(block.shape)

    recurrent = mix(weights.recurrent, 1)
    assert recurrent is not None
    return replace(
        weights,
        recurrent=recurrent,
        input=mix(weights.input, 1),
        bias=mix(weights.bias, 2),
        readout=mix(weights.readout, 0),
    )


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
    key: list[bytes]  # puts two networks in an order that does not depend on how they were given


def _prepared(weights: Weights, signed: bool, blocks: Sequence[str], scales: Mapping[str, float]) -> _Network:
    """Weights at canonical scales, with the blocks that count, each divided by its scale."""
    if symmetry_of(weights).scaling:
        weights = normalise_scaling(weights)
    kept = {
        block: getattr(weights, block) / scales[block]
        for block in BLOCKS
        if block in blocks and getattr(weights, block) is not None
    }
    nothing = {"recurrent": np.zeros_like(weights.recurrent), "input": None, "bias": None, "readout": None}
    weights = replace(weights, **{**nothing, **kept})
    own = np.full(len(weights.recurrent), True)
    if signed:
        own = np.arange(len(weights.recurrent)) == weights.candidate
    outside = [_outside(weights, own, weights.readout)]
    if not own.all():
        outside.append(_outside(weights, ~own, None))
    return _Network(
        weights=weights,
        side=side(weights.recurrent[own], weights.recurrent[~own], outside, signed=signed),
        key=[a.tobytes() for a in _arrays(weights)],
    )


def _outside(weights: Weights, gates: NDArray[np.bool_], readout: Array | None) -> Array:
    """The weights of each unit's rows in some gates from the outside, and to it, (unit, weight)."""
    n = weights.recurrent.shape[-1]
    columns: list[Array] = [np.zeros((n, 0))]
    if weights.input is not None:
        columns += list(weights.input[gates])
    if weights.bias is not None:
        columns += list(weights.bias[gates].transpose(0, 2, 1))
    if readout is not None:
        columns.append(readout.T)
    return np.concatenate(columns, axis=1)


def _arrays(weights: Weights) -> list[Array]:
    return [getattr(weights, block) for block in BLOCKS if getattr(weights, block) is not None]


def _align_canonical(x: _Network, y: _Network, signed: bool, n_restarts: int, max_iter: int, seed: int) -> Alignment:
    """Align in an order of the two that depends on their values alone, so that the distance is symmetric exactly."""
    swap = x.key > y.key
    first, second = (y, x) if swap else (x, y)
    problem = assignment(first.side, second.side, signed=signed)
    results = solve(problem, n_restarts=n_restarts, max_iter=max_iter, seed=seed)
    found = [_distance(first.weights, transform(second.weights, matching, signs)) for matching, signs, _ in results]
    best = int(np.argmin(found))
    permutation, signs, converged = results[best]
    if swap:
        permutation = np.argsort(permutation)
        signs = signs[permutation]
    return Alignment(
        distance=found[best],
        permutation=permutation,
        signs=signs,
        spread=max(found) - found[best],
        converged=converged,
        n_restarts=n_restarts,
    )


def _distance(x: Weights, y: Weights) -> float:
    differences = [a - b for a, b in zip(_arrays(x), _arrays(y), strict=True)]
    exponent = common_exponent(differences)
    square = sum((np.ldexp(difference, -exponent) ** 2).sum() for difference in differences)
    return float(np.ldexp(np.sqrt(square), exponent))
