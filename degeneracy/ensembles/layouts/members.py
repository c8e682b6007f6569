"""Members of an ensemble from named arrays, in the layout of this package or of another one."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.numeric import Layout, real_array
from degeneracy.core.registry import describe, look_up, named
from degeneracy.ensembles.layouts import flax, keras, plain, pytorch
from degeneracy.ensembles.layouts.sides import flat
from degeneracy.networks import CELLS, Cell, Network
from degeneracy.networks.cell import Params
from degeneracy.training import History, Member

LAYOUTS: dict[str, ModuleType] = {"torch": pytorch, "keras": keras, "flax": flax}
Arrays = dict[str, NDArray[np.float64]]
Both = tuple[Any, NDArray[np.float64]]  # an array as it was given, and its numbers
# Types all of whose numbers float32 holds.
SINGLE = re.compile(r"\b(float32|bfloat16|float16|float8\w*|u?int8|u?int16|bool)\b")


def read_cell(what: str, cell: object, options: Mapping[str, Any] | None) -> Cell:
    """The cell that was named. Its options are part of what a network does, and are not to be guessed.

    Raises:
        UserError: an unknown cell, something that is none, options that it does not take, or, of a cell of this
            package, options that were not given.
    """
    if not isinstance(cell, str):
        if options:
            raise UserError(f"{what}: cell_options are of a cell given by its name; set them in the cell itself")
        made: Cell = named("cell", cell, CELLS, Cell)
        return made
    if options is not None and not isinstance(options, Mapping):
        raise UserError(f"{what}: cell_options = {options!r} is wrong: a table of the cell's fields is needed")
    kind = look_up("cell", cell, CELLS, Cell)
    unset = [field for field in kind.model_fields if field not in (options or {})] if cell in CELLS else []
    if unset:
        raise UserError(
            f"{what}: the parameters do not say which {', '.join(unset)} a '{cell}' has; give cell_options with these,"
            " or the cell itself"
        )
    return kind(**(options or {}))


def read_members(
    what: str,
    cell: Cell,
    layout: str | None,
    given: object,
    initial: object = None,
    sources: Sequence[Sequence[str]] = ((), ()),
) -> tuple[Member, ...]:
    """The members, of whatever size each.

    Args:
        what: the verb, for messages.
        cell: of all of them.
        layout: a name in `LAYOUTS`, or None for that of this package.
        given: one dictionary of arrays per member, or one with a leading member axis.
        initial: the same before training, or None.
        sources: the files that they are from, trained and before training, where they are from files.

    Raises:
        UserError: arrays that are not parameters of such networks.
    """
    reader: Any = plain if layout is None else _layout(what, cell, layout)
    axes: Mapping[str, tuple[Layout, ...]] = plain.axes(cell) if layout is None else {}

    def whose(k: int, when: str = "") -> str:
        files = sources[bool(when)]
        return f"{what}: member {k}{when}" + (f" ({files[k]})" if files else "")

    sets = {"": given} | ({} if initial is None else {" before training": initial})
    raw = {when: _by_member(what, values, partial(whose, when=when), axes) for when, values in sets.items()}
    n_members = len(raw[""][1])
    if any(len(members) != n_members for _, members in raw.values()):
        raise UserError(f"{what}: there are {n_members} members trained and {len(raw[' before training'][1])} before")
    double = not _fits_single([both for values, _ in raw.values() for both in values])
    read = {
        when: [_params(reader.read(whose(k, when), cell, arrays), double=double) for k, arrays in enumerate(members)]
        for when, (_, members) in raw.items()
    }
    final, before = read[""], read.get(" before training", [{} for _ in range(n_members)])
    for k, (trained, untrained) in enumerate(zip(final, before, strict=True)):
        differing = [name for name in untrained if untrained[name].shape != trained[name].shape]
        if differing:
            raise UserError(f"{whose(k)} has another size trained than before training (of {', '.join(differing)})")
    return tuple(
        Member(
            seed=k,
            status="given",
            initial=before[k],
            final=final[k],
            history=History.empty(),
            provenance=({"layout": layout} if layout else {}) | ({"file": sources[0][k]} if sources[0] else {}),
        )
        for k in range(n_members)
    )


def network_of(asked: object, options: Mapping[str, Any] | None, cell: Cell, members: Sequence[Member]) -> Any:
    """The `Network` that all members are; None where they differ in size, or the cell's class has no name to ask for.

    Args:
        asked, options: the cell as it was given.
        cell: what it is.
        members: of it.
    """
    shapes = [{name: value.shape for name, value in member.final.items()} for member in members]
    if any(each != shapes[0] for each in shapes):
        return None
    n_units = cell.axis_size({name: value[None] for name, value in members[0].final.items()}, "unit")
    if isinstance(asked, str):
        return Network(hidden_size=n_units, cell=asked, cell_options=dict(options or {}))
    about = describe(cell, CELLS)
    try:
        network = Network(hidden_size=n_units, cell=about.pop("name"), cell_options=about)
        return network if network.build_cell() == cell else None
    except UserError:  # a class within a function, or in a module that cannot be imported
        return None


def _layout(what: str, cell: Cell, layout: object) -> ModuleType:
    """The reader of a layout that has the cell."""
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS, where=what)
    reader = LAYOUTS[layout]
    if type(cell) is not CELLS.get(cell.name) or cell.name not in reader.CELLS:
        known = ", ".join(reader.CELLS)
        own = ", ".join(plain.axes(cell))
        raise UserError(
            f"{what}: the layout '{layout}' is of the cells {known}, not of '{cell.name}'; with layout=None give its"
            f" parameters {own}"
        )
    return reader


def _by_member(
    what: str, given: object, whose: Callable[[int], str], axes: Mapping[str, tuple[Layout, ...]]
) -> tuple[list[Both], list[Arrays]]:
    """All arrays as they were given beside their numbers, and the numbers by their names for each member."""
    if isinstance(given, Mapping):
        stacked = _numbers(what, given, axes, ("member",))
        values = list(stacked.values())
        members = [{name: array[k] for name, (_, array) in stacked.items()} for k in range(_length(what, stacked))]
    elif isinstance(given, Sequence) and not isinstance(given, str):
        each = [_numbers(whose(k), arrays, axes, ()) for k, arrays in enumerate(given)]
        values = [both for arrays in each for both in arrays.values()]
        members = [{name: array for name, (_, array) in arrays.items()} for arrays in each]
    else:
        raise UserError(f"{what}: a list of dictionaries, one per member, is needed, not {type(given).__name__}")
    if not members:
        raise UserError(f"{what}: no parameters given")
    for k, arrays in enumerate(members):
        wrong = next((name for name, array in arrays.items() if not np.isfinite(array).all()), None)
        if wrong is not None:
            raise UserError(f"{whose(k)}: '{wrong}' holds values that are not finite")
    return values, members


def _length(what: str, stacked: Mapping[str, Both]) -> int:
    """How many members arrays with a leading member axis are of."""
    lengths = {name: len(array) if array.ndim else 0 for name, (_, array) in stacked.items()}
    first, n_members = next(iter(lengths.items()))
    other = next((name for name, length in lengths.items() if length != n_members), None)
    if other is not None:
        raise UserError(
            f"{what}: a dictionary needs a leading member axis, and '{first}' has {n_members} members, '{other}'"
            f" {lengths[other]}; of networks apart give a list with one dictionary per member"
        )
    return n_members


def _numbers(where: str, tree: object, axes: Mapping[str, tuple[Layout, ...]], leading: Layout) -> dict[str, Both]:
    """Arrays by their full names: as they were given, and their numbers."""
    return {
        name: (value, real_array(value, f"{where}: '{name}'", *((*leading, *each) for each in axes.get(name, ()))))
        for name, value in flat(tree, where).items()
    }


def _fits_single(values: Sequence[Both]) -> bool:
    """Whether there are numbers in single precision, and it holds all others too."""
    if not any(_is_single(value) for value, _ in values):
        return False
    with np.errstate(over="ignore", under="ignore"):
        return all(_is_single(value) or bool((array == array.astype(np.float32)).all()) for value, array in values)


def _is_single(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_single(each) for each in value)
    return SINGLE.search(str(getattr(value, "dtype", ""))) is not None


def _params(arrays: Arrays, *, double: bool) -> Params:
    dtype = np.float64 if double else np.float32
    return {name: torch.from_numpy(np.array(array, dtype, order="C")) for name, array in arrays.items()}
