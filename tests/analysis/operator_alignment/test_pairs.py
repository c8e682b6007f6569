"""The distance of operators: against brute force, closed forms, planted copies and a search in torch."""

import numpy as np
import pytest
import torch
from reference import operator_alignment as reference
from scipy.linalg import expm
from scipy.optimize import minimize

from degeneracy.analysis.operator_alignment import curvature, descent
from degeneracy.analysis.operator_alignment import starts as starts_of
from degeneracy.analysis.operator_alignment.pairs import fit_among, fit_pairs
from degeneracy.core.errors import UserError


def random_operators(n, rank, seed=0, scale=0.9):
    """Operators like those of delay coordinates: dense, not normal, spectral radius near 1."""
    gen = np.random.default_rng(seed)
    return scale * gen.standard_normal((n, rank, rank)) / np.sqrt(rank)


def random_rotation(rank, sign, seed=0):
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((rank, rank)))[0]
    q[:, 0] *= sign * np.sign(np.linalg.det(q))
    return q


def one(a, b, **options):
    return fit_pairs(np.asarray(a)[None], np.asarray(b)[None], **options).distance[0]


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (np.eye(2), np.eye(2), {}, "expected two alike (pair, rank, rank)"),
        (np.ones((1, 2, 2)), np.ones((1, 3, 3)), {}, "expected two alike"),
        (np.full((1, 2, 2), np.inf), np.ones((1, 2, 2)), {}, "non-finite"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), {"score": "angle"}, "did you mean 'angular'"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), {"n_starts": 1}, "n_starts = 1"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), {"max_iter": 0}, "max_iter = 0"),
    ],
)
def test_bad_pairs_are_refused_in_one_line(x, y, options, message):
    with pytest.raises(UserError, match="DSA") as error:
        fit_pairs(x, y, **options)
    assert message in str(error.value)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("rank", [4, 20])
def test_rotated_and_reflected_copies_are_at_zero(rank, sign):
    operators = random_operators(4, rank)
    q = random_rotation(rank, sign)
    fit = fit_pairs(operators, q @ operators @ q.T)
    assert fit.distance.max() < 1e-4  # gradient tolerance 1e-7 over the flattest curvature (about 1e-3)
    assert fit.converged.all()


def test_scale_is_ignored_by_the_angle_alone():
    a = random_operators(1, 5)[0]
    q = random_rotation(5, -1)
    assert one(a, 3 * q @ a @ q.T) < 1e-4
    # frobenius: || a - 3 a || = 2 || a ||, the least because norms do not turn.
    assert one(a, 3 * q @ a @ q.T, score="frobenius") == pytest.approx(2 * np.linalg.norm(a), rel=1e-6)


@pytest.mark.parametrize("score", ["angular", "frobenius", "wasserstein"])
def test_distance_is_symmetric_and_alone_as_in_company(score):
    x, y = random_operators(6, 8, seed=1), random_operators(6, 8, seed=2)
    fit = fit_pairs(x, y, score=score)
    np.testing.assert_allclose(fit.distance, fit_pairs(y, x, score=score).distance, rtol=0, atol=1e-12)
    # 1e-8: vector instructions may sum a batch of another size in another order.
    np.testing.assert_allclose(fit_pairs(x[2:3], y[2:3], score=score).distance, fit.distance[2:3], atol=1e-8)
    np.testing.assert_array_equal(fit_pairs(x, x, score=score).distance < 1e-12, True)
    assert fit.distance.min() > 0.01
    assert fit.converged.all()
    # Cut short, two searches from the two sides would end apart; one search in a fixed order does not.
    short = {"score": score, "n_starts": 2, "max_iter": 1}
    np.testing.assert_array_equal(fit_pairs(x, y, **short).distance, fit_pairs(y, x, **short).distance)


def test_worked_two_by_two():
    """a = diag(2, 0), b = [[0, 1], [1, 0]], eigenvalues 1 and -1: for symmetric operators the best C sorts both.

    d^2 = (2 - 1)^2 + (0 + 1)^2 = 2. Angle: cos = (2 * 1 + 0 * -1) / (2 * sqrt 2) = 1 / sqrt 2, so pi / 4.
    Wasserstein: sqrt(((2 - 1)^2 + (0 + 1)^2) / 2) = 1.
    """
    a, b = np.diag([2.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]])
    assert one(a, b, score="frobenius") == pytest.approx(np.sqrt(2), abs=1e-9)  # rounding
    assert one(a, b) == pytest.approx(np.pi / 4, abs=1e-9)
    assert one(a, b, score="wasserstein") == pytest.approx(1.0, abs=1e-12)


def test_opposite_turns_are_one_reflection_apart_and_opposite_identities_are_pi():
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    assert one(turn, -turn) < 1e-6  # C = diag(1, -1), determinant -1, carries one into the other
    assert one(np.eye(3), -np.eye(3)) == pytest.approx(np.pi, abs=1e-6)  # C (-1) C^T = -1 whatever C


def test_zero_operators():
    x = np.stack([np.zeros((3, 3)), np.zeros((3, 3)), np.eye(3)])
    y = np.stack([np.zeros((3, 3)), np.eye(3), np.zeros((3, 3))])
    np.testing.assert_allclose(fit_pairs(x, y).distance, [0, np.pi / 2, np.pi / 2], atol=1e-15)
    np.testing.assert_allclose(fit_pairs(x, y, score="frobenius").distance, [0, *[np.sqrt(3)] * 2], atol=1e-12)


def test_rank_two_is_the_least_over_a_fine_grid_of_all_rotations_and_reflections():
    x, y = random_operators(8, 2, seed=5), random_operators(8, 2, seed=6)
    t = np.linspace(0, 2 * np.pi, 20001)
    turns = np.stack([np.stack([np.cos(t), -np.sin(t)], -1), np.stack([np.sin(t), np.cos(t)], -1)], -2)
    group = np.concatenate([turns, turns @ np.diag([1.0, -1.0])])
    for a, b, found in zip(x, y, fit_pairs(x, y, score="frobenius").distance, strict=True):
        brute = np.linalg.norm(a - group @ b @ group.transpose(0, 2, 1), axis=(1, 2)).min()
        # The grid is 3e-4 rad wide, the error at the minimum its square.
        assert found == pytest.approx(brute, abs=1e-6)


def test_rank_four_is_the_least_of_many_direct_minimisations():
    """Independent route: BFGS over the logarithm of C, with numerical gradients, from 20 starts of each sign."""
    a, b = random_operators(1, 4, seed=8)[0], random_operators(1, 4, seed=9)[0]
    lower = np.tril_indices(4, -1)

    def squared(parameters, reflection):
        skew = np.zeros((4, 4))
        skew[lower] = parameters
        c = expm(skew - skew.T) @ reflection
        return np.sum((a - c @ b @ c.T) ** 2)

    gen = np.random.default_rng(0)
    least = min(
        minimize(squared, gen.uniform(-3, 3, 6), args=(np.diag([sign, 1.0, 1.0, 1.0]),)).fun
        for sign in (1.0, -1.0)
        for _ in range(20)
    )
    fit = fit_pairs(a[None], b[None], score="frobenius")
    assert fit.converged.all()
    assert fit.distance[0] == pytest.approx(np.sqrt(least), abs=1e-6)  # BFGS's own gradient tolerance is 1e-5


@pytest.mark.parametrize(("n_starts", "rank"), [(2, 5), (3, 5), (4, 5), (4, 40), (8, 40), (12, 20), (24, 40)])
def test_starts_are_orthogonal_and_of_both_determinants_from_the_first_two_on(n_starts, rank):
    a, b = unit_operators(2, rank)
    starts = starts_of.Starts(np.stack([a, b]), n_starts, 0).of(0, 1)
    # Fewer where leading axes have few alignments, of which there is one at least.
    n_leading = starts_of.counts(n_starts, rank).leading
    assert n_starts - max(n_leading - 1, 0) <= len(starts) <= n_starts
    np.testing.assert_allclose(
        starts @ starts.transpose(0, 2, 1), np.eye(rank) + np.zeros((len(starts), 1, 1)), atol=1e-7
    )
    signs = np.sign(np.linalg.det(starts))
    assert signs[:2].tolist() == [1, -1]  # matched eigenvectors: a copy of either sign is known by those, at any rank
    assert n_starts < 4 or signs[2:4].sum() == 0  # signs that agree, and their twin


def test_search_starts_from_both_determinants():
    """Rotations and reflections are not connected: a search never crosses."""
    a, b = (torch.from_numpy(random_operators(3, 7, seed=seed)) for seed in (1, 2))
    starts = reference._starts(a, b, 24, 0)
    np.testing.assert_allclose(starts @ starts.mT, np.eye(7) + np.zeros((3, 24, 1, 1)), atol=1e-12)  # rounding
    positive = (torch.linalg.det(starts) > 0).sum(dim=1)
    assert positive.tolist() == [12, 12, 12]


def test_triangle_inequality_of_the_metric_scores():
    operators = random_operators(6, 3, seed=7)
    i, j = np.triu_indices(6, 1)
    for score in ("frobenius", "angular", "wasserstein"):
        d = np.zeros((6, 6))
        d[i, j] = d[j, i] = fit_pairs(operators[i], operators[j], score=score).distance
        # 1e-6: every distance is an upper bound of the least, found to about 1e-9 at rank 3.
        assert np.all(d[:, :, None] <= d[:, None, :] + d.T[None, :, :] + 1e-6)


def test_difference_of_spectra_bounds_the_distance_from_below():
    """Orthogonal C keeps traces and norms: d^2 >= (tr a - tr b)^2 / rank (Cauchy-Schwarz on the diagonal)."""
    a, b = random_operators(1, 6)[0], random_operators(1, 6, seed=1)[0] + 0.5 * np.eye(6)
    bound = abs(np.trace(a) - np.trace(b)) / np.sqrt(6)
    assert bound > 0.5  # the planted difference
    assert one(a, b, score="frobenius") >= bound


def test_wasserstein_by_hand_and_blind_to_non_normality():
    """{1, i, -i} against {0, i, -i}: one eigenvalue moves by 1, so sqrt(1 / 3)."""
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    other = turn - np.diag([0.0, 0.0, 1.0])
    assert one(turn, other, score="wasserstein") == pytest.approx(np.sqrt(1 / 3), abs=1e-12)
    sheared = turn + np.array([[0.0, 0.0, 5.0], [0.0] * 3, [0.0] * 3])
    assert one(turn, sheared, score="wasserstein") < 1e-12
    assert one(turn, sheared) > 0.1  # the orthogonal fit sees the shear


def test_unconverged_searches_say_so_and_progress_counts_pairs():
    x, y = random_operators(3, 10, seed=1), random_operators(3, 10, seed=2)
    counts = []
    fit = fit_pairs(x, y, max_iter=1, tolerance=1e-30, progress=counts.append)
    assert not fit.converged.any()
    assert sum(counts) == 3
    assert fit.spread.shape == (3,)
    assert fit.n_starts == 32
    assert len(fit_pairs(x[:0], y[:0]).distance) == 0


def unit_operators(n, rank, seed=0):
    operators = random_operators(n, rank, seed)
    return operators / np.linalg.norm(operators, axis=(1, 2))[:, None, None]


def test_compiled_search_ends_where_the_reference_does():
    x, y = unit_operators(5, 5, seed=1), unit_operators(5, 5, seed=2)
    fit = fit_pairs(x, y, score="frobenius")
    aligned, slope = reference.align(torch.from_numpy(x), torch.from_numpy(y), 32, 500, 1e-7, 0)
    distance = np.linalg.norm(x[:, None] - aligned.numpy(), axis=(2, 3)).min(axis=1)
    # 1e-6: at rank 5, 32 starts find the least of both; each gradient is under 1e-7.
    np.testing.assert_allclose(fit.distance, distance, atol=1e-6)
    assert slope.min(dim=1).values.max() < 1e-7


def test_compiled_objective_and_gradient_are_those_of_the_reference():
    (a, b), c = unit_operators(2, 7), random_rotation(7, -1)
    work = descent.new_work(-a[None], b[None])
    gradient = np.zeros(21)
    value = descent.objective(work, c, gradient)
    expected, turn = reference._objective(*(torch.from_numpy(each)[None] for each in (a, b, c)))
    assert value == pytest.approx(float(expected[0]), abs=1e-14)  # rounding of sums of order 1
    np.testing.assert_allclose(gradient, turn[0].numpy()[np.tril_indices(7, -1)], atol=1e-14)
    descent.turn(work, gradient, 0.1, c)
    step = 0.1 * turn[0].numpy()
    # The turn is exp(step) up to step^3 / 24, and stays orthogonal up to angle^6 / 64.
    np.testing.assert_allclose(work.trial, expm(step) @ c, atol=np.linalg.norm(step) ** 3)
    np.testing.assert_allclose(work.trial @ work.trial.T, np.eye(7), atol=np.linalg.norm(step) ** 6)


def test_gauss_newton_matrix_is_that_of_all_pairs_of_basis_matrices():
    a = unit_operators(1, 6)[0]
    commutators = []
    for i, j in zip(*np.tril_indices(6, -1), strict=True):
        s = np.zeros((6, 6))
        s[i, j], s[j, i] = 1.0, -1.0
        commutators.append((s @ a - a @ s).ravel())
    # Packed vectors hold each entry once, full ones twice: half of || [S, a] ||^2.
    direct = np.array(commutators) @ np.array(commutators).T / 2
    found = curvature.gauss_newton(a, a @ a.T + a.T @ a, 0.25)
    np.testing.assert_allclose(found, direct + 0.25 * np.eye(15), atol=1e-14)  # rounding
    inverse = curvature.inverse_gauss_newton(a, a @ a.T + a.T @ a)
    product = inverse @ (direct + curvature.DAMPING / 6 * np.eye(15))
    np.testing.assert_allclose(product, np.eye(15), atol=1e-10)  # condition number about 100


@pytest.mark.parametrize("sign", [1, -1])
def test_large_ranks_go_without_the_gauss_newton_matrix_and_find_a_copy_all_the_same(sign):
    rank = curvature.DENSE_RANK + 4
    operators = random_operators(1, rank)
    model = curvature.model(operators[0])
    assert model.dense.size == 0
    # Its diagonal inverts S -> (S M + M S) / 2 in the frame, M = A A^T + A^T A.
    a = model.frame.T @ operators[0] @ model.frame
    skew = np.zeros((rank, rank))
    skew[np.tril_indices(rank, -1)] = np.random.default_rng(0).normal(size=len(model.diagonal))
    skew -= skew.T
    moved = 0.5 * (skew @ (a @ a.T + a.T @ a) + (a @ a.T + a.T @ a) @ skew) + curvature.DAMPING / rank * skew
    low = np.tril_indices(rank, -1)
    np.testing.assert_allclose(model.diagonal * moved[low], skew[low], atol=1e-10)  # rounding
    q = random_rotation(rank, sign)
    fit = fit_pairs(operators, q @ operators @ q.T, n_starts=4)
    assert fit.distance[0] < 1e-4  # as above: gradient 1e-7 over the flattest curvature
    assert fit.converged.all()


def test_a_pair_is_the_same_to_the_bit_alone_in_company_and_by_position():
    x, y = random_operators(4, 8, seed=1), random_operators(3, 8, seed=2)
    i, j = np.divmod(np.arange(12), 3)
    among = fit_among(x, y, i, j)
    np.testing.assert_array_equal(among.distance, fit_pairs(x[i], y[j]).distance)
    np.testing.assert_array_equal(among.distance[7:8], fit_pairs(x[2:3], y[1:2]).distance)
    np.testing.assert_array_equal(among.distance, fit_among(y, x, j, i).distance)
    assert len(set(among.distance)) == 12


def test_matched_starts_are_orthogonal_of_both_determinants_and_know_a_copy():
    a = unit_operators(1, 9)[0]
    b = random_rotation(9, -1) @ a @ random_rotation(9, -1).T
    gen = np.random.default_rng(0)
    signs, rotations = gen.choice([-1.0, 1.0], size=(12, 9)), starts_of.random_rotations(gen, 12, 9)
    signs[:2] = 1.0
    starts = starts_of.matched_starts(starts_of.frames(np.stack([a, b])), 0, 1, signs)
    for each in (starts, rotations):
        np.testing.assert_allclose(each @ each.transpose(0, 2, 1), np.eye(9) + np.zeros((12, 1, 1)), atol=1e-7)
        np.testing.assert_allclose(np.linalg.det(each), [1, -1] * 6, atol=1e-7)  # one Newton-Schulz step in float64
    apart = np.linalg.norm(a - starts @ b @ starts.transpose(0, 2, 1), axis=(1, 2))
    assert apart.min() < 1e-3  # 64 power iterations for the phases; the search does the rest


def test_nearest_orthogonal_matrix_is_that_of_the_svd_also_where_it_is_not_unique():
    matrices = np.random.default_rng(0).standard_normal((5, 6, 6))
    matrices[4, :, 0] = 0  # singular
    found = starts_of.nearest_orthogonal(matrices)
    left, _, right = np.linalg.svd(matrices[:4])
    np.testing.assert_allclose(found[:4], left @ right, atol=1e-3)  # single precision over small singular values
    np.testing.assert_allclose(found[4] @ found[4].T, np.eye(6), atol=1e-12)
