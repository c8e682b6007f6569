"""Tune: the strength of a knob that brings a measure to a chosen value; each evaluation is a run of the study.

The search is in `knob_search.py`, what can be asked in `question.py`, the files in `folder.py`.
"""

import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.user_files import user_path
from degeneracy.core.workers import resolve_jobs
from degeneracy.measuring.results import Result
from degeneracy.plots import tuning_curve
from degeneracy.runs.running import run_study
from degeneracy.studies.claims import Claim
from degeneracy.studies.study import Study, load_study
from degeneracy.studies.tuning import Tuning
from degeneracy.training import resolve_device
from degeneracy.tuning.folder import TuningFolder
from degeneracy.tuning.knob_search import Outcome, Seen, narrowest_bracket, search
from degeneracy.tuning.question import MAX_EVALUATIONS, Question, checked_question, plain_name

COLUMNS = ("knob", "value", "ci_low", "ci_high", "n_members", "n_converged", "run", "note")

log = logging.getLogger("degeneracy")


@dataclass(frozen=True, kw_only=True)
class Evaluation(Seen):
    """What the run with the knob at one strength found: a row of the table of evaluations."""

    n_members: int
    n_converged: int
    run: str  # its run directory, below the folder
    note: str  # why there is no value, or no interval
    variant: str

    @property
    def in_words(self) -> str:
        """The value with its interval."""
        if math.isnan(self.ci_high):
            return f"{self.value:.4g} (no interval)"
        return f"{self.value:.4g} [{self.ci_low:.4g}, {self.ci_high:.4g}]"

    @property
    def members(self) -> str:
        """How many members are behind it."""
        return f"{self.n_converged} of {self.n_members} members converged"


@ordinary_state()
def tune(
    study: Study | str | Path,
    *,
    knob: str,
    measure: str,
    target: float,
    low: float,
    high: float,
    scale: Literal["linear", "log"] = "linear",
    variant: str = "",
    calibrated: bool = False,
    tolerance: float = math.inf,
    max_evaluations: int = MAX_EVALUATIONS,
    out: str | Path = "",
    device: str = "auto",
    jobs: int = -1,
    progress: bool = True,
    repair: bool = False,
) -> Tuning:
    """Find the strength of a knob that brings a measure to a chosen value, or go on with a search that was stopped.

    Both ends are evaluated first. The search then ends as soon as the target lies in the 95% interval of an
    evaluation, says "out of reach" where the curve stays on one side of the target, and gives up ("not reached")
    after `max_evaluations`. A strength that leaves under 2 converged members has no value, and the search keeps to
    those that have one (`knob_search.search`).

    Args:
        study: a `Study`, a path to a study file or a name in `STUDIES`; it varies nothing.
        knob: a field of task, network or training that is a number, such as "network.gamma",
            "training.regularisers.nuclear" or "network.hidden_size" (whole numbers stay whole).
        measure: a name in `MEASURES`, or `module:Name`; the only one that is taken.
        target: the value that is wanted, in the measure's unit, or from floor (0) to reference (1) if `calibrated`.
        low: smallest strength to try.
        high: largest strength to try.
        scale: "log" to search on the logarithm of the knob, for ranges over decades.
        variant: of the measure; by default that of `Claim`.
        calibrated: tune the calibrated value.
        tolerance: largest distance of the value itself from the target. By default the interval decides alone, and a
            wide one holds any target: the message says where it is as wide as the whole curve.
        max_evaluations: 2 to 8.
        out: the folder; `runs/NAME-tune-KNOB` by default. What it holds is said in `folder.py`.
        device: "auto", "cpu" or "cuda".
        jobs: processes on a CPU, -1 for one per core.
        progress: show a progress bar and, by the logger "degeneracy", a line per evaluation.
        repair: set damaged or misplaced files aside, as `run_study` does, and make them again.

    Returns:
        Status, strength and value with its interval, and the curve that was seen.

    Raises:
        UserError: a mistake in the study or the question, a folder that holds something else, or a damaged file.
    """
    device, n_jobs = resolve_device(device), resolve_jobs(jobs)
    plan = study if isinstance(study, Study) else load_study(study)
    question = Question(
        study=plan,
        knob=knob,
        measure=measure,
        target=target,
        low=low,
        high=high,
        scale=scale,
        variant=variant,
        calibrated=calibrated,
        tolerance=tolerance,
        max_evaluations=max_evaluations,
    )
    question = checked_question(question, device=device)
    root = user_path(out) if out else default_folder(plan, knob)
    folder = TuningFolder(root=root, question=question, repair=repair)
    folder.begin()
    evaluations: list[Evaluation] = []

    def evaluate(strength: float) -> Evaluation:
        say = log.info if progress else log.debug
        say("%s = %g:", knob, strength)
        at, run = question.at(strength), folder.run(strength)
        [result] = run_study(at, out=root / run, device=device, jobs=n_jobs, progress=progress, repair=repair).results
        evaluations.append(_evaluation(result, question, strength, run))
        say("%s = %g: %s", knob, strength, _said(evaluations[-1], question))
        folder.keep({"status": "not finished"}, {"tuning.csv": _csv(_table(evaluations))})
        return evaluations[-1]

    return _finish(
        folder,
        search(evaluate, question.span, target=target, tolerance=tolerance, max_evaluations=max_evaluations),
    )


def default_folder(plan: Study, knob: str) -> Path:
    """Where a knob of a study is tuned if no folder is named."""
    return plan.folder.with_name(f"{plan.folder.name}-tune-{plain_name(knob)}")


# --- The evaluations ---------------------------------------------------------------------------------------------


def _evaluation(result: Result, question: Question, strength: float, run: str) -> Evaluation:
    """What a run found; a note where there is no value or no interval."""
    table = result.table
    claim = Claim(measure=question.measure, variant=question.variant)
    of_variant = table[table["variant"] == claim.chosen_variant(filter(None, table["variant"]))]
    row = (of_variant if len(of_variant) else table).to_dict("records")[0]
    if strength == question.low and result.n_converged >= 2:
        _check_first(result, question, row)
    names = ("calibrated", "calibrated_low", "calibrated_high")
    value, low, high = (float(row[name]) for name in (names if question.calibrated else ("value", "ci_low", "ci_high")))
    note = ""
    if math.isnan(value):
        note = f"no value, the search keeps away: {row['note']}"
    elif math.isnan(high):
        note = f"no interval: {row['note'] or f'{result.n_converged} members converged'}"
    return Evaluation(
        knob=strength,
        value=value,
        ci_low=low,
        ci_high=high,
        n_members=result.n_members,
        n_converged=result.n_converged,
        run=run,
        note=note,
        variant=row["variant"],
    )


def _check_first(result: Result, question: Question, row: Mapping[Any, Any]) -> None:
    """Refuse a measure that can say nothing, whatever the knob, once the first evaluation shows it."""
    if result.missing:
        raise UserError(f"tune: {question.measure} says nothing here: {result.missing[question.measure]}")
    if result.table["value"].notna().any() and question.variant not in ("", row["variant"]):
        raise unknown_name("variant", question.variant, result.table["variant"], where=f"tune: {question.measure}")
    if question.calibrated and math.isfinite(row["value"]) and math.isnan(row["floor"] + row["reference"]):
        raise UserError(f"tune: {question.measure}, {row['variant']} has no calibrated value: {row['note']}")


def _table(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    return pd.DataFrame(evaluations)[list(COLUMNS)]


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


# --- The answer --------------------------------------------------------------------------------------------------


def _finish(folder: TuningFolder, outcome: Outcome[Evaluation]) -> Tuning:
    """The answer, also written to the folder."""
    question, table = folder.question, _table(outcome.seen)
    best = outcome.best or Seen(knob=math.nan, value=math.nan)
    tuning = Tuning(
        status=outcome.status,
        message=_message(question, outcome),
        knob=question.knob,
        measure=question.measure,
        variant=next((evaluation.variant for evaluation in outcome.seen if evaluation.variant), question.variant),
        calibrated=question.calibrated,
        target=question.target,
        log=question.span.log,
        at=best.knob,
        value=best.value,
        ci_low=best.ci_low,
        ci_high=best.ci_high,
        evaluations=table,
    )
    drawn = io.BytesIO()
    tuning_curve(tuning).savefig(drawn, dpi=200)
    answer: dict[str, Any] = {"status": tuning.status, "message": tuning.message, "evaluations": list(table["knob"])}
    for name in ("at", "value", "ci_low", "ci_high"):
        number = getattr(tuning, name)
        answer[name] = number if math.isfinite(number) else None  # JSON knows no NaN
    folder.keep(answer, {"tuning.csv": _csv(table), "tuning.png": drawn.getvalue()})
    return tuning


def _message(question: Question, outcome: Outcome[Evaluation]) -> str:
    """The answer in a sentence."""
    best, knob, name = outcome.best, question.knob, _name(question)
    usable = [evaluation for evaluation in outcome.seen if evaluation.usable]
    n, n_lost = len(outcome.seen), len(outcome.seen) - len(usable)
    if not best:
        return f"not reached: none of {n} strengths of {knob} left a value (the notes say why)"
    values, knobs = ([getattr(evaluation, field) for evaluation in usable] for field in ("value", "knob"))
    there = f"{best.in_words} at {knob} = {best.knob:g}"
    if best.n_converged < best.n_members:
        there += f" ({best.members})"
    if outcome.status == "reached":
        return f"reached: {name} {there}; {_judged(question, best, max(values) - min(values))}"
    seen = f"{name} is {min(values):.4g} to {max(values):.4g} for {knob} from {min(knobs):g} to {max(knobs):g}"
    lost = f"; {n_lost} strengths left no value" if n_lost else ""
    if outcome.status == "out of reach":
        return f"out of reach: {seen}, never {question.target:g}; nearest is {there}{lost}"
    between = ""
    if bracket := narrowest_bracket(outcome.seen, question.span, question.target):
        a, b = (evaluation.knob for evaluation in bracket)
        between = f"; the target {question.target:g} lies between {knob} = {a:g} and {b:g}"
        between += ", with no whole number between them" if question.span.whole and b - a == 1 else ""
    return f"not reached in {n} evaluations: {seen}; nearest is {there}{between}{lost}"


def _judged(question: Question, best: Evaluation, seen: float) -> str:
    """By what the target is reached, and how much that says, where values so far apart were seen."""
    width = best.ci_high - best.ci_low
    if math.isnan(width):
        return f"within the tolerance of {question.target:g}"
    holds = f"its interval, {width:.2g} wide, holds the target {question.target:g}"
    if width < seen or math.isfinite(question.tolerance):
        return holds
    return f"{holds}; as wide as all that was seen, it says little: take more seeds, or a tolerance"


def _said(evaluation: Evaluation, question: Question) -> str:
    """An evaluation in words."""
    if not evaluation.usable:
        return f"no value ({evaluation.members})"
    return f"{_name(question)} {evaluation.in_words}, {evaluation.members}"


def _name(question: Question) -> str:
    return f"{'calibrated ' if question.calibrated else ''}{question.measure}"
