"""Linear flow of given states: what has to be said with them, and what is said of what is missing."""

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.measuring.arrays.files import load_arrays
from tests.linear_systems import rotation, run, system

OPTIONS = {"linear_flow": {"rank": 12}}


def given(n_trials=60, seed=0, **how):
    """States of two systems and of a turned copy of the first, on the same trials of inputs; and these."""
    systems = [system(1), system(2)]
    turn = rotation(3)
    states = [run(a, b, n_trials, seed, **how)[0] for a, b in systems]
    return np.array([*states, states[0] @ turn.T]), run(*systems[0], n_trials, seed, **how)[1]


def measured(states, **how):
    return dg.measure_arrays(states=states, measures=["linear_flow"], options=OPTIONS, **how)


def row(result, variant="driven"):
    return result.table.query(f"variant == '{variant}'").iloc[0]


def test_with_inputs_a_copy_is_at_0():
    states, inputs = given()
    result = measured(states, inputs=inputs, fully_observed=True)
    roots = result.distances["linear_flow"]
    assert abs(roots[0, 2]) < 1e-3  # the same trials: half against half of one system, less the same
    assert roots[0, 1] > 0.3
    assert row(result, "one_step_error").value < 1e-6
    assert row(result).note == "not calibrated: no reference"


def test_without_inputs_the_row_says_what_that_costs():
    states, _ = given(correlation=0.8)
    result = measured(states, fully_observed=True)
    assert "what they do counts as dynamics" in row(result).note
    assert row(result, "one_step_error").value > 0.02


def test_whether_all_units_were_recorded_is_asked_for():
    states, inputs = given()
    result = measured(states, inputs=inputs)
    assert np.isnan(row(result).value)
    assert "give fully_observed" in row(result).note
    with pytest.raises(UserError, match="fully_observed = 'yes' is wrong"):
        measured(states, fully_observed="yes")


def test_of_a_few_units_past_states_are_taken_and_the_row_says_how_many():
    states, inputs = given(300)
    result = measured(states[..., :3], inputs=inputs, fully_observed=False)
    note = row(result).note
    assert "delays by held-out error: only some units were recorded" in note
    assert "1 delays" not in note
    with_one = measured(states[..., :3], inputs=inputs, fully_observed=True)
    assert row(result, "one_step_error").value < row(with_one, "one_step_error").value


def test_untrained_states_are_the_reference():
    states, inputs = given()
    before = np.array([run(*system(seed), 60, 0)[0] for seed in (4, 5, 6)])
    result = measured(states, inputs=inputs, untrained_states=before, fully_observed=True)
    alone = measured(before, inputs=inputs, fully_observed=True)
    assert row(result).reference == pytest.approx(row(alone).value)


def test_one_trial_is_cut_into_blocks_and_one_too_short_says_why():
    states, inputs = given(1, n_steps=400)
    assert np.isfinite(row(measured(states, inputs=inputs, fully_observed=True)).value)
    short = measured(states[:, :, :3], fully_observed=True)
    assert "one trial of 3 steps gives no halves" in short.missing["linear_flow"]


def test_a_file_says_it_too(tmp_path):
    states, inputs = given(8)
    path = tmp_path / "nets.npz"
    np.savez(path, states=states, inputs=inputs, fully_observed=True)
    arguments = load_arrays(path)
    assert arguments["fully_observed"] is True
    assert np.isfinite(row(dg.measure_arrays(**arguments, measures=["linear_flow"])).value)
