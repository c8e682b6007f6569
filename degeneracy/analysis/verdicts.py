"""What an effect says: up, down, flat or unclear; and p values of several such questions asked at once."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.contrasts import Effect
from degeneracy.analysis.recording import Array

Direction = Literal["up", "down", "flat"]
Verdict = Literal["up", "down", "flat", "unclear"]
ALPHA = 0.05


def verdict(effect: Effect, p: float, margin: float, alpha: float = ALPHA) -> Verdict:
    """What may be said of an effect, at most one of four.

    flat      the (1 - 2 alpha) interval lies inside (-margin, margin): both one-sided tests reject a change as
              large as the margin, so a change that large is called flat in at most a share alpha of studies
    up, down  else, if p < alpha
    unclear   else: no evidence of a change, and none that it is small

    A margin is the smallest change that matters, written down beforehand. An effect may differ from 0 and still
    be smaller than that; it is flat, because what counts is what was said to matter. Flat is asked of every
    effect by itself: holding back a claim of no change for how many are made is left to the reader.

    Args:
        effect: with its standard error.
        p: of "no change": `effect.p`, or that adjusted by `holm`.
        margin: in the unit of `effect.change` (on the log scale, in natural logarithms); 0: none was written,
            so nothing can be flat.
        alpha: level of all tests.

    Source: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15:657 (two one-sided tests).
    """
    if equivalent(effect, margin, alpha):
        return "flat"
    if p < alpha:
        return "up" if effect.change > 0 else "down"
    return "unclear"


def equivalent(effect: Effect, margin: float, alpha: float = ALPHA) -> bool:
    """Whether two one-sided tests at level alpha exclude a change as large as the margin either way."""
    low, high = effect.interval(1 - 2 * alpha)
    return -margin < low and high < margin


def holm(p_values: ArrayLike) -> Array:
    """P values adjusted so that testing each at level alpha errs in any of them in at most a share alpha.

    With p_(1) <= ... <= p_(m): adjusted p_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)). Whatever the tests'
    dependence.

    Args:
        p_values: (test,); NaN for what could not be tested, which stays NaN and does not count.

    Returns:
        (test,), 0 to 1, never under the p values given.

    Source: Holm (1979), Scandinavian Journal of Statistics 6:65.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = np.minimum((len(order) - np.arange(len(order))) * p[order], 1.0)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted
