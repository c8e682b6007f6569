"""A factor's effect: the arithmetic by hand, against t tests, and coverage of simulated ensembles that share
seeds."""

import numpy as np
import pytest
from scipy import stats

from degeneracy.analysis.measure import Estimate
from degeneracy.analysis.statistics import contrasts, jackknife
from degeneracy.core.errors import UserError

# As in test_jackknife: of 1,000 ensembles, +-1% is the simulation's own error (sd of the share 0.7%).
LOW, HIGH = 0.92, 0.98


def pair_distances(rng, member):
    """Distances a_i + a_j + e_ij of members with effects a, and e of mean 0.3 that belongs to the pair alone."""
    n = len(member)
    pair = np.triu(np.abs(rng.normal(size=(n, n))) * 0.3 * np.sqrt(np.pi / 2), 1)
    return member[:, None] + member + pair + pair.T


def named(n):
    return [str(k) for k in range(n)]


# --- weights ---


@pytest.mark.parametrize(
    ("scores", "weights"),
    [
        ([0, 1], [-1, 1]),
        ([0, 1, 2], [-1, 0, 1]),
        ([0, 1, 2, 3], [-0.9, -0.3, 0.3, 0.9]),  # centred -1.5 -0.5 0.5 1.5; times 3, over 5
        ([0, 1, 3], [-12 / 14, -3 / 14, 15 / 14]),  # centred -4/3 -1/3 5/3; times 3, over 42/9
    ],
)
def test_weights_by_hand(scores, weights):
    np.testing.assert_allclose(contrasts.trend_weights(scores), weights, rtol=1e-12)
    moved = contrasts.trend_weights(5 + 2 * np.array(scores))
    np.testing.assert_allclose(moved, weights, rtol=1e-12)


def test_the_contrast_of_a_line_is_its_rise_whatever_the_levels():
    scores = np.array([1.0, 2.0, 5.0, 11.0])
    assert contrasts.trend_weights(scores) @ (3 - 0.4 * scores) == pytest.approx(-0.4 * 10)
    bent = np.array([0.0, 2.0, 1.0, 4.0])  # independent route: the least-squares line
    slope = np.polyfit(scores, bent, 1)[0]
    assert contrasts.trend_weights(scores) @ bent == pytest.approx(10 * slope)


# --- the contrast ---


def test_an_effect_by_hand():
    """Two levels of three members, the first two of which are shared."""
    low = Estimate(value=2.0, leave_one_out=np.array([1.0, 2.0, 3.0]))
    high = Estimate(value=5.0, leave_one_out=np.array([4.0, 7.0, 4.0]))
    found = contrasts.linear_contrast([low, high], [["a", "b", "c"], ["a", "b", "d"]], [-1, 1])
    # Influences times sqrt(2/3): low 1 0 -1, high 1 -2 1; a: 1 - 1, b: -2 - 0, c: -(-1), d: 1.
    assert found.change == 3.0
    assert found.standard_error == pytest.approx(np.sqrt(2 / 3 * (0 + 4 + 1 + 1)))
    assert found.df == 2
    assert found.interval()[1] == pytest.approx(3 + 4.302653 * 2)  # t(2) at 97.5%
    assert found.p == pytest.approx(2 * stats.t.sf(1.5, 2))


def test_an_effect_on_shared_seeds_is_the_t_test_of_each_seeds_own_slope():
    rng = np.random.default_rng(0)
    x = rng.normal(size=9)[:, None] + rng.normal(size=(9, 4))  # (seed, level)
    weights = contrasts.trend_weights(range(4))
    order = rng.permutation(9)  # seeds are matched by label, not by position
    estimates = [jackknife.member_mean(x[:, 0]), *(jackknife.member_mean(x[order, k]) for k in (1, 2, 3))]
    labels = [named(9), *([str(k) for k in order] for _ in range(3))]
    found = contrasts.linear_contrast(estimates, labels, weights)
    expected = stats.ttest_1samp(x @ weights, 0)
    assert found.p == pytest.approx(expected.pvalue)
    np.testing.assert_allclose(found.interval(), expected.confidence_interval())


def test_on_the_log_scale_it_is_of_logarithms():
    rng = np.random.default_rng(2)
    a, b = (jackknife.member_sd(rng.normal(size=9)) for _ in range(2))
    found = contrasts.linear_contrast([a, b], [named(9)] * 2, [-1, 1], "log")
    assert found.change == pytest.approx(np.log(b.value / a.value))
    assert found.scale == "log"
    u = [np.sqrt(8 / 9) * (np.log(e.leave_one_out).mean() - np.log(e.leave_one_out)) for e in (a, b)]
    assert found.standard_error == pytest.approx(np.linalg.norm(u[1] - u[0]))


def test_the_smallest_condition_sets_the_degrees_of_freedom():
    three, five = jackknife.member_mean([1.0, 2.0, 4.0]), jackknife.member_mean([1.0, 2.0, 4.0, 5.0, 7.0])
    assert contrasts.linear_contrast([five, three], [list("abcde"), list("abc")], [-1, 1]).df == 2


def test_a_condition_of_weight_0_takes_no_part():
    three, two = jackknife.member_mean([1.0, 2.0, 4.0]), jackknife.member_mean([1.0, 2.0])
    found = contrasts.linear_contrast([three, two, three], [list("abc"), list("ab"), list("def")], [-1, 0, 1])
    alone = contrasts.linear_contrast([three, three], [list("abc"), list("def")], [-1, 1])
    assert (found.standard_error, found.df) == (alone.standard_error, 2)


@pytest.mark.parametrize(
    ("estimates", "labels"),
    [
        ([jackknife.member_mean([1.0, 2.0])] * 2, [list("ab"), list("cd")]),  # under 3 members
        (
            [Estimate(value=1.0, leave_one_out=np.full(3, np.nan))] * 2,
            [list("abc")] * 2,
        ),  # no leave-one-out values
        ([jackknife.member_mean([1.0, 2.0, 4.0])] * 2, [list("abc")] * 2),  # influences cancel
        ([jackknife.member_mean([0.1] * 7)] * 2, [list("abcdefg"), list("hijklmn")]),  # rounding alone
    ],
)
def test_no_standard_error_where_it_has_no_meaning(estimates, labels):
    found = contrasts.linear_contrast(estimates, labels, [-1, 1])
    assert found.change == 0
    assert np.isnan([found.standard_error, found.p, *found.interval()]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contrasts.trend_weights([3]), r"2 levels or more .* got \[3.0\]"),
        (lambda: contrasts.trend_weights([3, 3]), "2 levels or more"),
        (
            lambda: contrasts.linear_contrast([jackknife.member_mean([1.0, 2.0])], [["a", "a"]], [1]),
            "2 labels .1 different. for 2 members",
        ),
        (
            lambda: contrasts.linear_contrast([jackknife.member_mean([1.0, 2.0])], [["a", "b"]], [1, 2]),
            "1 estimates, 1 lists of labels",
        ),
        (
            lambda: contrasts.linear_contrast([jackknife.member_mean([1.0, 2.0])], [["a", "b"]], [0]),
            "a weight that is not 0",
        ),
    ],
)
def test_mistakes_are_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# --- several contrasts at once ---


@pytest.mark.parametrize("scores", [[0, 1, 2], [0, 1, 2, 3], [0, 2, 3]])
def test_bends_are_what_no_line_has(scores):
    found = contrasts.bends(scores)
    assert found.shape == (len(scores) - 2, len(scores))
    np.testing.assert_allclose(found @ (3 - 0.4 * np.array(scores)), 0, atol=1e-12)
    np.testing.assert_allclose(found @ found.T, np.eye(len(found)), atol=1e-12)


def test_jointly_it_is_hotellings_test_of_what_each_seed_shows():
    rng = np.random.default_rng(5)
    x = 0.5 * rng.normal(size=11)[:, None] + rng.normal(size=(11, 4)) + [0.0, 0.8, 0.6, 0.1]
    each = x @ contrasts.bends(range(4)).T
    t_squared = 11 * each.mean(0) @ np.linalg.inv(np.cov(each.T)) @ each.mean(0)
    expected = stats.f.sf(t_squared * (11 - 2) / (2 * 10), 2, 9)
    estimates = [jackknife.member_mean(column) for column in x.T]
    assert contrasts.joint_p(estimates, [named(11)] * 4, contrasts.bends(range(4))) == pytest.approx(expected)


def test_of_one_contrast_it_is_the_contrasts_own():
    rng = np.random.default_rng(6)
    estimates, labels = simulated(rng, n=9, shared=0.5, lost=0.0, slope=0.1)
    weights = contrasts.trend_weights(range(4))
    alone = contrasts.linear_contrast(estimates, labels, weights, "log").p
    assert contrasts.joint_p(estimates, labels, [weights], "log") == pytest.approx(alone)


def test_no_joint_p_where_it_has_no_meaning():
    x = np.random.default_rng(7).normal(size=(4, 5))
    estimates = [jackknife.member_mean(row) for row in x]
    flat = [jackknife.member_mean(np.ones(5))] * 4
    few = [jackknife.member_mean(row[:2]) for row in x]
    for given, n in ((flat, 5), (few, 2)):
        assert np.isnan(contrasts.joint_p(given, [named(n)] * 4, contrasts.bends(range(4))))
    rounded = [jackknife.member_mean([x] * 12) for x in (0.3, 1 / 3, 0.3)]  # spread by rounding alone
    assert np.isnan(contrasts.joint_p(rounded, [named(12)] * 3, contrasts.bends(range(3))))
    none = [Estimate(value=1.0, leave_one_out=np.full(5, np.nan)), *estimates[1:]]
    assert np.isnan(contrasts.joint_p(none, [named(5)] * 4, contrasts.bends(range(4))))


@pytest.mark.parametrize(("n", "shared"), [(8, 0.0), (8, 0.5), (20, 0.5)])
def test_bends_that_are_none_are_found_at_the_stated_rate_at_most(n, shared):
    rng = np.random.default_rng(300 + n)
    weights = contrasts.bends(range(4))
    found = [
        contrasts.joint_p(*simulated(rng, n=n, shared=shared, lost=0.0, slope=0.1), weights) < 0.05 for _ in range(800)
    ]
    assert 0.005 <= np.mean(found) <= 0.075


def test_a_bend_that_the_trend_misses_is_found():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(12, 4)) + np.array([0.0, 2.0, 2.0, 0.0])
    estimates = [jackknife.member_mean(column) for column in x.T]
    trend = contrasts.linear_contrast(estimates, [named(12)] * 4, contrasts.trend_weights(range(4)))
    assert trend.p > 0.05
    assert contrasts.joint_p(estimates, [named(12)] * 4, contrasts.bends(range(4))) < 0.01


# --- coverage ---


def simulated(rng, *, n, shared, lost, n_levels=4, slope=0.0):
    """Pairwise ensembles, mean 2.3 + slope * level: a share of each member's effect is its seed's in all levels."""
    seed, estimates, labels = rng.gamma(4.0, 0.25, size=n), [], []
    for level in range(n_levels):
        effect = shared * seed + (1 - shared) * rng.gamma(4.0, 0.25, size=n)
        kept = np.flatnonzero(rng.random(n) >= lost)
        kept = kept if len(kept) >= 4 else np.arange(4)
        estimates.append(jackknife.pair_mean(pair_distances(rng, effect[kept]) + slope * level))
        labels.append([str(k) for k in kept])
    return estimates, labels


@pytest.mark.parametrize("n", [8, 16])
@pytest.mark.parametrize(("shared", "lost"), [(0.0, 0.0), (0.5, 0.0), (0.5, 0.15)])
def test_interval_of_a_pairwise_effect_covers(n, shared, lost):
    rng = np.random.default_rng(100 + n)
    weights = contrasts.trend_weights(range(4))
    hits = 0
    for _ in range(1000):
        found = contrasts.linear_contrast(*simulated(rng, n=n, shared=shared, lost=lost, slope=0.1), weights).interval()
        hits += found[0] <= 0.3 <= found[1]
    # Members that are lost at random make the smallest condition, hence the degrees of freedom, smaller yet.
    assert LOW <= hits / 1000 <= (0.99 if lost and n == 8 else HIGH)


def test_where_seeds_explain_nearly_all_the_interval_is_too_wide_rather_than_too_narrow():
    """What is left is noise of the pairs, whose variance the jackknife doubles (Efron & Stein 1981, theorem 2)."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(500):
        found = contrasts.linear_contrast(*simulated(rng, n=12, shared=1.0, lost=0), contrasts.trend_weights(range(4)))
        hits += found.interval()[0] <= 0 <= found.interval()[1]
    assert hits / 500 >= HIGH


@pytest.mark.parametrize(
    ("n", "n_shared", "ratio", "high"),
    [
        ((3, 3), 3, 4.0, HIGH),
        ((5, 5), 5, 1.0, HIGH),
        ((12, 12), 12, 1.0, HIGH),
        ((5, 5), 0, 1.0, HIGH),
        ((12, 12), 6, 1.0, HIGH),
        # The smaller condition alone sets the degrees of freedom: too wide where the larger one has the spread.
        ((3, 3), 0, 1.0, 0.995),
        ((5, 20), 5, 4.0, 0.995),
        ((3, 20), 0, 4.0, 1.0),
        ((20, 3), 0, 4.0, HIGH),
    ],
)
def test_interval_between_two_conditions_covers(n, n_shared, ratio, high):
    """Means of normal members, of which some are from seeds that both conditions have; `ratio`: sd of the second's."""
    rng = np.random.default_rng(300)
    names = [str(k) for k in range(n[0])], [str(k + n[0] - n_shared) for k in range(n[1])]
    hits = 0
    for _ in range(2000):
        seeds = rng.normal(size=sum(n))
        values = [
            sd * (np.sqrt(0.5) * seeds[[int(name) for name in labels]] + np.sqrt(0.5) * rng.normal(size=len(labels)))
            for sd, labels in zip((1.0, ratio), names, strict=True)
        ]
        low, high_end = contrasts.linear_contrast([*map(jackknife.member_mean, values)], names, [-1, 1]).interval()
        hits += low <= 0 <= high_end
    # Never too narrow: 0.935 is 3 standard errors of 2,000 studies below 0.95.
    assert 0.935 <= hits / 2000 <= high


@pytest.mark.parametrize("n", [8, 16])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_interval_of_an_effect_on_a_log_sd_covers(n, correlation):
    rng = np.random.default_rng(200 + n)
    weights, hits = contrasts.trend_weights(range(3)), 0
    for _ in range(1500):
        own, seed = rng.normal(size=(3, n)), rng.normal(size=n)
        x = np.array([[0.2], [0.3], [0.45]]) * (correlation * seed + np.sqrt(1 - correlation**2) * own)
        found = contrasts.linear_contrast([jackknife.member_sd(row) for row in x], [named(n)] * 3, weights, "log")
        hits += found.interval()[0] <= np.log(0.45 / 0.2) <= found.interval()[1]
    assert LOW <= hits / 1500 <= HIGH


def test_seeds_taken_for_independent_where_they_are_shared_do_not_cover():
    """What counting them jointly is for: an effect whose seeds pull all levels up together is far too wide, one
    whose seeds pull the ends apart too narrow. The proof, too, that these simulations can fail."""
    rng = np.random.default_rng(4)
    weights, hits, apart = contrasts.trend_weights(range(3)), 0, 0
    for _ in range(500):
        seed = rng.normal(size=12)
        x = np.array([-seed, 0 * seed, seed]) + 0.3 * rng.normal(size=(3, 12))
        estimates = [jackknife.member_mean(row) for row in x]
        jointly = contrasts.linear_contrast(estimates, [named(12)] * 3, weights).interval()
        disjoint = [[f"{level}/{k}" for k in range(12)] for level in range(3)]
        separately = contrasts.linear_contrast(estimates, disjoint, weights).interval()
        hits += jointly[0] <= 0 <= jointly[1]
        apart += separately[0] <= 0 <= separately[1]
    assert LOW <= hits / 500 <= HIGH
    assert apart / 500 < 0.9
