"""Checks of a published effect on the same stored networks: does its sign survive another measure?

Each question is answered, level by level, by a measure, a variant and a scale. Three put the primary measures on other
scales; the others are what measures say of themselves (`Measure.checks`). Those that need other networks (another
start, another cell) are studies of their own, put beside these by `combine_effects`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

import pandas as pd

from degeneracy.analysis import MEASURES, Measure, primary_measures
from degeneracy.analysis.measure import Difference
from degeneracy.contrasts.cells import CALIBRATED, MATCHED, VALUE, judged
from degeneracy.contrasts.effects import agreement, effects
from degeneracy.core.ambient import ordinary_state
from degeneracy.studies.claims import SHOWN_LEVELS
from degeneracy.studies.study_result import StudyResult


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question: by level, the measure, its variant ("" for the one that the level is judged by) and the scale."""

    asks: str
    cells: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)


def questions() -> dict[str, Question]:
    """All questions by name, in the order of the table."""
    differences = {kind: _by_card(kind) for kind in get_args(Difference)}
    return {
        "primary measures": _of_primaries("as named before the study was run", VALUE),
        **differences.pop("publication"),
        "calibrated": _of_primaries("between the same networks' own floor and untrained or shuffled ones", CALIBRATED),
        **{name: one for some in differences.values() for name, one in some.items()},
        "matched loss": _of_primaries("networks that learned equally well", MATCHED),
    }


def _of_primaries(asks: str, scale: str) -> Question:
    """The first primary measure of each level, on the calibrated scale the first that has floor and reference."""
    cells: dict[str, tuple[str, str, str]] = {}
    for level in SHOWN_LEVELS:
        for kind in primary_measures(level):
            if scale != CALIBRATED or (kind.floor and kind.reference):
                cells.setdefault(level, _cell(kind, "", scale))
    return Question(asks=asks, cells=cells)


def _by_card(differs_in: str) -> dict[str, Question]:
    """The questions that measures say they answer, those that differ from the primary measure in one respect."""
    found: dict[str, Question] = {}
    for level in SHOWN_LEVELS:
        for kind in MEASURES.values():
            for check in kind.checks if kind.level == level else ():
                if check.differs_in == differs_in:
                    before = found.get(check.name, Question(asks=""))
                    found[check.name] = Question(
                        asks="; ".join(filter(None, (before.asks, check.asks))),
                        cells={**before.cells, level: _cell(kind, check.variant, VALUE)},
                    )
    return found


def _cell(kind: type[Measure], variant: str, scale: str) -> tuple[str, str, str]:
    return kind.name, variant or next(iter(kind.variant_titles), ""), scale


@ordinary_state()
def robustness_checks(study: StudyResult) -> pd.DataFrame:
    """The effects of a study's factor by every check, each against the sign expected of its level.

    Args:
        study: one that varies one factor and says which signs it expects.

    Returns:
        The rows of `dg.effects` that answer a check, with `check`; `expected` and `agreement` are those of
        the level's claim. A check that the study did not measure has no row.
    """
    table, claims = effects(study), study.claims.by_level
    variants = {level: variant for level, (_, variant) in judged(study).items()}
    rows = []
    for name, question in questions().items():
        for level, (measure, variant, scale) in question.cells.items():
            wanted = variant or variants.get(level, "")
            found = table[
                (table["level"] == level)
                & (table["measure"] == measure)
                & (table["variant"] == wanted)
                & (table["scale"] == scale)
            ]
            for row in found.to_dict("records"):
                expected = claims[level].expected.get(row["factor"], "")
                said = agreement(expected, row["verdict"])
                rows.append({"check": name} | row | {"expected": expected, "agreement": said})
    return pd.DataFrame(rows, columns=["check", *table.columns])


@ordinary_state()
def combine_effects(studies: Mapping[str, StudyResult], *, checks: bool = False) -> pd.DataFrame:
    """The primary effects of several studies in one table, as they were measured.

    Args:
        studies: by the name of their row, `study`.
        checks: the rows of `robustness_checks` instead, with `check`.

    Returns:
        The primary rows of each study's `effects` on the scale of the values, with `study`, and beside them what the
        same cell has on the calibrated scale: `calibrated`, `calibrated_low`, `calibrated_high` and
        `calibrated_verdict`. Holm's correction is that of each study by itself.
    """
    tables = []
    for name, study in studies.items():
        if checks:
            tables.append(robustness_checks(study).assign(study=name))
        else:
            tables.append(_with_calibrated(effects(study).query("primary")).assign(study=name))
    return pd.concat(tables, ignore_index=True)


def _with_calibrated(table: pd.DataFrame) -> pd.DataFrame:
    """The rows on the scale of the values, with the same cell's calibrated effect."""
    of_cell = ["factor", "level", "measure", "variant"]
    names = {"effect": "calibrated", "ci_low": "calibrated_low", "ci_high": "calibrated_high"}
    beside = table[table["scale"] == CALIBRATED].rename(columns=names | {"verdict": "calibrated_verdict"})
    beside = beside[[*of_cell, *names.values(), "calibrated_verdict"]]
    return table[table["scale"] == VALUE].merge(beside, on=of_cell, how="left", validate="one_to_one")
