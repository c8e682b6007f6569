"""Parameters of flax.linen: SimpleCell, GRUCell, LSTMCell or OptimizedLSTMCell, and a Dense readout.

Each gate has dense layers of its own for the inputs and for the state, with kernels (input, unit) and (unit, unit).
The simple cell and the GRU have biases beside the inputs, the GRU's candidate another one beside the recurrent weights;
the LSTM has them beside the recurrent weights alone.

Source: flax/linen/recurrent.py of Flax 0.12. A SimpleCell with `residual` has the same parameters and is another cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degeneracy.ensembles.layouts.sides import Names, Path, cell_params, sort_sides
from degeneracy.networks import Cell


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The dense layers of a cell, one per gate, in the order that the cell has here."""

    inputs: tuple[str, ...]
    state: tuple[str, ...]
    with_bias: tuple[str, ...]

    @property
    def names(self) -> Names:
        """What their arrays are called."""
        return Names(
            needed=tuple(
                f"{layer}/{part}"
                for layer in (*self.inputs, *self.state)
                for part in ("kernel", "bias")
                if part == "kernel" or layer in self.with_bias
            )
        )


SIMPLE = Gates(inputs=("i",), state=("h",), with_bias=("i",))
CELLS = {
    "tanh": SIMPLE,
    "relu": SIMPLE,
    "gru": Gates(inputs=("ir", "iz", "in"), state=("hr", "hz", "hn"), with_bias=("ir", "iz", "in", "hn")),
    "lstm": Gates(inputs=("ii", "if", "ig", "io"), state=("hi", "hf", "hg", "ho"), with_bias=("hi", "hf", "hg", "ho")),
}
READOUT = Names(needed=("kernel",), biases=("bias",))


def read(where: str, cell: Cell, arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The parameters of one member.

    Args:
        where: whose they are, for messages.
        cell: one of `CELLS`.
        arrays: by their paths, such as "params/OptimizedLSTMCell_0/hi/kernel" and "params/Dense_0/kernel".

    Raises:
        UserError: names or shapes that are no such network's.
    """
    gates = CELLS[cell.name]
    layers = {*gates.inputs, *gates.state}

    def of_core(path: Path) -> tuple[Path, str] | None:
        known = len(path) > 1 and path[-2] in layers and path[-1] in ("kernel", "bias")
        return (path[:-2], "/".join(path[-2:])) if known else None

    core, readout = sort_sides(where, arrays, gates.names, READOUT, of_core)
    n_in, n_units = core.sizes(f"{gates.inputs[0]}/kernel")
    n_out = readout.sizes("kernel")[1]

    def weights(of: tuple[str, ...], n_rows: int) -> NDArray[np.float64]:
        return np.concatenate([core.take(f"{layer}/kernel", n_rows, n_units).T for layer in of])

    def biases(of: tuple[str, ...]) -> NDArray[np.float64]:
        zeros = np.zeros(n_units)
        return np.concatenate(
            [core.take(f"{layer}/bias", n_units) if layer in gates.with_bias else zeros for layer in of]
        )

    made = {"W_rec": weights(gates.state, n_units), "W_in": weights(gates.inputs, n_in)}
    return cell_params(cell, made, [biases(gates.inputs), biases(gates.state)]) | {
        "W_out": readout.take("kernel", n_units, n_out).T,
        "b_out": readout.take("bias", n_out) if "bias" in readout.arrays else np.zeros(n_out),
    }
