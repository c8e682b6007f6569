"""What a report says of the factors' effects: one sentence per primary cell, and a table of all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from degeneracy.analysis.measure import LEVELS
from degeneracy.analysis.statistics.jackknife import untransformed
from degeneracy.analysis.statistics.resolution import share_of_distance
from degeneracy.contrasts.cells import CALIBRATED, MATCHED, VALUE
from degeneracy.contrasts.effects import DEPENDS
from degeneracy.reporting.data import ReportData
from degeneracy.wording import numbers
from degeneracy.wording.factors import factor_name
from degeneracy.wording.names import NO_CARDS, Cards, full_name, measure_name, variant_name

Fields = Mapping[Any, Any]  # a row of `contrasts.effects`


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One measure and factor, as text."""

    measure: str
    factor: str  # with its lowest and highest level
    change: str
    margin: str
    visible: str  # the smallest change that 80% of studies would have shown
    p: str
    verdict: str
    calibrated: str
    calibrated_verdict: str
    matched: str
    matched_verdict: str
    primary: bool
    secondary: bool
    mark: str  # of its note below the table


@dataclass(frozen=True, kw_only=True)
class EffectTable:
    """The effects on one level's measures, the one it is judged by first, with the notes by mark."""

    level: str
    factor: str  # that of all rows; "" where they differ
    rows: list[Effect]
    notes: list[tuple[str, str]]


def sentences(table: pd.DataFrame, level: str, own: Cards = NO_CARDS) -> list[str]:
    """What is said of a level: a sentence or two per factor on the measure that it is judged by."""
    return [_sentence(table, row, own) for row in _records(table, level, VALUE) if row["primary"]]


def brief(row: Fields) -> str:
    """The verdict on one effect, and the change with its interval."""
    return _outcome(row, f" from {factor_name(row['factor'])} = {row['lowest']} to {row['highest']}")


def tables(table: pd.DataFrame, own: Cards = NO_CARDS) -> list[EffectTable]:
    """All effects, level by level."""
    found = []
    for level in LEVELS:
        marks: dict[str, str] = {}
        rows = [_effect(table, row, marks, own) for row in _records(table, level, VALUE)]
        rows.sort(key=lambda row: (not row.primary, not row.secondary))
        if rows:
            notes = [(mark, note) for note, mark in marks.items()]
            factors = {row.factor for row in rows}
            factor = factors.pop() if len(factors) == 1 else ""
            found.append(EffectTable(level=level, factor=factor, rows=rows, notes=notes))
    return found


@dataclass(frozen=True, kw_only=True)
class AtSetting:
    """An effect at one setting of its measure, as text."""

    measure: str
    factor: str
    setting: str
    change: str
    verdict: str


def at_settings(table: pd.DataFrame) -> list[AtSetting]:
    """The effects on the values at every setting that claims name (`contrasts.effects.robustness`)."""
    return [
        AtSetting(
            measure=full_name(row["measure"], row["variant"]),
            factor=factor_name(row["factor"]),
            setting=row["setting"],
            change=_cell(row),
            verdict=row["verdict"] or numbers.DASH,
        )
        for row in table[table["scale"] == VALUE].to_dict("records")
    ]


def survivors(data: ReportData) -> str:
    """How far who converged and how well differs between conditions; "" where nothing is varied or known."""
    table = data.convergence
    if table.empty or not data.study.factors:
        return ""
    each = table.drop_duplicates("condition")
    share, loss = 100 * each["converged_share"], each["final_loss"]
    said = f"{share.min():.0f}% of the networks of each condition converged"
    if share.min() < share.max():
        said = f"Of each condition's networks {share.min():.0f}% to {share.max():.0f}% converged"
    if loss.notna().any():
        said += (
            f"; the conditions' mean final training losses are {numbers.number(loss.min())} to "
            f"{numbers.number(loss.max())}"
        )
    if share.min() < share.max():
        said += ". A change of the value may be one of who survived: see the figure of convergence"
    return f"{said}."


def _records(table: pd.DataFrame, level: str, scale: str) -> list[dict[Any, Any]]:
    return table[(table["level"] == level) & (table["scale"] == scale)].to_dict("records")


def _on(table: pd.DataFrame, row: Fields, scale: str) -> Fields:
    """The same measure and factor on another scale."""
    same = table["scale"] == scale
    for key in ("factor", "level", "measure", "variant"):
        same &= table[key] == row[key]
    return table[same].to_dict("records")[0]


def _sentence(table: pd.DataFrame, row: Fields, own: Cards) -> str:
    """The verdict on the value in words, then those on the other scales."""
    variant = variant_name(row["variant"], row["measure"], own)
    subject = measure_name(row["measure"], own) + (f" ({variant})" if row["variant"] else "")
    span = f"from {factor_name(row['factor'])} = {row['lowest']} to {row['highest']}"
    if not np.isfinite(row["effect"]):
        return f"{subject}: nothing can be said {span} ({row['note']})."
    said = f"{row['verdict'].capitalize()}: {subject} {_words(row)} {span}{_certainty(table, row)}."
    if row["note"]:
        said += f" {row['note'][0].upper()}{row['note'][1:]}."
    if row["agreement"]:
        said += f" Expected was {row['expected']}: {_AGREEMENT.get(row['agreement'], 'this leaves it open')}."
    for name, scale in _OTHER_SCALES.items():
        other = _on(table, row, scale)
        if np.isfinite(other["effect"]):
            said += f" {name}: {_outcome(other)}."
        elif other["note"].startswith("not calibrated"):
            reasons = other["note"].replace("; not calibrated: ", "; ")  # of several conditions
            said += f" {reasons[0].upper()}{reasons[1:]}."
        else:
            said += f" {name}: nothing can be said ({other['note']})."
    return said


_OTHER_SCALES = {"Calibrated": CALIBRATED, "At matched training loss": MATCHED}
_AGREEMENT = {"agrees": "this agrees", "disagrees": "this disagrees"}


def _words(row: Fields) -> str:
    """The change on the value's own scale; a direction only where the verdict is one."""
    if row["unit"] == "log ratio":
        return f"changes {_change(row)}"
    return f"{_VERBS.get(row['verdict'], 'changes by')} {_change(row)}{_unit(row)}"


_VERBS = {"up": "rises, by", "down": "falls, by"}  # the change keeps its sign


def _outcome(row: Fields, span: str = "") -> str:
    """The verdict on one effect, of a span, and the change with its interval; what could have been seen if nothing."""
    said = {"": "no interval", "unclear": "no change can be told"}.get(row["verdict"], row["verdict"])
    said = f"{said}{span}, {_change(row)}{_unit(row)}"
    if row["verdict"] != "unclear" or not np.isfinite(row["smallest_visible"]):
        return said
    return f"{said}; the smallest that could have been seen is {_size(row, row['smallest_visible'])}{_unit(row)}"


def _unit(row: Fields) -> str:
    """The unit of a change, with a space before it; "" of factors, percent and calibrated values."""
    bare = row["scale"] == CALIBRATED or row["unit"] == "log ratio" or _as_share(row)
    return f" {row['unit']}" if row["unit"] and not bare else ""


def _as_share(row: Fields) -> bool:
    """Whether changes are given as percent of the distance: those of squares, where there is a distance."""
    return bool(row["corrected"] and row["at_lowest"] > 0)


def _certainty(table: pd.DataFrame, row: Fields) -> str:
    """How sure that is: the corrected p value, the margin, or what cannot be stated."""
    n = int(table.loc[table["primary"] & (table["scale"] == row["scale"]), "p"].notna().sum())
    corrected = f", corrected for {n} such questions" if n > 1 else ""
    p = f"p = {numbers.number(row['p_holm'], 2)}" if row["p_holm"] >= 0.001 else "p < 0.001"
    if row["verdict"] == "flat":
        return f", which is less than the margin of {_margin(row)}"
    if row["verdict"] in ("up", "down"):
        return f" ({p}{corrected})"
    if row["verdict"] == "not resolved":
        return ", and no trend can be stated"
    if row["verdict"].startswith(DEPENDS):
        return f": the verdict is the same at {row['settings']} settings only, and no direction can be stated"
    doubt = f" ({p}{corrected})" if np.isfinite(row["p_holm"]) else ""
    beside = f", nor that it stays within {_margin(row)}" if row["margin"] > 0 else ""
    return f"{doubt}, so no direction can be stated{beside}"


def _change(row: Fields) -> str:
    """An effect with its interval; of logarithms, as a factor, of squared distances, as percent of the distance."""
    ends = np.array([row["effect"], row["ci_low"], row["ci_high"]])
    if row["unit"] == "log ratio":
        return f"by a factor of {numbers.with_interval(*untransformed(ends, 'log'))}"
    if _as_share(row):
        return f"{numbers.with_interval(*(100 * share_of_distance(ends, row['at_lowest'])))}% of the distance"
    return numbers.with_interval(*ends)


def _margin(row: Fields) -> str:
    """±margin; of logarithms, the factors that it lets through."""
    return _size(row, row["margin"])


def _size(row: Fields, size: float) -> str:
    """A change either way, by the one upwards."""
    if row["unit"] == "log ratio":
        return " to ".join(numbers.number(end) for end in untransformed(np.array([-1, 1]) * size, "log"))
    if _as_share(row):
        return f"±{100 * share_of_distance(size, row['at_lowest']):.3g}%"
    return f"±{numbers.number(size)}"


def _effect(table: pd.DataFrame, row: Fields, marks: dict[str, str], own: Cards) -> Effect:
    calibrated, matched = (_on(table, row, scale) for scale in (CALIBRATED, MATCHED))
    texts = {"": row, "calibrated: ": calibrated, "matched loss: ": matched}
    # What calibration lacks is said once, in the table of values.
    texts = {name: one for name, one in texts.items() if not one["note"].startswith("not calibrated")}
    notes = "; ".join(f"{name}{one['note']}" for name, one in texts.items() if one["note"])
    mark = marks.setdefault(notes, str(len(marks) + 1)) if notes else ""
    p = row["p_holm"] if row["primary"] else row["p"]
    return Effect(
        measure=full_name(row["measure"], row["variant"], own),
        factor=f"{factor_name(row['factor'])}, {row['lowest']} → {row['highest']}",
        change=_cell(row),
        margin=_margin(row) if row["margin"] > 0 else numbers.DASH,
        visible=_size(row, row["smallest_visible"]) if np.isfinite(row["smallest_visible"]) else numbers.DASH,
        p="< 0.001" if p < 0.001 else numbers.number(p, 2),
        verdict=_verdict(row),
        calibrated=_cell(calibrated),
        calibrated_verdict=calibrated["verdict"],
        matched=_cell(matched),
        matched_verdict=matched["verdict"],
        primary=bool(row["primary"]),
        secondary=bool(row["secondary"]),
        mark=mark,
    )


def _verdict(row: Fields) -> str:
    """The verdict, at how many settings it is the same, and whether a secondary one was expected."""
    beside = [f"{row['settings']} settings"] if row["settings"] else []
    beside += [f"expected {row['expected']}"] if row["secondary"] and row["expected"] else []
    return (row["verdict"] or numbers.DASH) + (f" ({', '.join(beside)})" if beside else "")


def _cell(row: Fields) -> str:
    """An effect in a table: × before a factor."""
    return _change(row).replace("by a factor of ", "×") if np.isfinite(row["effect"]) else numbers.DASH
