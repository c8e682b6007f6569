"""Checks of a published effect on the same stored networks: does its sign survive another measure?

`CHECKS` is the table of questions, each naming for some levels the measure, variant and scale that answer it. Those
that need other networks (another start, another cell) are studies of their own, put beside these by `combine_effects`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from degeneracy.contrasts.effects import CALIBRATED, MATCHED, VALUE, agreement, effects, primaries
from degeneracy.core.ambient import ordinary_state
from degeneracy.studies.study_result import StudyResult

VARIANT = ""  # stands for the variant of the level's primary measure


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question: by level, the measure, its variant and the scale on which it is judged."""

    asks: str
    cells: Mapping[str, tuple[str, str, str]]


CHECKS: dict[str, Check] = {
    "primary measures": Check(
        asks="as named before the study was run",
        cells={
            "dynamics": ("dsa", "driven", VALUE),
            "weights": ("signed_pif", "recurrent", VALUE),
            "behavior": ("ood_log_error_sd", VARIANT, VALUE),
        },
    ),
    "as published": Check(
        asks="permutations without signs; sd of errors without the logarithm",
        cells={"weights": ("pif", "recurrent", VALUE), "behavior": ("ood_error_sd", VARIANT, VALUE)},
    ),
    "calibrated": Check(
        asks="between the same networks' own floor and untrained or shuffled ones",
        cells={
            "dynamics": ("dsa", "driven", CALIBRATED),
            "weights": ("signed_pif", "recurrent", CALIBRATED),
            "behavior": ("output_distance", VARIANT, CALIBRATED),
        },
    ),
    "orthogonal": Check(
        asks="weights up to any rotation of the units' space",
        cells={"weights": ("orthogonal", "recurrent", VALUE)},
    ),
    "without input": Check(asks="states that move by themselves", cells={"dynamics": ("dsa", "autonomous", VALUE)}),
    "CV": Check(asks="sd of errors over their mean", cells={"behavior": ("ood_error_cv", VARIANT, VALUE)}),
    "IQR / median": Check(
        asks="a spread that single networks do not move",
        cells={"behavior": ("ood_error_iqr", VARIANT, VALUE)},
    ),
    "Procrustes": Check(
        asks="shape of states instead of their dynamics", cells={"dynamics": ("procrustes", "driven", VALUE)}
    ),
    "SVCCA": Check(asks="as Procrustes", cells={"dynamics": ("svcca", "driven", VALUE)}),
    "CKA": Check(asks="as Procrustes", cells={"dynamics": ("cka", "driven", VALUE)}),
    "matched loss": Check(
        asks="networks that learned equally well",
        cells={
            "dynamics": ("dsa", "driven", MATCHED),
            "weights": ("signed_pif", "recurrent", MATCHED),
            "behavior": ("ood_log_error_sd", VARIANT, MATCHED),
        },
    ),
}


@ordinary_state()
def robustness_checks(study: StudyResult) -> pd.DataFrame:
    """The effects of a study's factor by every check, each against the sign expected of its level.

    Args:
        study: one that varies one factor and says which signs it expects.

    Returns:
        The rows of `StudyResult.effects` that answer a check, with `check`; `expected` and `agreement` are those of
        the level's claim. A check that the study did not measure has no row.
    """
    table, claims = effects(study), study.claims.by_level
    variants = {level: variant for level, (_, variant) in primaries(study).items()}
    rows = []
    for name, check in CHECKS.items():
        for level, (measure, variant, scale) in check.cells.items():
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
        The primary rows of each study's `effects` on the scale of the values, with `study`. Holm's correction is
        that of each study by itself.
    """
    tables = []
    for name, study in studies.items():
        if checks:
            tables.append(robustness_checks(study).assign(study=name))
        else:
            table = effects(study)
            tables.append(table[table["primary"] & (table["scale"] == VALUE)].assign(study=name))
    return pd.concat(tables, ignore_index=True)
