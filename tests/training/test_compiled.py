"""The compiled backend: products against numpy, gradients against autograd in float64, updates against torch."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import Network, draw_noise, initial_params
from degeneracy.networks.cell import Cell
from degeneracy.networks.gated import GRUCell
from degeneracy.networks.pointwise import LeakyTanhCell, ReluCell, TanhCell
from degeneracy.tasks import LOSSES, TASKS, FlipFlop, Loss, Trials
from degeneracy.training import Training, train_stack
from degeneracy.training.backends.tiles import LEAST_ROWS, WIDTH, product
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import Groups, flatten
from degeneracy.training.optimisers import Adam
from degeneracy.training.updates import (
    CompiledUpdates,
    Updates,
    autograd_gradients,
    backend_for,
    bptt_gradients,
    checked_backend,
    compiled_gradients,
)

CELLS: dict[str, Cell] = {
    "tanh": TanhCell(),
    "relu": ReluCell(),
    "leaky rate": LeakyTanhCell(form="rate"),
    "leaky current": LeakyTanhCell(form="current"),
    "no leak, current": LeakyTanhCell(form="current", dt_ms=10.0, tau_ms=10.0),
    "gru": GRUCell(),
}
# (units, trials, steps, inputs, outputs): on and off the vectors' and tiles' sizes, and as small as can be.
SIZES = [(64, 32, 12, 3, 3), (50, 37, 9, 5, 2), (1, 1, 1, 1, 1), (17, 8, 6, 16, 17), (130, 9, 5, 2, 1)]


def some_trials(members: int, trials: int, steps: int, n_in: int, n_out: int) -> Trials:
    data = Streams(range(members), "data")
    made = Trials.of(data.normal((trials, steps, n_in)), data.normal((trials, steps, n_out)))
    weights = data.uniform((trials, steps))
    weights[:, 1:, : steps // 3] = 0
    return made.replace(loss_weights=weights, valid=weights > 0, scored=weights > 0)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("height", "width", "inner"), [(1, 1, 1), (2, 3, 5), (3, 2, 64), (5, 5, 0)])
def test_products_are_numpys(height: int, width: int, inner: int, add: bool) -> None:
    height, width = height * LEAST_ROWS, width * WIDTH
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(height, inner)), rng.normal(size=(inner, width))
    c = rng.normal(size=(height, width))
    expected = a @ b + (c if add else 0)
    for turned in (False, True):  # A as it is, and stored transposed
        flat = np.ascontiguousarray((a.T if turned else a), dtype=np.float32).reshape(-1)
        out = np.full(height * (width + 3) + 2, 7, np.float32)  # an offset, and rows that are longer than the product
        rows = out[2:].reshape(height, width + 3)
        rows[:, :width] = c
        strides = (1, height) if turned else (inner, 1)
        product(
            out, 2, width + 3, flat, 0, *strides, b.astype(np.float32).reshape(-1), 0, width, height, width, inner, add
        )  # fmt: skip
        # float32: each of at most 64 terms of size 1 rounds by 6e-8.
        np.testing.assert_allclose(rows[:, :width], expected, atol=3e-5)
        assert (rows[:, width:] == 7).all()
        assert (out[:2] == 7).all(), "nothing beside the product is written"


# One strength per member, large enough that the penalties' share of the gradient shows.
STRENGTHS = {
    "l2_activity": torch.tensor([3.0, 0.5]),
    "temporal_consistency": torch.tensor([0.0, 20.0]),
}


def shortened(valid: torch.Tensor) -> torch.Tensor:
    """Trials of which some end early."""
    ends = torch.arange(valid.shape[1]) % 3 + max(valid.shape[2] - 2, 1)
    return valid & (torch.arange(valid.shape[2]) < ends.unsqueeze(1))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("noisy", [False, True], ids=["clean", "noisy"])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("penalised", [False, True], ids=["plain", "penalised"])
def test_gradients_are_those_of_autograd_in_float64(
    name: str, noisy: bool, penalised: bool, sizes: tuple[int, ...]
) -> None:
    cell, (n, n_trials, n_steps, n_in, n_out) = CELLS[name], sizes
    if penalised and backend_for(cell, strengths=STRENGTHS) != "compiled":
        pytest.skip("this cell has autograd for regularisers on states")
    strengths = STRENGTHS if penalised else {}
    sigma = {"sigma_rec": 0.3, "sigma_in": 0.2} if noisy else {}
    network = Network(hidden_size=n, cell=cell.name, cell_options=dict(cell), **sigma)
    params = initial_params(network, n_in, n_out, range(2))
    trials = some_trials(2, n_trials, n_steps, n_in, n_out)
    trials = trials.replace(valid=shortened(trials.valid))
    noise = draw_noise(network, Streams(range(2), "noise"), (n_trials, n_steps), n_in)
    loss, _, grads = compiled_gradients(cell, params, trials, noise, {}, strengths)
    floats = {key: x.double() for key, x in vars(trials).items() if x.is_floating_point()}
    exact_loss, _, exact = autograd_gradients(
        cell,
        {key: value.double() for key, value in params.items()},
        trials.replace(**floats),
        {key: value.double() for key, value in noise.items()},
        {},
        {key: value.double() for key, value in strengths.items()},
    )
    torch.testing.assert_close(loss.double(), exact_loss, rtol=1e-5, atol=0)
    for key, value in exact.items():
        # float32 throughout, 1.1e-6 measured at 100 steps; a dropped term of any kind is above 1e-3.
        assert (grads[key] - value).norm() <= 1e-5 * value.norm() + 1e-7, key


@pytest.mark.parametrize("per_output", [False, True], ids=["steps", "outputs"])
@pytest.mark.parametrize("sizes", [(17, 9, 6, 2, 5), (8, 4, 3, 1, 1)], ids=str)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_every_loss_are_those_of_autograd(
    name: str, loss: Loss, sizes: tuple[int, ...], per_output: bool
) -> None:
    cell, (n, n_trials, n_steps, n_in, n_out) = CELLS[name], sizes
    network = Network(hidden_size=n, cell=cell.name, cell_options=dict(cell))
    params = initial_params(network, n_in, n_out, range(2))
    params["b_out"] += 20 * torch.randn(params["b_out"].shape, generator=torch.Generator().manual_seed(0))
    trials = some_trials(2, n_trials, n_steps, n_in, n_out)
    targets = trials.targets.softmax(-1) if loss.step == "sum" else (trials.targets > 0).float()
    targets = trials.targets if loss.decide is None else targets
    trials = trials.replace(targets=targets)
    if per_output:
        weights = trials.loss_weights.unsqueeze(-1) * torch.arange(1.0, n_out + 1)
        trials = trials.replace(loss_weights=weights, scored=weights > 0.5)
    found, missed, grads = compiled_gradients(cell, params, trials, {}, {}, {}, loss)
    floats = {key: x.double() for key, x in vars(trials).items() if x.is_floating_point()}
    exact_params = {key: value.double() for key, value in params.items()}
    exact_loss, expected, exact = autograd_gradients(cell, exact_params, trials.replace(**floats), {}, {}, {}, loss)
    # As above: float32 throughout, here with logits of up to 50, whose differences round by 4e-6.
    torch.testing.assert_close(found.double(), exact_loss, rtol=1e-5, atol=1e-6)
    assert torch.equal(missed, expected)
    assert missed.shape == (2, 0 if loss.decide is None else n_trials)
    for key, value in exact.items():
        assert (grads[key] - value).norm() <= 2e-5 * value.norm() + 1e-7, key


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["tanh", "gru"])
def test_gradients_on_every_task_are_those_of_autograd(name: str, task: str) -> None:
    """With the masks, weights and targets that the tasks have."""
    cell, made = CELLS[name], TASKS[task]()
    params = initial_params(Network(hidden_size=9, cell=name), made.input_size, made.output_size, range(2))
    trials = made.sample(Streams(range(2), "data"), 5)
    exact_trials = trials.replace(**{key: x.double() for key, x in vars(trials).items() if x.is_floating_point()})
    exact_params = {key: value.double() for key, value in params.items()}
    exact_loss, expected, exact = autograd_gradients(cell, exact_params, exact_trials, {}, {}, {}, made.loss)
    for gradients in (compiled_gradients, *((bptt_gradients,) if name == "tanh" else ())):
        loss, missed, grads = gradients(cell, params, trials, {}, {}, {}, made.loss)
        # As above: float32 throughout.
        torch.testing.assert_close(loss.double(), exact_loss, rtol=1e-5, atol=1e-6)
        assert torch.equal(missed, expected)
        for key, value in exact.items():
            assert (grads[key] - value).norm() <= 2e-5 * value.norm() + 1e-7, key


def test_an_own_loss_is_not_compiled() -> None:
    own = replace(LOSSES["mse"], name="mine", kernel=None)
    assert backend_for(TanhCell(), loss=own) == "bptt"
    with pytest.raises(
        UserError, match=r"^backend 'compiled' does not serve cell 'tanh' under the loss 'mine' on device"
    ):
        checked_backend("compiled", TanhCell(), "cpu", (), own)


@pytest.mark.parametrize("clip_norm", [1e-3, 1e3], ids=["clipped", "free"])
@pytest.mark.parametrize("cell", ["tanh", "gru"])
def test_updates_are_those_of_torch(cell: str, clip_norm: float) -> None:
    network, rates = Network(hidden_size=20, cell=cell), torch.tensor([1e-3, 1e-2])
    params = initial_params(network, 3, 2, range(2))
    done = {}
    for backend, make in (("autograd", Updates), ("compiled", CompiledUpdates)):
        flat = flatten(params).clone()
        adam = Adam().start(flat, Groups.plain(flat.shape[1]))
        update = make(network.build_cell(), backend, flat, params, adam, clip_norm, Costs())
        found = [update(some_trials(2, trials, 7, 3, 2), {}, rates) for trials in (8, 8, 11)]  # the last is larger
        done[backend] = (
            flat,
            torch.stack([loss for loss, _, _ in found]),
            torch.stack([norm for _, norm, _ in found]),
        )
    for ours, reference in zip(done["compiled"], done["autograd"], strict=True):
        # Adam divides by the gradient's size: entries near 0 are moved by their rounding, up to 1e-5 of a rate 1e-2.
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("noisy", [False, True], ids=["clean", "noisy"])
@pytest.mark.parametrize("name", CELLS)
def test_a_diverged_member_leaves_its_neighbours_bits_alone(name: str, noisy: bool) -> None:
    cell = CELLS[name]
    network = Network(hidden_size=33, cell=cell.name, sigma_rec=0.1 if noisy else 0.0)
    params, trials = initial_params(network, 3, 2, range(3)), some_trials(3, 5, 6, 3, 2)
    noise = draw_noise(network, Streams(range(3), "noise"), (5, 6), 3)
    poisoned = {key: value.clone() for key, value in params.items()}
    poisoned["W_rec"][1, 0, 0] = float("nan")
    results = []
    for given in (params, poisoned):
        flat = flatten(given).clone()
        adam = Adam().start(flat, Groups.plain(flat.shape[1]))
        update = CompiledUpdates(cell, "compiled", flat, given, adam, 1.0, Costs())
        for _ in range(3):
            loss, norm, _ = update(trials, noise, torch.full((3,), 1e-2))
        results.append((flat, loss, norm))
    (flat, loss, norm), (beside, loss_beside, norm_beside) = results
    for k in (0, 2):
        assert torch.equal(flat[k], beside[k])
        assert loss[k] == loss_beside[k]
    assert loss_beside[1].isnan()
    assert norm_beside[1].isnan()
    assert beside[1].isnan().all(), "as with torch's clipping, a norm that is no number leaves none"
    assert norm.isfinite().all()


def test_without_numba_torch_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)  # as where it cannot be imported
    assert backend_for(TanhCell()) == "bptt"
    training = Training(batch_size=4, steps_per_epoch=2, max_epochs=5)
    member = train_stack(FlipFlop(channels=1, n_steps=5), Network(hidden_size=4), training, [0])[0]
    assert member.provenance["backend"] == "bptt"


def test_the_compiled_backend_is_taken_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    kept = CompiledUpdates.__call__

    def counted(self, *args):
        calls.append(1)
        return kept(self, *args)

    monkeypatch.setattr(CompiledUpdates, "__call__", counted)
    training = Training(batch_size=4, steps_per_epoch=2, max_epochs=5)
    member = train_stack(FlipFlop(channels=1, n_steps=5), Network(hidden_size=4), training, [0])[0]
    assert member.provenance["backend"] == "compiled"
    assert len(calls) == 10
