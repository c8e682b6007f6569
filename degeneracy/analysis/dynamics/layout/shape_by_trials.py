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

from degeneracy.analysis.dynamics.layout import shape, shape_folds, shape_hsic
from degeneracy.analysis.recording import Array
from degeneracy.analysis.scaling import near_one
from degeneracy.core.errors import UserError

# Each fold needs two trials to take its mean out without bias.
MIN_TRIALS = 2 * shape_folds.N_FOLDS
# The scatter of unrelated pairs is taken from this many pairs of a member and another's shuffled trials: the
# standard deviation of so many is good to a fifth.
N_SCATTER = 12
UNRELATED = {"procrustes": np.pi / 2, "svcca": 1.0, "cka": 1.0}
# Scatter above this share of the distance of unrelated networks is noted: an ensemble of 5 members, 10 pairs, then
# has a standard error of about 1.5% from the choice of trials.
NOTED_SCATTER = 0.05


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The members of an ensemble, prepared so that each pair is cheap; see `prepare` and `plain`."""

    measure: str
    n_members: int
    n_trials: int
    shifts: range  # by how many places trials can be moved round so that none meets itself
    matched: Callable[[], Array]  # (member, member): distances of all pairs
    shifted: Callable[[int, int, int], float]  # of member i and member j, whose trials are moved round
    unbiased: bool


def prepare(states: Sequence[ArrayLike], measure: str, *, alpha: float = 1.0, variance: float = 0.99) -> Pairs:
    """Prepare the members for `distances`, `shuffled_distances` and `scatter`.

    Args:
        states: one per member, each (trial, time, unit), or (sample, unit) whose rows are independent; the same
            trials and steps in all.
        measure: "procrustes", "svcca" or "cka".
        alpha: of "procrustes", as in `shape.procrustes_angle`; the states are scaled to total variance 1 first, so
            that for 0 < alpha < 1 neither their unit nor the number of samples matters.
        variance: of "svcca", as in `shape.svcca_distance`; the training trials must reach it in the trials left out.

    Raises:
        UserError: as the functions in `shape`; fewer than `MIN_TRIALS` trials; samples that do not determine the
            measure (see `shape_folds.prepare` and `shape_hsic.prepare`).
    """
    shape.check_options((measure,), alpha, variance)
    matching = shape.matching(states)
    n_trials = len(matching[0])
    if n_trials < MIN_TRIALS:
        raise UserError(
            f"{measure}: {MIN_TRIALS} trials or more are needed to tell likeness from chance, got {n_trials}"
            " (estimator = 'plain' takes any number, but finds few samples of noise alike)"
        )
    order = shape_folds.trial_order(n_trials)
    trials = [_unit_scale(x.reshape(n_trials, -1, x.shape[-1]))[order] for x in matching]
    if measure == "cka":
        shifted = shape_hsic.prepare(trials)
    else:
        shifted = shape_folds.prepare(trials, measure, alpha=alpha, variance=variance)

    def pair(i: int, j: int) -> float:
        same = np.array_equal(matching[i][:1], matching[j][:1]) and np.array_equal(matching[i], matching[j])
        return 0.0 if same else shifted(i, j, 0)  # exactly 0, where rounding would leave 1e-8 of an angle

    return Pairs(
        measure=measure,
        n_members=len(trials),
        n_trials=n_trials,
        shifts=range(1, n_trials // shape_folds.N_FOLDS),  # within the smallest fold
        matched=lambda: _all_pairs(len(trials), pair),
        shifted=shifted,
        unbiased=True,
    )


def plain(states: Sequence[ArrayLike], measure: str, **options: float) -> Pairs:
    """As `prepare`, of the plain measure as published; options and errors of `shape.shape_distances`."""
    matching = shape.matching(states)
    n_trials = len(matching[0])

    def shifted(i: int, j: int, by: int) -> float:
        both = [matching[i], np.roll(matching[j], by, axis=0)]
        return float(shape.shape_distances(both, (measure,), **options)[measure][0, 1])

    return Pairs(
        measure=measure,
        n_members=len(states),
        n_trials=n_trials,
        shifts=range(1, n_trials),
        matched=lambda: shape.shape_distances(matching, (measure,), **options)[measure],
        shifted=shifted,
        unbiased=False,
    )


def distances(pairs: Pairs) -> Array:
    """Distances of all pairs of members.

    Returns:
        (member, member), symmetric, the diagonal and pairs of equal states exactly 0; radians for Procrustes, else
        without unit. 0 means the same (SVCCA: the smaller of the leading spaces lies within the other). Unrelated
        members are at pi/2 or 1 on average, and above it by chance as often as below.
    """
    return pairs.matched()


def shuffled_distances(pairs: Pairs) -> Array:
    """The same of trials that do not match: each trial of one member against another trial of the other.

    What is left is what all trials have in common, such as a time course, and for the plain estimator what noise has
    in common on few samples. The shuffling is the same for all pairs. Needs a pair's trials to have another order:
    `Pairs.shifts` is not empty.
    """
    return _all_pairs(pairs.n_members, lambda i, j: pairs.shifted(i, j, 1))


def scatter(pairs: Pairs) -> float:
    """Standard deviation over pairs of members whose trials are shuffled, in the unit of the distance.

    How far the distance of unrelated networks is off by the choice of trials alone; it falls as one over the square
    root of the number of trials, for CKA as one over their number.
    """
    members = range(pairs.n_members)
    drawn = ((i, j, by) for by in pairs.shifts for i in members for j in members if i != j)
    return float(np.std([pairs.shifted(*each) for each in islice(drawn, N_SCATTER)], ddof=1))


def scatter_note(pairs: Pairs) -> str:
    """What the number of trials leaves open, where that is much; empty for the plain estimator, off by more."""
    if not pairs.unbiased:
        return ""
    size = scatter(pairs)
    if size <= NOTED_SCATTER * UNRELATED[pairs.measure]:
        return ""
    return f"{pairs.n_trials} trials are few: a pair of unrelated networks is off by {size:.2g} (sd), by chance"


def cross_validated_distances(
    states: Sequence[ArrayLike], measure: str, *, alpha: float = 1.0, variance: float = 0.99
) -> Array:
    """`distances` of the members' states in one call; arguments and errors of `prepare`."""
    return distances(prepare(states, measure, alpha=alpha, variance=variance))


def _all_pairs(n_members: int, distance: Callable[[int, int], float]) -> Array:
    matrix = np.zeros((n_members, n_members))
    for i, j in combinations(range(n_members), 2):
        matrix[i, j] = matrix[j, i] = distance(i, j)
    return matrix


def _unit_scale(x: Array) -> Array:
    """(trial, time, unit) centred, of total variance 1; all 0 where states are constant but for rounding."""
    scaled, _ = near_one(x)  # squares of states may neither overflow nor vanish
    centred = scaled - scaled.mean(axis=(0, 1))
    n_samples = x.shape[0] * x.shape[1]
    rounding = np.finfo(float).eps * max(n_samples, x.shape[2]) * np.abs(scaled).max()  # left by centring
    if np.abs(centred).max() <= rounding:
        return np.zeros_like(x)
    centred, _ = near_one(centred)
    return centred * (np.sqrt(n_samples) / np.linalg.norm(centred))
