"""Loss and gradients of one GRU member, compiled by numba: the fast backend on a CPU.

Written as `compiled.py` is, with four columns of P units for each unit: the reset and update gates, what the
recurrent weights add to the candidate, and what the inputs add to it. Two products per step run the units, three take
the gradients.
"""

import numpy as np

from degeneracy.core.compiling import compiled
from degeneracy.training.backends.compiled_parts import (
    CROSS_ENTROPY,
    FUSED,
    HALF,
    ONE,
    ZERO,
    Floats,
    Sizes,
    aligned,
    load_inputs,
    loss_scale,
    padded,
    read_out,
    read_out_logits,
    tanh,
)
from degeneracy.training.backends.tiles import LEAST_ROWS, WIDTH, product


def workspace(sizes: Sizes) -> tuple[Floats, ...]:
    """The arrays that an update works in; used again by the next.

    Returns:
        states and inputs (T + 1, B, P + inputs and 1), gates (T, B, 4 P), gradient of the state (B, P), gradients of
        the gates, outputs and candidate's drive of two steps (2, B, 3 P + O + P), weights by source (P + inputs and
        1, 4 P), their gradients (P + inputs and 1, 3 P) and (inputs and 1, P), recurrent and output weights
        (3 P + O, P), the outputs' gradient.
    """
    b, p, t = sizes.rows, sizes.units, sizes.n_steps
    sources, outputs = padded(sizes.n_inputs + 1, LEAST_ROWS), padded(sizes.n_outputs, LEAST_ROWS)
    states = aligned(t + 1, b, p + padded(sources, WIDTH))
    states[:, : sizes.n_trials, p + sizes.n_inputs] = 1
    return (
        states,
        aligned(t, b, 4 * p),
        aligned(b, p),
        aligned(2, b, 4 * p + padded(outputs, WIDTH)),
        aligned(p + sources, 4 * p),
        aligned(p + sources, 3 * p),
        aligned(sources, p),
        aligned(3 * p + sizes.n_outputs, p),
        aligned(outputs, p),
    )


@compiled(**FUSED)
def _spread(flat, n, n_in, n_out, by_source, back):  # type: ignore[no-untyped-def]
    """Lay out the flat parameters: rows by source (units, inputs, 1), and recurrent over output weights."""
    pad = back.shape[1]
    inputs = 3 * n * n
    bias = inputs + 3 * n * n_in
    bias_rec = bias + 3 * n
    for gate in range(3):
        drive = 3 if gate == 2 else gate  # where the inputs' part of this gate stands
        for j in range(n):
            row, column = gate * n + j, gate * pad + j
            for k in range(n):
                by_source[k, column] = flat[row * n + k]
                back[column, k] = flat[row * n + k]
            for i in range(n_in):
                by_source[pad + i, drive * pad + j] = flat[inputs + row * n_in + i]
            by_source[pad + n_in, column] = flat[bias_rec + row]
            if gate == 2:
                by_source[pad + n_in, drive * pad + j] = flat[bias + row]
            else:
                by_source[pad + n_in, column] += flat[bias + row]
    at = bias_rec + 3 * n
    for o in range(n_out):
        for k in range(n):
            back[3 * pad + o, k] = flat[at + o * n + k]


@compiled(**FUSED)
def _gather(by_source, by_drive, outward, bias_out, n, n_in, n_out, flat):  # type: ignore[no-untyped-def]
    """The flat gradient from the gradients by source, of the candidate's drive, the output weights and bias."""
    pad = outward.shape[1]
    inputs = 3 * n * n
    bias = inputs + 3 * n * n_in
    bias_rec = bias + 3 * n
    for gate in range(3):
        for j in range(n):
            row, column = gate * n + j, gate * pad + j
            for k in range(n):
                flat[row * n + k] = by_source[k, column]
            for i in range(n_in):
                flat[inputs + row * n_in + i] = by_drive[i, j] if gate == 2 else by_source[pad + i, column]
            flat[bias_rec + row] = by_source[pad + n_in, column]
            flat[bias + row] = by_drive[n_in, j] if gate == 2 else by_source[pad + n_in, column]
    at = bias_rec + 3 * n
    for o in range(n_out):
        for k in range(n):
            flat[at + o * n + k] = outward[o, k]
        flat[at + n_out * n + o] = bias_out[o]


@compiled(**FUSED)
def _step(gates, before, after, n):  # type: ignore[no-untyped-def]
    """Gates, candidate and next state of one step; several short loops, since LLVM compares few arrays per loop."""
    for b in range(len(gates)):
        both = gates[b, : 2 * n]
        for j in range(len(both)):
            both[j] = HALF + HALF * tanh(HALF * both[j])
        reset, update = gates[b, :n], gates[b, n : 2 * n]
        recurrent, candidate = gates[b, 2 * n : 3 * n], gates[b, 3 * n :]
        for j in range(n):
            candidate[j] = tanh(candidate[j] + reset[j] * recurrent[j])
        old, new = before[b, :n], after[b, :n]
        for j in range(n):
            new[j] = candidate[j] + update[j] * (old[j] - candidate[j])


@compiled(**FUSED)
def _step_back(gates, before, grad, to, n):  # type: ignore[no-untyped-def]
    """From `grad`, d loss / d state, write that of all gates to `to`; `grad` becomes its part to the state before."""
    for b in range(len(gates)):
        reset, update = gates[b, :n], gates[b, n : 2 * n]
        recurrent, candidate = gates[b, 2 * n : 3 * n], gates[b, 3 * n :]
        state, old = grad[b], before[b, :n]
        to_reset, to_update, to_recurrent = to[b, :n], to[b, n : 2 * n], to[b, 2 * n : 3 * n]
        drive = to[b, to.shape[1] - n :]
        for j in range(n):
            drive[j] = state[j] * (ONE - update[j]) * (ONE - candidate[j] * candidate[j])
        for j in range(n):
            to_recurrent[j] = drive[j] * reset[j]
        for j in range(n):
            to_reset[j] = drive[j] * recurrent[j] * reset[j] * (ONE - reset[j])
        for j in range(n):
            to_update[j] = state[j] * (old[j] - candidate[j])
        for j in range(n):
            to_update[j] *= update[j] * (ONE - update[j])
        for j in range(n):
            state[j] *= update[j]


@compiled(**FUSED)
def _forward(states, gates, by_source, noise, n_in):  # type: ignore[no-untyped-def]
    """Run the units: `states` and `gates` of all steps."""
    n_steps, rows, row = len(gates), states.shape[1], states.shape[2]
    pad = by_source.shape[1] // 4
    flat, out, weights = states.reshape(-1), gates.reshape(-1), by_source.reshape(-1)
    noisy = noise.shape[1] > 0
    for t in range(n_steps):
        here, there = t * rows * row, t * rows * 4 * pad
        if noisy:
            for b in range(rows):
                drive = gates[t, b, 3 * pad :]
                drive[:] = ZERO
                if b < noise.shape[0]:
                    drawn = noise[b, t]
                    for j in range(len(drawn)):
                        drive[j] = drawn[j]
        product(out, there, 4 * pad, flat, here, row, 1, weights, 0, 4 * pad, rows, 3 * pad, pad + n_in + 1, False)
        product(
            out, there + 3 * pad, 4 * pad, flat, here + pad, row, 1, weights, pad * 4 * pad + 3 * pad, 4 * pad,
            rows, pad, n_in + 1, noisy,
        )  # fmt: skip
        _step(gates[t], states[t], states[t + 1], pad)


@compiled(**FUSED)
def gradients(params, inputs, targets, loss_weights, noise, decided, work, grads):  # type: ignore[no-untyped-def]
    """Loss and flat gradient of one member; arguments as of `compiled.gradients`."""
    states, gates, state_grad, pair, by_source, by_source_grad, by_drive_grad, back, out_grad = work
    _, n_steps, n_in = inputs.shape
    n_out, n = targets.shape[2], noise.shape[2]
    rows, row, pad = states.shape[1], states.shape[2], back.shape[1]
    _spread(params, n, n_in, n_out, by_source, back)
    load_inputs(states, inputs, pad)
    _forward(states, gates, by_source, noise, n_in)

    if decided is None:
        scale = loss_scale(loss_weights, n_out, False)
    else:
        scale = loss_scale(loss_weights, n_out, decided[0] == CROSS_ENTROPY)
    bias_out = params[len(params) - n_out :]
    bias_grad = np.zeros(n_out)
    for array in (by_source_grad, by_drive_grad, out_grad, state_grad):
        array[:] = ZERO
    flat, both, wide, three = states.reshape(-1), pair.reshape(-1), pair.shape[2], 3 * pad
    loss = 0.0
    for step in range(n_steps):
        t = n_steps - 1 - step
        later, here = step % 2 * rows * wide, (step + 1) % 2 * rows * wide
        if decided is None:
            loss += read_out(
                states[t + 1], back, three, bias_out, targets, loss_weights, t, scale, pair[step % 2], bias_grad
            )
        else:
            loss += read_out_logits(
                states[t + 1], back, three, bias_out, targets, loss_weights, t, scale, pair[step % 2], bias_grad,
                decided,
            )  # fmt: skip
        seen, before = (t + 1) * rows * row, t * rows * row
        product(
            out_grad.reshape(-1), 0, pad, both, later + three, 1, wide, flat, seen, row, len(out_grad), pad, rows,
            True,
        )  # fmt: skip
        skip = three if step == 0 else 0  # nothing comes from after the last step
        product(
            state_grad.reshape(-1), 0, pad, both, later + skip, wide, 1, back.reshape(-1), skip * pad, pad, rows,
            pad, three + n_out - skip, True,
        )  # fmt: skip
        _step_back(gates[t], states[t], state_grad, pair[(step + 1) % 2], pad)
        product(
            by_source_grad.reshape(-1), 0, three, flat, before, 1, row, both, here, wide, len(by_source_grad), three,
            rows, True,
        )  # fmt: skip
        product(
            by_drive_grad.reshape(-1), 0, pad, flat, before + pad, 1, row, both, here + wide - pad, wide,
            len(by_drive_grad), pad, rows, True,
        )  # fmt: skip
    _gather(by_source_grad, by_drive_grad, out_grad, bias_grad, n, n_in, n_out, grads)
    return loss
