"""Losses: what a wrong output costs, which decision an output makes, and how both are averaged. Knows no network.

`LOSSES` is the table of what is here. A loss of one's own is a `Loss` that a task names as its class variable `loss`.
All that computes a loss is in this file; how parameters are changed needs its `slope` alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from degeneracy.tasks.trials import Trials

Judged = Literal["steps", "trial"]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What outputs cost beside targets, step by step, all arrays (..., out).

    `value(outputs, targets)` is the cost of each output, >= 0, and `slope(outputs, targets, weights)` the gradient by
    the outputs of the sum of `weights` times these costs; weights are (..., 1), or (..., out). A step's cost is the
    mean of those of its outputs, or their sum (`step`). `decide(outputs)` and `called_for(targets)` are the decisions
    made and called for, 0 or 1; None where outputs are no decisions. `predict(outputs)` is what outputs say of the
    targets, on the targets' scale, for figures: a chance of a logit; by default the outputs. `kernel` is the loss's
    case in the compiled readout; None, as of a loss of one's own: there is none, and torch takes the gradients.
    """

    name: str
    summary: str
    label: str  # what a mean of it is called on an axis
    unit: str
    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor, Tensor], Tensor]
    step: Literal["mean", "sum"] = "mean"
    decide: Callable[[Tensor], Tensor] | None = None
    called_for: Callable[[Tensor], Tensor] | None = None
    predict: Callable[[Tensor], Tensor] = torch.clone
    kernel: int | None = None


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square()


def _squared_slope(outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return 2 * ((outputs - targets) * weights)


def _bce(logits: Tensor, targets: Tensor) -> Tensor:
    """-t ln s - (1 - t) ln (1 - s), s = sigmoid(logit): max(y, 0) - y t + ln(1 + e^-|y|), where nothing overflows."""
    return logits.clamp(min=0) - logits * targets + torch.log1p(torch.exp(-logits.abs()))


def _bce_slope(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return (torch.sigmoid(logits) - targets) * weights


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-t ln softmax(logits), of which the largest logit is taken off before the exponential."""
    return -targets * functional.log_softmax(logits, dim=-1)


def _cross_entropy_slope(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    weighted = targets * weights
    return torch.softmax(logits, dim=-1) * weighted.sum(-1, keepdim=True) - weighted


def _largest(x: Tensor) -> Tensor:
    """1 at the largest of the last axis (the first of several), else 0."""
    return torch.zeros_like(x, dtype=torch.bool).scatter_(-1, x.argmax(-1, keepdim=True), True)


MSE = Loss(
    name="mse",
    summary="squared difference of outputs and targets",
    label="mean squared error",
    unit="squared output unit",
    value=_squared,
    slope=_squared_slope,
    kernel=0,
)
BCE = Loss(
    name="bce",
    summary="binary cross-entropy: each output is the logit of its target, 0 or 1 or a chance between",
    label="binary cross-entropy",
    unit="nats",
    value=_bce,
    slope=_bce_slope,
    decide=lambda logits: logits > 0,
    called_for=lambda targets: targets > 0.5,
    predict=torch.sigmoid,
    kernel=1,
)
CROSS_ENTROPY = Loss(
    name="cross_entropy",
    summary="cross-entropy of the outputs' softmax: targets are a distribution over the outputs, or 0 for no label",
    label="cross-entropy",
    unit="nats",
    value=_cross_entropy,
    slope=_cross_entropy_slope,
    step="sum",
    decide=_largest,
    called_for=_largest,
    predict=lambda logits: torch.softmax(logits, -1),
    kernel=2,
)
LOSSES: dict[str, Loss] = {loss.name: loss for loss in (MSE, BCE, CROSS_ENTROPY)}


def _averaged(loss: Loss, value: Tensor, weights: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Costs (member, trial, time, out) averaged by weights, a step's being the mean of those of its outputs."""
    if weights.ndim == value.ndim:
        n_out = value.shape[-1] if loss.step == "sum" else 1
        axes = (*axes, 3)
        return n_out * (value * weights).sum(axes) / weights.sum(axes)
    steps = value.mean(-1) if loss.step == "mean" else value.sum(-1)
    return (steps * weights).sum(axes) / weights.sum(axes)


def task_loss(loss: Loss, outputs: Tensor, trials: Trials) -> Tensor:
    """The training loss of each member: the cost of a step, averaged over trials and steps by `loss_weights`.

    Args:
        loss: the task's.
        outputs: (member, trial, time, out).
        trials: the trials answered.

    Returns:
        (member,), >= 0.
    """
    return _averaged(loss, loss.value(outputs, trials.targets), trials.loss_weights, (1, 2))


def task_slope(loss: Loss, outputs: Tensor, trials: Trials) -> Tensor:
    """The gradient of the sum of `task_loss` over members by the outputs, (member, trial, time, out)."""
    weights = trials.loss_weights
    per_output = weights.ndim == outputs.ndim
    total = weights.flatten(1).sum(1).view(-1, 1, 1, 1)
    divisor = total * (outputs.shape[-1] if loss.step == "mean" else 1)
    if per_output:
        divisor = divisor / outputs.shape[-1]
    scaled = (weights if per_output else weights.unsqueeze(-1)) * (1 / divisor)
    return loss.slope(outputs, trials.targets, scaled)


def trial_errors(loss: Loss, outputs: Tensor, trials: Trials) -> Tensor:
    """The loss on the scored steps of each trial, shape (member, trial)."""
    return _averaged(loss, loss.value(outputs, trials.targets), trials.scored, (2,))


def missed_steps(loss: Loss, outputs: Tensor, trials: Trials) -> Tensor:
    """Whether a scored decision of a step is wrong, (member, trial, time)."""
    assert loss.decide is not None
    assert loss.called_for is not None
    differs = loss.decide(outputs) != loss.called_for(trials.targets)
    scored = trials.scored
    return (differs & scored).any(-1) if scored.ndim == differs.ndim else differs.any(-1) & scored


def wrong_decisions(loss: Loss, judged: Judged, outputs: Tensor, trials: Trials) -> Tensor:
    """How much of each trial is decided wrongly: (member, trial).

    Args:
        loss: the task's, of outputs that are decisions.
        judged: "steps": the share of the scored steps that are wrong; "trial": 1 where any of them is, else 0.
        outputs: (member, trial, time, out).
        trials: the trials answered.
    """
    return share_wrong(judged, missed_steps(loss, outputs, trials).sum(2), trials)


def share_wrong(judged: Judged, missed: Tensor, trials: Trials) -> Tensor:
    """`wrong_decisions` from the numbers of scored steps that are wrong, (member, trial); NaN where there are none."""
    if missed.shape[1] == 0:  # outputs are no decisions
        return trials.targets.new_full((len(missed), 1), torch.nan)
    if judged == "trial":
        return (missed > 0).to(trials.targets.dtype)
    return missed / trials.scored_steps.sum(2)
