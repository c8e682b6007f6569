"""Networks trained elsewhere, given as arrays: the same table, distances and report for what is given."""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from degeneracy.ambient import ordinary_state
from degeneracy.analysis import MEASURES, Measure, Recording, StepFunction, Variant, Weights
from degeneracy.analysis.recording import Array
from degeneracy.errors import UserError, unknown_name
from degeneracy.measuring.measure import (
    build_measures,
    lacking,
    measure_recording,
    measures_of,
    split_outcome,
)
from degeneracy.measuring.record import step_function
from degeneracy.measuring.results import MemberSummary, Result
from degeneracy.networks import weights_obstacle
from degeneracy.networks.cells import CELLS, Cell
from degeneracy.user_files import user_path
from degeneracy.workers import resolve_jobs

Members = ArrayLike | Sequence[ArrayLike]  # one array with a leading member axis, or a list of arrays

NUMERIC = ("states", "weights", "input_weights", "bias", "readout", "untrained_states", "initial_weights")
# What to give so that a recording has it.
GIVE = {
    "states": "not given (states)",
    "weights": "not given (weights)",
    "initial_weights": "not given (initial_weights)",
    "behavior": "not given (ood_errors)",
    "prediction_times": "a closed loop runs the networks themselves",
    "tangent_kernel": "gradients are of the networks themselves",
    "untrained": "not given (untrained_states)",
}
KEYS = (*NUMERIC, "ood_errors", "ood_variants", "cell")


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
    ood_errors: ArrayLike | None = None,
    ood_variants: Sequence[str] = (),
    cell: str = "tanh",
    measures: Iterable[Any] = tuple(MEASURES),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    jobs: int = 1,
    condition: str = "given",
) -> Result:
    """Measure networks trained elsewhere from their arrays; what a measure lacks is listed with the reason.

    Where members differ in size, give a list of arrays, one a member, in place of one array.

    Args:
        states: (member, trial, time, unit), the hidden states of all members on the same trials.
        weights: (member, post, pre) recurrent weights; of gated cells (member, gate, post, pre), gates in
            torch.nn's order.
        input_weights: (member, post, in) or (member, gate, post, in).
        bias: (member, post); of gated cells (member, gate, post), or (member, gate, 2, post) with the input and
            the recurrent bias of each gate.
        readout: (member, out, unit).
        untrained_states, initial_weights: the same members before training, as reference.
        ood_errors: (member, variant), mean squared error of each member on each task variant.
        ood_variants: their names; "variant 1", ... by default.
        cell: a name in `CELLS`; says which relabellings of units leave a network the same.
        measures, options, jobs: as for `measure`.
        condition: what to call the ensemble in the table.

    Returns:
        The result; members are labelled by position.

    Raises:
        UserError: arrays of another rank, members that do not match, values that are not finite, under 2 members,
            an unknown cell, measure or option, options that the states cannot serve, or data that no measure can
            say anything about.
    """
    given = {"states": states, "weights": weights, "input_weights": input_weights, "bias": bias}
    given |= {"readout": readout, "untrained_states": untrained_states, "initial_weights": initial_weights}
    if cell not in CELLS:
        raise unknown_name("cell", cell, CELLS)
    kind = CELLS[cell]()
    arrays = {name: _members(name, value, kind) for name, value in given.items() if value is not None}
    errors = None if ood_errors is None else _errors(ood_errors)
    n = _count(arrays, errors)
    built, n_jobs = measures_of(None, build_measures(measures, options)), resolve_jobs(jobs)
    recording = _recording(arrays, errors, tuple(ood_variants), kind, n)
    asked = [name for name in built if not lacking(built[name], recording)]
    for name in asked:
        _check(built[name], recording)
    found, missing = split_outcome(dict(measure_recording(recording, built, jobs=n_jobs)))
    if asked and not found:  # nothing to report but what is wrong
        raise UserError(missing[asked[0]])
    shapes = {name: [list(one.shape) for one in value] for name, value in arrays.items()}
    return Result(
        condition=condition,
        spec={
            "cell": cell,
            "shapes": shapes,
            "measures": {k: m.model_dump(mode="json") for k, m in built.items()},
        },
        members=tuple(_summary(k) for k in range(n)),
        measured_members=recording.members,
        levels={name: m.level for name, m in built.items()},
        measured={name: found[name] for name in built if name in found},
        missing={name: missing[name] for name in built if name in missing},
    )


def _check(measure: Measure, recording: Recording) -> None:
    """Refuse options that the smallest of the given states cannot serve, before anything is measured."""
    if recording.states:
        n_trials, n_steps, n_units = np.min([one.shape for one in recording.states], axis=0).tolist()
        measure.check(n_units=n_units, n_steps=n_steps, n_trials=n_trials)


def load_arrays(path: str | Path) -> dict[str, Any]:
    """The arguments of `measure_arrays` from an .npz file with the same names.

    Where members differ in size, `states` is given as `states_0`, `states_1`, ... one array a member; likewise
    the others. `cell` and `ood_variants` are strings.

    Raises:
        UserError: no such file, a damaged one, one with Python objects in it, or an unknown name.
    """
    try:
        # Opened here and not by numpy, which leaves a damaged file open.
        with user_path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or 'not an .npz file'}") from error
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        objects = isinstance(error, ValueError) and "Object arrays" in str(error)
        reason = (
            "it holds Python objects"
            if objects
            else "damaged or not an .npz file, as numpy.savez writes them"
        )
        raise UserError(f"cannot read {path}: {reason}") from error
    arguments: dict[str, Any] = {}
    for name, value in stored.items():
        base, _, position = name.rpartition("_")
        if name in KEYS:
            arguments[name] = value
        elif base in NUMERIC and position.isdigit():
            arguments.setdefault(base, {})[int(position)] = value
        else:
            raise unknown_name("array", name, KEYS, where=str(path))
    for name, value in arguments.items():
        if isinstance(value, dict):
            if sorted(value) != list(range(len(value))):
                raise UserError(
                    f"{path}: {name}_0 to {name}_{max(value)} are needed, one a member; some are missing"
                )
            arguments[name] = [value[k] for k in range(len(value))]
    if "cell" in arguments:
        arguments["cell"] = str(arguments["cell"])
    if "ood_variants" in arguments:
        arguments["ood_variants"] = [str(name) for name in np.atleast_1d(arguments["ood_variants"])]
    return arguments


def _members(name: str, value: Members, cell: Cell) -> list[Array]:
    """One float64 array a member, of the rank that the name and the cell ask for."""
    try:
        arrays = [_real(one) for one in value]  # type: ignore[union-attr]
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: numbers are needed, one array a member ({error})") from None
    gate = ", gate" if cell.gates > 1 else ""
    wanted = {
        "states": ("trial, time, unit", (3,)),
        "untrained_states": ("trial, time, unit", (3,)),
        "weights": (f"{gate}, post, pre".lstrip(", "), (2 + bool(gate),)),
        "initial_weights": (f"{gate}, post, pre".lstrip(", "), (2 + bool(gate),)),
        "input_weights": (f"{gate}, post, in".lstrip(", "), (2 + bool(gate),)),
        "bias": (f"{gate}, post".lstrip(", "), (1 + bool(gate), 3) if gate else (1,)),
        "readout": ("out, unit", (2,)),
    }
    axes, ranks = wanted[name]
    for k, array in enumerate(arrays):
        if array.ndim not in ranks or 0 in array.shape:
            raise UserError(f"{name}: (member, {axes}) is needed; member {k} has shape {array.shape}")
        if not np.isfinite(array).all():
            raise UserError(f"{name}: member {k} holds values that are not finite")
        if gate and name not in ("states", "untrained_states", "readout") and len(array) != cell.gates:
            raise UserError(
                f"{name}: cell '{cell.name}' has {cell.gates} gates; member {k} has shape {array.shape}"
            )
    return arrays


def _real(value: Any) -> Array:
    """As float64; numpy would drop the imaginary part of complex numbers with a warning."""
    if np.iscomplexobj(value):
        raise TypeError("they are complex")
    return np.asarray(value, dtype=np.float64)


def _errors(value: ArrayLike) -> Array:
    try:
        errors = _real(value)
    except (TypeError, ValueError):
        raise UserError("ood_errors: numbers (member, variant) are needed") from None
    if errors.ndim != 2 or 0 in errors.shape:
        raise UserError(f"ood_errors: (member, variant) is needed, got shape {errors.shape}")
    if not np.isfinite(errors).all() or (errors < 0).any():
        raise UserError("ood_errors: errors that are negative or not finite")
    return errors


def _count(arrays: Mapping[str, list[Array]], errors: Array | None) -> int:
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
    for name in arrays.keys() - {"weights", "initial_weights"}:
        if "weights" in arrays:
            _match_units(name, arrays[name], arrays["weights"])
    return n


def _match_units(name: str, values: list[Array], weights: list[Array]) -> None:
    axis = {"input_weights": -2}.get(name, -1)
    for k, (value, weight) in enumerate(zip(values, weights, strict=True)):
        if value.shape[axis] != weight.shape[-1]:
            raise UserError(
                f"{name}: member {k} has {value.shape[axis]} units, its recurrent weights have {weight.shape[-1]}"
            )


def _recording(
    arrays: Mapping[str, list[Array]], errors: Array | None, names: tuple[str, ...], cell: Cell, n: int
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
    obstacle = weights_obstacle(cell, 1, arrays["weights"][0].shape[-1]) if "weights" in arrays else ""
    initial = None
    if "initial_weights" in arrays and not obstacle:
        initial = _weights({"weights": arrays["initial_weights"]}, cell)
    labels = tuple(str(k) for k in range(n))
    untrained = None
    if initial is not None or "untrained_states" in arrays:
        untrained = Recording(members=labels, states=arrays.get("untrained_states"), weights=initial)
    step, reason = _step(arrays, cell)
    return Recording(
        members=labels,
        states=arrays.get("states"),
        weights=_weights(arrays, cell) if "weights" in arrays and not obstacle else None,
        initial_weights=initial,
        behavior=behavior,
        step=step,
        untrained=untrained,
        missing=GIVE
        | ({} if step is not None else {"step": reason})
        | (dict.fromkeys(("weights", "initial_weights"), obstacle) if obstacle else {}),
    )


def _weights(arrays: Mapping[str, list[Array]], cell: Cell) -> list[Weights]:
    """Weights with a gate axis throughout, and a bias axis (gate, k, unit)."""

    def block(name: str, k: int) -> Array | None:
        if name not in arrays:
            return None
        value = arrays[name][k]
        if cell.gates == 1:
            value = value[None]
        return value[:, None] if name == "bias" and value.ndim == 2 else value

    found = []
    for k, recurrent in enumerate(arrays["weights"]):
        gated = recurrent if cell.gates > 1 else recurrent[None]
        if gated.shape[1] != gated.shape[2]:
            raise UserError(f"weights: member {k} has shape {recurrent.shape}; post and pre must be equal")
        found.append(
            Weights(
                recurrent=gated,
                input=block("input_weights", k),
                bias=block("bias", k),
                readout=arrays["readout"][k] if "readout" in arrays else None,
                candidate=cell.candidate,
                symmetry=cell.symmetry,
                summed_biases=cell.summed_biases,
            )
        )
    return found


def _step(arrays: Mapping[str, list[Array]], cell: Cell) -> tuple[StepFunction | None, str]:
    """The step without input, where weights, bias and visited states say what it is; else the reason."""
    lacking = [name for name in ("weights", "bias", "states") if name not in arrays]
    if lacking:
        return None, f"{', '.join(lacking)} not given"
    if type(cell).model_fields:
        return (
            None,
            f"the options of a cell '{cell.name}' ({', '.join(type(cell).model_fields)}) are not known",
        )
    if cell.states > 1:
        return None, f"the full state of a cell '{cell.name}' is not among the arrays"
    if len({(w.shape, s.shape) for w, s in zip(arrays["weights"], arrays["states"], strict=True)}) > 1:
        return None, "the members differ in size"
    biases = [np.asarray(one) for one in arrays["bias"]]
    if len(cell.biases) == 2 and biases[0].ndim != 3:
        return None, f"cell '{cell.name}' needs both biases, (member, gate, 2, post)"
    stacked = torch.from_numpy(np.stack(biases))
    n_members, n = stacked.shape[0], stacked.shape[-1]
    per_bias = stacked.reshape(n_members, cell.gates, -1, n)
    if per_bias.shape[2] != len(cell.biases):
        return None, f"cell '{cell.name}' takes {len(cell.biases)} bias a gate"
    params = {"W_rec": torch.from_numpy(np.stack(arrays["weights"])).reshape(n_members, -1, n)}
    params["W_in"] = torch.zeros(
        n_members, cell.gates * n, 1, dtype=torch.float64
    )  # no input: its weights do not matter
    for k, name in enumerate(cell.biases):
        params[name] = per_bias[:, :, k].reshape(n_members, -1)
    visited = torch.from_numpy(np.stack(arrays["states"])).flatten(1, 2)
    return step_function(cell, params, visited, torch.zeros(1, 1, dtype=torch.float64)), ""


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
