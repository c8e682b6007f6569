"""Intervals of shares: within 0 and 1, as often right as they say, of one condition and between conditions."""

import numpy as np
import pytest
from scipy.special import expit, logit

from degeneracy.analysis import Estimate, Recording, Variant
from degeneracy.analysis.behavior.accuracy import Accuracy
from degeneracy.analysis.behavior.decision_disagreement import DecisionDisagreement
from degeneracy.analysis.dynamics.attractors.census import FixedPointCensus
from degeneracy.analysis.statistics.contrasts import EffectOnShares, linear_contrast
from degeneracy.analysis.statistics.jackknife import constant, interval, member_mean, pair_mean, standard_error
from degeneracy.checks import example_recording

LABELS = tuple("abcdefgh")


def test_by_hand() -> None:
    """Accuracies .8, .9 and 1: mean .9, SE .1 / sqrt 3 = .0577, over .9 x .1 = .6415; t(2) = 4.3027."""
    found = member_mean([0.8, 0.9, 1.0])
    low, high = interval(found, "share")
    half = 4.302653 * (0.1 / np.sqrt(3)) / 0.09
    assert (low, high) == (pytest.approx(expit(logit(0.9) - half), rel=1e-6), pytest.approx(expit(logit(0.9) + half)))
    assert 0.35 < low < 0.9 < high < 1
    assert interval(found)[1] > 1.04, "the plain one leaves the range"
    mirrored = interval(member_mean([0.2, 0.1, 0.0]), "share")
    assert mirrored == (pytest.approx(1 - high), pytest.approx(1 - low))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_or_none_has_no_interval(value: float) -> None:
    assert np.isnan(interval(member_mean([value] * 5), "share")).all()


def test_one_member_that_makes_the_difference_has_an_interval() -> None:
    """Without it the share is 1, whose logit is infinite."""
    low, high = interval(member_mean([1.0] * 7 + [0.6]), "share")
    assert 0 < low < 0.95 < high < 1


def accuracies(a: float, b: float):
    return lambda rng, n: member_mean(rng.beta(a, b, n)), a / (a + b)


def disagreements(a: float, b: float):
    def drawn(rng, n: int) -> Estimate:
        wrong = rng.random((n, 256)) < rng.beta(a, b, n)[:, None]
        return pair_mean((wrong[:, None] != wrong).mean(-1))

    p = a / (a + b)
    return drawn, 2 * p * (1 - p)


def kinds(*shares: float):
    def drawn(rng, n: int) -> Estimate:
        kind = rng.choice(len(shares), size=n, p=shares)
        return pair_mean((kind[:, None] != kind).astype(float))

    return drawn, 1 - float(np.sum(np.square(shares)))


# Of 3,000 draws at these sizes plain intervals cover .90, .89, .94, .90, .89 and .98 of them, these .94, .93, .95, .93,
# .92 and .99; of accuracies about .9 half of the plain ones of 5 members leave [0, 1].
@pytest.mark.parametrize(
    ("population", "n", "least"),
    [
        (accuracies(9, 1), 5, 0.92),
        (accuracies(49, 1), 8, 0.91),
        (accuracies(3, 1), 16, 0.93),
        (disagreements(1, 19), 8, 0.91),
        (kinds(0.8, 0.2), 16, 0.88),
        (kinds(0.25, 0.25, 0.25, 0.25), 16, 0.93),
    ],
)
def test_intervals_cover_and_stay_within_0_and_1(population, n: int, least: float) -> None:
    drawn, truth = population
    rng, hits, plain, defined = np.random.default_rng(0), 0, 0, 0
    for _ in range(1000):
        found = drawn(rng, n)
        low, high = interval(found, "share")
        if np.isfinite(low):
            assert 0 <= low < found.value < high <= 1
            defined += 1
            hits += low <= truth <= high
            plain += interval(found)[0] <= truth <= interval(found)[1]
    assert defined > 900
    # 1,000 draws know a coverage to +-.008 (one standard error).
    assert hits / defined > least
    assert hits >= plain - 10


# --- between conditions ---


def two(rng, n: int, shared: float):
    """Accuracies of two conditions, by seed; a share of the spread is the seed's own."""
    seed = rng.normal(size=n)

    def one(centre: float):
        own = rng.normal(size=n)
        return expit(centre + np.sqrt(shared) * seed + np.sqrt(1 - shared) * own)

    return one(3.0), one(2.0)


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_differences_cover_whether_seeds_count_or_not(shared: float) -> None:
    grid = np.random.default_rng(1).normal(size=200_000)
    truth = float(np.mean(expit(2 + grid)) - np.mean(expit(3 + grid)))
    rng, hits, widths = np.random.default_rng(0), 0, []
    for _ in range(600):
        a, b = two(rng, 8, shared)
        effect = linear_contrast([member_mean(a), member_mean(b)], [LABELS, LABELS], [-1, 1], "share")
        low, high = effect.interval()
        hits += low <= truth <= high
        widths.append(high - low)
        assert (effect.p < 0.05) == (low > 0 or high < 0), "p and interval say the same"
    assert 0.91 < hits / 600 < 0.99  # +-.009 is the simulation's own standard error
    # The seeds' own part drops out of the difference: .13 wide where they share most of their spread, else .23.
    assert (np.mean(widths) < 0.18) == (shared > 0.5)


def test_a_difference_of_independent_shares_is_newcombes() -> None:
    """By hand from both intervals: low = d - sqrt((p1 - l1)^2 + (u2 - p2)^2)."""
    rng = np.random.default_rng(3)
    a, b = member_mean(rng.beta(9, 1, 6)), member_mean(rng.beta(3, 1, 6))
    names = [LABELS[:6], tuple("uvwxyz")]
    effect = linear_contrast([a, b], names, [-1, 1], "share")
    (low_a, high_a), (low_b, high_b) = interval(a, "share"), interval(b, "share")
    d = b.value - a.value
    assert effect.change == d
    assert effect.interval()[0] == pytest.approx(d - np.hypot(b.value - low_b, high_a - a.value))
    assert effect.interval()[1] == pytest.approx(d + np.hypot(high_b - b.value, a.value - low_a))
    assert effect.standard_error == pytest.approx(np.hypot(standard_error(a), standard_error(b)))


def test_no_interval_of_a_difference_leaves_what_is_possible() -> None:
    a, b = member_mean([1.0, 1.0, 1.0, 0.9]), member_mean([0.0, 0.0, 0.0, 0.1])
    for names in ([LABELS[:4], LABELS[:4]], [LABELS[:4], LABELS[4:]]):
        effect = linear_contrast([a, b], names, [-1, 1], "share")
        for confidence in (0.5, 0.95, 0.9999, 1 - 1e-12):
            low, high = effect.interval(confidence)
            assert -1 <= low < effect.change < high <= 1
        assert effect.p < 0.05
    plain = linear_contrast([a, b], [LABELS[:4], LABELS[4:]], [-1, 1])
    assert plain.interval()[0] < -1


def test_a_level_at_0_counts_and_nothing_is_claimed_of_it_beyond_a_plain_contrast() -> None:
    """A share of 0 has no logit, and an interval of the other's logit would never reach it, whatever its error."""
    some, none = member_mean([0.2, 0.0, 0.0, 0.1, 0.0]), constant(0.0, 5)
    names = [LABELS[:5], LABELS[:5]]
    effect, plain = (linear_contrast([none, some], names, [-1, 1], scale) for scale in ("share", "linear"))
    assert isinstance(effect, EffectOnShares)
    assert effect.p == plain.p > 0.1
    low, high = effect.interval()
    assert low == 0 > plain.interval()[0], "as low as both shares let it be"
    assert high == pytest.approx(plain.interval()[1])
    shifted = effect.shifted(-0.5)
    assert shifted.interval() == (pytest.approx(low - 0.5), pytest.approx(high - 0.5))
    nothing = linear_contrast([none, constant(1.0, 5)], names, [-1, 1], "share")
    assert np.isnan([nothing.standard_error, nothing.p, *nothing.interval()]).all()


def test_measures_that_are_shares_say_so() -> None:
    recording = example_recording()
    for measure in (Accuracy(), DecisionDisagreement()):
        for finding in measure(recording).findings:
            assert finding.scale == "share"
    scales = {f.variant.split("/")[0]: f.scale for f in FixedPointCensus(n_starts=32)(recording).findings}
    assert scales["census_distance"] == "share"
    assert scales["spectrum_distance"] == scales["n_stable"] == "linear"


def test_the_interval_of_an_accuracy_stays_below_1() -> None:
    """Three networks that are right on 72%, 86% and 100% of their trials."""
    wrong = np.zeros((3, 100))
    wrong[0, :28], wrong[1, :14] = 1.0, 1.0
    variants = {"in_distribution": Variant(errors=wrong, wrong=wrong)}
    [finding] = Accuracy()(Recording(members=("a", "b", "c"), behavior=variants)).findings
    assert interval(finding.value)[1] > 1.2
    assert 0.86 < interval(finding.value, finding.scale)[1] < 1
