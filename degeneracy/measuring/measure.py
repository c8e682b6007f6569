"""Measuring: choose measures with their options, record an ensemble, and collect what they find."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from degeneracy.analysis import MEASURES, Measure, Measured, Recording, as_measure
from degeneracy.analysis.as_measure import card_of
from degeneracy.analysis.measure import MeasureInParts
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.registry import describe, look_up
from degeneracy.core.streams import Streams
from degeneracy.core.workers import Call, resolve_jobs, spread
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.attempts import Fault, attempt, outcome_of
from degeneracy.measuring.memory import check_measuring_memory
from degeneracy.measuring.probe import Probe, check_measures, probe_descriptions
from degeneracy.measuring.record import record
from degeneracy.measuring.results import COLUMNS_AFTER_FACTORS, Examples, MemberSummary, Result
from degeneracy.tasks import TASKS, Task, Trials
from degeneracy.training import Member, one_thread

N_EXAMPLE_MEMBERS, N_EXAMPLE_TRIALS = 4, 16
_NOT_DONE = object()  # stands for a part that is not back yet


def build_measures(
    measures: Iterable[Any] = tuple(MEASURES), options: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Measure]:
    """The measures asked for, with their options checked.

    Args:
        measures: names in `MEASURES`, the user's own as `module:Name`, or the user's own objects (see
            `analysis.as_measure`).
        options: fields of a measure, by the measure's name.

    Returns:
        The measures by name.

    Raises:
        UserError: an unknown name or option (with the closest known one), a value out of range, two measures of one
            name.
    """
    if isinstance(measures, str):
        raise UserError(f"measures = '{measures}' is wrong: a list of names is needed, such as ['{measures}']")
    if not isinstance(measures, Iterable):
        raise UserError(f"measures = {measures!r} is wrong: a list of names is needed, such as {[*MEASURES][:2]}")
    if options is not None and not isinstance(options, Mapping):
        example = next({name: {"seed": 1}} for name, kind in MEASURES.items() if "seed" in kind.model_fields)
        raise UserError(f"options = {options!r} is wrong: a table of fields by measure is needed, such as {example}")
    given = dict(options or {})
    built: dict[str, Measure] = {}
    for wanted in measures:
        if isinstance(wanted, str):
            kind = look_up("measure", wanted, MEASURES)
            kind = kind if wanted in MEASURES else as_measure(wanted, kind)
        else:
            kind = as_measure(getattr(wanted, "__name__", type(wanted).__name__), wanted)
        if kind.name in built:  # the later one would take the place of the other
            raise UserError(f"measure '{kind.name}' is asked for twice")
        key = wanted if isinstance(wanted, str) and wanted in given else kind.name
        fields = given.pop(key, {})
        if not isinstance(fields, Mapping):
            raise UserError(f"options: {key} = {fields!r} is wrong: a table of its fields is needed")
        built[kind.name] = kind(**fields)
    if not built:
        raise UserError(f"no measure was asked for (known: {', '.join(MEASURES)})")
    for name in given:
        raise not_taken(name, built, "options")
    return built


def not_taken(name: str, measures: Iterable[str], where: str) -> UserError:
    """The error for something said of a measure that is not taken, or that there is not."""
    if name in MEASURES:
        return UserError(f"{where}: '{name}' is not among the measures to take ({', '.join(measures)})")
    return unknown_name("measure", name, measures, where=where)


def measures_of(task: Task | None, built: Mapping[str, Measure]) -> dict[str, Measure]:
    """The measures to take on a task: where all there are were asked for, without those that it has no trials for.

    Asked for by name, such a measure is listed with the reason. `task` is None for networks given as arrays.
    """
    if not built.keys() >= MEASURES.keys():
        return dict(built)
    lacking = {"prediction_times", "decisions"}
    if task is not None and task.closed_loop() is not None:
        lacking.remove("prediction_times")
    if task is not None and task.loss.decide is not None:
        lacking.remove("decisions")
    return {name: one for name, one in built.items() if not lacking & set(one.needs)}


def lags_needed(measures: Mapping[str, Measure]) -> dict[str, int]:
    """The largest numbers of lags that any of some measures needs, as `record` takes them."""
    return {
        name: max((getattr(measure, name) for measure in measures.values()), default=0)
        for name in ("n_lags", "n_input_lags")
    }


def lacking(measure: Measure, recording: Recording) -> str:
    """Why a recording does not let a measure say anything; "" where it does."""
    for need in measure.needs:
        given = getattr(recording, need)
        if given is None or (isinstance(given, Mapping | Sequence) and not given):
            return f"needs {need.replace('_', ' ')}: {recording.missing.get(need, 'not given')}"
    return ""


def measure_recording(
    recording: Recording, measures: Mapping[str, Measure], *, jobs: int = 1
) -> Iterator[tuple[str, Measured | str]]:
    """Apply measures to a recording of 2 members or more.

    Args:
        recording: what to measure.
        measures: by name.
        jobs: processes the measures are spread over; the results do not depend on it.

    Yields:
        As each is done, in no fixed order: the measure's name, and what it found or the reason why it has no number.
        Whatever error a measure ends in is such a reason, its own alone; the logger "degeneracy" has where it arose.
    """
    asked = []
    for name, measure in measures.items():
        reason = lacking(measure, recording)
        if reason:
            yield name, reason
        else:
            asked.append(name)
    # The long ones first, so that no process is left with one at the end.
    asked.sort(key=lambda name: -measures[name].cost)
    calls: list[Call] = []
    in_parts: dict[str, list[Any]] = {}
    for name in asked:
        measure = measures[name]
        if isinstance(measure, MeasureInParts) and jobs > 1:
            parts = attempt(partial(measure.parts, recording))
            if isinstance(parts, Fault) or not len(parts):
                yield name, _whole(name, measure, parts, recording)
                continue
            in_parts[name] = [_NOT_DONE] * len(parts)
            calls += [Call(_apply, ((name, k), part, ()), f"measure '{name}'") for k, part in enumerate(parts)]
        else:
            arguments = (name, 0), measure, (_needed(measure, recording),)
            calls.append(Call(_apply, arguments, f"measure '{name}'"))
    for (name, k), value in spread(calls, jobs=min(jobs, len(calls))):
        if name not in in_parts:
            yield name, outcome_of(name, value, len(recording))
            continue
        done = in_parts[name]
        done[k] = value
        if not any(part is _NOT_DONE for part in done):
            faults = [part for part in done if isinstance(part, Fault)]
            yield name, _whole(name, measures[name], faults[0] if faults else done, recording)


def _whole(name: str, measure: Measure, parts: Sequence[Any] | Fault, recording: Recording) -> Measured | str:
    """What the parts of a measure come to, or why there is nothing to put together."""
    assert isinstance(measure, MeasureInParts)
    value = parts if isinstance(parts, Fault) else attempt(partial(measure.whole, parts))
    return outcome_of(name, value, len(recording))


def split_outcome(outcome: Mapping[str, Measured | str]) -> tuple[dict[str, Measured], dict[str, str]]:
    """What measures found, and the reasons of those that can say nothing."""
    found = {name: one for name, one in outcome.items() if isinstance(one, Measured)}
    return found, {name: one for name, one in outcome.items() if isinstance(one, str)}


def _needed(measure: Measure, recording: Recording) -> Recording:
    """The recording without what a listed measure does not look at, so that little travels to its process."""
    if type(measure) not in MEASURES.values():
        return recording
    fields = {"states", "autonomous_states", "noisy_states", "weights", "initial_weights", "step", "behavior"}
    fields |= {"tangent_kernel", "prediction_times", "lag_grams"}
    if "states" in measure.needs:
        fields -= {"states", "autonomous_states", "noisy_states"}
    fields -= {*measure.needs, *measure.looks_at}
    unneeded: dict[str, Any] = {name: {} if name == "behavior" else None for name in fields}
    if "behavior" not in measure.needs or not measure.reads_outputs:
        unneeded |= {"noisy_outputs": None, "noisy_decisions": None}
    if "behavior" in measure.needs and not measure.reads_outputs:
        unneeded["untrained"] = None
        unneeded["behavior"] = {
            name: replace(one, outputs=None, decisions=None, called_for=None)
            for name, one in recording.behavior.items()
        }
        return replace(recording, **unneeded)
    untrained = recording.untrained
    return replace(
        recording,
        **unneeded,
        untrained=None if untrained is None else replace(untrained, **unneeded),
    )


def _apply(
    what: tuple[str, int], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[tuple[str, int], Any]:
    """A measure, or a part of one, tried in a process of its own: which it is, and what came of it."""
    with one_thread():
        return what, attempt(partial(function, *arguments))


def _check_arguments(ensemble: Ensemble, task: Task, factors: Iterable[str]) -> None:
    """Refuse what `measure` does not take."""
    if not isinstance(ensemble, Ensemble) or not isinstance(task, Task):
        kinds = f"({type(ensemble).__name__}, {type(task).__name__})"
        raise UserError(f"measure takes an Ensemble and a Task, got {kinds}; arrays go to measure_arrays")
    taken = {"condition", *COLUMNS_AFTER_FACTORS} & set(factors)
    if taken:
        raise UserError(f"factors: '{min(taken)}' is a column of the table already; use another name")
    if len(ensemble) < 2:
        raise UserError(f"measuring needs 2 members or more, the ensemble has {len(ensemble)}")


@ordinary_state()
def measure(
    ensemble: Ensemble,
    task: Task,
    *,
    measures: Iterable[Any] = tuple(MEASURES),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    probe: Probe | None = None,
    jobs: int = 1,
    condition: str = "",
    factors: Mapping[str, Any] | None = None,
) -> Result:
    """Measure how far the solutions of an ensemble's converged members differ.

    Args:
        ensemble: the members; those that did not converge are counted and left out.
        task: draws the probe trials; may differ from the one trained on.
        measures: names, `module:Name` or the user's own objects; all in `MEASURES` by default.
        options: fields of a measure by its name, e.g. {"dsa": {"rank": 50, "n_delays": 10}}.
        probe: number and seed of the probe trials, strength of the network probes.
        jobs: processes the measures are spread over, -1 for one per core.
        condition: what to call the ensemble in the table; the task's name by default.
        factors: values of varied factors, as columns of the table.

    Returns:
        The result, with `table`, `distances` and `report`.

    Raises:
        UserError: unknown measures or options, or under 2 members in the ensemble.
    """
    _check_arguments(ensemble, task, factors or {})
    built = measures_of(task, build_measures(measures, options))
    n_jobs, used = resolve_jobs(jobs), probe or Probe()
    kept = ensemble.converged
    found: dict[str, Measured] = {}
    examples = None
    if len(kept) < 2:
        reason = f"needs 2 converged members, {len(kept)} of {len(ensemble)} converged"
        missing = dict.fromkeys(built, reason)
    else:
        sizes = [part.n_units for part in kept.parts().values()]
        if min(sizes):  # of networks without states nothing is asked that hangs on their size
            check_measures(built, task, min(sizes), used)  # before the work, as a study does
        check_measuring_memory(task, max(sizes), used, built, len(kept))
        recording = record(kept, task, used, **lags_needed(built))
        examples = example_trials(kept, task, used)
        outcome = dict(measure_recording(recording, built, jobs=n_jobs))
        found, missing = split_outcome({name: outcome[name] for name in built})
    return Result(
        condition=condition or task.name,
        factors=dict(factors or {}),
        spec=result_spec(ensemble, task, built, used),
        members=member_summaries(
            ensemble.members, 0 if ensemble.training is None else ensemble.training.steps_per_epoch
        ),
        measured_members=tuple(str(seed) for seed in kept.seeds),
        levels={name: m.level for name, m in built.items()},
        measured=found,
        missing=missing,
        examples=examples,
    )


def result_spec(ensemble: Ensemble, task: Task, measures: Mapping[str, Measure], probe: Probe) -> dict[str, Any]:
    """Everything that made a result, as plain data."""
    return {
        "task": describe(task, TASKS),
        "loss": {"label": task.loss.label, "unit": task.loss.unit},
        "stop": {"by": task.stop, "under": task.goal()},
        **({"given": ensemble.kind} if ensemble.network is None else {}),
        "network": None if ensemble.network is None else ensemble.network.model_dump(mode="json"),
        "training": None if ensemble.training is None else ensemble.training.model_dump(mode="json"),
        "probe": probe.model_dump(mode="json"),
        "variants": probe_descriptions(task, probe),
        "measures": {name: m.model_dump(mode="json") for name, m in measures.items()},
        **own_cards(measures),
    }


def own_cards(measures: Mapping[str, Measure]) -> dict[str, Any]:
    """Under "cards", what the user's own measures say of themselves; nothing where there are none."""
    own = {name: card_of(one) for name, one in measures.items() if type(one) not in MEASURES.values()}
    return {"cards": own} if own else {}


def member_summaries(members: Iterable[Member], steps_per_epoch: int) -> tuple[MemberSummary, ...]:
    """How each member's training went."""
    return tuple(
        MemberSummary(
            label=str(member.seed),
            status=member.status,
            n_updates=len(member.history.epoch_loss) * steps_per_epoch,  # a kept network has no loss per update
            seconds=float(member.provenance.get("seconds", 0.0)),
            epoch_loss=member.history.epoch_loss,
            learning_rate=member.history.learning_rate,
            steps_per_epoch=steps_per_epoch,
            epoch_wrong=member.history.epoch_wrong,
        )
        for member in members
    )


def _counts(trials: Trials) -> NDArray[np.bool_]:
    """Which targets count in the loss, (member, trial, time, out)."""
    counts = trials.loss_weights > 0
    by_output = counts if counts.ndim == trials.targets.ndim else counts.unsqueeze(-1)
    return np.asarray(by_output.expand_as(trials.targets).numpy())


def example_trials(ensemble: Ensemble, task: Task, probe: Probe) -> Examples:
    """The first probe trials and what the first members did on them."""
    trials = task.probe(Streams([probe.seed], "probe"), probe.n_trials)
    n_members, n_trials = min(len(ensemble), N_EXAMPLE_MEMBERS), min(probe.n_trials, N_EXAMPLE_TRIALS)
    states, outputs = ensemble.rollout(trials.inputs[0, :n_trials])
    predicted = task.loss.predict(torch.from_numpy(outputs[:n_members])).numpy()
    return Examples(
        inputs=trials.inputs[0, :n_trials].numpy(),
        targets=np.where(_counts(trials)[0, :n_trials], trials.targets[0, :n_trials].numpy(), np.nan),
        scored=trials.scored_steps[0, :n_trials].numpy(),
        outputs=predicted,
        states=states[:n_members],
        members=tuple(str(seed) for seed in ensemble.seeds[:n_members]),
    )
