"""The compiled backend: products against numpy, gradients against autograd in float64, updates against torch."""

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from degeneracy import networks
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import Network, draw_noise, initial_params
from degeneracy.networks.cell import Cell, Kernel, Params
from degeneracy.networks.gated import GRUCell, LSTMCell
from degeneracy.networks.leaky_tau import LeakyTauCell
from degeneracy.networks.min_gru import MinGRUCell
from degeneracy.networks.pointwise import LeakyTanhCell, ReluCell, TanhCell
from degeneracy.tasks import LOSSES, TASKS, FlipFlop, Loss, Trials
from degeneracy.training import Training, train_stack
from degeneracy.training.backends import BACKENDS, Batch, backend_for, checked_backend, serves
from degeneracy.training.backends.autograd import Autograd
from degeneracy.training.backends.compiled import Compiled
from degeneracy.training.backends.tiles import LEAST_ROWS, WIDTH, product
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import Groups, clip_norms, flatten, views
from degeneracy.training.optimisers import Adam
from degeneracy.training.regularisers import REGULARISERS
from degeneracy.training.updates import Updates


class LeakyRelu(LeakyTanhCell):
    """Leaky rectified units, whose kernel is stated and which no built-in cell has."""

    name: ClassVar[str] = "leaky_relu"
    state_range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    @property
    def kernel(self) -> Kernel:
        return Kernel(name="relu", leak=self.alpha)

    def update(self, params: Params, state: torch.Tensor, drive: torch.Tensor, recurrent: torch.Tensor) -> torch.Tensor:
        del params
        return (1 - self.alpha) * state + self.alpha * torch.relu(drive + recurrent)


@pytest.fixture(autouse=True)
def own_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.CELLS, "leaky_relu", LeakyRelu)


CELLS: dict[str, Cell] = {
    "tanh": TanhCell(),
    "relu": ReluCell(),
    "leaky rate": LeakyTanhCell(form="rate"),
    "leaky current": LeakyTanhCell(form="current"),
    "no leak, current": LeakyTanhCell(form="current", dt_ms=10.0, tau_ms=10.0),
    "gru": GRUCell(),
    "lstm": LSTMCell(),
    "trained leaks, rate": LeakyTauCell(form="rate"),
    "trained leaks, current": LeakyTauCell(form="current"),
    "leaky relu": LeakyRelu(),
}


def some_params(network: Network, n_in: int, n_out: int, seeds: range) -> Params:
    """Parameters before training; those that start at 0 are moved."""
    params = initial_params(network, n_in, n_out, seeds)
    if "log_tau" in params:
        params["log_tau"] += Streams(seeds, "tau").normal(params["log_tau"].shape[1:])
    return params


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


# A strength per member, large enough that the penalties' share of the gradient shows.
STRENGTHS = {
    "l2_activity": torch.tensor([3.0, 0.5]),
    "temporal_consistency": torch.tensor([0.0, 20.0]),
}


def double(batch: Batch) -> Batch:
    """The same in float64."""
    floats = {key: x.double() for key, x in vars(batch.trials).items() if x.is_floating_point()}
    return replace(
        batch,
        params={key: value.double() for key, value in batch.params.items()},
        start=None if batch.start is None else batch.start.double(),
        trials=batch.trials.replace(**floats),
        noise={key: value.double() for key, value in batch.noise.items()},
        strengths={key: value.double() for key, value in batch.strengths.items()},
    )


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
    strengths = STRENGTHS if penalised else {}
    sigma = {"sigma_rec": 0.3, "sigma_in": 0.2} if noisy else {}
    network = Network(hidden_size=n, cell=cell.name, cell_options=dict(cell), **sigma)
    params = some_params(network, n_in, n_out, range(2))
    trials = some_trials(2, n_trials, n_steps, n_in, n_out)
    trials = trials.replace(valid=shortened(trials.valid))
    noise = draw_noise(network, Streams(range(2), "noise"), (n_trials, n_steps), n_in)
    batch = Batch(cell=cell, params=params, trials=trials, noise=noise, strengths=strengths)
    loss, _, grads = Compiled().gradients(batch)
    exact_loss, _, exact = Autograd().gradients(double(batch))
    torch.testing.assert_close(loss.double(), exact_loss, rtol=1e-5, atol=0)
    for key, value in exact.items():
        # float32 throughout, 1.1e-6 measured at 100 steps; a dropped term of any kind is above 1e-3.
        assert (grads[key] - value).norm() <= 1e-5 * value.norm() + 1e-7, key


@pytest.mark.parametrize("penalised", [False, True], ids=["plain", "penalised"])
@pytest.mark.parametrize("backend", ["bptt", "compiled"])
@pytest.mark.parametrize("name", CELLS)
def test_states_before_the_first_step_are_those_that_are_given(name: str, backend: str, penalised: bool) -> None:
    cell = CELLS[name]
    if not serves(backend, cell):
        pytest.skip("another backend's cell")
    network = Network(hidden_size=17, cell=cell.name, cell_options=dict(cell))
    params, trials = some_params(network, 3, 2, range(2)), some_trials(2, 9, 6, 3, 2)
    start = Streams(range(2), "start").normal((9, cell.state_size(17)))
    strengths = STRENGTHS if penalised else {}
    taken, plain = BACKENDS[backend](), Batch(cell=cell, params=params, trials=trials, strengths=strengths)
    batch = replace(plain, start=start)
    zeros = taken.gradients(plain)
    loss, _, grads = taken.gradients(batch)
    exact_loss, _, exact = Autograd().gradients(double(batch))
    torch.testing.assert_close(loss.double(), exact_loss, rtol=1e-5, atol=0)  # as below
    for key, value in exact.items():
        assert (grads[key] - value).norm() <= 1e-5 * value.norm() + 1e-7, key
    again = taken.gradients(plain)  # nothing of a start is left for the next batch
    assert torch.equal(again[0], zeros[0])
    assert not torch.equal(again[0], loss)
    for key, value in zeros[2].items():
        assert torch.equal(again[2][key], value), key


@pytest.mark.parametrize("form", ["rate", "current"])
def test_slow_units_have_leaks_of_exact_gradients_too(form: str) -> None:
    """A step moves a state by a ten-thousandth: what it moved by is lost in rounding if it is taken from the states."""
    cell = LeakyTauCell(form=form, dt_ms=0.1, tau_ms=1000.0)
    network = Network(hidden_size=17, cell="leaky_tau", cell_options=dict(cell))
    params, trials = some_params(network, 3, 2, range(2)), some_trials(2, 9, 30, 3, 2)
    batch = Batch(cell=cell, params=params, trials=trials, start=Streams(range(2), "start").normal((9, 17)))
    exact, grad = Autograd().gradients(double(batch))[2]["log_tau"], Compiled().gradients(batch)[2]["log_tau"]
    assert (grad - exact).norm() <= 5e-6 * exact.norm()  # float32 over 30 steps, 1e-6; by differences of states 4e-5


@pytest.mark.parametrize("per_output", [False, True], ids=["steps", "outputs"])
@pytest.mark.parametrize("sizes", [(17, 9, 6, 2, 5), (8, 4, 3, 1, 1)], ids=str)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_every_loss_are_those_of_autograd(
    name: str, loss: Loss, sizes: tuple[int, ...], per_output: bool
) -> None:
    cell, (n, n_trials, n_steps, n_in, n_out) = CELLS[name], sizes
    network = Network(hidden_size=n, cell=cell.name, cell_options=dict(cell))
    params = some_params(network, n_in, n_out, range(2))
    params["b_out"] += 20 * torch.randn(params["b_out"].shape, generator=torch.Generator().manual_seed(0))
    trials = some_trials(2, n_trials, n_steps, n_in, n_out)
    targets = trials.targets.softmax(-1) if loss.step == "sum" else (trials.targets > 0).float()
    targets = trials.targets if loss.decide is None else targets
    trials = trials.replace(targets=targets)
    if per_output:
        weights = trials.loss_weights.unsqueeze(-1) * torch.arange(1.0, n_out + 1)
        trials = trials.replace(loss_weights=weights, scored=weights > 0.5)
    batch = Batch(cell=cell, params=params, trials=trials, loss=loss)
    found, missed, grads = Compiled().gradients(batch)
    exact_loss, expected, exact = Autograd().gradients(double(batch))
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
    batch = Batch(cell=cell, params=params, trials=trials, loss=made.loss)
    exact_loss, expected, exact = Autograd().gradients(double(batch))
    for backend in ("compiled", *(("bptt",) if name == "tanh" else ())):
        loss, missed, grads = BACKENDS[backend]().gradients(batch)
        # As above: float32 throughout.
        torch.testing.assert_close(loss.double(), exact_loss, rtol=1e-5, atol=1e-6)
        assert torch.equal(missed, expected)
        for key, value in exact.items():
            assert (grads[key] - value).norm() <= 2e-5 * value.norm() + 1e-7, key


def test_an_own_loss_is_not_compiled() -> None:
    own = replace(LOSSES["mse"], name="mine", kernel=None)
    assert backend_for(TanhCell(), loss=own) == "bptt"
    with pytest.raises(UserError, match=r"^backend 'compiled' does not serve cell 'tanh' under the loss 'mine'"):
        checked_backend("compiled", TanhCell(), "cpu", (), own)
    renamed, other = (replace(LOSSES["mse"], name="mine", **changed) for changed in ({}, {"slope": torch.lerp}))
    assert (backend_for(TanhCell(), loss=renamed), backend_for(TanhCell(), loss=other)) == ("compiled", "bptt")
    assert (backend_for(MinGRUCell(), loss=renamed), backend_for(MinGRUCell(), loss=other)) == ("scan", "autograd")


@pytest.mark.parametrize("changed", ["penalty", "gradient"])
def test_a_listed_penalty_with_another_function_is_not_compiled(changed: str) -> None:
    listed = REGULARISERS["l2_activity"]
    other = replace(listed, **{changed: torch.mul})
    assert Compiled.serves(TanhCell(), LOSSES["mse"], [listed], "cpu")
    assert not Compiled.serves(TanhCell(), LOSSES["mse"], [other], "cpu")


@pytest.mark.parametrize("clip_norm", [1e-3, 1e3], ids=["clipped", "free"])
@pytest.mark.parametrize("cell", ["tanh", "gru"])
def test_updates_are_those_of_torch(cell: str, clip_norm: float) -> None:
    network, rates = Network(hidden_size=20, cell=cell), torch.tensor([1e-3, 1e-2])
    params = initial_params(network, 3, 2, range(2))
    batches = [some_trials(2, n_trials, 7, 3, 2) for n_trials in (8, 8, 11)]  # the last is larger
    flat, there = flatten(params).clone(), flatten(params).clone()
    adam, reference = (Adam().start(each, Groups.plain(each.shape[1])) for each in (flat, there))
    update = Updates(network.build_cell(), "compiled", flat, params, adam, clip_norm, Costs())
    for trials in batches:
        loss, norm, _ = update(trials, {}, rates)
        batch = Batch(cell=network.build_cell(), params=views(there, params), trials=trials)
        expected, _, grads = Autograd().gradients(batch)
        flat_grads = flatten(grads)
        norms = clip_norms(flat_grads, clip_norm, torch.ones(1))
        reference.update(there, flat_grads, rates)
        for ours, theirs in ((loss, expected), (norm, norms), (flat, there)):
            # Adam divides by the gradient's size: entries near 0 move by their rounding, up to 1e-5 of a rate 1e-2.
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


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
        update = Updates(cell, "compiled", flat, given, adam, 1.0, Costs())
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


def test_the_compiled_backend_is_taken_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    kept = Compiled.write_gradients

    def counted(self, *args):
        calls.append(1)
        return kept(self, *args)

    monkeypatch.setattr(Compiled, "write_gradients", counted)
    training = Training(batch_size=4, steps_per_epoch=2, max_epochs=5)
    member = train_stack(FlipFlop(channels=1, n_steps=5), Network(hidden_size=4), training, [0])[0]
    assert member.provenance["backend"] == "compiled"
    assert len(calls) == 10
