"""Linear models of one step: what they are of linear systems is known."""

import numpy as np
import pytest

from degeneracy.analysis.dynamics.linear.linear_models import (
    Form,
    choose_form,
    fit_step,
    held_out_error,
    input_responses,
)
from degeneracy.analysis.operator_alignment.pairs import fit_pairs
from tests.linear_systems import N_UNITS, P, grams, rotation, run, stationary, system


def angle(x, y):
    return fit_pairs(x[None], y[None], n_starts=64).distance[0]


def test_the_system_is_found():
    a, b = system(1)
    step = fit_step(grams(*run(a, b, 200, 1)), Form(rank=N_UNITS))
    # Without noise the fit is exact but for the rounding of the Gram matrix.
    assert np.allclose(step.axes @ step.a @ step.axes.T, a, atol=1e-9)
    assert np.allclose(step.axes @ step.b, b, atol=1e-9)
    assert held_out_error(step, grams(*run(a, b, 50, 2))) < 1e-9


def test_the_same_trials_turned_grown_and_moved_have_the_same_flow():
    a, b = system(1)
    states, inputs = run(a, b, 200, 1)
    moved = 3 * states @ rotation(2).T + 1.7
    flows = [fit_step(grams(x, inputs), Form(rank=N_UNITS)).flow for x in (states, moved)]
    assert angle(*flows) < 1e-7


def test_the_flow_is_that_of_the_stationary_state():
    a, b = system(1)
    variance, axes = np.linalg.eigh(stationary(a, b))
    exact = axes.T @ a @ axes @ np.diag(np.sqrt(variance))
    apart = [angle(exact, fit_step(grams(*run(a, b, n, 11)), Form(rank=N_UNITS)).flow) for n in (100, 1000, 10000)]
    # Falls as the root of the number of trials: 10 times from end to end, where noise leaves a factor of 3.
    assert apart[0] < 0.05
    assert apart[2] < apart[0] / 3
    assert apart[2] < 0.005


def test_a_given_the_input_does_not_hang_on_how_inputs_follow_one_another():
    a, b = system(1)
    steps = [fit_step(grams(*run(a, b, 400, 3, correlation=c)), Form(rank=N_UNITS)) for c in (0.0, 0.8)]
    found = [step.axes @ step.a @ step.axes.T for step in steps]
    assert np.allclose(*found, atol=1e-6)


def test_without_the_input_its_drive_counts_as_dynamics():
    a, b = system(1)
    step = fit_step(grams(*run(a, b, 400, 3, correlation=0.8)), Form(rank=N_UNITS, inputs=False))
    assert np.abs(step.axes @ step.a @ step.axes.T - a).max() > 0.05


def test_a_mean_that_is_not_taken_out_acts_as_an_eigenvalue_1():
    a, b = system(1, radius=0.5)
    states, inputs = run(a, b, 400, 3)
    summed = grams(states + 20.0, inputs, centre=np.full(N_UNITS + inputs.shape[-1], 0.3))
    largest = [
        np.abs(np.linalg.eigvals(fit_step(summed, Form(rank=N_UNITS, centre=centre)).a)).max()
        for centre in (True, False)
    ]
    assert largest[0] == pytest.approx(0.5, abs=1e-6)
    assert largest[1] == pytest.approx(1.0, abs=0.01)


def test_fewer_axes_than_the_states_have_leave_a_share_unexplained():
    a, b = system(1)
    fitted, other = grams(*run(a, b, 200, 1)), grams(*run(a, b, 200, 2))
    errors = [held_out_error(fit_step(fitted, Form(rank=rank)), other) for rank in (1, 4, 8, N_UNITS)]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[0] < 1


def test_axes_that_states_lack_are_0():
    a, b = system(1)
    step = fit_step(grams(*run(a, b, 200, 1)), Form(rank=N_UNITS + 5))
    assert not step.a[N_UNITS:].any()
    assert not step.spread[N_UNITS:].any()


def test_where_all_units_are_recorded_one_delay_is_chosen():
    systems = [system(seed) for seed in (1, 2, 3)]
    halves = tuple([grams(*run(a, b, 100, (k, half)), 5) for k, (a, b) in enumerate(systems)] for half in (0, 1))
    assert choose_form(halves, Form(rank=1)).n_delays == 1


def test_where_a_few_units_are_recorded_delays_are_chosen():
    systems = [system(seed, radius=0.98) for seed in (1, 2, 3)]
    halves = []
    for half in (0, 1):
        seen = [run(a, b, 300, (k, half)) for k, (a, b) in enumerate(systems)]
        halves.append([grams(states[..., :3], inputs, 10) for states, inputs in seen])
    chosen = choose_form(tuple(halves), Form(rank=1))
    assert chosen.n_delays > 1
    assert chosen.rank > 3


def test_responses_to_independent_inputs_are_the_impulse_response():
    a, b = system(1)
    found = input_responses(grams(*run(a, b, 2000, 1), n_input_lags=3), 2)
    exact = np.hstack([b, a @ b, a @ a @ b]) * P**0.5
    # 2,000 x 48 samples: a standard error of .004 of the states' spread, up to 4.
    assert np.abs(found - exact).max() < 0.1
