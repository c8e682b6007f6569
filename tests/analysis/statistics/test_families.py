"""Pictures keep distances; families are found where planted and not in clouds without groups."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score

from degeneracy.analysis.statistics import families
from degeneracy.core.errors import UserError


def distances_of(points):
    return squareform(pdist(points))


def clusters(seed, sizes, separation, dimension=3):
    """Standard normal clouds around corners of a simplex, `separation` sqrt(2) apart; and who is where."""
    rng = np.random.default_rng(seed)
    where = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(size=(len(where), dimension)) + separation * np.eye(len(sizes), dimension)[where], where


# --- mds ---


def test_mds_of_a_triangle_by_hand():
    # sides 3, 4, 5: centred along its principal axes, distances kept
    found = families.mds([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]])
    np.testing.assert_allclose(pdist(found.coordinates), [3, 4, 5], atol=1e-9)
    np.testing.assert_allclose(found.coordinates.mean(axis=0), 0, atol=1e-12)
    assert found.stress < 1e-9
    assert found.converged


def test_mds_stress_by_hand():
    # Three members all 1 apart, on a line: at -c, 0, c the distances are c, c, 2c; 2 (c-1)^2 + (2c-1)^2 is
    # smallest at c = 2/3, where it is 2/9 + 1/9 = 1/3 of a total of 3.
    found = families.mds(1.0 - np.eye(3), n_components=1)
    assert found.stress == pytest.approx(1 / 3, abs=1e-6)  # stops where an iteration gains 1e-9
    np.testing.assert_allclose(np.sort(found.coordinates[:, 0]), [-2 / 3, 0, 2 / 3], atol=1e-6)


def test_mds_is_a_minimum_of_the_stress():
    """Independent route: no nearby picture is better, and the classical one is worse."""
    rng = np.random.default_rng(0)
    d = distances_of(rng.normal(size=(12, 6)))
    found = families.mds(d)

    def stress(z):
        return np.sqrt(np.sum((distances_of(z) - d) ** 2) / np.sum(d**2))

    assert stress(found.coordinates) == pytest.approx(found.stress)
    for _ in range(50):
        assert stress(found.coordinates + 1e-3 * rng.normal(size=(12, 2))) > found.stress
    assert stress(families._classical(d, 2)) > found.stress + 0.01


def test_mds_is_deterministic_and_shows_planted_groups():
    points, where = clusters(1, (8, 8), 8.0, dimension=10)
    order = np.random.default_rng(2).permutation(16)
    found, shuffled = (families.mds(distances_of(p)).coordinates for p in (points, points[order]))
    np.testing.assert_array_equal(found, families.mds(distances_of(points)).coordinates)
    np.testing.assert_allclose(np.abs(shuffled), np.abs(found[order]), atol=1e-3)  # the stop rule, 1e-9 of stress
    first = found[:, 0]
    assert first[where == 0].max() < first[where == 1].min() or first[where == 1].max() < first[where == 0].min()


def test_mds_of_members_that_are_the_same():
    found = families.mds(np.zeros((4, 4)))
    np.testing.assert_array_equal(found.coordinates, np.zeros((4, 2)))
    assert found.stress == 0
    assert families.mds([[0.0, 2.0], [2.0, 0.0]], n_components=3).coordinates.shape == (2, 3)


# --- families ---


@pytest.mark.parametrize(
    ("sizes", "dimension"),
    # In 20 dimensions members' own variation hides the groups unless it is taken off.
    [((9, 7), 3), ((6, 5, 5), 3), ((5, 5, 4, 4), 10), ((10, 10), 20)],
)
def test_planted_families_are_found(sizes, dimension):
    points, where = clusters(3, sizes, 7.0, dimension)
    order = np.random.default_rng(4).permutation(len(where))
    found = families.solution_families(distances_of(points[order]))
    assert found.n_families == len(sizes)
    assert found.separation > found.null_95
    np.testing.assert_array_equal(np.sort(np.bincount(found.labels))[::-1], sizes)  # 0 is the largest
    for family in range(len(sizes)):
        assert len(set(where[order][found.labels == family])) == 1


def test_a_member_alone_is_no_family():
    points, _ = clusters(5, (8, 7), 7.0)
    loner = families.solution_families(distances_of(np.vstack([points, [[0, 0, 60.0]]])))
    assert loner.n_families == 2
    assert loner.labels[-1] == -1
    one_cloud = families.solution_families(distances_of(np.vstack([points[:8], [[0, 0, 60.0]]])))
    assert one_cloud.n_families == 1
    assert (one_cloud.labels == 0).all()


@pytest.mark.parametrize(
    ("cloud", "most", "ensembles"),
    [
        # 5% is what the test claims; of 100 ensembles, 10 or fewer with probability 99%, of 40, 5 or fewer
        # with 99% (binomial).
        (lambda rng: rng.normal(size=(16, 2)), 0.10, 100),
        (lambda rng: rng.normal(size=(16, 5)) * [4, 2, 1, 1, 1], 0.125, 40),
        # all distances nearly equal: nothing to group
        (lambda rng: rng.normal(size=(16, 200)), 0.025, 40),
        # no Gaussian: flat tops have edges, which the second null knows
        (lambda rng: rng.uniform(size=(16, 2)), 0.125, 40),
    ],
    ids=["gaussian", "elongated", "high-dimensional", "uniform"],
)
def test_one_cloud_is_one_family(cloud, most, ensembles):
    rng = np.random.default_rng(6)
    found = [families.solution_families(distances_of(cloud(rng)), seed=k, n_null=99) for k in range(ensembles)]
    assert np.mean([f.n_families > 1 for f in found]) <= most
    assert all((f.labels == 0).all() for f in found if f.n_families == 1)


def test_few_members_or_no_distance_are_one_family_with_a_note():
    few = families.solution_families(distances_of(clusters(7, (3, 2), 50.0)[0]))
    assert (few.n_families, list(few.labels)) == (1, [0] * 5)
    assert "5 members are too few" in few.note
    assert np.isnan(few.null_95)
    same = families.solution_families(np.zeros((8, 8)))
    assert (same.n_families, same.note) == (1, "all members are at distance 0")


def test_families_depend_on_the_seed_alone():
    d = distances_of(clusters(8, (8, 8), 3.0)[0])
    one, again, other = (families.solution_families(d, seed=seed) for seed in (1, 1, 2))
    assert one.null_95 == again.null_95 != other.null_95


def test_silhouette_by_hand_and_by_sklearn():
    # points 0, 1 | 4, 6: a = 1, 1, 2, 2; b = 5, 4, 3.5, 5.5; (4/5 + 3/4 + 1.5/3.5 + 3.5/5.5) / 4
    d = distances_of(np.array([[0.0], [1.0], [4.0], [6.0]]))
    found = families.silhouettes(d[None], np.array([[0, 0, 3, 3]]))
    assert found[0] == pytest.approx((4 / 5 + 3 / 4 + 3 / 7 + 7 / 11) / 4)
    rng = np.random.default_rng(9)
    d, labels = distances_of(rng.normal(size=(12, 3))), np.repeat(np.arange(4), 3)
    expected = silhouette_score(d, labels, metric="precomputed")
    assert families.silhouettes(d[None], labels[None])[0] == pytest.approx(expected)
    # one member alone: it counts 0, and the others do not look at it
    labels = np.array([0, 0, 1, 1, 2])
    d = distances_of(np.array([[0.0], [1.0], [4.0], [6.0], [7.0]]))
    assert families.silhouettes(d[None], labels[None])[0] == pytest.approx(found[0] * 4 / 5)
    assert families.silhouettes(d[None], np.array([[0, 0, 0, 0, 1]]))[0] == -1  # a loner and the rest: no split


def test_best_splits_equal_scipy_trees():
    rng = np.random.default_rng(10)
    clouds = np.stack([distances_of(rng.normal(size=(14, 3))) for _ in range(20)])
    labels, scores = families.best_splits(clouds, 6)
    for d, found, score in zip(clouds, labels, scores, strict=True):
        tree = linkage(squareform(d), "average")
        cuts = [fcluster(tree, k, "maxclust") - 1 for k in range(2, 7)]
        theirs = [families.silhouettes(d[None], cut.astype(np.int64)[None])[0] for cut in cuts]
        assert score == pytest.approx(max(theirs))
        best = cuts[int(np.argmax(theirs))]
        np.testing.assert_array_equal(found[:, None] == found, best[:, None] == best)


def test_distances_by_products_are_those_by_differences():
    clouds = np.random.default_rng(11).normal(size=(3, 12, 5)) + 4.0
    found = families._euclidean_by_products(clouds)
    for cloud, d in zip(clouds, found, strict=True):
        # Squares of 80 are subtracted from each other: 80 * 2e-16 of a square of 1 or more.
        np.testing.assert_allclose(d, distances_of(cloud), atol=1e-12)
        np.testing.assert_array_equal(families._euclidean(cloud), families._euclidean(cloud).T)
        np.testing.assert_allclose(families._euclidean(cloud), distances_of(cloud), atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: families.mds(np.zeros((3, 2))), "square matrix"),
        (lambda: families.mds([[0.0, np.nan], [np.nan, 0.0]]), "negative or not finite"),
        (lambda: families.solution_families(-(1 - np.eye(7))), "negative or not finite"),
        (lambda: families.solution_families(np.eye(7), n_null=5), "n_null = 5"),
        (lambda: families.solution_families(np.eye(7), max_families=1), "max_families = 1"),
    ],
)
def test_mistakes_are_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# --- several features ---


def test_features_are_combined_by_hand():
    """Squares over their mean: 1, 4, 4 over 3 and 0, 2, 4 over 2; the mean of both, and its root."""
    lengths = np.array([[0, 1, 2], [1, 0, 2], [2, 2, 0.0]])
    roots = np.sqrt(np.array([[0, 0, 2], [0, 0, 4], [2, 4, 0.0]]))
    expected = np.sqrt([(1 / 3 + 0) / 2, (4 / 3 + 1) / 2, (4 / 3 + 2) / 2])
    found = families.combined({"length": lengths, "other": roots})
    np.testing.assert_allclose(found[[0, 0, 1], [1, 2, 2]], expected, rtol=1e-12)
    # The unit of a feature does not count, nor does one in which members do not differ.
    again = families.combined({"length": 100 * lengths, "other": roots, "same": np.zeros((3, 3))})
    np.testing.assert_allclose(again, found, rtol=1e-12)
    assert not families.combined({"same": np.zeros((3, 3))}).any()


def test_squares_from_which_noise_was_taken_away_may_be_negative():
    roots = np.array([[0, -1, 2], [-1, 0, 3], [2, 3, 0.0]])  # squares -1, 4, 9 of mean 4
    np.testing.assert_allclose(families.combined({"flow": roots})[[0, 0, 1], [1, 2, 2]], [0, 1, 1.5], rtol=1e-12)
    assert not families.combined({"noise": -roots}).any(), "a mean square under 0 is noise alone"


def test_features_of_other_members_are_refused():
    with pytest.raises(UserError, match="the numbers of members differ: a 3, b 4"):
        families.combined({"a": np.zeros((3, 3)), "b": np.zeros((4, 4))})
    with pytest.raises(UserError, match="distances 'a': an entry is not finite"):
        families.combined({"a": np.array([[0, np.nan], [np.nan, 0]])})
    with pytest.raises(UserError, match="one feature or more"):
        families.combined({})


def test_two_features_show_what_neither_shows():
    """Four groups of five: either feature tells two pairs of them apart, both together all four."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(4), 5)
    points = [np.stack([9.0 * g + rng.normal(size=20) for g in (side,)], 1) for side in (group // 2, group % 2)]
    distances = {name: distances_of(x) for name, x in zip("ab", points, strict=True)}
    found = families.solution_families(families.combined(distances))
    assert found.n_families == 4
    assert all(families.solution_families(d).n_families < 4 for d in distances.values())
