"""A report's tables as text: what was trained, what was found level by level, and what has no number and why."""

from dataclasses import dataclass

import numpy as np

from degeneracy.analysis.measure import LEVELS, Finding
from degeneracy.analysis.statistics.jackknife import Calibrated, calibrate, interval
from degeneracy.contrasts.factor_grid import final_losses
from degeneracy.measuring.results import Result, finding_of
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording import numbers
from degeneracy.wording.conditions import condition_name
from degeneracy.wording.names import measure_name, own_cards, said_of, variant_name
from degeneracy.wording.resolution import not_resolved


@dataclass(frozen=True, kw_only=True)
class Row:
    """One finding in one condition, as text."""

    condition: str
    variant: str
    value: str
    floor: str
    reference: str
    calibrated: str
    n: str
    mark: str  # of its note below the table


@dataclass(frozen=True, kw_only=True)
class Block:
    """The rows of one measure."""

    title: str
    meaning: str
    rows: list[Row]


@dataclass(frozen=True, kw_only=True)
class LevelTable:
    """The table of one level, with its notes by mark."""

    level: str
    blocks: list[Block]
    notes: list[tuple[str, str]]


def trained(study: StudyResult) -> list[dict[str, str]]:
    """What was trained, one row per condition."""
    return [_trained_row(number, result) for number, result in enumerate(study.results, start=1)]


def _trained_row(number: int, result: Result) -> dict[str, str]:
    updates = [m.n_updates for m in result.members if m.status == "converged"]
    seconds = sum(m.seconds for m in result.members)
    statuses = [m.status for m in result.members]
    losses = list(final_losses(result).values())
    return {
        "number": str(number),
        "condition": condition_name(result),
        "members": str(result.n_members),
        "converged": numbers.DASH if "given" in statuses else str(statuses.count("converged")),
        "not_converged": numbers.DASH if "given" in statuses else str(statuses.count("not converged")),
        "diverged": numbers.DASH if "given" in statuses else str(statuses.count("diverged")),
        "measured": str(result.n_converged),
        "updates": f"{np.median(updates):.0f} ({min(updates)}–{max(updates)})" if updates else numbers.DASH,
        "loss": numbers.number(float(np.mean(losses))) if losses else numbers.DASH,
        "time": _duration(seconds) if seconds > 0 else numbers.DASH,
    }


def levels(study: StudyResult) -> list[LevelTable]:
    """The calibrated table, level by level."""
    tables = []
    for level in LEVELS:
        measures = dict.fromkeys(
            name for result in study.results for name in result.measured if result.levels.get(name) == level
        )
        marks: dict[str, str] = {}
        blocks = [_block(study, name, marks) for name in measures]
        if blocks:
            notes = [(mark, note) for note, mark in marks.items()]
            tables.append(LevelTable(level=level, blocks=blocks, notes=notes))
    return tables


def _block(study: StudyResult, measure: str, marks: dict[str, str]) -> Block:
    own = own_cards(study.results)
    variants = dict.fromkeys(
        f.variant for r in study.results if measure in r.measured for f in r.measured[measure].findings
    )
    rows, units = [], set()
    for variant in variants:
        for result in study.results:
            finding = finding_of(result, measure, variant)
            if finding is not None:
                rows.append(_row(result, measure, finding, marks))
                units.add(finding.unit)
    if measure in own and units == {""}:
        units = {said_of(measure, "unit", own)}
    unit = f" ({next(iter(units))})" if len(units) == 1 and "" not in units else ""
    return Block(title=measure_name(measure, own) + unit, meaning=said_of(measure, "meaning", own), rows=rows)


def _row(result: Result, measure: str, finding: Finding, marks: dict[str, str]) -> Row:
    scaled: Calibrated = calibrate(finding)
    texts = finding.note, scaled.note, _why_no_interval(result, finding), not_resolved({"": finding})
    notes = "; ".join(note for note in texts if note)
    mark = marks.setdefault(notes, _mark(len(marks))) if notes else ""
    return Row(
        condition=condition_name(result),
        variant=variant_name(finding.variant, measure, own_cards([result])),
        value=with_interval(finding),
        floor=numbers.number(finding.floor.value) if finding.floor else numbers.DASH,
        reference=numbers.number(finding.reference.value) if finding.reference else numbers.DASH,
        calibrated=numbers.with_interval(scaled.value, scaled.low, scaled.high),
        n=f"{result.n_converged} of {result.n_members}",
        mark=mark,
    )


def _why_no_interval(result: Result, finding: Finding) -> str:
    if not np.isfinite(finding.value.value) or np.isfinite(interval(finding.value, finding.scale)[0]):
        return ""
    if result.n_converged < 3:
        return "no interval: 3 converged networks or more are needed"
    if np.ptp(finding.value.leave_one_out) == 0:
        return "no interval: the number is the same whichever network is left out"
    return "no interval: it has none by this method"


def _mark(k: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (_mark(k // 26 - 1) if k >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[k % 26]


def missing(study: StudyResult) -> list[tuple[str, str, str]]:
    """Measure, reason and conditions of what was asked for and says nothing."""
    where: dict[tuple[str, str], list[str]] = {}
    for result in study.results:
        for measure, reason in result.missing.items():
            where.setdefault((measure, reason), []).append(condition_name(result))
    own = own_cards(study.results)
    return [
        (measure_name(m, own), reason, "all conditions" if len(c) == len(study.results) else "; ".join(c))
        for (m, reason), c in where.items()
    ]


def with_interval(finding: Finding) -> str:
    """A value with its 95% interval, as text."""
    return numbers.with_interval(finding.value.value, *interval(finding.value, finding.scale))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
