"""Flow mismatch: how badly each of two networks' linear dynamics predicts the steps of the other, for many pairs.

    D^2(x, y) = min over C in O(rank) of
        1/2 [ ||(A_x - C A_y C^T) S_x||^2 / ||(A_x - I) S_x||^2 + ||(A_y - C^T A_x C) S_y||^2 / ||(A_y - I) S_y||^2 ]

A: what carries states' deviations one step on, in principal axes; S: the diagonal of standard deviations along them. Of
each network's own states, the share of how far they move in a step that the other's dynamics gets wrong. Multiplied out
it is a sum of four terms <L, C R C^T>, which `search` makes least.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.operator_alignment import curvature, search
from degeneracy.analysis.operator_alignment.pairs import normalised
from degeneracy.analysis.operator_alignment.starts import Starts
from degeneracy.analysis.recording import Array

FIRST_STEPS = 30  # of the finalists, with the curvature that the starts had
RESTARTS = 3  # with the curvature of where the best search is


@dataclass(frozen=True, kw_only=True)
class FlowFit:
    """The squared flow mismatch of pairs of networks."""

    square: Array  # (pair,): 0: each predicts the other's steps as well as its own; 1: as badly as "nothing moves"
    spread: Array  # (pair,): range over the best searches; 0: they agree
    converged: NDArray[np.bool_]  # (pair,): the best search reached the tolerance


def fit_flows(
    networks_x: tuple[Array, Array],
    networks_y: tuple[Array, Array],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    n_starts: int = 24,
    max_iter: int = 150,
    tolerance: float = 1e-7,
    seed: int = 0,
) -> FlowFit:
    """The squared flow mismatch of networks_x[first[k]] and networks_y[second[k]] for each pair k.

    Args:
        networks_x, networks_y: A, (network, rank, rank), and the standard deviations, (network, rank), finite; a common
            factor of these makes no difference.
        first, second: (pair,), positions in networks_x and networks_y.
        n_starts: searches per pair, those of A S (`starts.Starts`).
        max_iter: steps of each restart of the last search.
        tolerance, seed: as of `pairs.fit_among`.

    Returns:
        Squares >= 0, an upper bound of the least; NaN where the states of either do not move at all (A S = S).
    """
    x, y = _prepared(*networks_x), _prepared(*networks_y)
    starts_of = Starts(normalised(np.array([each.flow for each in (*x, *y)]))[0], n_starts, seed)
    found, converged = np.full((2, len(first)), np.nan), np.zeros(len(first), dtype=bool)
    for k, (i, j) in enumerate(zip(first, second, strict=True)):
        if x[i].moves > 0 and y[j].moves > 0:
            found[:, k], slope = _fit(x[i], y[j], starts_of.of(i, len(x) + j), max_iter, tolerance)
            converged[k] = slope < tolerance
    return FlowFit(square=found[0], spread=found[1], converged=converged)


def _fit(x: "Moving", y: "Moving", starts: Array, max_iter: int, tolerance: float) -> tuple[tuple[float, float], float]:
    """Square and spread of one pair, and the gradient's norm at the best search.

    Where two networks differ, the curvature of one with itself is far from that at their minimum: in axes that hardly
    vary it may be a hundred times too small. So the search goes on from the best with the curvature there.
    """
    objective = _objective(x, y)
    c, _ = search.minimise(objective, starts, x.inverse, max_iter=FIRST_STEPS, tolerance=tolerance)
    squares = mismatch(x, y, c)
    slope = np.inf
    for _ in range(RESTARTS):
        k = int(squares.argmin())
        again, slopes = search.minimise(
            objective, c[k : k + 1], _model(x, y, c[k]), max_iter=max_iter, tolerance=tolerance
        )
        c[k], squares[k], slope = again[0], mismatch(x, y, again)[0], slopes[0]
        if slope < tolerance:
            break
    return (squares.min(), np.ptp(squares)), slope


@dataclass(frozen=True, kw_only=True)
class Moving:
    """One network."""

    a: Array  # (rank, rank)
    spread: Array  # (rank,), of norm 1
    flow: Array  # (rank, rank): A S
    moves: float  # || (A - I) S ||^2

    @cached_property
    def inverse(self) -> curvature.Model:
        """The curvature that searches start from: that of the network with itself."""
        return _model(self, self, np.eye(len(self.a)))


def _prepared(a: Array, spread: Array) -> list[Moving]:
    networks = []
    for one_a, scales in zip(a, spread, strict=True):
        scale = scales / max(float(scales.max()), 1e-300)
        scale = scale / max(float(np.linalg.norm(scale)), 1e-300)
        moves = float(np.sum(((one_a - np.eye(len(one_a))) * scale) ** 2))
        networks.append(Moving(a=one_a, spread=scale, flow=one_a * scale, moves=moves))
    return networks


def _constant(x: Moving, y: Moving) -> float:
    """What of D^2 does not depend on C."""
    return max(float(np.sum(x.flow**2) / x.moves + np.sum(y.flow**2) / y.moves) / 2, 1e-300)


def _objective(x: Moving, y: Moving) -> search.Objective:
    """What of D^2 depends on C, over what does not: a product and a square of each half.

    || C A C^T S ||^2 = <S^2, C A^T A C^T> and || C^T A C S ||^2 = <A^T A, C S^2 C^T>.
    """
    scale = 1 / _constant(x, y)
    left = [
        -x.flow * x.spread / x.moves,
        np.diag(x.spread**2) / (2 * x.moves),
        -x.a / y.moves,
        x.a.T @ x.a / (2 * y.moves),
    ]
    right = [y.a, y.a.T @ y.a, y.flow * y.spread, np.diag(y.spread**2)]
    return search.Objective(left=scale * np.array(left), right=np.array(right), least=-1.0)


def _model(x: Moving, y: Moving, c: Array) -> curvature.Model:
    """The Gauss-Newton model of the objective at C."""
    scale = 1 / np.sqrt(2 * _constant(x, y))
    turned = c @ y.a @ c.T
    parts = [(turned, scale / np.sqrt(x.moves) * np.diag(x.spread)), (x.a, scale / np.sqrt(y.moves) * c * y.spread)]
    return curvature.commutator_model(parts)


def mismatch(x: Moving, y: Moving, c: Array) -> Array:
    """1/2 [...] for each C, (search,)."""
    back = c.transpose(0, 2, 1)
    of_x = np.sum(((x.a - c @ y.a @ back) * x.spread) ** 2, axis=(1, 2)) / x.moves
    of_y = np.sum(((y.a - back @ x.a @ c) * y.spread) ** 2, axis=(1, 2)) / y.moves
    return np.asarray((of_x + of_y) / 2)
