"""What a report says of each aspect of the dynamics: "dynamics" is no one thing, and its aspects may disagree."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from degeneracy.analysis import MEASURES
from degeneracy.analysis.measure import ASPECTS, Measure
from degeneracy.analysis.statistics.jackknife import calibrate
from degeneracy.contrasts.cells import VALUE
from degeneracy.measuring.results import Result, finding_of
from degeneracy.reporting.data import ReportData
from degeneracy.reporting.effects import brief
from degeneracy.wording.names import full_name
from degeneracy.wording.numbers import number
from degeneracy.wording.resolution import not_resolved


def sentences(data: ReportData) -> list[str]:
    """One sentence per aspect that was measured: what is identical, what is alike, and what a factor does to it.

    Each names its measure; different ones stand side by side and are never put together.
    """
    chosen = {aspect: _measured(data.study.results, aspect) for aspect in ASPECTS}
    return [_sentence(data, aspect, *name) for aspect, name in chosen.items() if name is not None]


def _measured(results: Sequence[Result], aspect: str) -> tuple[str, str] | None:
    """The first measure of an aspect that has findings, and the variant that stands for it."""
    for name, kind in MEASURES.items():
        variants = [f.variant for r in results for f in (r.measured[name].findings if name in r.measured else ())]
        if kind.aspect == aspect and variants:
            return name, kind.chosen_variant(variants)
    return None


def _sentence(data: ReportData, aspect: str, measure: str, variant: str) -> str:
    subject = f"{aspect.capitalize()} ({full_name(measure, variant)})"
    found = {r.condition: f for r in data.study.results if (f := finding_of(r, measure, variant)) is not None}
    values = np.array([finding.value.value for finding in found.values()])
    if not np.isfinite(values).any():
        return f"{subject}: no number."
    if not values.any():
        everywhere = " in every condition" if len(data.study.results) > 1 else ""
        return f"{subject}: identical, all networks{everywhere} are at distance 0."
    scaled = np.array([calibrate(finding).value for finding in found.values()])
    said = []
    unresolved = not_resolved(found)
    if unresolved:
        said.append(unresolved)
    elif np.isfinite(scaled).any():
        low, high = np.nanmin(scaled), np.nanmax(scaled)
        span = number(low) if np.isclose(low, high) else f"{number(low)} to {number(high)}"
        said.append(f"{span} of the way from the floor to {_reference(measure)}")
    said += _trends(data.effects, measure, variant)
    return f"{subject}: {'; '.join(said) or 'differs between networks'}."


def _reference(measure: str) -> str:
    kind = MEASURES.get(measure, Measure)
    return (
        "that of untrained networks" if "untrained" in kind.reference or "before" in kind.reference else "the reference"
    )


def _trends(effects: pd.DataFrame, measure: str, variant: str) -> list[str]:
    """What each factor does to a value, with its interval."""
    mine = (effects["measure"] == measure) & (effects["variant"] == variant) & (effects["scale"] == VALUE)
    return [brief(row) for row in effects[mine].to_dict("records") if np.isfinite(row["effect"])]
