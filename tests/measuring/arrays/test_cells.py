"""Networks given as arrays have the cell that is said, or none: nothing is assumed of how they move."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from array_networks import N_INPUTS, N_MEMBERS, N_STEPS, N_TRIALS, N_UNITS, NEED_A_CELL, OPTIONS, few, networks, rows
from scipy.optimize import root

import degeneracy as dg
from degeneracy.analysis import Recording
from degeneracy.core.errors import UserError
from degeneracy.measuring.arrays.cells import ArrayCell, array_cell
from degeneracy.measuring.member_weights import member_weights
from degeneracy.measuring.record import record
from degeneracy.networks.cell import Parameter
from degeneracy.networks.cells import CELLS

SOURCE = '''
from typing import ClassVar
import torch
import degeneracy as dg


class LeakySoftplus(dg.Cell):
    """h_t = (1 - alpha) h_{t-1} + alpha softplus(W_rec h_{t-1} + W_in x_t + b)."""

    name: ClassVar[str] = "leaky_softplus"
    summary: ClassVar[str] = "leaky softplus units"
    source: ClassVar[str] = "a test"
    state_range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    alpha: float = 0.2

    def step(self, params, state, drive):
        target = torch.nn.functional.softplus(drive + torch.matmul(state, params["W_rec"].mT))
        return (1 - self.alpha) * state + self.alpha * target
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The user's own `mine.py` in the working directory."""
    (tmp_path / "mine.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        yield importlib.import_module("mine")
    finally:
        sys.modules.pop("mine", None)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def dale(alpha: float) -> dict[str, Any]:
    """Leaky softplus networks with Dale's law, run in numpy: columns of excitatory units above 0, others below.

    Strong excitation among few units makes them bistable or not, by the member.
    """
    rng = np.random.default_rng(4)
    signs = np.array([1.0, 1, 1, 1, -1, -1])
    weights = np.abs(rng.normal(size=(N_MEMBERS, N_UNITS, N_UNITS))) * signs * 0.6
    bias = rng.normal(size=(N_MEMBERS, N_UNITS)) - 2.0
    into = rng.normal(size=(N_MEMBERS, N_UNITS, N_INPUTS)) * 3
    inputs = 2 * rng.normal(size=(N_TRIALS, N_STEPS, N_INPUTS))
    states = np.zeros((N_MEMBERS, N_TRIALS, N_STEPS, N_UNITS))
    for k in range(N_MEMBERS):
        h = np.zeros((N_TRIALS, N_UNITS))
        for t in range(N_STEPS):
            target = softplus(h @ weights[k].T + inputs[:, t] @ into[k].T + bias[k])
            states[k, :, t] = h = (1 - alpha) * h + alpha * target
    return {"states": states, "weights": weights, "bias": bias, "input_weights": into, "inputs": inputs}


def fixed_points_by_root(weights: np.ndarray, bias: np.ndarray, starts: np.ndarray) -> int:
    """How many solutions h = softplus(W h + b) has, by scipy's root finder from each start."""
    ends: list[np.ndarray] = []
    for start in starts:
        solved = root(lambda h: softplus(weights @ h + bias) - h, start, tol=1e-12)
        apart = [np.abs(solved.x - end).max() > 1e-6 for end in ends]
        if solved.success and np.abs(solved.fun).max() < 1e-9 and all(apart):
            ends.append(solved.x)
    return len(ends)


class TestNoCell:
    def test_what_needs_one_has_no_number_and_says_so(self) -> None:
        arrays = dale(0.2)
        del arrays["inputs"]
        result = dg.measure_arrays(**arrays, **few(*NEED_A_CELL, "pif", "effective_rank"))
        for measure in NEED_A_CELL:
            [row] = rows(result, measure)
            assert np.isnan(row["value"])
            assert "give cell=" in row["note"], row["note"]
        assert set(result.missing) == set(NEED_A_CELL)
        assert result.spec["cell"] == "not given"
        assert all("units are reordered, neither flipped nor rescaled" in row["note"] for row in rows(result, "pif"))
        assert np.isfinite([row["value"] for row in rows(result, "effective_rank")]).all()

    def test_all_that_the_step_needs_is_named_at_once(self) -> None:
        result = dg.measure_arrays(states=dale(0.2)["states"], measures=["fixed_points", "cka"])
        assert result.missing["fixed_points"] == "needs step: give weights=..., bias=..., cell=..."

    @pytest.mark.parametrize("cell", ["tanh", "relu", "gru"])
    def test_permutations_hold_for_any_cell(self, cell: str) -> None:
        """The published distance is the same as of tanh networks, whose group has the permutations too."""
        _, _, arrays = networks(cell)
        arrays = {name: arrays[name] for name in ("weights", "bias", "input_weights", "readout")}
        bare = dg.measure_arrays(**arrays, **few("pif"))
        assert not bare.missing
        if cell == "tanh":
            named = dg.measure_arrays(**arrays, cell="tanh", **few("pif"))
            np.testing.assert_array_equal(bare.distances["pif"], named.distances["pif"])

    def test_shapes_with_gates_have_to_agree(self) -> None:
        _, _, arrays = networks("gru")
        with pytest.raises(UserError, match=r"bias: member 0 has shape \(6,\), its recurrent weights have 3 gates"):
            dg.measure_arrays(weights=arrays["weights"], bias=arrays["bias"][:, 0, 0], measures=["pif"])
        with pytest.raises(UserError, match=r"\(member, post, pre\) or \(member, gate, post, pre\) is needed"):
            dg.measure_arrays(weights=arrays["weights"][:, :, :, :, None], measures=["pif"])


class TestTheirOwnEquations:
    """Leaky softplus networks with Dale's law, which no cell of this package describes."""

    def test_their_fixed_points_are_those_of_their_equations(self, mine: Any) -> None:
        arrays = dale(0.2)
        starts = np.concatenate(
            [arrays["states"].reshape(N_MEMBERS, -1, N_UNITS), np.zeros((N_MEMBERS, 1, N_UNITS))], 1
        )
        expected = [
            fixed_points_by_root(w, b, s) for w, b, s in zip(arrays["weights"], arrays["bias"], starts, strict=True)
        ]
        given = few("fixed_points", "signed_pif", "pif")
        by_name = dg.measure_arrays(**arrays, cell="mine:LeakySoftplus", **given)
        counts = np.bincount(by_name.fixed_points["member"], minlength=N_MEMBERS)
        np.testing.assert_array_equal(counts, expected)
        assert len(set(expected)) > 1, "networks that differ, or any equations would do"
        residual = [
            softplus(arrays["weights"][k] @ h + arrays["bias"][k]) - h
            for k, h in zip(by_name.fixed_points["member"], by_name.fixed_points["position"], strict=True)
        ]
        np.testing.assert_allclose(residual, 0, atol=1e-9)  # positions are known to 1e-10 in speed
        assert "units may not change sign in a cell of symmetry 'permutation'" in rows(by_name, "signed_pif")[0]["note"]
        for cell in (mine.LeakySoftplus, mine.LeakySoftplus(alpha=0.2)):
            again = dg.measure_arrays(**arrays, cell=cell, **given)
            np.testing.assert_array_equal(again.fixed_points["position"], by_name.fixed_points["position"])
            assert again.spec["cell"] == {"name": "mine:LeakySoftplus", "alpha": 0.2}

    def test_tanh_cannot_have_had_their_states(self) -> None:
        arrays = dale(0.2)
        top = float(arrays["states"][0].max())
        assert top > 2
        with pytest.raises(UserError, match=rf"states: member 0 reaches {top:.4g}, and states of a cell 'tanh' are"):
            dg.measure_arrays(**arrays, cell="tanh", measures=["pif"])

    @pytest.mark.usefixtures("mine")
    def test_other_options_do_not_lead_from_state_to_state(self) -> None:
        with pytest.raises(UserError, match=r"member 0 does not move as a cell 'mine:LeakySoftplus' .* misses by \d+%"):
            dg.measure_arrays(**dale(0.2), cell="mine:LeakySoftplus", cell_options={"alpha": 0.4})

    @pytest.mark.usefixtures("mine")
    def test_nor_do_other_weights(self) -> None:
        arrays = dale(0.2)
        arrays["weights"] = arrays["weights"][[0, 2, 1]]
        with pytest.raises(UserError, match="member 1 does not move as"):
            dg.measure_arrays(**arrays, cell="mine:LeakySoftplus")


@pytest.mark.parametrize("cell", ["tanh", "relu", "gru"])
def test_arrays_of_networks_measure_as_the_networks_themselves(cell: str) -> None:
    trained = dg.Network(hidden_size=N_UNITS, cell=cell, init_gain=1.3)
    task = dg.tasks.FlipFlop(channels=N_INPUTS, n_steps=N_STEPS, threshold=99.0)
    training = dg.Training(batch_size=2, steps_per_epoch=1, max_epochs=1, patience=0)
    ensemble = dg.train(task, trained, training, seeds=range(N_MEMBERS), jobs=1, progress=False)
    weights = ensemble.weights()
    # Biases of gated cells come as (member, gate * unit), and are given as (member, gate, bias, unit).
    biases = [value for name, value in weights.items() if name in CELLS[cell].biases]
    stacked = (
        biases[0] if len(biases) == 1 else np.stack([each.reshape(N_MEMBERS, -1, N_UNITS) for each in biases], axis=2)
    )
    assert weights["W_rec"].shape[1:-1] in ((N_UNITS,), (3, N_UNITS))
    measures = ["signed_pif", "pif", "orthogonal", "effective_rank"]
    if cell == "relu":
        measures.remove("signed_pif")
    own = dg.measure(ensemble, task, **few(*measures), probe=dg.Probe(n_trials=4))
    given = dg.measure_arrays(
        states=record(ensemble.converged, task, dg.Probe(n_trials=4)).states,  # which say what units move
        weights=weights["W_rec"],
        input_weights=weights["W_in"],
        bias=stacked,
        readout=weights["W_out"],
        cell=cell,
        **few(*measures),
    )
    assert not given.missing
    for name in own.distances:
        np.testing.assert_array_equal(own.distances[name], given.distances[name])


class TestWhichCell:
    def test_all_ways_to_name_it(self) -> None:
        options = {"dt_ms": 10.0, "tau_ms": 50.0, "form": "rate"}
        leaky = dg.cells.LeakyTanhCell(**options) if hasattr(dg, "cells") else CELLS["leaky_tanh"](**options)
        known = [
            array_cell("leaky_tanh", options),
            array_cell(CELLS["leaky_tanh"], options),
            array_cell(leaky, None),
        ]
        assert known == [ArrayCell(cell=leaky)] * 3
        assert known[0].described == {"name": "leaky_tanh", **options}

    def test_options_that_were_not_given_are_not_the_defaults(self) -> None:
        known = array_cell("leaky_tanh", {"dt_ms": 10.0})
        assert known.unset == ("tau_ms", "form")
        assert known.described == {"name": "leaky_tanh", "dt_ms": 10.0}

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"cell": "tnah"}, "unknown cell 'tnah'; did you mean 'tanh'"),
            ({"cell": "no_such_module:Cell"}, "cell 'no_such_module:Cell': no module 'no_such_module'"),
            ({"cell": "math:pi"}, "'math:pi' is no cell: a subclass of degeneracy.Cell is needed"),
            ({"cell": 3}, "cell = 3 is wrong: a name"),
            ({"cell": None}, "cell = None is wrong"),
            ({"cell": dict}, "is wrong: a name"),
            ({"cell": "leaky_tanh", "cell_options": {"dt": 1}}, "LeakyTanhCell: unknown key 'dt'"),
            ({"cell": "tanh", "cell_options": {"alpha": 0.2}}, "TanhCell: unknown key 'alpha'"),
            ({"cell_options": {"alpha": 0.2}}, "cell_options: alpha without a cell; give cell=... too"),
            ({"cell": "tanh", "cell_options": ["alpha"]}, r"cell_options = \['alpha'\] is wrong: a table"),
            (
                {"cell": CELLS["tanh"](), "cell_options": {"a": 1}},
                "the cell is made already; set its options",
            ),
        ],
    )
    def test_mistakes(self, given: dict[str, Any], says: str) -> None:
        with pytest.raises(UserError, match=says):
            dg.measure_arrays(weights=dale(0.2)["weights"], **given)

    def test_a_cell_with_other_parameters(self) -> None:
        class WithTau(CELLS["tanh"]):  # type: ignore[name-defined, misc]
            name: ClassVar[str] = "with_tau"

            def parameters(self, input_size: int, hidden_size: int) -> dict[str, Parameter]:
                tau = Parameter(axes=("unit",), sizes=(hidden_size,), role="unit")
                return {**super().parameters(input_size, hidden_size), "tau": tau}

        _, _, arrays = networks("tanh")
        result = dg.measure_arrays(**arrays, cell=WithTau(), measures=["fixed_points", "cka"])
        assert "has parameters that no array gives: tau" in result.missing["fixed_points"]

    def test_the_biases_have_to_be_those_of_the_cell(self) -> None:
        _, _, arrays = networks("gru")
        arrays["bias"] = arrays["bias"][:, :, 0]
        result = dg.measure_arrays(**arrays, cell="gru", measures=["fixed_points", "cka"])
        assert "cell 'gru' has 2 biases per unit and gate (bias, bias_rec), 1 given" in result.missing["fixed_points"]

    def test_members_of_different_sizes_have_no_common_step(self) -> None:
        _, _, arrays = networks("tanh")
        names = ("states", "weights", "bias")
        several = {name: list(arrays[name]) for name in names}
        several["states"][0] = several["states"][0][..., :-1]
        several["weights"][0] = several["weights"][0][:-1, :-1]
        several["bias"][0] = several["bias"][0][:-1]
        result = dg.measure_arrays(**several, cell="tanh", measures=["fixed_points", "cka"])
        assert "the members differ in size" in result.missing["fixed_points"]
        assert "cka" in result.measured


class TestSaid:
    """The table and the report name the cell."""

    def test_in_notes(self) -> None:
        _, _, arrays = networks("leaky_tanh", dt_ms=10.0, tau_ms=50.0, form="rate")
        given = few("fixed_points", "signed_pif", "cka")
        options = {"dt_ms": 10.0, "tau_ms": 50.0, "form": "rate"}
        result = dg.measure_arrays(**arrays, cell="leaky_tanh", cell_options=options, **given)
        said = "cell: leaky_tanh (dt_ms = 10.0, tau_ms = 50.0, form = rate)"
        for measure in ("fixed_points", "signed_pif"):
            assert all(said in row["note"] for row in rows(result, measure))
        assert all("cell" not in row["note"] for row in rows(result, "cka")), "states alone: any cell"

    def test_in_the_report(self, tmp_path: Path) -> None:
        _, _, arrays = networks("tanh")
        given = {"weights": arrays["weights"], **few("signed_pif", "pif")}
        named = dg.report(dg.measure_arrays(**given, cell="tanh"), tmp_path / "a" / "report.html")
        assert "cell: tanh" in named.read_text(encoding="utf-8")
        bare = dg.report(dg.measure_arrays(**given), tmp_path / "b" / "report.html").read_text(encoding="utf-8")
        assert "give cell=" in bare
        assert "not given" in bare
        assert "cell: tanh" not in bare


class TestNames:
    """Every array with its dimensions in another order, named: the same table."""

    def test_of_every_array(self) -> None:
        _, _, arrays = networks("gru")
        dims = {
            "states": ("member", "trial", "time", "unit"),
            "untrained_states": ("seed", "trials", "Time", "neuron"),
            "weights": ("member", "gate", "post", "pre"),
            "initial_weights": ("member", "gate", "to", "from"),
            "input_weights": ("member", "gate", "post", "in"),
            "bias": ("member", "gate", "bias", "unit"),
            "readout": ("member", "out", "unit"),
            "inputs": ("trial", "time", "input"),
            "ood_errors": ("member", "variant"),
        }
        arrays |= {"untrained_states": arrays["states"] / 2, "initial_weights": arrays["weights"] / 2}
        arrays["ood_errors"] = np.random.default_rng(0).uniform(size=(N_MEMBERS, 2))
        assert set(arrays) == set(dims)
        options = OPTIONS | {"dsa": {"rank": 3, "n_delays": 2, "n_starts": 2}}
        plain = dg.measure_arrays(**arrays, cell="gru", options=options)
        turned = {name: Named(value.T, *dims[name][::-1]) for name, value in arrays.items()}
        named = dg.measure_arrays(**turned, cell="gru", options=options)
        assert not set(plain.missing) - {"kernel_alignment", "output_distance"}
        assert plain.table.equals(named.table)

    def test_columns_of_a_table_name_the_variants(self) -> None:
        import pandas as pd

        errors = pd.DataFrame({"longer": [1.0, 2, 3], "kicked": [2.0, 3, 5]})
        given = {"ood_errors": errors, "measures": ["ood_error_mean"]}
        assert set(dg.measure_arrays(**given).table["variant"]) == {"longer", "kicked"}
        same = dg.measure_arrays(**given, ood_variants=["longer", "kicked"])
        assert set(same.table["variant"]) == {"longer", "kicked"}
        with pytest.raises(UserError, match="ood_variants: kicked, longer, but ood_errors names them longer, kicked"):
            dg.measure_arrays(**given, ood_variants=["kicked", "longer"])


class Named:
    """What xarray offers of a labelled array, and nothing else."""

    def __init__(self, values: np.ndarray, *dims: str) -> None:
        self.values, self.dims = values, dims

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.values, dtype)


class TestApart:
    """A cell without weights between units: its input weights say what it is."""

    def test_it_is_measured_as_the_networks_are(self) -> None:
        cell, params, arrays = networks("min_gru")
        names = ("pif", "signed_pif", "fixed_points", "cka", "orthogonal")
        result = dg.measure_arrays(**arrays, cell="min_gru", **few(*names))
        reason = "needs recurrent weights: cell 'min_gru' has no weights between units"
        assert result.missing == {"orthogonal": reason}
        values = {(row["measure"], row["variant"]): row["value"] for row in result.table.to_dict("records")}
        assert values["fixed_points", "n_total"] == 1.0
        weights = member_weights(cell, params)
        recording = Recording(members=("0", "1", "2"), weights=weights)
        for name in ("pif", "signed_pif"):
            [expected] = [
                each.value.value
                for each in dg.MEASURES[name](**OPTIONS[name])(recording).findings
                if each.variant == "joint"
            ]
            assert values[name, "joint"] == pytest.approx(expected, rel=1e-12)  # float64

    def test_what_is_lacking_is_said_of_its_own_arrays(self) -> None:
        _, _, arrays = networks("min_gru")
        del arrays["inputs"], arrays["input_weights"]
        result = dg.measure_arrays(**arrays, cell="min_gru", **few("pif", "fixed_points", "cka"))
        assert result.missing == {"pif": "needs weights: not given (input_weights)"}
        del arrays["bias"]
        result = dg.measure_arrays(**arrays, cell="min_gru", **few("fixed_points", "cka"))
        assert result.missing == {"fixed_points": "needs step: give bias=..."}

    @pytest.mark.parametrize("name", ["weights", "initial_weights"])
    def test_weights_between_units_are_refused(self, name: str) -> None:
        _, _, arrays = networks("min_gru")
        extra = {name: np.ones((N_MEMBERS, 2, N_UNITS, N_UNITS))}
        with pytest.raises(UserError, match=f"{name}: cell 'min_gru' has no weights between units"):
            dg.measure_arrays(**arrays, **extra, cell="min_gru", **few("cka"))

    def test_arrays_of_other_numbers_of_units_are_refused(self) -> None:
        _, _, arrays = networks("min_gru")
        arrays["readout"] = arrays["readout"][..., 1:]
        with pytest.raises(UserError, match=f"readout: member 0 has {N_UNITS - 1} units, its states have {N_UNITS}"):
            dg.measure_arrays(**arrays, cell="min_gru", **few("cka"))

    def test_states_of_another_step_are_refused(self) -> None:
        _, _, arrays = networks("min_gru")
        with pytest.raises(UserError, match="does not move as a cell 'min_gru' with these weights, biases and inputs"):
            dg.measure_arrays(**(arrays | {"bias": 0.5 + arrays["bias"]}), cell="min_gru", **few("cka"))
