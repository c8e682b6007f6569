"""The pointwise cells of the compiled driver: how the units of each go one step forward, and a gradient one step back.

A cell's driver (`compiled_driver`) takes the products with its weights; what is left is a function of each unit alone,
two short ones per kind of units (`compiled_one_gate`, `compiled_gated`). A kind is a named tuple of what its functions
need beside their arrays, since numba compiles the driver for each type that it is called with: a process compiles the
cells that it trains and no others. `UNITS` lists the kinds; a further one is its class, two functions and a line there.

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

from degeneracy.networks.cell import Kernel
from degeneracy.training.backends import compiled_gated as gated
from degeneracy.training.backends import compiled_one_gate as one_gate
from degeneracy.training.backends.compiled_parts import FUSED, Floats, padded
from degeneracy.training.backends.tiles import WIDTH

_OPTIONS: Any = FUSED


class Layout(NamedTuple):
    """What a cell's parameters and arrays look like; `blocks` are of N columns each."""

    gates: int = 1  # blocks that recurrent weights drive, in the order of the rows of W_rec; inputs drive them too ...
    separate: int = 0  # ... but those of the last so many, to which inputs give blocks of their own, after the others
    noisy: int = 0  # the block that noise enters
    in_place: bool = False  # the one block stands where what the weights see will
    memories: int = 0  # kept: 0 none, 1 the last, 2 those of all steps
    carries: bool = False  # there is a `carried`
    keeps: bool = False  # see `grad`


class Units(NamedTuple):
    """What the driver has for a kind of units."""

    layout: Layout
    forward: Callable[..., None]
    backward: Callable[..., None]


_LEAKY = Layout(carries=True)
UNITS: dict[type, Units] = {
    one_gate.Tanh: Units(Layout(in_place=True), one_gate.tanh_forward, one_gate.tanh_backward),
    one_gate.Relu: Units(Layout(in_place=True), one_gate.relu_forward, one_gate.relu_backward),
    one_gate.LeakyTanh: Units(_LEAKY, one_gate.leaky_tanh_forward, one_gate.leaky_tanh_backward),
    one_gate.LeakyRelu: Units(_LEAKY, one_gate.leaky_relu_forward, one_gate.leaky_relu_backward),
    one_gate.LeakyCurrent: Units(
        Layout(in_place=True, memories=1, carries=True), one_gate.current_forward, one_gate.current_backward
    ),
    one_gate.TrainedLeak: Units(_LEAKY, one_gate.trained_leak_forward, one_gate.trained_leak_backward),
    one_gate.TrainedLeakCurrent: Units(
        Layout(memories=2, carries=True),
        one_gate.trained_leak_current_forward,
        one_gate.trained_leak_current_backward,
    ),
    gated.Gated: Units(Layout(gates=3, separate=1, noisy=3, keeps=True), gated.gated_forward, gated.gated_backward),
    gated.LongShortTerm: Units(
        Layout(gates=4, noisy=2, memories=2, carries=True),
        gated.long_short_term_forward,
        gated.long_short_term_backward,
    ),
}
# By name, whether the function of the units stands inside the product, and the leak: none, of all units, or trained.
KINDS: dict[tuple[str, bool, str], type] = {
    ("tanh", False, "none"): one_gate.Tanh,
    ("tanh", False, "fixed"): one_gate.LeakyTanh,
    ("tanh", False, "trained"): one_gate.TrainedLeak,
    ("tanh", True, "none"): one_gate.LeakyCurrent,
    ("tanh", True, "fixed"): one_gate.LeakyCurrent,
    ("tanh", True, "trained"): one_gate.TrainedLeakCurrent,
    ("relu", False, "none"): one_gate.Relu,
    ("relu", False, "fixed"): one_gate.LeakyRelu,
    ("gru", False, "none"): gated.Gated,
    ("lstm", False, "none"): gated.LongShortTerm,
}


def kind_of(kernel: Kernel | None) -> type | None:
    """The kind of units that a cell's kernel names; None where there is none."""
    if kernel is None:
        return None
    leak = "trained" if kernel.leaks is not None else "fixed" if kernel.leak < 1 else "none"
    return KINDS.get((kernel.name, kernel.current, leak))


def units_of(kernel: Kernel, leaks: Floats) -> Any:
    """The units of one member: their kind, with its leaks (N,) where these are trained."""
    kind, n = kind_of(kernel), len(leaks)
    assert kind is not None
    if kernel.leaks is None:
        return kind(np.float32(kernel.leak))
    leak = np.ones(padded(n, WIDTH), np.float32)
    leak[:n] = leaks
    return kind(leak, np.zeros(len(leak)))


def layout_of(units: Any) -> Layout:
    """The layout of a kind of units."""
    return UNITS[type(units)].layout


def forward_units(units: Any, *arguments: Any) -> None:
    """The units of all trials one step forward; see the head of this file."""
    UNITS[type(units)].forward(units, *arguments)


def backward_units(units: Any, *arguments: Any) -> None:
    """The gradient of all trials one step back; see the head of this file."""
    UNITS[type(units)].backward(units, *arguments)


@overload(layout_of, jit_options=_OPTIONS)
def _layout_of(units):  # type: ignore[no-untyped-def]
    layout = UNITS[units.instance_class].layout
    return lambda units: layout  # noqa: ARG005


@overload(forward_units, jit_options=_OPTIONS)
def _forward_of(units, *arguments):  # type: ignore[no-untyped-def]  # noqa: ARG001
    function = UNITS[units.instance_class].forward
    return lambda units, *arguments: function(units, *arguments)


@overload(backward_units, jit_options=_OPTIONS)
def _backward_of(units, *arguments):  # type: ignore[no-untyped-def]  # noqa: ARG001
    function = UNITS[units.instance_class].backward
    return lambda units, *arguments: function(units, *arguments)
