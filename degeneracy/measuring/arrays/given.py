"""Arrays of networks as they are given: read in their own layouts, checked one by one and against each other."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.recording import Array
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import Layout, axis_labels, member_arrays, real_array
from degeneracy.measuring.arrays.cells import ArrayCell
from degeneracy.networks.cell import Cell

Members = ArrayLike | Sequence[ArrayLike]  # one array with a leading member axis, or a list of arrays


def _layouts(name: str, cell: Cell | None) -> tuple[Layout, ...]:
    """The axes of one member's array; where no cell is known, those with and without gates."""
    gated = cell is None or cell.gates > 1
    plain = cell is None or cell.gates == 1
    if name in ("states", "untrained_states"):
        return (("trial", "time", "unit"),)
    if name == "readout":
        return (("out", "unit"),)
    axes = {"bias": ("post",), "input_weights": ("post", "in")}.get(name, ("post", "pre"))
    both = (("gate", "bias", "post"),) if name == "bias" else ()
    return (*((axes,) if plain else ()), *((("gate", *axes), *both) if gated else ()))


def given_members(name: str, value: Members, cell: Cell | None) -> list[Array]:
    """One float64 array per member, of the rank that the name and the cell ask for."""
    layouts = _layouts(name, cell)
    arrays = member_arrays(value, name, *layouts)
    for k, array in enumerate(arrays):
        if array.ndim not in map(len, layouts) or 0 in array.shape:
            needed = " or ".join(f"(member, {', '.join(layout)})" for layout in layouts)
            raise UserError(f"{name}: {needed} is needed; member {k} has shape {array.shape}")
        if not np.isfinite(array).all():
            raise UserError(f"{name}: member {k} holds values that are not finite")
        if cell is not None and layouts[0][0] == "gate" and len(array) != cell.gates:
            raise UserError(f"{name}: cell '{cell.name}' has {cell.gates} gates; member {k} has shape {array.shape}")
    # In one order in memory, on which rounding hangs: the same numbers have the same results.
    return [np.ascontiguousarray(array) for array in arrays]


def variant_names(ood_variants: Sequence[str]) -> tuple[str, ...]:
    """The names of the variants that errors were given of; none where they were not named."""
    if isinstance(ood_variants, str) or not isinstance(ood_variants, Iterable):
        raise UserError(f"ood_variants = {ood_variants!r} is wrong: a list of names is needed")
    return tuple(ood_variants)


def given_errors(value: ArrayLike, names: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """The errors and the names of their variants, those of a table's columns where it has such."""
    errors = real_array(value, "ood_errors", ("member", "variant"))
    if errors.ndim != 2 or 0 in errors.shape:
        raise UserError(f"ood_errors: (member, variant) is needed, got shape {errors.shape}")
    if not np.isfinite(errors).all() or (errors < 0).any():
        raise UserError("ood_errors: errors that are negative or not finite")
    named = axis_labels(value, "variant", ("member", "variant"))
    if named and names and tuple(names) != named:
        raise UserError(f"ood_variants: {', '.join(names)}, but ood_errors names them {', '.join(named)}")
    return errors, tuple(names) or named


def given_inputs(value: ArrayLike, arrays: Mapping[str, list[Array]]) -> Array:
    """The inputs, which have to fit the states, and the input weights where there are any."""
    inputs = real_array(value, "inputs", ("trial", "time", "in"))
    if inputs.ndim != 3 or 0 in inputs.shape or not np.isfinite(inputs).all():
        raise UserError(f"inputs: finite values (trial, time, in) are needed, got shape {inputs.shape}")
    if "states" not in arrays:
        raise UserError("inputs: states are needed with them")
    into = arrays.get("input_weights", [np.empty((0, inputs.shape[2]))] * len(arrays["states"]))
    for k, (states, weights) in enumerate(zip(arrays["states"], into, strict=True)):
        if (*states.shape[:2], weights.shape[-1]) != inputs.shape:
            also = f" and weights for {weights.shape[-1]} inputs" if "input_weights" in arrays else ""
            raise UserError(
                f"inputs: member {k} has {states.shape[0]} trials of {states.shape[1]} steps{also}; got shape"
                f" {inputs.shape}"
            )
    return inputs


def count_members(arrays: Mapping[str, list[Array]], errors: Array | None, known: ArrayCell) -> int:
    """The number of members, the same in all that is given."""
    counts = {name: len(value) for name, value in arrays.items()}
    if errors is not None:
        counts["ood_errors"] = len(errors)
    if not counts:
        raise UserError("no arrays given: states, weights or ood_errors are needed")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(f"the numbers of members differ: {listed}")
    n = next(iter(counts.values()))
    if n < 2:
        raise UserError(f"measuring needs 2 members or more, got {n}")
    if known.apart:
        _check_apart(arrays, known)
    elif "weights" in arrays:
        for name in arrays.keys() - {"weights", "initial_weights"}:
            _match_units(name, arrays[name], arrays["weights"])
    return n


def _check_apart(arrays: Mapping[str, list[Array]], known: ArrayCell) -> None:
    """The arrays of a cell without weights between units: none are given, and all are of as many units."""
    assert known.cell is not None
    for name in ("weights", "initial_weights"):
        if name in arrays:
            raise UserError(f"{name}: cell '{known.cell.name}' has no weights between units")
    counts = {name: [each.shape[unit_axis(name)] for each in values] for name, values in arrays.items()}
    for name, units in counts.items():
        first, expected = next(iter(counts.items()))
        for k, (n, right) in enumerate(zip(units, expected, strict=True)):
            if n != right:
                raise UserError(f"{name}: member {k} has {n} units, its {first} have {right}")


def unit_axis(name: str) -> int:
    """Which axis of a member's array counts its units."""
    return {"input_weights": -2}.get(name, -1)


def _match_units(name: str, values: list[Array], weights: list[Array]) -> None:
    axis = unit_axis(name)
    for k, (value, weight) in enumerate(zip(values, weights, strict=True)):
        if value.shape[axis] != weight.shape[-1]:
            raise UserError(
                f"{name}: member {k} has {value.shape[axis]} units, its recurrent weights have {weight.shape[-1]}"
            )
        gates = weight.shape[0] if weight.ndim == 3 else 1
        gated = {"input_weights": value.ndim == 3, "bias": value.ndim > 1}.get(name, False)
        if name in ("input_weights", "bias") and (value.shape[0] if gated else 1) != gates:
            raise UserError(f"{name}: member {k} has shape {value.shape}, its recurrent weights have {gates} gates")
