"""Systems under one change of coordinates: planted copies, states alone against states with inputs, brute force."""

import numpy as np
import pytest

from degeneracy.analysis.operator_alignment.joint import fit_joint
from degeneracy.analysis.operator_alignment.pairs import fit_pairs
from tests.linear_systems import rotation, system


def joint(x, y, **options):
    alone = np.zeros(1, np.int64)
    return fit_joint(*(tuple(part[None] for part in each) for each in (x, y)), alone, alone, **options)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_inputs", [1, 3])
def test_a_system_in_other_coordinates_is_the_same(seed, n_inputs):
    a, b = system(seed, n_units=20, n_inputs=n_inputs)
    q = rotation(seed, 20)
    q[:, 0] *= (-1) ** seed * np.sign(np.linalg.det(q))  # of either determinant
    fit = joint((a, b), (q @ a @ q.T, q @ b), n_starts=4)
    assert np.sqrt(fit.state + fit.input) < 1e-6  # a gradient of 1e-8 over curvatures of .01 and more
    assert fit.converged.all()


def test_the_same_states_with_other_inputs_differ_together_and_not_in_the_states_alone():
    a, b = system(1)
    other = (a, system(2)[1])
    fit = joint((a, b), other)
    assert fit_pairs(a[None], a[None]).distance[0] < 1e-6
    assert fit.state[0] + fit.input[0] > 0.1 * np.sum(b**2)
    # Nothing is worse than to leave the states as they are and rotate no input.
    assert fit.state[0] + fit.input[0] <= np.sum((b - other[1]) ** 2)


def test_rank_two_is_the_least_over_a_fine_grid_of_all_rotations_and_reflections():
    t = np.linspace(0, 2 * np.pi, 20001)
    turns = np.stack([np.stack([np.cos(t), -np.sin(t)], -1), np.stack([np.sin(t), np.cos(t)], -1)], -2)
    group = np.concatenate([turns, turns @ np.diag([1.0, -1.0])])
    for seed in range(6):
        (a, b), (c, d) = (system(k, n_units=2, n_inputs=1) for k in (seed, seed + 10))
        brute = np.sum((a - group @ c @ group.transpose(0, 2, 1)) ** 2, axis=(1, 2)) + np.sum(
            (b - group @ d) ** 2, (1, 2)
        )
        fit = joint((a, b), (c, d))
        # The grid is 3e-4 rad wide, the error at the minimum its square, times squares of order 10.
        assert fit.state[0] + fit.input[0] == pytest.approx(brute.min(), abs=1e-5)


def test_the_inputs_count_as_much_as_they_drive():
    """With weak inputs the states decide, with strong ones Procrustes of B does."""
    (a, b), (c, d) = system(3), system(4)
    weak = joint((a, 1e-4 * b), (c, 1e-4 * d))
    alone = fit_pairs(a[None], c[None], score="frobenius").distance[0] ** 2
    assert weak.state[0] == pytest.approx(alone, rel=1e-3)
    strong = joint((1e-4 * a, b), (1e-4 * c, d))
    # || B - C D ||^2 is least with the polar factor: sum of squares less twice the nuclear norm of B D^T.
    nuclear = np.linalg.svd(b @ d.T, compute_uv=False).sum()
    assert strong.input[0] == pytest.approx(np.sum(b**2) + np.sum(d**2) - 2 * nuclear, rel=1e-6)


def test_more_starts_find_hardly_less():
    x, y = ([system(10 * k + side, n_units=8) for k in range(6)] for side in (0, 1))
    both = [tuple(np.array(part) for part in zip(*side, strict=True)) for side in (x, y)]
    pairs = np.arange(6), np.arange(6)
    few, many = (fit_joint(*both, *pairs, n_starts=n) for n in (24, 200))
    assert np.mean(few.state + few.input) < 1.01 * np.mean(many.state + many.input)
    assert few.converged.all()


def test_systems_that_do_nothing_are_the_same():
    nothing = np.zeros((3, 3)), np.zeros((3, 2))
    fit = joint(nothing, nothing)
    assert fit.state[0] == fit.input[0] == 0
