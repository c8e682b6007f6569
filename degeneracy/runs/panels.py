"""Panels: the stored networks of a run measured again in several ways, beside what its study fixed beforehand.

`dsa_sensitivity` takes other ranks and numbers of delays, `during_training` the networks as they were in the course of
training. What is found is kept in the run's packs as it is found, and taken over when asked for again. Measuring needs
the code that the study names (`module:Name`), and imports it.
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

from degeneracy.analysis import Measure, Measured
from degeneracy.analysis.dynamics.linear.dsa_measure import DSA
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.files import advising
from degeneracy.core.owned_folder import TABLES, Sealed
from degeneracy.core.records import combined_digest
from degeneracy.core.user_files import user_path
from degeneracy.core.workers import resolve_jobs
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.ensembles.ensemble_files import RUN_FORMAT
from degeneracy.measuring.measure import build_measures, lags_needed, measure_recording, split_outcome
from degeneracy.measuring.record import record
from degeneracy.measuring.results import Result
from degeneracy.runs.loading import load_run
from degeneracy.runs.measured_records import MEASURE, load_measured, save_measured
from degeneracy.runs.piloting import plan_of
from degeneracy.runs.results_file import repair_advice, run_folder
from degeneracy.runs.run_directory import RunDirectory
from degeneracy.studies.claims import SHOWN_LEVELS, first_measure
from degeneracy.studies.conditions import Condition
from degeneracy.studies.keys import measured_key
from degeneracy.studies.study import Study
from degeneracy.training import nearest_kept

PANELS = Sealed(
    name="panels.json", kind="panels", format=RUN_FORMAT, holds=TABLES
)  # the ledger of the tables made here
MOVE_TABLE = "move it away, and ask again"
LOSSES = 16  # batches whose mean is the training loss at a moment


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to measure a condition."""

    columns: Mapping[str, Any]  # that name it
    measures: Mapping[str, Measure]
    moved: Callable[[Ensemble], Ensemble] | None = None  # takes the networks there
    seen: Mapping[str, Callable[[Ensemble], Any]] = field(default_factory=dict)  # further columns, of the ensemble


@ordinary_state()
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
        jobs: processes, -1 for one per core.
        progress: show a progress bar on standard error.

    Returns:
        The rows of `degeneracy.csv` for `dsa`, with `rank` and `n_delays`.

    Raises:
        UserError: no finished run, or a combination that its recordings cannot serve.
    """
    given = Study(**RunDirectory.at(user_path(path)).study).options.get(DSA.name, {})
    ways = [
        Way(
            columns={"rank": rank, "n_delays": delays},
            measures={DSA.name: DSA(**{**given, "rank": rank, "n_delays": delays})},
        )
        for rank, delays in itertools.product(ranks, n_delays)
    ]
    return _taken(path, "dsa_sensitivity.csv", ways, jobs=jobs, progress=progress)


@ordinary_state()
def during_training(
    path: str | Path,
    measures: Sequence[str] = tuple(map(first_measure, SHOWN_LEVELS)),
    *,
    jobs: int = -1,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure the networks of a finished run at its start, at the checkpoints it kept, and at its end.

    Every network is taken at the same fraction of its own training, those that converged in the end alone.

    Args:
        path: the run directory of a study with `training.checkpoints`; `during_training.csv` is kept in it.
        measures: names, by default the measures that levels are judged by where a study names no other; their options
            are the study's.
        jobs: processes, -1 for one per core.
        progress: show a progress bar on standard error.

    Returns:
        The rows of `degeneracy.csv`, with `fraction` from 0 to 1 and `training_loss`, the geometric mean over the
        networks of their training loss then (over the last 16 batches; at the start over the first).

    Raises:
        UserError: no finished run, a run without checkpoints, or an unknown measure.
    """
    plan = plan_of(RunDirectory.at(user_path(path)))
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
    """The rows of all conditions measured in all ways, taken over from the run's packs where they are there."""
    results = {result.condition: result for result in load_run(path).results}
    root, n_jobs = user_path(path), resolve_jobs(jobs)
    folder = replace(run_folder(root), ledger=PANELS, telling=())
    with advising(MOVE_TABLE):
        folder.check_tables()
    with advising(repair_advice(root)):
        run = RunDirectory.at(root)
        plan = Study(**run.study)
        steps = list(itertools.product(plan.conditions(), ways))
        for condition, way in steps:
            condition.check_measures(way.measures, plan.probe)
        tables = []
        for condition, way in tqdm(steps, desc=name.removesuffix(".csv"), disable=not progress):
            ensemble = run.load_ensemble(condition, plan.seeds).converged
            if len(ensemble) < 2:
                continue
            with run.hold(condition, wait=True):
                outcome = _outcome(run, ensemble, condition, plan, way, n_jobs)
            tables.append(_rows(outcome, ensemble, way, results[condition.label]))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    with advising(MOVE_TABLE), folder.hold():
        folder.write_tables({}, {name: table.to_csv(index=False).encode()})
    return table


def _outcome(
    run: RunDirectory, ensemble: Ensemble, condition: Condition, plan: Study, way: Way, jobs: int
) -> dict[str, Measured | str]:
    """What the measures find of one condition in one way; each is kept in the run as it is found."""
    pack = run.measured(condition.place)
    made_from = combined_digest(list(run.member_records(condition.place, ensemble.seeds).values()))
    keys = {name: _key(name, one, ensemble, plan, way) for name, one in way.measures.items()}
    there = {name: pack.find(MEASURE, name, key, made_from) for name, key in keys.items()}
    todo = {name: way.measures[name] for name, found in there.items() if found is None}
    if todo:
        moved = way.moved(ensemble) if way.moved else ensemble
        recording = record(moved, condition.task, plan.probe, **lags_needed(todo))
        for name, found in measure_recording(recording, todo, jobs=jobs):
            save_measured(pack, name, found, keys[name], made_from)
    records = {name: pack.find(MEASURE, name, key, made_from) for name, key in keys.items()}
    return {name: load_measured(pack, found) for name, found in records.items() if found is not None}


def _key(name: str, measure: Measure, ensemble: Ensemble, plan: Study, way: Way) -> str:
    """The key of a measurement made in this way: it is reused under the same one alone."""
    key = measured_key(name, measure, ensemble.seeds, plan.probe)
    where = ", ".join(f"{column} {value}" for column, value in way.columns.items()) if way.moved else ""
    return f"{key} at {where}" if where else key


def _rows(outcome: Mapping[str, Measured | str], ensemble: Ensemble, way: Way, result: Result) -> pd.DataFrame:
    """The table of one condition measured in one way."""
    found, missing = split_outcome(outcome)
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
