"""Networks trained elsewhere, given as arrays: the same table, distances and report for what is given."""

from __future__ import annotations  # `help` shows annotations as they are written, not what numpy's stand for

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis import MEASURES, Measure, Recording
from degeneracy.analysis.recording import MEAN_INPUT, NO_INPUT
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.workers import resolve_jobs
from degeneracy.measuring.arrays.cells import array_cell, checked_step, given_pulses
from degeneracy.measuring.arrays.dynamics import checked_observed, lags_for, with_lag_grams
from degeneracy.measuring.arrays.given import (
    Members,
    count_members,
    given_errors,
    given_inputs,
    given_members,
    variant_names,
)
from degeneracy.measuring.arrays.recorded import recording_of
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
from degeneracy.networks.cell import Cell

# One array per member; the other keywords that a file of arrays may hold follow.
NUMERIC = ("states", "weights", "input_weights", "bias", "readout", "untrained_states", "initial_weights")
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
    arrays = {name: given_members(name, value, known.cell) for name, value in given.items() if value is not None}
    errors, variants = (
        (None, variant_names(ood_variants))
        if ood_errors is None
        else given_errors(ood_errors, variant_names(ood_variants))
    )
    n = count_members(arrays, errors, known)
    built, n_jobs = measures_of(None, build_measures(measures, options)), resolve_jobs(jobs)
    driven = None if inputs is None else given_inputs(inputs, arrays)
    observed = checked_observed(fully_observed)
    brief = None if pulses is None else given_pulses(pulses, arrays)
    step, reason = checked_step(arrays, driven, brief, known)
    recording = recording_of(arrays, step, reason, errors, variants, known, n)
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
