"""The effects of a study's factors: every measure's contrast over a factor's levels, with a verdict.

One factor at a time, averaged over the levels of the others. Three scales: the value as measured, the calibrated
value, and the value among members whose final training losses overlap between the levels. The primary cells, one
measure per level and factor, named beforehand (`claims`), share Holm's correction, scale by scale; all else is
exploratory and stands by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from degeneracy.analysis.statistics.contrasts import Effect, bends, joint_p, linear_contrast, trend_weights
from degeneracy.analysis.statistics.jackknife import Scale, transformed, untransformed
from degeneracy.analysis.statistics.verdicts import ALPHA, equivalent, holm, verdict
from degeneracy.contrasts.factor_grid import (
    ConditionEstimates,
    FactorGrid,
    calibrated_of,
    final_losses,
    matched,
    take,
    value_of,
)
from degeneracy.core.ambient import ordinary_state
from degeneracy.measuring.results import Result, finding_of
from degeneracy.studies.claims import Claim, Claims
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.factors import factor_name
from degeneracy.wording.names import card

VALUE, CALIBRATED, MATCHED = SCALES = ("value", "calibrated", "value, matched loss")

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
    "at_lowest",
    "p",
    "p_holm",
    "p_bend",
    "margin",
    "verdict",
    "primary",
    "expected",
    "agreement",
    "n_levels",
    "n_members",
    "note",
)

CONVERGENCE_COLUMNS = (
    "n_members",
    "n_converged",
    "converged_share",
    "final_loss",
    "final_loss_min",
    "final_loss_max",
    "level",
    "measure",
    "variant",
    "value",
    "ci_low",
    "ci_high",
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row before its p value is corrected."""

    grid: FactorGrid
    level: str
    measure: str
    variant: str
    scale: str
    taken: ConditionEstimates
    effect: Effect
    at_lowest: float
    unit: str
    margin: float
    p_bend: float  # of "the levels lie on a line"
    flat: bool  # whether two one-sided tests exclude a change as large as the margin
    primary: bool
    expected: str


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
    order), `margin` the smallest change that matters, in the unit of the effect (0: none was written),
    `n_members` the members of the smallest condition.

    `verdict` is up, down, flat or unclear (see `analysis.statistics.verdicts`), "" where there is no effect to
    judge. Where `primary`, it goes by `p_holm`, Holm's correction over the primary cells of that scale, and
    `agreement` says whether it is what the claims expected.
    """
    cells = [cell for factor in study.factors for cell in _of_factor(study, factor)]
    corrected = np.full(len(cells), np.nan)
    for scale in SCALES:
        family = [k for k, cell in enumerate(cells) if cell.primary and cell.scale == scale]
        corrected[family] = holm([cells[k].effect.p for k in family])
    return pd.DataFrame([_row(*one) for one in zip(cells, corrected, strict=True)], columns=list(COLUMNS))


def judged(study: StudyResult) -> dict[str, tuple[str, str]]:
    """The primary measure and variant of the levels that are judged: those whose claimed measure was asked for."""
    claims = study.claims.by_level
    return {
        level: name for level, name in primaries(study).items() if level in claims and name[0] == claims[level].measure
    }


@ordinary_state()
def convergence(study: StudyResult) -> pd.DataFrame:
    """Each level's primary value beside how many networks converged, one row per condition and level.

    Columns: the condition and its factors, `n_members`, `n_converged`, `converged_share`, `final_loss` (mean over
    measured members of the last epoch's mean training loss, with `final_loss_min` and `_max`), then level,
    measure, variant, value, ci_low and ci_high (`convergence.csv`).

    A condition in which few networks converge is one of survivors: a value that follows the share may be theirs
    rather than the factor's.
    """
    rows = []
    for result in study.results:
        table, losses = result.table, np.array(list(final_losses(result).values()))
        known = losses if len(losses) else np.array([np.nan])
        for level, (measure, variant) in judged(study).items():
            found = table[(table["measure"] == measure) & (table["variant"] == variant)].head(1)
            value = found[["value", "ci_low", "ci_high"]].to_numpy().ravel()
            rows.append(
                {
                    "condition": result.condition,
                    **result.factors,
                    "n_members": result.n_members,
                    "n_converged": result.n_converged,
                    "converged_share": result.n_converged / result.n_members,
                    "final_loss": known.mean(),
                    "final_loss_min": known.min(),
                    "final_loss_max": known.max(),
                    "level": level,
                    "measure": measure,
                    "variant": variant,
                    **dict(zip(CONVERGENCE_COLUMNS[-3:], [*value, *[np.nan] * 3], strict=False)),
                }
            )
    return pd.DataFrame(rows, columns=["condition", *study.factors, *CONVERGENCE_COLUMNS])


# --- Cells ---------------------------------------------------------------------------------------------------------


def _of_factor(study: StudyResult, factor: str) -> Iterator[Cell]:
    """The cells of one factor; none where it has one level alone."""
    grid = FactorGrid.of(study.results, factor)
    if len(grid.levels) < 2:
        return
    chosen = judged(study)
    names = {(level, *name): None for level, name in chosen.items()} | {
        (result.levels[measure], measure, finding.variant): None
        for result in study.results
        for measure, found in result.measured.items()
        for finding in found.findings
    }
    for level, measure, variant in names:
        asked = factor in (study.claims.factors or study.factors)
        primary = asked and chosen.get(level) == (measure, variant)
        yield from _of_finding(grid, study.claims, (level, measure, variant), primary=primary)


def _of_finding(grid: FactorGrid, claims: Claims, name: tuple[str, str, str], *, primary: bool) -> Iterator[Cell]:
    """The cells of one finding: a scale each."""
    level, measure, variant = name
    claim = claims.by_level.get(level, Claim(measure=measure))
    findings = [f for r in grid.conditions.values() if (f := finding_of(r, measure, variant)) is not None]
    log: Scale = findings[0].scale if findings else "linear"
    unit = findings[0].unit if findings else ""
    value = take(grid, lambda result: value_of(result, measure, variant, log))
    taken: dict[str, tuple[ConditionEstimates, Scale]] = {
        VALUE: (value, log),
        CALIBRATED: (take(grid, lambda result: calibrated_of(result, measure, variant)), "linear"),
        MATCHED: (matched(grid, value, measure, variant, log), log),
    }
    for scale, (one, transform) in taken.items():
        calibrated = scale == CALIBRATED
        effect, at_lowest = _effect(one, transform), _at_lowest(one, transform)
        if calibrated or transform == "log":
            margin = claim.calibrated_margin if calibrated else float(np.log1p(claim.margin))
            ends = effect.shifted(-margin), effect.shifted(margin)
        else:
            share = claim.margin * np.sign(at_lowest)
            margin = claim.margin * abs(at_lowest)
            ends = _effect(one, transform, -share), _effect(one, transform, share)
        yield Cell(
            grid=grid,
            level=level,
            measure=measure,
            variant=variant,
            scale=scale,
            taken=one,
            effect=effect,
            at_lowest=at_lowest,
            unit="share of floor to reference" if calibrated else "log ratio" if log == "log" else unit,
            margin=margin,
            p_bend=_p_bend(one, transform) if grid.ordered else float("nan"),
            flat=equivalent(*ends),
            primary=primary,
            expected=claim.expected.get(grid.factor, "") if primary else "",
        )


def _effect(taken: ConditionEstimates, scale: Scale, share: float = 0.0) -> Effect:
    """The contrast over the levels that are kept, averaged over the combinations of the other factors.

    `share` of the value at the lowest level is added to it.
    """
    if not taken.estimates:
        return Effect(change=float("nan"), standard_error=float("nan"), df=1, scale=scale)
    # Levels keep their ranks where one between them is left out.
    of_level = trend_weights(taken.levels)
    of_level[0] += share
    estimates, labels = list(taken.estimates.values()), list(taken.labels.values())
    return linear_contrast(estimates, labels, _over_blocks(taken, of_level), scale)


def _p_bend(taken: ConditionEstimates, scale: Scale) -> float:
    """The p value of "the levels lie on a line", NaN for fewer than 3."""
    if len(taken.levels) < 3:
        return float("nan")
    estimates, labels = list(taken.estimates.values()), list(taken.labels.values())
    return joint_p(estimates, labels, _over_blocks(taken, bends(taken.levels)), scale)


def _over_blocks(taken: ConditionEstimates, of_level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (..., condition) from those of the levels, (..., level): the same in every combination of the others."""
    columns = [taken.levels.index(level) for _, level in taken.estimates]
    return of_level[..., columns] * len(taken.levels) / len(columns)


def _at_lowest(taken: ConditionEstimates, scale: Scale) -> float:
    """The value at the lowest level that is kept: mean over the other factors, on the log scale the geometric."""
    lowest = [e.value for (_, level), e in taken.estimates.items() if level == taken.levels[0]]
    if not lowest:
        return float("nan")
    return float(untransformed(transformed(np.array(lowest), scale).mean(), scale))


# --- Rows ----------------------------------------------------------------------------------------------------------


def _row(cell: Cell, p_holm: float) -> dict[str, Any]:
    effect, levels = cell.effect, cell.taken.levels
    shown = levels or [0, len(cell.grid.levels) - 1]
    low, high = effect.interval()
    p = p_holm if cell.primary else effect.p
    said = verdict(effect, p, flat=cell.flat) if np.isfinite(effect.change) else ""
    members = [len(labels) for labels in cell.taken.labels.values()]
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
        "at_lowest": cell.at_lowest,
        "p": effect.p,
        "p_holm": p_holm,
        "p_bend": cell.p_bend,
        "margin": cell.margin,
        "verdict": said,
        "primary": cell.primary,
        "expected": cell.expected,
        "agreement": agreement(cell.expected, said),
        "n_levels": len(levels),
        "n_members": min(members, default=0),
        "note": "; ".join(_notes(cell, said, p)),
    }


def agreement(expected: str, said: str) -> str:
    """Whether a verdict is the one expected: agrees, disagrees or unclear; "" where either is missing."""
    if not expected or not said:
        return ""
    return "unclear" if said == "unclear" else "agrees" if said == expected else "disagrees"


def _notes(cell: Cell, said: str, p: float) -> Iterator[str]:
    """What was left out, why there is no interval, and where verdict and interval seem at odds."""
    yield from cell.taken.notes
    effect = cell.effect
    if not np.isfinite(effect.change):
        return
    if not cell.grid.ordered:
        yield f"the levels of {factor_name(cell.grid.factor)} have no order but the study's"
    if not np.isfinite(effect.standard_error):
        yield f"no interval: {_why_none(cell.taken)}"
    if any(_coupled(cell.grid.conditions[place]) for place in cell.taken.estimates):
        yield "coupled networks are not independent, so the interval is too narrow"
    across = card(cell.measure).across_sizes.get(cell.variant, "")
    if across and cell.scale != CALIBRATED and _sizes_differ(cell):
        yield across
    if cell.primary and said in ("unclear", "flat") and cell.p_bend < ALPHA:
        yield f"the levels do not lie on a line (p = {cell.p_bend:.2g}): the figure says more than the trend"
    if said == "flat" and p < ALPHA:
        yield "differs from 0, but by less than the margin"
    if said == "unclear" and effect.p < ALPHA <= p:
        yield "its own interval excludes 0, but not after Holm's correction"


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
        return "the networks do not differ in this number"
    return "it has none by this method"
