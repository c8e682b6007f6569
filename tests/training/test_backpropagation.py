"""Gradients: the hand-written backward through time against autograd, autograd against finite differences."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from degeneracy.core.streams import Streams
from degeneracy.networks import Network, draw_noise, forward, initial_params
from degeneracy.networks.cell import Cell, Params
from degeneracy.networks.cells import CELLS
from degeneracy.networks.pointwise import LeakyTanhCell, ReluCell, TanhCell
from degeneracy.tasks import LOSSES, MSE, Loss, Trials, task_loss
from degeneracy.training.backends import BACKENDS, Backend, Batch, Gradients, backend_for, serves
from degeneracy.training.backends.autograd import Autograd
from degeneracy.training.backends.backpropagation import BackpropagationThroughTime

N, IN, OUT, B, T = 6, 3, 2, 5, 9
OF_ONE_GATE = {name: kind for name, kind in BACKENDS.items() if serves(name, TanhCell())}
ONE_GATE: dict[str, Cell] = {
    "tanh": TanhCell(),
    "relu": ReluCell(),
    "leaky rate": LeakyTanhCell(form="rate"),
    "leaky current": LeakyTanhCell(form="current"),
    "no leak, current": LeakyTanhCell(form="current", dt_ms=10.0, tau_ms=10.0),
}


def some_trials(n_members: int, *, masked: bool = True) -> Trials:
    """Trials whose steps count differently, some of them not at all, and of a member-dependent total."""
    data = Streams(range(n_members), "data")
    inputs, targets = (data.normal((B, T, size), dtype=torch.float64) for size in (IN, OUT))
    trials = Trials.of(inputs, targets)
    if not masked:
        return trials
    weights = data.uniform((B, T)).double()
    weights[:, :, :2] = 0
    weights[:, 1, 6:] = 0
    return trials.replace(loss_weights=weights, valid=weights > 0, scored=weights > 0)


def some_params(cell: str, n_members: int = 3) -> Params:
    drawn = initial_params(Network(hidden_size=N, cell=cell), IN, OUT, range(n_members))
    return {name: 2 * value.double() for name, value in drawn.items()}


def noise_of(cell: Cell, n_members: int) -> Params:
    options = dict(cell)
    network = Network(hidden_size=N, cell=cell.name, cell_options=options, sigma_rec=0.3, sigma_in=0.2)
    drawn = draw_noise(network, Streams(range(n_members), "noise"), (B, T), IN)
    return {name: value.double() for name, value in drawn.items()}


def strengths_of(n_members: int) -> dict[str, torch.Tensor]:
    """Of regularisers on states, another for each member."""
    one = torch.arange(n_members, dtype=torch.float64)
    return {"l2_activity": 1 + one, "temporal_consistency": 5 * one}


@pytest.mark.parametrize("noisy", [False, True], ids=["clean", "noisy"])
@pytest.mark.parametrize("penalised", [False, True], ids=["plain", "penalised"])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("name", ONE_GATE)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_hand_written_equals_autograd(loss: Loss, name: str, n_members: int, penalised: bool, noisy: bool) -> None:
    strengths = strengths_of(n_members) if penalised else {}
    cell = ONE_GATE[name]
    params, trials = some_params(cell.name, n_members), some_trials(n_members)
    noise = noise_of(cell, n_members) if noisy else {}
    if loss.decide is not None:
        trials = trials.replace(targets=trials.targets.softmax(-1))
    batch = Batch(cell=cell, params=params, trials=trials, noise=noise, strengths=strengths, loss=loss)
    found, missed, grads = BackpropagationThroughTime().gradients(batch)
    expected_loss, expected_missed, expected = Autograd().gradients(batch)
    assert grads.keys() == params.keys()
    torch.testing.assert_close(found, expected_loss, rtol=1e-10, atol=0)
    assert torch.equal(missed, expected_missed)
    for key, value in expected.items():
        assert grads[key].shape == params[key].shape
        # Relative to the whole gradient: single entries may cancel to near 0.
        assert (grads[key] - value).norm() <= 1e-10 * value.norm(), key


@pytest.mark.parametrize("backend", [Autograd, BackpropagationThroughTime])
def test_the_stacked_forms_that_a_gpu_takes_are_the_same(backend) -> None:
    for cell in ONE_GATE.values():
        params, trials, noise = some_params(cell.name), some_trials(3), noise_of(cell, 3)
        batch = Batch(cell=cell, params=params, trials=trials, noise=noise, strengths=strengths_of(3))
        loss, _, grads = backend().stacked(batch)
        expected_loss, _, expected = Autograd().gradients(batch)
        torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=0)
        for key, value in expected.items():
            assert (grads[key] - value).norm() <= 1e-10 * value.norm(), key


@pytest.mark.parametrize("cell", [*CELLS.values(), lambda: LeakyTanhCell(form="current")])
def test_autograd_equals_finite_differences(cell) -> None:
    cell = cell()
    params, trials, noise = some_params(cell.name), some_trials(3), noise_of(cell, 3)
    _, _, grads = Autograd().gradients(Batch(cell=cell, params=params, trials=trials, noise=noise))
    direction = {
        name: Streams(range(3), name).normal(value.shape[1:], dtype=torch.float64) for name, value in params.items()
    }

    def loss(step: float) -> torch.Tensor:
        moved = {name: value + step * direction[name] for name, value in params.items()}
        return task_loss(MSE, forward(cell, moved, trials.inputs, noise)[1], trials)

    slope = sum((grads[name] * direction[name]).flatten(1).sum(1) for name in params)
    # Central differences: the error is step^2 = 1e-10 of the third derivative, and rounding 1e-16 / 1e-5 = 1e-11.
    torch.testing.assert_close((loss(1e-5) - loss(-1e-5)) / 2e-5, slope, rtol=1e-6, atol=1e-8)


def test_one_step_by_hand() -> None:
    # h = tanh(w x + b) = tanh(0.5) = 0.4621172, y = 2 h = 0.9242343, target 1: loss = 0.0757657^2 = 0.0057404.
    # dL/dy = -2 * 0.0757657 = -0.1515314; dL/dW_out = dL/dy h = -0.0700253; dL/db_out = -0.1515314.
    # dL/d(drive) = 2 dL/dy (1 - h^2) = -0.3030628 * 0.7864477 = -0.2383430 = dL/db; dL/dw = 0.5 * that = -0.1191715.
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    params = {"W_rec": one, "W_in": one, "bias": 0 * one[0], "W_out": 2 * one, "b_out": 0 * one[0]}
    trials = Trials.of(0.5 * one.unsqueeze(0), one.unsqueeze(0))
    for backend in OF_ONE_GATE.values():
        loss, _, grads = backend().gradients(Batch(cell=TanhCell(), params=params, trials=trials))
        assert loss.item() == pytest.approx(0.0057404, abs=1e-7)
        found = {name: value.item() for name, value in grads.items()}
        by_hand = {
            "W_rec": 0,
            "W_in": -0.1191715,
            "bias": -0.2383430,
            "W_out": -0.0700253,
            "b_out": -0.1515314,
        }
        assert found == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("backend", OF_ONE_GATE.values(), ids=OF_ONE_GATE)
def test_steps_of_weight_zero_do_not_count(backend: type[Backend]) -> None:
    trials = some_trials(2)
    changed = trials.replace(targets=torch.where(trials.valid.unsqueeze(-1), trials.targets, 1e6))
    params = some_params("tanh", 2)
    batch = Batch(cell=TanhCell(), params=params, trials=trials)
    _, _, grads = backend().gradients(batch)
    _, _, same = backend().gradients(replace(batch, trials=changed))
    for name in params:
        torch.testing.assert_close(same[name], grads[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "gradients",
    [
        *(kind().gradients for kind in OF_ONE_GATE.values()),
        Autograd().stacked,
        BackpropagationThroughTime().stacked,
    ],
)
def test_a_members_gradient_is_that_of_its_own_loss(gradients: Callable[[Batch], Gradients]) -> None:
    params, trials = some_params("tanh"), some_trials(3)
    _, _, grads = gradients(Batch(cell=TanhCell(), params=params, trials=trials))
    poisoned = {name: value.clone() for name, value in params.items()}
    poisoned["W_rec"][1] = float("nan")
    _, _, beside = gradients(Batch(cell=TanhCell(), params=poisoned, trials=trials))
    for name in params:
        assert torch.equal(beside[name][0], grads[name][0]), name
        assert torch.equal(beside[name][2], grads[name][2]), name
    assert beside["W_rec"][1].isnan().any()


@pytest.mark.parametrize("backend", OF_ONE_GATE.values(), ids=OF_ONE_GATE)
def test_parameters_and_trials_are_left_as_they_are(backend: type[Backend]) -> None:
    params, trials, noise = some_params("relu"), some_trials(3), noise_of(ReluCell(), 3)
    before = [value.clone() for value in (*params.values(), *vars(trials).values(), *noise.values())]
    backend().gradients(Batch(cell=ReluCell(), params=params, trials=trials, noise=noise, strengths=strengths_of(3)))
    after = [*params.values(), *vars(trials).values(), *noise.values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_cell_of_ones_own_goes_by_autograd() -> None:
    class Steeper(TanhCell):
        def step(self, params, state, drive):
            return torch.tanh(3 * (drive + torch.matmul(state, params["W_rec"].mT)))

    assert backend_for(Steeper()) == "autograd", "a subclass has its own step"
    assert backend_for(Steeper(), "cuda") == "autograd"
    on_cpu = dict.fromkeys(("tanh", "leaky_tanh", "leaky_tau", "relu", "gru", "lstm"), "compiled") | {"min_gru": "scan"}
    on_gpu = dict.fromkeys(("tanh", "leaky_tanh", "relu"), "bptt")
    for name, kind in CELLS.items():
        assert backend_for(kind()) == on_cpu.get(name, "autograd"), name
        assert backend_for(kind(), "cuda") == on_gpu.get(name, "autograd"), name
