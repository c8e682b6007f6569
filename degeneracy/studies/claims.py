"""What a study says beforehand: the measure each level is judged by, the change that matters, the one expected.

[claims]                        # optional, as is everything in it
factors = ["task.channels"]     # whose effects are judged; all that are varied by default

[claims.dynamics]               # likewise behavior and weights
measure = "linear_flow"
variant = "driven"
margin = 0.1                    # a change of under 10% of the value at the factor's lowest level is none
calibrated_margin = 0.05        # likewise of 5% of the way from floor to reference
expected = { "task.channels" = "down" }
robust_over = { rank = [10, 15, 20], n_delays = [1, 2, 3] }  # settings, at 8 of 9 of which the verdict has to hold

[[claims.secondary]]            # further measures of which something was said beforehand, as many as wanted
measure = "dsa"
variant = "driven"
expected = { "task.channels" = "down" }  # margin and calibrated_margin, where they are not written, are the level's

Claims change no network and no measure: they are no part of what names a condition.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pydantic

from degeneracy.analysis import MEASURES, Measure, primary_measures
from degeneracy.analysis.statistics.verdicts import Direction
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.specs import Spec
from degeneracy.measuring.measure import not_taken
from degeneracy.studies.settings import dotted

JUDGED = ("behavior", "dynamics", "weights")  # the levels that are judged
SHOWN_LEVELS = ("dynamics", "weights", "behavior")  # in the order of tables and figures of what was judged


def first_measure(level: str) -> str:
    """The measure that a level is judged by where a study names no other."""
    return primary_measures(level)[0].name


class Claim(Spec):
    """What is said of one level, or of a further measure, before anything is trained."""

    measure: str = pydantic.Field(description="that the level is judged by, or another one")
    variant: str = pydantic.Field("", description="of the measure; by default the one that its card puts first")
    margin: float = pydantic.Field(
        0.0,
        ge=0,
        description="smallest change that matters, as a share of the value at the lowest level; 0: none was written",
    )
    calibrated_margin: float = pydantic.Field(
        0.0, ge=0, description="likewise of the calibrated value, as a share of floor to reference"
    )
    expected: Mapping[str, Direction] = pydantic.Field(default_factory=dict, description="up, down or flat, by factor")
    robust_over: Mapping[str, tuple[Any, ...]] = pydantic.Field(
        default_factory=dict, description="values of options of the measure, at all of which the verdict has to hold"
    )

    @pydantic.field_validator("expected", mode="before")
    @classmethod
    def _dotted_factors(cls, value: Any) -> Any:
        return dotted(value) if isinstance(value, Mapping) else value

    def chosen_variant(self, variants: Iterable[str]) -> str:
        """The variant that is meant, of those a measure has: the one named, else the one that its card puts first."""
        return self.variant or MEASURES.get(self.measure, Measure).chosen_variant(variants)


class Claims(Spec):
    """The claims of a study, a level each."""

    factors: tuple[str, ...] = pydantic.Field((), description="whose effects are judged; () for all")
    behavior: Claim = Claim(measure=first_measure("behavior"))
    dynamics: Claim = Claim(measure=first_measure("dynamics"))
    weights: Claim = Claim(measure=first_measure("weights"))
    secondary: tuple[Claim, ...] = pydantic.Field(
        (),
        description="of other measures: what each is expected to show, judged by its own p value and margins, or those"
        " of its level where it has none",
    )

    @pydantic.field_validator(*JUDGED, mode="before")
    @classmethod
    def _of_the_levels_measure(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        return {"measure": first_measure(str(info.field_name)), **value} if isinstance(value, Mapping) else value

    @property
    def by_level(self) -> dict[str, Claim]:
        """The claim of each level."""
        return {level: getattr(self, level) for level in JUDGED}

    def secondary_of(self, level: str, measure: str, variant: str) -> Claim | None:
        """The secondary claim of a finding, if there is one, with the margins that it is judged by."""
        claim = next((c for c in self.secondary if (c.measure, c.variant) == (measure, variant)), None)
        of_level = self.by_level.get(level)
        if claim is None or of_level is None:
            return claim
        margins = {name: getattr(claim, name) or getattr(of_level, name) for name in ("margin", "calibrated_margin")}
        return claim.replace(**margins)

    def stated(self) -> dict[str, Claim]:
        """The claims that say anything beyond the level's own measure."""
        return {level: c for level, c in self.by_level.items() if c != Claim(measure=first_measure(level))}

    def check(
        self,
        factors: Collection[str],
        measures: Mapping[str, Measure],
        of_behavior: Collection[str],
        held_inputs: Collection[str],
    ) -> None:
        """Refuse names that a study does not have.

        Args:
            factors: those that are varied.
            measures: those that are taken, by name.
            of_behavior: the variants of measures of behavior.
            held_inputs: the constant inputs of the tasks.

        Raises:
            UserError: an unknown factor, measure or variant, or a measure of another level.
        """
        for factor in self.factors:
            if factor not in factors:
                raise unknown_name("factor", factor, factors, where="Study: claims")
        variants = {name: each.known_variants(of_behavior, held_inputs) for name, each in measures.items()}
        stated = {f"claims.{level}": claim for level, claim in self.stated().items()}
        stated |= {f"claims.secondary[{k}]": claim for k, claim in enumerate(self.secondary)}
        for where, claim in stated.items():
            if claim.measure not in measures:
                raise not_taken(claim.measure, measures, f"Study: {where}")
            known = variants[claim.measure]
            if claim.variant and known and claim.variant not in known:
                raise unknown_name("variant", claim.variant, known, where=f"Study: {where}")
            for factor in claim.expected:
                if factor not in (self.factors or factors):
                    raise unknown_name("factor", factor, self.factors or factors, where=f"Study: {where}.expected")
            judged_by = self.secondary_of(measures[claim.measure].level, claim.measure, claim.variant) or claim
            if "flat" in claim.expected.values() and not judged_by.margin:
                raise UserError(
                    f"Study: {where}: flat is expected, which no effect can be called without a margin: write margin,"
                    " the smallest change that matters as a share of the value, such as 0.1"
                )
        for level, claim in self.stated().items():
            if measures[claim.measure].level != level:
                raise UserError(
                    f"Study: claims.{level}: '{claim.measure}' is a measure of {measures[claim.measure].level}"
                )
        self._check_secondary(variants)

    def _check_secondary(self, variants: Mapping[str, Sequence[str]]) -> None:
        """Refuse what a secondary claim cannot say."""
        judged = {
            (claim.measure, claim.chosen_variant(variants.get(claim.measure, ()))): f"claims.{level}"
            for level, claim in self.by_level.items()
        }
        for k, claim in enumerate(self.secondary):
            where, name = f"claims.secondary[{k}]", (claim.measure, claim.variant)
            if not claim.variant:
                choice = ", ".join(variants[claim.measure])
                raise UserError(f"Study: {where}: variant is missing; {claim.measure} has {choice}")
            if claim.robust_over:
                raise UserError(f"Study: {where}: robust_over is for the measure that a level is judged by")
            if name in judged:
                raise UserError(f"Study: {where}: {judged[name]} is of {'/'.join(name)} already")
            judged[name] = where
