"""Distances between sets of fixed points: by hand, by all permutations, and the claims of a metric."""

from itertools import permutations

import numpy as np
import pytest

from degeneracy.analysis import MEASURES
from degeneracy.analysis.dynamics.attractors.fixed_point_distances import (
    census_distance,
    repeat_census_distance,
    spectrum_distance,
)
from degeneracy.analysis.dynamics.attractors.fixed_points import FixedPoints
from degeneracy.analysis.dynamics.spectra import wasserstein_distances
from degeneracy.core.errors import UserError


def points_with(*spectra, n_starts=10) -> FixedPoints:
    eigenvalues = np.array(spectra, dtype=complex).reshape(len(spectra), len(spectra[0]) if spectra else 2)
    return FixedPoints(
        position=np.arange(2.0 * len(spectra)).reshape(-1, 2),
        speed=np.zeros(len(spectra)),
        eigenvalues=eigenvalues,
        index=(abs(eigenvalues) > 1).sum(1),
        n_starts=n_starts,
        n_rejected=0,
        n_slow=0,
    )


UNSEARCHED = points_with(n_starts=0)


def test_census_distance_sees_numbers_and_kinds_of_points_only():
    stable, saddle, other = (0.5, 0.1), (1.5, 0.1), (0.9, 0.2)
    members = [
        points_with(stable, saddle),
        points_with(other, saddle),  # same kinds, other spectra: the same census
        points_with(stable, stable),  # as many, another kind
        points_with(stable, saddle, stable),
        UNSEARCHED,
    ]
    nan = np.nan
    expected = [[0, 0, 1, 1, nan], [0, 0, 1, 1, nan], [1, 1, 0, 1, nan], [1, 1, 1, 0, nan], [nan] * 4 + [0]]
    np.testing.assert_array_equal(census_distance(members), expected)
    np.testing.assert_array_equal(repeat_census_distance(members, members), [0, 0, 0, 0, nan])
    assert spectrum_distance(members)[0, 1] > 0


def test_spectrum_distance_by_hand():
    a, b = points_with((1.0, 0.0)), points_with((0.0, 0.4))
    # Matched 1 with 0.4 and 0 with 0: sqrt((0.36 + 0)/2) = 0.42426.
    assert spectrum_distance([a, b], n_eigenvalues=2)[0, 1] == pytest.approx(0.42426, abs=5e-6)
    # A second point of b has no partner: (0.42426 + 1)/2 = 0.71213; it costs the cutoff, here 0.2: (0.2+0.2)/2.
    c = points_with((0.0, 0.4), (-1.0, -1.0))
    assert spectrum_distance([a, c], n_eigenvalues=2)[0, 1] == pytest.approx(0.71213, abs=5e-6)
    assert spectrum_distance([a, c], n_eigenvalues=2, cutoff=0.2)[0, 1] == pytest.approx(0.2, abs=1e-12)
    # Only the largest eigenvalue: |1 - 0.4|, once b is sorted as `find_fixed_points` sorts.
    d = points_with((0.4, 0.0))
    assert spectrum_distance([a, d], n_eigenvalues=1)[0, 1] == pytest.approx(0.6, abs=1e-12)
    # A smaller network lacks the second: 0 stands for it, so nothing is different.
    assert spectrum_distance([a, points_with((1.0,))], n_eigenvalues=2)[0, 1] == 0


def random_members(n_points, seed):
    rng = np.random.default_rng(seed)
    return [points_with(*(rng.normal(size=(n, 3)) + 1j * rng.normal(size=(n, 3)))) for n in n_points]


def test_spectrum_distance_against_all_permutations():
    a, b = random_members((2, 4), 0)
    distance = np.zeros((2, 4))
    for i, p in enumerate(a.eigenvalues):
        for j, q in enumerate(b.eigenvalues):
            distance[i, j] = min(np.sqrt(np.mean(abs(p - q[list(s)]) ** 2)) for s in permutations(range(3)))
    cost = np.minimum(distance, 1.3)
    best = min(cost[0, i] + cost[1, j] for i, j in permutations(range(4), 2))
    expected = (best + 2 * 1.3) / 4
    assert spectrum_distance([a, b], cutoff=1.3)[0, 1] != pytest.approx(expected)  # 8: padded with zeros
    # 1e-12: sums of a few numbers of order 1.
    assert spectrum_distance([a, b], n_eigenvalues=3, cutoff=1.3)[0, 1] == pytest.approx(expected, abs=1e-12)


def test_spectra_matched_in_the_order_of_their_real_parts_and_spectra_that_are_not():
    pairs = np.array([[0.9, 0.5 + 0.1j, 0.5 - 0.1j], [0.7, 0.4 + 0.2j, 0.4 - 0.2j]])  # conjugates: in that order
    # Real parts in order would cross the imaginary ones: 0 + 2i with 0.1 - 2i.
    crossed = np.array([[0.0 + 2j, 0.1 - 2j, 0.5], [0.1 + 2j, 0.0 - 2j, 0.5], [3.0, 0.0 - 2j, 0.2]])
    a, b = np.concatenate([pairs, crossed]), np.concatenate([crossed[::-1], pairs[::-1]])
    expected = [[min(np.sqrt(np.mean(abs(p - q[list(s)]) ** 2)) for s in permutations(range(3))) for q in b] for p in a]
    np.testing.assert_allclose(wasserstein_distances(a, b), expected, atol=1e-14)  # round-off
    assert wasserstein_distances(a, b)[2, 1] == pytest.approx(np.sqrt(0.02 / 3))  # 0.1, -0.1 and 0 apart


def test_spectrum_distance_is_a_metric():
    members = random_members((1, 2, 3, 3, 5, 0), 1)
    d = spectrum_distance(members, n_eigenvalues=3, cutoff=2.0)
    np.testing.assert_array_equal(d, d.T)
    assert (np.diag(d) == 0).all()
    assert (d[~np.eye(6, dtype=bool)] > 0).all()
    assert d.max() <= 2.0
    assert (d[:, None] <= d[:, :, None] + d[None] + 1e-12).all()  # round-off
    np.testing.assert_array_equal(spectrum_distance([members[0], UNSEARCHED]), [[0, np.nan], [np.nan, 0]])
    shuffled = points_with(*members[4].eigenvalues[::-1, [2, 0, 1]])
    # The order of points and of eigenvalues says nothing.
    assert spectrum_distance([members[4], shuffled], n_eigenvalues=3)[0, 1] == pytest.approx(0, abs=1e-12)


def test_floors_compare_each_member_with_its_own_second_search():
    """Found again alike; with a stable point more (cutoff 1 over 2 points); with 0.1 for the eigenvalue 0.5."""
    stable, saddle = (0.5, 0.0), (1.5, 0.0)
    first = [points_with(stable), points_with(saddle), points_with(stable, stable)]
    second = [points_with(stable), points_with(saddle, stable), points_with((0.1, 0.0), stable)]
    measure = MEASURES["fixed_points"](n_eigenvalues=1)
    done = [("none", [a], [b], [str(k)]) for k, (a, b) in enumerate(zip(first, second, strict=True))]
    found = {f.variant: f for f in measure.whole(done).findings}
    census, spectrum = (found[name].floor for name in ("census_distance", "spectrum_distance"))
    assert census.value == pytest.approx(1 / 3)  # 0, 1, 0
    assert census.leave_one_out == pytest.approx([0.5, 0, 0.5])
    assert spectrum.value == pytest.approx(0.7 / 3)  # 0, 0.5, 0.4 / 2
    assert spectrum.leave_one_out == pytest.approx([0.35, 0.1, 0.25])
    assert found["n_stable"].floor is None


def test_impossible_comparisons_are_said_in_one_line():
    with pytest.raises(UserError, match="n_eigenvalues = 0"):
        spectrum_distance([UNSEARCHED], n_eigenvalues=0)
    with pytest.raises(UserError, match=r"cutoff = 0\.0"):
        spectrum_distance([UNSEARCHED], cutoff=0.0)
    with pytest.raises(UserError, match="1 members searched and 0 searched again"):
        repeat_census_distance([UNSEARCHED], [])
