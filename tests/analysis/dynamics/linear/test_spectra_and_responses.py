"""The spectrum of the linear model and the answers to inputs: what they see of linear systems, and what they do not."""

import dataclasses

import numpy as np
import pytest

from degeneracy.analysis.dynamics.linear.impulse_response import ImpulseResponse
from degeneracy.analysis.dynamics.linear.koopman_spectrum import KoopmanSpectrum
from tests.linear_systems import N_UNITS, P, recording, rotation, system

SHEAR = np.eye(N_UNITS) + 0.8 * np.triu(np.ones((N_UNITS, N_UNITS)), 1)


def sheared(a, b, shear=SHEAR):
    return shear @ a @ np.linalg.inv(shear), shear @ b


def test_eigenvalues_are_those_of_the_system_and_matched_one_to_one():
    systems = [system(1, radius=radius) for radius in (0.9, 0.8)]
    values = [np.linalg.eigvals(a) for a, _ in systems]
    found = KoopmanSpectrum(rank=N_UNITS)(recording(systems, 300, 0)).findings[0]
    # The second is .8 / .9 times the first, and no other matching is nearer.
    assert found.value.value == pytest.approx(np.mean(np.abs(values[0] - values[1]) ** 2), rel=1e-3)


def test_a_shear_leaves_the_spectrum():
    recorded = recording([system(1), sheared(*system(1))], 300, 0)
    assert abs(KoopmanSpectrum(rank=N_UNITS)(recorded).distances["driven"][0, 1]) < 1e-3


def test_the_answers_are_those_of_the_system():
    systems = [system(1), system(2)]
    answers = [np.hstack([b, a @ b, a @ a @ b]) * P**0.5 for a, b in systems]
    one, other = (each / np.linalg.norm(each) for each in answers)
    exact = 2 - 2 * np.linalg.svd(one @ other.T, compute_uv=False).sum()
    found = ImpulseResponse(n_steps=3)(recording(systems, 2000, 0, n_input_lags=2)).findings[0]
    assert found.value.value == pytest.approx(exact, rel=0.02)


def test_a_turned_system_answers_alike_and_a_sheared_one_does_not():
    turn = rotation(4)
    a, b = system(1)
    recorded = recording([(a, b), (turn @ a @ turn.T, turn @ b), sheared(a, b)], 2000, 0, n_input_lags=3)
    roots = ImpulseResponse()(recorded).distances["driven"]
    assert abs(roots[0, 1]) < 0.02
    assert roots[0, 2] > 0.2


@pytest.mark.parametrize("correlation", [0.5, 0.95])
def test_inputs_that_follow_one_another_are_told_apart(correlation):
    """A system without memory answers the input of its own step alone, whatever came before."""
    _, b = system(1)
    still = [(np.zeros((N_UNITS, N_UNITS)), b), (np.zeros((N_UNITS, N_UNITS)), rotation(2) @ b)]
    recorded = recording(still, 300, 0, n_input_lags=3, correlation=correlation)
    found = ImpulseResponse()(recorded)
    # Each half has inputs of its own, whose covariance 300 trials know to some percent; strangers are over .5 apart.
    assert abs(found.distances["driven"][0, 1]) < 0.1


def test_where_no_input_varies_the_row_says_so():
    a, b = system(1)
    recorded = recording([(a, b), system(2)], 50, 0, n_input_lags=3)
    halves = tuple([_without_inputs(grams) for grams in half] for half in recorded.lag_grams)
    found = ImpulseResponse()(dataclasses.replace(recorded, lag_grams=halves))
    assert np.isnan(found.findings[0].value.value)
    assert "inputs do not vary" in found.findings[0].note


def _without_inputs(grams):
    still = type(grams)(centre=grams.centre, n_units=grams.n_units, n_lags=1, n_input_lags=3)
    states = np.random.default_rng(0).normal(size=(4, 10, grams.n_units))
    still.add(states, np.zeros((4, 10, grams.n_inputs)))
    return still
