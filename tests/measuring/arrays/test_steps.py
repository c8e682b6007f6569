"""Given states have to be what a cell's step makes of the given inputs and weights."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from array_networks import N_INPUTS, N_MEMBERS, N_STEPS, N_TRIALS, N_UNITS, few, networks

import degeneracy as dg
from degeneracy.analysis.dynamics.attractors.graph_measure import transition_rows
from degeneracy.core.errors import UserError
from degeneracy.measuring.arrays.cells import check_range
from degeneracy.measuring.arrays.files import load_arrays
from degeneracy.networks.cells import CELLS
from degeneracy.training import History, Member


class TestRange:
    @pytest.mark.parametrize(
        ("cell", "low", "high", "bounds"),
        [
            ("tanh", -1.0, 1.0, "between -1 and 1"),
            ("leaky_tanh", -1.0, 1.0, "between -1 and 1"),
            ("gru", -1.0, 1.0, "between -1 and 1"),
            ("lstm", -1.0, 1.0, "between -1 and 1"),
            ("relu", 0.0, 500.0, "0 or more"),
        ],
    )
    def test_outside(self, cell: str, low: float, high: float, bounds: str) -> None:
        kind = CELLS[cell]()
        states = [np.array([low, 0.0, high]).reshape(1, 1, 3)] * 2
        check_range("states", states, kind)
        # bfloat16 has 8 significant bits: what is 1 may come as 1.004, what is 0 beside 500 as a little less.
        check_range("states", [one + np.where(one == low, -0.004, 0.004) for one in states], kind)
        outside = (low - 20.0, high + 20.0) if np.isfinite(kind.state_range[1]) else (low - 20.0,)
        for value in outside:
            wrong = [states[0], np.append(states[1], value).reshape(1, 1, 4)]
            with pytest.raises(UserError, match=rf"member 1 reaches {value:.4g}, and states of a cell '{cell}' are"):
                check_range("states", wrong, kind)
            with pytest.raises(UserError, match=bounds):
                check_range("states", wrong, kind)

    @pytest.mark.parametrize("cell", CELLS)
    def test_every_cell_keeps_to_its_range(self, cell: str) -> None:
        kind, _, arrays = networks(cell, 20)
        check_range("states", list(arrays["states"]), kind)

    def test_a_range_that_does_not_hold_is_found_by_the_check_of_cells(self) -> None:
        class Narrow(CELLS["tanh"]):  # type: ignore[name-defined, misc]
            state_range: ClassVar[tuple[float, float]] = (-0.01, 0.01)

        with pytest.raises(dg.checks.CheckFailed, match=r"lies between .* \(state_range\)"):
            dg.checks.check_cell(Narrow())

    def test_states_before_training_too(self) -> None:
        _, _, arrays = networks("tanh")
        with pytest.raises(UserError, match="untrained_states: member 0 reaches"):
            dg.measure_arrays(
                states=arrays["states"], untrained_states=9 * arrays["states"], cell="tanh", measures=["cka"]
            )


class TestStep:
    """With inputs, the states have to follow the step."""

    @pytest.mark.parametrize(
        ("cell", "options"),
        [
            ("tanh", {}),
            ("relu", {}),
            ("gru", {}),
            ("leaky_tanh", {"dt_ms": 10.0, "tau_ms": 50.0, "form": "rate"}),
        ],
    )
    @pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
    def test_networks_follow_their_own(self, cell: str, options: dict[str, Any], kind: torch.dtype) -> None:
        _, _, arrays = networks(cell, **options)
        given = {name: torch.tensor(value).to(kind) for name, value in arrays.items()}
        result = dg.measure_arrays(**given, cell=cell, cell_options=options, **few("fixed_points"))
        assert not result.missing

    @pytest.mark.parametrize(("cell", "other"), [("tanh", "relu"), ("relu", "tanh"), ("tanh", "gru"), ("gru", "tanh")])
    def test_and_not_that_of_others(self, cell: str, other: str) -> None:
        _, _, arrays = networks(cell)
        _, _, others = networks(other)
        given = arrays | {name: others[name] for name in ("weights", "input_weights", "bias")}
        with pytest.raises(UserError, match=f"does not move as a cell '{other}'|reaches"):
            dg.measure_arrays(**given, cell=other, measures=["fixed_points"])

    @pytest.mark.parametrize("cell", ["tanh", ""])
    def test_nothing_is_said_where_it_cannot_be_checked(self, cell: str) -> None:
        """Without inputs, or without a cell, states of shuffled trials and steps are as good as any."""
        _, _, arrays = networks("tanh")
        shuffled = np.random.default_rng(0).permuted(arrays["states"].reshape(N_MEMBERS, -1, N_UNITS), axis=1)
        arrays["states"] = shuffled.reshape(arrays["states"].shape)
        if cell:
            del arrays["inputs"]
        dg.measure_arrays(**arrays, cell=cell, **few("cka", "fixed_points"))

    def test_silent_networks(self) -> None:
        _, _, arrays = networks("tanh")
        silent = {name: np.zeros_like(value) for name, value in arrays.items()}
        dg.measure_arrays(**silent, cell="tanh", measures=["effective_rank"])
        with pytest.raises(UserError, match=r"member 0 does not move as a cell 'tanh' .* misses by"):
            dg.measure_arrays(**silent | {"bias": arrays["bias"]}, cell="tanh", measures=["effective_rank"])

    def test_one_step_alone_cannot_be_checked(self) -> None:
        _, _, arrays = networks("tanh")
        arrays |= {"states": arrays["states"][:, :, :1], "inputs": arrays["inputs"][:, :1]}
        dg.measure_arrays(**arrays, cell="tanh", measures=["participation_ratio"])

    def test_the_mean_input_is_known_then(self) -> None:
        """h = tanh(W h + W_in m + b), m the mean input, at every point that is found."""
        _, _, arrays = networks("tanh")
        options = {"fixed_points": {"n_starts": 16, "input": "mean"}}
        points = dg.measure_arrays(**arrays, cell="tanh", measures=["fixed_points"], options=options).fixed_points
        mean = arrays["inputs"].mean((0, 1))
        assert len(points["member/mean"]) >= N_MEMBERS
        for k, h in zip(points["member/mean"], points["position/mean"], strict=True):
            drive = arrays["weights"][k] @ h + arrays["input_weights"][k] @ mean + arrays["bias"][k]
            np.testing.assert_allclose(np.tanh(drive), h, atol=1e-9)  # the search ends at a speed of 1e-10

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"inputs": np.ones((N_TRIALS, N_STEPS + 1, N_INPUTS))}, "member 0 has 10 trials of 8 steps"),
            ({"inputs": np.ones((N_TRIALS, N_STEPS, 3))}, "weights for 2 inputs; got shape"),
            ({"inputs": np.ones((N_TRIALS, N_STEPS))}, r"finite values \(trial, time, in\) are needed"),
            ({"inputs": np.full((N_TRIALS, N_STEPS, N_INPUTS), np.nan)}, "finite values"),
            ({"states": None}, "inputs: states are needed with them"),
        ],
    )
    def test_inputs_that_do_not_fit(self, change: dict[str, Any], says: str) -> None:
        _, _, arrays = networks("tanh")
        with pytest.raises(UserError, match=says):
            dg.measure_arrays(**arrays | change, cell="tanh", measures=["effective_rank"])


class TestPulses:
    """Pulses that are given lead from one attractor to another, as those of a task do."""

    @staticmethod
    def flip_flops(n_bits: int = 2) -> tuple[dict[str, Any], dg.Ensemble]:
        """Three networks, each unit of which holds a bit: h' = tanh(gain h + 6 u); as arrays, and as an ensemble."""
        eye, gains = np.eye(n_bits), (2.0, 2.5, 3.0)
        states = np.random.default_rng(0).uniform(-1, 1, size=(3, 40, 4, n_bits))
        arrays = {
            "states": states,
            "weights": np.stack([gain * eye for gain in gains]),
            "input_weights": np.stack([6.0 * eye] * 3),
            "bias": np.zeros((3, n_bits)),
            "readout": np.stack([eye] * 3),
        }
        named = {"W_rec": "weights", "W_in": "input_weights", "bias": "bias", "W_out": "readout"}
        members = tuple(
            Member(
                seed=k,
                status="given",
                initial={},
                final={
                    **{name: torch.tensor(arrays[key][k]) for name, key in named.items()},
                    "b_out": torch.zeros(n_bits, dtype=torch.float64),
                },
                history=History.empty(),
            )
            for k in range(3)
        )
        return arrays, dg.Ensemble(network=dg.Network(hidden_size=n_bits), members=members)

    def test_they_lead_where_those_of_the_task_do(self) -> None:
        arrays, ensemble = self.flip_flops()
        task = dg.TASKS["flip_flop"](channels=2)
        given = {"measures": ["fixed_point_graph"], "options": {"fixed_point_graph": {"n_starts": 32}}}
        ours = dg.measure_arrays(**arrays, pulses=np.array(task.pulses()), cell="tanh", **given)
        of_task = dg.measure(ensemble, task, **given)
        mine, theirs = (one.measured["fixed_point_graph"] for one in (ours, of_task))
        assert transition_rows(mine.arrays) == transition_rows(theirs.arrays)
        assert len(transition_rows(mine.arrays)) == 3 * 4 * 4  # of 3 networks with 4 points each, 4 pulses
        np.testing.assert_array_equal(mine.arrays["pulse"], theirs.arrays["pulse"])
        assert mine.distances["graph"].tolist() == np.zeros((3, 3)).tolist()

    def test_without_them_there_are_points_and_no_transitions(self) -> None:
        arrays, _ = self.flip_flops()
        options = {"fixed_point_graph": {"n_starts": 32}}
        found = dg.measure_arrays(**arrays, cell="tanh", measures=["fixed_point_graph"], options=options)
        kept = found.measured["fixed_point_graph"].arrays
        assert (len(kept["node"]), len(kept["transition_from"])) == (12, 0)

    def test_they_may_stand_in_a_file(self, tmp_path: Path) -> None:
        arrays, _ = self.flip_flops()
        np.savez(tmp_path / "a.npz", **arrays, pulses=np.eye(2), cell="tanh")
        found = dg.measure_arrays(**load_arrays(tmp_path / "a.npz"), measures=["fixed_point_graph"])
        assert found.measured["fixed_point_graph"].arrays["pulse"].tolist() == [[1, 0], [0, 1]]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"pulses": np.ones((2, 3))}, r"^pulses: member 0 has weights for 2 inputs; got shape \(2, 3\)$"),
            ({"pulses": np.ones(2)}, r"^pulses: finite values \(pulse, in\) are needed, got shape \(2,\)$"),
            ({"pulses": np.full((1, 2), np.nan)}, r"^pulses: finite values"),
            ({"pulses": np.eye(2), "input_weights": None}, "^pulses: input_weights are needed with them$"),
        ],
    )
    def test_pulses_that_do_not_fit(self, change: dict[str, Any], says: str) -> None:
        arrays, _ = self.flip_flops()
        with pytest.raises(UserError, match=says):
            dg.measure_arrays(**arrays | change, cell="tanh", measures=["fixed_point_graph"])

    def test_inputs_of_unknown_weights_leave_the_step_without_input_known(self) -> None:
        _, _, arrays = networks("tanh")
        without = {name: value for name, value in arrays.items() if name not in ("inputs", "input_weights")}
        expected = dg.measure_arrays(**without, cell="tanh", **few("fixed_points")).table
        found = dg.measure_arrays(**without, inputs=arrays["inputs"], cell="tanh", **few("fixed_points")).table
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
