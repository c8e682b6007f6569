"""What an effect says: up, down, flat, unclear or not resolved; p values of several such questions asked at once."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics.contrasts import Effect
from degeneracy.core.numeric import real_array

Direction = Literal["up", "down", "flat"]
Verdict = Literal["up", "down", "flat", "unclear", "not resolved"]
DECIDED: tuple[str, ...] = get_args(Direction)
ALPHA = 0.05


def verdict(effect: Effect, p: float, *, flat: bool, resolved: bool = True, alpha: float = ALPHA) -> Verdict:
    """What may be said of an effect, at most one of five.

    not resolved  where a value is mostly floor, in any of the conditions: no change of it is one of the networks'
    flat          else, if both one-sided tests reject a change as large as the margin (`equivalent`), so that a
                  change so large is called flat in at most a share alpha of studies
    up, down      else, if p < alpha
    unclear       else: no evidence of a change, and none that it is small

    A margin is the smallest change that matters, written down beforehand. An effect may differ from 0 and still
    be smaller than that; it is flat, because what counts is what was said to matter. Flat is asked of every
    effect by itself: holding back a claim of no change for how many are made is left to the reader.

    Args:
        effect: with its standard error.
        p: of "no change": `effect.p`, or that adjusted by `holm`.
        flat: what `equivalent` says; False where no margin was written.
        resolved: whether the values of all conditions stand above their floors (`resolution.resolved`).
        alpha: level of the test.
    """
    if not resolved:
        return "not resolved"
    if flat:
        return "flat"
    if p < alpha:
        return "up" if effect.change > 0 else "down"
    return "unclear"


def equivalent(below: Effect, above: Effect, alpha: float = ALPHA) -> bool:
    """Whether two one-sided tests at level alpha exclude a change as large as the margin, either way.

    The upper end of the (1 - 2 alpha) interval of change - margin is under 0, and the lower end of that of
    change + margin over 0. With a margin that is a number, that is the same as the (1 - 2 alpha) interval of the
    change lying inside (-margin, margin). Where the margin is a share of a measured value, it varies with that
    value; change - share * value and change + share * value are contrasts like any other, and testing these
    counts how well the value is known.

    Args:
        below: the effect less the margin.
        above: the effect and the margin.
        alpha: level of both tests.

    Returns:
        False without a standard error, and for a margin of 0.

    Source: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15:657 (two one-sided tests);
    Hauschke, Kieser, Diletti & Burke (1999), Statistics in Medicine 18:93 (margins that are shares of a mean).
    """
    return below.interval(1 - 2 * alpha)[1] < 0 < above.interval(1 - 2 * alpha)[0]


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
    p = real_array(p_values, "p_values")
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = np.minimum((len(order) - np.arange(len(order))) * p[order], 1.0)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted
