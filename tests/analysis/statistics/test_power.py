"""The stated power is reached, by formulas of others and by simulation."""

import numpy as np
import pytest
from scipy import stats

from degeneracy.analysis.measure import Estimate
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.contrasts import linear_contrast
from degeneracy.analysis.statistics.power import equivalence_errors, visible_errors
from degeneracy.analysis.statistics.verdicts import equivalent, verdict


@pytest.mark.parametrize("df", [4, 15, 49, 500])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3])
def test_the_change_is_that_of_the_noncentral_t(df, alpha) -> None:
    critical = stats.t.ppf(1 - alpha / 2, df)
    assert stats.nct.sf(critical, df, visible_errors(df, alpha)) == pytest.approx(0.8, abs=1e-6)


def test_many_members_need_what_normal_tables_say() -> None:
    # z(97.5%) + z(80%) = 1.960 + 0.842; z(95%) + z(90%) = 1.645 + 1.282, both sides sharing the 20% that are missed.
    assert visible_errors(10_000) == pytest.approx(2.802, abs=0.002)
    assert equivalence_errors(10_000) == pytest.approx(2.926, abs=0.002)


def pairs_of(rng: np.random.Generator, n: int, base: float = 0.0) -> Estimate:
    """Mean of distances base + a_i + a_j + e_ij, of skewed effects a of members and e of pairs."""
    member = rng.gamma(4.0, 0.25, size=n)
    pair = np.triu(np.abs(rng.normal(size=(n, n))) * 0.3, 1)
    return jackknife.pair_mean(base + member[:, None] + member + pair + pair.T)


@pytest.mark.parametrize("n", [16, 30])
def test_a_change_as_small_as_stated_is_seen_in_four_fifths_of_simulated_studies(n) -> None:
    """Mean distances of two levels of other members, whose standard error is what the jackknife says on average."""
    rng = np.random.default_rng(n)
    error = np.sqrt(2 * np.mean([jackknife.standard_error(pairs_of(rng, n)) ** 2 for _ in range(1000)]))
    change, margin = visible_errors(n - 1) * error, equivalence_errors(n - 1) * error
    labels = [[f"{k} {j}" for j in range(n)] for k in range(2)]
    seen, flat, n_studies = 0, 0, 1000
    for _ in range(n_studies):
        found = linear_contrast([pairs_of(rng, n), pairs_of(rng, n, change)], labels, [-1, 1])
        seen += verdict(found, found.p, flat=False) == "up"
        found = linear_contrast([pairs_of(rng, n), pairs_of(rng, n)], labels, [-1, 1])
        flat += equivalent(found.shifted(-margin), found.shifted(margin))
    # 80% within three times the simulation's error of 1.3%, and up to 4% more: two conditions of other members have
    # twice the degrees of freedom that are counted.
    assert 0.76 <= seen / n_studies <= 0.88
    assert 0.76 <= flat / n_studies <= 0.88
