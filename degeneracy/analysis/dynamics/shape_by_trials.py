"""Procrustes, SVCCA and CKA that do not depend on how many samples there are, estimated across trials.

On few samples the plain measures in `shape` find independent noise alike: the singular values of a sample's
cross-covariance add up noise in all directions, and so does its norm. Here only products of different trials count,
because the steps within one trial are not independent: CKA is a U-statistic over distinct trials (`shape_hsic`),
Procrustes and SVCCA are cross-validated over folds of trials (`shape_folds`). All three are 0 between a network and
any translated, rotated, permuted or scaled copy of it, at any number of samples, and on average at their unrelated
value (pi/2, 1 and 1) between independent networks; a single pair of those may lie above it.

A trial here is what is independent of the others. The rows of a (sample, unit) array are taken as trials of one step;
who has one long recording in such an array cuts it into trials first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.dynamics import shape, shape_folds, shape_hsic
from degeneracy.analysis.recording import Array
from degeneracy.errors import UserError

# Each fold needs two trials to take its mean out without bias.
MIN_TRIALS = 2 * shape_folds.N_FOLDS
# The scatter of unrelated pairs is taken from this many pairs of a member and another's shuffled trials: the
# standard deviation of so many is good to a fifth.
N_SCATTER = 12
UNRELATED = {"procrustes": np.pi / 2, "svcca": 1.0, "cka": 1.0}


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The members of an ensemble, prepared so that each pair is cheap; see `prepare`."""

    n_members: int
    n_trials: int
    unrelated: float  # the distance of independent networks
    same: frozenset[tuple[int, int]]  # pairs (i, j), j < i, of equal states
    distance: Callable[[int, int, int], float]  # of member i and member j, j's trials shifted by some places


def prepare(
    states: Sequence[ArrayLike], measure: str, *, alpha: float = 1.0, variance: float = 0.99
) -> Pairs:
    """Prepare the members for `distances`, `shuffled_distances` and `scatter`.

    Args:
        states: one per member, each (trial, time, unit), or (sample, unit) whose rows are independent; the same
            trials and steps in all.
        measure: "procrustes", "svcca" or "cka".
        alpha: of "procrustes", as in `shape.procrustes_angle`; the states are scaled to total variance 1 first, so
            that for 0 < alpha < 1 neither their unit nor the number of samples matters.
        variance: of "svcca": the components are the fewest that explain this share in trials left out.

    Raises:
        UserError: as the functions in `shape`; fewer than `MIN_TRIALS` trials; samples that do not determine the
            measure (see `shape_folds.prepare` and `shape_hsic.prepare`).
    """
    shape.check_options((measure,), alpha, variance)
    matching = shape.matching(states)
    first = np.shape(states[0])
    n_trials, n_steps = first[0], int(np.prod(first[1:-1]))
    if n_trials < MIN_TRIALS:
        raise UserError(
            f"{measure}: {MIN_TRIALS} trials or more are needed to tell likeness from chance, got {n_trials}"
            " (estimator = 'plain' takes any number, but finds few samples of noise alike)"
        )
    order = shape_folds.trial_order(n_trials)
    trials = [_unit_scale(x).reshape(n_trials, n_steps, -1)[order] for x in matching]
    same = frozenset(
        (i, j) for j, i in combinations(range(len(trials)), 2) if _equal(matching[i], matching[j])
    )
    if measure == "cka":
        distance = shape_hsic.prepare(trials)
    else:
        distance = shape_folds.prepare(trials, measure, alpha=alpha, variance=variance)
    return Pairs(
        n_members=len(trials),
        n_trials=n_trials,
        unrelated=UNRELATED[measure],
        same=same,
        distance=distance,
    )


def distances(pairs: Pairs) -> Array:
    """Distances of all pairs of members.

    Returns:
        (member, member), symmetric, the diagonal and pairs of equal states exactly 0; radians for Procrustes, else
        without unit. 0 means the same (SVCCA: the smaller of the leading spaces lies within the other). Unrelated
        members are at pi/2 or 1 on average, and above it by chance as often as below.
    """
    return _all_pairs(pairs, 0)


def shuffled_distances(pairs: Pairs) -> Array:
    """The same of trials that do not match: each trial of one member against another trial of the other.

    What is left is what all trials have in common, such as a time course; a reference where untrained networks are
    not at hand. The shuffling is one fixed derangement for all pairs.
    """
    return _all_pairs(pairs, 1)


def scatter(pairs: Pairs) -> float:
    """Standard deviation over pairs of members whose trials are shuffled, in the unit of the distance.

    How far unrelated networks scatter by the choice of trials alone; it falls as one over the square root of the
    number of trials.
    """
    shifts = range(1, pairs.n_trials // shape_folds.N_FOLDS)  # within the smallest fold
    drawn = (
        (i, j, k) for k in shifts for i in range(pairs.n_members) for j in range(pairs.n_members) if i != j
    )
    return float(np.std([pairs.distance(*one) for one in islice(drawn, N_SCATTER)], ddof=1))


def cross_validated_distances(
    states: Sequence[ArrayLike], measure: str, *, alpha: float = 1.0, variance: float = 0.99
) -> Array:
    """`distances` of the members' states in one call; arguments and errors of `prepare`."""
    return distances(prepare(states, measure, alpha=alpha, variance=variance))


def _all_pairs(pairs: Pairs, shift: int) -> Array:
    matrix = np.zeros((pairs.n_members, pairs.n_members))
    for j, i in combinations(range(pairs.n_members), 2):
        if shift or (i, j) not in pairs.same:
            matrix[i, j] = matrix[j, i] = pairs.distance(j, i, shift)
    return matrix


def _unit_scale(x: Array) -> Array:
    """Centred, of total variance 1; all 0 where states are constant but for rounding. Squares do not overflow."""
    peak = np.abs(x).max()
    scaled = x / peak if peak > 0 else x
    centred = scaled - scaled.mean(axis=0)
    size = np.abs(centred).max()
    if size <= np.finfo(float).eps * max(x.shape):  # left by centring
        return np.zeros_like(x)
    centred /= size
    return centred * (np.sqrt(len(x)) / np.linalg.norm(centred))


def _equal(x: Array, y: Array) -> bool:
    return np.array_equal(x[:1], y[:1]) and np.array_equal(x, y)
