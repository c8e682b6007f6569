"""What a report says in words and tables, from the numbers alone.

No direction is stated whose interval includes no difference; what is not there reads '—', with its reason.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from degeneracy.analysis import MEASURES
from degeneracy.analysis.measure import Finding
from degeneracy.analysis.statistics.jackknife import Calibrated, calibrate, contrast, interval
from degeneracy.effects.table import final_losses
from degeneracy.effects.table import primaries as judged
from degeneracy.measuring.results import Result
from degeneracy.plots import numbers
from degeneracy.plots.names import LEVELS, finding_of, full_name, measure_name, primaries, variant_name
from degeneracy.plots.style import condition_name
from degeneracy.report import effects as report_effects
from degeneracy.studies.study_result import StudyResult
from degeneracy.tasks import TASKS

# What the floor and the reference of each measure are.
ANCHORS = {
    "ood_log_error_sd": ("the spread that a finite number of trials alone would make", ""),
    "ood_error_sd": ("the spread that a finite number of trials alone would make", ""),
    "valid_prediction_time": ("of the sd: the spread that a finite number of trials alone would make", ""),
    "output_distance": ("what trial noise alone would make", "the same networks before training"),
    "dsa": ("each network against itself, on two halves of the trials", "the same networks before training"),
    "procrustes": ("0, or two noisy draws of the same network", "the same networks before training"),
    "svcca": ("0, or two noisy draws of the same network", "the same networks before training"),
    "cka": ("0, or two noisy draws of the same network", "the same networks before training"),
    "pif": (
        "what the alignment leaves of a copy with its units reordered",
        "the trained weights, entries shuffled",
    ),
    "signed_pif": (
        "what the alignment leaves of a copy with its units reordered and flipped",
        "the trained weights, entries shuffled",
    ),
    "orthogonal": (
        "what the search leaves of a copy in another basis",
        "the trained weights, entries shuffled",
    ),
    "effective_rank": ("", "the same networks before training"),
    "participation_ratio": ("", "the same networks before training"),
    "fixed_points": ("a second search of the same network", ""),
}

SHOWN_IN_SENTENCES = 4  # conditions; of more, the first and the last


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


# --- Summary ---------------------------------------------------------------------------------------------------


def summary(study: StudyResult) -> dict[str, Any]:
    """What the report says first: who converged, and each level's primary measure in words."""
    chosen = primaries(study.results) | judged(study)
    table = study.effects()
    return {
        "convergence": _convergence(study),
        "levels": [
            _level(study, level, *chosen[level], report_effects.sentences(table, level))
            for level in LEVELS
            if level in chosen
        ],
        "missing": len(missing(study)),
    }


def _convergence(study: StudyResult) -> str:
    results = study.results
    given = all(m.status == "given" for r in results for m in r.members)
    total, done = sum(r.n_members for r in results), sum(r.n_converged for r in results)
    conditions = f" in {len(results)} conditions" if len(results) > 1 else ""
    if given:
        return f"{_count(total, 'network')}{conditions} trained elsewhere were given; {done} were measured."
    first = f"{_count(total, 'network')} trained{conditions}; {done} converged and were measured."
    if done == total or len(results) == 1:
        return first
    each = "; ".join(f"{condition_name(r)}: {r.n_converged} of {r.n_members}" for r in _few(results))
    return f"{first} Converged by condition: {each}{_and_more(results)}."


def _level(
    study: StudyResult, level: str, measure: str, variant: str, effects: Sequence[str]
) -> dict[str, Any]:
    kind = MEASURES.get(measure)
    return {
        "level": level,
        "measure": full_name(measure, variant),
        "meaning": kind.meaning if kind else "",
        "zero": kind.zero if kind else "",
        "values": [_value_line(result, measure, variant) for result in _few(study.results)],
        "more": _and_more(study.results),
        "trend": " ".join(effects) or _trend(study, measure, variant),
        "floor": ANCHORS.get(measure, ("", ""))[0],
        "reference": ANCHORS.get(measure, ("", ""))[1],
    }


def _value_line(result: Result, measure: str, variant: str) -> dict[str, str]:
    finding = finding_of(result, measure, variant)
    line = {"condition": condition_name(result), "value": numbers.DASH, "unit": "", "calibrated": "", "n": ""}
    if finding is None:
        return line
    scaled = calibrate(finding)
    return line | {
        "value": _with_interval(finding),
        "unit": finding.unit,
        "calibrated": numbers.with_interval(scaled.value, scaled.low, scaled.high)
        if np.isfinite(scaled.value)
        else "",
        "n": f"n = {result.n_converged}",
    }


def _trend(study: StudyResult, measure: str, variant: str) -> str:
    """The difference between the ends of a single varied factor, its direction only where its interval allows."""
    ends = _ends(study)
    if ends is None:
        return ""
    first, last = ends
    a, b = finding_of(first, measure, variant), finding_of(last, measure, variant)
    if a is None or b is None:
        return ""
    found = contrast(b.value, a.value, last.measured_members, first.measured_members, scale=b.scale)
    span = f"From {condition_name(first)} to {condition_name(last)}"
    if not np.isfinite([found.difference, found.low, found.high]).all():
        return f"{span} the difference has no interval."
    settled = found.low > 0 or found.high < 0
    if b.scale == "log":
        ratio = numbers.with_interval(*np.exp([found.difference, found.low, found.high]))
        if settled:
            return f"{span} it changes by a factor of {ratio}."
        return f"{span} the ratio is {ratio}: its interval includes 1, so no direction can be stated."
    size = numbers.with_interval(found.difference, found.low, found.high) + (f" {b.unit}" if b.unit else "")
    if settled:
        return f"{span} it is {'higher' if found.low > 0 else 'lower'}: the difference is {size}."
    return f"{span} the difference is {size}: its interval includes 0, so no direction can be stated."


def _ends(study: StudyResult) -> tuple[Result, Result] | None:
    """The conditions with the lowest and highest value of the one varied factor, or the two that there are."""
    results = study.results
    if len(results) < 2 or len(study.factors) > 1:
        return None
    if len(study.factors) == 1:
        values = [result.factors[study.factors[0]] for result in results]
        if all(isinstance(v, Real) and not isinstance(v, bool) for v in values):
            order = np.argsort(np.array(values, dtype=float), kind="stable")
            return results[order[0]], results[order[-1]]
    return (results[0], results[1]) if len(results) == 2 else None


# --- Tables ----------------------------------------------------------------------------------------------------


def trained(study: StudyResult) -> list[dict[str, str]]:
    """What was trained, a row a condition."""
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


def settings(study: StudyResult) -> dict[str, Any]:
    """The resolved specs: what is the same in all conditions, and what differs, by condition."""
    flat = [_flat(result.spec) for result in study.results]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    same = [
        (key, flat[0][key])
        for key in keys
        if key in flat[0] and all(f.get(key) == flat[0][key] for f in flat)
    ]
    differing = [key for key in keys if key not in dict(same)]
    return {
        "task": [TASKS[name] for name in _tasks(study) if name in TASKS],
        "same": same,
        "differing": [
            (condition_name(result), [(key, one.get(key, numbers.DASH)) for key in differing])
            for result, one in zip(study.results, flat, strict=True)
        ]
        if differing
        else [],
    }


def variants(study: StudyResult) -> list[tuple[str, str]]:
    """The task variants and what they change, where all conditions say the same of one."""
    seen: dict[str, set[str]] = {}
    for result in study.results:
        described = result.spec.get("variants")
        for name, words in described.items() if isinstance(described, Mapping) else ():
            seen.setdefault(str(name), set()).add(str(words))
    return [(variant_name(name), " / ".join(sorted(words))) for name, words in seen.items()]


def _tasks(study: StudyResult) -> list[str]:
    """The names of the tasks."""
    specs = [result.spec.get("task") for result in study.results]
    return list(dict.fromkeys(str(task.get("name")) for task in specs if isinstance(task, Mapping)))


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
    kind = MEASURES.get(measure)
    variants = dict.fromkeys(
        f.variant for r in study.results if measure in r.measured for f in r.measured[measure].findings
    )
    rows, units = [], set()
    for variant in variants:
        for result in study.results:
            finding = finding_of(result, measure, variant) if variant else _unnamed(result, measure)
            if finding is not None:
                rows.append(_row(result, finding, marks))
                units.add(finding.unit)
    unit = f" ({next(iter(units))})" if len(units) == 1 and "" not in units else ""
    return Block(title=measure_name(measure) + unit, meaning=kind.meaning if kind else "", rows=rows)


def _unnamed(result: Result, measure: str) -> Finding | None:
    found = result.measured.get(measure)
    return next((f for f in found.findings if not f.variant), None) if found else None


def _row(result: Result, finding: Finding, marks: dict[str, str]) -> Row:
    scaled: Calibrated = calibrate(finding)
    notes = "; ".join(note for note in (finding.note, scaled.note, _why_no_interval(result, finding)) if note)
    mark = marks.setdefault(notes, _mark(len(marks))) if notes else ""
    return Row(
        condition=condition_name(result),
        variant=variant_name(finding.variant),
        value=_with_interval(finding),
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
        return "no interval: the networks do not differ in this number"
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
    return [
        (measure_name(m), reason, "all conditions" if len(c) == len(study.results) else "; ".join(c))
        for (m, reason), c in where.items()
    ]


# --- Methods and provenance ------------------------------------------------------------------------------------


def methods(study: StudyResult) -> list[dict[str, str]]:
    """What each measure says, what 0 means, its floor, reference and source."""
    names = dict.fromkeys(name for result in study.results for name in (*result.measured, *result.missing))
    rows = []
    for name in names:
        kind = MEASURES.get(name)
        floor, reference = ANCHORS.get(name, ("", ""))
        rows.append(
            {
                "measure": measure_name(name),
                "meaning": kind.meaning if kind else "a measure of this study's own",
                "zero": kind.zero if kind else "",
                "floor": floor,
                "reference": reference,
                "source": kind.source if kind else "",
            }
        )
    return rows


def diagnostics(study: StudyResult) -> list[tuple[str, str, str, str]]:
    """How fits and searches went: measure, what, condition, number."""
    return [
        (measure_name(name), key.replace("_", " "), condition_name(result), numbers.number(float(value)))
        for result in study.results
        for name, found in result.measured.items()
        for key, value in found.diagnostics.items()
    ]


def provenance(study: StudyResult) -> list[tuple[str, str]]:
    """Where the numbers come from: the study's entries, then those of the conditions that differ."""
    rows = list(_flat(study.provenance).items())
    each = [_flat(result.provenance) for result in study.results]
    for key in dict.fromkeys(key for one in each for key in one):
        values = [one.get(key, numbers.DASH) for one in each]
        if len(set(values)) == 1:
            rows.append((key, values[0]))
        else:
            names = [condition_name(result) for result in study.results]
            rows.append((key, "; ".join(f"{n}: {v}" for n, v in zip(names, values, strict=True))))
    return list(dict.fromkeys(rows))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as dotted keys; everything else as text."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _with_interval(finding: Finding) -> str:
    return numbers.with_interval(finding.value.value, *interval(finding.value, finding.scale))


def _few(results: Sequence[Result]) -> Sequence[Result]:
    return results if len(results) <= SHOWN_IN_SENTENCES else (results[0], results[-1])


def _and_more(results: Sequence[Result]) -> str:
    left = len(results) - len(_few(results))
    return f" ({left} more in the table)" if left else ""


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
