"""The distance of two driven linear systems, states and inputs under one change of coordinates, for many pairs.

    h_{t+1} = A h_t + B u_{t+1}:   min over C in O(rank) of || A_x - C A_y C^T ||_F^2 + || B_x - C B_y ||_F^2

An input has no coordinates to choose: u is the same for both systems.

Source: Huang, Ostrow et al., "InputDSA" (2025), arXiv 2510.25943.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.operator_alignment import curvature, search
from degeneracy.analysis.operator_alignment.pairs import normalised
from degeneracy.analysis.operator_alignment.starts import Starts, polar_twins
from degeneracy.analysis.recording import Array


@dataclass(frozen=True, kw_only=True)
class JointFit:
    """The squared distances of pairs of systems."""

    state: Array  # (pair,): || A_x - C A_y C^T ||^2
    input: Array  # (pair,): || B_x - C B_y ||^2
    spread: Array  # (pair,): range of the sum over the best searches; 0: they agree
    converged: NDArray[np.bool_]  # (pair,): the best search reached the tolerance


def fit_joint(
    systems_x: tuple[Array, Array],
    systems_y: tuple[Array, Array],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    n_starts: int = 24,
    max_iter: int = 500,
    tolerance: float = 1e-8,
    seed: int = 0,
) -> JointFit:
    """The least squared distance of systems_x[first[k]] and systems_y[second[k]] for each pair k.

    Args:
        systems_x, systems_y: A, (system, rank, rank), and B, (system, rank, input), finite and of order 1.
        first, second: (pair,), positions in systems_x and systems_y.
        n_starts: searches per pair beside four from the systems' responses to inputs, in closed form: of B alone
            (Procrustes) and of [B, A B, A^2 B, ...], of both determinants each. A copy is at 0 by the latter.
        max_iter, tolerance, seed: as of `pairs.fit_among`.

    Returns:
        Squares >= 0, an upper bound of the least. 0: one system is the other in rotated coordinates.
    """
    x, y = _prepared(*systems_x), _prepared(*systems_y)
    starts_of = Starts(normalised(np.concatenate([systems_x[0], systems_y[0]]))[0], n_starts, seed)
    found, converged = np.zeros((3, len(first))), np.zeros(len(first), dtype=bool)
    for k, (i, j) in enumerate(zip(first, second, strict=True)):
        starts = np.concatenate([_by_responses(x[i], y[j]), starts_of.of(i, len(x) + j)])
        c, slope = search.minimise(_objective(x[i], y[j]), starts, x[i].inverse, max_iter=max_iter, tolerance=tolerance)
        state, of_input = _squares(x[i], y[j], c)
        best = int((state + of_input).argmin())
        found[:, k] = state[best], of_input[best], np.ptp(state + of_input)
        converged[k] = slope[best] < tolerance
    return JointFit(state=found[0], input=found[1], spread=found[2], converged=converged)


@dataclass(frozen=True, kw_only=True)
class _System:
    a: Array  # (rank, rank)
    b: Array  # (rank, input)
    responses: Array  # (rank, rank * input): [B, A B, A^2 B, ...], each power at norm 1 (or 0)

    @cached_property
    def inverse(self) -> curvature.Model:
        """The curvature that searches start from: that of the system with itself."""
        root = max(np.hypot(np.linalg.norm(self.a), np.linalg.norm(self.b)), 1e-300)
        return curvature.model(self.a / root, self.b / root)


def _prepared(a: Array, b: Array) -> list[_System]:
    systems = []
    for one_a, one_b in zip(a, b, strict=True):
        powers = [_unit(one_b)]
        while len(powers) < len(one_a):
            powers.append(_unit(one_a @ powers[-1]))
        systems.append(_System(a=one_a, b=one_b, responses=np.hstack(powers)))
    return systems


def _unit(matrix: Array) -> Array:
    return matrix / max(float(np.linalg.norm(matrix)), 1e-300)


def _by_responses(x: _System, y: _System) -> Array:
    """What carries one system's responses to inputs onto the other's, (4, rank, rank)."""
    return np.concatenate([polar_twins(x.b @ y.b.T), polar_twins(x.responses @ y.responses.T)])


def _objective(x: _System, y: _System) -> search.Objective:
    """What of the sum of squares depends on C, at order 1."""
    size = np.linalg.norm(x.a) * np.linalg.norm(y.a) + np.linalg.norm(x.b) * np.linalg.norm(y.b)
    scale = 1 / max(float(size), 1e-300)
    return search.Objective(left=-scale * x.a[None], right=y.a[None], linear=-scale * x.b @ y.b.T, least=-1.0)


def _squares(x: _System, y: _System, c: Array) -> tuple[Array, Array]:
    """Both parts of the sum for each C, (search,)."""
    turned = c @ y.a @ c.transpose(0, 2, 1)
    return np.sum((x.a - turned) ** 2, axis=(1, 2)), np.sum((x.b - c @ y.b) ** 2, axis=(1, 2))
