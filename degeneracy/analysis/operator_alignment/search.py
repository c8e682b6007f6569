"""Compiled search for the orthogonal change of coordinates that makes one operator most like another.

    max over C in O(rank) of <A, C B C^T>          (A, B of unit Frobenius norm)

or that makes another such sum least. By `descent`, in rounds of fewer and fewer starts, from the curvature of A
(`curvature`).
"""

from dataclasses import dataclass, replace

import numpy as np

from degeneracy.analysis.operator_alignment.curvature import Model
from degeneracy.analysis.operator_alignment.descent import Work, descend, new_fits, new_work
from degeneracy.analysis.recording import Array

FINALISTS = 2
POLISH_STEPS = 10  # of more candidates than FINALISTS, before these are chosen
# In the rounds in single precision a search with this slope stands still: its value is known to 1e-8 then, enough to
# choose by (measured: the same distances in 85% of the time).
ROUNDS_TOLERANCE = 3e-5
# Successive halving: the share of the starts that enters each round and its steps. The best FINALISTS go on until
# they converge. Steps before the first choice pay more than starts: at rank 50, 24 starts of 60 steps end 0.4% above
# the best distance known, 64 of 25 steps 0.6%, in twice the time; 32 of 90 steps 0.2%. Few steps are worth a milder
# choice: at rank 20, 24 starts end 0.1 to 0.7% above the least squared distances known, by halves 0.2 to 1.2%.
SHARES_DENSE, SHARES = (1.0, 0.7, 0.4, 0.2), (1.0, 1 / 2, 1 / 4, 1 / 8)
STEPS_DENSE, STEPS = (9, 8, 8, 8), (90, 60, 80, 100)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """sum_k <left_k, C right_k C^T> + <linear, C>, of order 1, to be made least over orthogonal C."""

    left: Array  # (term, rank, rank)
    right: Array  # (term, rank, rank)
    linear: Array | None = None  # (rank, rank)
    least: float  # a bound from below, which a copy reaches

    def work(self, kind: type) -> Work:
        """The objective in one precision, with room for its products."""
        left: Array = np.ascontiguousarray(self.left, kind)
        right: Array = np.ascontiguousarray(self.right, kind)
        return new_work(left, right, None if self.linear is None else np.ascontiguousarray(self.linear, kind))


def alignment(a: Array, b: Array) -> Objective:
    """-<a, C b C^T> of operators of Frobenius norm 1 (or 0)."""
    return Objective(left=-a[None], right=b[None], least=-1.0)


def align(a: Array, b: Array, starts: Array, inverse: Model, *, max_iter: int, tolerance: float) -> tuple[Array, Array]:
    """b in the coordinates most like a's: the best FINALISTS searches.

    Args:
        a, b: (rank, rank), of Frobenius norm 1 (or 0).
        starts: (start, rank, rank), orthogonal.
        inverse: `curvature.model(a)`.
        max_iter: steps of the finalists, after the rounds.
        tolerance: a search has converged when its gradient's norm is under this.

    Returns:
        C b C^T, (finalist, rank, rank), and the gradient's norm there, (finalist,).
    """
    rotations, slope = minimise(alignment(a, b), starts, inverse, max_iter=max_iter, tolerance=tolerance)
    return rotations @ b @ rotations.transpose(0, 2, 1), slope


def minimise(
    objective: Objective, starts: Array, inverse: Model, *, max_iter: int, tolerance: float
) -> tuple[Array, Array]:
    """The best FINALISTS searches: their C, (finalist, rank, rank), and the gradient's norm there.

    Args:
        objective: what is made least.
        starts: (start, rank, rank), orthogonal.
        inverse: the inverse curvature that searches start from.
        max_iter, tolerance: as of `align`.
    """
    candidates = explore(objective, starts, inverse, tolerance=tolerance)[:FINALISTS]
    return polish(objective, candidates, inverse, max_iter=max_iter, tolerance=tolerance)


def explore(objective: Objective, starts: Array, inverse: Model, *, tolerance: float) -> Array:
    """The C of all searches after all rounds, (start, rank, rank), the best first.

    In single precision, which is twice as fast where products are the work, and is enough to choose by.
    """
    n, dense = len(starts), len(inverse.dense) > 0
    kept = [max(FINALISTS, round(share * n)) for share in (SHARES_DENSE if dense else SHARES)]
    steps, enough = list(STEPS_DENSE if dense else STEPS), max(tolerance, ROUNDS_TOLERANCE)
    return _run(objective, starts, inverse, kept, steps, enough, np.float32)[0]


def polish(
    objective: Objective, candidates: Array, inverse: Model, *, max_iter: int, tolerance: float
) -> tuple[Array, Array]:
    """The best FINALISTS of some searches that are near their minima, brought there.

    Args:
        candidates: (candidate, rank, rank), orthogonal; one alone stands for all.

    Returns:
        As of `minimise`.
    """
    if len(candidates) > FINALISTS:
        enough = max(tolerance, ROUNDS_TOLERANCE)
        candidates = _run(objective, candidates, inverse, [len(candidates)], [POLISH_STEPS], enough, np.float32)[0]
    c, slope = _run(objective, candidates[:FINALISTS], inverse, [FINALISTS], [max_iter], tolerance, np.float64)
    there = np.minimum(np.arange(FINALISTS), len(c) - 1)
    return c[there], slope[there]


def _run(
    objective: Objective,
    starts: Array,
    inverse: Model,
    kept: list[int],
    steps: list[int],
    tolerance: float,
    kind: type,
) -> tuple[Array, Array]:
    """All searches, the best first, and their slopes, computed in one precision."""
    frame = inverse.frame
    linear = None if objective.linear is None else frame.T @ objective.linear
    turned = replace(objective, left=frame.T @ objective.left @ frame, linear=linear)
    fits = new_fits(np.array(frame.T @ starts, kind))
    # The objective is of order 1: smaller rises are rounding.
    slack = 10 * float(np.finfo(kind).eps)
    own = inverse._replace(diagonal=inverse.diagonal.astype(kind))
    rounds = np.array(kept), np.array(steps)
    last = descend(turned.work(kind), fits, own, *rounds, float(tolerance), slack, objective.least)
    rotations = fits.rotation[last].astype(np.float64)
    if kind is np.float32:
        rotations = 1.5 * rotations - 0.5 * rotations @ rotations.transpose(0, 2, 1) @ rotations
    return frame @ rotations, fits.slope[last].astype(np.float64)
