"""Members as PyTorch modules, as `Ensemble.from_modules` takes them: the same outputs, to be changed or trained on."""

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from degeneracy.ensembles.modules.recurrent_parts import Pair
from degeneracy.networks import Cell, forward
from degeneracy.networks.cell import Params
from degeneracy.networks.cells import CELLS
from degeneracy.networks.module_cell import OF_MODULE

LAYERS: dict[str, Any] = {
    "tanh": nn.RNN,
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}


class RecurrentModule(nn.Module):
    """A network of this package as a module: a cell, and its parameters by their names.

    Called with inputs (trial, time, in) it gives outputs (trial, time, out).
    """

    def __init__(self, cell: Cell, params: Params) -> None:
        super().__init__()
        self.cell = cell
        for name, value in params.items():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))

    def params(self) -> Params:
        """The parameters with a member axis of 1."""
        return {name: value[None] for name, value in self.named_parameters()}

    def states(self, inputs: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The states (trial, time, state) and the outputs (trial, time, out), from `start` (trial, state)."""
        begin = None if start is None else start[None]
        states, outputs = forward(self.cell, self.params(), inputs[None], {}, start=begin)
        return states[0], outputs[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs, (trial, time, out)."""
        return self.states(inputs)[1]

    def step(self, state: Tensor, inputs: Tensor) -> Tensor:
        """The next state (trial, state) under inputs (trial, in)."""
        params = self.params()
        [drive] = self.cell.drive(params, inputs[None, :, None])
        return self.cell.step(params, state[None], drive)[0]

    def readout(self, state: Tensor) -> Tensor:
        """The outputs (trial, out) in a state (trial, state)."""
        return self.cell.read_out(self.params(), state[None, None])[0, :, 0]


def exported(cell: Cell, params: Params) -> Any:
    """One member.

    Args:
        cell: the member's.
        params: without a member axis.

    Returns:
        (nn.RNN, nn.GRU or nn.LSTM with `batch_first`, nn.Linear) where the cell is one of these; a copy of the user's
        own module, or pair of modules; else a `RecurrentModule`.
    """
    module = getattr(cell, "module", None)
    if isinstance(module, nn.Module):
        own = _own(module, params, cell.fixed)
        return (own.core, own.readout) if isinstance(own, Pair) else own
    name = next((name for name in LAYERS if type(cell) is CELLS[name]), None)
    return RecurrentModule(cell, params) if name is None else _layer(name, cell, params)


def _own(module: nn.Module, params: Params, untrained: Collection[str]) -> nn.Module:
    """A copy of the user's module with these numbers, its parameters to be trained on."""
    made = copy.deepcopy(module)
    places: dict[str, Tensor] = {**dict(made.named_parameters()), **dict(made.named_buffers())}
    with torch.no_grad():
        for name, value in params.items():
            if name.startswith(OF_MODULE):
                places[name.removeprefix(OF_MODULE)].copy_(value)
    for name, value in made.named_parameters():
        value.requires_grad_(OF_MODULE + name not in untrained)
    return made


def _layer(name: str, cell: Cell, params: Params) -> tuple[nn.Module, nn.Linear]:
    into, out = params["W_in"], params["W_out"]
    n_units = params["W_rec"].shape[1]
    core = LAYERS[name](into.shape[1], n_units, batch_first=True, dtype=into.dtype)
    readout = nn.Linear(n_units, len(out), dtype=into.dtype)
    biases = [params[bias] for bias in cell.biases]
    first, second = biases if len(biases) == 2 else (biases[0], torch.zeros_like(biases[0]))
    values = {"weight_ih_l0": into, "weight_hh_l0": params["W_rec"], "bias_ih_l0": first, "bias_hh_l0": second}
    with torch.no_grad():
        for key, value in values.items():
            getattr(core, key).copy_(value)
        readout.weight.copy_(out)
        readout.bias.copy_(params["b_out"])
    return core, readout
