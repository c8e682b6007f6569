"""Linear flow: copies are at 0 after noise was taken away, others are where they are with endless trials."""

import dataclasses

import numpy as np
import pytest

from degeneracy.analysis.dynamics.linear.distances_of_halves import corrected
from degeneracy.analysis.dynamics.linear.dsa import delay_operator
from degeneracy.analysis.dynamics.linear.linear_flow import LinearFlow
from degeneracy.analysis.dynamics.linear.linear_models import Form, fit_step
from degeneracy.analysis.operator_alignment.pairs import fit_pairs
from tests.linear_systems import N_UNITS, grams, recording, rotation, run, stationary, system

RANK = N_UNITS


def flow(a, b):
    variance, axes = np.linalg.eigh(stationary(a, b))
    return axes.T @ a @ axes @ np.diag(np.sqrt(variance))


def driven(recorded, **options):
    return LinearFlow(rank=RANK, **options)(recorded)


def test_noise_is_taken_away():
    squares = np.array([[0.1, 1.2, 0.9], [1.0, 0.3, 0.8], [1.1, 0.6, 0.2]])
    found = corrected(squares)
    assert found.floor.value == pytest.approx(0.2)
    assert found.value.value == pytest.approx((2.2 + 2.0 + 1.4) / 6 - 0.2)
    assert found.distances[0, 1] == pytest.approx(np.sqrt(1.1 - 0.2))


def test_a_square_that_is_less_than_noise_is_negative():
    found = corrected(np.array([[0.5, 0.3], [0.3, 0.5]]))
    assert found.distances[0, 1] == pytest.approx(-np.sqrt(0.2))
    assert found.value.value == pytest.approx(-0.2)


def test_copies_of_a_noisy_system_at_eight_trials_are_0_apart_on_average():
    """Each member is the same system on other trials: what noise makes of pairs is what it makes of halves."""
    a, b = system(1)
    found = [driven(recording([(a, b)] * 2, 8, seed, noise=0.3)).findings[0] for seed in range(40)]
    values = np.array([finding.value.value for finding in found])
    floors = np.array([finding.floor.value for finding in found])
    assert abs(values.mean()) < 2 * values.std() / np.sqrt(len(values) - 1)
    assert floors.min() > 5 * abs(values.mean())  # so that there was something to take away


def test_the_distance_of_two_systems_is_that_of_endless_trials():
    systems = [system(1), system(2)]
    exact = fit_pairs(*(flow(*each)[None] for each in systems), n_starts=64).distance[0]
    finding = driven(recording(systems, 1000, 0)).findings[0]
    assert finding.value.value == pytest.approx(4 * np.sin(exact / 2) ** 2, rel=0.05)
    assert finding.floor.value < 0.01 * finding.value.value


def test_a_system_in_other_coordinates_is_the_same():
    a, b = system(1)
    turn = rotation(5)
    recorded = recording([(a, b), (turn @ a @ turn.T, turn @ b)], 500, 0)
    assert abs(driven(recorded).distances["driven"][0, 1]) < 0.02  # what 500 trials leave


def test_a_common_factor_is_ignored_unless_states_are_the_norm():
    """A = .5 I and .9 I: the flow is the same at norm 1, and not in units of the states' spread."""
    b = rotation(1)[:, :N_UNITS]
    recorded = recording([(c * np.eye(N_UNITS), b) for c in (0.5, 0.9)], 500, 0)
    assert abs(driven(recorded).distances["driven"][0, 1]) < 0.05
    # |A S| / |S| is .5 and .9, and the operators are multiples of one orthogonal shape: .4 apart.
    assert driven(recorded, norm="states").distances["driven"][0, 1] == pytest.approx(0.4, abs=0.03)


def test_the_one_step_error_is_in_the_table_and_is_said_where_it_is_large():
    recorded = recording([system(1), system(2), system(3)], 200, 0)
    full, poor = driven(recorded), LinearFlow(rank=1)(recorded)
    assert full.findings[1].variant == "one_step_error"
    assert full.findings[1].value.value < 1e-6
    assert poor.findings[1].value.value > 0.3
    assert "of the next step unexplained" in poor.findings[0].note
    assert "unexplained" not in full.findings[0].note


def test_members_that_rest_are_named_and_the_others_keep_their_distances():
    recorded = recording([system(1), system(2), system(3)], 100, 0)
    rest = grams(*(0 * x for x in run(*system(1), 4, 0)))
    halves = tuple([*half[:2], rest] for half in recorded.lag_grams)
    found = driven(dataclasses.replace(recorded, lag_grams=halves))
    assert np.isnan(found.findings[0].value.value)
    assert "member 2: no activity" in found.findings[0].note
    assert found.distances["driven"][0, 1] > 0
    assert np.isnan(found.distances["driven"][0, 2])


def test_states_that_are_not_finite_are_named():
    recorded = recording([system(1), system(2)], 20, 0)
    states, inputs = run(*system(1), 4, 0)
    recorded.lag_grams[0][1].add(np.full_like(states, np.inf), inputs)
    assert "member 1: states that are not finite" in driven(recorded).findings[0].note


def test_whether_all_units_were_recorded_has_to_be_said():
    recorded = dataclasses.replace(recording([system(1), system(2)], 20, 0), fully_observed=None)
    assert "give fully_observed" in driven(recorded).findings[0].note


def test_untrained_networks_are_the_reference():
    recorded = recording([system(1), system(2), system(3)], 200, 0)
    before = recording([system(4), system(5), system(6)], 200, 1)
    found = driven(dataclasses.replace(recorded, untrained=before)).findings[0]
    assert found.reference.value == pytest.approx(driven(before).findings[0].value.value)


def test_the_operator_of_the_published_form_is_that_of_delays_without_input_or_mean():
    """Whitened, 3 delays, nothing taken out: the operator of DSA, but for its ridge and the last step of each trial."""
    states, inputs = run(*system(1), 200, 0, n_steps=400)
    form = Form(rank=10, n_delays=3, inputs=False, centre=False)
    ours = fit_step(grams(states + 2.0, inputs, 3), form).whitened
    published = delay_operator(states + 2.0, rank=10, n_delays=3)
    assert fit_pairs(ours[None], published[None]).distance[0] < 0.01  # 3 of 400 steps of noise more or less
