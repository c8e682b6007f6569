"""Tune: the strength of a knob that brings a measure to a chosen value; each evaluation is a run of the study.

The search is in `knob_search.py`, what can be asked in `question.py`, the files in `folder.py`.
"""

import io
import logging
import math
from collections.abc import Mapping, Sequence
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
Row = Mapping[str, Any]  # of the table of evaluations

log = logging.getLogger("degeneracy")


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
        jobs: processes on a CPU, -1 for one a core.
        progress: show a progress bar and, by the logger "degeneracy", a line an evaluation.
        repair: set damaged or misplaced files aside, as `run_study` does, and make them again.

    Returns:
        Status, strength and value with its interval, and the curve that was seen.

    Raises:
        UserError: a mistake in the study or the question, a folder that holds something else, or a damaged file.
    """
    plan = study if isinstance(study, Study) else load_study(study)
    place, n_jobs = resolve_device(device), resolve_jobs(jobs)
    question = checked_question(
        plan,
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
    for strength in (question.span.low, question.span.high):
        end = question.study(strength)
        built = end.build_measures()
        for condition in end.conditions():
            condition.check_memory(built, end.probe, len(end.seeds), device=place)
    root = user_path(out) if out else default_folder(plan, knob)
    folder = TuningFolder(root=root, question=question, repair=repair)
    folder.begin()
    rows: list[Row] = []

    def evaluate(strength: float) -> Seen:
        rows.append(_evaluated(folder, strength, place, n_jobs, progress, repair))
        folder.keep({"status": "not finished"}, {"tuning.csv": _csv(_table(rows))})
        return Seen(knob=strength, value=rows[-1]["value"], low=rows[-1]["ci_low"], high=rows[-1]["ci_high"])

    outcome = search(evaluate, question.span, target=target, tolerance=tolerance, max_evaluations=max_evaluations)
    return _finish(folder, outcome, rows)


def default_folder(plan: Study, knob: str) -> Path:
    """Where a knob of a study is tuned if no folder is named."""
    return plan.folder.with_name(f"{plan.folder.name}-tune-{plain_name(knob)}")


# --- The evaluations ---------------------------------------------------------------------------------------------


def _evaluated(folder: TuningFolder, strength: float, device: str, jobs: int, progress: bool, repair: bool) -> Row:
    """Run the study with the knob at a strength, or load what was run; returns the row of the table."""
    question, run = folder.question, folder.run(strength)
    at = f"{question.knob} = {strength:g}"
    if progress:
        log.info("%s:", at)
    study = question.study(strength)
    result = run_study(
        study, out=folder.root / run, device=device, jobs=jobs, progress=progress, repair=repair
    ).results[0]
    if strength == question.span.low:
        _check_first(result, question)
    row = _row(result, question) | {"knob": strength, "run": run}
    if progress:
        log.info("%s: %s", at, _said(row, question))
    return row


def _check_first(result: Result, question: Question) -> None:
    """Refuse a measure that can say nothing, whatever the knob, once the first evaluation shows it."""
    table = result.table
    if result.n_converged < 2:
        return
    if result.missing:
        raise UserError(f"tune: {question.measure} says nothing here: {result.missing[question.measure]}")
    variants = list(table["variant"])
    if table["value"].notna().any() and _variant(variants, question) not in variants:
        raise unknown_name("variant", question.variant, variants, where=f"tune: {question.measure}")
    found = _found(result, question)
    if question.calibrated and math.isfinite(found["value"]) and math.isnan(found["floor"] + found["reference"]):
        raise UserError(f"tune: {question.measure}, {found['variant']} has no calibrated value: {found['note']}")


def _variant(variants: Sequence[str], question: Question) -> str:
    return Claim(measure=question.measure, variant=question.variant).chosen_variant(filter(None, variants))


def _found(result: Result, question: Question) -> dict[Any, Any]:
    """The row of the result's table that is looked at; the first where the variant has none."""
    table = result.table
    there = table[table["variant"] == _variant(list(table["variant"]), question)]
    return (there if len(there) else table).to_dict("records")[0]


def _row(result: Result, question: Question) -> dict[str, Any]:
    """What an evaluation found; a note where there is no value or no interval."""
    found = _found(result, question)
    names = ("calibrated", "calibrated_low", "calibrated_high")
    if not question.calibrated:
        names = ("value", "ci_low", "ci_high")
    value, low, high = (float(found[name]) for name in names)
    note = ""
    if math.isnan(value):
        note = f"no value, the search keeps away: {found['note']}"
    elif math.isnan(high):
        note = f"no interval: {found['note'] or f'{result.n_converged} members converged'}"
    return {
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "n_members": result.n_members,
        "n_converged": result.n_converged,
        "note": note,
        "variant": found["variant"],
    }


def _said(row: Row, question: Question) -> str:
    """An evaluation in words."""
    members = f"{row['n_converged']} of {row['n_members']} members converged"
    if math.isnan(row["value"]):
        return f"no value ({members})"
    return f"{_name(question)} {_with_interval(row)}, {members}"


def _name(question: Question) -> str:
    return f"{'calibrated ' if question.calibrated else ''}{question.measure}"


def _with_interval(row: Row) -> str:
    if math.isnan(row["ci_high"]):
        return f"{row['value']:.4g} (no interval)"
    return f"{row['value']:.4g} [{row['ci_low']:.4g}, {row['ci_high']:.4g}]"


# --- The answer --------------------------------------------------------------------------------------------------


def _finish(folder: TuningFolder, outcome: Outcome, rows: Sequence[Row]) -> Tuning:
    """The answer, also written to the folder."""
    question = folder.question
    best = next((row for row in rows if outcome.best and row["knob"] == outcome.best.knob), {})
    numbers = {name: best.get(name, math.nan) for name in ("value", "ci_low", "ci_high")}
    tuning = Tuning(
        status=outcome.status,
        message=_message(question, outcome, rows, best),
        knob=question.knob,
        measure=question.measure,
        variant=next((row["variant"] for row in rows if row["variant"]), question.variant),
        calibrated=question.calibrated,
        target=question.target,
        log=question.span.log,
        at=best.get("knob", math.nan),
        **numbers,
        evaluations=_table(rows),
    )
    drawn = io.BytesIO()
    tuning_curve(tuning).savefig(drawn, dpi=200)
    answer: dict[str, Any] = {"status": tuning.status, "message": tuning.message}
    for name, number in {"at": tuning.at, **numbers}.items():
        answer[name] = number if math.isfinite(number) else None  # JSON knows no NaN
    tables = {"tuning.csv": _csv(tuning.evaluations), "tuning.png": drawn.getvalue()}
    folder.keep(answer | {"evaluations": [row["knob"] for row in rows]}, tables)
    return tuning


def _table(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def _message(question: Question, outcome: Outcome, rows: Sequence[Row], best: Row) -> str:
    """The answer in a sentence."""
    usable = [row for row in rows if not math.isnan(row["value"])]
    if not usable:
        return f"not reached: none of {len(rows)} strengths of {question.knob} left a value (the notes say why)"
    values, knobs = ([row[name] for row in usable] for name in ("value", "knob"))
    there, name = f"{_with_interval(best)} at {question.knob} = {best['knob']:g}", _name(question)
    if best["n_converged"] < best["n_members"]:
        there += f" ({best['n_converged']} of {best['n_members']} members converged)"
    if outcome.status == "reached":
        return f"reached: {name} {there}; {_judged(question, best, max(values) - min(values))}"
    seen = f"{name} is {min(values):.4g} to {max(values):.4g} for {question.knob} from {min(knobs):g} to {max(knobs):g}"
    lost = f"; {len(rows) - len(usable)} strengths left no value" if len(usable) < len(rows) else ""
    if outcome.status == "out of reach":
        return f"out of reach: {seen}, never {question.target:g}; nearest is {there}{lost}"
    bracket = narrowest_bracket(outcome.seen, question.span, question.target)
    between = ""
    if bracket:
        a, b = (one.knob for one in bracket)
        between = f"; the target {question.target:g} lies between {question.knob} = {a:g} and {b:g}"
        between += ", with no whole number between them" if question.span.whole and b - a == 1 else ""
    return f"not reached in {len(rows)} evaluations: {seen}; nearest is {there}{between}{lost}"


def _judged(question: Question, best: Row, seen: float) -> str:
    """By what the target is reached, and how much that says, where values so far apart were seen."""
    width = best["ci_high"] - best["ci_low"]
    if math.isnan(width):
        return f"within the tolerance of {question.target:g}"
    held = f"its interval, {width:.2g} wide, holds the target {question.target:g}"
    if width < seen or math.isfinite(question.tolerance):
        return held
    return f"{held}; as wide as all that was seen, it says little: take more seeds, or a tolerance"
