"""What the command line prints: the table in brief, and the lists of tasks, cells and measures, and a plan."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic_core import PydanticUndefined

from degeneracy.analysis import MEASURES, primary_measures
from degeneracy.analysis.measure import LEVELS
from degeneracy.analysis.statistics.resolution import MAX_FLOOR_SHARE
from degeneracy.core.errors import one_line
from degeneracy.core.specs import Spec, choices_of
from degeneracy.networks import CELLS, RECURRENT_MAPS
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult
from degeneracy.tasks import TASKS
from degeneracy.training.advice import ADVICE, stuck
from degeneracy.wording import numbers
from degeneracy.wording.names import card

WIDTH = 110
HEADINGS = ("condition", "measure", "variant", "value [95% interval]", "calibrated [95% interval]", "members")


def table_text(study: StudyResult, csv: Path) -> str:
    """The table in brief: one variant of each measure, one row per condition, and what could not be measured."""
    rows, reasons = [], _Reasons()
    table = study.table
    for measure, variant in _shown(study):
        found = table[(table["measure"] == measure) & (table["variant"] == variant)]
        rows += [_row(row, reasons) for row in found.to_dict("records")]
    for result in study.results:
        for why in dict.fromkeys(result.missing.values()):
            measures = [measure for measure, reason in result.missing.items() if reason == why]
            reasons.add(f"{', '.join(measures)}: {why}", result.condition)
    parts = [*columns([HEADINGS, *rows])] if rows else []
    notes = reasons.lines(len(study.results))
    if notes:
        parts += ["", "Without a number, not calibrated or not resolved:", *notes]
    without = [r.condition for r in study.results if stuck(m.status for m in r.members)]
    if without:
        said = f"No network converged in {'; '.join(without)}: {ADVICE}. The report shows their training."
        parts += ["", *textwrap.wrap(said, WIDTH)]
    parts += ["", f"All variants, floors and references: {one_line(csv)}"]
    return "\n".join(parts)


def _shown(study: StudyResult) -> list[tuple[str, str]]:
    """The measures with the variant to show, level by level, each level's primary one first."""
    chosen: dict[str, str] = {}
    first = primaries(study, measured=True)
    for level in LEVELS:
        chosen |= dict([first[level]]) if level in first else {}
        for result in study.results:
            for measure, found in result.measured.items():
                if result.levels[measure] == level and found.findings and card(measure).shown:
                    variants = [finding.variant for finding in found.findings]
                    chosen.setdefault(measure, card(measure).chosen_variant(variants))
    return list(chosen.items())


class _Reasons:
    """Why there is no number, or no calibrated one, each reason once with the conditions it holds in."""

    def __init__(self) -> None:
        self._conditions: dict[str, list[str]] = {}

    def add(self, reason: str, condition: str) -> None:
        self._conditions.setdefault(one_line(reason), []).append(condition)

    def lines(self, n_conditions: int) -> list[str]:
        lines = []
        for reason, conditions in self._conditions.items():
            where = "" if len(conditions) == n_conditions else f" ({'; '.join(conditions)})"
            lines += textwrap.wrap(reason + where, WIDTH, initial_indent="  ", subsequent_indent="    ")
        return lines


def _row(row: Mapping[Any, Any], reasons: _Reasons) -> tuple[str, ...]:
    name = f"{row['measure']}, {row['variant']}"
    calibrates = not (math.isnan(row["floor"]) or math.isnan(row["reference"]))
    if row["note"] and (math.isnan(row["value"]) or (calibrates and math.isnan(row["calibrated"]))):
        reasons.add(f"{name}: {row['note']}", row["condition"])
    elif row["floor_share"] > MAX_FLOOR_SHARE:
        said = f"{name}: not resolved, the floor is over {MAX_FLOOR_SHARE:.0%} of the value"
        reasons.add(f"{said} (degeneracy.csv has how large it can be without it)", row["condition"])
    return (
        row["condition"],
        row["measure"],
        row["variant"],
        numbers.with_interval(row["value"], row["ci_low"], row["ci_high"]),
        numbers.with_interval(row["calibrated"], row["calibrated_low"], row["calibrated_high"]),
        f"{row['n_converged']} of {row['n_members']}",
    )


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns, a rule under the first."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [
        lines[0].rstrip(),
        "-" * sum([*widths, 2 * len(widths) - 2]),
        *(line.rstrip() for line in lines[1:]),
    ]


def tasks_text() -> str:
    """Every task with its fields, defaults and source."""
    parts = []
    for name, task in TASKS.items():
        harder = f"harder with: {', '.join(task.difficulty_fields)}" if task.difficulty_fields else ""
        judged = "wrong decisions" if task.stop == "wrong" else "the loss"
        loss = f"loss: {task.loss.label}, in {task.loss.unit}; training stops by {judged}"
        training = ", ".join(f"{key} {value}" for key, value in task.training_defaults.items())
        parts.append(
            _entry(name, task.summary, task, [harder, loss, f"training: {training}", f"source: {task.citation}"])
        )
    return "\n\n".join([*parts, "Set as --set task.FIELD=VALUE. A task of your own: task.name=module:Name."])


def cells_text() -> str:
    """Every cell and every recurrent map with its fields, defaults and source."""
    parts = [_entry(name, cell.summary, cell, [f"source: {cell.source}"]) for name, cell in CELLS.items()]
    parts += [
        _entry(name, f"recurrent map: {kind.summary}", kind, [f"source: {kind.source}"])
        for name, kind in RECURRENT_MAPS.items()
    ]
    closing = (
        "Set cells as --set network.cell=NAME and --set network.cell_options.FIELD=VALUE, recurrent maps as --set"
        " network.recurrent.name=NAME and --set network.recurrent.FIELD=VALUE. Your own: module:Name."
    )
    return "\n\n".join([*parts, textwrap.fill(closing, WIDTH)])


def measures_text() -> str:
    """Every measure with its meaning, options and source."""
    parts = []
    for name, measure in MEASURES.items():
        about = [
            f"0 means: {measure.zero}",
            f"{measure.level}: {measure.readable_name()}" + (f", in {measure.unit}" if measure.unit else ""),
            "stands for its level, unless a study claims another"
            if measure in primary_measures(measure.level)[:1]
            else "",
            f"variants: {', '.join(measure.variant_titles) or 'those of the task'}",
            f"floor: {measure.floor}" if measure.floor else "",
            f"reference: {measure.reference}" if measure.reference else "",
            f"ignores: {', '.join(measure.ignores)}" if measure.ignores else "",
            f"needs: {', '.join(need.replace('_', ' ') for need in measure.needs)}" if measure.needs else "",
            f"source: {measure.source}",
        ]
        parts.append(_entry(name, measure.meaning, measure, about))
    closing = "Set as --set options.MEASURE.FIELD=VALUE. A measure of your own: module:Name."
    return "\n\n".join([*parts, closing])


def _entry(name: str, summary: str, kind: type[Spec], about: Iterable[str]) -> str:
    lines = textwrap.wrap(f"{name}: {summary}", WIDTH, subsequent_indent="    ")
    fields = [
        (field, _default(info.default), _meaning(info.description, info.annotation))
        for field, info in kind.model_fields.items()
    ]
    widths = [max((len(row[k]) for row in fields), default=0) for k in range(2)]
    for field, default, meaning in fields:
        head = f"    {field.ljust(widths[0])} = {default.ljust(widths[1])}  "
        lines += textwrap.wrap(head + meaning, WIDTH, subsequent_indent=" " * len(head))
    for text in about:
        lines += textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ") if text else []
    return "\n".join(lines)


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "(to be given)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_default, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _meaning(description: str | None, annotation: Any) -> str:
    """What a field means, and its choices where it has them."""
    choices = list(map(str, choices_of(annotation)))
    said = description or ""
    return f"{said}{': ' if said else ''}{', '.join(choices)}" if choices else said


def plan_text(table: pd.DataFrame) -> str:
    """One line per measure and scale, two numbers per number of networks."""
    networks = list(dict.fromkeys(table["n_members"]))
    head = ("measure", "factor", "of", "pilot", "margin", *(f"n = {n}: seen, flat in" for n in networks))
    rows, notes = [head], []
    for (measure, variant, factor, scale), cell in table.groupby(["measure", "variant", "factor", "scale"], sort=False):
        first = cell.iloc[0]
        pairs = zip(cell["smallest_visible"], cell["flat_margin"], strict=True)
        each = [f"{_percent(float(visible))}, {_percent(float(margin))}" for visible, margin in pairs]
        written = _percent(first["margin"]) if first["margin"] else "none"
        rows.append((f"{measure}, {variant}", str(factor), str(scale), f"{first['n_pilot']}", written, *each))
        if first["note"]:
            notes.append(f"  {measure}, {variant} ({scale}): {first['note']}")
    return "\n".join([*columns(rows), *(["", *notes] if notes else [])])


def _percent(share: float) -> str:
    return "\N{EM DASH}" if share != share else f"{100 * share:.3g}%"
