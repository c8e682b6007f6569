"""Loss and gradients of one member of a one-gate cell, compiled by numba: the fast backend on a CPU.

The same backward through time as `backpropagation.py`. Inputs and a 1 stand beside the states in one array, so that
one product per step drives the units and one more gives all weights' gradients while their factors are in the cache;
only the states of all steps are stored. Parameters and gradients stay in the flat order of `flatten`. Everything is
float32; losses are summed in float64.

Sizes: B trials, T steps, N units, I inputs, O outputs; N is padded to P, a multiple of `WIDTH`, B to a multiple of
`ROWS`, with zeros that stay zero.
"""

import numpy as np

from degeneracy.core.compiling import compiled
from degeneracy.training.backends.compiled_parts import (
    CROSS_ENTROPY,
    FUSED,
    ONE,
    ZERO,
    Floats,
    Sizes,
    aligned,
    load_inputs,
    loss_scale,
    padded,
    penalise,
    read_out,
    read_out_logits,
    tanh,
)
from degeneracy.training.backends.tiles import LEAST_ROWS, WIDTH, product

TANH, RELU = 0, 1


def workspace(sizes: Sizes, *, leaky: bool) -> tuple[Floats, ...]:
    """The arrays that an update works in; used again by the next.

    Returns:
        states and inputs (T + 1, B, P + inputs and 1), activations of leaky units (T, B, P), carried states or
        gradients (B, P), gradients of the drive beside those of the outputs, of two steps (2, B, P + O), weights by
        source (P + inputs and 1, P), their gradient, recurrent and output weights (P + O, P), the outputs' gradient.
    """
    b, p, t = sizes.rows, sizes.units, sizes.n_steps
    sources, outputs = padded(sizes.n_inputs + 1, LEAST_ROWS), padded(sizes.n_outputs, LEAST_ROWS)
    states = aligned(t + 1, b, p + padded(sources, WIDTH))
    states[:, : sizes.n_trials, p + sizes.n_inputs] = 1
    return (
        states,
        aligned(t if leaky else 0, b, p),
        aligned(b if leaky else 0, p),
        aligned(2, b, p + padded(outputs, WIDTH)),
        aligned(p + sources, p),
        aligned(p + sources, p),
        aligned(p + sizes.n_outputs, p),
        aligned(outputs, p),
    )


@compiled(**FUSED)
def _spread(flat, n, n_in, n_out, by_source, back):  # type: ignore[no-untyped-def]
    """Lay out the flat parameters: rows by source (units, inputs, 1), and recurrent over output weights."""
    pad = by_source.shape[1]
    block = 16  # a transpose by blocks: both sides stay in the cache
    for j0 in range(0, n, block):
        for k0 in range(0, n, block):
            for j in range(j0, min(j0 + block, n)):
                row, to = flat[j * n : (j + 1) * n], back[j]
                for k in range(k0, min(k0 + block, n)):
                    by_source[k, j] = row[k]
                    to[k] = row[k]
    at = n * n
    for j in range(n):
        for i in range(n_in):
            by_source[pad + i, j] = flat[at + j * n_in + i]
    at += n * n_in
    for j in range(n):
        by_source[pad + n_in, j] = flat[at + j]
    at += n
    for o in range(n_out):
        for k in range(n):
            back[pad + o, k] = flat[at + o * n + k]


@compiled(**FUSED)
def _gather(by_source, outward, bias_out, n, n_in, n_out, flat):  # type: ignore[no-untyped-def]
    """The flat gradient from the gradients by source, of the output weights and of the output bias."""
    pad = by_source.shape[1]
    block = 16
    for j0 in range(0, n, block):
        for k0 in range(0, n, block):
            for j in range(j0, min(j0 + block, n)):
                row = flat[j * n : (j + 1) * n]
                for k in range(k0, min(k0 + block, n)):
                    row[k] = by_source[k, j]
    at = n * n
    for j in range(n):
        for i in range(n_in):
            flat[at + j * n_in + i] = by_source[pad + i, j]
    at += n * n_in
    for j in range(n):
        flat[at + j] = by_source[pad + n_in, j]
    at += n
    for o in range(n_out):
        for k in range(n):
            flat[at + o * n + k] = outward[o, k]
        flat[at + n_out * n + o] = bias_out[o]


@compiled(**FUSED)
def _activate(kind, x, n):  # type: ignore[no-untyped-def]
    """x = phi(x) in the first n columns. In place: a loop over two arrays that are one is not vectorised."""
    for b in range(len(x)):
        row = x[b, :n]
        if kind == RELU:
            for j in range(len(row)):
                row[j] = row[j] if not row[j] < ZERO else ZERO  # a NaN stays NaN
        else:
            for j in range(len(row)):
                row[j] = tanh(row[j])


@compiled(**FUSED)
def _mix(to, new, keep, take, n):  # type: ignore[no-untyped-def]
    """to = keep to + take new in the first n columns."""
    for b in range(len(to)):
        row, new_row = to[b, :n], new[b, :n]
        for j in range(len(row)):
            row[j] = keep * row[j] + take * new_row[j]


@compiled(**FUSED)
def _copy(to, x, n):  # type: ignore[no-untyped-def]
    """to = x in the first n columns."""
    for b in range(len(to)):
        row, x_row = to[b, :n], x[b, :n]
        for j in range(len(row)):
            row[j] = x_row[j]


@compiled(**FUSED)
def _forward(kind, alpha, current, states, active, carried, by_source, noise, n_in):  # type: ignore[no-untyped-def]
    """Run the units; `states` goes from inputs beside nothing to inputs beside what recurrent weights see."""
    n_steps, rows, row = len(states) - 1, states.shape[1], states.shape[2]
    pad = by_source.shape[1]
    flat, weights = states.reshape(-1), by_source.reshape(-1)
    noisy = noise.shape[1] > 0
    if current:
        carried[:] = ZERO
    for t in range(n_steps):
        here, there = t * rows * row, (t + 1) * rows * row
        if noisy:
            for b in range(noise.shape[0]):
                drive, drawn = states[t + 1, b, :pad], noise[b, t]
                drive[:] = ZERO  # the padding too: a member that diverged may have left a NaN there
                for j in range(len(drawn)):
                    drive[j] = drawn[j]
            states[t + 1, noise.shape[0] :, :pad] = ZERO
        inner = pad + n_in + 1
        product(flat, there, row, flat, here, row, 1, weights, 0, pad, rows, pad, inner, noisy)
        state = states[t + 1]  # its columns are cut in the rows: a cut matrix would not be known to be contiguous
        if current:
            _mix(carried, state, ONE - alpha, alpha, pad)
            _copy(state, carried, pad)
            _activate(kind, state, pad)
        elif alpha < ONE:
            _activate(kind, state, pad)
            _copy(active[t], state, pad)
            _mix(state, states[t], alpha, ONE - alpha, pad)
        else:
            _activate(kind, state, pad)


@compiled(**FUSED)
def _through_units(kind, alpha, current, grads, seen, active, carried, n):  # type: ignore[no-untyped-def]
    """Turn one step's `grads` from d loss / d (what weights see) into d loss / d drive, in the first n columns."""
    for b in range(len(grads)):
        grad, phi = grads[b, :n], seen[b, :n]
        if current:
            kept = carried[b]
            for j in range(len(grad)):
                kept[j] = (ONE - alpha) * kept[j] + grad[j] * (ONE - phi[j] * phi[j])
                grad[j] = alpha * kept[j]
        elif alpha < ONE:
            kept, phi = carried[b], active[b]
            for j in range(len(grad)):
                kept[j] = (ONE - alpha) * kept[j] + grad[j]
                grad[j] = alpha * kept[j] * (ONE - phi[j] * phi[j])
        elif kind == RELU:
            for j in range(len(grad)):
                grad[j] = grad[j] if phi[j] > ZERO else ZERO * grad[j]
        else:
            for j in range(len(grad)):
                grad[j] = grad[j] * (ONE - phi[j] * phi[j])


@compiled(**FUSED)
def gradients(  # type: ignore[no-untyped-def]
    kind, alpha, current, params, inputs, targets, loss_weights, noise, decided, valid, costs, work, grads
):
    """Loss and flat gradient of one member.

    Args:
        kind: TANH or RELU.
        alpha: the leak, 1 for none.
        current: leaky units in the current form.
        params: (parameter,), in the order of `flatten`.
        inputs: (B, T, I), their noise included.
        targets: (B, T, O).
        loss_weights: (B, T, 1) of steps, or (B, T, O) of outputs.
        noise: (B, T, N) noise of the units, or (B, 0, N).
        decided: None for the squared error, else as of `read_out_logits`. Which of the two it is, is known where the
            function is compiled: the other's readout is then left out.
        valid: (B, T), 1 at steps of the trial, or (B, 0) without regularisers on states.
        costs: theirs, as of `penalise`.
        work: what `workspace` made.
        grads: (parameter,), written to.
    """
    states, active, carried, pair, by_source, by_source_grad, back, out_grad = work
    _, n_steps, n_in = inputs.shape
    n_out, n = targets.shape[2], noise.shape[2]
    rows, row, pad = states.shape[1], states.shape[2], back.shape[1]
    _spread(params, n, n_in, n_out, by_source, back)
    load_inputs(states, inputs, pad)
    _forward(kind, alpha, current, states, active, carried, by_source, noise, n_in)

    if decided is None:
        scale = loss_scale(loss_weights, n_out, False)
    else:
        scale = loss_scale(loss_weights, n_out, decided[0] == CROSS_ENTROPY)
    bias_out = params[len(params) - n_out :]
    bias_grad = np.zeros(n_out)
    by_source_grad[:] = ZERO
    out_grad[:] = ZERO
    carried[:] = ZERO
    flat, both, wide = states.reshape(-1), pair.reshape(-1), pair.shape[2]
    loss = 0.0
    for step in range(n_steps):
        t = n_steps - 1 - step
        later, here = step % 2 * rows * wide, (step + 1) % 2 * rows * wide
        if decided is None:
            loss += read_out(
                states[t + 1], back, pad, bias_out, targets, loss_weights, t, scale, pair[step % 2], bias_grad
            )
        else:
            loss += read_out_logits(
                states[t + 1], back, pad, bias_out, targets, loss_weights, t, scale, pair[step % 2], bias_grad, decided
            )
        seen, before = (t + 1) * rows * row, t * rows * row
        product(
            out_grad.reshape(-1), 0, pad, both, later + pad, 1, wide, flat, seen, row, len(out_grad), pad, rows, True
        )  # fmt: skip
        skip = pad if step == 0 else 0  # nothing comes from after the last step
        product(
            both, here, wide, both, later + skip, wide, 1, back.reshape(-1), skip * pad, pad, rows, pad,
            pad + n_out - skip, False,
        )  # fmt: skip
        if valid.shape[1] > 0:
            penalise(pair[(step + 1) % 2], states, t, valid, costs, n)
        phi = active[t] if len(active) > 0 else states[t + 1]
        _through_units(kind, alpha, current, pair[(step + 1) % 2], states[t + 1], phi, carried, pad)
        product(
            by_source_grad.reshape(-1), 0, pad, flat, before, 1, row, both, here, wide, len(by_source_grad), pad,
            rows, True,
        )  # fmt: skip
    _gather(by_source_grad, out_grad, bias_grad, n, n_in, n_out, grads)
    return loss
