"""Panels: the stored networks of a run measured again in several ways, beside what its study fixed beforehand.

`dsa_sensitivity` takes other ranks and numbers of delays, `during_training` the networks as they were in the course of
training. What is found is kept in the run directory as it is found, and taken over when asked for again.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from degeneracy.analysis import Measure
from degeneracy.analysis.dynamics.measures import DSA
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.errors import UserError
from degeneracy.files import write_bytes
from degeneracy.measuring.measure import build_measures, measure_recording, split_outcome
from degeneracy.measuring.record import record
from degeneracy.measuring.results import Result
from degeneracy.studies.conditions import Condition
from degeneracy.studies.keys import measured_key
from degeneracy.studies.loading import load_run
from degeneracy.studies.run_directory import RunDirectory
from degeneracy.studies.study import Study
from degeneracy.training import nearest_kept
from degeneracy.user_files import user_path
from degeneracy.workers import resolve_jobs

LOSSES = 16  # batches whose mean is the training loss at a moment


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to measure a condition."""

    columns: Mapping[str, Any]  # that name it
    measures: Mapping[str, Measure]
    moved: Callable[[Ensemble], Ensemble] | None = None  # takes the networks there
    seen: Mapping[str, Callable[[Ensemble], Any]] = field(
        default_factory=dict
    )  # further columns, of the ensemble


def dsa_sensitivity(
    path: str | Path,
    *,
    ranks: Sequence[int] = (10, 20, 30),
    n_delays: Sequence[int] = (5, 10, 20),
    jobs: int = -1,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure the networks of a finished run by DSA at every combination of rank and number of delays.

    A study fixes one of each before it is run; this says what others would have found, and decides nothing.

    Args:
        path: a run directory; `dsa_sensitivity.csv` is kept in it.
        ranks: of the operators.
        n_delays: of the delay embedding.
        jobs: processes, -1 for one a core.
        progress: show a progress bar on standard error.

    Returns:
        The rows of `degeneracy.csv` for `dsa`, with `rank` and `n_delays`.

    Raises:
        UserError: no finished run, or a combination that its recordings cannot serve.
    """
    given = Study(**RunDirectory.at(user_path(path)).study).options.get("dsa", {})
    ways = [
        Way(
            columns={"rank": rank, "n_delays": delays},
            measures={"dsa": DSA(**{**given, "rank": rank, "n_delays": delays})},
        )
        for rank, delays in itertools.product(ranks, n_delays)
    ]
    return _taken(path, "dsa_sensitivity.csv", ways, jobs=jobs, progress=progress)


def during_training(
    path: str | Path,
    measures: Sequence[str] = ("dsa", "signed_pif", "ood_log_error_sd"),
    *,
    jobs: int = -1,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure the networks of a finished run at its start, at the checkpoints it kept, and at its end.

    Every network is taken at the same fraction of its own training, those that converged in the end alone.

    Args:
        path: the run directory of a study with `training.checkpoints`; `during_training.csv` is kept in it.
        measures: names; their options are the study's.
        jobs: processes, -1 for one a core.
        progress: show a progress bar on standard error.

    Returns:
        The rows of `degeneracy.csv`, with `fraction` from 0 to 1 and `training_loss`, the geometric mean over the
        networks of their mean squared error then (over the last 16 batches; at the start over the first).

    Raises:
        UserError: no finished run, a run without checkpoints, or an unknown measure.
    """
    plan = Study(**RunDirectory.at(user_path(path)).study)
    kept = set.intersection(*(set(one.training.checkpoints) for one in plan.conditions()))
    if not kept:
        raise UserError(f"{path}: its networks were kept at no fraction of training (training.checkpoints)")
    options = {name: fields for name, fields in plan.options.items() if name in measures}
    built = build_measures(measures, options)
    ways = [
        Way(
            columns={"fraction": fraction},
            measures=built,
            moved=partial(Ensemble.at, fraction=fraction),
            seen={"training_loss": partial(_training_loss, fraction=fraction)},
        )
        for fraction in (0.0, *sorted(kept), 1.0)
    ]
    return _taken(path, "during_training.csv", ways, jobs=jobs, progress=progress)


def _taken(path: str | Path, name: str, ways: Sequence[Way], *, jobs: int, progress: bool) -> pd.DataFrame:
    """The rows of all conditions measured in all ways, from the run's file and what is missing there."""
    results = {result.condition: result for result in load_run(path).results}
    run = RunDirectory.at(user_path(path))
    plan = Study(**run.study)
    for condition, way in itertools.product(plan.conditions(), ways):
        condition.check_measures(way.measures, plan.probe)
    file, n_jobs = run.root / name, resolve_jobs(jobs)
    kept = pd.read_csv(file, dtype={"key": str}) if file.exists() else pd.DataFrame({"key": []})
    wanted = []
    steps = list(itertools.product(plan.conditions(), ways))
    for condition, way in tqdm(steps, desc=name.removesuffix(".csv"), disable=not progress):
        ensemble = run.load_ensemble(condition, plan.seeds).converged
        key = _key(condition, ensemble, plan, way)
        wanted.append(key)
        if key in set(kept["key"]) or len(ensemble) < 2:
            continue
        rows = _rows(ensemble, condition, plan, way, results[condition.label], n_jobs).assign(key=key)
        kept = pd.concat([kept, rows], ignore_index=True) if len(kept) else rows
        write_bytes(file, kept.to_csv(index=False).encode())
    return kept[kept["key"].isin(wanted)].drop(columns="key").reset_index(drop=True)


def _key(condition: Condition, ensemble: Ensemble, plan: Study, way: Way) -> str:
    """What kept rows must have been made with to be used again."""
    made = [measured_key(name, one, ensemble.seeds, plan.probe) for name, one in way.measures.items()]
    named = (f"{name}={value}" for name, value in way.columns.items())
    return "/".join([condition.name, *named, *way.seen, *made])


def _rows(
    ensemble: Ensemble, condition: Condition, plan: Study, way: Way, result: Result, jobs: int
) -> pd.DataFrame:
    """The table of one condition measured in one way."""
    moved = way.moved(ensemble) if way.moved else ensemble
    recording = record(moved, condition.task, plan.probe)
    outcome = dict(measure_recording(recording, way.measures, jobs=jobs))
    found, missing = split_outcome({name: outcome[name] for name in way.measures})
    levels: Mapping[str, str] = {name: one.level for name, one in way.measures.items()}
    again = replace(result, measured=found, missing=missing, levels=levels)
    return again.table.assign(**way.columns, **{name: seen(ensemble) for name, seen in way.seen.items()})


def _training_loss(ensemble: Ensemble, fraction: float) -> float:
    """The networks' loss after that fraction of their training, which `during_training` describes."""
    found = []
    for member in ensemble.members:
        history = member.history
        n_epochs = len(history.epoch_loss)
        epoch = nearest_kept(fraction, n_epochs) if fraction else 0
        end = epoch * (len(history.loss) // n_epochs)
        batches = history.loss[max(end - LOSSES, 0) : max(end, 1)]
        found.append(np.log(batches.astype(np.float64).mean()))
    return float(np.exp(np.mean(found)))
