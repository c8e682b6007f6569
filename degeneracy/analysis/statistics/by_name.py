"""The statistics that findings are, by name: with the array that each is of, a finding can be taken again."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from degeneracy.analysis.measure import Estimate, Finding, Measured
from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics.jackknife import (
    iqr_over_median,
    member_cv,
    member_mean,
    member_sd,
    pair_mean,
    pair_mean_square,
)


def sd_of_logarithms(x: Array) -> Estimate:
    """Standard deviation over members of the natural logarithm of x (member,), which is above 0."""
    return member_sd(np.log(x))


# Of distances (member, member).
OF_PAIRS: dict[str, Callable[[Array], Estimate]] = {"pair_mean": pair_mean, "pair_mean_square": pair_mean_square}
# Of these, and of one number per member.
STATISTICS: dict[str, Callable[[Array], Estimate]] = {
    **OF_PAIRS,
    "mean": member_mean,
    "sd": member_sd,
    "sd_of_logarithms": sd_of_logarithms,
    "cv": member_cv,
    "iqr_over_median": iqr_over_median,
}


def finding(variant: str, statistic: str, x: Array, *, of: str, **fields: Any) -> Finding:
    """The finding that is a statistic of an array which the measure keeps.

    Args:
        variant: its name.
        statistic: a name in `STATISTICS`.
        x: distances (member, member), or a number per member, (member,).
        of: the name under which `Measured` keeps x, among its distances or its arrays.
        **fields: further fields of the finding.
    """
    return Finding(variant=variant, value=STATISTICS[statistic](x), statistic=statistic, of=of, **fields)


def among(measured: Measured, finding: Finding, members: Sequence[int]) -> Estimate | None:
    """The value of a finding among some of its members.

    Args:
        measured: what the measure kept.
        finding: one of its findings.
        members: positions of those to take, 2 or more.

    Returns:
        The estimate over these members, with their leave-one-out values; None where the measure does not say what the
        finding is made of, or does not keep that.
    """
    chosen, kept = np.asarray(members, dtype=np.int64), kept_for(measured, finding)
    if finding.statistic not in STATISTICS or kept is None:
        return None
    return STATISTICS[finding.statistic](kept[np.ix_(chosen, chosen)] if kept.ndim == 2 else kept[chosen])


def kept_for(measured: Measured, finding: Finding) -> Array | None:
    """The distances or numbers that a finding is of; None where they are not kept."""
    of_pairs = finding.statistic in OF_PAIRS
    kept = (measured.distances if of_pairs else measured.arrays).get(finding.of)
    n_axes = 2 if of_pairs else 1
    return kept if kept is not None and kept.shape == (len(finding.value.leave_one_out),) * n_axes else None
