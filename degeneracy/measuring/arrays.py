"""Networks trained elsewhere, given as arrays: the same table, distances and report for what is given."""

from __future__ import annotations  # `help` shows annotations as they are written, not what numpy's stand for

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis import MEASURES, Measure, Recording, StepFunction, Variant, Weights
from degeneracy.analysis.recording import MEAN_INPUT, NO_INPUT, Array
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import Layout, axis_labels, member_arrays, real_array
from degeneracy.core.workers import resolve_jobs
from degeneracy.measuring.array_cells import (
    GIVE_CELL,
    ArrayCell,
    array_cell,
    check_range,
    check_step,
    given_pulses,
    step_of_arrays,
)
from degeneracy.measuring.array_dynamics import checked_observed, lags_for, with_lag_grams
from degeneracy.measuring.attempts import Fault, attempt, outcome_of
from degeneracy.measuring.measure import (
    build_measures,
    lacking,
    lags_needed,
    measure_recording,
    measures_of,
    own_cards,
    split_outcome,
)
from degeneracy.measuring.results import MemberSummary, Result
from degeneracy.networks import weights_obstacle
from degeneracy.networks.cell import Cell

Members = ArrayLike | Sequence[ArrayLike]  # one array with a leading member axis, or a list of arrays

# One array per member; the other keywords that a file of arrays may hold follow.
NUMERIC = ("states", "weights", "input_weights", "bias", "readout", "untrained_states", "initial_weights")
# What to give so that a recording has it.
GIVE = {
    "states": "not given (states)",
    "weights": "not given (weights)",
    "recurrent_weights": "not given (weights)",
    "symmetry": GIVE_CELL,
    "initial_weights": "not given (initial_weights)",
    "behavior": "not given (ood_errors)",
    "prediction_times": "a closed loop runs the networks themselves",
    "decisions": "decisions are made on trials of a task",
    "tangent_kernel": "gradients are of the networks themselves",
    "untrained": "not given (untrained_states)",
    "lag_grams": "not given (states)",
    "readout": "not given (readout)",
}
KEYS = (*NUMERIC, "inputs", "pulses", "fully_observed", "ood_errors", "ood_variants", "cell")


@ordinary_state()
def measure_arrays(
    *,
    states: Members | None = None,
    weights: Members | None = None,
    input_weights: Members | None = None,
    bias: Members | None = None,
    readout: Members | None = None,
    untrained_states: Members | None = None,
    initial_weights: Members | None = None,
    inputs: ArrayLike | None = None,
    pulses: ArrayLike | None = None,
    fully_observed: bool | None = None,
    ood_errors: ArrayLike | None = None,
    ood_variants: Sequence[str] = (),
    cell: str | Cell | type[Cell] = "",
    cell_options: Mapping[str, Any] | None = None,
    measures: Iterable[Any] = tuple(MEASURES),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    jobs: int = 1,
    condition: str = "given",
) -> Result:
    """Measure networks trained elsewhere from their arrays; what a measure lacks is listed with the reason.

    Where members differ in size, give a list of arrays, one per member, in place of one array. Arrays are taken from
    numpy, torch, pandas, xarray, JAX and others (`numeric.real_array`); where their dimensions have names, these say
    which axis is which, in any order. Masked and missing values are refused.

    No cell is assumed. Without `cell`, what depends on it has no number: `fixed_points` on the step, `signed_pif` and
    `orthogonal` on which relabellings of units leave a network the same; `pif` then only reorders units.

    Args:
        states: (member, trial, time, unit), the hidden states of all members on the same trials.
        weights: (member, post, pre) recurrent weights; of gated cells (member, gate, post, pre), gates in
            torch.nn's order. A cell without weights between units (`min_gru`) has none.
        input_weights: (member, post, in) or (member, gate, post, in).
        bias: (member, post); of gated cells (member, gate, post), or (member, gate, 2, post) with the input and
            the recurrent bias of each gate.
        readout: (member, out, unit).
        untrained_states, initial_weights: the same members before training, as reference. Without the states the
            reference of shape measures is of the given ones, their trials shuffled.
        inputs: (trial, time, in), the inputs behind the states, the same for all members: `linear_flow` takes out what
            they explain. With a cell, weights, biases and input weights, the states are checked to follow its step,
            and `fixed_points` can take the mean input.
        pulses: (pulse, in), brief inputs that stand in place of a constant one for a step: `fixed_point_graph` says
            from which attractor to which they lead (the two values of each bit of a flip-flop, the tokens of others).
        fully_observed: whether the states are of all units of a network, so that one tells the next. `linear_flow` has
            to be told; where only some were recorded, it takes past states too, how many by held-out error.
        ood_errors: (member, variant), mean squared error of each member on each task variant.
        ood_variants: their names; those of a table's columns, or "variant 1", ..., by default.
        cell: of these networks: a name in `CELLS`, a `Cell`, or the user's own as `module:Name` (which is imported).
        cell_options: the fields of a cell given by name, e.g. {"dt_ms": 10, "tau_ms": 50, "form": "rate"}.
        measures, options, jobs: as for `measure`.
        condition: what to call the ensemble in the table.

    Returns:
        The result; members are labelled by position.

    Raises:
        UserError: arrays of another rank, members that do not match, values that are not finite, under 2 members,
            an unknown cell, measure or option, a cell that cannot have had these states, or data that no measure can
            say anything about. A measure whose options the states cannot serve has a row with the reason.
    """
    given = {"states": states, "weights": weights, "input_weights": input_weights, "bias": bias}
    given |= {"readout": readout, "untrained_states": untrained_states, "initial_weights": initial_weights}
    known = array_cell(cell, cell_options)
    arrays = {name: _members(name, value, known.cell) for name, value in given.items() if value is not None}
    errors, variants = (None, _names(ood_variants)) if ood_errors is None else _errors(ood_errors, _names(ood_variants))
    n = _count(arrays, errors, known)
    built, n_jobs = measures_of(None, build_measures(measures, options)), resolve_jobs(jobs)
    driven = None if inputs is None else _inputs(inputs, arrays)
    observed = checked_observed(fully_observed)
    brief = None if pulses is None else given_pulses(pulses, arrays)
    step, reason = _step(arrays, driven, brief, known)
    recording = _recording(arrays, step, reason, errors, variants, known, n)
    lags = lags_for(observed, lags_needed(built), arrays.get("states"))
    recording = with_lag_grams(recording, driven, lags, observed)
    asked = [name for name in built if not lacking(built[name], recording)]
    refused = {name: reason for name in asked if (reason := _unfit(name, built[name], recording))}
    fitting = {name: measure for name, measure in built.items() if name not in refused}
    found, missing = split_outcome(dict(measure_recording(recording, fitting, jobs=n_jobs)))
    missing |= refused
    if asked and not found:  # nothing to report but what is wrong
        raise UserError(missing[asked[0]])
    shapes = {name: [list(one.shape) for one in value] for name, value in arrays.items()}
    return Result(
        condition=condition,
        spec={
            "cell": known.described,
            "shapes": shapes,
            "measures": {k: m.model_dump(mode="json") for k, m in built.items()},
            **own_cards(built),
        },
        members=tuple(_summary(k) for k in range(n)),
        measured_members=recording.members,
        levels={name: m.level for name, m in built.items()},
        measured={name: known.noted(built[name], found[name]) for name in built if name in found},
        missing={name: missing[name] for name in built if name in missing},
    )


def _unfit(name: str, measure: Measure, recording: Recording) -> str:
    """Why the smallest of the given states cannot serve a measure's options, "" where they can."""
    if not recording.states:
        return ""
    n_trials, n_steps, n_units = np.min([one.shape for one in recording.states], axis=0).tolist()
    held = (NO_INPUT, MEAN_INPUT) if recording.step is None else tuple(recording.step.inputs)
    value = attempt(partial(measure.check, n_units=n_units, n_steps=n_steps, n_trials=n_trials, held_inputs=held))
    return str(outcome_of(name, value, len(recording))) if isinstance(value, Fault) else ""


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


def _members(name: str, value: Members, cell: Cell | None) -> list[Array]:
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


def _names(ood_variants: Sequence[str]) -> tuple[str, ...]:
    if isinstance(ood_variants, str) or not isinstance(ood_variants, Iterable):
        raise UserError(f"ood_variants = {ood_variants!r} is wrong: a list of names is needed")
    return tuple(ood_variants)


def _errors(value: ArrayLike, names: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
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


def _inputs(value: ArrayLike, arrays: Mapping[str, list[Array]]) -> Array:
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


def _count(arrays: Mapping[str, list[Array]], errors: Array | None, known: ArrayCell) -> int:
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
    counts = {name: [each.shape[_unit_axis(name)] for each in values] for name, values in arrays.items()}
    for name, units in counts.items():
        first, expected = next(iter(counts.items()))
        for k, (n, right) in enumerate(zip(units, expected, strict=True)):
            if n != right:
                raise UserError(f"{name}: member {k} has {n} units, its {first} have {right}")


def _unit_axis(name: str) -> int:
    return {"input_weights": -2}.get(name, -1)


def _match_units(name: str, values: list[Array], weights: list[Array]) -> None:
    axis = _unit_axis(name)
    for k, (value, weight) in enumerate(zip(values, weights, strict=True)):
        if value.shape[axis] != weight.shape[-1]:
            raise UserError(
                f"{name}: member {k} has {value.shape[axis]} units, its recurrent weights have {weight.shape[-1]}"
            )
        gates = weight.shape[0] if weight.ndim == 3 else 1
        gated = {"input_weights": value.ndim == 3, "bias": value.ndim > 1}.get(name, False)
        if name in ("input_weights", "bias") and (value.shape[0] if gated else 1) != gates:
            raise UserError(f"{name}: member {k} has shape {value.shape}, its recurrent weights have {gates} gates")


def _recording(
    arrays: Mapping[str, list[Array]],
    step: StepFunction | None,
    reason: str,
    errors: Array | None,
    names: tuple[str, ...],
    known: ArrayCell,
    n: int,
) -> Recording:
    if errors is None and names:
        raise UserError("ood_variants: names without ood_errors")
    if len(set(names)) < len(names):
        raise UserError(f"ood_variants: {', '.join(names)}: each name is needed once")
    if errors is not None and names and len(names) != errors.shape[1]:
        raise UserError(f"ood_variants: {len(names)} names for {errors.shape[1]} variants")
    behavior = {}
    if errors is not None:
        for k in range(errors.shape[1]):
            behavior[names[k] if names else f"variant {k + 1}"] = Variant(errors=errors[:, k : k + 1])
    obstacle, of_units = "", "input_weights" if known.apart else "weights"
    if of_units in arrays and known.cell is not None:
        obstacle = weights_obstacle(known.cell, 1, arrays[of_units][0].shape[_unit_axis(of_units)])
    initial = None
    if "initial_weights" in arrays and not obstacle:
        initial = _weights({"weights": arrays["initial_weights"]}, known.cell)
    labels = tuple(str(k) for k in range(n))
    untrained = None
    if initial is not None or "untrained_states" in arrays:
        untrained = Recording(members=labels, states=arrays.get("untrained_states"), weights=initial)
    return Recording(
        members=labels,
        states=arrays.get("states"),
        weights=_weights(arrays, known.cell) if of_units in arrays and not obstacle else None,
        initial_weights=initial,
        behavior=behavior,
        step=step,
        untrained=untrained,
        missing=GIVE
        | _of_apart(known)
        | ({} if step is not None else {"step": reason})
        | (dict.fromkeys(("weights", "initial_weights"), obstacle) if obstacle else {}),
    )


def _of_apart(known: ArrayCell) -> dict[str, str]:
    """What to give of a cell without weights between units, and what it does not have."""
    if not known.apart or known.cell is None:
        return {}
    none = f"cell '{known.cell.name}' has no weights between units"
    return {"weights": "not given (input_weights)", "recurrent_weights": none, "initial_weights": none}


def _step(
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


def _weights(arrays: Mapping[str, list[Array]], cell: Cell | None) -> list[Weights]:
    """Weights with a gate axis throughout, and a bias axis (gate, k, unit)."""

    def block(name: str, k: int) -> Array | None:
        if name not in arrays:
            return None
        value = arrays[name][k]
        if arrays[of_units][k].ndim == 2:
            value = value[None]
        return value[:, None] if name == "bias" and value.ndim == 2 else value

    of_units = "weights" if "weights" in arrays else "input_weights"
    found = []
    for k in range(len(arrays[of_units])):
        recurrent = block("weights", k)
        if recurrent is not None and recurrent.shape[1] != recurrent.shape[2]:
            raise UserError(f"weights: member {k} has shape {arrays['weights'][k].shape}; post and pre must be equal")
        found.append(
            Weights.of(
                recurrent=recurrent,
                input=block("input_weights", k),
                bias=block("bias", k),
                readout=arrays["readout"][k] if "readout" in arrays else None,
                candidate=0 if cell is None else cell.candidate,
                symmetry="" if cell is None else cell.symmetry,
                summed_biases=() if cell is None else cell.summed_biases,
            )
        )
    return found


def _summary(k: int) -> MemberSummary:
    nothing = np.empty(0)
    return MemberSummary(
        label=str(k),
        status="given",
        n_updates=0,
        seconds=0.0,
        epoch_loss=nothing,
        learning_rate=nothing,
        steps_per_epoch=0,
    )
