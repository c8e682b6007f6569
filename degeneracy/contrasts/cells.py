"""The cells of a study's effects: each finding's contrast over the levels of a factor, on three scales.

One factor at a time, averaged over the levels of the others. Three scales: the value as measured, the calibrated
value, and the value among members whose final training losses overlap between the levels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.measure import Finding
from degeneracy.analysis.statistics.contrasts import Effect, bends, joint_p, linear_contrast, trend_weights
from degeneracy.analysis.statistics.jackknife import Scale, transformed, untransformed
from degeneracy.analysis.statistics.resolution import floor_share
from degeneracy.analysis.statistics.verdicts import equivalent
from degeneracy.contrasts.factor_grid import (
    ConditionEstimates,
    FactorGrid,
    calibrated_of,
    matched,
    take,
    value_of,
)
from degeneracy.measuring.results import finding_of
from degeneracy.studies.claims import Claim, Claims
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult

VALUE, CALIBRATED, MATCHED = SCALES = ("value", "calibrated", "value, matched loss")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row before its p value is corrected."""

    grid: FactorGrid
    level: str
    measure: str
    variant: str
    scale: str
    taken: ConditionEstimates
    findings: Mapping[str, Finding]  # by condition, of those that are taken
    effect: Effect
    at_lowest: float
    unit: str
    corrected: bool  # whether effect, value and margin are squared distances
    margin: float
    p_bend: float  # of "the levels lie on a line"
    flat: bool  # whether two one-sided tests exclude a change as large as the margin
    primary: bool
    expected: str

    @property
    def worst(self) -> str:
        """The condition in which the floor is the largest share of the value; "" where there is no floor."""
        shares = {name: share for name, f in self.findings.items() if not np.isnan(share := floor_share(f))}
        return max(shares, key=shares.__getitem__, default="")


def judged(study: StudyResult) -> dict[str, tuple[str, str]]:
    """The primary measure and variant of the levels that are judged: those whose claimed measure was asked for."""
    claims = study.claims.by_level
    return {
        level: name for level, name in primaries(study).items() if level in claims and name[0] == claims[level].measure
    }


def of_factor(study: StudyResult, factor: str) -> Iterator[Cell]:
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
    findings = {place: f for place, r in grid.conditions.items() if (f := finding_of(r, measure, variant)) is not None}
    first = next(iter(findings.values()), None)
    log: Scale = first.scale if first else "linear"
    value = take(grid, lambda result: value_of(result, measure, variant, log))
    taken: dict[str, tuple[ConditionEstimates, Scale]] = {
        VALUE: (value, log),
        CALIBRATED: (take(grid, lambda result: calibrated_of(result, measure, variant)), "linear"),
        MATCHED: (matched(grid, value, measure, variant, log), log),
    }
    for scale, (estimates, transform) in taken.items():
        calibrated = scale == CALIBRATED
        corrected = bool(first and first.corrected) and not calibrated
        margin = claim.calibrated_margin if calibrated else claim.margin
        kind = "share" if calibrated else "log" if transform == "log" else "squares" if corrected else "value"
        size, flat = _against_margin(estimates, transform, margin, kind)
        yield Cell(
            grid=grid,
            level=level,
            measure=measure,
            variant=variant,
            scale=scale,
            taken=estimates,
            findings={grid.conditions[place].condition: findings[place] for place in estimates.estimates},
            effect=_effect(estimates, transform),
            at_lowest=_at_lowest(estimates, transform),
            unit={"share": "share of floor to reference", "log": "log ratio"}.get(kind, first.unit if first else ""),
            corrected=corrected,
            margin=size,
            p_bend=_p_bend(estimates, transform) if grid.ordered else float("nan"),
            flat=flat,
            primary=primary,
            expected=claim.expected.get(grid.factor, "") if primary else "",
        )


def _against_margin(taken: ConditionEstimates, scale: Scale, margin: float, kind: str) -> tuple[float, bool]:
    """The margin in the unit of the effect, upwards, and whether a change as large is excluded either way.

    Of squared distances, a margin that is a share m of the distance d at the lowest level lets d^2 come to
    (1 + m)^2 d^2 and (1 - m)^2 d^2: the two tests are of change - ((1 + m)^2 - 1) d^2 < 0 and
    change + (1 - (1 - m)^2) d^2 > 0, contrasts that count how well d^2 is known (from m = 1 on: the last value > 0).
    """
    if kind in ("share", "log"):
        effect, size = _effect(taken, scale), float(np.log1p(margin)) if kind == "log" else margin
        return size, equivalent(effect.shifted(-size), effect.shifted(size))
    at_lowest = _at_lowest(taken, scale)
    up, down = (margin, margin) if kind == "value" else ((1 + margin) ** 2 - 1, 1 - max(1 - margin, 0.0) ** 2)
    sign = np.sign(at_lowest)
    return up * abs(at_lowest), equivalent(_effect(taken, scale, -up * sign), _effect(taken, scale, down * sign))


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
