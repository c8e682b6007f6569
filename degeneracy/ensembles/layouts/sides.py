"""Named arrays of one network, sorted into those of its recurrent layer and those of its readout.

Nothing is guessed: a name that is neither's, two layers that could be meant, or an array of another shape is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.errors import UserError
from degeneracy.networks import Cell

Path = tuple[str, ...]  # a name in its parts: ("encoder", "rnn", "weight_ih_l0")
MOST_NAMES = 8  # in a message


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the arrays of a recurrent layer, or of a readout, are called."""

    needed: tuple[str, ...]
    biases: tuple[str, ...] = ()  # all of them or, of a layer without biases, none

    def __str__(self) -> str:
        return ", ".join((*self.needed, *self.biases))


@dataclass(frozen=True, kw_only=True)
class Side:
    """The arrays of a recurrent layer, or of a readout."""

    where: str  # whose, for messages
    arrays: Mapping[str, NDArray[np.float64]]  # by the layout's names
    called: Mapping[str, str]  # what each was called in full

    def take(self, name: str, *shape: int) -> NDArray[np.float64]:
        """One array, which has to have this shape.

        Raises:
            UserError: it has another one.
        """
        array = self.arrays[name]
        if array.shape != shape:
            raise UserError(f"{self.where}: '{self.called[name]}' has shape {array.shape}; needed is {shape}")
        return array

    def sizes(self, name: str) -> tuple[int, int]:
        """The shape of an array of weights.

        Raises:
            UserError: it has no two axes, or one of no length.
        """
        shape = self.arrays[name].shape
        if len(shape) != 2 or 0 in shape:
            raise UserError(f"{self.where}: '{self.called[name]}' has shape {shape}; two axes are needed")
        return shape[0], shape[1]


def flat(tree: object, where: str) -> dict[str, Any]:
    """Arrays by their full names, those of dictionaries within dictionaries joined by "/".

    Raises:
        UserError: no dictionary, an empty one, a key that is no name, or one name twice.
    """
    if not isinstance(tree, Mapping):
        raise UserError(f"{where}: a dictionary of arrays by their names is needed, not {type(tree).__name__}")
    named: dict[str, Any] = {}
    for key, value in tree.items():
        parts = key if isinstance(key, tuple) else (key,)
        if not parts or not all(isinstance(part, str) for part in parts):
            raise UserError(f"{where}: {key!r} is no name of an array; a text is needed")
        name = "/".join(parts)
        inner = flat(value, f"{where}: '{name}'") if isinstance(value, Mapping) else None
        entries = {name: value} if inner is None else {f"{name}/{rest}": array for rest, array in inner.items()}
        twice = next((each for each in entries if each in named), None)
        if twice is not None:
            raise UserError(f"{where}: '{twice}' is there twice")
        named |= entries
    if not named:
        raise UserError(f"{where}: no arrays given")
    return named


def path_of(name: str) -> Path:
    """The parts of a name; ":0", which TensorFlow puts behind it, is left out."""
    return tuple(re.split(r"[./]", name.removesuffix(":0")))


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first of many."""
    shown = ", ".join(f"'{name}'" for name in names[:MOST_NAMES])
    return shown + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def sort_sides(
    where: str,
    arrays: Mapping[str, NDArray[np.float64]],
    core: Names,
    readout: Names,
    of_core: Callable[[Path], tuple[Path, str] | None],
) -> tuple[Side, Side]:
    """The arrays of the recurrent layer and those of the readout.

    Args:
        where: whose they are, for messages.
        arrays: by their full names.
        core, readout: what they are called in the layout.
        of_core: of a name in its parts, what stands before it and which of the recurrent layer's it is; None where it
            is none.

    Raises:
        UserError: no recurrent layer or no readout, several, a name that is missing, or one that is of neither.
    """
    found: dict[str, dict[Path, dict[str, str]]] = {"core": {}, "readout": {}}
    unknown = []
    for name in arrays:
        path, side = path_of(name), "core"
        place = of_core(path)
        if place is None and path[-1] in (*readout.needed, *readout.biases):
            place, side = (path[:-1], path[-1]), "readout"
        if place is None:
            unknown.append(name)
            continue
        layer = found[side].setdefault(place[0], {})
        if place[1] in layer:
            raise UserError(f"{where}: '{layer[place[1]]}' and '{name}' both stand for {place[1]}; give one of the two")
        layer[place[1]] = name
    sides = [
        _only(where, "recurrent layer", found["core"], core, arrays),
        _only(where, "readout", found["readout"], readout, arrays),
    ]
    if unknown:
        raise UserError(
            f"{where}: unknown: {listed(unknown)}; the recurrent layer is {core}, the readout {readout}: give these"
            " alone (of files, names= says which)"
        )
    return sides[0], sides[1]


def _only(
    where: str, what: str, layers: Mapping[Path, Mapping[str, str]], names: Names, arrays: Mapping[str, Any]
) -> Side:
    """The one layer of its kind, with all that it needs."""
    if not layers:
        raise UserError(f"{where}: no {what} ({names}) among {listed(list(arrays))}")
    if len(layers) > 1:
        under = listed(["/".join(prefix) for prefix in layers])
        raise UserError(
            f"{where}: {len(layers)} layers could be the {what}, those under {under}; needed are one recurrent layer of"
            " one direction and its linear readout alone (of files, names= says which)"
        )
    [called] = layers.values()
    biases = names.biases if set(names.biases) & set(called) else ()
    missing = [name for name in (*names.needed, *biases) if name not in called]
    if missing:
        raise UserError(
            f"{where}: the {what} lacks {', '.join(missing)}: needed are {names}, and there are"
            f" {listed(list(called.values()))}"
        )
    extra = [full for name, full in called.items() if name not in (*names.needed, *names.biases)]
    if extra:
        raise UserError(f"{where}: unknown: {listed(extra)}; the {what} is {names}")
    return Side(where=where, arrays={name: arrays[full] for name, full in called.items()}, called=called)


def cell_params(
    cell: Cell, core: Mapping[str, NDArray[np.float64]], biases: Sequence[NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """The parameters of a cell with the biases as it has them.

    Args:
        cell: of one bias per gate or two.
        core: its other parameters.
        biases: the one that is added to what the inputs drive, and the one beside the recurrent weights.
    """
    both = biases if len(cell.biases) == 2 else [biases[0] + biases[1]]
    return {**core, **dict(zip(cell.biases, both, strict=True))}
