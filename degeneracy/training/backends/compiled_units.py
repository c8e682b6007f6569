"""The pointwise cells of the compiled driver: how the units of each go one step forward, and a gradient one step back.

A cell's driver (`compiled_driver`) takes the products with its weights; what is left is a function of each unit alone,
two short ones per kind of units. A kind is a named tuple of what its functions need beside their arrays, since numba
compiles the driver for each type that it is called with: a process compiles the cells that it trains and no others.
`LAYOUTS`, `FORWARD` and `BACKWARD` list the kinds; a further one is its class, two functions and a line in each.

Arguments of a kind's functions, all of one step (B trials; N units, of which loops may run over the padding too):
    units: the kind with its numbers.
    blocks: (B, ...), N columns per block of the cell: what inputs, weights and noise give, to be replaced by what the
        way back needs. Of a kind whose layout is `in_place` they are `after`.
    before, after: (B, ...), what the weights see before and after the step in the first N columns; `after` is written.
    memory, new_memory: (B, N), likewise of what the cell remembers beside it.
    grads: (B, ...), d loss / d blocks, to be written. Of a cell of one block it begins as `grad`.
    grad: (B, N), d loss / d (what the weights see), of a cell of several blocks. Of a layout that `keeps` it, what is
        left in it is added to that of the step before.
    carried: (B, N), a further gradient that goes back to the step before past the weights, from the step after.
Loops are short and many, since LLVM compares the addresses of few arrays per loop; it does not vectorise a loop over
two arrays that are one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from degeneracy.core.compiling import compiled
from degeneracy.networks.cell import Kernel
from degeneracy.training.backends.compiled_parts import FUSED, HALF, ONE, ZERO, tanh

_OPTIONS: Any = FUSED


class Tanh(NamedTuple):
    """tanh(block)."""

    leak: np.float32


class Relu(NamedTuple):
    """max(0, block)."""

    leak: np.float32


class LeakyTanh(NamedTuple):
    """A leaky mean of tanh(block)."""

    leak: np.float32


class LeakyRelu(NamedTuple):
    """A leaky mean of max(0, block)."""

    leak: np.float32


class LeakyCurrent(NamedTuple):
    """tanh of a leaky mean of blocks."""

    leak: np.float32


class Gated(NamedTuple):
    """The gated recurrent unit; blocks: reset and update gate, and what weights and inputs add to the candidate."""

    leak: np.float32


class LongShortTerm(NamedTuple):
    """Long short-term memory; blocks: input and forget gate, candidate, output gate."""

    leak: np.float32


class Layout(NamedTuple):
    """What a cell's parameters and arrays look like; `blocks` are of N columns each."""

    gates: int = 1  # blocks that recurrent weights drive, in the order of the rows of W_rec; inputs drive them too ...
    separate: int = 0  # ... but those of the last so many, to which inputs give blocks of their own, after the others
    noisy: int = 0  # the block that noise enters
    in_place: bool = False  # the one block stands where what the weights see will
    memories: int = 0  # kept: 0 none, 1 the last, 2 those of all steps
    carries: bool = False  # there is a `carried`
    keeps: bool = False  # see `grad`


LAYOUTS: dict[type, Layout] = {
    Tanh: Layout(in_place=True),
    Relu: Layout(in_place=True),
    LeakyTanh: Layout(carries=True),
    LeakyRelu: Layout(carries=True),
    LeakyCurrent: Layout(in_place=True, memories=1, carries=True),
    Gated: Layout(gates=3, separate=1, noisy=3, keeps=True),
    LongShortTerm: Layout(gates=4, noisy=2, memories=2, carries=True),
}


# By name, whether there is a leak, and whether the function of the units stands inside the product.
KINDS: dict[tuple[str, bool, bool], type] = {
    ("tanh", False, False): Tanh,
    ("tanh", True, False): LeakyTanh,
    ("tanh", False, True): LeakyCurrent,
    ("tanh", True, True): LeakyCurrent,
    ("relu", False, False): Relu,
    ("relu", True, False): LeakyRelu,
    ("gru", False, False): Gated,
    ("lstm", False, False): LongShortTerm,
}


def units_of(kernel: Kernel | None) -> Any:
    """The kind of units that a cell's kernel names, with its numbers; None where there is none."""
    if kernel is None:
        return None
    kind = KINDS.get((kernel.name, kernel.leak < 1, kernel.current))
    return None if kind is None else kind(np.float32(kernel.leak))


@compiled(**FUSED)
def tanh_forward(_units, blocks, _before, _after, _memory, _new_memory, n):  # type: ignore[no-untyped-def]
    """after = tanh(block), in place."""
    for b in range(len(blocks)):
        row = blocks[b, :n]
        for j in range(len(row)):
            row[j] = tanh(row[j])


@compiled(**FUSED)
def tanh_backward(  # type: ignore[no-untyped-def]
    _units, _blocks, _before, after, _memory, _new_memory, grads, _grad, _carried, n
):
    """Through the tanh."""
    for b in range(len(grads)):
        to, phi = grads[b, :n], after[b, :n]
        for j in range(len(to)):
            to[j] = to[j] * (ONE - phi[j] * phi[j])


@compiled(**FUSED)
def relu_forward(_units, blocks, _before, _after, _memory, _new_memory, n):  # type: ignore[no-untyped-def]
    """after = max(0, block), in place."""
    for b in range(len(blocks)):
        row = blocks[b, :n]
        for j in range(len(row)):
            row[j] = row[j] if not row[j] < ZERO else ZERO  # a NaN stays NaN


@compiled(**FUSED)
def relu_backward(  # type: ignore[no-untyped-def]
    _units, _blocks, _before, after, _memory, _new_memory, grads, _grad, _carried, n
):
    """Through the rectification."""
    for b in range(len(grads)):
        to, phi = grads[b, :n], after[b, :n]
        for j in range(len(to)):
            to[j] = to[j] if phi[j] > ZERO else ZERO * to[j]


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
def _mean(leak, new, old, after, n):  # type: ignore[no-untyped-def]
    """after = leak new + (1 - leak) old in the first n columns."""
    rest = ONE - leak
    for b in range(len(after)):
        row, new_row, old_row = after[b, :n], new[b, :n], old[b, :n]
        for j in range(len(row)):
            row[j] = leak * new_row[j] + rest * old_row[j]


@compiled(**FUSED)
def leaky_tanh_forward(units, blocks, before, after, memory, new_memory, n):  # type: ignore[no-untyped-def]
    """after = (1 - leak) before + leak tanh(block)."""
    tanh_forward(units, blocks, before, after, memory, new_memory, n)
    _mean(units.leak, blocks, before, after, n)


@compiled(**FUSED)
def leaky_tanh_backward(  # type: ignore[no-untyped-def]
    units, blocks, _before, _after, _memory, _new_memory, grads, _grad, carried, n
):
    """Through the leak and the tanh."""
    for b in range(len(grads)):
        to, phi, kept = grads[b, :n], blocks[b, :n], carried[b, :n]
        for j in range(len(to)):
            kept[j] = (ONE - units.leak) * kept[j] + to[j]
            to[j] = units.leak * kept[j] * (ONE - phi[j] * phi[j])


@compiled(**FUSED)
def leaky_relu_forward(units, blocks, before, after, memory, new_memory, n):  # type: ignore[no-untyped-def]
    """after = (1 - leak) before + leak max(0, block)."""
    relu_forward(units, blocks, before, after, memory, new_memory, n)
    _mean(units.leak, blocks, before, after, n)


@compiled(**FUSED)
def leaky_relu_backward(  # type: ignore[no-untyped-def]
    units, blocks, _before, _after, _memory, _new_memory, grads, _grad, carried, n
):
    """Through the leak and the rectification."""
    for b in range(len(grads)):
        to, phi, kept = grads[b, :n], blocks[b, :n], carried[b, :n]
        for j in range(len(to)):
            kept[j] = (ONE - units.leak) * kept[j] + to[j]
            to[j] = units.leak * kept[j] if phi[j] > ZERO else ZERO * kept[j]


@compiled(**FUSED)
def current_forward(units, blocks, before, after, memory, new_memory, n):  # type: ignore[no-untyped-def]
    """memory = (1 - leak) memory + leak block; after = tanh(memory)."""
    _mix(memory, blocks, ONE - units.leak, units.leak, n)
    _copy(blocks, memory, n)
    tanh_forward(units, blocks, before, after, memory, new_memory, n)


@compiled(**FUSED)
def current_backward(  # type: ignore[no-untyped-def]
    units, _blocks, _before, after, _memory, _new_memory, grads, _grad, carried, n
):
    """Through the tanh and the leak."""
    for b in range(len(grads)):
        to, phi, kept = grads[b, :n], after[b, :n], carried[b, :n]
        for j in range(len(to)):
            kept[j] = (ONE - units.leak) * kept[j] + to[j] * (ONE - phi[j] * phi[j])
            to[j] = units.leak * kept[j]


@compiled(**FUSED)
def gated_forward(_units, blocks, before, after, _memory, _new_memory, n):  # type: ignore[no-untyped-def]
    """after = candidate + update (before - candidate), candidate = tanh(inputs + reset weights)."""
    for b in range(len(blocks)):
        both = blocks[b, : 2 * n]
        for j in range(len(both)):
            both[j] = HALF + HALF * tanh(HALF * both[j])
        reset, update = blocks[b, :n], blocks[b, n : 2 * n]
        recurrent, candidate = blocks[b, 2 * n : 3 * n], blocks[b, 3 * n :]
        for j in range(n):
            candidate[j] = tanh(candidate[j] + reset[j] * recurrent[j])
        old, new = before[b, :n], after[b, :n]
        for j in range(n):
            new[j] = candidate[j] + update[j] * (old[j] - candidate[j])


@compiled(**FUSED)
def gated_backward(  # type: ignore[no-untyped-def]
    _units, blocks, before, _after, _memory, _new_memory, grads, grad, _carried, n
):
    """Through the mean of old and candidate, and the gates."""
    for b in range(len(blocks)):
        reset, update = blocks[b, :n], blocks[b, n : 2 * n]
        recurrent, candidate = blocks[b, 2 * n : 3 * n], blocks[b, 3 * n :]
        state, old = grad[b, :n], before[b, :n]
        to_reset, to_update, to_recurrent = grads[b, :n], grads[b, n : 2 * n], grads[b, 2 * n : 3 * n]
        to_candidate = grads[b, grads.shape[1] - n :]
        for j in range(n):
            to_candidate[j] = state[j] * (ONE - update[j]) * (ONE - candidate[j] * candidate[j])
        for j in range(n):
            to_recurrent[j] = to_candidate[j] * reset[j]
        for j in range(n):
            to_reset[j] = to_candidate[j] * recurrent[j] * reset[j] * (ONE - reset[j])
        for j in range(n):
            to_update[j] = state[j] * (old[j] - candidate[j])
        for j in range(n):
            to_update[j] *= update[j] * (ONE - update[j])
        for j in range(n):
            state[j] *= update[j]


@compiled(**FUSED)
def long_short_term_forward(_units, blocks, _before, after, memory, new_memory, n):  # type: ignore[no-untyped-def]
    """memory = forget memory + input tanh(candidate); after = output tanh(memory)."""
    for b in range(len(blocks)):
        both, out = blocks[b, : 2 * n], blocks[b, 3 * n : 4 * n]
        into, forget, candidate = blocks[b, :n], blocks[b, n : 2 * n], blocks[b, 2 * n : 3 * n]
        for j in range(len(both)):
            both[j] = HALF + HALF * tanh(HALF * both[j])
        for j in range(n):
            candidate[j] = tanh(candidate[j])
        for j in range(n):
            out[j] = HALF + HALF * tanh(HALF * out[j])
        old, new, seen = memory[b, :n], new_memory[b, :n], after[b, :n]
        for j in range(n):
            new[j] = forget[j] * old[j] + into[j] * candidate[j]
        for j in range(n):
            seen[j] = out[j] * tanh(new[j])


@compiled(**FUSED)
def long_short_term_backward(  # type: ignore[no-untyped-def]
    _units, blocks, _before, _after, memory, new_memory, grads, grad, carried, n
):
    """Through the output, the memory and the gates."""
    for b in range(len(blocks)):
        into, forget = blocks[b, :n], blocks[b, n : 2 * n]
        candidate, out = blocks[b, 2 * n : 3 * n], blocks[b, 3 * n : 4 * n]
        old, new, seen, kept = memory[b, :n], new_memory[b, :n], grad[b, :n], carried[b, :n]
        to_input, to_forget = grads[b, :n], grads[b, n : 2 * n]
        to_candidate, to_out = grads[b, 2 * n : 3 * n], grads[b, 3 * n : 4 * n]
        for j in range(n):
            active = tanh(new[j])
            kept[j] += seen[j] * out[j] * (ONE - active * active)
            to_out[j] = seen[j] * active * out[j] * (ONE - out[j])
        for j in range(n):
            to_input[j] = kept[j] * candidate[j] * into[j] * (ONE - into[j])
        for j in range(n):
            to_candidate[j] = kept[j] * into[j] * (ONE - candidate[j] * candidate[j])
        for j in range(n):
            to_forget[j] = kept[j] * old[j] * forget[j] * (ONE - forget[j])
        for j in range(n):
            kept[j] *= forget[j]


FORWARD: dict[type, Callable[..., None]] = {
    Tanh: tanh_forward,
    Relu: relu_forward,
    LeakyTanh: leaky_tanh_forward,
    LeakyRelu: leaky_relu_forward,
    LeakyCurrent: current_forward,
    Gated: gated_forward,
    LongShortTerm: long_short_term_forward,
}
BACKWARD: dict[type, Callable[..., None]] = {
    Tanh: tanh_backward,
    Relu: relu_backward,
    LeakyTanh: leaky_tanh_backward,
    LeakyRelu: leaky_relu_backward,
    LeakyCurrent: current_backward,
    Gated: gated_backward,
    LongShortTerm: long_short_term_backward,
}


def layout_of(units: Any) -> Layout:
    """The layout of a kind of units."""
    return LAYOUTS[type(units)]


def forward_units(units: Any, *arguments: Any) -> None:
    """The units of all trials one step forward; see the head of this file."""
    FORWARD[type(units)](units, *arguments)


def backward_units(units: Any, *arguments: Any) -> None:
    """The gradient of all trials one step back; see the head of this file."""
    BACKWARD[type(units)](units, *arguments)


@overload(layout_of, jit_options=_OPTIONS)
def _layout_of(units):  # type: ignore[no-untyped-def]
    layout = LAYOUTS[units.instance_class]
    return lambda units: layout  # noqa: ARG005


@overload(forward_units, jit_options=_OPTIONS)
def _forward_of(units, *arguments):  # type: ignore[no-untyped-def]  # noqa: ARG001
    function = FORWARD[units.instance_class]
    return lambda units, *arguments: function(units, *arguments)


@overload(backward_units, jit_options=_OPTIONS)
def _backward_of(units, *arguments):  # type: ignore[no-untyped-def]  # noqa: ARG001
    function = BACKWARD[units.instance_class]
    return lambda units, *arguments: function(units, *arguments)
