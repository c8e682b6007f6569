"""Arrays that were given as the recording that measures take, with what each lacks."""

from collections.abc import Mapping

from degeneracy.analysis import Recording, StepFunction, Variant, Weights
from degeneracy.analysis.recording import Array
from degeneracy.core.errors import UserError
from degeneracy.measuring.arrays.cells import GIVE_CELL, ArrayCell
from degeneracy.measuring.arrays.given import unit_axis
from degeneracy.networks import weights_obstacle
from degeneracy.networks.cell import Cell

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


def recording_of(
    arrays: Mapping[str, list[Array]],
    step: StepFunction | None,
    reason: str,
    errors: Array | None,
    names: tuple[str, ...],
    known: ArrayCell,
    n: int,
) -> Recording:
    """The recording of what was given, with what to give of the rest.

    Args:
        arrays: one per member, by the name of the keyword.
        step: of the members, where it is known; else `reason` says why it is not.
        reason: why there is no step.
        errors: (member, variant), of task variants.
        names: of these variants, or none.
        known: what is known of the cell.
        n: number of members.

    Raises:
        UserError: names of variants that do not fit the errors.
    """
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
        obstacle = weights_obstacle(known.cell, 1, arrays[of_units][0].shape[unit_axis(of_units)])
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
