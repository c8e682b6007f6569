"""Fast ways of taking gradients: every registered cell and penalty against plain autograd, newcomers among them.

The gradients of a first update are written out here from the definitions. What a fast way does not know must be
taken by another or refused; left out in silence it would change the norm of the gradient that training records.
"""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import CELLS, Network, draw_noise, forward, initial_params
from degeneracy.networks.cell import Kernel, Parameter, Params
from degeneracy.networks.gated import GRUCell
from degeneracy.networks.pointwise import LeakyTanhCell, TanhCell
from degeneracy.tasks import FlipFlop
from degeneracy.training import REGULARISERS, Training, train_stack
from degeneracy.training.backends import BACKENDS, Batch, backend_for, checked_backend, serves
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import Groups, flatten
from degeneracy.training.optimisers import Adam
from degeneracy.training.regularisers import Regulariser, on_weights
from degeneracy.training.updates import Updates

TASK = FlipFlop(channels=2, n_steps=9)
ONCE = Training(batch_size=7, steps_per_epoch=1, max_epochs=1, patience=0)


class Steeper(TanhCell):
    """Another step with the same parameters."""

    name: ClassVar[str] = "steeper"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return super().step(params, 2 * state, drive)


class Paced(GRUCell):
    """A parameter more."""

    name: ClassVar[str] = "paced"

    def parameters(self, input_size: int, hidden_size: int) -> dict[str, Parameter]:
        pace = Parameter(axes=("unit",), sizes=(hidden_size,), role="unit")
        return {**super().parameters(input_size, hidden_size), "pace": pace}

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        pace = torch.sigmoid(params["pace"])[:, None]
        return state + pace * (super().step(params, state, drive) - state)


class Feedforward(LeakyTanhCell):
    """A parameter less: nothing of W_rec acts."""

    name: ClassVar[str] = "feedforward"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        del params
        return (1 - self.alpha) * state + self.alpha * torch.tanh(drive)


OWN_CELLS = (Steeper, Paced, Feedforward)


def _fourth_power(hidden: Tensor, valid: Tensor) -> Tensor:
    return (hidden.pow(4) * valid.unsqueeze(-1)).sum((1, 2, 3)) / valid.sum((1, 2))


def _fourth_power_gradient(hidden: Tensor, valid: Tensor) -> Tensor:
    return 4 * hidden.pow(3) * (valid / valid.sum((1, 2), keepdim=True)).unsqueeze(-1)


FOURTH_POWER = Regulariser(
    summary="a third penalty on states",
    source="this test",
    on="states",
    penalty=_fourth_power,
    gradient=_fourth_power_gradient,
)
COSTS = [
    (),
    *((name,) for name in REGULARISERS),
    tuple(REGULARISERS),
    ("fourth_power",),
    ("fourth_power", "l1", "l2_activity"),
]
CASES = [(name, {}) for name in CELLS] + [("leaky_tanh", {"form": "current"})] + [(own.name, {}) for own in OWN_CELLS]


@pytest.fixture(autouse=True)
def newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells and a penalty that are registered and known to no fast way."""
    for own in OWN_CELLS:
        monkeypatch.setitem(CELLS, own.name, own)
    monkeypatch.setitem(REGULARISERS, "fourth_power", FOURTH_POWER)


def strengths(costs: tuple[str, ...]) -> dict[str, float]:
    """Strong enough that each changes the norm of the gradient by ten times the tolerance or more."""
    return {name: 0.05 if REGULARISERS[name].on == "weights" else 5.0 for name in costs}


def plain_norm(network: Network, costs: dict[str, float]) -> float:
    """The norm of the gradient of seed 0's first update, by autograd of the task's loss plus all penalties."""
    cell, n = network.build_cell(), network.hidden_size
    leaves = {
        name: value.double().requires_grad_()
        for name, value in initial_params(network, TASK.input_size, TASK.output_size, [0]).items()
    }
    trials = TASK.sample(Streams([0], "data"), ONCE.batch_size)
    noise = draw_noise(network, Streams([0], "noise"), (ONCE.batch_size, TASK.n_steps), TASK.input_size)
    states, outputs = forward(cell, leaves, trials.inputs.double(), {k: v.double() for k, v in noise.items()})
    weights = trials.loss_weights.unsqueeze(-1)
    cost = ((outputs - trials.targets).square() * weights).sum() / (weights.sum() * TASK.output_size)
    for name, strength in costs.items():
        of = (
            (leaves["W_rec"].unflatten(1, (-1, n)),)
            if REGULARISERS[name].on == "weights"
            else (cell.hidden(states), trials.valid.double())
        )
        cost = cost + strength * REGULARISERS[name].penalty(*of).sum()
    grads = torch.autograd.grad(cost, list(leaves.values()), allow_unused=True)
    return float(torch.cat([grad.flatten() for grad in grads if grad is not None]).norm())


@pytest.mark.parametrize("costs", COSTS, ids=lambda costs: "+".join(costs) or "plain")
@pytest.mark.parametrize(("cell", "options"), CASES, ids=lambda case: str(case))
def test_training_takes_the_gradient_of_all_that_is_asked_for(
    cell: str, options: dict[str, str], costs: tuple[str, ...]
) -> None:
    network = Network(hidden_size=6, cell=cell, cell_options=options, sigma_rec=0.2, sigma_in=0.1)
    training = ONCE.replace(regularisers=strengths(costs)).for_task(TASK)
    if on_weights(costs) and not network.build_cell().between_units:
        with pytest.raises(UserError, match=f"of recurrent weights, and cell '{cell}' has none"):
            train_stack(TASK, network, training, [0])
        return
    expected = plain_norm(network, strengths(costs))
    if costs:
        less = plain_norm(network, strengths(costs[1:]))
        assert abs(less - expected) > 1e-4 * expected, "a penalty that were left out would show"
    served = [backend for backend in BACKENDS if serves(backend, network.build_cell(), strengths=costs)]
    assert backend_for(network.build_cell(), strengths=costs) == served[-1]
    for backend in ("auto", *served):
        (member,) = train_stack(TASK, network, training, [0], backend=backend)
        # float32, 9 steps: rounding near 1e-6.
        assert member.history.gradient_norm[0] == pytest.approx(expected, rel=1e-5), backend
    for backend in BACKENDS.keys() - set(served):
        with pytest.raises(UserError, match=f"backend '{backend}' does not serve cell '{cell}'"):
            train_stack(TASK, network, training, [0], backend=backend)


@pytest.mark.parametrize("penalty", [name for name, entry in REGULARISERS.items() if entry.on == "states"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("cell", "options"), CASES, ids=lambda case: str(case))
def test_every_penalty_changes_the_gradient_on_every_backend_that_serves_it(
    cell: str, options: dict[str, str], backend: str, penalty: str
) -> None:
    network = Network(hidden_size=6, cell=cell, cell_options=options)
    built, params = network.build_cell(), initial_params(network, TASK.input_size, TASK.output_size, [0, 1])
    if not serves(backend, built, strengths=[penalty]):
        with pytest.raises(UserError, match=f"backend '{backend}' does not serve cell '{cell}'"):
            checked_backend(backend, built, "cpu", [penalty])
        return
    plain = Batch(cell=built, params=params, trials=TASK.sample(Streams([0, 1], "data"), 5))
    batch = replace(plain, strengths={penalty: torch.tensor([5.0, 10.0])})
    without, grads, expected = (
        flatten(BACKENDS[name]().gradients(each)[2])
        for name, each in ((backend, plain), (backend, batch), ("autograd", batch))
    )
    for k in range(2):
        # float32: the same to 1e-6, and far from what the task alone gives.
        assert (grads[k] - expected[k]).norm() <= 1e-5 * expected[k].norm()
        assert (grads[k] - without[k]).norm() >= 1e-2 * expected[k].norm()


def test_newcomers_are_served_by_no_way_that_does_not_know_them() -> None:
    for own in OWN_CELLS:
        assert backend_for(own()) == "autograd"
    assert backend_for(TanhCell(), strengths=["l2_activity", "l1"]) == "compiled"
    assert backend_for(TanhCell(), strengths=["l2_activity", "fourth_power"]) == "bptt"
    assert backend_for(GRUCell(), strengths=["fourth_power"]) == "autograd"


def test_another_penalty_under_a_known_name_is_another_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled gradients know terms, not names."""
    monkeypatch.setitem(REGULARISERS, "l2_activity", FOURTH_POWER)
    network, costs = Network(hidden_size=6), {"l2_activity": 5.0}
    (member,) = train_stack(TASK, network, ONCE.replace(regularisers=costs).for_task(TASK), [0])
    assert member.history.gradient_norm[0] == pytest.approx(plain_norm(network, costs), rel=1e-5)
    assert member.provenance["backend"] == "bptt"


def test_the_compiled_gradients_refuse_a_term_that_they_lack() -> None:
    params = initial_params(Network(hidden_size=6), 2, 2, [0])
    flat = flatten(params)
    adam = Adam().start(flat, Groups.plain(flat.shape[1]))
    with pytest.raises(UserError, match="backend 'compiled' does not serve cell 'tanh' with fourth_power"):
        Updates(TanhCell(), "compiled", flat, params, adam, 1.0, Costs(strengths={"fourth_power": torch.ones(1)}))


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(UserError, match="unknown backend 'compild'; did you mean 'compiled'"):
        train_stack(TASK, Network(hidden_size=6), ONCE.for_task(TASK), [0], backend="compild")


def test_a_penalty_is_on_weights_or_states() -> None:
    with pytest.raises(UserError, match="on = 'outputs' is wrong"):
        Regulariser(summary="", source="", on="outputs", penalty=_fourth_power, gradient=_fourth_power_gradient)


def test_a_cell_that_uses_less_is_trained_and_the_rest_stays() -> None:
    member = train_stack(TASK, Network(hidden_size=6, cell="feedforward"), ONCE.for_task(TASK), [0])[0]
    assert torch.equal(member.final["W_rec"], member.initial["W_rec"])
    assert not torch.equal(member.final["W_in"], member.initial["W_in"])


class Renamed(TanhCell):
    """Nothing is overridden, and still it has to say for itself which kernel serves it."""

    name: ClassVar[str] = "renamed"


class Stated(LeakyTanhCell):
    """Another step that is no other, with the kernel that serves it stated."""

    name: ClassVar[str] = "stated"
    signals: ClassVar[bool] = True

    @property
    def kernel(self) -> Kernel:
        return Kernel(name="tanh", leak=self.alpha)

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        rate = torch.tanh(drive + torch.matmul(state, params["W_rec"].mT))
        return state + self.alpha * (rate - state)


class RectifiedCurrent(Stated):
    """A form that no hand-written way has with this function of the units."""

    name: ClassVar[str] = "rectified_current"

    @property
    def kernel(self) -> Kernel:
        return Kernel(name="relu", leak=self.alpha, current=True)


class Below(Stated):
    """A subclass of one that states it."""

    name: ClassVar[str] = "below"


def test_what_fast_ways_rely_on_is_stated_and_never_inherited() -> None:
    for kind in (TanhCell, LeakyTanhCell, GRUCell, Stated):
        assert kind().kernel is not None
        assert kind().signals
        assert backend_for(kind()) == "compiled"
    assert backend_for(RectifiedCurrent()) == "autograd"
    for kind in (*OWN_CELLS, Renamed, Below):
        assert kind().kernel is None
        assert not kind().signals
        assert not kind().maximal_update
        assert backend_for(kind()) == "autograd"
