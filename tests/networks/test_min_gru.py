"""The minGRU: by hand, its one fixed point under a constant input, trained, measured and reported."""

from pathlib import Path

import numpy as np
import pytest
import torch

import degeneracy as dg
from degeneracy.analysis.dynamics.attractors.fixed_points import find_fixed_points
from degeneracy.checks import check_cell
from degeneracy.core.streams import Streams
from degeneracy.measuring.record import step_function
from degeneracy.networks import Params, forward, input_drive, parameters
from degeneracy.networks.min_gru import MinGRUCell

N, N_IN, N_OUT = 4, 2, 3


def params_of(*seeds: int) -> Params:
    streams = Streams(seeds, "min gru")
    named = parameters(MinGRUCell(), N_IN, N, N_OUT)
    return {name: streams.normal(each.shape, dtype=torch.float64) for name, each in named.items()}


def test_it_keeps_the_claims_of_cells() -> None:
    check_cell(MinGRUCell())


def test_two_steps_by_hand() -> None:
    # W_z = ln 3, b_z = 0, W_n = 2, b_n = 1. x = 1: z = 3 / 4, n = 3, h = 1/4 * 0 + 3/4 * 3 = 9/4.
    # x = -1: z = 1 / 4, n = -1, h = 3/4 * 9/4 - 1/4 = 23/16.
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    params = {"W_in": torch.tensor([[[np.log(3)], [2.0]]]), "bias": torch.tensor([[0.0, 1.0]]).double()}
    params |= {"W_out": one, "b_out": 0 * one[0]}
    states, _ = forward(MinGRUCell(), params, torch.tensor([[[[1.0], [-1.0]]]]).double(), {})
    assert states.flatten().tolist() == pytest.approx([9 / 4, 23 / 16], rel=1e-14)


def test_under_a_constant_input_its_candidate_is_the_one_fixed_point() -> None:
    cell, params = MinGRUCell(), params_of(0, 1)
    inputs = {"none": torch.zeros(2).double(), "held": torch.tensor([0.7, -1.2]).double()}
    visited = 3 * Streams([0, 1], "visited").normal((40, N), dtype=torch.float64)
    step = step_function(cell, params, visited, inputs)
    for name, value in inputs.items():
        drive = input_drive(cell, params, value.expand(2, 1, 1, -1), {})[0, :, 0]
        gate, candidate = drive.chunk(2, dim=-1)
        for k, points in enumerate(find_fixed_points(step, held_input=name, n_starts=32)):
            assert len(points) == 1
            np.testing.assert_allclose(points.position[0], candidate[k], atol=1e-9)  # a speed under 1e-10, over z > 0.1
            expected = np.sort(1 - torch.sigmoid(gate[k]).numpy())
            np.testing.assert_allclose(np.sort(points.eigenvalues[0].real), expected, atol=1e-9)
            assert not points.eigenvalues[0].imag.any()
            assert not points.cycles


def test_it_is_trained_measured_and_reported(tmp_path: Path) -> None:
    task = dg.tasks.FlipFlop(channels=2, n_steps=12, threshold=9.0)
    training = dg.Training(batch_size=16, steps_per_epoch=10, max_epochs=6, patience=0, learning_rate=0.02)
    network = dg.Network(hidden_size=8, cell="min_gru", sigma_rec=0.05)
    ensemble = dg.train(task, network, training, seeds=range(4), jobs=1, progress=False)
    assert all(member.history.loss[-5:].mean() < 0.9 * member.history.loss[:5].mean() for member in ensemble.members)
    options = {"fixed_points": {"n_starts": 16}, "dsa": {"rank": 3, "n_delays": 3, "n_starts": 4}}
    result = dg.measure(ensemble, task, probe=dg.Probe(n_trials=24), options=options, jobs=1)
    reason = "needs recurrent weights: cell 'min_gru' has no weights between units"
    assert result.missing == dict.fromkeys(("orthogonal", "effective_rank", "weight_change"), reason)
    values = {(row.measure, row.variant): row.value for row in result.table.itertuples()}
    assert np.isfinite([values["pif", "joint"], values["signed_pif", "joint"], values["dsa", "driven"]]).all()
    assert (values["fixed_points", "n_total"], values["fixed_points", "n_cycles"]) == (1.0, 0.0)
    page = dg.report(result, tmp_path).read_text(encoding="utf-8")
    assert page.count("has no weights between units") >= 3
