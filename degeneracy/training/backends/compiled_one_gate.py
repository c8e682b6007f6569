"""Units of the one-gate cells in the compiled driver; arguments as `compiled_units` says."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.compiling import compiled
from degeneracy.training.backends.compiled_parts import FUSED, ONE, ZERO, Floats, tanh


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


class TrainedLeak(NamedTuple):
    """As `LeakyTanh`, each unit with a leak of its own, which has a gradient."""

    leak: Floats  # (P,), 1 beyond the units
    grad: NDArray[np.float64]  # (P,), added to


class TrainedLeakCurrent(NamedTuple):
    """As `LeakyCurrent`, likewise."""

    leak: Floats
    grad: NDArray[np.float64]


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
def trained_leak_forward(units, blocks, before, after, memory, new_memory, n):  # type: ignore[no-untyped-def]
    """after = (1 - leak) before + leak tanh(block)."""
    tanh_forward(units, blocks, before, after, memory, new_memory, n)
    leak = units.leak
    for b in range(len(after)):
        row, new, old = after[b, :n], blocks[b, :n], before[b, :n]
        for j in range(len(row)):
            row[j] = leak[j] * new[j] + (ONE - leak[j]) * old[j]


@compiled(**FUSED)
def trained_leak_backward(  # type: ignore[no-untyped-def]
    units, blocks, before, _after, _memory, _new_memory, grads, _grad, carried, n
):
    """Through the leak and the tanh, and to the leak."""
    leak, to_leak = units.leak, units.grad
    for b in range(len(grads)):
        to, phi, kept, old = grads[b, :n], blocks[b, :n], carried[b, :n], before[b, :n]
        for j in range(len(to)):
            kept[j] = (ONE - leak[j]) * kept[j] + to[j]
        for j in range(len(to)):
            to_leak[j] += kept[j] * (phi[j] - old[j])
        for j in range(len(to)):
            to[j] = leak[j] * kept[j] * (ONE - phi[j] * phi[j])


@compiled(**FUSED)
def trained_leak_current_forward(units, blocks, _before, after, memory, new_memory, n):  # type: ignore[no-untyped-def]
    """memory = (1 - leak) memory + leak block; after = tanh(memory)."""
    leak = units.leak
    for b in range(len(blocks)):
        row, old, new, seen = blocks[b, :n], memory[b, :n], new_memory[b, :n], after[b, :n]
        for j in range(len(row)):
            new[j] = leak[j] * row[j] + (ONE - leak[j]) * old[j]
        for j in range(len(row)):
            seen[j] = tanh(new[j])


@compiled(**FUSED)
def trained_leak_current_backward(  # type: ignore[no-untyped-def]
    units, blocks, _before, after, memory, _new_memory, grads, _grad, carried, n
):
    """Through the tanh and the leak, and to the leak."""
    leak, to_leak = units.leak, units.grad
    for b in range(len(grads)):
        to, phi, kept = grads[b, :n], after[b, :n], carried[b, :n]
        row, old = blocks[b, :n], memory[b, :n]
        for j in range(len(to)):
            kept[j] = (ONE - leak[j]) * kept[j] + to[j] * (ONE - phi[j] * phi[j])
        for j in range(len(to)):
            to_leak[j] += kept[j] * (row[j] - old[j])
        for j in range(len(to)):
            to[j] = leak[j] * kept[j]
