"""The quadratic assignment behind weight distances: which matching of units, with signs, makes two networks agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from degeneracy.analysis.matching.linear_assignment import Single
from degeneracy.analysis.recording import Array
from degeneracy.analysis.scaling import common_exponent

Index = NDArray[np.int64] | slice  # units, by position; a slice of all


@dataclass(frozen=True, kw_only=True)
class Side:
    """What the search needs of one network, whatever its partner; see `side`."""

    own: Array  # (gate, unit, unit): gates whose rows change sign with the unit (all gates without signs: Q = P)
    other: Array  # (gate, unit, unit): gates whose rows do not
    outside: tuple[Array, ...]  # of each kind of row (unit, weight): weights from and to the outside
    left: tuple[Single, ...]  # of each kind, (unit, term * unit), and ...
    right: tuple[Single, ...]  # ... (term, unit, unit): gradient = left_x @ (right_y in the order matched)
    looks: Single  # (unit, feature): what a unit's weights look like, whatever the order of its partners
    squares: float  # ||X||^2 over all blocks, each divided by one power of two that brings the largest near 1
    classes: tuple[Index, ...]  # the units of each class, of which those of different classes are not matched


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Maximise sum_own <X, Q Y Q^T> + sum_other <X, P Y Q^T> + <L_0, Q> + <L_1, P> over Q = P diag(signs).

    `own` gates are those whose rows change sign with the unit (all gates where there are no signs: then Q = P),
    `other` those whose rows do not. Without `other` gates P plays no part: there is one kind of matrix, else two.
    """

    x: Side
    y: Side
    linear: Array  # (kind, unit, unit): profit of matching x's unit i to y's unit k; kind 0 takes the sign
    linear32: Single
    signed: bool
    scale: float  # ||X|| ||Y|| over all blocks, as in `Side`: the unit of profit

    @property
    def classes(self) -> list[tuple[Index, Index]]:
        """The units of x and of y that may be matched, class by class."""
        return list(zip(self.x.classes, self.y.classes, strict=True))

    @property
    def linear_only(self) -> bool:
        """Whether no weights between units count: then one linear assignment is the answer."""
        return not len(self.x.own) and not len(self.x.other)


def side(own: Array, other: Array, outside: Sequence[Array], *, signed: bool, classes: Sequence[str] = ()) -> Side:
    """Prepares one network for all of its pairs.

    Args:
        own, other: (gate, unit, unit), see `Assignment`.
        outside: (unit, weight) of each kind of row.
        signed: whether units may change sign.
        classes: of each unit; none where all are alike.
    """
    # A matching does not depend on the size of the weights; products of small or large ones have no place in float32.
    exponent = common_exponent([own, other, *outside])
    own, other, *outside = (np.ldexp(w, -exponent) for w in (own, other, *outside))
    turned, other_turned = own.transpose(0, 2, 1), other.transpose(0, 2, 1)
    left = [np.concatenate([own, turned, other_turned])]
    right = [np.concatenate([turned, own, other])]
    if len(outside) > 1:
        left, right = [*left, other], [*right, other_turned]
    n = own.shape[-1]
    return Side(
        own=own,
        other=other,
        outside=tuple(outside),
        left=tuple(_beside(w, n) for w in left),
        right=tuple(w.astype(np.float32) for w in right),
        looks=_looks(own, other, signed),
        squares=float((own**2).sum() + (other**2).sum() + sum((w**2).sum() for w in outside)),
        classes=tuple(np.flatnonzero(np.array(classes) == name) for name in sorted(set(classes))) or (slice(None),),
    )


def _beside(matrices: Array, n: int) -> Single:
    """Matrices (term, unit, unit) beside one another, (unit, term * unit)."""
    return np.concatenate([np.zeros((n, 0)), *matrices], axis=1, dtype=np.float32)


def exact(problem: Assignment) -> tuple[NDArray[np.int64], Array]:
    """The best matching and its signs where there are linear terms alone."""
    profits = problem.linear
    total = np.abs(profits[0]) + profits[1:].sum(axis=0) if problem.signed else profits[0]
    matching = by_class(problem, total, lambda profits, _: linear_sum_assignment(profits, maximize=True)[1])
    chosen = profits[0, np.arange(len(matching)), matching]
    signs = np.where(chosen < 0, -1.0, 1.0) if problem.signed else np.ones(len(matching))
    return matching, signs


def by_class(
    problem: Assignment,
    profits: Array | Single,
    solve: Callable[..., NDArray[np.int64]],
    prices: Single | None = None,
) -> NDArray[np.int64]:
    """The best matching of units within their classes.

    Args:
        problem: says which units may be matched.
        profits: (unit, unit), of x's unit i with y's unit k.
        solve: takes square profits, and prices of their columns that it changes in place; gives the column of each row.
        prices: (unit,), where `solve` needs them.
    """
    if len(problem.classes) == 1:
        return solve(profits, prices)
    matching = np.empty(len(profits), np.int64)
    for rows, columns in problem.classes:
        assert not isinstance(columns, slice)
        of_class = None if prices is None else prices[columns]
        matching[rows] = columns[solve(np.ascontiguousarray(profits[rows][:, columns]), of_class)]
        if prices is not None:
            prices[columns] = of_class
    return matching


def assignment(x: Side, y: Side, *, signed: bool) -> Assignment:
    """The cross term of ||x - T(y)||^2, the only one that depends on the matching T."""
    linear = np.stack([a @ b.T for a, b in zip(x.outside, y.outside, strict=True)])
    return Assignment(
        x=x,
        y=y,
        linear=linear,
        linear32=linear.astype(np.float32),
        signed=signed,
        scale=float(np.sqrt(x.squares * y.squares)),
    )


def _looks(own: Array, other: Array, signed: bool) -> Single:
    """The sorted weights to and from each unit, of each gate, (unit, feature)."""
    gates = np.concatenate([_invariants(own), np.abs(other)]) if signed else np.concatenate([own, other])
    single = gates.astype(np.float32)
    both = [np.sort(single, axis=2), np.sort(single.transpose(0, 2, 1), axis=2)]
    return np.concatenate([np.zeros((own.shape[-1], 0), np.float32), *both[0], *both[1]], axis=1)


def _invariants(gates: Array) -> Array:
    """Six matrices that W -> S W S leaves alone and a permutation permutes alike, for gates W (gate, unit, unit).

    |W|, and the signed roots of W o M for M that change sign as W does: W^T, W W^T, W^T W, W W and its transpose. Each
    has the norm of W over sqrt 6, so that together they weigh as much as W.
    """
    found = []
    for w in gates:
        products = [w * m for m in (w.T, w @ w.T, w.T @ w, w @ w, (w @ w).T)]
        matrices = [np.abs(w), *(np.sign(p) * np.sqrt(np.abs(p)) for p in products)]
        weight = np.linalg.norm(w) / np.sqrt(len(matrices))
        found += [m * (weight / max(np.linalg.norm(m), np.finfo(float).tiny)) for m in matrices]
    return np.array(found).reshape(-1, *gates.shape[1:])
