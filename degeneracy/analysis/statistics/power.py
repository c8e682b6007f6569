"""How small a change an experiment can see, and how small a margin it can stay within."""

from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, nctdtrinc, ndtr, stdtrit

from degeneracy.analysis.statistics.verdicts import ALPHA

POWER = 0.8


@cache
def visible_errors(df: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """The change, in standard errors, that a two-sided t test at level alpha sees in a share `power` of experiments.

    delta with P(T(df, delta) > t(df; 1 - alpha/2)) = power, T Student's noncentral t; the other tail is under 1e-4 of
    it. 2.8 for many degrees of freedom.

    Source: Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, ch. 2.
    """
    return float(nctdtrinc(df, 1 - power, stdtrit(df, 1 - alpha / 2)))


@cache
def equivalence_errors(df: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """The margin, in standard errors, within which two one-sided t tests call a change of 0 flat with this power.

    m with P(|d| + t(df; 1 - alpha) s < m) = power, d ~ N(0, 1) and s^2 ~ chi^2(df) / df independent of it; 2.9 for many
    degrees of freedom.

    Source: Phillips (1990), Journal of Pharmacokinetics and Biopharmaceutics 18:137.
    """
    t = float(stdtrit(df, 1 - alpha))
    quantiles = (np.arange(2000) + 0.5) / 2000  # of chi^2, the middles of equal shares
    s = np.sqrt(chdtri(df, 1 - quantiles) / df)

    def lacking(m: float) -> float:
        return float(np.mean(np.maximum(2 * ndtr(m - t * s) - 1, 0.0))) - power

    return float(brentq(lacking, 0.0, 1000.0))
