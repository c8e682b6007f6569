"""A finding taken again for some of its members, from the numbers that its measure kept."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from degeneracy.analysis.measure import Estimate, Finding, Measured
from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics.jackknife import (
    iqr_over_median,
    member_cv,
    member_mean,
    member_sd,
    pair_mean,
)
from degeneracy.core.errors import UserError

# What measures make of one number a member.
STATISTICS: dict[str, Callable[[Array], Estimate]] = {
    "mean": member_mean,
    "sd": member_sd,
    "sd of logarithms": lambda x: member_sd(np.log(x)),
    "coefficient of variation": member_cv,
    "interquartile range over median": iqr_over_median,
}
# The same numbers through the same formula, after a file: their rounding alone.
SAME = 1e-9


def among(found: Measured, finding: Finding, members: Sequence[int]) -> Estimate | None:
    """The value of a finding among some of its members.

    Pairwise measures keep their distances, others often a number a member. Which of them a finding was made of,
    and how, is known by trying: the statistic that gives back its value and all its leave-one-out values.

    Args:
        found: what the measure kept.
        finding: one of its findings.
        members: positions of those to take, 2 or more.

    Returns:
        The estimate over these members, with their leave-one-out values; None where what was kept does not give
        the finding back.
    """
    chosen = np.asarray(members, dtype=np.int64)
    for statistic, kept in _candidates(found, finding):
        if _gives(statistic, kept, finding.value):
            return statistic(kept[np.ix_(chosen, chosen)] if kept.ndim == 2 else kept[chosen])
    return None


def _candidates(found: Measured, finding: Finding) -> Iterator[tuple[Callable[[Array], Estimate], Array]]:
    """What a finding may have been made of."""
    n = len(finding.value.leave_one_out)
    for matrix in found.distances.values():
        if matrix.shape == (n, n):
            yield pair_mean, matrix
    for kept in found.arrays.values():
        if kept.shape == (n,) and np.isrealobj(kept) and np.isfinite(kept).all():
            positive = bool((kept > 0).all())
            yield from ((f, kept) for what, f in STATISTICS.items() if positive or "log" not in what)


def _gives(statistic: Callable[[Array], Estimate], kept: Array, value: Estimate) -> bool:
    """Whether a statistic of what was kept is the finding's own value, whichever member is left out."""
    try:
        estimate = statistic(kept)
    except UserError:  # distances that are not symmetric
        return False
    ours, theirs = (np.append(e.value, e.leave_one_out) for e in (estimate, value))
    return np.allclose(ours, theirs, rtol=SAME, atol=0.0)
