"""Training through recurrent maps: gradients pulled back, on every backend, each member by itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.networks import (
    RECURRENT_MAPS,
    Network,
    Params,
    acting_params,
    forward,
    initial_params,
    made_by_map,
    trained_params,
)
from degeneracy.networks.recurrent_maps import LowRank
from degeneracy.tasks import FlipFlop
from degeneracy.training import Training, train_stack
from degeneracy.training.mapped import MappedState, pulled_back
from tests.training.test_training import assert_same

TASK = FlipFlop(channels=2, n_steps=12)
SHORT = Training(batch_size=8, steps_per_epoch=5, max_epochs=2, patience=1, learning_rate=0.01)
MAPS = [name for name in RECURRENT_MAPS if name != "dense"]


def network(recurrent: Any, cell: str = "tanh", **options: Any) -> Network:
    return Network(hidden_size=10, cell=cell, recurrent=recurrent, **options)


@pytest.mark.parametrize("cell", ["tanh", "relu", "gru", "lstm", "leaky_tau"])
@pytest.mark.parametrize("recurrent", MAPS)
def test_a_pulled_back_gradient_is_that_of_autograd(recurrent: str, cell: str) -> None:
    net = network(recurrent, cell)
    trained = {name: value.double() for name, value in trained_params(net, 2, 2, [0, 1]).items()}
    inputs = Streams([0, 1], "data").normal((4, 9, 2), dtype=torch.float64)

    def loss(params: Params) -> Tensor:
        return forward(net.build_cell(), params, inputs, {})[1].square().sum()

    leaves = {name: value.clone().requires_grad_() for name, value in trained.items()}
    recurrent_map, made = net.recurrent, made_by_map(net)
    right = torch.autograd.grad(loss(acting_params(recurrent_map, made, leaves)), list(leaves.values()))
    acted = acting_params(recurrent_map, made, trained).items()
    acting = {name: value.clone().requires_grad_() for name, value in acted}
    of_acting = torch.autograd.grad(loss(acting), list(acting.values()))
    found = pulled_back(recurrent_map, made, trained, dict(zip(acting, of_acting, strict=True)))
    assert list(found) == list(leaves)
    for name, grad in zip(leaves, right, strict=True):
        assert grad.abs().max() > 1e-3, name
        # float64 rounding; products of 10 terms.
        torch.testing.assert_close(found[name], grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("recurrent", MAPS)
def test_every_backend_trains_it_alike(recurrent: str) -> None:
    members = {
        backend: train_stack(TASK, network(recurrent), SHORT.for_task(TASK), [0], backend=backend)[0]
        for backend in ("autograd", "bptt", "compiled")
    }
    right = members["autograd"]
    for backend, member in members.items():
        assert member.provenance["backend"] == backend
        for name, value in right.final.items():
            # 10 updates of 0.01 from gradients that differ by float32 rounding, 1e-6 of their size.
            torch.testing.assert_close(member.final[name], value, rtol=0, atol=2e-4)
            assert (value - right.initial[name]).abs().max() > 0.01, name
        np.testing.assert_allclose(member.history.gradient_norm, right.history.gradient_norm, rtol=1e-3)


@pytest.mark.parametrize("cell", ["tanh", "gru"])
@pytest.mark.parametrize("recurrent", MAPS)
def test_what_the_map_promises_holds_after_training(recurrent: str, cell: str) -> None:
    net = network(recurrent, cell)
    training = SHORT.replace(learning_rate=0.1, checkpoints=(0.5,), max_epochs=4).for_task(TASK)
    (member,) = train_stack(TASK, net, training, [3])
    assert torch.equal(member.initial["W_rec"], initial_params(net, 2, 2, [3])["W_rec"][0])
    for params in (member.initial, member.final, member.checkpoints[0.5]):
        assert net.recurrent.holds(params["W_rec"][None]).all()
        assert params.keys() == {*net.build_cell().parameters(2, 10), "W_out", "b_out"}
    parts = {name.removeprefix("W_rec."): value[None] for name, value in member.map_parts.items()}
    assert torch.equal(net.recurrent.acting(parts)[0], member.final["W_rec"])


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("recurrent", MAPS)
def test_a_member_is_the_same_alone_and_in_company(recurrent: str, optimiser: str) -> None:
    """Though some end before others, and the rest go on without them."""
    task = FlipFlop(channels=2, n_steps=12, threshold=0.55)
    training = SHORT.replace(max_epochs=9, patience=0, optimiser=optimiser).for_task(task)
    if optimiser == "sgd":
        training = training.replace(learning_rate=0.5)
    together = train_stack(task, network(recurrent), training, [0, 1, 2, 3])
    for member in together:
        (alone,) = train_stack(task, network(recurrent), training, [member.seed])
        assert_same(alone, member)
        assert alone.map_parts.keys() == member.map_parts.keys()
        assert all(torch.equal(alone.map_parts[name], value) for name, value in member.map_parts.items())
    if optimiser == "adam":
        assert len({len(member.history.epoch_loss) for member in together}) > 1, "all ended together"


def first_step(fields: Mapping[str, Any], **of_training: Any) -> tuple[Any, Network]:
    net = network({"name": "low_rank", "rank": 3}, **fields)
    training = SHORT.replace(max_epochs=1, patience=0, steps_per_epoch=1, optimiser="sgd", **of_training)
    return train_stack(TASK, net, training.for_task(TASK), [0])[0], net


@pytest.mark.parametrize("regularisers", [{}, {"l2": 0.3}])
def test_gradients_are_clipped_by_what_is_trained(regularisers: dict[str, float]) -> None:
    """One step of gradient descent of size 1: what is trained moves by the clipped norm, penalties on W included."""
    for clip, of in ((1e9, 1.0), (0.01, None)):
        member, net = first_step({}, learning_rate=1.0, clip_norm=clip, regularisers=regularisers)
        before = trained_params(net, 2, 2, [0])
        after = {**member.final, **member.map_parts}
        moved = torch.cat([(before[name][0] - after[name]).flatten() for name in before]).norm().item()
        norm = float(member.history.gradient_norm[0])
        assert norm > 0.05
        # float32 rounding of weights near 0.3, 3e-8, in 130 of them; 1e-6 is added to the norm.
        assert moved == pytest.approx(norm if of else 0.01, rel=2e-4)


def test_penalties_are_of_the_weights_that_act() -> None:
    """By hand: d (s |L R'|^2) / dL = 2 s (L R') R."""
    plain, net = first_step({}, learning_rate=1.0, clip_norm=1e9)
    penalised, _ = first_step({}, learning_rate=1.0, clip_norm=1e9, regularisers={"l2": 0.3})
    start = trained_params(net, 2, 2, [0])
    left, right = (start[f"W_rec.{part}"][0] for part in ("left", "right"))
    pull = plain.map_parts["W_rec.left"] - penalised.map_parts["W_rec.left"]
    torch.testing.assert_close(pull, 2 * 0.3 * (left @ right.T) @ right, rtol=1e-4, atol=1e-6)  # float32


def test_coupled_members_keep_their_maps() -> None:
    training = SHORT.replace(coupling={"strength": 0.5, "n_trials": 4, "n_samples": 16}).for_task(TASK)
    members = train_stack(TASK, network("dale"), training, [0, 1, 2])
    alone = train_stack(TASK, network("dale"), SHORT.for_task(TASK), [0])[0]
    for member in members:
        assert network("dale").recurrent.holds(member.final["W_rec"][None]).all()
    assert not torch.equal(members[0].final["W_rec"], alone.final["W_rec"])


def test_steps_given_without_clipping() -> None:
    """`update` is the same step with nothing clipped."""
    net, training = network(LowRank(rank=2)), SHORT.for_task(TASK)
    acting = torch.cat([value.flatten(1) for value in initial_params(net, 2, 2, [0]).values()], 1)
    grads, rates = torch.randn(acting.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0.01])
    ends = []
    for clipped in (False, True):
        state, flat = MappedState.start(TASK, net, training, [0], acting), acting.clone()
        if clipped:
            state.clipped_update(flat, grads.clone(), rates, 1e9, grads.new_ones(1))
        else:
            state.update(flat, grads.clone(), rates)
        ends.append(flat)
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], acting)
