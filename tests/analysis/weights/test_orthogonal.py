"""The distance of weights past any orthogonal change of basis: closed forms, copies, and below the permutations'."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import ortho_group

from degeneracy.analysis import MEASURES, Recording
from degeneracy.analysis.recording import Weights
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.weights import pif
from degeneracy.analysis.weights.orthogonal import compared_matrix, orthogonal_fit, ring_mean, rotated_copy
from degeneracy.analysis.weights.symmetry import random_copy
from degeneracy.core.errors import UserError


def uniform(n: int, seed: int = 0, gates: int = 1) -> Weights:
    rng = np.random.default_rng(seed)
    return Weights.of(recurrent=rng.uniform(-1, 1, size=(gates, n, n)) / np.sqrt(n), candidate=2 if gates > 1 else 0)


def distance(a, b, **options) -> float:
    return float(orthogonal_fit([np.array(a)], [np.array(b)], **options).distance[0])


def measured(weights, **fields):
    labels = tuple(str(k) for k in range(len(weights)))
    return MEASURES["orthogonal"](**fields)(Recording(members=labels, weights=weights))


def test_by_hand():
    """Symmetric matrices: sorted eigenvalues 3, 1 against 2, -1 leave sqrt(1 + 4); order and basis do not matter."""
    a, b = np.diag([1.0, 3.0]), np.array([[0.5, 1.5], [1.5, 0.5]])  # eigenvalues 2 and -1
    assert distance(a, b) == pytest.approx(np.sqrt(5), abs=1e-4)  # slope 1e-3: to its square in the value
    # A turn by a right angle is no symmetric matrix: ||J||^2 + ||S||^2 = 2 + 2, <J, Q S Q^T> = 0 for all Q.
    turn, swap = np.array([[0.0, -1.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    assert distance(turn, swap) == pytest.approx(2.0, abs=1e-9)
    assert distance(turn, turn.T) == pytest.approx(0.0, abs=1e-9)  # a reflection: determinant -1


def test_symmetric_matrices_of_any_size_differ_by_their_spectra():
    """Hoffman & Wielandt (1953): for symmetric A, B the least is that of the sorted eigenvalues."""
    rng = np.random.default_rng(3)
    a, b = (m + m.T for m in rng.normal(size=(2, 12, 12)))
    least = np.linalg.norm(np.linalg.eigvalsh(a) - np.linalg.eigvalsh(b))
    found = distance(a, b)
    assert least <= found + 1e-9
    assert found <= 1.01 * least  # the search stops at a slope of 1e-3


def test_a_search_by_scipy_finds_no_less():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 3))
    best = np.inf
    for start in ortho_group.rvs(3, size=30, random_state=1):

        def objective(v, start=start):
            s = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
            c = np.linalg.solve(np.eye(3) - s / 2, (np.eye(3) + s / 2) @ start)
            return float(np.linalg.norm(a - c @ b @ c.T))

        best = min(best, minimize(objective, np.zeros(3)).fun)
    assert distance(a, b, n_starts=16) == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("n", [1, 6, 20, 40])
@pytest.mark.parametrize("determinant", [1, -1])
def test_a_copy_in_another_basis_is_at_0(n, determinant):
    a = uniform(n).recurrent[0]
    q = np.linalg.qr(np.random.default_rng(1).normal(size=(n, n)))[0]
    q[0] *= determinant * np.sign(np.linalg.det(q))
    assert distance(a, q @ a @ q.T) < 1e-6  # float64's rounding and its root
    noise = np.random.default_rng(2).normal(size=(n, n)) / n
    near = distance(a, q @ (a + 0.01 * noise) @ q.T)
    assert 1e-6 < near <= 1.001 * 0.01 * np.linalg.norm(noise)
    assert distance(a, q @ (a + np.eye(n)) @ q.T) >= 0.99 * np.sqrt(n), "another trace cannot be turned away"


@pytest.mark.parametrize("gates", [1, 3])
def test_at_most_the_distances_after_permutations_and_signs(gates):
    weights = [uniform(12, seed, gates) for seed in range(4)]
    found = measured(weights, n_starts=16).distances["recurrent"]
    i, j = np.triu_indices(4, 1)
    for signed in (False, True):
        pairs = [(weights[a], weights[b]) for a, b in zip(i, j, strict=True)]
        aligned = pif.pif_pairs(pairs, signed=signed, block_scales={"recurrent": 1.0})
        assert np.all(found[i, j] <= [one.distance for one in aligned])
    assert found[i, j].min() > 0.1


def test_a_gated_cell_is_compared_by_its_candidate():
    a, b = uniform(8, 0, gates=3), uniform(8, 1, gates=3)
    same = b.replace(recurrent=np.concatenate([b.recurrent[:2], a.recurrent[2:]]))
    assert np.array_equal(compared_matrix(a), a.recurrent[2])
    assert measured([a, same]).distances["recurrent"][0, 1] < 1e-6
    copy = random_copy(a, np.random.default_rng(0))
    assert measured([a, copy]).distances["recurrent"][0, 1] < 1e-6, "signs act on the candidate as a rotation"


def test_rescaled_units_of_a_relu_network_are_at_0():
    a = replace(uniform(8), symmetry="scaled_permutation")
    copy = random_copy(a, np.random.default_rng(0))
    assert np.linalg.norm(np.linalg.svd(a.recurrent[0])[1] - np.linalg.svd(copy.recurrent[0])[1]) > 0.1
    assert measured([a, copy]).distances["recurrent"][0, 1] < 1e-6


def test_floor_reference_and_what_cannot_be_compared():
    weights = [uniform(10, seed) for seed in range(5)]
    before = [uniform(10, seed + 50) for seed in range(5)]
    untrained = Recording(members=tuple("01234"), weights=before)
    found = MEASURES["orthogonal"]()(Recording(members=tuple("01234"), weights=weights, untrained=untrained))
    own, other = found.findings[:2]
    assert own.floor.value < 1e-6
    assert 0.5 < own.reference.value / own.value.value < 2  # uniform weights shuffled are uniform weights
    i = np.arange(5)
    neighbours = orthogonal_fit([w.recurrent[0] for w in before], [before[(k + 1) % 5].recurrent[0] for k in i])
    assert other.reference.value == pytest.approx(neighbours.distance.mean(), rel=1e-12)
    assert "untrained" in other.note
    [refused] = measured([uniform(4), uniform(5)]).findings
    assert np.isnan(refused.value.value)
    assert "different sizes" in refused.note
    with pytest.raises(UserError, match="non-finite"):
        orthogonal_fit([np.full((2, 2), np.nan)], [np.eye(2)])


def test_a_random_copy_is_a_similar_matrix():
    a = uniform(7).recurrent[0]
    copy = rotated_copy(a, np.random.default_rng(0))
    assert np.abs(copy - a).max() > 0.1
    np.testing.assert_allclose(np.poly(copy), np.poly(a), atol=1e-12)


def test_the_ring_by_hand_and_its_error_is_not_too_small():
    """1, 2, 3 and 6 between 0-1, 1-2, 2-3 and 3-0: without member 0 the first and the last go, 2.5 is left."""
    found = ring_mean(np.array([1.0, 2.0, 3.0, 6.0]))
    assert found.value == 3.0
    assert found.leave_one_out.tolist() == [2.5, 4.5, 3.5, 1.5]
    assert np.isnan(ring_mean(np.array([1.0, 1.0])).leave_one_out).all()
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(400, 12))
    errors = [jackknife.standard_error(ring_mean(row)) for row in drawn]
    ratio = np.mean(errors) / drawn.mean(axis=1).std()
    assert 1.2 < ratio < 1.7  # sqrt 2 times sqrt((n - 1) n) / (n - 2), 1.15 at 12
