"""Trained time constants: the bits of leaky_tanh where they are equal, each unit its own where not."""

import math

import pytest
import torch

import degeneracy as dg
from degeneracy.checks import check_cell
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import Network, Params, forward, initial_params, parameters
from degeneracy.networks.cell import Cell
from degeneracy.networks.leaky_tau import LeakyTauCell
from degeneracy.networks.pointwise import LeakyTanhCell
from degeneracy.training import Training

N, N_IN, N_OUT = 5, 2, 2


def params_of(cell: Cell, dtype: torch.dtype = torch.float64) -> Params:
    streams = Streams([0, 1], "time constants")
    return {
        name: 0.7 * streams.normal(each.shape, dtype=dtype) for name, each in parameters(cell, N_IN, N, N_OUT).items()
    }


def some_inputs(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return Streams([0, 1], "inputs").normal((3, 12, N_IN), dtype=dtype)


@pytest.mark.parametrize("form", ["rate", "current"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("dt", "tau"), [(20.0, 100.0), (1.0, 3.0), (10.0, 70.0), (0.1, 33.0), (50.0, 51.0)])
def test_equal_time_constants_are_leaky_tanh_bit_for_bit(form: str, dtype: torch.dtype, dt: float, tau: float) -> None:
    trained, fixed = (kind(dt_ms=dt, tau_ms=tau, form=form) for kind in (LeakyTauCell, LeakyTanhCell))
    params = params_of(fixed, dtype)
    with_tau = params | {"log_tau": torch.zeros(2, N, dtype=dtype)}
    found, right = (
        forward(cell, each, some_inputs(dtype), {}) for cell, each in ((trained, with_tau), (fixed, params))
    )
    assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))


def test_networks_start_as_those_of_leaky_tanh() -> None:
    trained, fixed = (
        initial_params(Network(hidden_size=N, cell=cell), N_IN, N_OUT, [3, 8]) for cell in ("leaky_tau", "leaky_tanh")
    )
    assert not trained.pop("log_tau").any()
    assert trained.keys() == fixed.keys()
    assert all(torch.equal(trained[name], fixed[name]) for name in fixed)


def test_a_step_by_hand() -> None:
    # tau = 20 + 80 exp(log_tau): log(1/4) gives 40, log 2 gives 180; leaks 1/2 and 1/9. From h = (1, 1) with the
    # drive atanh(1/2) and no weights: 1/2 + 1/2 * 1/2 = 3/4 and 8/9 + 1/9 * 1/2 = 17/18.
    params = {name: torch.zeros_like(value) for name, value in params_of(LeakyTauCell()).items()}
    params |= {"log_tau": torch.tensor([[0.25, 2.0, 1, 1, 1]]).double().log().expand(2, N)}
    assert LeakyTauCell().time_constants(params)[0, :2].tolist() == pytest.approx([40, 180], rel=1e-12)  # float64
    state = torch.ones(2, 1, N, dtype=torch.float64)
    stepped = LeakyTauCell().step(params, state, torch.full_like(state, math.atanh(0.5)))
    assert stepped[0, 0, :2].tolist() == pytest.approx([3 / 4, 17 / 18], rel=1e-12)  # float64


def test_a_unit_alone_decays_with_its_time_constant() -> None:
    cell = LeakyTauCell(dt_ms=1.0, tau_ms=50.0, form="current")
    params = {name: torch.zeros_like(value) for name, value in params_of(cell).items()}
    params["log_tau"] = torch.linspace(-2, 2, N).double().expand(2, N)
    start = torch.ones(2, 1, N, dtype=torch.float64)
    states, _ = forward(cell, params, torch.zeros(2, 1, 30, N_IN, dtype=torch.float64), {}, start=start)
    found = -1 / torch.log(1 - (1 - states[:, 0, -1] ** (1 / 30)))  # h_30 = (1 - dt / tau)^30
    # An exponential decay sampled at dt: -dt / log(1 - dt / tau) is tau - dt / 2 up to dt^2 / tau, of tau 7 and more.
    torch.testing.assert_close(found, cell.time_constants(params) - 0.5, rtol=0, atol=0.02)


@pytest.mark.parametrize("form", ["rate", "current"])
def test_the_gradient_of_time_constants_by_finite_differences(form: str) -> None:
    cell = LeakyTauCell(form=form)
    params, inputs = params_of(cell), some_inputs()

    def loss(log_tau: torch.Tensor) -> torch.Tensor:
        return forward(cell, params | {"log_tau": log_tau}, inputs, {})[1].square().sum()

    leaf = params["log_tau"].clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(leaf), leaf)
    right, h = torch.empty_like(found), 1e-5
    for k in range(found.numel()):
        ends = []
        for side in (h, -h):
            moved = params["log_tau"].clone()
            moved.view(-1)[k] += side
            ends.append(loss(moved).item())
        right.view(-1)[k] = (ends[0] - ends[1]) / (2 * h)
    assert right.abs().min() > 1e-4
    # Central differences: h^2 = 1e-10 of curvature and 1e-16 / h = 1e-11 of rounding, each times sizes of 1 to 100.
    torch.testing.assert_close(found, right, rtol=1e-7, atol=1e-8)


def test_time_constants_are_trained_and_stay_above_the_step() -> None:
    task = dg.tasks.FlipFlop(channels=2, n_steps=10, threshold=9.0)
    brief = Training(batch_size=8, steps_per_epoch=20, max_epochs=1, patience=0, learning_rate=0.3)
    network = Network(hidden_size=N, cell="leaky_tau")
    ensemble = dg.train(task, network, brief, seeds=range(2), jobs=1, progress=False)
    taus = LeakyTauCell().time_constants(ensemble.params())
    assert taus.min() > 20
    assert taus.std(1).min() > 1  # ms: each goes its own way
    assert ensemble.weights()["log_tau"].shape == (2, N)


@pytest.mark.parametrize("form", ["rate", "current"])
def test_it_keeps_the_claims_of_cells(form: str) -> None:
    check_cell(LeakyTauCell(form=form))


def test_time_constants_that_could_not_be_trained_are_refused() -> None:
    with pytest.raises(UserError, match="dt_ms = 20 must be below tau_ms = 20"):
        LeakyTauCell(tau_ms=20.0)
    with pytest.raises(UserError, match="'mup' is for the cells tanh and leaky_tanh, not for 'leaky_tau'"):
        Network(cell="leaky_tau", parametrisation="mup")
