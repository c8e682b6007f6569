"""What the compiled backward passes share: aligned arrays, tanh, the readout's errors, clipping with Adam."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.compiling import compiled
from degeneracy.tasks import LOSSES
from degeneracy.training.backends.tiles import ROWS, WIDTH

Floats = NDArray[np.float32]

ONE, ZERO = np.float32(1), np.float32(0)
TWO, HALF = np.float32(2), np.float32(0.5)
CROSS_ENTROPY = LOSSES["cross_entropy"].kernel
# tanh x = x P(x^2) / Q(x^2), fitted by reweighted least squares to |x| <= 7.9, beyond which tanh is 1 in float32.
# Relative error of the fit 6e-9; of its float32 evaluation 3e-7 (a few roundings).
_LIMIT = np.float32(7.9)
_P1, _P2 = np.float32(0.13450621), np.float32(0.0035789919)
_P3, _P4 = np.float32(2.2023243e-05), np.float32(1.5427968e-08)
_Q1, _Q2 = np.float32(0.46783948), np.float32(0.026192237)
_Q3, _Q4 = np.float32(0.00034236503), np.float32(8.5987784e-07)

# "contract": a product and a sum in one instruction; "reassoc" (sums of vectors) only where dots are taken. Neither
# assumes that numbers are finite: a NaN stays one.
# Division as numpy's: a check for 0 would keep a loop from being vectorised.
FUSED: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
SUMMED: dict[str, Any] = {**FUSED, "fastmath": {"contract", "reassoc"}}


def padded(size: int, multiple: int) -> int:
    """The next multiple at or above a size."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the arrays of an update are sized by."""

    n_trials: int
    n_steps: int
    n_units: int
    n_inputs: int
    n_outputs: int

    @property
    def rows(self) -> int:
        """Trials, padded."""
        return padded(self.n_trials, ROWS)

    @property
    def units(self) -> int:
        """Units, padded."""
        return padded(self.n_units, WIDTH)


def aligned(*shape: int) -> Floats:
    """Zeros that begin at a cache line, as all their rows then do: a vector across two lines costs two loads."""
    line = 64
    memory = np.zeros(int(np.prod(shape)) * 4 + line, np.uint8)
    start = -memory.ctypes.data % line
    return memory[start : start + int(np.prod(shape)) * 4].view(np.float32).reshape(shape)


def _tanh(x: Any) -> Any:
    x = x if not x > _LIMIT else _LIMIT  # a NaN stays NaN
    x = x if not x < -_LIMIT else -_LIMIT
    u = x * x
    above = ONE + u * (_P1 + u * (_P2 + u * (_P3 + u * _P4)))
    below = ONE + u * (_Q1 + u * (_Q2 + u * (_Q3 + u * _Q4)))
    return x * above / below


tanh = compiled(**FUSED, inline="always")(_tanh)


@compiled(**FUSED)
def load_inputs(states, inputs, at):  # type: ignore[no-untyped-def]
    """Put the inputs (B, T, I) beside the states (T + 1, B, ...) that they act on, from column `at`."""
    for t in range(inputs.shape[1]):
        for b in range(inputs.shape[0]):
            for i in range(inputs.shape[2]):
                states[t, b, at + i] = inputs[b, t, i]


@compiled(**FUSED)
def loss_scale(loss_weights, n_out, summed):  # type: ignore[no-untyped-def]
    """What the weighted cost of one output counts in the mean over the steps.

    Args:
        loss_weights: (B, T, 1) of steps, or (B, T, O) of outputs.
        n_out: number of outputs.
        summed: a step's cost is the sum over its outputs, not their mean.
    """
    total = 0.0
    for b in range(loss_weights.shape[0]):
        for t in range(loss_weights.shape[1]):
            for o in range(loss_weights.shape[2]):
                total += loss_weights[b, t, o]
    if not summed:
        total *= n_out
    return np.float32(loss_weights.shape[2] / total)


@compiled(**SUMMED)
def read_out(states, back, at, bias_out, targets, weights, t, scale, errors, bias_grad):  # type: ignore[no-untyped-def]
    """Write step t's d loss / d output from column `at` of `errors`, add it to `bias_grad`; returns its loss.

    The loss is the squared error.
    """
    pad, n_out, per_output = back.shape[1], targets.shape[2], weights.shape[2] > 1
    loss = 0.0
    for b in range(len(targets)):
        state, weight = states[b, :pad], weights[b, t, 0] * scale
        for o in range(n_out):
            row = back[at + o]
            out = ZERO
            for j in range(len(state)):
                out += state[j] * row[j]
            error = out + bias_out[o] - targets[b, t, o]
            if per_output:
                weight = weights[b, t, o] * scale
            back_error = TWO * weight * error
            errors[b, at + o] = back_error
            bias_grad[o] += back_error
            loss += np.float64(weight * error) * np.float64(error)
    return loss


def _product_of(state: Any, row: Any) -> Any:
    out = ZERO
    for j in range(len(state)):
        out += state[j] * row[j]
    return out


def _binary(logit: Any, target: Any, weight: Any) -> Any:
    """The binary cross-entropy of a logit, and the slope of it times its weight."""
    small = np.exp(-abs(logit))  # e^-|y|, which never overflows
    chance = (ONE if logit >= ZERO else small) / (ONE + small)
    return max(logit, ZERO) - logit * target + np.log1p(small), (chance - target) * weight


def _without_largest(logits: Any, top: Any) -> Any:
    """Take the largest off all logits, in place; the sum of their exponentials."""
    total = ZERO
    for o in range(len(logits)):
        logits[o] -= top
        total += np.exp(logits[o])
    return total


without_largest = compiled(**SUMMED, inline="always")(_without_largest)
product_of = compiled(**SUMMED, inline="always")(_product_of)
binary = compiled(**SUMMED, inline="always")(_binary)


@compiled(**SUMMED)
def read_out_logits(  # type: ignore[no-untyped-def]
    states, back, at, bias_out, targets, weights, t, scale, errors, bias_grad, decided
):
    """As `read_out`, of outputs that are logits.

    `decided` is the loss's case, the scored steps (B, T, 1) or outputs (B, T, O), and the number of scored steps that
    each trial decides wrongly (B,), which is added to.
    """
    kind, scored, missed = decided
    pad, n_out = back.shape[1], targets.shape[2]
    last_weight, last_scored = weights.shape[2] - 1, scored.shape[2] - 1
    loss = 0.0
    for b in range(len(targets)):
        state, logits = states[b, :pad], errors[b, at : at + n_out]
        largest, called_for = 0, 0
        for o in range(n_out):
            logits[o] = product_of(state, back[at + o]) + bias_out[o]
            largest = o if logits[o] > logits[largest] else largest
            called_for = o if targets[b, t, o] > targets[b, t, called_for] else called_for
        exponentials, weighted_targets = ZERO, ZERO
        if kind == CROSS_ENTROPY:
            exponentials = without_largest(logits, logits[largest])
            for o in range(n_out):
                weighted_targets += targets[b, t, o] * (weights[b, t, min(o, last_weight)] * scale)
        log_sum, missing = np.log(exponentials), False
        for o in range(n_out):
            logit, target, weight = logits[o], targets[b, t, o], weights[b, t, min(o, last_weight)] * scale
            if kind == CROSS_ENTROPY:
                cost = target * (log_sum - logit)
                slope = np.exp(logit) / exponentials * weighted_targets - target * weight
                differs = (o == largest) != (o == called_for)
            else:
                cost, slope = binary(logit, target, weight)
                differs = (logit > ZERO) != (target > HALF)
            missing |= differs and scored[b, t, min(o, last_scored)]
            logits[o] = slope
            bias_grad[o] += slope
            loss += np.float64(weight) * np.float64(cost)
        missed[b] += missing
    return loss


@compiled(**FUSED)
def penalise(grads, states, t, valid, costs, n):  # type: ignore[no-untyped-def]
    """Add to `grads` what the mean squares of the states and of their changes add to d loss / d state t.

    Args:
        grads: (B, ...), units in the first n columns; written to.
        states: (T + 1, B, ...), states 0 to T likewise.
        t: the step, 0 to T - 1, whose state is `states[t + 1]`.
        valid: (B, T), 1 at steps of the trial.
        costs: 2 strength / count of the square, and of the change.
        n: number of units.
    """
    last = valid.shape[1] - 1
    for b in range(valid.shape[0]):
        keep = costs[0] * valid[b, t]
        back = costs[1] * valid[b, t] * valid[b, t - 1] if t > 0 else ZERO
        ahead = costs[1] * valid[b, t] * valid[b, t + 1] if t < last else ZERO
        row, here = grads[b, :n], states[t + 1, b, :n]
        before, after = states[t, b, :n], states[min(t, last - 1) + 2, b, :n]
        for j in range(len(row)):
            row[j] += keep * here[j] + back * (here[j] - before[j]) - ahead * (after[j] - here[j])


@compiled(**FUSED)
def descend(params, grads, first, second, constants, groups):  # type: ignore[no-untyped-def]
    """Clip a member's gradient and take Adam's step, in place; `optimisers.AdamState` and `clip_norms` say how.

    Args:
        params, grads: (parameter,).
        first, second: (parameter,), Adam's moments.
        constants: what `AdamState.corrected` gives, and the largest norm of the gradient.
        groups: (group, 4), `flat_parameters.Groups.table`.

    Returns:
        The gradient's norm before clipping.
    """
    rate, spread, beta1, beta2, eps, clip_norm = constants
    total, begin = 0.0, 0
    for g in range(len(groups)):
        end, squares = int(groups[g, 0]), 0.0
        for j in range(begin, end):
            squares += np.float64(grads[j]) * np.float64(grads[j])
        total += groups[g, 3] * groups[g, 3] * squares
        begin = end
    norm = np.sqrt(total)
    ratio = clip_norm / (norm + 1e-6)
    scale = np.float32(ratio) if not ratio > 1 else ONE  # a NaN norm makes all parameters NaN
    keep1, keep2, new1, new2 = (
        np.float32(beta1),
        np.float32(beta2),
        np.float32(1 - beta1),
        np.float32(1 - beta2),
    )
    narrow, begin = np.float32(1 / spread), 0
    for g in range(len(groups)):
        end = int(groups[g, 0])
        step, least = np.float32(rate * groups[g, 1]), np.float32(eps * groups[g, 2])
        for j in range(begin, end):
            grad = scale * grads[j]
            first[j] = keep1 * first[j] + new1 * grad
            second[j] = keep2 * second[j] + new2 * grad * grad
            params[j] -= step * first[j] / (np.sqrt(second[j]) * narrow + least)
        begin = end
    return norm
