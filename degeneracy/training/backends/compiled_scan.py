"""Loss and gradients of one member of a minGRU, compiled by numba.

No weights join the units, so that trials are taken one after the other: all steps of one stay in the cache, forward and
back. What the inputs drive and the gradient of their weights are sums over few inputs, loops over units within.
Everything is float32; losses are summed in float64.

Sizes: B trials, T steps, N units, I inputs, O outputs.
"""

from typing import NamedTuple

import numpy as np

from degeneracy.core.compiling import compiled
from degeneracy.training.backends.compiled_parts import (
    CROSS_ENTROPY,
    FUSED,
    HALF,
    ONE,
    ZERO,
    Floats,
    aligned,
    loss_scale,
    penalise,
    read_out,
    read_out_logits,
    tanh,
)


class ScanWeights(NamedTuple):
    """The parameters of a member, or their gradients."""

    inward: Floats  # (2 N, I): of the gate, then of the candidate
    bias: Floats  # (2 N,)
    outward: Floats  # (O, N)
    bias_out: Floats  # (O,)


class ScanWork(NamedTuple):
    """The arrays that an update works in; used again by the next."""

    states: Floats  # (T + 1, 1, N), of one trial
    gates: Floats  # (T, 2 N), of one trial: update and candidate, then their gradients
    grad: Floats  # (1, N): d loss / d state
    errors: Floats  # (1, O): d loss / d output
    by_input: Floats  # (I + 1, 2 N): weights by source, the bias last
    by_input_grad: Floats  # likewise


def workspace(n_steps: int, n_units: int, n_inputs: int, n_outputs: int) -> ScanWork:
    """The arrays for trials and networks of these sizes."""
    return ScanWork(
        states=aligned(n_steps + 1, 1, n_units),
        gates=aligned(n_steps, 2 * n_units),
        grad=aligned(1, n_units),
        errors=aligned(1, n_outputs),
        by_input=aligned(n_inputs + 1, 2 * n_units),
        by_input_grad=aligned(n_inputs + 1, 2 * n_units),
    )


@compiled(**FUSED, inline="always")
def _forward(inputs, noise, start, work):  # type: ignore[no-untyped-def]
    """The gates and states of one trial: inputs (T, I), noise (T or 0, N), start (0 or 1, N)."""
    n, n_in = work.grad.shape[1], inputs.shape[1]
    work.states[0, 0] = ZERO
    for row in start:
        work.states[0, 0] = row
    for t in range(len(inputs)):
        both = work.gates[t]
        both[:] = work.by_input[n_in]
        for i in range(n_in):
            x, weights = inputs[t, i], work.by_input[i]
            for j in range(len(both)):
                both[j] += x * weights[j]
        update, candidate = both[:n], both[n:]
        if len(noise) > 0:
            drawn = noise[t]
            for j in range(n):
                candidate[j] += drawn[j]
        for j in range(n):
            update[j] = HALF + HALF * tanh(HALF * update[j])
        old, new = work.states[t, 0], work.states[t + 1, 0]
        for j in range(n):
            new[j] = old[j] + update[j] * (candidate[j] - old[j])


@compiled(**FUSED, inline="always")
def _step_back(t, inputs, work):  # type: ignore[no-untyped-def]
    """From d loss / d state t + 1 that of the weights by source at step t, added, and that of the state before."""
    grad, old, n, n_in = work.grad[0], work.states[t, 0], work.grad.shape[1], inputs.shape[1]
    both = work.gates[t]
    update, candidate = both[:n], both[n:]
    for j in range(n):
        z, g = update[j], grad[j]
        update[j] = g * (candidate[j] - old[j]) * z * (ONE - z)
        candidate[j] = g * z
        grad[j] = g * (ONE - z)
    to = work.by_input_grad[n_in]
    for j in range(len(both)):
        to[j] += both[j]
    for i in range(n_in):
        x, to = inputs[t, i], work.by_input_grad[i]
        for j in range(len(both)):
            to[j] += x * both[j]


@compiled(**FUSED)
def _lay_out(weights, work):  # type: ignore[no-untyped-def]
    """The input weights and the bias by source."""
    n_in = weights.inward.shape[1]
    for j in range(len(weights.inward)):
        for i in range(n_in):
            work.by_input[i, j] = weights.inward[j, i]
        work.by_input[n_in, j] = weights.bias[j]


@compiled(**FUSED)
def gradients(weights, data, decided, work, grads):  # type: ignore[no-untyped-def]
    """Loss and gradient of one member.

    Args:
        weights: the parameters, `ScanWeights`.
        data: the trials, `compiled_driver.Data`; of its start the first is taken.
        decided: None for the squared error, else as of `read_out_logits`.
        work: what `workspace` made.
        grads: the gradients, `ScanWeights`; written to.
    """
    n_trials, n_steps, n_out = data.targets.shape
    _lay_out(weights, work)
    work.by_input_grad[:] = ZERO
    grads.outward[:] = ZERO
    if decided is None:
        scale = loss_scale(data.loss_weights, n_out, False)
    else:
        scale = loss_scale(data.loss_weights, n_out, decided[0] == CROSS_ENTROPY)
    bias_grad, loss = np.zeros(n_out), 0.0
    for b in range(n_trials):
        inputs = data.inputs[b]
        _forward(inputs, data.noise[b], data.start[0, b : b + 1], work)
        work.grad[:] = ZERO
        for step in range(n_steps):
            t = n_steps - 1 - step
            loss += _output_gradient(b, t, weights, data, decided, scale, work, bias_grad, grads)
            if data.valid.shape[1] > 0:
                penalise(work.grad, work.states, t, data.valid[b : b + 1], data.costs, work.grad.shape[1])
            _step_back(t, inputs, work)
    n_in = weights.inward.shape[1]
    for j in range(len(grads.inward)):
        for i in range(n_in):
            grads.inward[j, i] = work.by_input_grad[i, j]
        grads.bias[j] = work.by_input_grad[n_in, j]
    for o in range(n_out):
        grads.bias_out[o] = bias_grad[o]
    return loss


@compiled(**FUSED, inline="always")
def _output_gradient(b, t, weights, data, decided, scale, work, bias_grad, grads):  # type: ignore[no-untyped-def]
    """Add what the outputs of step t of trial b do to the gradients of the readout and state; returns their loss."""
    seen, targets, counted = work.states[t + 1], data.targets[b : b + 1], data.loss_weights[b : b + 1]
    if decided is None:
        loss = read_out(seen, weights.outward, 0, weights.bias_out, targets, counted, t, scale, work.errors, bias_grad)
    else:
        kind, scored, missed = decided
        loss = read_out_logits(
            seen, weights.outward, 0, weights.bias_out, targets, counted, t, scale, work.errors, bias_grad,
            (kind, scored[b : b + 1], missed[b : b + 1]),
        )  # fmt: skip
    grad, state = work.grad[0], seen[0]
    for o in range(len(weights.outward)):
        error, row, to = work.errors[0, o], weights.outward[o], grads.outward[o]
        for j in range(len(grad)):
            grad[j] += error * row[j]
        for j in range(len(to)):
            to[j] += error * state[j]
    return loss
