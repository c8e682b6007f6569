"""The effects of a study's factors: every measure's contrast over a factor's levels, with a verdict.

One factor at a time, averaged over the levels of the others. Three scales: the value as measured, the calibrated
value, and the value among members whose final training losses overlap between the levels. The primary cells, one
measure per level and factor, named beforehand (`claims`), share Holm's correction, scale by scale. Secondary cells are
of further measures that the study says something of; all else is exploratory. Both stand by themselves.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from degeneracy.analysis.statistics.power import POWER
from degeneracy.analysis.statistics.resolution import floor_share
from degeneracy.analysis.statistics.verdicts import ALPHA, DECIDED
from degeneracy.contrasts.cells import CALIBRATED, Cell
from degeneracy.contrasts.contrast import MOST_NETWORKS
from degeneracy.contrasts.factor_grid import ConditionEstimates
from degeneracy.contrasts.judging import Judged, judge
from degeneracy.core.ambient import ordinary_state
from degeneracy.measuring.results import Result
from degeneracy.studies.measure_settings import setting_name
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.factors import factor_name
from degeneracy.wording.names import card
from degeneracy.wording.resolution import not_resolved

DEPENDS = "depends"  # begins the verdict that hangs on how its measure was set

COLUMNS = (
    "factor",
    "lowest",
    "highest",
    "level",
    "measure",
    "variant",
    "scale",
    "effect",
    "ci_low",
    "ci_high",
    "unit",
    "corrected",
    "at_lowest",
    "p",
    "p_holm",
    "p_bend",
    "margin",
    "smallest_visible",
    "floor_share",
    "verdict",
    "settings",
    "primary",
    "secondary",
    "expected",
    "agreement",
    "n_levels",
    "n_members",
    "note",
)


ROBUSTNESS_COLUMNS = (
    *("factor", "level", "measure", "variant", "scale", "setting"),
    *("effect", "ci_low", "ci_high", "unit", "corrected", "at_lowest", "p_holm", "verdict"),
)


@ordinary_state()
def effects(study: StudyResult) -> pd.DataFrame:
    """What each varied factor does to each measure, with verdicts (`effects.csv`).

    One row per factor, finding and `scale`: "value", "calibrated", and "value, matched loss", which is the value
    among the members whose final training loss lies in the range that all levels have in common (NaN where
    under 4 per condition do, or the measure keeps nothing to take it again from).

    `effect` is the change from the lowest to the highest level of the factor (`lowest`, `highest`) along the
    least-squares line over the levels' ranks, averaged over the levels of the other factors; levels that are no
    numbers come in the study's order. Ranks are logarithms where levels grow by a constant factor. Its `unit` is
    the measure's; "log ratio", a difference of natural logarithms, for standard deviations; or
    "share of floor to reference". `ci_low` and `ci_high` are the 95% interval, `p` that of no change, seeds
    counted jointly over all conditions (`linear_contrast` in `analysis.statistics.contrasts`). `at_lowest` is the
    value at the lowest level, `p_bend` that of the levels lying on a line (NaN for two levels or such without an
    order), `margin` the smallest change upwards that matters, in the unit of the effect (0: none was written),
    `smallest_visible` the smallest change, either way, that 80% of studies with as many networks would have shown at 5%
    (where primary, shared by Holm's family), `n_members` the members of the smallest condition. Where `corrected`,
    effect, value and margin are squared distances without their floor, and the margin a share of the distance.

    `verdict` is up, down, flat, unclear or not resolved (see `analysis.statistics.verdicts`), "" where there is no
    effect to judge. It is not resolved where `floor_share`, the largest share that the floor has of the value in a
    condition, is over 0.6. Where `primary`, it goes by `p_holm`, Holm's correction over the primary cells of that
    scale, and `agreement` says whether it is what the claims expected; where `secondary`, it goes by `p`, and
    `agreement` likewise. Where the claims name other settings of the
    measure (`robust_over`), `settings` says at how many of them the verdict is the same; of up, down and flat it stands
    where that is at least 8 of 9, and else "depends on" those options along which it changes (`robustness`).
    """
    return pd.DataFrame([_row(judged) for judged in judge(study)], columns=list(COLUMNS))


@ordinary_state()
def robustness(study: StudyResult) -> pd.DataFrame:
    """The effects on what is judged at every setting of its measure that the claims name (`robustness.csv`).

    Returns:
        One row per factor, judged measure, scale and setting ("rank = 10, weighting = none"): the columns of `effects`
        that say what, then `setting`, the effect with its interval, p value (corrected as if the study had named this
        setting) and verdict. No rows where no claim names settings.
    """
    rows = []
    for judged in judge(study):
        for one in judged.points:
            cell = one.point.cell
            effect = cell.contrast.effect
            low, high = effect.interval()
            setting = setting_name(one.point.options)
            values = (
                *(cell.grid.factor, cell.level, cell.measure, cell.variant, cell.scale, setting),
                *(effect.change, low, high, cell.unit, cell.contrast.kind == "squares", cell.contrast.at_lowest),
                *(one.p_holm, one.said),
            )
            rows.append(dict(zip(ROBUSTNESS_COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(ROBUSTNESS_COLUMNS))


# --- Rows ----------------------------------------------------------------------------------------------------------


def _row(judged: Judged) -> dict[str, Any]:
    cell, said = judged.cell, judged.said
    contrast, taken = cell.contrast, cell.contrast.taken
    effect, levels = contrast.effect, taken.levels
    shown = levels or [0, len(cell.grid.levels) - 1]
    low, high = effect.interval()
    members = [len(labels) for labels in taken.labels.values()]
    return {
        "factor": cell.grid.factor,
        "lowest": cell.grid.levels[shown[0]],
        "highest": cell.grid.levels[shown[-1]],
        "level": cell.level,
        "measure": cell.measure,
        "variant": cell.variant,
        "scale": cell.scale,
        "effect": effect.change,
        "ci_low": low,
        "ci_high": high,
        "unit": cell.unit,
        "corrected": contrast.kind == "squares",
        "at_lowest": contrast.at_lowest,
        "p": effect.p,
        "p_holm": judged.p_holm,
        "p_bend": contrast.p_bend if cell.grid.ordered else float("nan"),
        "margin": contrast.sizes(cell.margin)[0],
        "smallest_visible": contrast.visible(effect.df + 1, judged.alpha),
        "floor_share": floor_share(cell.findings[cell.worst]) if cell.worst else float("nan"),
        "verdict": said,
        "settings": judged.agreeing,
        "primary": cell.primary,
        "secondary": cell.secondary,
        "expected": cell.expected,
        "agreement": agreement(cell.expected, said),
        "n_levels": len(levels),
        "n_members": min(members, default=0),
        "note": "; ".join(_notes(judged)),
    }


def agreement(expected: str, said: str) -> str:
    """Whether a verdict is the one expected: agrees or disagrees; what it is where no direction; "" without either."""
    if not expected or not said:
        return ""
    if said.startswith(DEPENDS):
        return DEPENDS
    return said if said not in DECIDED else "agrees" if said == expected else "disagrees"


def _notes(judged: Judged) -> Iterator[str]:
    """What was left out, why there is no interval, and where verdict and interval seem at odds."""
    cell, said, p = judged.cell, judged.said, judged.p
    contrast, taken = cell.contrast, cell.contrast.taken
    effect = contrast.effect
    yield from taken.notes
    if not np.isfinite(effect.change):
        return
    if said.startswith(DEPENDS):
        yield _by_setting(judged)
    if said == "not resolved":
        yield not_resolved(cell.findings)
    if not cell.grid.ordered:
        yield f"the levels of {factor_name(cell.grid.factor)} have no order but the study's"
    if not np.isfinite(effect.standard_error):
        yield f"no interval: {_why_none(taken)}"
    if any(_coupled(cell.grid.conditions[place]) for place in taken.estimates):
        yield "coupled networks are not independent, so the interval is too narrow"
    across = card(cell.measure).across_sizes.get(cell.variant, "")
    if across and cell.scale != CALIBRATED and _sizes_differ(cell):
        yield across
    if cell.primary and cell.grid.ordered and said in ("unclear", "flat") and contrast.p_bend < ALPHA:
        yield f"the levels do not lie on a line (p = {contrast.p_bend:.2g}): the figure says more than the trend"
    if said == "flat" and p < ALPHA:
        yield "differs from 0, but by less than the margin"
    if said == "unclear" and effect.p < ALPHA <= p:
        yield "its own interval excludes 0, but not after Holm's correction"
    if cell.primary and said == "unclear" and np.isfinite(effect.standard_error):
        yield _deciding(cell, judged.alpha)


def _by_setting(judged: Judged) -> str:
    """What each verdict is given at, of the settings of a measure."""
    by_verdict: dict[str, list[str]] = {}
    for one in judged.points:
        by_verdict.setdefault(one.said or "no number", []).append(setting_name(one.point.options))
    return "; ".join(
        f"{said} at {len(at)} of {len(judged.points)} ({' | '.join(at)})" for said, at in by_verdict.items()
    )


def _deciding(cell: Cell, alpha: float) -> str:
    """How many networks would decide an unclear effect."""
    n = cell.contrast.deciding(cell.margin, alpha)
    many = f"about {n:.0f}" if np.isfinite(n) else f"over {MOST_NETWORKS:,}"
    if cell.margin:
        return f"{many} networks per level would tell a change as large as the margin from none ({POWER:.0%} power)"
    return f"{many} networks per level would show a change as large as the one estimated ({POWER:.0%} power)"


def _sizes_differ(cell: Cell) -> bool:
    """Whether the networks at one level of the factor have another number of units than those at another."""
    sizes: dict[int, set[Any]] = {}
    for (_, level), result in cell.grid.conditions.items():
        sizes.setdefault(level, set()).add((result.spec.get("network") or {}).get("hidden_size"))
    return any(each != next(iter(sizes.values())) for each in sizes.values())


def _coupled(result: Result) -> bool:
    """Whether the members were trained on their distances to one another."""
    coupling = (result.spec.get("training") or {}).get("coupling") or {}
    return bool(coupling.get("strength", 0.0))


def _why_none(taken: ConditionEstimates) -> str:
    """Why an effect has no interval."""
    if min(len(labels) for labels in taken.labels.values()) < 3:
        return "a condition has under 3 networks"
    if all(np.ptp(estimate.leave_one_out) == 0 for estimate in taken.estimates.values()):
        return "the number is the same whichever network is left out"
    return "it has none by this method"
