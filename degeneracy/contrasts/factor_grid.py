"""A study as seen from one factor: which conditions have a number, on which scale, and which are left out.

A level at which nothing has a number is left out, then every combination of the other factors that lacks one of
the levels kept, so that what is compared between levels differs in nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from numbers import Real

import numpy as np

from degeneracy.analysis.measure import Estimate
from degeneracy.analysis.statistics.by_name import among
from degeneracy.analysis.statistics.jackknife import Scale, calibrated_estimate, transformed
from degeneracy.measuring.results import Result, finding_of
from degeneracy.wording.factors import factor_name, level_text

MIN_MATCHED = 4  # members per condition whose final losses overlap with the other levels'

Place = tuple[str, int]  # the other factors' levels, and the position among this factor's


@dataclass(frozen=True, kw_only=True)
class FactorGrid:
    """The conditions of a study as seen from one factor."""

    factor: str
    levels: tuple[str, ...]  # from the lowest to the highest; where they are no numbers, as the study lists them
    ordered: bool  # whether that order is theirs
    conditions: Mapping[Place, Result]

    @classmethod
    def of(cls, results: Sequence[Result], factor: str) -> "FactorGrid":
        """The grid over a varied factor."""
        values = {str(result.factors[factor]): result.factors[factor] for result in results}
        numeric = all(isinstance(v, Real) and not isinstance(v, bool) for v in values.values())
        keys = sorted(values, key=values.__getitem__) if numeric else list(values)
        names = [level_text(values[key]) for key in keys]
        return cls(
            factor=factor,
            levels=tuple(names if len(set(names)) == len(names) else keys),
            ordered=numeric or len(keys) == 2,
            conditions={
                (_others(result, factor), keys.index(str(result.factors[factor]))): result for result in results
            },
        )


@dataclass(frozen=True, kw_only=True)
class ConditionEstimates:
    """One estimate per condition, at all levels of all combinations of the other factors that are kept."""

    estimates: Mapping[Place, Estimate]
    labels: Mapping[Place, Sequence[str]]
    notes: tuple[str, ...] = ()  # what was left out, and why

    @property
    def levels(self) -> list[int]:
        """Positions of the levels that are kept."""
        return sorted({level for _, level in self.estimates})


def take(grid: FactorGrid, estimate: Callable[[Result], Estimate | str]) -> ConditionEstimates:
    """The estimates of a grid. Levels without any are left out, then combinations that lack a level."""
    found: dict[Place, Estimate] = {}
    reasons: dict[str, None] = {}
    for place, result in grid.conditions.items():
        one = estimate(result)
        if isinstance(one, str):
            reasons[one] = None
        else:
            found[place] = one
    levels = sorted({level for _, level in found})
    blocks = dict.fromkeys(block for block, _ in grid.conditions)
    whole = [block for block in blocks if all((block, level) in found for level in levels)]
    if len(levels) < 2 or not whole:
        return ConditionEstimates(estimates={}, labels={}, notes=tuple(reasons) or ("under 2 levels have a number",))
    notes = list(reasons)
    lost = [name for k, name in enumerate(grid.levels) if k not in levels]
    if lost:
        notes.append(f"without {factor_name(grid.factor)} = {', '.join(lost)}")
    if len(whole) < len(blocks):
        notes.append(f"over {len(whole)} of {len(blocks)} combinations of the other factors")
    places = [(block, level) for block in whole for level in levels]
    return ConditionEstimates(
        estimates={place: found[place] for place in places},
        labels={place: grid.conditions[place].measured_members for place in places},
        notes=tuple(notes),
    )


def value_of(result: Result, measure: str, variant: str, scale: Scale) -> Estimate | str:
    """A finding's value in one condition, or the reason why it has none that is finite on that scale."""
    finding = finding_of(result, measure, variant)
    if finding is None:
        return result.missing.get(measure, f"{measure} has no variant '{variant}' in {result.condition}")
    if not np.isfinite(transformed(np.array(finding.value.value), scale)):
        return finding.note or f"{result.condition} has no finite value"
    return finding.value


def calibrated_of(result: Result, measure: str, variant: str) -> Estimate | str:
    """A finding's calibrated value in one condition, or the reason why it has none."""
    value, finding = value_of(result, measure, variant, "linear"), finding_of(result, measure, variant)
    return value if isinstance(value, str) or finding is None else calibrated_estimate(finding)


def matched(
    grid: FactorGrid, value: ConditionEstimates, measure: str, variant: str, scale: Scale
) -> ConditionEstimates:
    """The value among members whose final training loss lies in the range that all levels have in common.

    The range is taken within each combination of the other factors, from the largest of the levels' least losses
    to the smallest of their greatest. It is taken as given: the interval does not count that it was found.
    """
    estimates, labels = {}, {}
    for _, places in groupby(value.estimates, key=lambda place: place[0]):
        block = list(places)
        chosen = _common([grid.conditions[place] for place in block])
        if isinstance(chosen, str):
            return ConditionEstimates(estimates={}, labels={}, notes=(chosen,))
        for place, members in zip(block, chosen, strict=True):
            result = grid.conditions[place]
            finding = finding_of(result, measure, variant)
            assert finding is not None, "it has a value"
            one = among(result.measured[measure], finding, members)
            if one is None:
                reason = "the measure keeps nothing from which it could be taken again for some of its members"
                return ConditionEstimates(estimates={}, labels={}, notes=(reason,))
            if not np.isfinite(transformed(np.array(one.value), scale)):
                reason = f"{result.condition} has no finite value among members of matched loss"
                return ConditionEstimates(estimates={}, labels={}, notes=(reason,))
            estimates[place] = one
            labels[place] = [result.measured_members[k] for k in members]
    return ConditionEstimates(estimates=estimates, labels=labels, notes=value.notes)


def _common(results: Sequence[Result]) -> list[list[int]] | str:
    """Positions of the members of each condition whose final loss lies in the conditions' common range."""
    losses = [final_losses(result) for result in results]
    if any(len(own) < result.n_converged for own, result in zip(losses, results, strict=True)):
        return "final training losses are not known"
    low, high = max(min(own.values()) for own in losses), min(max(own.values()) for own in losses)
    chosen = [[k for k, loss in enumerate(own.values()) if low <= loss <= high] for own in losses]
    fewest = min(range(len(results)), key=lambda k: len(chosen[k]))
    if len(chosen[fewest]) < MIN_MATCHED:
        return (
            f"final losses overlap too little: {len(chosen[fewest])} of {results[fewest].n_converged} networks of"
            f" {results[fewest].condition} lie in the common range; {MIN_MATCHED} are needed"
        )
    return chosen


def final_losses(result: Result) -> dict[str, float]:
    """The mean training loss of the last epoch of each measured member, by label; of those for which it is known."""
    losses = {member.label: member.epoch_loss for member in result.members}
    return {label: float(losses[label][-1]) for label in result.measured_members if len(losses.get(label, ()))}


def _others(result: Result, factor: str) -> str:
    return ", ".join(f"{name}={value}" for name, value in result.factors.items() if name != factor)
