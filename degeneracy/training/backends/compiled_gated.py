"""Units of the gated cells in the compiled driver; arguments as `compiled_units` says."""

from typing import NamedTuple

import numpy as np

from degeneracy.core.compiling import compiled
from degeneracy.training.backends.compiled_parts import FUSED, HALF, ONE, tanh


class Gated(NamedTuple):
    """The gated recurrent unit; blocks: reset and update gate, and what weights and inputs add to the candidate."""

    leak: np.float32


class LongShortTerm(NamedTuple):
    """Long short-term memory; blocks: input and forget gate, candidate, output gate."""

    leak: np.float32


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
