"""Parameters by the names and axes that this package has, as `Ensemble.weights` gives them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.numeric import Layout
from degeneracy.ensembles.layouts.sides import listed
from degeneracy.networks import Cell, Parameter, parameters


def axes(cell: Cell) -> dict[str, tuple[Layout, ...]]:
    """The orders of axes that each parameter of one member may have: its gates apart, or one below the other."""
    named = parameters(cell, 1, 1, 1)
    return {name: tuple({p.axes: None, p.axes[p.gated :]: None}) for name, p in named.items()}


def read(where: str, cell: Cell, arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The parameters of one member.

    Args:
        where: whose they are, for messages.
        cell: whichever.
        arrays: each by its own name, the gates apart or one below the other.

    Raises:
        UserError: a name that is unknown or missing, or shapes that do not fit each other.
    """
    named = parameters(cell, 1, 1, 1)
    for name in arrays:
        if name not in named:
            raise unknown_name(f"parameter of cell '{cell.name}'", name, named, where=where)
    missing = [name for name in named if name not in arrays]
    if missing:
        raise UserError(
            f"{where}: of cell '{cell.name}' {', '.join(missing)} is missing, there are {listed(list(arrays))}; give"
            " zeros for biases that the network does not have"
        )
    joined = {name: _gates_below(where, name, named[name], arrays[name]) for name in named}
    sizes = _sizes(named, joined)
    if 0 in sizes.values():
        raise UserError(f"{where}: no network has {', '.join(f'{size} of {axis!r}' for axis, size in sizes.items())}")
    for name, parameter in parameters(cell, sizes["in"], sizes["unit"], sizes["out"]).items():
        if joined[name].shape != parameter.shape:
            apart = f" or {parameter.sizes}" if parameter.gated and parameter.sizes[0] > 1 else ""
            of = ", ".join(f"{size} of '{axis}'" for axis, size in sizes.items())
            raise UserError(
                f"{where}: '{name}' has shape {arrays[name].shape}; needed is {parameter.shape}{apart}, with sizes as"
                f" of the parameters before it ({of})"
            )
    return joined


def _gates_below(where: str, name: str, parameter: Parameter, array: NDArray[np.float64]) -> NDArray[np.float64]:
    """An array with its gates' rows one below the other, as a cell takes them."""
    if array.ndim == len(parameter.axes) - parameter.gated:
        return array
    if parameter.gated and array.ndim == len(parameter.axes) and len(array) == parameter.sizes[0]:
        return array.reshape(-1, *array.shape[2:])
    below = ", ".join(parameter.axes[parameter.gated :])
    apart = f", or ({', '.join(parameter.axes)}) with {parameter.sizes[0]} gates" if parameter.gated else ""
    raise UserError(f"{where}: '{name}' has shape {array.shape}; needed is ({below}){apart}")


def _sizes(named: Mapping[str, Parameter], joined: Mapping[str, NDArray[np.float64]]) -> dict[str, int]:
    """How many units, inputs and outputs there are, by the first parameter that has each."""
    sizes: dict[str, int] = {}
    for name, parameter in named.items():
        for place, axis in enumerate(parameter.axes[parameter.gated :]):
            n_gates = parameter.sizes[0] if parameter.gated and not place else 1
            if axis in ("unit", "in", "out"):
                sizes.setdefault(axis, joined[name].shape[place] // n_gates)
    return {"in": 1, "unit": 1, "out": 1} | sizes
