"""Sums over trials: added up in parts, they are those of all trials at once."""

import numpy as np
import pytest

from degeneracy.analysis.lag_grams import LagGrams, pilot
from degeneracy.core.errors import UserError

N_UNITS, N_INPUTS, N_LAGS, N_STEPS = 5, 2, 4, 12


@pytest.fixture
def trials():
    rng = np.random.default_rng(0)
    return rng.normal(2.0, 1.0, (9, N_STEPS, N_UNITS)), rng.normal(size=(9, N_STEPS, N_INPUTS))


def mean(states, inputs):
    return np.concatenate([x.mean(axis=(0, 1)) for x in (states, inputs)])


def summed(states, inputs, *, n_lags=N_LAGS, centre=None, parts=(4, 9)):
    centre = mean(states, inputs) if centre is None else centre
    grams = LagGrams(centre=centre, n_units=states.shape[-1], n_lags=n_lags)
    for start, end in zip((0, *parts), parts, strict=False):
        grams.add(states[start:end], inputs[start:end])
    return grams


def direct(states, inputs, centre, n_lags):
    z = np.concatenate([np.concatenate([states, inputs], axis=2) - centre, np.ones((*states.shape[:2], 1))], axis=2)
    n_steps = states.shape[1]
    embedded = np.stack([z[:, n_lags - lag : n_steps - lag] for lag in range(n_lags + 1)], axis=2)
    flat = embedded.reshape(-1, (n_lags + 1) * z.shape[2])
    return (flat.T @ flat).reshape(n_lags + 1, z.shape[2], n_lags + 1, z.shape[2])


@pytest.mark.parametrize("n_lags", range(N_LAGS + 1))
def test_one_pass_serves_every_smaller_number_of_lags(trials, n_lags):
    centre = mean(*trials)
    found = summed(*trials).gram(n_lags)
    assert np.allclose(found, direct(*trials, centre, n_lags), atol=1e-11)  # sums of some 100 products near 1


def test_memory_does_not_grow_with_trials(trials):
    few, many = summed(*trials), summed(*(np.tile(x, (50, 1, 1)) for x in trials), parts=(200, 450))
    sizes = [sum(x.nbytes for x in vars(each).values() if isinstance(x, np.ndarray)) for each in (few, many)]
    assert sizes[0] == sizes[1]
    assert many.n_trials == 50 * few.n_trials


@pytest.mark.parametrize("n_lags", [0, 1, 10])
def test_each_pair_of_steps_is_kept_once(n_lags):
    grams = LagGrams(centre=np.zeros(67), n_units=64, n_lags=n_lags)
    # Blocks of 68 by 68: one per lag, and two (first and last steps) per pair of as many steps as lags; and what inputs
    # do, under one block.
    blocks = n_lags + 1 + 2 * n_lags * (n_lags + 1) // 2
    assert sum(x.nbytes for x in vars(grams).values() if isinstance(x, np.ndarray)) <= (blocks + 1) * 68**2 * 8


def test_a_far_mean_costs_no_digits(trials):
    states, inputs = trials
    near, far = summed(states, inputs), summed(states + 1e6, inputs)
    # Float64 keeps 1e-10 of states at 1e6, and 1e-10 of sums of about 100 products.
    assert np.allclose(near.gram(2), far.gram(2), atol=1e-7)


def test_states_that_are_mapped_have_mapped_sums(trials):
    states, inputs = trials
    matrix, shift = np.random.default_rng(1).normal(size=(N_UNITS, N_UNITS)), np.arange(5.0)
    centre = mean(states @ matrix.T + shift, inputs)
    mapped = summed(states, inputs).mapped(matrix, shift)
    again = summed(states @ matrix.T + shift, inputs, centre=mapped.centre)
    assert np.allclose(mapped.centre, centre)
    assert np.allclose(mapped.gram(3), again.gram(3), atol=1e-10)


def test_what_cannot_be_summed_is_refused(trials):
    states, inputs = trials
    with pytest.raises(UserError, match="more than 4 steps"):
        summed(states[:, :4], inputs[:, :4])
    with pytest.raises(UserError, match=r"\(trial, time, 5\)"):
        summed(states, inputs).add(states[:, :, :3], inputs)
    with pytest.raises(UserError, match=r"0 to 4 were summed"):
        summed(states, inputs).gram(5)
    with pytest.raises(UserError, match=r"0 to 0 were summed, 3 are asked for"):
        summed(states, inputs).answers(3)


@pytest.mark.parametrize(("mean", "spread", "varies"), [(0.0, 0.0, False), (3.7, 0.0, False), (1e3, 1e-6, True)])
def test_members_that_rest_are_known(mean, spread, varies):
    rng = np.random.default_rng(0)
    states = mean + spread * rng.normal(size=(6, 10, 3))
    assert summed(states, rng.normal(size=(6, 10, 1)), parts=(3, 6)).varies == varies


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1.0, 1e300])
def test_states_of_any_size_have_sums_of_numbers_near_1(trials, size):
    states, inputs = trials
    first = pilot(size * states, inputs)
    grams = LagGrams(**first, n_units=N_UNITS, n_lags=1)
    grams.add(size * states, inputs)
    covariance = grams.gram(0)[0, :N_UNITS, 0, :N_UNITS] * (first["unit"] / size) ** 2 / (9 * N_STEPS)
    # 1e-12: the rounding of a few sums; the factor may be no power of two.
    assert np.allclose(covariance, np.cov(states.reshape(-1, N_UNITS).T, bias=True), rtol=1e-12, atol=1e-12)
