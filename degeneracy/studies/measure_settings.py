"""The settings of a measure over which a verdict has to hold: its options at every point of a claim's grid."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from degeneracy.analysis import Measure
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.studies.claims import Claim, Claims

MAX_POINTS = 100  # of a grid: each is measured


@dataclass(frozen=True, kw_only=True)
class MeasureSetting:
    """One measure as a level's claim sets it at one point of its grid."""

    level: str
    options: Mapping[str, Any]
    measure: Measure

    @property
    def label(self) -> str:
        """What to call it where it is measured."""
        return f"{self.measure.name} at {setting_name(self.options)}"


def setting_name(options: Mapping[str, Any]) -> str:
    """A point of a grid in words: "rank = 10, weighting = none"."""
    return ", ".join(f"{name} = {value}" for name, value in options.items())


def measure_settings(claims: Claims, measures: Mapping[str, Measure]) -> list[MeasureSetting]:
    """The measures at every point of the claims' grids, of those that are taken.

    Raises:
        UserError: an option that the measure does not have, a value that it refuses, or too many points.
    """
    return [
        MeasureSetting(level=level, options=options, measure=measure)
        for level, claim in claims.by_level.items()
        if claim.robust_over and claim.measure in measures
        for options, measure in _points(claim, measures[claim.measure], f"Study: claims.{level}.robust_over")
    ]


def _points(claim: Claim, measure: Measure, where: str) -> list[tuple[dict[str, Any], Measure]]:
    fields = type(measure).model_fields
    for option, values in claim.robust_over.items():
        if option not in fields:
            raise unknown_name(f"option of {measure.name}", option, fields, where=where)
        if not values or any(value in values[:k] for k, value in enumerate(values)):
            raise UserError(f"{where}: {option} = {list(values)} is wrong: different values are needed, one or more")
    n_points = math.prod(map(len, claim.robust_over.values()))
    if n_points > MAX_POINTS:
        raise UserError(f"{where}: {n_points} settings; at most {MAX_POINTS} are possible, each of which is measured")
    made = []
    for values in itertools.product(*claim.robust_over.values()):
        options = dict(zip(claim.robust_over, values, strict=True))
        try:
            made.append((options, measure.replace(**options)))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return made
