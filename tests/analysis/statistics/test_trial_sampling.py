"""Errors that common probe trials make in all members: how much of the coverage of intervals over members they take.

Of 20 trained flip-flop networks, measured on other probe trials, such errors are 0.01-0.12 standard errors for linear
flow, impulse response, Procrustes, CKA and spreads of errors, up to 0.3 for the distance of outputs, and 0.7-1.1 for
the Koopman spectrum at 2,048 trials.
"""

import numpy as np
import pytest
from scipy import stats

from degeneracy.analysis.statistics import jackknife


@pytest.mark.parametrize(("error", "low", "high"), [(0.1, 0.93, 0.97), (0.3, 0.92, 0.96), (1.0, 0.80, 0.88)])
def test_coverage_over_members_and_trials_falls_with_what_trials_make_in_all_members(error, low, high) -> None:
    """The truth is the mean over members and trials; `error` is what one draw of trials adds, in standard errors.

    By theory the interval of width t SE covers P(|T| < t / sqrt(1 + error^2)), which is 94.8, 94.0 and 84.5%.
    """
    rng, n, hits = np.random.default_rng(0), 20, 0
    for _ in range(2000):
        values = rng.normal(size=n) + error / np.sqrt(n) * rng.normal()
        ends = jackknife.interval(jackknife.member_mean(values))
        hits += ends[0] <= 0 <= ends[1]
    assert low <= hits / 2000 <= high  # three times the simulation's error of 0.5-0.8%, about
    reach = stats.t.ppf(0.975, n - 1) / np.sqrt(1 + error**2)
    assert hits / 2000 == pytest.approx(1 - 2 * stats.t.sf(reach, n - 1), abs=0.025)
