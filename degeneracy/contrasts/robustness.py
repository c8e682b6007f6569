"""Whether a verdict hangs on how its measure was set: the effect at every point of the grid that a claim names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from degeneracy.analysis.measure import Measured
from degeneracy.contrasts.cells import Cell, cells_of
from degeneracy.contrasts.factor_grid import FactorGrid
from degeneracy.measuring.results import GridPoint, Result
from degeneracy.studies.study_result import StudyResult

NEEDED = 8 / 9  # of the points have to give the verdict that stands

Options = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class AtPoint:
    """The effect at one point of a grid."""

    options: Mapping[str, Any]
    cell: Cell


def at_points(study: StudyResult, cell: Cell) -> list[AtPoint]:
    """The effect of a judged cell at every point of its level's grid; none where the claim has no grid."""
    points: dict[Options, Mapping[str, Any]] = {}
    for result in study.results:
        for point in result.grids.get(cell.level, ()):
            points.setdefault(_key(point.options), point.options)
    made = []
    for key, options in points.items():
        grid = FactorGrid.of([_at_point(result, cell, key) for result in study.results], cell.grid.factor)
        for other in cells_of(grid, study.claims, (cell.level, cell.measure, cell.variant), primary=True):
            if other.scale == cell.scale:
                made.append(AtPoint(options=options, cell=other))
    return made


def _at_point(result: Result, cell: Cell, key: Options) -> Result:
    """A condition with the measure as it is at one point; without it where it was not taken so."""
    at: dict[Options, GridPoint] = {_key(point.options): point for point in result.grids.get(cell.level, ())}
    others = {name: found for name, found in result.measured.items() if name != cell.measure}
    outcome = at[key].outcome if key in at else f"{cell.measure} was not taken at this setting"
    if isinstance(outcome, Measured):
        return replace(result, measured={**others, cell.measure: outcome})
    return replace(result, measured=others, missing={**result.missing, cell.measure: outcome})


def _key(options: Mapping[str, Any]) -> Options:
    return tuple((name, str(value)) for name, value in options.items())


def agreeing(said: str, at: Sequence[str]) -> int:
    """At how many points the verdict is the one that is said."""
    return sum(verdict == said for verdict in at)


def stands(said: str, at: Sequence[str]) -> bool:
    """Whether at least 8 of 9 points give the verdict."""
    return agreeing(said, at) >= NEEDED * len(at) - 1e-9  # 8/9 of 9 is 8


def changing_options(options: Sequence[Mapping[str, Any]], at: Sequence[str]) -> list[str]:
    """The options along which verdicts change, others being equal; all of them where none does so alone.

    Args:
        options: of each point.
        at: the verdict there.
    """
    names = list(options[0])
    changing = []
    for name in names:
        lines: dict[Options, set[str]] = {}
        for point, verdict in zip(options, at, strict=True):
            rest = _key({other: value for other, value in point.items() if other != name})
            lines.setdefault(rest, set()).add(verdict)
        share = np.mean([len(verdicts) > 1 for verdicts in lines.values()])
        changing.append((share, name))
    most = max(share for share, _ in changing)
    # An option along which few lines bend, beside one along which all do, is noise of the points near the border.
    return [name for share, name in changing if share > 0 and share >= most / 2] or names
