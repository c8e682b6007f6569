"""The recurrent modules of PyTorch by their step: of one or more layers, as cells, with any readout behind them.

The state of nn.RNN and nn.GRU is [h of each layer], of nn.LSTM [h of each layer, c of each layer]; the readout sees the
last layer's h, the measures that of all.
"""

from typing import Any

import torch
from torch import Tensor, nn

from degeneracy.core.errors import UserError
from degeneracy.ensembles.modules.given import Given
from degeneracy.ensembles.modules.stepped import Sides, stepped

Core = nn.RNNBase | nn.RNNCellBase


class Pair(nn.Module):
    """A recurrent module and what reads it out; None: the outputs are what the last layer's units do."""

    def __init__(self, core: nn.Module, readout: nn.Module | None) -> None:
        super().__init__()
        self.core, self.readout = core, nn.Identity() if readout is None else readout


def read_pair(k: int, core: Any, readout: nn.Module | None) -> Given:
    """A recurrent module of PyTorch, or a cell in its form, and its readout, as a member that steps.

    Args:
        k: the member's position, for messages.
        core: nn.RNN, nn.GRU or nn.LSTM of any number of layers, nn.RNNCell, nn.GRUCell, nn.LSTMCell, or a module with
            `input_size` and `hidden_size` that is called as nn.RNNCell is: core(input, state) -> next state.
        readout: a module from the last layer's units to the outputs.

    Raises:
        UserError: two directions, a cell without sizes, or as of `stepped`.
    """
    pair = Pair(core, readout)
    if isinstance(core, nn.RNNBase):
        if core.bidirectional:
            raise UserError(
                f"from_modules: member {k} runs in both directions (bidirectional = True), so that it has no step"
            )
        called = f"{type(core).__name__} of {core.num_layers} layers" if core.num_layers > 1 else type(core).__name__
        return stepped(k, pair, _step_of_layers, _read_last, _sides_of_layers(core), _run_layers, called)
    if isinstance(core, nn.LSTMCell):
        n = core.hidden_size
        sides = Sides(input_size=core.input_size, state_size=2 * n, n_hidden=n, units=tuple(range(n)) * 2)
        return stepped(k, pair, _step_of_lstm_cell, _read_all, sides, None, type(core).__name__)
    sizes = [getattr(core, name, None) for name in ("input_size", "hidden_size")]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UserError(
            f"from_modules: member {k} is a {type(core).__name__} without input_size and hidden_size; give step=, "
            "readout=, state_size= and input_size="
        )
    sides = Sides(input_size=int(sizes[0] or 0), state_size=int(sizes[1] or 0), n_hidden=int(sizes[1] or 0))
    return stepped(k, pair, _step_of_cell, _read_all, sides, None, type(core).__name__)


def _read_size(core: nn.RNNBase) -> int:
    """How many numbers the readout sees."""
    return int(core.proj_size or core.hidden_size)


def _sides_of_layers(core: nn.RNNBase) -> Sides:
    layers, read = core.num_layers, _read_size(core)
    n_hidden, memory = layers * read, layers * core.hidden_size if core.mode == "LSTM" else 0
    units = tuple(range(n_hidden))
    if memory:  # with a projection a memory cell belongs to no unit
        units += units if memory == n_hidden else (-1,) * memory
    return Sides(input_size=core.input_size, state_size=n_hidden + memory, n_hidden=n_hidden, units=units)


def _by_layer(core: nn.RNNBase, state: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """A state (trial, state) as the module takes it: (layer, trial, unit), of an LSTM two of these."""
    n_hidden = core.num_layers * _read_size(core)
    hidden, memory = (
        part.unflatten(-1, (core.num_layers, -1)) if part.shape[-1] else part
        for part in (state[:, :n_hidden], state[:, n_hidden:])
    )
    hidden = hidden.transpose(0, 1).contiguous()
    return (hidden, memory.transpose(0, 1).contiguous()) if memory.shape[-1] else hidden


def _step_of_layers(pair: Any, state: Tensor, inputs: Tensor) -> Tensor:
    axis = 1 if pair.core.batch_first else 0
    _, after = pair.core(inputs.unsqueeze(axis), _by_layer(pair.core, state))
    parts = after if isinstance(after, tuple) else (after,)
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], -1)


def _read_last(pair: Any, state: Tensor) -> Tensor:
    size = _read_size(pair.core)
    found: Tensor = pair.readout(state[:, (pair.core.num_layers - 1) * size : pair.core.num_layers * size])
    return found


def _run_layers(pair: Any, inputs: Tensor) -> Tensor:
    """The outputs of whole trials, as the module itself runs them."""
    first = pair.core.batch_first
    states = pair.core(inputs if first else inputs.transpose(0, 1))[0]
    found: Tensor = pair.readout(states if first else states.transpose(0, 1))
    return found


def _step_of_cell(pair: Any, state: Tensor, inputs: Tensor) -> Tensor:
    found: Tensor = pair.core(inputs, state)
    return found


def _step_of_lstm_cell(pair: Any, state: Tensor, inputs: Tensor) -> Tensor:
    hidden, memory = state.chunk(2, -1)
    return torch.cat(pair.core(inputs, (hidden.contiguous(), memory.contiguous())), -1)


def _read_all(pair: Any, state: Tensor) -> Tensor:
    found: Tensor = pair.readout(state[:, : pair.core.hidden_size])
    return found
