"""Networks given as arrays: what is measured, and what is not guessed."""

from collections.abc import Collection

import numpy as np
import pandas as pd
import pytest

import degeneracy as dg
from degeneracy.core.errors import UserError

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
        cell="tanh",
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
        weights=WEIGHTS, initial_weights=INITIAL, cell="tanh", measures=["signed_pif"], options=options
    )
    assert row(alone, "joint/untrained")["reference"] > 0


def test_alignments_of_arrays_need_the_states_before_training() -> None:
    asked = ["representation_alignment", "kernel_alignment"]
    given = {"states": STATES, "weights": WEIGHTS, "measures": [*asked, "orthogonal", "effective_rank"]}
    bare = dg.measure_arrays(**given)
    assert bare.missing["representation_alignment"] == "needs untrained: not given (untrained_states)"
    assert bare.missing["kernel_alignment"] == "needs tangent kernel: gradients are of the networks themselves"
    weights_alone = dg.measure_arrays(**given, initial_weights=INITIAL)
    assert "states before training" in weights_alone.missing["representation_alignment"]
    full = dg.measure_arrays(**given, untrained_states=[2 * x for x in STATES])
    found = full.measured["representation_alignment"].findings[0].value
    assert found.value == pytest.approx(1, abs=1e-12)  # the same states in another unit
    fewer = dg.measure_arrays(**given, untrained_states=[x[:-1] for x in STATES])
    assert "the same trials and time steps" in fewer.missing["representation_alignment"]


def test_fixed_points_of_a_cell_with_options_are_not_guessed() -> None:
    given = {"states": np.tanh(STATES), "weights": WEIGHTS, "bias": BIAS, "cell": "leaky_tanh"}
    given |= {"measures": ["fixed_points", "pif"], "options": {"fixed_points": {"n_starts": 4}}}
    leaky = dg.measure_arrays(**given, cell_options={"dt_ms": 20.0})
    assert "cell 'leaky_tanh' are not known: give cell_options (tau_ms, form)" in leaky.missing["fixed_points"]
    options = {"dt_ms": 20.0, "tau_ms": 100.0, "form": "rate"}
    assert not dg.measure_arrays(**given, cell_options=options).missing
    current = dg.measure_arrays(**given, cell_options=options | {"form": "current"})
    assert "the full state of a cell 'leaky_tanh' is not among the arrays" in current.missing["fixed_points"]


def test_the_mean_input_is_not_taken_to_be_0() -> None:
    with pytest.raises(
        UserError, match=r"input = 'mean' needs recorded inputs, of a task with times of no input \(known here: none\)"
    ):
        dg.measure_arrays(
            states=np.tanh(STATES),
            weights=WEIGHTS,
            bias=BIAS,
            cell="tanh",
            measures=["fixed_points"],
            options={"fixed_points": {"input": "mean"}},
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ood_errors": np.ones((4, 2)), "ood_variants": ["a", "a"]}, "each name is needed once"),
        ({"ood_errors": np.ones((4, 2)), "ood_variants": ["a"]}, "1 names for 2 variants"),
        (
            {"ood_errors": np.ones((4, 2)), "ood_variants": True},
            "ood_variants = True is wrong: a list of names",
        ),
        (
            {"ood_errors": np.ones((4, 2)), "ood_variants": "ab"},
            "ood_variants = 'ab' is wrong: a list of names",
        ),
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
    result = dg.measure_arrays(weights=ring, cell="relu", measures=["pif"], options={"pif": {"n_restarts": 1}})
    found = row(result, "recurrent")
    assert np.isfinite(found["value"])
    assert np.isnan(found["reference"])
    assert "shuffled members: scales cannot be normalised" in found["note"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "dsa: n_delays = 10 is wrong: fewer than the 10 steps"),
        (
            {"n_delays": 2, "rank": 9},
            "dsa: rank = 9 is wrong: at most 8 with 4 units",
        ),  # 3 trials, 8 steps at a time
    ],
)
def test_options_that_the_states_cannot_serve_cost_their_own_row(options: dict, message: str) -> None:
    states = np.random.default_rng(0).normal(size=(3, 6, 10, 4))
    result = dg.measure_arrays(states=states, measures=["dsa", "procrustes"], options={"dsa": options})
    assert list(result.measured) == ["procrustes"]
    assert message in result.missing["dsa"]
    [row] = result.table[result.table["measure"] == "dsa"].to_dict("records")
    assert np.isnan(row["value"])
    assert row["note"] == result.missing["dsa"]
    with pytest.raises(UserError, match=message):  # nothing else to report
        dg.measure_arrays(states=states, measures=["dsa", "pif"], options={"dsa": options})


def test_a_check_of_the_users_own_that_fails_costs_its_own_row() -> None:
    class Failing(dg.MEASURES["cka"]):  # type: ignore[name-defined, misc]
        name = "failing"

        def check(self, *, n_units: int, n_steps: int, n_trials: int, held_inputs: Collection[str]) -> None:
            raise ZeroDivisionError(f"{n_units} {n_steps} {n_trials} {', '.join(held_inputs)}")

    result = dg.measure_arrays(states=STATES, measures=["cka", Failing])
    assert result.missing == {"failing": "ZeroDivisionError: 6 9 6 none, mean"}
    assert list(result.measured) == ["cka"]


def test_one_long_trial_is_cut_into_blocks_and_the_table_says_so() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(3, 1, 403, 4)).cumsum(axis=2) / 20
    options = {"dsa": {"n_delays": 4, "rank": 4, "n_starts": 4}}
    result = dg.measure_arrays(states=states, measures=["dsa"], options=options)
    assert "one trial, cut into 8 blocks of 50 steps, every other one a half" in row(result, "driven")["note"]
    by_hand = states[:, 0, :400].reshape(3, 8, 50, 4)
    same = dg.measure_arrays(states=by_hand, measures=["dsa"], options=options)
    assert np.array_equal(result.distances["dsa"], same.distances["dsa"])
    assert row(result, "driven")["floor"] == row(same, "driven")["floor"] > 0
    assert "cut into" not in row(same, "driven")["note"]


def test_one_trial_too_short_for_halves_costs_its_own_row() -> None:
    states = np.random.default_rng(0).normal(size=(3, 1, 20, 4))
    result = dg.measure_arrays(states=states, measures=["dsa", "participation_ratio"])
    assert "n_delays = 10 is wrong: fewer than the 10 steps" in result.missing["dsa"]
    assert "blocks" in result.missing["dsa"]
    assert list(result.measured) == ["participation_ratio"]
    whole = {"dsa": {"halves": False, "rank": 3, "n_starts": 4}}
    assert np.isfinite(row(dg.measure_arrays(states=states, measures=["dsa"], options=whole), "driven")["value"])


def test_the_options_of_a_measure_without_data_do_not_matter() -> None:
    found = dg.measure_arrays(weights=np.random.default_rng(0).normal(size=(3, 4, 4)), measures=["dsa", "pif"])
    assert found.missing == {"dsa": "needs states: not given (states)"}


def test_members_with_other_trials_cost_the_measures_that_need_the_same_ones() -> None:
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(n, 10, 4)) for n in (6, 6, 5)]
    found = dg.measure_arrays(
        states=states,
        measures=["procrustes", "dsa"],
        options={"dsa": {"n_delays": 2, "rank": 3, "n_starts": 4}},
    )
    assert list(found.measured) == ["dsa"]
    assert "states of member 2 have rows (5, 10)" in found.missing["procrustes"]
    with pytest.raises(UserError, match="states of member 2 have rows"):  # nothing else to report
        dg.measure_arrays(states=states, measures=["procrustes", "pif"])


def test_complex_numbers_are_refused_and_not_cut_to_their_real_part() -> None:
    with pytest.raises(UserError, match="states: numbers are needed \\(they are complex\\)"):
        dg.measure_arrays(states=STATES + 1j, measures=["cka"])
    with pytest.raises(UserError, match="ood_errors: numbers"):
        dg.measure_arrays(ood_errors=np.ones((3, 2), complex))


def test_a_text_file_is_not_said_to_hold_objects(tmp_path) -> None:
    (tmp_path / "a.npz").write_text("hello", encoding="utf-8")
    with pytest.raises(UserError, match=r"damaged or not an \.npz file, as numpy"):
        dg.load_arrays(tmp_path / "a.npz")


def test_results_do_not_depend_on_the_order_in_memory() -> None:
    states = np.random.default_rng(239).normal(size=(3, 12, 9, 5))
    tables = [
        dg.measure_arrays(states=x, measures=["procrustes", "svcca", "cka", "participation_ratio"]).table
        for x in (states, np.asfortranarray(states), list(states[:, ::-1].copy()[:, ::-1]))
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], check_exact=True)


def test_errors_alone_give_no_distance_of_outputs_and_a_row_says_so() -> None:
    errors = np.random.default_rng(0).uniform(size=(3, 2))
    result = dg.measure_arrays(ood_errors=errors, measures=["ood_error_mean", "output_distance"])
    assert "errors alone were given" in result.missing["output_distance"]
    assert list(result.table.measure) == ["ood_error_mean", "ood_error_mean", "output_distance"]
