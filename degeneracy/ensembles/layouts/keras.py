"""Weights of Keras: SimpleRNN, GRU with `reset_after`, LSTM, and a Dense readout.

Kernels are (input, gate * unit) and (unit, gate * unit). The gates of the GRU are update, reset, candidate; its update
gate keeps the state, as here. A GRU without `reset_after` multiplies the state by the reset gate before the recurrent
weights, and is another network for which there is no cell.

Source: keras/src/layers/rnn/gru.py, lstm.py and simple_rnn.py of Keras 3.15.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.errors import UserError
from degeneracy.ensembles.layouts.sides import Names, Path, Side, cell_params, path_of, sort_sides
from degeneracy.networks import Cell

# The cells, and where in Keras' order each of their gates stands.
CELLS = {"tanh": (0,), "relu": (0,), "gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}
CORE = Names(needed=("kernel", "recurrent_kernel"), biases=("bias",))
READOUT = Names(needed=("kernel",), biases=("bias",))


def read(where: str, cell: Cell, arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The parameters of one member.

    Args:
        where: whose they are, for messages.
        cell: one of `CELLS`.
        arrays: by the weights' paths, such as "gru/gru_cell/kernel" and "dense/kernel".

    Raises:
        UserError: names or shapes that are no such network's, or a GRU that is, or may be, without `reset_after`.
    """
    recurrent = {path_of(name)[:-1] for name in arrays if path_of(name)[-1] == "recurrent_kernel"}

    def of_core(path: Path) -> tuple[Path, str] | None:
        return (path[:-1], path[-1]) if path[:-1] in recurrent and path[-1] in (*CORE.needed, *CORE.biases) else None

    core, readout = sort_sides(where, arrays, CORE, READOUT, of_core)
    order = CELLS[cell.name]
    n_units, (n_in, _), (_, n_out) = core.sizes("recurrent_kernel")[0], core.sizes("kernel"), readout.sizes("kernel")
    columns = len(order) * n_units

    def rows(columns_by_gate: NDArray[np.float64]) -> NDArray[np.float64]:
        gates = columns_by_gate.reshape(*columns_by_gate.shape[:-1], len(order), n_units)[..., order, :]
        return gates.reshape(columns_by_gate.shape).T

    weights = {
        "W_rec": rows(core.take("recurrent_kernel", n_units, columns)),
        "W_in": rows(core.take("kernel", n_in, columns)),
    }
    biases = [rows(bias) for bias in _biases(cell, core, columns)]
    return cell_params(cell, weights, biases) | {
        "W_out": readout.take("kernel", n_units, n_out).T,
        "b_out": readout.take("bias", n_out) if "bias" in readout.arrays else np.zeros(n_out),
    }


def _biases(cell: Cell, core: Side, columns: int) -> list[NDArray[np.float64]]:
    """Those of the inputs and those of the recurrent weights."""
    if cell.name != "gru":
        return [core.take("bias", columns) if "bias" in core.arrays else np.zeros(columns), np.zeros(columns)]
    if "bias" not in core.arrays:
        raise UserError(
            f"{core.where}: a Keras GRU without bias does not say whether it has reset_after; if so, give a 'bias' of"
            f" zeros (2, {columns}) beside '{core.called['kernel']}', else there is no such cell here"
        )
    if core.arrays["bias"].shape == (columns,):
        raise UserError(
            f"{core.where}: '{core.called['bias']}' of shape ({columns},) is of a Keras GRU with reset_after=False,"
            f" which is another cell than 'gru'; needed is one with reset_after=True, (2, {columns})"
        )
    return list(core.take("bias", 2, columns))
