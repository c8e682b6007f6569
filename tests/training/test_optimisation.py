"""Adam, clipping and schedules: equal to torch's, member by member, and no member's numbers reach another."""

import math

import numpy as np
import pytest
import torch

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.training.optimisation import (
    SCHEDULES,
    Adam,
    Constant,
    CosineWarmRestarts,
    Groups,
    ReduceOnPlateau,
    clip_norms,
    flatten,
    views,
)


def test_adam_is_torchs_with_a_rate_of_each_members_own() -> None:
    start = Streams(range(3), "initialisation").normal((10,), dtype=torch.float64)
    rates = torch.tensor([1e-1, 1e-3, 1e-2], dtype=torch.float64)
    ours, adam = start.clone(), Adam.start(start, Groups.plain(start.shape[1]))
    theirs = [torch.nn.Parameter(start[k].clone()) for k in range(3)]
    peers = [torch.optim.Adam([p], lr=rate.item()) for p, rate in zip(theirs, rates, strict=True)]
    stream = Streams(range(3), "gradients")
    for update in range(200):
        # Gradients of very different sizes, so that eps and the bias corrections show.
        grads = stream.normal((10,), dtype=torch.float64) * 10.0 ** (-update % 12)
        adam.update(ours, grads, rates)
        for p, peer, grad in zip(theirs, peers, grads, strict=True):
            p.grad = grad.clone()
            peer.step()
    torch.testing.assert_close(ours, torch.stack([p.detach() for p in theirs]), rtol=1e-10, atol=1e-12)


def test_the_first_adam_update_by_hand() -> None:
    # m / (1 - beta1) = g, v / (1 - beta2) = g^2: the step is rate * g / (|g| + eps) = rate * sign(g) (g >> 1e-8).
    params = torch.zeros(1, 3, dtype=torch.float64)
    adam = Adam.start(params, Groups.plain(3))
    adam.update(params, torch.tensor([[2.0, -0.01, 0.0]]).double(), torch.tensor([0.1]).double())
    assert params[0].tolist() == pytest.approx([-0.1, 0.1, 0.0], abs=1e-7)  # eps / |g| = 1e-6 of 0.1


def test_a_selected_member_goes_on_as_it_was() -> None:
    stream = Streams(range(3), "gradients")
    grads = [stream.normal((4,)) for _ in range(6)]
    rates = torch.tensor([0.1, 0.2, 0.3])
    whole, adam = torch.zeros(3, 4), Adam.start(torch.zeros(3, 4), Groups.plain(4))
    for grad in grads:
        adam.update(whole, grad, rates)
    part, left = torch.zeros(3, 4), Adam.start(torch.zeros(3, 4), Groups.plain(4))
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
    creeping = 1 - 2e-5 * epochs  # less than the relative threshold an epoch
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
