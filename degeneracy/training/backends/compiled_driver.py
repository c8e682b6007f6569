"""Loss and gradients of one member of a pointwise cell, compiled by numba.

A pointwise cell drives blocks of units by products with its weights and goes on with each unit alone; what it does with
units is in `compiled_units`, all else is here. The same backward through time as `backpropagation.py`. Inputs and a 1
stand beside what the weights see in one array, so that one product per step drives the units and one more gives all
weights' gradients while their factors are in the cache; only this array and the blocks of all steps are stored.
Everything is float32; losses are summed in float64.

Sizes: B trials, T steps, N units, I inputs, O outputs, G blocks with recurrent weights (gates), S blocks that inputs
alone drive; N is padded to P, a multiple of `WIDTH`, B to a multiple of `ROWS`, with zeros that stay zero.
"""

from typing import Any, NamedTuple

import numpy as np

from degeneracy.core.compiling import compiled
from degeneracy.training.backends.compiled_parts import (
    CROSS_ENTROPY,
    FUSED,
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
)
from degeneracy.training.backends.compiled_units import backward_units, forward_units, layout_of
from degeneracy.training.backends.tiles import LEAST_ROWS, WIDTH, product


class Weights(NamedTuple):
    """The parameters of a member, or their gradients."""

    recurrent: Floats  # (G N, N)
    inward: Floats  # (G N, I)
    biases: tuple[Floats, ...]  # one or two, (G N,); the second belongs to the recurrent weights
    outward: Floats  # (O, N)
    bias_out: Floats  # (O,)


class Data(NamedTuple):
    """The trials of a member."""

    inputs: Floats  # (B, T, I), their noise included
    targets: Floats  # (B, T, O)
    loss_weights: Floats  # (B, T, 1) of steps, or (B, T, O) of outputs
    noise: Floats  # (B, T, N) of the units, or (B, 0, N)
    start: Floats  # (2, B, N): what the weights see before the first step, and memory; (2, 0, N): both are 0
    valid: Floats  # (B, T), 1 at steps of the trial, or (B, 0) without regularisers on states
    costs: Floats  # theirs, as of `penalise`


class Work(NamedTuple):
    """The arrays that an update works in; used again by the next."""

    states: Floats  # (T + 1, B, P + inputs and 1): what the weights see beside the inputs
    blocks: Floats  # (T, B, (G + S) P), none where they stand in `states`
    memories: Floats  # (1 or T + 1, B, P)
    carried: Floats  # (B, P)
    grad: Floats  # (B, P), of cells of several blocks
    pair: Floats  # (2, B, G P + O + S P): gradients of blocks, outputs and blocks of inputs alone, of two steps
    by_source: Floats  # (P + inputs and 1, (G + S) P): weights
    by_source_grad: Floats  # (P + inputs and 1, G P)
    by_input_grad: Floats  # (inputs and 1, S P)
    back: Floats  # (G P + O, P): recurrent and output weights
    out_grad: Floats  # (O, P)


def workspace(sizes: Sizes, units: Any) -> Work:
    """The arrays for trials and networks of these sizes."""
    layout, b, p, t = layout_of(units), sizes.rows, sizes.units, sizes.n_steps
    sources, outputs = padded(sizes.n_inputs + 1, LEAST_ROWS), padded(sizes.n_outputs, LEAST_ROWS)
    gates, separate = layout.gates * p, layout.separate * p
    states = aligned(t + 1, b, p + padded(sources, WIDTH))
    states[:, : sizes.n_trials, p + sizes.n_inputs] = 1
    return Work(
        states=states,
        blocks=aligned(0 if layout.in_place else t, b, gates + separate),
        memories=aligned(t + 1 if layout.memories == 2 else 1, b if layout.memories else 0, p),
        carried=aligned(b if layout.carries else 0, p),
        grad=aligned(b if layout.gates > 1 else 0, p),
        pair=aligned(2, b, gates + padded(outputs, WIDTH) + separate),
        by_source=aligned(p + sources, gates + separate),
        by_source_grad=aligned(p + sources, gates),
        by_input_grad=aligned(sources, separate),
        back=aligned(gates + sizes.n_outputs, p),
        out_grad=aligned(outputs, p),
    )


@compiled(**FUSED)
def _lay_recurrent(weights, gate, by_source, back):  # type: ignore[no-untyped-def]
    """Lay out a gate's recurrent weights: a column per unit, and a row per unit."""
    n, pad = weights.shape[1], back.shape[1]
    start, column = gate * n, gate * pad
    block = 16  # a transpose by blocks: both sides stay in the cache
    for j0 in range(0, n, block):
        for k0 in range(0, n, block):
            for j in range(j0, min(j0 + block, n)):
                row, to = weights[start + j], back[column + j]
                for k in range(k0, min(k0 + block, n)):
                    by_source[k, column + j] = row[k]
                    to[k] = row[k]


@compiled(**FUSED)
def _take_recurrent(by_source, gate, pad, grads):  # type: ignore[no-untyped-def]
    """The gradient of a gate's recurrent weights from those by source."""
    n = grads.shape[1]
    start, column = gate * n, gate * pad
    block = 16
    for j0 in range(0, n, block):
        for k0 in range(0, n, block):
            for j in range(j0, min(j0 + block, n)):
                row = grads[start + j]
                for k in range(k0, min(k0 + block, n)):
                    row[k] = by_source[k, column + j]


@compiled(**FUSED)
def _lay_out(layout, weights, by_source, back):  # type: ignore[no-untyped-def]
    """Lay out the parameters: rows by source (units, inputs, 1), and recurrent over output weights."""
    n, n_in, pad, gates = weights.recurrent.shape[1], weights.inward.shape[1], back.shape[1], layout.gates
    for gate in range(gates):
        _lay_recurrent(weights.recurrent, gate, by_source, back)
        start, column = gate * n, gate * pad
        driven = column + (layout.separate * pad if gate >= gates - layout.separate else 0)
        for j in range(n):
            for i in range(n_in):
                by_source[pad + i, driven + j] = weights.inward[start + j, i]
        first, second = weights.biases[0], weights.biases[len(weights.biases) - 1]
        for j in range(n):
            by_source[pad + n_in, driven + j] = first[start + j]
        if len(weights.biases) == 2:
            for j in range(n):
                other = by_source[pad + n_in, column + j] if driven == column else ZERO
                by_source[pad + n_in, column + j] = other + second[start + j]
    for o in range(len(weights.outward)):
        for k in range(n):
            back[gates * pad + o, k] = weights.outward[o, k]


@compiled(**FUSED)
def _gather(layout, work, bias_out, grads):  # type: ignore[no-untyped-def]
    """The gradient by parameter from the gradients by source, of the output weights and of the output bias."""
    n, n_in, pad, gates = grads.recurrent.shape[1], grads.inward.shape[1], work.back.shape[1], layout.gates
    for gate in range(gates):
        _take_recurrent(work.by_source_grad, gate, pad, grads.recurrent)
        start, column, alone = gate * n, gate * pad, gate - (gates - layout.separate)
        driven, source, at = (work.by_input_grad, 0, alone * pad) if alone >= 0 else (work.by_source_grad, pad, column)
        for j in range(n):
            for i in range(n_in):
                grads.inward[start + j, i] = driven[source + i, at + j]
        for j in range(n):
            grads.biases[0][start + j] = driven[source + n_in, at + j]
        if len(grads.biases) == 2:
            second = grads.biases[len(grads.biases) - 1]
            for j in range(n):
                second[start + j] = work.by_source_grad[pad + n_in, column + j]
    for o in range(len(grads.outward)):
        for k in range(n):
            grads.outward[o, k] = work.out_grad[o, k]
        grads.bias_out[o] = bias_out[o]


@compiled(**FUSED)
def _load_noise(blocks, begin, end, at, noise, t):  # type: ignore[no-untyped-def]
    """Begin columns of a step's blocks (B, ...) with zeros, and with the noise from column `at`."""
    for b in range(len(blocks)):
        row = blocks[b, begin:end]
        row[:] = ZERO  # the padding too: a member that diverged may have left a NaN there
        if b < noise.shape[0]:
            drawn, to = noise[b, t], blocks[b, at:end]
            for j in range(len(drawn)):
                to[j] = drawn[j]


@compiled(**FUSED)
def _begin(data, work):  # type: ignore[no-untyped-def]
    """Put inputs and start where the first steps look for them."""
    pad, (_, n_trials, n) = work.back.shape[1], data.start.shape
    load_inputs(work.states, data.inputs, pad)
    work.states[0, :, :pad] = ZERO
    work.memories[0] = ZERO
    for b in range(n_trials):
        for j in range(n):
            work.states[0, b, j] = data.start[0, b, j]
        if work.memories.shape[1] > 0:
            for j in range(n):
                work.memories[0, b, j] = data.start[1, b, j]


@compiled(**FUSED, inline="always")
def _forward(units, data, work):  # type: ignore[no-untyped-def]
    """Run the units: `work.states`, blocks and memories of all steps."""
    layout, states, noise, n_in = layout_of(units), work.states, data.noise, data.inputs.shape[2]
    n_steps, rows, row = len(states) - 1, states.shape[1], states.shape[2]
    width, pad = work.by_source.shape[1], work.back.shape[1]
    gates, last = layout.gates * pad, len(work.memories) - 1
    flat, weights, noisy = states.reshape(-1), work.by_source.reshape(-1), noise.shape[1] > 0
    out = flat if layout.in_place else work.blocks.reshape(-1)
    out_row = row if layout.in_place else width
    at = layout.noisy * pad
    apart = at >= gates  # noise enters a block that inputs alone drive
    for t in range(n_steps):
        here, there = t * rows * row, (t + layout.in_place) * rows * out_row
        blocks = states[t + 1] if layout.in_place else work.blocks[t]
        if noisy:
            _load_noise(blocks, gates if apart else 0, width if apart else gates, at, noise, t)
        product(
            out, there, out_row, flat, here, row, 1, weights, 0, width, rows, gates, pad + n_in + 1,
            noisy and not apart,
        )  # fmt: skip
        if layout.separate > 0:
            product(
                out, there + gates, out_row, flat, here + pad, row, 1, weights, pad * width + gates, width, rows,
                width - gates, n_in + 1, noisy and apart,
            )  # fmt: skip
        forward_units(
            units, blocks, states[t], states[t + 1], work.memories[min(t, last)], work.memories[min(t + 1, last)], pad
        )


@compiled(**FUSED, inline="always")
def _output_gradient(t, later, weights, data, decided, scale, work, bias_grad):  # type: ignore[no-untyped-def]
    """Write d loss / d output of step t, add it to the readout's gradient; returns the step's loss."""
    pair, back, state = work.pair[later], work.back, work.states[t + 1]
    gates, rows = len(back) - len(weights.outward), len(state)
    if decided is None:
        loss = read_out(
            state, back, gates, weights.bias_out, data.targets, data.loss_weights, t, scale, pair, bias_grad
        )
    else:
        loss = read_out_logits(
            state, back, gates, weights.bias_out, data.targets, data.loss_weights, t, scale, pair, bias_grad, decided
        )
    pad, wide = back.shape[1], pair.shape[1]
    product(
        work.out_grad.reshape(-1), 0, pad, pair.reshape(-1), gates, 1, wide, state.reshape(-1), 0, state.shape[1],
        len(work.out_grad), pad, rows, True,
    )  # fmt: skip
    return loss


@compiled(**FUSED, inline="always")
def _step_back(units, t, skip, data, work):  # type: ignore[no-untyped-def]
    """From the gradients of the step after, and of the outputs, those of step t's blocks, and their part of weights'.

    `skip` columns of the step after have none: those of all its blocks, where t is the last step.
    """
    layout, states, last = layout_of(units), work.states, len(work.memories) - 1
    n_steps, rows, row = len(states) - 1, states.shape[1], states.shape[2]
    pad, wide = work.back.shape[1], work.pair.shape[2]
    gates, separate, single = layout.gates * pad, layout.separate * pad, layout.gates == 1
    side = (n_steps - t) % 2  # of the pair
    flat, both, block_grads = states.reshape(-1), work.pair.reshape(-1), work.pair[side]
    here, later, before = side * rows * wide, (1 - side) * rows * wide, t * rows * row
    grad = block_grads if single else work.grad
    product(
        grad.reshape(-1), 0, wide if single else pad, both, later + skip, wide, 1, work.back.reshape(-1), skip * pad,
        pad, rows, pad, len(work.back) - skip, layout.keeps,
    )  # fmt: skip
    if data.valid.shape[1] > 0:
        penalise(grad, states, t, data.valid, data.costs, data.noise.shape[2])
    blocks = states[t + 1] if layout.in_place else work.blocks[t]
    backward_units(
        units, blocks, states[t], states[t + 1], work.memories[min(t, last)], work.memories[min(t + 1, last)],
        block_grads, grad, work.carried, pad,
    )  # fmt: skip
    product(
        work.by_source_grad.reshape(-1), 0, gates, flat, before, 1, row, both, here, wide, len(work.by_source_grad),
        gates, rows, True,
    )  # fmt: skip
    if separate > 0:
        product(
            work.by_input_grad.reshape(-1), 0, separate, flat, before + pad, 1, row, both, here + wide - separate,
            wide, len(work.by_input_grad), separate, rows, True,
        )  # fmt: skip


@compiled(**FUSED)
def gradients(units, weights, data, decided, work, grads):  # type: ignore[no-untyped-def]
    """Loss and gradient of one member.

    Args:
        units: the cell's, as of `compiled_units.units_of`; every kind of units is compiled for itself.
        weights: the parameters, `Weights`.
        data: the trials, `Data`.
        decided: None for the squared error, else as of `read_out_logits`. Which of the two it is, is known where the
            function is compiled: the other's readout is then left out.
        work: what `workspace` made.
        grads: the gradients, `Weights`; written to.
    """
    layout, n_steps, n_out = layout_of(units), data.inputs.shape[1], len(weights.outward)
    _lay_out(layout, weights, work.by_source, work.back)
    _begin(data, work)
    _forward(units, data, work)
    if decided is None:
        scale = loss_scale(data.loss_weights, n_out, False)
    else:
        scale = loss_scale(data.loss_weights, n_out, decided[0] == CROSS_ENTROPY)
    bias_grad = np.zeros(n_out)
    for array in (work.by_source_grad, work.by_input_grad, work.out_grad, work.carried, work.grad):
        array[:] = ZERO
    loss = 0.0
    for step in range(n_steps):
        t, gates = n_steps - 1 - step, layout.gates * work.back.shape[1]
        loss += _output_gradient(t, step % 2, weights, data, decided, scale, work, bias_grad)
        _step_back(units, t, gates if step == 0 else 0, data, work)
    _gather(layout, work, bias_grad, grads)
    return loss
