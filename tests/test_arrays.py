"""Networks given as arrays: what is measured, and what is not guessed."""

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.errors import UserError

N_MEMBERS, N_UNITS = 4, 6
RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(N_MEMBERS, 6, 9, N_UNITS))
WEIGHTS, INITIAL = RNG.normal(size=(2, N_MEMBERS, N_UNITS, N_UNITS)) / N_UNITS**0.5
BIAS, READOUT = RNG.normal(size=(N_MEMBERS, N_UNITS)), RNG.normal(size=(N_MEMBERS, 2, N_UNITS))


def row(result: dg.Result, variant: str) -> dict:
    [found] = result.table[result.table["variant"] == variant].to_dict("records")
    return found


def test_a_reference_without_the_blocks_that_count_is_none() -> None:
    options = {"signed_pif": {"n_restarts": 2}}
    result = dg.measure_arrays(
        weights=WEIGHTS,
        initial_weights=INITIAL,
        bias=BIAS,
        readout=READOUT,
        measures=["signed_pif"],
        options=options,
    )
    assert row(result, "recurrent/untrained")["reference"] > 0
    joint = row(result, "joint/untrained")
    assert np.isnan(joint["reference"])
    assert np.isnan(joint["calibrated"])
    assert "untrained members without their bias, readout weights" in joint["note"]
    # Without those blocks `joint` is the recurrent weights alone, which the initial weights have.
    alone = dg.measure_arrays(
        weights=WEIGHTS, initial_weights=INITIAL, measures=["signed_pif"], options=options
    )
    assert row(alone, "joint/untrained")["reference"] > 0


def test_fixed_points_of_a_cell_with_options_are_not_guessed() -> None:
    given = {"states": STATES, "weights": WEIGHTS, "bias": BIAS, "measures": ["fixed_points"]}
    options = {"fixed_points": {"n_starts": 4}}
    assert not dg.measure_arrays(**given, options=options).missing
    leaky = dg.measure_arrays(**given, cell="leaky_tanh", options=options)
    assert "the options of a cell 'leaky_tanh' (dt_ms, tau_ms, form)" in leaky.missing["fixed_points"]


def test_the_mean_input_is_not_taken_to_be_0() -> None:
    with pytest.raises(UserError, match="input = 'mean' needs the inputs of the task"):
        dg.measure_arrays(
            states=STATES,
            weights=WEIGHTS,
            bias=BIAS,
            measures=["fixed_points"],
            options={"fixed_points": {"input": "mean"}},
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ood_errors": np.ones((4, 2)), "ood_variants": ["a", "a"]}, "each name is needed once"),
        ({"ood_errors": np.ones((4, 2)), "ood_variants": ["a"]}, "1 names for 2 variants"),
        ({"states": STATES, "ood_variants": ["a"]}, "names without ood_errors"),
        ({"states": STATES, "measures": "cka"}, r"such as \['cka'\]"),
    ],
)
def test_nothing_given_is_dropped_in_silence(given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dg.measure_arrays(**given)


def test_a_reference_that_cannot_be_aligned_costs_the_reference_alone() -> None:
    # A ring of rectified units has scales to normalise; shuffled, some unit has no weights in or none out.
    ring = np.roll(np.eye(N_UNITS), 1, axis=1) * RNG.uniform(1, 2, size=(N_MEMBERS, N_UNITS, N_UNITS))
    result = dg.measure_arrays(
        weights=ring, cell="relu", measures=["pif"], options={"pif": {"n_restarts": 1}}
    )
    found = row(result, "recurrent")
    assert np.isfinite(found["value"])
    assert np.isnan(found["reference"])
    assert "shuffled members: scales cannot be normalised" in found["note"]
