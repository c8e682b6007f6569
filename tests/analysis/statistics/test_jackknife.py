"""Intervals cover what they claim; estimates, calibration and contrasts against arithmetic and brute
force."""

from dataclasses import replace

import numpy as np
import pytest
from noisy_halves import corrected_squares
from scipy import stats
from scipy.special import gamma

from degeneracy.analysis.measure import Estimate, Finding
from degeneracy.analysis.statistics import jackknife
from degeneracy.core.errors import UserError

# Coverage of a 95% interval that claims to hold: 92-98%, of which +-1% is the simulation's own error (1,000
# or more ensembles: sd of the share 0.7%).
LOW, HIGH = 0.92, 0.98


def distances_of(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def mean_distance(dimension):
    """E||x - y|| of standard normal x and y: sqrt(2) times the mean of a chi variable."""
    return 2 * gamma((dimension + 1) / 2) / gamma(dimension / 2)


def with_member_effects(rng, n, base=0.0):
    """Distances base + a_i + a_j + e_ij: skewed member effects a of mean 1 (gamma), e of mean 0.3."""
    member = rng.gamma(4.0, 0.25, size=n)
    pair = np.triu(np.abs(rng.normal(size=(n, n))) * 0.3 * np.sqrt(np.pi / 2), 1)
    return base + member[:, None] + member + pair + pair.T


def covers(interval, truth):
    return interval[0] <= truth <= interval[1]


# --- estimates ---


def test_pair_mean_by_hand():
    d = np.array([[9.0, 1.0, 2.0], [1.0, 9.0, 6.0], [2.0, 6.0, 9.0]])
    found = jackknife.pair_mean(d)  # the diagonal does not count
    assert found.value == pytest.approx(3.0)  # (1 + 2 + 6) / 3
    np.testing.assert_allclose(found.leave_one_out, [6.0, 2.0, 1.0])  # without 0 the pair (1, 2), and so on


CASES = {
    "pair_mean": lambda x: jackknife.pair_mean(distances_of(x[:, None])),
    "member_mean": jackknife.member_mean,
    "member_sd": jackknife.member_sd,
    "member_cv": jackknife.member_cv,
    "iqr_over_median": jackknife.iqr_over_median,
}


@pytest.mark.parametrize("name", CASES)
def test_closed_forms_equal_brute_force(name):
    x = np.random.default_rng(0).normal(2.0, 1.0, size=7)
    found = CASES[name](x)
    brute = [CASES[name](np.delete(x, k)).value for k in range(7)]
    # 1e-12: the closed forms subtract numbers of order 1.
    np.testing.assert_allclose(found.leave_one_out, brute, rtol=0, atol=1e-12)


def test_plain_values_by_hand():
    x = [1.0, 2.0, 3.0, 6.0]
    assert jackknife.member_mean(x).value == 3.0
    assert jackknife.member_sd(x).value == pytest.approx(np.sqrt(14 / 3))  # (4 + 1 + 0 + 9) / 3
    assert jackknife.member_cv([-v for v in x]).value == pytest.approx(np.sqrt(14 / 3) / 3)
    # Of 3 values the quartiles weigh them by increments of 1 - (1 - x)^3 and x^3, the median by those of 3x^2 - 2x^3.
    assert jackknife.iqr_over_median([4.0, 1.0, 2.0]).value == pytest.approx((91 - 37) / 61)
    assert np.isnan(jackknife.iqr_over_median([1.0, 2.0]).leave_one_out).all()
    assert np.isnan(jackknife.member_cv([-1.0, 0.0, 1.0]).value)


def test_quartiles_are_those_of_harrell_and_davis():
    x = np.random.default_rng(0).normal(5.0, 1.0, 9)
    low, median, high = stats.mstats.hdquantiles(x, [0.25, 0.5, 0.75])
    assert jackknife.iqr_over_median(x).value == pytest.approx((high - low) / median)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jackknife.pair_mean(np.zeros((3, 2))), "square matrix"),
        (lambda: jackknife.pair_mean(np.zeros((1, 1))), "2 members or more"),
        (lambda: jackknife.pair_mean([[0.0, 1.0], [2.0, 0.0]]), "not symmetric"),
        (lambda: jackknife.member_sd([1.0]), "2 members or more"),
        (lambda: jackknife.member_mean(np.zeros((2, 2))), r"got shape \(2, 2\)"),
        (lambda: jackknife.interval(jackknife.member_mean([1.0, 2.0, 4.0]), confidence=95), "0 and 1"),
    ],
)
def test_mistakes_are_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# --- intervals ---


def test_jackknife_of_a_mean_is_the_classical_interval():
    x = np.random.default_rng(1).normal(size=9)
    classical = stats.t.interval(0.9, 8, loc=x.mean(), scale=x.std(ddof=1) / 3)
    np.testing.assert_allclose(jackknife.interval(jackknife.member_mean(x), confidence=0.9), classical)
    assert jackknife.standard_error(jackknife.member_mean(x)) == pytest.approx(x.std(ddof=1) / 3)


def test_log_interval_is_the_interval_of_the_logarithm():
    found = jackknife.member_sd(np.random.default_rng(2).normal(size=9))
    logs = Estimate(value=np.log(found.value), leave_one_out=np.log(found.leave_one_out))
    np.testing.assert_allclose(np.log(jackknife.interval(found, "log")), jackknife.interval(logs))


def test_an_end_that_is_too_large_for_a_number_is_infinite_without_a_warning(recwarn):
    wild = Estimate(value=1.0, leave_one_out=np.array([1e-300, 1.0, 1e300]))
    low, high = jackknife.interval(wild, "log")
    assert (low, high) == (0, np.inf)
    ends = np.array([np.nan, -800.0, 800.0])
    np.testing.assert_array_equal(jackknife.untransformed(ends, "log"), [np.nan, 0, np.inf])
    np.testing.assert_array_equal(jackknife.untransformed(ends, "linear"), ends)
    assert not list(recwarn)


@pytest.mark.parametrize(
    ("estimate", "scale"),
    [
        (jackknife.pair_mean(np.array([[0.0, 1.0], [1.0, 0.0]])), "linear"),  # 2 members
        (jackknife.member_mean([1.0, 2.0]), "linear"),
        (jackknife.pair_mean(np.zeros((5, 5))), "linear"),  # no spread: no width to claim
        (jackknife.member_mean([0.1] * 7), "linear"),  # the sum of 0.1 is not exact: rounding is no spread
        (jackknife.member_sd([1.0, 1.0, 1.0, 2.0]), "log"),  # without the last the sd is 0
        (jackknife.member_mean([1.0, np.nan, 2.0, 3.0]), "linear"),
    ],
)
def test_no_interval_where_it_has_no_meaning(estimate, scale):
    assert np.isnan(jackknife.interval(estimate, scale)).all()


@pytest.mark.parametrize("n", [8, 16, 50])
@pytest.mark.parametrize("ensemble", ["points", "member effects"])
def test_pair_mean_interval_covers(ensemble, n):
    rng = np.random.default_rng(10 + n)
    hits = 0
    for _ in range(1000):
        if ensemble == "points":
            d, truth = distances_of(rng.normal(size=(n, 3))), mean_distance(3)
        else:
            d, truth = with_member_effects(rng, n), 2.3
        hits += covers(jackknife.interval(jackknife.pair_mean(d)), truth)
    assert LOW <= hits / 1000 <= HIGH


@pytest.mark.parametrize("n", [8, 16, 50])
def test_naive_bootstrap_over_pairs_does_not_cover(n):
    """What the jackknife over members is for; and the proof that these simulations can fail."""
    rng = np.random.default_rng(20 + n)
    hits = 0
    for _ in range(200):
        pairs = distances_of(rng.normal(size=(n, 3)))[np.triu_indices(n, 1)]
        means = rng.choice(pairs, size=(200, len(pairs))).mean(axis=1)
        hits += covers(np.quantile(means, [0.025, 0.975]), mean_distance(3))
    assert hits / 200 < 0.75


@pytest.mark.parametrize("n", [8, 16, 50])
def test_log_interval_of_an_sd_covers(n):
    rng = np.random.default_rng(30 + n)
    log_errors = rng.normal(-3.0, 0.4, size=(1500, n))
    hits = sum(covers(jackknife.interval(jackknife.member_sd(x), "log"), 0.4) for x in log_errors)
    assert LOW <= hits / 1500 <= HIGH


@pytest.mark.parametrize("n", [8, 20])
def test_log_interval_of_an_interquartile_range_covers(n):
    rng = np.random.default_rng(50 + n)
    errors = np.exp(rng.normal(-3.0, 0.6, size=(400, n)))
    truth = 2 * np.sinh(0.6 * stats.norm.ppf(0.75))  # quartiles exp(+-0.6 z) of the median
    found = [jackknife.interval(jackknife.iqr_over_median(x), "log") for x in errors]
    assert LOW <= sum(covers(one, truth) for one in found) / len(found) <= HIGH


# --- calibration ---


def finding(value, floor, reference, scale="linear"):
    return Finding(variant="", value=value, floor=floor, reference=reference, scale=scale)


def test_calibrated_by_hand_and_never_clipped():
    spread = np.array([-0.1, 0.0, 0.1])
    floor, reference = (Estimate(value=v, leave_one_out=v + spread) for v in (1.0, 3.0))
    for value, expected in ((2.0, 0.5), (0.0, -0.5), (5.0, 2.0)):  # (value - 1) / (3 - 1)
        moved = Estimate(value=value, leave_one_out=value + spread)
        found = jackknife.calibrate(finding(moved, floor, reference))
        assert found.value == pytest.approx(expected)
        assert found.note == ""
        # all three move together: the share does not move, so there is nothing to make an interval of
        assert np.isnan(found.low)


def test_calibrated_interval_resamples_members_jointly():
    """Independent route: Taylor expansion of the ratio of means, var = mean((x - R y)^2) / mean(y)^2 / n."""
    rng = np.random.default_rng(3)
    y = rng.normal(10.0, 1.0, size=50)
    x = 0.5 * y + rng.normal(0.0, 0.1, size=50)
    found = jackknife.calibrate(
        finding(jackknife.member_mean(x), jackknife.constant(0.0, 50), jackknife.member_mean(y))
    )
    ratio = x.mean() / y.mean()
    taylor = stats.t.ppf(0.975, 49) * np.std(x - ratio * y, ddof=1) / y.mean() / np.sqrt(50)
    assert (found.high - found.low) / 2 == pytest.approx(taylor, rel=0.02)  # first order: 1/n


@pytest.mark.parametrize(
    ("floor", "reference", "note"),
    [
        (None, jackknife.member_mean([3.0, 4.0, 5.0]), "no floor"),
        (jackknife.constant(0.0, 3), None, "no reference"),
        (None, None, "no floor and no reference"),
        (jackknife.constant(0.0, 3), jackknife.member_mean([-1.0, 2.0, 3.0]), "under 2 standard errors"),
        (jackknife.constant(0.0, 3), jackknife.constant(0.0, 3), "not above the floor"),
        (jackknife.constant(9.0, 3), jackknife.member_mean([3.0, 4.0, 5.0]), "not above the floor"),
        (jackknife.constant(np.nan, 3), jackknife.member_mean([3.0, 4.0, 5.0]), "not finite"),
    ],
)
def test_not_calibrated_with_a_reason(floor, reference, note):
    found = jackknife.calibrate(finding(jackknife.member_mean([1.0, 2.0, 3.0]), floor, reference))
    assert np.isnan([found.value, found.low, found.high]).all()
    assert note in found.note


def test_two_members_are_too_few_to_calibrate():
    two = np.array([[0.0, 1.0], [1.0, 0.0]])
    found = jackknife.calibrate(
        finding(jackknife.pair_mean(two), jackknife.constant(0.0, 2), jackknife.pair_mean(3 * two))
    )
    assert np.isnan(found.value)
    assert "too few members" in found.note


@pytest.mark.parametrize("n", [8, 16, 50])
def test_calibrated_interval_covers(n):
    rng = np.random.default_rng(40 + n)
    hits = 0
    for _ in range(1000):
        value, reference = with_member_effects(rng, n), with_member_effects(rng, n, base=1.0)
        floor = rng.gamma(4.0, 0.05, size=n)  # mean 0.2
        found = jackknife.calibrate(
            finding(jackknife.pair_mean(value), jackknife.member_mean(floor), jackknife.pair_mean(reference))
        )
        hits += covers((found.low, found.high), (2.3 - 0.2) / (3.3 - 0.2))
    assert LOW <= hits / 1000 <= HIGH


# --- calibration of squares ---


def test_a_corrected_value_is_calibrated_as_the_signed_root_of_a_ratio_of_squares():
    spread = np.array([-0.1, 0.0, 0.1])
    for value, expected in ((1.0, 0.5), (-1.0, -0.5), (16.0, 2.0), (0.0, 0.0)):  # sign(v) sqrt(|v| / 4)
        moved = Estimate(value=value, leave_one_out=value + spread)
        exact = Estimate(value=4.0, leave_one_out=4.0 + spread)
        for floor in (None, jackknife.constant(9.0, 3)):  # it has been taken away already
            shown = replace(finding(moved, floor, exact), corrected=True)
            assert jackknife.calibrate(shown).value == pytest.approx(expected)
    found = jackknife.calibrated_estimate(
        replace(finding(jackknife.member_mean([1.0, 4.0, 7.0]), None, exact), corrected=True)
    )
    # Without each member in turn: means 5.5, 4, 2.5 over 3.9, 4, 4.1.
    np.testing.assert_allclose(found.leave_one_out, np.sqrt([5.5 / 3.9, 1.0, 2.5 / 4.1]))
    none = replace(finding(jackknife.member_mean([1.0, 2.0, 3.0]), None, None), corrected=True)
    assert jackknife.calibrate(none).note == "not calibrated: no reference"


@pytest.mark.parametrize("share", [0.0, 1 / 3])
def test_the_calibrated_interval_of_a_corrected_value_covers_also_where_there_is_nothing(share):
    """Places 1/3 as far apart as before training, or in one place, seen with noise as large as the distances are."""
    rng = np.random.default_rng(60)
    hits, low_roots = 0, 0
    for _ in range(1000):
        value, floor = corrected_squares(rng, share * rng.normal(size=(16, 6)), noise=0.5)
        reference, _ = corrected_squares(rng, rng.normal(size=(16, 6)), noise=0.5)
        estimates = map(jackknife.pair_mean, (value, reference))
        shown = finding(next(estimates), jackknife.member_mean(floor), next(estimates))
        found = jackknife.calibrate(replace(shown, corrected=True))
        hits += covers((found.low, found.high), share)
        low_roots += found.value < 0
    assert LOW <= hits / 1000 <= HIGH
    if not share:  # half of all draws of nothing lie below it
        assert 0.4 < low_roots / 1000 < 0.65


# --- how many members ---


def test_width_against_n_is_the_width_at_n_and_predicts_others():
    rng = np.random.default_rng(6)
    found = jackknife.pair_mean(distances_of(rng.normal(size=(16, 3))))
    low, high = jackknife.interval(found)
    np.testing.assert_allclose(jackknife.width_against_n(found, [2, 16]), [np.nan, (high - low) / 2])

    def mean_half_width(n, sizes):
        ensembles = (jackknife.pair_mean(distances_of(rng.normal(size=(n, 3)))) for _ in range(300))
        return np.mean([jackknife.width_against_n(e, sizes) for e in ensembles], axis=0)

    predicted = mean_half_width(50, [8, 16, 50])
    actual = [mean_half_width(n, [n])[0] for n in (8, 16, 50)]
    # 15% at n = 8: second-order terms (pair noise, 1/n^2) that the law leaves out.
    np.testing.assert_allclose(predicted, actual, rtol=0.15)
