"""Losses: values by hand, slopes against autograd and finite differences, masks, decisions."""

import math

import pytest
import torch
from torch import Tensor

from degeneracy.tasks import LOSSES, Loss, Trials, task_loss, task_slope, trial_errors, wrong_decisions

MEMBERS, TRIALS, STEPS, OUT = 2, 5, 4, 3


def some_trials(name: str, *, per_output: bool) -> Trials:
    """Targets of the loss's kind, weights and scored steps of steps or of outputs."""
    draw = torch.Generator().manual_seed(0)
    shape = (MEMBERS, TRIALS, STEPS, OUT)
    targets = torch.rand(shape, generator=draw, dtype=torch.float64)
    if name == "cross_entropy":
        targets = targets / targets.sum(-1, keepdim=True)
        targets[0, 0, 0] = 0  # a step without a label
    of = shape if per_output else shape[:3]
    weights = torch.rand(of, generator=draw, dtype=torch.float64)
    trials = Trials.of(torch.zeros(*shape[:3], 1), targets)
    return trials.replace(loss_weights=weights, scored=torch.rand(of, generator=draw) < 0.7)


def outputs() -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return 3 * torch.randn(MEMBERS, TRIALS, STEPS, OUT, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("per_output", [False, True], ids=["steps", "outputs"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_slope_is_that_of_autograd_and_of_finite_differences(loss: Loss, per_output: bool) -> None:
    trials, at = some_trials(loss.name, per_output=per_output), outputs()
    slope = task_slope(loss, at, trials)
    leaf = at.clone().requires_grad_()
    (expected,) = torch.autograd.grad(task_loss(loss, leaf, trials).sum(), leaf)
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-15)  # float64 rounding of a few terms
    for index in [(0, 0, 0, 0), (1, 3, 2, 1), (0, 4, 3, 2)]:
        up, down = at.clone(), at.clone()
        up[index] += 1e-5
        down[index] -= 1e-5
        difference = (task_loss(loss, up, trials) - task_loss(loss, down, trials)).sum() / 2e-5
        # Truncation (1e-5)^2 and rounding 1e-16/1e-5, both under 1e-9.
        assert slope[index].item() == pytest.approx(difference.item(), abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_weights_of_equal_outputs_are_weights_of_steps(loss: Loss) -> None:
    trials, at = some_trials(loss.name, per_output=False), outputs()
    wide = trials.replace(
        loss_weights=trials.loss_weights.unsqueeze(-1).expand_as(at),
        scored=trials.scored.unsqueeze(-1).expand_as(at),
    )
    for function in (task_loss, task_slope, trial_errors):
        a, b = function(loss, at, trials), function(loss, at, wide)
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15, equal_nan=True)


def test_values_worked_by_hand() -> None:
    logits, targets = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    assert LOSSES["mse"].value(logits, targets).tolist() == [1.0, 1.0]
    # -ln sigmoid(2) = ln(1 + e^-2) = 0.126928; -ln(1 - sigmoid(-1)) = ln(1 + e^-1) = 0.313262.
    assert LOSSES["bce"].value(logits, targets).tolist() == pytest.approx([0.126928, 0.313262], abs=1e-6)
    # softmax = e^2 / (e^2 + e^-1): -ln = ln(1 + e^-3) = 0.048587.
    assert LOSSES["cross_entropy"].value(logits, targets).sum().item() == pytest.approx(0.048587, abs=1e-6)


@pytest.mark.parametrize("name", ["bce", "cross_entropy"])
def test_large_logits_neither_overflow_nor_vanish_in_float32(name: str) -> None:
    loss = LOSSES[name]
    logits, targets = torch.tensor([[300.0, -300.0], [-300.0, 300.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    value, slope = loss.value(logits, targets), loss.slope(logits, targets, torch.ones(2, 1))
    assert value[0].sum().item() == 0
    # Wrong by 300 nats in each output, or by the difference of both logits.
    assert value[1].sum().item() == 600
    assert slope[0].abs().max().item() == 0
    assert slope[1].tolist() == [-1, 1]


def test_a_step_without_a_label_costs_nothing() -> None:
    loss, logits = LOSSES["cross_entropy"], torch.tensor([1.0, 2.0])
    assert loss.value(logits, torch.zeros(2)).abs().sum().item() == 0
    assert loss.slope(logits, torch.zeros(2), torch.ones(1)).abs().sum().item() == 0


def decided(name: str, answers: list[list[float]], targets: list[list[float]], scored: Tensor) -> tuple[float, float]:
    """Shares wrong of one trial, judged by steps and as a whole."""
    made = Trials.of(torch.zeros(1, 1, len(targets), 1), torch.tensor([[targets]])).replace(scored=scored[None, None])
    at = torch.tensor([[answers]])
    steps, trial = (wrong_decisions(LOSSES[name], judged, at, made).item() for judged in ("steps", "trial"))
    return steps, trial


def test_decisions_are_counted_over_scored_steps_and_outputs() -> None:
    targets, answers = (
        [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]],
        [[3.0, -3.0], [2.0, 1.0], [1.0, 1.0], [5.0, -1.0]],
    )
    every = torch.ones(4, dtype=torch.bool)
    # Step 2 is wrong in its first output, step 4 likewise.
    assert decided("bce", answers, targets, every) == (0.5, 1.0)
    assert decided("bce", answers, targets, torch.tensor([True, True, True, False])) == pytest.approx((1 / 3, 1.0))
    assert decided("bce", answers, targets, torch.tensor([True, False, True, False])) == (0.0, 0.0)
    # Of outputs: only the second ones are scored, which are all right.
    assert decided("bce", answers, targets, torch.tensor([[False, True]] * 4)) == (0.0, 0.0)
    soft = [[0.6, 0.4], [0.1, 0.9]]
    assert decided("cross_entropy", [[0.1, 0.0], [0.3, 0.2]], soft, every[:2]) == (0.5, 1.0)


def test_the_error_of_a_trial_is_that_of_its_scored_steps() -> None:
    trials = Trials.of(torch.zeros(1, 1, 3, 1), torch.zeros(1, 1, 3, 1))
    trials = trials.replace(scored=torch.tensor([[[False, True, True]]]))
    at = torch.tensor([[[[9.0], [1.0], [3.0]]]])
    assert trial_errors(LOSSES["mse"], at, trials).item() == 5  # (1 + 9) / 2
    at = torch.zeros(1, 1, 3, 1)
    assert trial_errors(LOSSES["bce"], at, trials).item() == pytest.approx(math.log(2), abs=1e-6)
