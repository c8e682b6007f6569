"""Classes of hidden units, such as excitatory and inhibitory ones, or those of areas."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from degeneracy.core.errors import UserError


def unit_classes(units: Mapping[str, Iterable[Any]], n_units: int, where: str) -> tuple[str, ...]:
    """The class of each unit.

    Args:
        units: by class, the positions of its units from 0 on, or one True or False for every unit.
        n_units: how many there are.
        where: for messages.

    Raises:
        UserError: a unit in no class or in two, or one that there is not.
    """
    if not isinstance(units, Mapping) or not units:
        raise UserError(f"{where}: units are needed by class, such as {{'E': range(40), 'I': range(40, 50)}}")
    classes = [""] * n_units
    for name, members in units.items():
        for k in _positions(name, members, n_units, where):
            if classes[k]:
                raise UserError(f"{where}: unit {k} is both in '{classes[k]}' and in '{name}'")
            classes[k] = str(name)
    if "" in classes:
        raise UserError(f"{where}: unit {classes.index('')} of {n_units} is in no class ({', '.join(map(str, units))})")
    return tuple(classes)


def _positions(name: object, members: Iterable[Any], n_units: int, where: str) -> list[int]:
    if not isinstance(members, Iterable) or isinstance(members, str):
        raise UserError(f"{where}: class '{name}' needs the positions of its units, got {members!r}")
    array = np.asarray(list(members))
    if array.dtype == bool and array.shape == (n_units,):
        return [int(k) for k in np.flatnonzero(array)]
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise UserError(f"{where}: class '{name}' needs whole numbers, or {n_units} times True or False")
    wrong = [int(k) for k in array if not 0 <= k < n_units]
    if wrong:
        raise UserError(f"{where}: class '{name}' names unit {wrong[0]}, and there are {n_units}, from 0 on")
    return [int(k) for k in array]
