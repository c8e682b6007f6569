"""The cells of a study's effects: each finding's contrast over the levels of a factor, on three scales.

One factor at a time, averaged over the levels of the others. Three scales: the value as measured, the calibrated
value, and the value among members whose final training losses overlap between the levels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from degeneracy.analysis.measure import Finding
from degeneracy.analysis.statistics.jackknife import Scale
from degeneracy.analysis.statistics.resolution import floor_share
from degeneracy.contrasts.contrast import Contrast, Kind
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
    contrast: Contrast
    findings: Mapping[str, Finding]  # by condition, of those that are taken
    unit: str
    margin: float  # as the study file says it
    primary: bool
    secondary: bool  # another measure that the study says something of
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
    # A row each of what was said beforehand, whether there is a number or not.
    names |= {
        (result.levels[claim.measure], claim.measure, claim.variant): None
        for claim in study.claims.secondary
        for result in study.results
        if claim.measure in result.levels
    }
    for name in names:
        asked = factor in (study.claims.factors or study.factors)
        yield from cells_of(grid, study.claims, name, primary=asked and chosen.get(name[0]) == name[1:], asked=asked)


def cells_of(
    grid: FactorGrid, claims: Claims, name: tuple[str, str, str], *, primary: bool, asked: bool = True
) -> Iterator[Cell]:
    """The cells of one finding, by level, measure and variant: a scale each.

    Args:
        grid: of the factor and the conditions.
        claims: of the study.
        name: level, measure and variant.
        primary: whether the level is judged by it.
        asked: whether effects of the factor are judged; where they are not, nothing is secondary.
    """
    level, measure, variant = name
    of_its_own = claims.secondary_of(level, measure, variant) if asked and not primary else None
    claim = of_its_own or claims.by_level.get(level, Claim(measure=measure))
    findings = {place: f for place, r in grid.conditions.items() if (f := finding_of(r, measure, variant)) is not None}
    first = next(iter(findings.values()), None)
    log: Scale = first.scale if first else "linear"
    value = take(grid, lambda result: value_of(result, measure, variant, log))
    kind: Kind = "ratio" if log == "log" else "squares" if first and first.corrected else "value"
    taken: dict[str, tuple[ConditionEstimates, Kind]] = {
        VALUE: (value, kind),
        CALIBRATED: (take(grid, lambda result: calibrated_of(result, measure, variant)), "calibrated"),
        MATCHED: (matched(grid, value, measure, variant, log), kind),
    }
    for scale, (estimates, kind) in taken.items():
        units = {"calibrated": "share of floor to reference", "ratio": "log ratio"}
        yield Cell(
            grid=grid,
            level=level,
            measure=measure,
            variant=variant,
            scale=scale,
            contrast=Contrast(estimates, kind),
            findings={grid.conditions[place].condition: findings[place] for place in estimates.estimates},
            unit=units.get(kind, first.unit if first else ""),
            margin=claim.calibrated_margin if scale == CALIBRATED else claim.margin,
            primary=primary,
            secondary=of_its_own is not None,
            expected=claim.expected.get(grid.factor, "") if primary or of_its_own else "",
        )
