"""The cell of networks that are given as arrays: none is assumed, and what is said of one has to fit the arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from degeneracy.analysis import Measure, Measured, StepFunction
from degeneracy.analysis.recording import MEAN_INPUT, NO_INPUT, Array
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import real_array
from degeneracy.core.registry import describe, look_up
from degeneracy.measuring.record import step_function
from degeneracy.networks.cell import Cell
from degeneracy.networks.cells import CELLS

# Rounding of the coarsest floats in use: bfloat16 has 8 significant bits, so that a value is off by up to 0.4%.
RANGE_SLACK = 0.01
# One step in bfloat16 is off by about 0.4% times the gain of the weights, of a few; another cell by 10% and more.
STEP_SLACK = 0.03
N_CHECKED = 4096  # steps of each member, evenly spaced: those of 64 trials or so
GIVE_CELL = "the cell is not known: give cell=... or --cell (a name, a Cell or module:Name)"


@dataclass(frozen=True, kw_only=True)
class ArrayCell:
    """What is known of the cell; `cell` is None where none was named."""

    cell: Cell | None
    unset: tuple[str, ...] = ()  # options on which the step depends and of which nothing was said

    @property
    def apart(self) -> bool:
        """Whether the cell is known to have no weights between units."""
        return self.cell is not None and not self.cell.between_units

    @property
    def described(self) -> Any:
        """The cell as plain data: its name with the options that are known."""
        if self.cell is None:
            return "not given"
        fields: dict[str, Any] = describe(self.cell, CELLS)
        return {name: value for name, value in fields.items() if name not in self.unset}

    def note(self, measure: Measure) -> str:
        """What a row of the table says of the cell; "" where the measure does not depend on it."""
        if not {"weights", "step"} & set(measure.needs):
            return ""
        if self.cell is None:
            return "no cell given: units are reordered, neither flipped nor rescaled" if measure.pairwise else ""
        name, *options = self.described.items()
        listed = ", ".join(f"{option} = {value}" for option, value in options)
        without = "; without " + ", ".join(not_given(self.cell)) if not_given(self.cell) else ""
        return f"cell: {name[1]}" + (f" ({listed})" if listed else "") + without

    def noted(self, measure: Measure, measured: Measured) -> Measured:
        """What a measure found, its rows naming the cell they hold for."""
        note = self.note(measure)
        if not note:
            return measured
        findings = tuple(
            replace(each, note="; ".join(part for part in (each.note, note) if part)) for each in measured.findings
        )
        return replace(measured, findings=findings)


def array_cell(cell: str | Cell | type[Cell], options: Mapping[str, Any] | None) -> ArrayCell:
    """The cell that was named, "" for none.

    The defaults of a cell of this package are a convention of its training and say nothing of other networks, so that
    each option of one that is named has to be given too. A `Cell` instance, and a class of the user's own, speaks for
    itself.

    Raises:
        UserError: an unknown cell, something that is none, options that it does not take, or options without a cell.
    """
    if options is not None and not isinstance(options, Mapping):
        raise UserError(f"cell_options = {options!r} is wrong: a table of the cell's fields is needed")
    if isinstance(cell, Cell):
        if options:
            raise UserError(f"cell_options: the cell is made already; set its options in {type(cell).__name__}(...)")
        return ArrayCell(cell=cell)
    if isinstance(cell, str):
        if not cell and options:
            raise UserError(f"cell_options: {', '.join(options)} without a cell; give cell=... too")
        if not cell:
            return ArrayCell(cell=None)
        kind = look_up("cell", cell, CELLS, Cell)
    elif isinstance(cell, type) and issubclass(cell, Cell):
        kind = cell
    else:
        raise UserError(f"cell = {cell!r} is wrong: a name ({', '.join(CELLS)}), a Cell or module:Name is needed")
    unset = set(kind.model_fields) - set(options or {}) if kind in CELLS.values() else ()
    return ArrayCell(cell=kind(**(options or {})), unset=tuple(name for name in kind.model_fields if name in unset))


def _parameter_names(cell: Cell) -> dict[str, str]:
    """The parameters that arrays can give, by the arrays' names; of biases the first stands for all."""
    named = cell.parameters(1, 1)
    roles = {"weights": cell.between_units, "input_weights": [n for n, p in named.items() if p.role == "input"]}
    return {name: of[0] for name, of in roles.items() if len(of) == 1}


def not_given(cell: Cell) -> list[str]:
    """The parameters of a cell that no array gives."""
    return sorted(set(cell.parameters(1, 1)) - {*_parameter_names(cell).values(), *cell.biases})


def check_range(name: str, states: Sequence[Array], cell: Cell) -> None:
    """Refuse a cell that cannot have had these states.

    Raises:
        UserError: a state outside the cell's range, by more than rounding; says which member and how far.
    """
    low, high = cell.state_range
    for k, array in enumerate(states):
        least, greatest = float(array.min()), float(array.max())
        bounded = np.isfinite(low) and np.isfinite(high)
        slack = RANGE_SLACK * ((high - low) / 2 if bounded else max(abs(least), abs(greatest)))
        if low - slack <= least and greatest <= high + slack:
            continue
        outside = greatest if greatest > high + slack else least
        bounds = f"between {low:g} and {high:g}" if bounded else f"{low:g} or more"
        bounds = f"{high:g} or less" if np.isinf(low) else bounds
        raise UserError(
            f"{name}: member {k} reaches {outside:.4g}, and states of a cell '{_name(cell)}' are {bounds}:"
            " these networks have another cell, or these are not the states that the readout sees"
        )


def given_pulses(value: ArrayLike, arrays: Mapping[str, Sequence[Array]]) -> Array:
    """The pulses, (pulse, in), which have to fit the input weights.

    Raises:
        UserError: another shape, values that are not finite, or no input weights.
    """
    pulses = real_array(value, "pulses", ("pulse", "in"))
    if pulses.ndim != 2 or 0 in pulses.shape or not np.isfinite(pulses).all():
        raise UserError(f"pulses: finite values (pulse, in) are needed, got shape {pulses.shape}")
    if "input_weights" not in arrays:
        raise UserError("pulses: input_weights are needed with them")
    for k, weights in enumerate(arrays["input_weights"]):
        if weights.shape[-1] != pulses.shape[1]:
            raise UserError(f"pulses: member {k} has weights for {weights.shape[-1]} inputs; got shape {pulses.shape}")
    return pulses


def step_of_arrays(
    arrays: Mapping[str, Sequence[Array]], inputs: Array | None, pulses: Array | None, known: ArrayCell
) -> tuple[StepFunction | None, str]:
    """The step of all members where the arrays say what it is; else the reason, in one line."""
    cell, parts = known.cell, ("bias", "states") if known.apart else ("weights", "bias", "states")
    lacking = [*(name for name in parts if name not in arrays), *(["cell"] if cell is None else [])]
    if lacking or cell is None:
        return None, GIVE_CELL if lacking == ["cell"] else f"give {', '.join(f'{n}=...' for n in lacking)}"
    reason = _hides_its_step(known, cell) or _sizes_differ(arrays)
    if reason:
        return None, reason
    biases = np.stack([bias if bias.ndim == 3 else np.atleast_2d(bias)[:, None] for bias in arrays["bias"]])
    if biases.shape[2] != len(cell.biases):
        return None, (
            f"cell '{_name(cell)}' has {len(cell.biases)} biases per unit and gate ({', '.join(cell.biases)}),"
            f" {biases.shape[2]} given"
        )
    n_members, n = len(biases), biases.shape[-1]
    names, params = _parameter_names(cell), {}
    if not known.apart:
        params[names["weights"]] = torch.from_numpy(np.stack(arrays["weights"]).reshape(n_members, -1, n))
    into = np.zeros((n_members, cell.gates * n, 1))  # without inputs their weights do not matter
    if inputs is not None or pulses is not None:
        into = np.stack(arrays["input_weights"])
        into = into.reshape(n_members, -1, into.shape[-1])
    constant = {NO_INPUT: np.zeros(into.shape[-1])}
    if inputs is not None:
        constant[MEAN_INPUT] = inputs.mean(axis=(0, 1))
    params[names["input_weights"]] = torch.from_numpy(into)
    for k, name in enumerate(cell.biases):
        params[name] = torch.from_numpy(biases[:, :, k].reshape(n_members, -1))
    if "readout" in arrays:  # its bias is not among the arrays
        params["W_out"] = torch.from_numpy(np.stack(arrays["readout"]))
        params["b_out"] = params["W_out"].new_zeros(params["W_out"].shape[:2])
    visited = torch.from_numpy(np.stack(arrays["states"])).flatten(1, 2)
    held = {name: torch.from_numpy(values) for name, values in constant.items()}
    brief = () if pulses is None else tuple(torch.from_numpy(pulses))
    return step_function(cell, params, visited, held, pulses=brief), ""


def _hides_its_step(known: ArrayCell, cell: Cell) -> str:
    """Why the step of a cell cannot be told from arrays like these, "" where it can."""
    name = _name(cell)
    if known.unset:
        return f"the options of cell '{name}' are not known: give cell_options ({', '.join(known.unset)})"
    state = torch.linspace(-2.0, 2.0, 8, dtype=torch.float64)
    if cell.states > 1 or not torch.equal(cell.hidden(state), state):
        return f"the full state of a cell '{name}' is not among the arrays"
    others = not_given(cell)
    return f"cell '{name}' has parameters that no array gives: {', '.join(others)}" if others else ""


def _sizes_differ(arrays: Mapping[str, Sequence[Array]]) -> str:
    needed = (arrays[name] for name in ("weights", "bias", "states") if name in arrays)
    shapes = {tuple(part.shape for part in member) for member in zip(*needed, strict=True)}
    return "the members differ in size" if len(shapes) > 1 else ""


def check_step(step: StepFunction, states: Sequence[Array], inputs: Array, cell: Cell) -> None:
    """Refuse a cell whose step does not lead from each given state to the next under the given inputs.

    Raises:
        UserError: steps that miss by more than rounding; says by how much.
    """
    before = np.stack(states)[:, :, :-1].reshape(len(states), -1, states[0].shape[-1])
    after = np.stack(states)[:, :, 1:].reshape(before.shape)
    if not before.shape[1]:  # trials of one step
        return
    chosen = np.unique(np.linspace(0, before.shape[1] - 1, min(N_CHECKED, before.shape[1])).astype(int))
    given = torch.from_numpy(inputs[:, 1:].reshape(-1, inputs.shape[-1])[chosen]).expand(len(states), -1, -1)
    with torch.no_grad():
        stepped = step.step(torch.from_numpy(before[:, chosen]), given).numpy()
    after = after[:, chosen]
    missed = np.sqrt(np.mean((stepped - after) ** 2, axis=(1, 2)))
    sizes = np.sqrt(np.mean(after**2, axis=(1, 2)))
    for k in np.flatnonzero(~(missed <= STEP_SLACK * sizes)):
        share = f"{missed[k] / sizes[k]:.0%}" if sizes[k] else f"{missed[k]:.3g}"
        raise UserError(
            f"states: member {k} does not move as a cell '{_name(cell)}' with these weights, biases and inputs: a step"
            f" misses by {share} of the states' size; the state at a step is that after its input, without noise"
        )


def checked_step(
    arrays: Mapping[str, list[Array]], inputs: Array | None, pulses: Array | None, known: ArrayCell
) -> tuple[StepFunction | None, str]:
    """The step of the members, of a cell that fits the states; else why it is not known."""
    for name in ("states", "untrained_states"):
        if known.cell is not None and name in arrays:
            check_range(name, arrays[name], known.cell)
    inputs = inputs if "input_weights" in arrays else None  # else it is not known what they do
    step, reason = step_of_arrays(arrays, inputs, pulses, known)
    if step is not None and inputs is not None and known.cell is not None:
        check_step(step, arrays["states"], inputs, known.cell)
    return step, reason


def _name(cell: Cell) -> str:
    return str(describe(cell, CELLS)["name"])
