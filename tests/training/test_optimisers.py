"""Optimisers, clipping and schedules: equal to torch's, member by member, and no member's numbers reach another."""

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.tasks import FlipFlop
from degeneracy.training import REGULARISERS, Regulariser, train_stack
from degeneracy.training.flat_parameters import Groups, clip_norms, flatten, views
from degeneracy.training.optimisers import OPTIMISERS, SGD, Adam, AdamState, AdamW
from degeneracy.training.schedules import SCHEDULES, Constant, CosineWarmRestarts, ReduceOnPlateau

PEERS = [
    (Adam(), torch.optim.Adam, {}),
    (Adam(beta1=0.5, beta2=0.9, eps=1e-3), torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-3}),
    (AdamW(weight_decay=0.3), torch.optim.AdamW, {"weight_decay": 0.3}),
    (SGD(), torch.optim.SGD, {}),
    (SGD(momentum=0.9, weight_decay=0.1), torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (SGD(momentum=0.8, nesterov=True), torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
]


@pytest.mark.parametrize(("optimiser", "peer", "options"), PEERS)
def test_an_optimiser_is_torchs_with_a_rate_of_each_members_own(optimiser, peer, options) -> None:
    start = Streams(range(3), "initialisation").normal((10,), dtype=torch.float64)
    rates = torch.tensor([1e-1, 1e-3, 1e-2], dtype=torch.float64)
    ours, state = start.clone(), optimiser.start(start, Groups.plain(start.shape[1]))
    theirs = [torch.nn.Parameter(start[k].clone()) for k in range(3)]
    peers = [peer([p], lr=rate.item(), **options) for p, rate in zip(theirs, rates, strict=True)]
    stream = Streams(range(3), "gradients")
    for update in range(200):
        # Gradients of very different sizes, so that eps and the bias corrections show.
        grads = stream.normal((10,), dtype=torch.float64) * 10.0 ** (-update % 12)
        state.update(ours, grads, rates)
        for p, each, grad in zip(theirs, peers, grads, strict=True):
            p.grad = grad.clone()
            each.step()
    torch.testing.assert_close(ours, torch.stack([p.detach() for p in theirs]), rtol=1e-10, atol=1e-12)


def test_every_optimiser_has_peers() -> None:
    assert {type(optimiser) for optimiser, *_ in PEERS} == set(OPTIMISERS.values())


def test_the_first_adam_update_by_hand() -> None:
    # m / (1 - beta1) = g, v / (1 - beta2) = g^2: the step is rate * g / (|g| + eps) = rate * sign(g) (g >> 1e-8).
    params = torch.zeros(1, 3, dtype=torch.float64)
    adam = Adam().start(params, Groups.plain(3))
    adam.update(params, torch.tensor([[2.0, -0.01, 0.0]]).double(), torch.tensor([0.1]).double())
    assert params[0].tolist() == pytest.approx([-0.1, 0.1, 0.0], abs=1e-7)  # eps / |g| = 1e-6 of 0.1


@pytest.mark.parametrize("optimiser", [Adam(), AdamW(weight_decay=0.1), SGD(momentum=0.9)])
def test_a_selected_member_goes_on_as_it_was(optimiser) -> None:
    stream = Streams(range(3), "gradients")
    grads = [stream.normal((4,)) for _ in range(6)]
    rates = torch.tensor([0.1, 0.2, 0.3])
    whole, state = torch.zeros(3, 4), optimiser.start(torch.zeros(3, 4), Groups.plain(4))
    for grad in grads:
        state.update(whole, grad, rates)
    part, left = torch.zeros(3, 4), optimiser.start(torch.zeros(3, 4), Groups.plain(4))
    for grad in grads[:3]:
        left.update(part, grad, rates)
    index = torch.tensor([2, 0])
    left, part = left.select(index), part[index]
    for grad in grads[3:]:
        left.update(part, grad[index], rates[index])
    assert torch.equal(part, whole[index])


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 100.0])
def test_clipping_is_torchs_member_by_member(max_norm: float) -> None:
    grads = Streams(range(4), "gradients").normal((30,), dtype=torch.float64)
    grads *= torch.tensor([[1e-6], [0.1], [1.0], [1e6]])
    ours = grads.clone()
    norms = clip_norms(ours, max_norm, torch.ones(1))
    for k in range(4):
        theirs = torch.nn.Parameter(torch.zeros(30, dtype=torch.float64))
        theirs.grad = grads[k].clone()
        norm = torch.nn.utils.clip_grad_norm_([theirs], max_norm)
        torch.testing.assert_close(norms[k], norm, rtol=1e-12, atol=0)
        torch.testing.assert_close(ours[k], theirs.grad, rtol=1e-12, atol=0)


def test_clipping_by_hand_and_beside_a_nan() -> None:
    # The norm of (3, 4) is 5: clipped to 1 it is (0.6, 0.8); (0.3, 0.4) is under 1 and stays.
    grads = torch.tensor([[3.0, 4.0], [float("nan"), 1.0], [0.3, 0.4], [float("inf"), 0.0]])
    norms = clip_norms(grads, 1.0, torch.ones(1))
    assert norms[0] == 5
    assert grads[0].tolist() == pytest.approx([0.6, 0.8], rel=1e-5)  # 1e-6 in the denominator
    assert torch.equal(grads[2], torch.tensor([0.3, 0.4]))
    assert grads[1].isnan().all()
    assert grads[3].isnan().any(), "an infinite gradient shows, it is not turned into a step of 0"


@pytest.mark.parametrize(("period", "multiplier"), [(50, 2), (7, 1), (1, 3), (5, 2)])
def test_cosine_restarts_are_torchs(period: int, multiplier: int) -> None:
    schedule = CosineWarmRestarts(period=period, multiplier=multiplier, minimum=1e-5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    peer = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, period, multiplier, eta_min=1e-5)
    for epoch in range(400):
        found = schedule.rates(0.01, np.zeros((2, epoch)))
        assert found == pytest.approx([optimizer.param_groups[0]["lr"]] * 2, rel=1e-10), epoch
        optimizer.step()
        peer.step()


def test_cosine_by_hand() -> None:
    # Period 4: (1 + cos(pi k / 4)) / 2 = 1, 0.8536, 0.5, 0.1464, then a restart of period 8.
    schedule = CosineWarmRestarts(period=4)
    rates = [schedule.rates(1.0, np.zeros((1, epoch)))[0] for epoch in (0, 1, 2, 3, 4, 8)]
    assert rates == pytest.approx([1, 0.8536, 0.5, 0.1464, 1, 0.5], abs=1e-4)


def curves() -> np.ndarray:
    """Losses (member, epoch) with plateaus of several lengths, a noisy one, one that is NaN from some epoch on."""
    epochs = np.arange(150)
    falling = np.exp(-epochs / 20)
    stairs = np.floor(epochs / 25)[::-1] + 1
    noisy = 0.1 + 0.02 * np.sin(epochs * 2.4) - 1e-6 * epochs
    creeping = 1 - 2e-5 * epochs  # less than the relative threshold per epoch
    lost = np.where(epochs < 40, falling, np.nan)
    return np.stack([falling, stairs, noisy, creeping, lost])


@pytest.mark.parametrize("patience", [0, 3, 40])
def test_plateaus_are_torchs_member_by_member(patience: int) -> None:
    losses, schedule = curves(), ReduceOnPlateau(factor=0.5, patience=patience, minimum=1e-7)
    optimizers = [torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1) for _ in losses]
    peers = [
        # eps=0: torch leaves out reductions under 1e-8, which says nothing about plateaus.
        torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=patience, min_lr=1e-7, eps=0)
        for o in optimizers
    ]
    seen = set()
    for epoch in range(losses.shape[1] + 1):
        found = schedule.rates(0.1, losses[:, :epoch])
        assert found == pytest.approx([o.param_groups[0]["lr"] for o in optimizers], rel=1e-10), epoch
        seen.add(tuple(found))
        if epoch < losses.shape[1]:
            for optimizer, peer, loss in zip(optimizers, peers, losses[:, epoch], strict=True):
                optimizer.step()
                peer.step(loss)
    assert any(len(set(rates)) > 1 for rates in seen), "members' rates differ"


def test_a_plateau_by_hand() -> None:
    # Patience 1: losses 1, 1, 1 make two epochs without progress, so the rate halves after the third.
    schedule = ReduceOnPlateau(factor=0.5, patience=1)
    rates = [schedule.rates(1.0, np.ones((1, epoch)))[0] for epoch in range(7)]
    assert rates == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_constant_rate_is_constant() -> None:
    assert Constant().rates(0.3, np.zeros((2, 7))).tolist() == [0.3, 0.3]
    assert all(len(kind().rates(0.3, np.zeros((3, 0)))) == 3 for kind in SCHEDULES.values())
    assert all(kind().rates(0.3, np.zeros((1, 0)))[0] == 0.3 for kind in SCHEDULES.values())


def test_schedules_refuse_impossible_values() -> None:
    for make in (lambda: CosineWarmRestarts(period=0), lambda: ReduceOnPlateau(factor=1.0)):
        with pytest.raises(UserError, match="is wrong"):
            make()


def test_flat_parameters_are_views() -> None:
    params = {"a": torch.arange(12.0).view(2, 3, 2), "b": torch.tensor([[7.0], [8.0]])}
    flat = flatten(params)
    assert flat.tolist() == [[0, 1, 2, 3, 4, 5, 7], [6, 7, 8, 9, 10, 11, 8]]
    back = views(flat, params)
    assert all(torch.equal(back[name], params[name]) for name in params)
    flat[1, 0] = math.pi
    assert back["a"][1, 0, 0].item() == pytest.approx(math.pi, rel=1e-6), "updates of the flat form reach the views"


# --- In training ---

TASK = FlipFlop(channels=2, n_steps=9)
BRIEF = {"batch_size": 7, "steps_per_epoch": 4, "max_epochs": 2, "patience": 0}
MINE = """
import numpy as np
import torch
import degeneracy as dg
from degeneracy.training.optimisers import OptimiserState


class State(OptimiserState):
    def __init__(self, groups, share):
        self.groups, self.share = groups, share

    def update(self, params, grads, rates):
        params.sub_(self.share * rates[:, None] * grads.sign())

    def select(self, members):
        return self


class SignDescent(dg.Optimiser):
    name = "sign_descent"
    summary, source, copies = "steps of one size", "Riedmiller & Braun (1993)", 0
    share: float = 1.0

    def start(self, params, groups):
        return State(groups, self.share)


class Halving(dg.Schedule):
    name = "halving"

    def rates(self, base, losses):
        return np.full(len(losses), base / 2 ** losses.shape[1])


ENTROPY = dg.Regulariser(
    summary="squares of squares", source="this test", on="weights", penalty=lambda w: (w**4).sum((1, 2, 3))
)
NOT_ONE = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "mine_training.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("mine_training", None)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", {"name": "sgd", "momentum": 0.5, "nesterov": True}])
def test_compiled_and_torch_backends_take_the_same_steps(optimiser) -> None:
    training = dg.Training(**BRIEF, learning_rate=0.01, optimiser=optimiser, regularisers={"l2": 0.1})
    ours, theirs = (
        train_stack(TASK, dg.Network(hidden_size=6), training, [0, 1], backend=backend)
        for backend in ("compiled", "bptt")
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.history.gradient_norm, b.history.gradient_norm, rtol=1e-4)  # float32, 8 updates
        for name, value in a.final.items():
            torch.testing.assert_close(value, b.final[name], rtol=1e-3, atol=1e-5)


def test_one_step_of_descent_by_hand() -> None:
    """Sgd moves by the rate times the gradient, whose norm is `clip_norm` at most."""
    training = dg.Training(
        batch_size=7, steps_per_epoch=1, max_epochs=1, patience=0, learning_rate=0.5, clip_norm=1e-3, optimiser="sgd"
    )
    (member,) = train_stack(TASK, dg.Network(hidden_size=6), training, [0])
    moved = torch.cat([(member.final[k] - member.initial[k]).flatten() for k in member.final])
    assert member.history.gradient_norm[0] > 1e-3
    assert moved.norm().item() == pytest.approx(0.5e-3, rel=1e-3)  # clipping adds 1e-6 to the norm; float32


def test_optimisers_schedules_and_penalties_of_ones_own(mine: None) -> None:
    training = dg.Training(
        **BRIEF,
        learning_rate=0.01,
        optimiser={"name": "mine_training:SignDescent", "share": 0.5},
        schedule="mine_training:Halving",
        regularisers={"mine_training:ENTROPY": 2.0},
    )
    (member,) = train_stack(TASK, dg.Network(hidden_size=6), training, [0])
    np.testing.assert_array_equal(member.history.learning_rate, [0.01, 0.005])
    moved = (member.final["W_rec"] - member.initial["W_rec"]) / (0.5 * 0.005)
    torch.testing.assert_close(moved, moved.round(), rtol=0, atol=1e-3)  # four steps of 2 and four of 1, in float32
    again = dg.Training(**training.model_dump(mode="json"))
    assert again == training
    assert again.model_dump(mode="json")["optimiser"] == {"name": "mine_training:SignDescent", "share": 0.5}
    free = train_stack(TASK, dg.Network(hidden_size=6), training.replace(regularisers={}), [0])[0]
    assert free.history.gradient_norm[0] != member.history.gradient_norm[0]


@pytest.mark.parametrize("backend", ["autograd", "bptt", "compiled"])
def test_a_penalty_without_a_gradient_is_differentiated(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = REGULARISERS["l2"]
    monkeypatch.setitem(REGULARISERS, "bare", Regulariser(summary="", source="", on="weights", penalty=known.penalty))
    bare, closed = (
        train_stack(
            TASK, dg.Network(hidden_size=6), dg.Training(**BRIEF, regularisers={name: 0.3}), [0], backend=backend
        )[0]
        for name in ("bare", "l2")
    )
    torch.testing.assert_close(bare.final["W_rec"], closed.final["W_rec"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"optimiser": "adamm"}, "did you mean 'adam'"),
        ({"optimiser": 3}, "a name, or a table with a name and fields, is needed"),
        ({"optimiser": {"momentum": 0.5}}, "'name' is missing"),
        ({"optimiser": {"name": "sgd", "momentum": 1.5}}, "SGD: momentum = 1.5 is wrong"),
        ({"optimiser": {"name": "adam", "momentum": 0.5}}, "unknown key 'momentum'"),
        ({"schedule": "constnt"}, "did you mean 'constant'"),
        ({"regularisers": {"l3": 1.0}}, "unknown regulariser 'l3'"),
        ({"regularisers": {"mine_training:NOT_ONE": 1.0}}, "is no regulariser: a degeneracy.Regulariser is needed"),
        ({"optimiser": "mine_training:Halving"}, "is no optimiser: a subclass of degeneracy.Optimiser is needed"),
    ],
)
def test_what_is_no_optimiser_schedule_or_penalty_is_one_line(wrong, says: str, mine: None) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        dg.Training(**wrong)


def test_mup_takes_only_optimisers_whose_rates_are_known() -> None:
    network = dg.Network(hidden_size=6, parametrisation="mup")
    with pytest.raises(UserError, match="optimiser 'sgd' has no rates for parametrisation 'mup'; adam and adamw have"):
        dg.train(TASK, network, dg.Training(**BRIEF, optimiser="sgd"), seeds=range(2), jobs=1)
    fields = {"parametrisation": "mup", "hidden_size": 6}
    with pytest.raises(UserError, match="optimiser 'sgd' has no rates"):
        dg.Study(name="a", seeds="0:2", task={"name": "flip_flop"}, network=fields, training={"optimiser": "sgd"})


class MomentumState(AdamState):
    """Adam's mean gradient, whose size is left as it is."""

    def update(self, params: torch.Tensor, grads: torch.Tensor, rates: torch.Tensor) -> None:
        self.first.lerp_(grads, 1 - self.options.beta1)
        params.sub_(self.first * rates.unsqueeze(1))


class Momentum(Adam):
    """An optimiser whose state is Adam's with a step of its own."""

    def start(self, params: torch.Tensor, groups: Groups) -> MomentumState:
        adam = super().start(params, groups)
        return MomentumState(**{each.name: getattr(adam, each.name) for each in fields(adam)})


def test_a_step_of_ones_own_is_taken_though_the_state_is_adams() -> None:
    task = FlipFlop(channels=1, n_steps=5)
    training = dg.Training(batch_size=4, steps_per_epoch=1, max_epochs=1, patience=0, learning_rate=1.0)
    training = training.replace(optimiser=Momentum(), clip_norm=1e9).for_task(task)
    (member,) = train_stack(task, dg.Network(hidden_size=4), training, [0])
    moved = torch.cat([(member.initial[name] - value).flatten() for name, value in member.final.items()])
    # A tenth of the gradient; Adam's first step is 1 for every parameter. float32 rounding of weights near 0.5.
    assert moved.norm().item() == pytest.approx(0.1 * float(member.history.gradient_norm[0]), rel=1e-4)
