"""The flow, and the file to read first: study -> train -> record -> measure -> table.

`run_study` trains what is not trained yet, measures what is not measured yet, and writes the table. Every step is
kept as it is done, so a run that was stopped anyhow goes on where it was and ends with the same results.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from degeneracy.analysis import Measured
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.files import advising
from degeneracy.core.records import combined_digest
from degeneracy.core.user_files import user_path
from degeneracy.core.workers import WorkerEnded, resolve_jobs
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.measure import example_trials, lags_needed, measure_recording, measures_of
from degeneracy.measuring.record import record
from degeneracy.runs.finished import finish
from degeneracy.runs.measured_records import EXAMPLES, MEASURE, save_examples, save_measured
from degeneracy.runs.piloting import check_pilot, pilot_chosen
from degeneracy.runs.progress import Progress
from degeneracy.runs.run_directory import RunDirectory
from degeneracy.runs.zoo import kept_members
from degeneracy.studies.conditions import Condition
from degeneracy.studies.keys import examples_key, measured_key
from degeneracy.studies.study import Study, load_study
from degeneracy.studies.study_result import StudyResult
from degeneracy.training import resolve_device, train_members

REPAIR = "the same command with --repair (run_study(..., repair=True)) sets it aside and makes it again"


@ordinary_state()
def run_study(
    study: Study | str | Path,
    *,
    out: str | Path = "",
    device: str = "auto",
    jobs: int = -1,
    progress: bool = True,
    repair: bool = False,
    zoo: str | Path = "",
) -> StudyResult:
    """Run a study, or go on with it: train and measure what is missing, write table and provenance.

    Several processes may run the same study into the same folder: each takes conditions that no other holds.
    Running a study executes the code that it names as `module:Name`.

    Args:
        study: a `Study`, a path to a study file or a name in `STUDIES`.
        out: the run directory; `runs/NAME` by default, `runs/NAME-SCALE` for a study with scales.
        device: "auto", "cpu" or "cuda".
        jobs: processes on a CPU, -1 for one per core.
        progress: show a progress bar on standard error; where that is no terminal, lines of the logger
            "degeneracy", level INFO.
        repair: set what is damaged or misplaced in the run directory aside under another name
            (NAME.damaged-1), keep all that is whole, and make the rest again.
        zoo: a folder of kept networks (`load_zoo`), such as figures/zoo: those of this study with the same settings are
            taken from there, not trained. They have no weights in the course of training (`Training.checkpoints`).

    Returns:
        What was measured; also in the run directory (`degeneracy.csv` and more, see README).

    Raises:
        UserError: a mistake in the study, a folder that holds something else, a damaged file (names it), or a worker
            process that was ended from outside twice (`workers.WorkerEnded`).
    """
    with _at_work(study, out, device, jobs, progress, repair, zoo, measuring=True) as work:
        started = time.perf_counter()
        if work.plan.pilot.n_networks:
            work.through(work.train_missing)
            work = work.after_pilot()
            work.through(work.measure_missing)
        else:
            work.through(work.train_missing, work.measure_missing)
        return finish(work.run, work.plan, seconds=time.perf_counter() - started, repair=repair)


@ordinary_state()
def train_study(
    study: Study | str | Path,
    *,
    out: str | Path = "",
    device: str = "auto",
    jobs: int = -1,
    progress: bool = True,
    repair: bool = False,
    zoo: str | Path = "",
) -> dict[str, Ensemble]:
    """Train a study's networks, or go on with it, and measure nothing; `run_study` on the same folder measures them.

    Args and Raises as of `run_study`.

    Returns:
        The ensembles by condition, such as "channels=2", in the order of the study's levels.
    """
    with _at_work(study, out, device, jobs, progress, repair, zoo, measuring=False) as work:
        work.through(work.train_missing)
        return {one.label: work.run.load_ensemble(one, work.plan.seeds) for one in work.conditions}


@contextmanager
def _at_work(
    study: Study | str | Path,
    out: str | Path,
    device: str,
    jobs: int,
    progress: bool,
    repair: bool,
    zoo: str | Path,
    *,
    measuring: bool,
) -> Iterator["_Work"]:
    """A run that is checked and open, to be worked on."""
    plan = study if isinstance(study, Study) else load_study(study)
    place, n_jobs = resolve_device(device), resolve_jobs(jobs)
    conditions, measures = plan.conditions(), plan.build_measures()
    taken = measures | {setting.label: setting.measure for setting in plan.measure_settings()}
    for condition in conditions:
        condition.check_measures(taken, plan.probe)
        condition.check_memory(taken, plan.probe, len(plan.seeds), device=place)
    root = user_path(out) if out else plan.folder
    check_pilot(plan, conditions, device=place)
    with advising(REPAIR):
        run = RunDirectory.open(root, plan.model_dump(mode="json"), conditions, repair=repair)
        run.owned.check_tables(repair=repair)
        settings = [setting.measure.name for setting in plan.measure_settings()]
        n_measures = 0
        for each in (measures_of(condition.task, measures) for condition in conditions if measuring):
            n_measures += len(each) + sum(name in each for name in settings)
        with Progress(len(conditions) * len(plan.seeds) + n_measures, show=progress) as shown:
            yield _Work(
                run=run,
                plan=plan,
                conditions=conditions,
                device=place,
                jobs=n_jobs,
                shown=shown,
                repair=repair,
                zoo=user_path(zoo) if zoo else None,
            )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the steps of a run have in common: what is done, where it is kept, and with which means."""

    run: RunDirectory
    plan: Study
    conditions: Sequence[Condition]
    device: str
    jobs: int
    shown: Progress
    repair: bool
    zoo: Path | None

    def through(self, *steps: Callable[[Condition], None]) -> None:
        """Take whichever condition no other process holds; wait for another only when nothing else is left."""
        waiting = list(self.conditions)
        while waiting:
            left = list(waiting)
            for condition in left:
                with self.run.hold(condition, wait=False, repair=self.repair) as is_ours:
                    if is_ours:
                        with _said_of(condition, self.run.root):
                            for step in steps:
                                step(condition)
                        waiting.remove(condition)
            if waiting == left:
                self.shown.wait(f"{waiting[0].label}: waiting for the process that works on it")
                with self.run.hold(waiting[0], wait=True):
                    pass

    def after_pilot(self) -> "_Work":
        """The work with rank and delays as the pilot of the run chose them, or chooses them now."""
        run = pilot_chosen(self.run, self.plan, self.conditions, lambda label: self.shown.wait(f"{label}: pilot"))
        return replace(self, run=run, plan=self.plan.after_pilot(run.pilot.get("choices", ())))

    def train_missing(self, condition: Condition) -> None:
        """Train the members whose files are not there, keeping each as it finishes; take those that the zoo has."""
        seeds, task, training = self.plan.seeds, condition.task, condition.training
        missing = self.run.missing_seeds(condition.place, seeds)
        if missing and self.zoo is not None:
            for member in kept_members(self.zoo, self.plan.name, condition, missing):
                self.run.save_member(condition, member)
            missing = self.run.missing_seeds(condition.place, seeds)
        there = len(seeds) - len(missing)
        self.shown.begin(f"{condition.label}: training", "networks", done=there, of=len(seeds))
        if not missing:
            return
        together = seeds if training.coupled else missing
        for member in train_members(task, condition.network, training, together, device=self.device, jobs=self.jobs):
            if member.seed in missing:
                self.run.save_member(condition, member)
                self.shown.step()

    def measure_missing(self, condition: Condition) -> None:
        """Measure what is not measured yet of these members with these options, keeping each measure as it is done."""
        run, task, probe = self.run, condition.task, self.plan.probe
        measures = measures_of(task, self.plan.build_measures())
        settings = {s.label: s.measure for s in self.plan.measure_settings() if s.measure.name in measures}
        measures |= settings
        ensemble = run.load_ensemble(condition, self.plan.seeds)
        converged, pack = ensemble.converged, run.measured(condition.place)
        made_from = combined_digest(list(run.member_records(condition.place, converged.seeds).values()))
        keys = {name: measured_key(m.name, m, converged.seeds, probe) for name, m in measures.items()}
        # A setting that is the measure's own is measured once.
        first = {key: name for name, key in reversed(keys.items())}
        todo = {
            name: m
            for name, m in measures.items()
            if first[keys[name]] == name and not pack.find(MEASURE, m.name, keys[name], made_from)
        }
        there = len(measures) - len(todo)
        self.shown.begin(f"{condition.label}: measuring", "measures", done=there, of=len(measures))
        key = examples_key(probe)
        if len(converged) >= 2 and not pack.find(EXAMPLES, "trials", key, made_from):
            save_examples(pack, example_trials(converged, task, probe), key, made_from)
        if not todo:
            return
        if len(converged) < 2:
            reason = f"needs 2 converged members, {len(converged)} of {len(ensemble)} converged"
            outcomes: Iterable[tuple[str, Measured | str]] = [(name, reason) for name in todo]
        else:
            outcomes = measure_recording(record(converged, task, probe, **lags_needed(todo)), todo, jobs=self.jobs)
        for name, outcome in outcomes:
            save_measured(pack, measures[name].name, outcome, keys[name], made_from)
            self.shown.step()


@contextmanager
def _said_of(condition: Condition, root: Path) -> Iterator[None]:
    """Say which condition it was whose network or measure had no process, and how to go on."""
    try:
        yield
    except WorkerEnded as error:
        raise UserError(
            f"{condition.label}: {error}. What is finished is kept in {root}; the same command goes on"
        ) from None
