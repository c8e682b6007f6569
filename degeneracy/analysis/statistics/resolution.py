"""Whether a value stands above its floor, and how large it can be where it does not.

Noise that is independent of how members differ adds in quadrature: E|x + e|^2 = |x|^2 + E|e|^2, as do variances, so
that value^2 = distance^2 + floor^2. What is left of a value that is mostly floor is a share of the reference with a
wide interval; its upper end says that networks are alike, where they are, although no trend of theirs can be stated.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.measure import Estimate, Finding
from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics.jackknife import interval, share_of, signed_root

# From here on a trend of the value may be one of the floor, which differs between conditions too: a floor of .6 of the
# value is 36% of its square.
MAX_FLOOR_SHARE = 0.6


def floor_share(finding: Finding) -> float:
    """The floor as a share of the value, both as distances.

    floor / value; of a corrected finding, whose value is a square without its floor, sqrt(floor / (value + floor)).

    Returns:
        0 (no floor to speak of) to 1 and beyond, infinite where nothing is left of the value; NaN where there is no
        floor or no value, and where both are 0.
    """
    if finding.floor is None:
        return float("nan")
    floor = np.float64(finding.floor.value)
    whole = np.maximum(finding.value.value + floor, 0.0) if finding.corrected else np.float64(abs(finding.value.value))
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN and x / 0 infinite, as documented
        ratio = floor / whole
    return float(np.sqrt(ratio)) if finding.corrected else float(ratio)


def resolved(finding: Finding) -> bool:
    """Whether a trend of the value can be one of what it measures: True where it has no floor."""
    return not floor_share(finding) > MAX_FLOOR_SHARE


def upper_share(finding: Finding, confidence: float = 0.95) -> float:
    """The most that the value may be without its floor, as a share of the reference without its own.

    sqrt((value^2 - floor^2) / (reference^2 - floor^2)), of a corrected finding sqrt(value / reference), whose squares
    the floor has been taken away from: the upper end of a one-sided interval of the ratio by the jackknife, as a root.
    Uncorrected values are corrected in quadrature, as noise adds, and not by a difference, which takes too much away
    from a value below its reference: the bound would be too low.

    Args:
        finding: with a floor (unless corrected) and a reference.
        confidence: of the one-sided interval.

    Returns:
        0 and more, 0 where the whole interval lies below; NaN without floor or reference, where they give no scale, and
        where there is no interval.
    """
    value, floor, reference = finding.value, finding.floor, finding.reference
    if reference is None or (floor is None and not finding.corrected):
        return float("nan")
    if not finding.corrected and floor is not None:
        value, reference = _less_in_quadrature(value, floor), _less_in_quadrature(reference, floor)
    ratio = share_of(value, reference)
    if isinstance(ratio, str):
        return float("nan")
    _, high = interval(ratio, confidence=2 * confidence - 1)
    return float(signed_root(np.maximum(high, 0.0)))


def share_of_distance(change: ArrayLike, square: ArrayLike) -> Array:
    """A change of a squared distance as a share of the distance: sign(s) sqrt(|s|) - 1 with s = 1 + change / square."""
    with np.errstate(divide="ignore", invalid="ignore"):  # of 0 nothing is a share
        return signed_root(1 + np.asarray(change) / np.asarray(square)) - 1


def _less_in_quadrature(x: Estimate, floor: Estimate) -> Estimate:
    return replace(x, value=x.value**2 - floor.value**2, leave_one_out=x.leave_one_out**2 - floor.leave_one_out**2)
