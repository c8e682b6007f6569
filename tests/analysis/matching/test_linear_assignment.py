"""The linear assignment against scipy's and every permutation, whatever prices it starts from."""

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from degeneracy.analysis.matching import linear_assignment
from degeneracy.analysis.matching.linear_assignment import assign

ROUNDING = 2.0**-23  # of one profit over the range of profits: its 24 bits, rounded down


def total(profits, matching):
    assert sorted(matching) == list(range(len(profits)))  # a permutation
    return profits[np.arange(len(profits)), matching].astype(float).sum()


def scipys(profits):
    return linear_sum_assignment(profits, maximize=True)[1]


def zeros(n):
    return np.zeros(n, np.float32)


def test_three_rows_by_hand():
    # Greedy 0 -> 0 would leave 5 + 1 or 2 + 3 beside 9; of all six sums 8 + 5 + 6 = 19 is the largest (9 + 3 + 6 = 18).
    profits = np.array([[9, 8, 1], [5, 3, 2], [1, 2, 6]], np.float32)
    np.testing.assert_array_equal(assign(profits, zeros(3)), [1, 0, 2])


def test_every_permutation_is_no_better():
    for seed in range(20):
        profits = np.random.default_rng(seed).normal(size=(6, 6)).astype(np.float32)
        best = max(total(profits, np.array(p)) for p in permutations(range(6)))
        assert total(profits, assign(profits, zeros(6))) == pytest.approx(
            best, abs=6 * ROUNDING * float(np.ptp(profits))
        )


@pytest.mark.parametrize("n", [1, 2, 17, 64, 130])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_as_much_profit_as_scipys(n, scale):
    rng = np.random.default_rng(n)
    prices = zeros(n)
    for _ in range(5):  # prices of one matrix serve another
        profits = (scale * rng.normal(size=(n, n))).astype(np.float32)
        slack = n * ROUNDING * float(np.ptp(profits))
        ours, theirs = total(profits, assign(profits, prices)), total(profits, scipys(profits))
        assert theirs - slack <= ours <= theirs + 1e-12 * abs(theirs)


def test_whole_numbers_and_ties_are_exact():
    for seed in range(20):
        profits = (
            np.random.default_rng(seed).integers(0, 4, size=(30, 30)).astype(np.float32)
        )  # 2^24 / 3 is exact enough
        assert total(profits, assign(profits, zeros(30))) == total(profits, scipys(profits))
    np.testing.assert_array_equal(np.sort(assign(np.ones((7, 7), np.float32), zeros(7))), np.arange(7))


def test_prices_of_a_like_matrix_and_wild_prices_do_not_change_the_profit():
    rng = np.random.default_rng(0)
    profits = rng.normal(size=(40, 40)).astype(np.float32)
    best = total(profits, scipys(profits))
    for prices in (zeros(40), np.full(40, 1e6, np.float32), (1e4 * rng.normal(size=40)).astype(np.float32)):
        slack = 40 * ROUNDING * float(np.ptp(profits))
        assert total(profits, assign(profits, prices)) == pytest.approx(best, abs=slack)
        assert prices.max() == 0  # only differences matter


def test_one_heavy_entry_does_not_break_the_others():
    profits = np.random.default_rng(0).normal(size=(30, 30)).astype(np.float32)
    profits[3, 4] = 1e5
    slack = 30 * ROUNDING * float(np.ptp(profits))
    assert total(profits, assign(profits, zeros(30))) == pytest.approx(total(profits, scipys(profits)), abs=slack)


def test_where_a_path_is_too_long_for_the_integers_scipy_takes_over(monkeypatch):
    profits = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    monkeypatch.setattr(linear_assignment, "_assign", lambda *_: np.full(9, -1))
    np.testing.assert_array_equal(assign(profits, zeros(9)), scipys(profits))
