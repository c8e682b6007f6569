"""Members as modules and as arrays: the same outputs, and the same ensemble when they are put back."""

import numpy as np
import pytest
import torch
from torch import nn

import degeneracy as dg
from degeneracy.ensembles.modules.exported import RecurrentModule

TASK = dg.tasks.FlipFlop(channels=2, n_steps=20)
QUICK = {"max_epochs": 4, "steps_per_epoch": 2, "batch_size": 8}
X = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 9, 2))).float()


def trained(cell: str, **options: object) -> dg.Ensemble:
    network = dg.Network(hidden_size=8, cell=cell, **options)  # type: ignore[arg-type]
    return dg.train(TASK, network, dg.Training(**QUICK), seeds=range(3), progress=False)  # type: ignore[arg-type]


def as_given(ensemble: dg.Ensemble) -> dg.Ensemble:
    return dg.Ensemble.from_modules(ensemble.to_modules(), initial=ensemble.to_modules(initial=True))


@pytest.mark.parametrize("cell", dg.CELLS)
def test_modules_that_are_put_back_are_the_same_ensemble(cell: str) -> None:
    ensemble = trained(cell)
    back = as_given(ensemble)
    assert back.network is not None
    assert (back.network.cell, back.network.hidden_size) == (cell, 8)
    for name, value in ensemble.weights().items():
        np.testing.assert_array_equal(back.weights()[name], value)
        np.testing.assert_array_equal(back.weights(initial=True)[name], ensemble.weights(initial=True)[name])
    np.testing.assert_array_equal(back.rollout(X)[1], ensemble.rollout(X)[1])


def test_options_of_a_cell_are_kept() -> None:
    ensemble = trained("leaky_tanh", cell_options={"dt_ms": 10, "tau_ms": 50, "form": "current"})
    back = as_given(ensemble)
    assert back.network == dg.Network(
        hidden_size=8, cell="leaky_tanh", cell_options={"dt_ms": 10.0, "tau_ms": 50.0, "form": "current"}
    )
    np.testing.assert_array_equal(back.rollout(X)[1], ensemble.rollout(X)[1])


@pytest.mark.parametrize("cell", ["tanh", "relu", "gru", "lstm"])
def test_they_are_pytorch_s_own_layers_where_there_are_such(cell: str) -> None:
    ensemble = trained(cell)
    for (core, readout), outputs in zip(ensemble.to_modules(), ensemble.rollout(X)[1], strict=True):
        assert isinstance(core, nn.RNNBase)
        np.testing.assert_allclose(readout(core(X)[0]).detach(), outputs, atol=1e-6)  # single precision


def test_another_cell_steps_and_trains_as_a_module() -> None:
    ensemble = trained("leaky_tanh")
    [module, *_] = ensemble.to_modules()
    assert isinstance(module, RecurrentModule)
    states, outputs = module.states(X)
    np.testing.assert_allclose(outputs.detach(), ensemble.rollout(X)[1][0], atol=1e-6)
    stepped = module.step(states[:, 3], X[:, 4])
    np.testing.assert_allclose(stepped.detach(), states[:, 4].detach(), atol=1e-6)
    np.testing.assert_allclose(module.readout(states[:, 4]).detach(), outputs[:, 4].detach(), atol=1e-6)
    module(X).square().sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in module.parameters())


def test_changing_a_module_leaves_the_ensemble() -> None:
    ensemble = trained("tanh")
    before = ensemble.rollout(X)[1]
    with torch.no_grad():
        for core, _ in ensemble.to_modules():
            core.weight_hh_l0.zero_()
    np.testing.assert_array_equal(ensemble.rollout(X)[1], before)


def test_the_user_s_own_modules_come_back() -> None:
    given = [nn.Sequential(nn.GRU(2, 5, 2, batch_first=True), nn.Linear(5, 2)) for _ in range(2)]
    ensemble = dg.Ensemble.from_modules(given)
    again = dg.Ensemble.from_modules(ensemble.to_modules())
    np.testing.assert_array_equal(again.rollout(X)[1], ensemble.rollout(X)[1])


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_arrays_measure_as_the_ensemble_does(cell: str) -> None:
    ensemble = trained(cell)
    arrays = ensemble.to_arrays(X)
    gates = dg.CELLS[cell].gates
    assert arrays["weights"].shape == ((3, 8, 8) if gates == 1 else (3, gates, 8, 8))
    assert arrays["bias"].shape == ((3, 8) if gates == 1 else (3, gates, 2, 8))
    assert arrays["states"].shape == (3, 4, 9, 8)
    names = ["pif", "signed_pif"]
    result = dg.measure_arrays(**arrays, cell=cell, measures=names)
    given = dg.Ensemble.from_modules(ensemble.to_modules())  # taken as they are, converged or not
    expected = dg.measure(given, TASK, measures=names, probe=dg.Probe(n_trials=8))
    for name in names:
        np.testing.assert_allclose(result.distances[name], expected.distances[name], rtol=1e-5, atol=1e-6)


def test_a_cell_without_weights_between_units_has_what_it_has() -> None:
    assert set(trained("min_gru").to_arrays()) == {"input_weights", "bias", "readout"}
