"""Verdicts: Holm by hand, each verdict's region, and how often simulated ensembles are called what they are."""

import numpy as np
import pytest
from scipy import integrate, stats

from degeneracy.analysis.measure import Estimate
from degeneracy.analysis.statistics import jackknife, verdicts
from degeneracy.analysis.statistics.contrasts import Effect, linear_contrast, trend_weights


def flat(found, margin):
    return verdicts.equivalent(found.shifted(-margin), found.shifted(margin))


def effect(change, standard_error=1.0, df=1_000_000):
    return Effect(change=change, standard_error=standard_error, df=df)


# --- Holm ---


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; never falling: .02 .03 .06 .06.
    np.testing.assert_allclose(verdicts.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(verdicts.holm([0.6, 0.9]), [1.0, 1.0])
    np.testing.assert_allclose(verdicts.holm([0.02, np.nan, 0.03]), [0.04, np.nan, 0.04])
    assert len(verdicts.holm([])) == 0


def test_holm_lies_between_nothing_and_bonferroni():
    p = np.random.default_rng(0).uniform(size=(50, 7))
    adjusted = np.array([verdicts.holm(row) for row in p])
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(7 * p, 1)).all()
    np.testing.assert_allclose(adjusted.min(axis=1), np.minimum(7 * p.min(axis=1), 1))


# --- regions ---


@pytest.mark.parametrize(
    ("change", "margin", "says"),
    [
        (2.0, 0.0, "up"),  # 95%: 1.96 standard errors
        (-2.0, 0.0, "down"),
        (1.9, 0.0, "unclear"),
        (0.0, 0.0, "unclear"),  # no margin was written
        (0.0, 1.6, "unclear"),  # 90%: 1.645 standard errors
        (0.0, 1.7, "flat"),
        (1.0, 2.7, "flat"),
        (-1.0, 2.6, "unclear"),
        (2.0, 3.6, "up"),  # reaches past the margin
        (2.0, 3.7, "flat"),  # differs from 0, by less than what matters
    ],
)
def test_each_verdict_by_hand(change, margin, says):
    found = effect(change)
    assert verdicts.verdict(found, found.p, flat=flat(found, margin)) == says


def test_without_a_standard_error_nothing_is_clear():
    found = effect(5.0, float("nan"))
    assert verdicts.verdict(found, found.p, flat=flat(found, 100.0)) == "unclear"


def test_an_adjusted_p_value_holds_back_a_direction_and_not_a_flat():
    found = effect(2.2)
    assert verdicts.verdict(found, found.p, flat=False) == "up"
    assert verdicts.verdict(found, 3 * found.p, flat=False) == "unclear"
    assert verdicts.verdict(effect(0.1), 1.0, flat=flat(effect(0.1), 2.0)) == "flat"


# --- size and power ---


def ensembles(rng, n, slope=0.0, n_levels=4):
    """Mean distances of points about a seed's own place in 3 dimensions, larger by a share `slope` per level."""
    seed = rng.normal(size=(n, 3))
    places = [(1 + slope * level) * (0.6 * seed + 0.8 * rng.normal(size=(n, 3))) for level in range(n_levels)]
    return [jackknife.pair_mean(np.linalg.norm(x[:, None] - x, axis=-1)) for x in places]


def calls(rng, n, slope, margin, n_studies):
    """How often each verdict falls on one pairwise measure; margin as a share of the first level's value."""
    count = dict.fromkeys(("up", "down", "flat", "unclear"), 0)
    labels, lowest = [[str(k) for k in range(n)]] * 4, np.eye(4)[0]
    for _ in range(n_studies):
        levels = ensembles(rng, n, slope)
        below, found, above = (
            linear_contrast(levels, labels, trend_weights(range(4)) + share * lowest)
            for share in (-margin, 0.0, margin)
        )
        count[verdicts.verdict(found, found.p, flat=verdicts.equivalent(below, above))] += 1
    return {name: number / n_studies for name, number in count.items()}


@pytest.mark.parametrize("n", [8, 16])
def test_a_planted_null_is_called_up_or_down_at_the_stated_rate(n):
    found = calls(np.random.default_rng(n), n, slope=0.0, margin=0.0, n_studies=1500)
    # 6.5%: the stated 5% and two of the simulation's own standard errors (0.6% each), and a little.
    assert 0.02 <= found["up"] + found["down"] <= 0.065
    assert found["flat"] == 0


@pytest.mark.parametrize(("slope", "says"), [(0.25, "up"), (-0.15, "down")])
def test_a_planted_trend_is_found(slope, says):
    found = calls(np.random.default_rng(1), 16, slope=slope, margin=0.1, n_studies=300)
    assert found[says] >= 0.9
    assert found[{"up": "down", "down": "up"}[says]] == 0
    assert found["flat"] == 0


def test_a_planted_trend_is_found_as_often_as_theory_says():
    """Means of normal numbers: the noncentral t distribution gives the power."""
    rng, up = np.random.default_rng(5), 0
    labels, weights = [[str(k) for k in range(12)]] * 4, trend_weights(range(4))
    for _ in range(1000):
        x = rng.normal(size=12) + rng.normal(size=(4, 12)) + 0.3 * np.arange(4)[:, None]
        found = linear_contrast([jackknife.member_mean(row) for row in x], labels, weights)
        up += verdicts.verdict(found, found.p, flat=False) == "up"
    error = np.sqrt(np.sum(weights**2) / 12)  # what the seeds share cancels
    expected = stats.nct.sf(stats.t.ppf(0.975, 11), 11, 0.9 / error)
    assert up / 1000 == pytest.approx(expected, abs=0.04)  # 2.5 standard errors at a half


@pytest.mark.parametrize(("n", "n_studies"), [(16, 1500), (32, 1500)])
def test_a_change_as_large_as_the_margin_is_called_flat_at_no_more_than_the_stated_rate(n, n_studies):
    found = calls(np.random.default_rng(n), n, slope=0.1, margin=0.3, n_studies=n_studies)
    assert 0.02 <= found["flat"] <= 0.0615  # 5% and twice the simulation's own error


def test_a_margin_that_is_a_share_of_a_value_counts_how_well_the_value_is_known():
    """By hand: a change of 0 +- 1 with a margin of half of 4 +- 2, known from other members."""
    low = Estimate(value=4.0, leave_one_out=np.array([2.0, 4.0, 6.0]) * np.sqrt(3 / 4))
    none = Estimate(value=0.0, leave_one_out=np.array([-1.0, 0.0, 1.0]) * np.sqrt(3 / 4))
    below, above = (linear_contrast([none, low], [list("abc"), list("def")], [1.0, share]) for share in (-0.5, 0.5))
    # Influences of the change sqrt(2/3) sqrt(3/4) (1, 0, -1), of half the value the same: a variance of 1 each.
    for end, change in ((below, -2.0), (above, 2.0)):
        assert end.change == pytest.approx(change)
        assert end.standard_error == pytest.approx(np.sqrt(2))
    assert not verdicts.equivalent(below, above)
    alone = linear_contrast([none], [list("abc")], [1.0])
    assert verdicts.equivalent(alone.shifted(-3.0), alone.shifted(3.0))  # 2.92 standard errors of t(2)
    assert not verdicts.equivalent(alone.shifted(-2.9), alone.shifted(2.9))


def flat_rate(error, margin, df):
    """P(|d| + t s < margin), d ~ N(0, error^2), s^2 ~ error^2 chi2(df) / df: the power of two one-sided tests."""
    t = stats.t.ppf(0.95, df)

    def inside(s):
        reach = np.maximum(margin - t * s * error, 0) / error
        return (2 * stats.norm.cdf(reach) - 1) * stats.chi.pdf(s * np.sqrt(df), df) * np.sqrt(df)

    return integrate.quad(inside, 0, 5, limit=200)[0]


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_a_planted_null_is_called_flat_as_often_as_theory_says(margin):
    """Means of normal numbers, for which the rate can be computed: one seed's share in common, 12 members."""
    rng, called = np.random.default_rng(3), 0
    labels, weights = [[str(k) for k in range(12)]] * 4, trend_weights(range(4))
    for _ in range(1500):
        x = rng.normal(size=12) + rng.normal(size=(4, 12))
        found = linear_contrast([jackknife.member_mean(row) for row in x], labels, weights)
        called += verdicts.verdict(found, found.p, flat=flat(found, margin)) == "flat"
    error = np.sqrt(np.sum(weights**2) / 12)  # what the seeds share cancels
    expected = flat_rate(error, margin, 11)
    assert called / 1500 == pytest.approx(expected, abs=0.035)  # 2.7 standard errors at a half


def test_holm_keeps_all_primary_cells_together_at_the_stated_rate():
    """Three levels of one study, all null: any direction called at all in at most 5%; one by one, far oftener."""
    rng, labels, weights = (
        np.random.default_rng(4),
        [[str(k) for k in range(10)]] * 3,
        trend_weights(range(3)),
    )
    together = singly = 0
    for _ in range(1000):
        x = rng.normal(size=(3, 3, 10))  # (cell, level, member)
        cells = [linear_contrast([jackknife.member_mean(v) for v in cell], labels, weights) for cell in x]
        own = [cell.p for cell in cells]
        said = [verdicts.verdict(c, p, flat=False) for c, p in zip(cells, verdicts.holm(own), strict=True)]
        together += any(word in ("up", "down") for word in said)
        singly += any(p < 0.05 for p in own)
    assert together / 1000 <= 0.065
    assert singly / 1000 > 0.1
