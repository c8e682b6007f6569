"""Finished runs: their results from the files, and their studies with other measures."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from degeneracy.analysis import Measure
from degeneracy.errors import UserError
from degeneracy.measuring.measure import (
    build_measures,
    measures_of,
    member_summaries,
    result_spec,
    split_outcome,
)
from degeneracy.measuring.results import Result
from degeneracy.studies.conditions import Condition
from degeneracy.studies.keys import measured_key
from degeneracy.studies.run_directory import RunDirectory
from degeneracy.studies.settings import key_parts, override
from degeneracy.studies.study import Study
from degeneracy.studies.study_result import StudyResult
from degeneracy.user_files import user_path


def load_run(path: str | Path) -> StudyResult:
    """The results of a finished run, from its directory.

    Raises:
        UserError: no run directory, a run that is not finished, or a damaged file; names it.
    """
    run = RunDirectory.at(user_path(path))
    return replace(load_results(run, Study(**run.study)), provenance=run.provenance)


def load_runs(folder: str | Path, names: Iterable[str] = (), *, scale: str = "") -> dict[str, StudyResult]:
    """The results of the finished runs in a folder, such as `runs`.

    Args:
        folder: holds run directories.
        names: of studies, in the order wanted; those that have no finished run there are left out. All by default.
        scale: only runs of this scale.

    Returns:
        By the study's name.

    Raises:
        UserError: no such folder, no finished run in it, or a damaged file; names it.
    """
    place = user_path(folder)
    if not place.is_dir():
        raise UserError(f"{place} is no folder with run directories")
    found = {}
    for path in sorted(place.iterdir()):
        if (path / "study.json").is_file() and (path / "provenance.json").is_file():
            run = RunDirectory.at(path)
            if not scale or run.study.get("scale", "") == scale:
                found[run.study["name"]] = path
    wanted = list(names) or list(found)
    runs = {name: load_run(found[name]) for name in wanted if name in found}
    if not runs:
        what = f"no finished run of {', '.join(names) or 'a study'}" + (f" at scale {scale}" if scale else "")
        raise UserError(f"{place} holds {what}")
    return runs


def load_results(run: RunDirectory, plan: Study) -> StudyResult:
    """The results of a study from its run directory, where all is trained and measured."""
    measures = plan.build_measures()
    results = []
    for condition in plan.conditions():
        _check_trained(run, condition, plan.seeds)
        results.append(_load_result(run, condition, plan, measures_of(condition.task, measures)))
    return StudyResult(
        name=plan.name,
        description=plan.description,
        scale=plan.scale,
        results=tuple(results),
        claims=plan.claims,
    )


def remeasured(
    path: str | Path, measures: Sequence[str] = (), overrides: Iterable[tuple[str, Any]] = ()
) -> Study:
    """The study of a run with other measures, options or probe trials, whose networks are all trained.

    `run_study(remeasured(path, ...), out=path)` measures them and trains nothing.

    Args:
        path: a run directory.
        measures: names; those of the run where none are given. Options and claims of measures left out are dropped.
        overrides: (key, value) pairs as of `load_study`, of `options`, `probe` and `measures` only.

    Raises:
        UserError: no run directory, networks that are not trained yet, or what the study refuses.
    """
    run = RunDirectory.at(user_path(path))
    fields = dict(run.study)
    if measures:
        names = {*measures, *build_measures(measures)}
        fields |= {"measures": list(measures)}
        fields["options"] = {name: given for name, given in fields["options"].items() if name in names}
        claims = fields.get("claims", {})  # runs of earlier versions have none
        fields["claims"] = {
            key: claim for key, claim in claims.items() if key == "factors" or claim["measure"] in names
        }
    for key, value in overrides:
        if key_parts(key)[0] not in ("options", "probe", "measures"):
            raise UserError(
                f"'{key}' cannot be set for a run that is trained: only options, probe and measures can"
            )
        override(fields, key, value)
    plan = Study(**fields)
    for condition in plan.conditions():
        _check_trained(run, condition, plan.seeds)
    return plan


def _check_trained(run: RunDirectory, condition: Condition, seeds: Sequence[int]) -> None:
    missing = run.missing_seeds(condition, seeds)
    if missing:
        raise UserError(
            f"{run.root}: the run is not finished ({condition.label}: {len(missing)} of {len(seeds)} networks"
            " are not trained); start it again to go on"
        )


def _load_result(
    run: RunDirectory, condition: Condition, plan: Study, measures: dict[str, Measure]
) -> Result:
    ensemble = run.load_ensemble(condition, plan.seeds)
    kept = ensemble.converged
    outcome = {}
    for name, measure in measures.items():
        key = measured_key(name, measure, kept.seeds, plan.probe)
        if not run.has_measured(condition, name, key):
            raise UserError(
                f"{run.root}: the run is not finished ({condition.label}: '{name}' is not measured);"
                " start it again to go on"
            )
        outcome[name] = run.load_measured(condition, name)
    found, lacks = split_outcome(outcome)
    return Result(
        condition=condition.label,
        factors=condition.factors,
        spec=result_spec(ensemble, condition.task, measures, plan.probe),
        members=member_summaries(ensemble),
        measured_members=tuple(str(seed) for seed in kept.seeds),
        levels={name: m.level for name, m in measures.items()},
        measured=found,
        missing=lacks,
        examples=run.load_examples(condition) if len(kept) >= 2 else None,
    )
