"""Distances of members seen in two halves: against searches of every pair of halves, and what may not matter."""

import numpy as np
import pytest

from degeneracy.analysis.operator_alignment import search
from degeneracy.analysis.operator_alignment.halves import fit_halves
from degeneracy.analysis.operator_alignment.pairs import fit_among
from degeneracy.core.errors import UserError


def two_halves(n, rank, noise, seed=0):
    """Operators in principal axes, each seen twice: in other noise, and the second time in other coordinates."""
    gen = np.random.default_rng(seed)
    a = gen.normal(size=(n, rank, rank)) * np.exp(-np.arange(rank) / 5) / np.sqrt(rank)
    level = noise * np.linalg.norm(a, axis=(1, 2))[:, None, None] / rank
    first, second = (a + level * gen.normal(size=a.shape) for _ in range(2))
    turns = np.linalg.qr(gen.normal(size=a.shape))[0]
    return first, turns @ second @ turns.transpose(0, 2, 1)


def squares(fit):
    return 4 * np.sin(fit.distance / 2) ** 2


def every_pair(first, second, **options):
    n = len(first)
    fit = fit_among(first, second, *np.divmod(np.arange(n * n), n), **options)
    return squares(fit).reshape(n, n)


@pytest.mark.parametrize("noise", [0.02, 0.15, 0.5])
def test_distances_are_those_of_a_search_of_every_pair_of_halves(noise):
    first, second = two_halves(6, 12, noise)
    found, many = squares(fit_halves(first, second)), every_pair(first, second, n_starts=256)
    # The floors have 24 starts of their own; with much noise these leave out up to some thousandths.
    assert np.all(np.diag(found) <= np.diag(many) * (1 + 0.01 * noise) + 1e-9)
    others = ~np.eye(6, dtype=bool)
    # Of pairs 24 starts leave out 1% of what separates them on average, and 256 may leave out as much of another pair.
    assert 0.99 < found[others].mean() / many[others].mean() < 1.01


def test_one_search_serves_both_pairs_of_halves(monkeypatch):
    searched = []
    explore = search.explore
    monkeypatch.setattr(search, "explore", lambda *args, **options: searched.append(1) or explore(*args, **options))
    fit_halves(*two_halves(5, 6, 0.1))
    assert len(searched) == 5 + 5 * 4 // 2


def test_places_company_and_which_half_is_first_make_no_difference_to_the_bit():
    first, second = two_halves(5, 8, 0.2, seed=1)
    distance = fit_halves(first, second).distance
    assert len(set(distance.ravel())) == 25
    np.testing.assert_array_equal(fit_halves(second, first).distance, distance.T)
    order = [3, 0, 4, 1, 2]
    np.testing.assert_array_equal(fit_halves(first[order], second[order]).distance, distance[np.ix_(order, order)])
    np.testing.assert_array_equal(fit_halves(first[[4, 1]], second[[4, 1]]).distance, distance[np.ix_([4, 1], [4, 1])])
    np.testing.assert_array_equal(fit_halves(first[2:3], second[2:3]).distance, distance[2:3, 2:3])


def test_turned_copies_are_at_zero_and_the_same_operator_exactly():
    [a], [turned] = two_halves(1, 9, 0.0)
    reflected = a * np.where(np.arange(9) == 2, -1, 1)[:, None] * np.where(np.arange(9) == 2, -1, 1)
    fit = fit_halves(np.array([a, reflected, a]), np.array([turned, 3 * turned, turned]))
    assert fit.distance.max() < 1e-4  # a gradient of 1e-7 over the flattest curvature
    assert fit.converged.all()
    assert np.all(fit_halves(np.array([a, a]), np.array([a, a])).distance < 1e-12)


def test_frobenius_counts_the_size_of_either_half():
    a = np.diag([2.0, 1.0])
    fit = fit_halves(np.array([a, 2 * a]), np.array([3 * a, 4 * a]), score="frobenius")
    # || s a - t a || = |s - t| sqrt 5: no turn makes it less.
    expected = np.abs(np.array([[1.0], [2.0]]) - np.array([[3.0, 4.0]])) * np.sqrt(5)
    np.testing.assert_allclose(fit.distance, expected, atol=1e-9)


def test_silent_members_have_no_direction():
    none, eye = np.zeros((3, 3)), np.eye(3)
    fit = fit_halves(np.array([none, eye]), np.array([none, eye]))
    np.testing.assert_allclose(fit.distance, [[0, np.pi / 2], [np.pi / 2, 0]], atol=1e-12)


def test_bad_operators_are_refused_in_one_line():
    with pytest.raises(UserError, match="non-finite"):
        fit_halves(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2)))
    with pytest.raises(UserError, match="n_starts = 1"):
        fit_halves(np.ones((1, 2, 2)), np.ones((1, 2, 2)), n_starts=1)
