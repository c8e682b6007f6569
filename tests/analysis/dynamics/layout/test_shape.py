"""Shape distances: what they ignore and what they do not, against netrep, brute force and arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.stats import ortho_group

from degeneracy.analysis.dynamics.layout import shape
from degeneracy.core.errors import UserError

DISTANCES = {
    "procrustes": shape.procrustes_angle,
    "partly whitened": lambda x, y: shape.procrustes_angle(x, y, 0.5),
    "cca": lambda x, y: shape.procrustes_angle(x, y, 0.0),
    "svcca": shape.svcca_distance,
    "cka": shape.cka_distance,
}
# Rounding of an SVD of 200 x 6 numbers of order 1; 1 - similarity loses no more than that.
ROUNDING = 1e-13


def states(seed, units=6, trials=20):
    """States with unequal variances along random directions, as trained networks have."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(trials, 10, units)) * 0.7 ** np.arange(units) @ rotation(seed, units)


def rotation(seed, units):
    return ortho_group.rvs(units, random_state=seed)


# --- values ---


def test_values_by_hand():
    # Four samples, centred already. x has columns of squared norm 4 and 4, y one column of 4; they share it.
    x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    y = x[:, :1]
    # Procrustes: x^T y = (4, 0), nuclear norm 4, norms sqrt(8) and 2: cos = 4 / (2 sqrt 8) = 1/sqrt 2.
    assert shape.procrustes_angle(x, y) == pytest.approx(np.pi / 4)
    # CKA: ||x^T y||^2 = 16; ||x^T x|| = 4 sqrt 2, ||y^T y|| = 4: 1 - 16 / (16 sqrt 2).
    assert shape.cka_distance(x, y) == pytest.approx(1 - 1 / np.sqrt(2))
    # SVCCA: y lies within x: correlation 1.
    assert shape.svcca_distance(x, y) == pytest.approx(0, abs=ROUNDING)
    # A column that both have and a column of their own each: correlations 1 and 0, so 1 - (1 + 0)/2.
    z = np.column_stack([x[:, 0], x[:, 0] * x[:, 1]])
    assert shape.svcca_distance(x, z) == pytest.approx(0.5)
    # cos = (4 + 0) / (sqrt 8 sqrt 8) = 1/2; CKA 1 - 16/32.
    assert shape.procrustes_angle(x, z) == pytest.approx(np.pi / 3)
    assert shape.cka_distance(x, z) == pytest.approx(0.5)


def test_svcca_keeps_the_fewest_components_that_explain_the_variance():
    x = np.array([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]])  # shares of variance 0.9 and 0.1
    other = x[:, 1:]  # lies in the second component
    assert shape.svcca_distance(x, other, variance=0.89) == pytest.approx(1)
    assert shape.svcca_distance(x, other, variance=0.91) == pytest.approx(0, abs=ROUNDING)


def centred(x):
    flat = x.reshape(-1, x.shape[-1])
    return flat - flat.mean(axis=0)


def test_procrustes_second_formula():
    """In 2 dimensions the best rotation can be searched: the angle is the smallest over all of O(2)."""
    x, y = centred(states(0, 2)), centred(states(1, 2))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)

    def angle(theta, flip):
        c, s = np.cos(theta), np.sin(theta)
        return np.arccos(np.sum(x @ np.array([[c, -s], [flip * s, flip * c]]) * y))

    best = min(
        optimize.minimize_scalar(angle, bounds=(t, t + 1), args=(flip,), method="bounded").fun
        for flip in (-1, 1)
        for t in range(7)
    )
    # 1e-9: the search stops at 1e-5 in theta, where an extremum is flat to the square of that.
    assert shape.procrustes_angle(x, y) == pytest.approx(best, abs=1e-9)


def test_cka_second_formula():
    """The kernel form: HSIC of the samples x samples matrices."""
    x, y = centred(states(0)), centred(states(1, 4))
    kx, ky = x @ x.T, y @ y.T
    assert shape.cka_distance(x, y) == pytest.approx(
        1 - np.sum(kx * ky) / np.linalg.norm(kx) / np.linalg.norm(ky), abs=ROUNDING
    )


def test_cca_second_formula():
    """Canonical correlations by the normal equations: eigenvalues of Sxx^-1 Sxy Syy^-1 Syx."""
    x, y = centred(states(0)), centred(states(1, 4))
    sxy = x.T @ y
    squared = np.linalg.eigvals(np.linalg.solve(x.T @ x, sxy) @ np.linalg.solve(y.T @ y, sxy.T)).real
    correlations = np.sqrt(np.sort(squared)[-4:])
    # 1e-9: normal equations square the condition number (about 6^2).
    assert shape.svcca_distance(x, y, variance=1.0) == pytest.approx(1 - correlations.mean(), abs=1e-9)
    angle = np.arccos(correlations.sum() / np.sqrt(6 * 4))
    assert shape.procrustes_angle(x, y, alpha=0) == pytest.approx(angle, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("units", [6, 4])
def test_equal_to_netrep(alpha, units):
    metrics = pytest.importorskip("netrep.metrics")
    x, y = states(0), states(1, units)
    theirs = metrics.LinearMetric(alpha=alpha).fit_score(centred(x), centred(y))
    # 1e-7: the bound the measure promises; away from 0 an arccos is that good.
    assert shape.procrustes_angle(x, y, alpha) == pytest.approx(theirs, abs=1e-7)
    ours = shape.metric_distances(metrics.LinearMetric(alpha=alpha), [x, y])
    assert ours[0, 1] == pytest.approx(theirs)


# --- what they ignore ---


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("units", [6, 9])
def test_rotation_reflection_translation_padding_are_ignored(name, units):
    x = states(0)
    padded = np.concatenate([x, np.zeros((*x.shape[:2], units - 6))], axis=2)
    copy = padded @ rotation(3, units) * np.array([-1.0] + [1.0] * (units - 1)) + np.arange(units)
    for pair in ((x, copy), (copy, x)):
        assert DISTANCES[name](*pair) == pytest.approx(0, abs=ROUNDING)


@pytest.mark.parametrize("name", [name for name in DISTANCES if name != "partly whitened"])
@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_units_of_the_states_are_ignored(name, scale):
    x, y = states(0), states(1)
    assert DISTANCES[name](x, scale * x) == pytest.approx(0, abs=ROUNDING)
    assert DISTANCES[name](x, scale * y) == pytest.approx(DISTANCES[name](x, y), abs=ROUNDING)


@pytest.mark.parametrize("name", ["cca", "svcca"])
def test_invertible_linear_maps_are_ignored_by_cca(name):
    x = states(0)
    mixed = x @ np.random.default_rng(1).normal(size=(6, 6))
    # SVCCA drops small components first, so only with all of them.
    distance = shape.svcca_distance(x, mixed, 1.0) if name == "svcca" else DISTANCES[name](x, mixed)
    assert distance == pytest.approx(0, abs=1e-11)  # the condition of the map, about 1e2


# --- what they do not ignore ---


@pytest.mark.parametrize("name", ["procrustes", "partly whitened", "cka"])
def test_stretching_one_direction_is_found(name):
    x = states(0)
    assert DISTANCES[name](x, x * np.array([4.0, 1, 1, 1, 1, 1])) > 0.1


@pytest.mark.parametrize("name", DISTANCES)
def test_planted_difference_is_found_and_grows(name):
    x, other = states(0), states(7)
    small, large = (DISTANCES[name](x, x + share * other) for share in (0.2, 1.0))
    assert 0.001 < small < large


@pytest.mark.parametrize("name", DISTANCES)
def test_the_same_states_on_other_trials_are_far(name):
    """Rows must match: a network on disjoint trials is nearly as far from itself as unrelated ones."""
    x = states(0, trials=40)
    far = {"svcca": 0.7, "cka": 0.9}.get(name, 1.3)  # cca and CKA of 200 rows: chance level of 6 units
    assert DISTANCES[name](x[:20], x[20:]) > far


def test_small_distances_are_resolved():
    """A perturbation of relative size e, orthogonal to the states and to rotations of them, is at angle e."""
    x = centred(states(0))
    noise = np.random.default_rng(1).normal(size=x.shape)
    noise -= noise.mean(axis=0) + x @ np.linalg.lstsq(x, noise - noise.mean(axis=0), rcond=None)[0]
    noise *= np.linalg.norm(x) / np.linalg.norm(noise)
    for size in (1e-2, 1e-5, 1e-9):  # an arccos of a cosine in float64 ends at 1e-8
        # rel: tan against angle (size^2) and rounding of x (1e-15 / 1e-9)
        found = shape.procrustes_angle(x, x + size * noise)
        assert found == pytest.approx(size, rel=max(size**2, 1e-5))


@pytest.mark.parametrize("size", [1e-3, 1e-9])
def test_a_small_direction_that_only_one_member_has_is_resolved(size):
    # columns (1, 1, -1, -1) and size (1, -1, 1, -1), orthogonal: against the first alone, tan(angle) = size
    x = np.array([[1.0, size], [1.0, -size], [-1.0, size], [-1.0, -size]])
    for pair in ((x, x[:, :1]), (x[:, :1], x)):
        assert shape.procrustes_angle(*pair) == pytest.approx(np.arctan(size), rel=1e-6)


# --- metric ---


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), units=st.tuples(*[st.integers(1, 5)] * 3), alpha=st.sampled_from([0.0, 1.0]))
def test_triangle_inequality_and_symmetry_of_the_angle(seed, units, alpha):
    ensemble = [states(seed + k, n, trials=2) for k, n in enumerate(units)]
    d = shape.procrustes_distances(ensemble, alpha=alpha)
    assert d[0, 2] <= d[0, 1] + d[1, 2] + ROUNDING
    assert shape.procrustes_angle(ensemble[1], ensemble[0], alpha) == pytest.approx(d[0, 1], abs=1e-12)
    assert (d <= np.pi / 2 + ROUNDING).all()


def test_a_component_too_small_for_the_gram_matrix_counts_in_svcca():
    x = centred(states(0)) @ rotation(5, 6)
    u = np.linalg.svd(x, full_matrices=False)[0]
    sizes = np.array([1, 0.5, 0.4, 0.3, 0.2, 3e-6])
    y, z = (u * sizes) @ rotation(6, 6), (u * sizes[::-1]) @ rotation(7, 6)
    # The same space; 1e-9: rounding over the smallest size, tenfold. A Gram matrix holds its square to 1e-5 only.
    assert shape.svcca_distance(y, z, variance=1.0) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("variance", [0.9, 1.0])
def test_columns_from_the_gram_matrix_and_from_the_svd_say_the_same(monkeypatch, variance):
    ensemble = [states(0), states(1), states(2, 4)]
    from_gram = shape.shape_distances(ensemble, variance=variance)
    monkeypatch.setattr(shape, "GRAM_FLOOR", 1.0)
    for name, matrix in shape.shape_distances(ensemble, variance=variance).items():
        # 1e-11: the smallest component is 0.7^5 = 0.17 of the largest; rounding over its square, tenfold
        np.testing.assert_allclose(matrix, from_gram[name], rtol=0, atol=1e-11)


def test_all_pairs_equal_pair_by_pair_and_the_diagonal_is_exactly_zero():
    ensemble = [states(0), states(1), states(2, 4), states(0)]
    found = shape.shape_distances(ensemble, alpha=0.5, variance=0.9)
    alone = {
        "procrustes": shape.procrustes_distances(ensemble, alpha=0.5),
        "svcca": shape.svcca_distances(ensemble, variance=0.9),
        "cka": shape.cka_distances(ensemble),
    }
    pairwise = {
        "procrustes": lambda x, y: shape.procrustes_angle(x, y, 0.5),
        "svcca": lambda x, y: shape.svcca_distance(x, y, 0.9),
        "cka": shape.cka_distance,
    }
    for name, matrix in found.items():
        brute = np.array([[pairwise[name](x, y) for y in ensemble] for x in ensemble])
        np.testing.assert_allclose(matrix, alone[name], rtol=0, atol=ROUNDING)  # from other columns, fewer for SVCCA
        np.testing.assert_allclose(matrix, brute, rtol=0, atol=ROUNDING)
        assert (np.diag(brute) == 0).all()
        assert matrix[0, 3] == 0  # members 0 and 3 have the same states
        assert (matrix == matrix.T).all()


# --- edges and mistakes ---


@pytest.mark.parametrize("name", DISTANCES)
def test_constant_states(name):
    constant = np.full((20, 10, 3), 0.1)  # 0.1 has no exact mean: rounding is no variance
    farthest = 1.0 if name in ("svcca", "cka") else np.pi / 2
    assert DISTANCES[name](constant, states(0)) == farthest
    assert DISTANCES[name](states(0), constant) == farthest
    assert DISTANCES[name](constant, np.zeros((20, 10, 2))) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shape.procrustes_angle(states(0), states(0, trials=5)), r"rows \(5, 10\).*same trials"),
        (lambda: shape.cka_distances([states(0), states(0).swapaxes(0, 1)]), "states of member 1 have rows"),
        (lambda: shape.svcca_distances([states(0), np.full((20, 10, 2), np.nan)]), "member 1 are not finite"),
        (lambda: shape.cka_distance(np.zeros(3), np.zeros(3)), r"got \(3,\)"),
        (lambda: shape.procrustes_angle(states(0), states(1), alpha=1.5), "alpha = 1.5"),
        (lambda: shape.svcca_distance(states(0), states(1), variance=0), "variance = 0"),
        (lambda: shape.shape_distances([states(0)], ("prokrustes",)), "did you mean 'procrustes'"),
        (lambda: shape.metric_distances(object(), [states(0)]), r"object has no method fit_score"),
    ],
)
def test_mistakes_are_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_any_object_with_fit_score_is_a_metric():
    class Norms:
        def fit_score(self, x, y):
            assert x.shape == (200, 6)
            return abs(np.linalg.norm(x) - np.linalg.norm(y))

    d = shape.metric_distances(Norms(), [states(0), 2 * states(0)])
    size = np.linalg.norm(states(0))
    np.testing.assert_allclose(d, [[0, size], [size, 0]])
