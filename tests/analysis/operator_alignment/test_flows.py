"""Flow mismatch: planted copies, by hand, against its definition minimised slowly, symmetric."""

import numpy as np
import pytest
from reference import flow_mismatch as reference

from degeneracy.analysis.operator_alignment.flows import fit_flows
from tests.linear_systems import stationary, system


def network(seed, n_units=8, **how):
    """A in principal axes of the stationary states, and the standard deviations there."""
    a, b = system(seed, n_units=n_units, **how)
    variance, axes = np.linalg.eigh(stationary(a, b))
    axes, variance = axes[:, ::-1], variance[::-1]
    return axes.T @ a @ axes, np.sqrt(np.maximum(variance, 0))


def mismatch(x, y, **options):
    alone = np.zeros(1, np.int64)
    return fit_flows(*(tuple(part[None] for part in each) for each in (x, y)), alone, alone, **options)


@pytest.mark.parametrize("n_units", [8, 20, 36])
def test_a_copy_with_other_signs_of_its_axes_is_at_0(n_units):
    a, spread = network(1, n_units)
    z = np.random.default_rng(0).choice([-1.0, 1.0], size=n_units)
    fit = mismatch((a, spread), (z[:, None] * a * z, 3 * spread))  # a common factor of the spreads is nothing
    assert fit.square[0] < 1e-12
    assert fit.converged.all()


def test_one_axis_by_hand():
    """A = .5 and .8: D^2 = (.3^2 / (.5 - 1)^2 + .3^2 / (.8 - 1)^2) / 2 = (.36 + 2.25) / 2, whatever C."""
    fit = mismatch((np.array([[0.5]]), np.ones(1)), (np.array([[0.8]]), np.ones(1)))
    assert fit.square[0] == pytest.approx((0.36 + 2.25) / 2, abs=1e-12)


def test_nothing_moves_is_1_of_the_others_motion():
    """A_y = 0 makes all of A_x wrong; A_x = -1: the share is 1 / 4 of x, of y 1, half their sum."""
    fit = mismatch((-np.eye(3), np.ones(3)), (np.zeros((3, 3)), np.ones(3)))
    assert fit.square[0] == pytest.approx((3 / 12 + 3 / 3) / 2, abs=1e-12)


@pytest.mark.parametrize("rank", [3, 5])
def test_it_is_the_least_by_its_definition(rank):
    for seed in range(3):
        x, y = network(seed, rank), network(seed + 20, rank)
        fit = mismatch(x, y)
        assert fit.square[0] == pytest.approx(reference.least(*x, *y, n_starts=12), abs=1e-7)  # its gradient is 1e-9
        assert fit.converged.all()


def test_it_is_symmetric_and_alone_as_in_company():
    x, y = ([network(10 * k + side) for k in range(4)] for side in (0, 1))
    both = [tuple(np.array(part) for part in zip(*side, strict=True)) for side in (x, y)]
    pairs = np.arange(4), np.arange(4)[::-1]
    fit, back = fit_flows(*both, *pairs, n_starts=200), fit_flows(*both[::-1], *pairs[::-1], n_starts=200)
    # With many starts both end in the same minimum, to a gradient of 1e-7.
    np.testing.assert_allclose(fit.square, back.square, rtol=1e-6)
    assert mismatch(x[1], y[2], n_starts=200).square[0] == fit.square[1]
    assert fit.square.min() > 0.01


def test_more_starts_find_hardly_less():
    x, y = ([network(10 * k + side, 12) for k in range(6)] for side in (0, 1))
    both = [tuple(np.array(part) for part in zip(*side, strict=True)) for side in (x, y)]
    few, many = (fit_flows(*both, np.arange(6), np.arange(6), n_starts=n).square for n in (24, 200))
    assert few.mean() < 1.02 * many.mean()


def test_networks_whose_states_rest_have_no_number_and_others_keep_theirs():
    rest, moving = (np.eye(3), np.ones(3)), (0.5 * np.eye(3), np.ones(3))
    x = tuple(np.stack([one, other]) for one, other in zip(rest, moving, strict=True))
    fit = fit_flows(x, x, np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert np.isnan(fit.square[:2]).all()
    assert fit.square[2] == pytest.approx(0, abs=1e-12)
    assert fit.converged.tolist() == [False, False, True]
