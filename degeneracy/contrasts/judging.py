"""The verdict on every cell: by a corrected p value where it is judged, and held against other settings."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics.resolution import resolved
from degeneracy.analysis.statistics.verdicts import ALPHA, DECIDED, holm, verdict
from degeneracy.contrasts.cells import SCALES, Cell, of_factor
from degeneracy.contrasts.robustness import AtPoint, agreeing, at_points, changing_options, stands
from degeneracy.studies.study_result import StudyResult


@dataclass(frozen=True, kw_only=True)
class PointVerdict:
    """What is said at one point of a measure's grid, as if the study had named it."""

    point: AtPoint
    p_holm: float
    said: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A cell with its verdict."""

    cell: Cell
    p_holm: float  # NaN where it is not judged
    alpha: float  # that each of the cells that are judged together is tested at, at the least
    said: str
    points: tuple[PointVerdict, ...] = ()

    @property
    def p(self) -> float:
        """The p value that the verdict goes by."""
        return self.p_holm if self.cell.primary else self.cell.contrast.effect.p

    @property
    def agreeing(self) -> str:
        """At how many settings of the measure the verdict is that of the study's own, as "8 of 9"; "" without any."""
        if not self.points:
            return ""
        own = verdict_on(self.cell, self.p)
        return f"{agreeing(own, [point.said for point in self.points])} of {len(self.points)}"


def judge(study: StudyResult) -> list[Judged]:
    """All cells of a study with their verdicts, factor by factor."""
    cells = [cell for factor in study.factors for cell in of_factor(study, factor)]
    found: dict[int, Judged] = {}
    for scale in SCALES:
        family = [k for k, cell in enumerate(cells) if cell.primary and cell.scale == scale]
        p_values = np.array([cells[k].contrast.effect.p for k in family])
        alpha = ALPHA / max(int(np.isfinite(p_values).sum()), 1)
        for place, (k, p_holm) in enumerate(zip(family, holm(p_values), strict=True)):
            said = verdict_on(cells[k], p_holm)
            points = tuple(_at_points(study, cells[k], p_values, place)) if np.isfinite(p_values[place]) else ()
            at = [point.said for point in points]
            if said in DECIDED and points and not stands(said, at):
                said = f"depends on {' and '.join(changing_options([one.point.options for one in points], at))}"
            found[k] = Judged(cell=cells[k], p_holm=float(p_holm), alpha=alpha, said=said, points=points)
    plain = [
        Judged(cell=cell, p_holm=float("nan"), alpha=ALPHA, said=verdict_on(cell, cell.contrast.effect.p))
        for cell in cells
    ]
    return [found.get(k, judged) for k, judged in enumerate(plain)]


def _at_points(study: StudyResult, cell: Cell, p_values: Array, place: int) -> Iterator[PointVerdict]:
    """The verdicts at the points of the cell's grid, each corrected with the other cells' own p values."""
    for point in at_points(study, cell):
        family = p_values.copy()
        family[place] = point.cell.contrast.effect.p
        p_holm = float(holm(family)[place])
        yield PointVerdict(point=point, p_holm=p_holm, said=verdict_on(point.cell, p_holm))


def verdict_on(cell: Cell, p: float) -> str:
    """The verdict on a cell by a p value, "" where there is no effect."""
    effect = cell.contrast.effect
    if not np.isfinite(effect.change):
        return ""
    above = all(map(resolved, cell.findings.values()))
    return verdict(effect, p, flat=cell.contrast.is_flat(cell.margin), resolved=above)
