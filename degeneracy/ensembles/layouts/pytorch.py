"""State dictionaries of PyTorch: nn.RNN, nn.GRU, nn.LSTM or their cells of one step, and an nn.Linear readout.

Weights are (row, column) as here, the gates' rows one below the other in the order that this package has.
"""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.errors import UserError
from degeneracy.ensembles.layouts.sides import Names, Path, cell_params, sort_sides
from degeneracy.networks import Cell

CELLS = ("tanh", "relu", "gru", "lstm")
CORE = Names(needed=("weight_ih", "weight_hh"), biases=("bias_ih", "bias_hh"))
READOUT = Names(needed=("weight",), biases=("bias",))
LAYER = re.compile(r"((?:weight|bias)_(?:ih|hh|hr))(_l\d+)?(_reverse)?")


def read(where: str, cell: Cell, arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The parameters of one member.

    Args:
        where: whose they are, for messages.
        cell: one of `CELLS`.
        arrays: the state dictionary; names may have a prefix, all of a layer the same.

    Raises:
        UserError: names or shapes that are no such network's.
    """

    def of_core(path: Path) -> tuple[Path, str] | None:
        match = LAYER.fullmatch(path[-1])
        if match is None:
            return None
        name, layer, reverse = match.groups()
        if layer not in (None, "_l0") or reverse or name.endswith("_hr"):
            what = "the other direction" if reverse else "a projection" if name.endswith("_hr") else "a further layer"
            raise UserError(
                f"{where}: '{'.'.join(path)}' is of {what}; one layer of one direction is needed (from_modules takes"
                " others)"
            )
        return path[:-1], name

    core, readout = sort_sides(where, arrays, CORE, READOUT, of_core)
    n_units, (_, n_in), (n_out, _) = core.sizes("weight_hh")[1], core.sizes("weight_ih"), readout.sizes("weight")
    rows = cell.gates * n_units
    weights = {"W_rec": core.take("weight_hh", rows, n_units), "W_in": core.take("weight_ih", rows, n_in)}
    biases = [core.take(name, rows) if name in core.arrays else np.zeros(rows) for name in CORE.biases]
    return cell_params(cell, weights, biases) | {
        "W_out": readout.take("weight", n_out, n_units),
        "b_out": readout.take("bias", n_out) if "bias" in readout.arrays else np.zeros(n_out),
    }
