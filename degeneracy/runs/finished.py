"""What a finished run has found, as plain data: results.json, and the tables that are made of it.

`finish` writes both at the end of a run. `results_of` makes the results again from results.json and the condition's
packs alone: no code that the study names (`module:Name`) is imported for that.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from degeneracy.analysis import Measure
from degeneracy.contrasts.convergence import convergence
from degeneracy.contrasts.effects import effects, robustness
from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile, digest, exists, json_bytes
from degeneracy.core.owned_folder import LACKS
from degeneracy.core.records import Record, combined_digest
from degeneracy.core.version import __version__
from degeneracy.ensembles.ensemble import CONVERGED, Ensemble
from degeneracy.ensembles.ensemble_files import NOT_THE_ONE, SPEC
from degeneracy.measuring.measure import measures_of, member_summaries, result_spec, split_outcome
from degeneracy.measuring.results import GridPoint, Result
from degeneracy.runs.measured_records import EXAMPLES, MEASURE, load_examples, load_measured
from degeneracy.runs.results_file import PROVENANCE, RESULTS, repair_advice
from degeneracy.runs.run_directory import CONDITIONS, RunDirectory
from degeneracy.runs.trained_ensembles import TrainedEnsembles
from degeneracy.studies.claims import Claims
from degeneracy.studies.conditions import Condition, Place
from degeneracy.studies.keys import examples_key, measured_key
from degeneracy.studies.measure_settings import setting_name
from degeneracy.studies.pilot import choices_taken
from degeneracy.studies.study import Study
from degeneracy.studies.study_result import StudyResult


def finish(run: RunDirectory, plan: Study, *, seconds: float, repair: bool = False) -> StudyResult:
    """Write results.json, then the tables and where they came from; returns the results.

    Raises:
        DamagedFile: something stored is not what was written, or a table was changed since (with `repair` it is set
            aside).
        UserError: something is not trained or measured.
    """
    index = json.loads(json.dumps(_described(run, plan)))
    result = replace(results_of(run, index), provenance=_provenance(run, seconds))
    tables = {"degeneracy.csv": result.table.to_csv(index=False).encode()}
    if result.factors:
        for name, table in (("effects", effects(result)), ("convergence", convergence(result))):
            tables[f"{name}.csv"] = table.to_csv(index=False).encode()
    has_grid = any(one.grids for one in result.results) or exists(run.root / "robustness.csv")
    if result.factors and has_grid:  # an earlier one is replaced, if only by a table without rows
        tables["robustness.csv"] = robustness(result).to_csv(index=False).encode()
    tables[PROVENANCE.name] = json_bytes(PROVENANCE.content({"provenance": result.provenance}))
    with run.owned.hold():
        run.owned.write_tables(index, tables, repair=repair)
    return result


def unfinished(run: RunDirectory) -> UserError:
    """The error for a run that has no results yet; says what is missing where networks are."""
    for place in run.places:
        try:
            check_trained(run, place, run.study["seeds"])
        except UserError as error:
            return error
    return UserError(f"{run.root}: the run is not finished (its results are not written); start it again to go on")


def check_trained(run: RunDirectory, place: Place, seeds: Sequence[int]) -> None:
    """Refuse a condition whose networks are not all trained.

    Raises:
        UserError: says how many are missing.
    """
    missing = run.missing_seeds(place, seeds)
    if missing:
        raise UserError(
            f"{run.root}: the run is not finished ({place.label}: {len(missing)} of {len(seeds)} networks"
            " are not trained); start it again to go on"
        )


def measured_seeds(records: Mapping[int, Record]) -> list[int]:
    """The seeds of the members that measures look at."""
    return [seed for seed, record in records.items() if record.about["status"] in CONVERGED]


def _described(run: RunDirectory, plan: Study) -> dict[str, Any]:
    """The finished run as plain data; what it needs of the study's code is asked here, once."""
    measures = plan.build_measures()
    return {
        "run": run.identity,
        "study": digest(run.study),
        "name": plan.name,
        "description": plan.description,
        "scale": plan.scale,
        "claims": plan.claims.model_dump(mode="json"),
        "claims_at_training": run.claims_at_training,
        "pilot": run.pilot,
        "pilot_taken": _pilot_taken(run),
        "conditions": [
            _described_condition(run, condition, plan, measures_of(condition.task, measures))
            for condition in plan.conditions()
        ],
    }


def _pilot_taken(run: RunDirectory) -> dict[str, list[Any]]:
    """The measures whose rank and delays the pilot chose, and its choices for these; empty: there are none."""
    plan = Study(**run.study)
    found = choices_taken(plan.build_measures(), run.pilot.get("choices", ()))
    return found if plan.pilot.n_networks and found["measures"] else {}


def _described_condition(
    run: RunDirectory, condition: Condition, plan: Study, measures: Mapping[str, Measure]
) -> dict[str, Any]:
    place = condition.place
    check_trained(run, place, plan.seeds)
    records, pack = run.member_records(place, plan.seeds), run.measured(place)
    kept = measured_seeds(records)
    made_from = combined_digest([records[seed] for seed in kept])
    taken = {}
    for name, measure in measures.items():
        key = measured_key(name, measure, kept, plan.probe)
        record = _needed(run, place, pack.find(MEASURE, name, key, made_from), f"'{name}' is")
        taken[name] = {"level": measure.level, "key": key, "fingerprint": record.fingerprint}
    examples = None
    if len(kept) >= 2:
        key = examples_key(plan.probe)
        found = pack.find(EXAMPLES, "trials", key, made_from)
        examples = {
            "key": key,
            "fingerprint": _needed(run, place, found, "example trials are").fingerprint,
        }
    bare = Ensemble(network=condition.network, task=condition.task, training=condition.training, members=())
    return {
        **vars(place),
        "factors": dict(condition.factors),
        "result": result_spec(bare, condition.task, dict(measures), plan.probe),
        "steps_per_epoch": condition.training.steps_per_epoch,
        "members": [[seed, record.fingerprint] for seed, record in records.items()],
        "measured_members": kept,
        "made_from": made_from,
        "measures": taken,
        "grids": _described_grids(run, place, plan, measures, kept, made_from),
        "examples": examples,
    }


def _described_grids(
    run: RunDirectory, place: Place, plan: Study, measures: Mapping[str, Measure], kept: Sequence[int], made_from: str
) -> dict[str, list[dict[str, Any]]]:
    """The judged measures at other settings, by level."""
    grids: dict[str, list[dict[str, Any]]] = {}
    for setting in plan.measure_settings():
        name = setting.measure.name
        if name in measures:
            key = measured_key(name, setting.measure, kept, plan.probe)
            record = _needed(
                run, place, run.measured(place).find(MEASURE, name, key, made_from), f"'{setting.label}' is"
            )
            point = {"measure": name, "options": dict(setting.options), "key": key, "fingerprint": record.fingerprint}
            grids.setdefault(setting.level, []).append(point)
    return grids


def _needed(run: RunDirectory, place: Place, record: Record | None, what: str) -> Record:
    if record is None:
        raise UserError(
            f"{run.root}: the run is not finished ({place.label}: {what} not measured); start it again to go on"
        )
    return record


def results_of(run: RunDirectory, index: Mapping[str, Any]) -> StudyResult:
    """The results that results.json describes, from the packs.

    Raises:
        DamagedFile: something stored is not what was written, or not what results.json was made of.
        UserError: something is not there.
    """
    try:
        return StudyResult(
            name=index["name"],
            description=index["description"],
            scale=index["scale"],
            results=tuple(_result_of(run, condition) for condition in index["conditions"]),
            claims=Claims(**index["claims"]),
            pilot={**index["pilot"], **index["pilot_taken"]} if index.get("pilot_taken") else {},
            ensembles=_trained(run, index["conditions"]),
        )
    except (KeyError, TypeError) as error:
        raise DamagedFile(run.root / RESULTS.name, f"{LACKS} ({error})") from error


def _trained(run: RunDirectory, conditions: Sequence[Mapping[str, Any]]) -> TrainedEnsembles:
    """The networks that the results were made of."""
    return TrainedEnsembles(
        folders={one["label"]: run.root / CONDITIONS / one["name"] for one in conditions},
        made={one["label"]: {str(seed): made for seed, made in one["members"]} for one in conditions},
        advice=repair_advice(run.root),
    )


def _result_of(run: RunDirectory, index: Mapping[str, Any]) -> Result:
    place = Place(name=index["name"], label=index["label"], spec=index["spec"])
    if exists(run.folder(place) / SPEC.name):
        run.check_spec(place)
    seeds = [seed for seed, _ in index["members"]]
    check_trained(run, place, seeds)
    records = run.member_records(place, seeds)
    for seed, made in index["members"]:
        _check_same(records[seed], made)
    members = run.load_members(place, seeds)
    pack, made_from, outcome = run.measured(place), index["made_from"], {}
    if combined_digest([records[seed] for seed in measured_seeds(records)]) != made_from:
        raise DamagedFile(run.root / RESULTS.name, f"{place.label} was measured of other networks")
    for name, taken in index["measures"].items():
        record = _needed(run, place, pack.find(MEASURE, name, taken["key"], made_from), f"'{name}' is")
        _check_same(record, taken["fingerprint"])
        outcome[name] = load_measured(pack, record)
    measured, missing = split_outcome(outcome)
    examples = index["examples"]
    if examples is not None:
        found = pack.find(EXAMPLES, "trials", examples["key"], made_from)
        record = _needed(run, place, found, "example trials are")
        _check_same(record, examples["fingerprint"])
        examples = load_examples(pack, record)
    return Result(
        condition=place.label,
        factors=index["factors"],
        spec=index["result"],
        members=member_summaries(members, index["steps_per_epoch"]),
        measured_members=tuple(str(seed) for seed in index["measured_members"]),
        levels={name: taken["level"] for name, taken in index["measures"].items()},
        measured=measured,
        missing=missing,
        grids=_grids_of(run, place, index),
        examples=examples,
    )


def _grids_of(run: RunDirectory, place: Place, index: Mapping[str, Any]) -> dict[str, tuple[GridPoint, ...]]:
    """What the judged measures found at other settings, by level."""
    grids: dict[str, list[GridPoint]] = {}
    pack, made_from = run.measured(place), index["made_from"]
    for level, points in index["grids"].items():
        for point in points:
            found = pack.find(MEASURE, point["measure"], point["key"], made_from)
            record = _needed(run, place, found, f"'{point['measure']}' at {setting_name(point['options'])} is")
            _check_same(record, point["fingerprint"])
            outcome = load_measured(pack, record)
            grids.setdefault(level, []).append(GridPoint(options=point["options"], outcome=outcome))
    return {level: tuple(points) for level, points in grids.items()}


def _check_same(record: Record, made: str) -> None:
    if record.fingerprint != made:
        raise DamagedFile(record.path, f"its {record.title} {NOT_THE_ONE}")


def _provenance(run: RunDirectory, seconds: float) -> dict[str, Any]:
    """Versions, devices, numeric paths and times; no host name and no path."""
    records = [record for place in run.places for record in run.members(place).records().values()]
    members = [record.about["provenance"] for record in records]
    packages = ("torch", "numpy", "scipy", "scikit-learn")
    return {
        "degeneracy": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": f"{platform.system()} {platform.machine()}",
        "devices": sorted({member["device"] for member in members}),
        "backends": sorted({member["backend"] for member in members}),
        "seeds": list(run.study["seeds"]),
        "claims_changed_since_training": run.claims_changed,
        "training_seconds_of_all_members": round(sum(member["seconds"] for member in members), 1),
        "wall_seconds_of_last_start": round(seconds, 1),
    }
