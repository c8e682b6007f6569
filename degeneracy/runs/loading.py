"""Finished runs: their results from the files, and their studies with other measures."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.files import advising, digest, exists
from degeneracy.core.user_files import user_path
from degeneracy.measuring.measure import build_measures
from degeneracy.runs.finished import check_trained, results_of, unfinished
from degeneracy.runs.results_file import PROVENANCE, STUDY, check_finished, repair_advice
from degeneracy.runs.run_directory import RunDirectory
from degeneracy.studies.pilot import kinds
from degeneracy.studies.settings import key_parts, override_all, take_measures
from degeneracy.studies.study import Study
from degeneracy.studies.study_result import StudyResult


@ordinary_state()
def load_run(path: str | Path) -> StudyResult:
    """The results of a finished run, from its directory. They are plain data: no code that its study names is imported
    before its networks are asked for (`StudyResult.ensembles`).

    Raises:
        UserError: no run directory, a run that is not finished, or a damaged file; names it.
    """
    root = user_path(path)
    with advising(repair_advice(root)):
        run = RunDirectory.at(root)
        index = run.owned.read_ledger()
        if not index or index["study"] != digest(run.study):
            raise unfinished(run)
        check_finished(run.owned, index)
        return replace(results_of(run, index), provenance=PROVENANCE.read(root)["provenance"])


@ordinary_state()
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
        if exists(path / STUDY.name) and exists(path / PROVENANCE.name):
            with advising(repair_advice(path)):
                run = RunDirectory.at(path)
            if not scale or run.study.get("scale", "") == scale:
                found[run.study["name"]] = path
    wanted = list(names) or list(found)
    runs = {name: load_run(found[name]) for name in wanted if name in found}
    if not runs:
        what = f"no finished run of {', '.join(names) or 'a study'}" + (f" at scale {scale}" if scale else "")
        raise UserError(f"{place} holds {what}")
    return runs


@ordinary_state()
def remeasured(path: str | Path, measures: Sequence[str] = (), overrides: Iterable[tuple[str, Any]] = ()) -> Study:
    """The study of a run with other measures, options or probe trials, whose networks are all trained.

    `run_study(remeasured(path, ...), out=path)` measures them and trains nothing.

    Args:
        path: a run directory.
        measures: names; those of the run where none are given. Options and claims of measures left out are dropped.
            What the run's pilot chose stands for all whose rank and delays are not set.
        overrides: (key, value) pairs as of `load_study`, of `options`, `probe` and `measures` only.

    Raises:
        UserError: no run directory, networks that are not trained yet, a damaged file, or what the study refuses.
    """
    root = user_path(path)
    with advising(repair_advice(root)):
        run = RunDirectory.at(root)
    fields = dict(run.study)
    if measures:
        take_measures(fields, list(measures))
    pairs = list(overrides)
    for key, _ in pairs:
        if key_parts(key)[0] not in ("options", "probe", "measures"):
            raise UserError(f"'{key}' cannot be set for a run that is trained: only options, probe and measures can")
    override_all(fields, pairs)
    fields["pilot"] = run.pilot.get("settings", fields.get("pilot", {}))
    if not kinds(build_measures(fields["measures"], fields["options"])):
        fields["pilot"] = {}
    plan = Study(**fields)
    with advising(repair_advice(root)):
        for condition in plan.conditions():
            check_trained(run, condition.place, plan.seeds)
    return plan
