"""What a report says first, in sentences, from the numbers alone.

No direction is stated whose interval includes no difference; what is not there reads '—'.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from degeneracy.analysis.statistics.contrasts import linear_contrast
from degeneracy.analysis.statistics.jackknife import calibrate, untransformed
from degeneracy.measuring.results import Result, finding_of
from degeneracy.reporting import aspects
from degeneracy.reporting import effects as report_effects
from degeneracy.reporting.data import ReportData
from degeneracy.reporting.tables import missing, with_interval
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording import numbers
from degeneracy.wording.conditions import condition_name
from degeneracy.wording.names import full_name, own_cards, said_of
from degeneracy.wording.resolution import not_resolved

SHOWN_IN_SENTENCES = 4  # conditions; of more, the first and the last


def summary(data: ReportData) -> dict[str, Any]:
    """What the report says first: who converged, and each level's primary measure in words."""
    study = data.study
    return {
        "convergence": _convergence(study),
        "levels": [
            _level(study, level, *name, report_effects.sentences(data.effects, level, own_cards(study.results)))
            for level, name in primaries(study).items()
        ],
        "aspects": aspects.sentences(data),
        "missing": len({measure for measure, _, _ in missing(study)}),
    }


def _convergence(study: StudyResult) -> str:
    results = study.results
    given = all(m.status == "given" for r in results for m in r.members)
    total, done = sum(r.n_members for r in results), sum(r.n_converged for r in results)
    conditions = f" in {len(results)} conditions" if len(results) > 1 else ""
    if given:
        return f"{_count(total, 'network')}{conditions} trained elsewhere were given; {done} were measured."
    first = f"{_count(total, 'network')} trained{conditions}; {done} converged and were measured."
    if done == total or len(results) == 1:
        return first
    each = "; ".join(f"{condition_name(r)}: {r.n_converged} of {r.n_members}" for r in _few(results))
    return f"{first} Converged by condition: {each}{_and_more(results)}."


def _level(study: StudyResult, level: str, measure: str, variant: str, effects: Sequence[str]) -> dict[str, Any]:
    own = own_cards(study.results)
    return {
        "level": level,
        "measure": full_name(measure, variant, own),
        "meaning": said_of(measure, "meaning", own),
        "zero": said_of(measure, "zero", own),
        "values": [_value_line(result, measure, variant) for result in _few(study.results)],
        "more": _and_more(study.results),
        "trend": "\n".join(effects) or _trend(study, measure, variant),  # one line per factor
        "floor": said_of(measure, "floor", own),
        "reference": said_of(measure, "reference", own),
    }


def _value_line(result: Result, measure: str, variant: str) -> dict[str, str]:
    finding = finding_of(result, measure, variant)
    line = {
        "condition": condition_name(result),
        "value": numbers.DASH,
        "unit": "",
        "calibrated": "",
        "resolution": "",
        "n": "",
    }
    if finding is None:
        return line
    scaled = calibrate(finding)
    return line | {
        "value": with_interval(finding),
        "unit": finding.unit,
        "calibrated": numbers.with_interval(scaled.value, scaled.low, scaled.high) if np.isfinite(scaled.value) else "",
        "resolution": not_resolved({"": finding}),
        "n": f"n = {result.n_converged}",
    }


def _trend(study: StudyResult, measure: str, variant: str) -> str:
    """The difference between the ends of a single varied factor, its direction only where its interval allows."""
    ends = _ends(study)
    if ends is None:
        return ""
    first, last = ends
    a, b = finding_of(first, measure, variant), finding_of(last, measure, variant)
    if a is None or b is None:
        return ""
    span = f"From {condition_name(first)} to {condition_name(last)}"
    mostly_floor = not_resolved({condition_name(first): a, condition_name(last): b})
    if mostly_floor:
        return f"{span} no trend can be stated: {mostly_floor}."
    labels = [first.measured_members, last.measured_members]
    change = linear_contrast([a.value, b.value], labels, [-1, 1], b.scale)
    low, high = change.interval()
    if not np.isfinite([change.change, low, high]).all():
        return f"{span} the difference has no interval."
    settled = low > 0 or high < 0
    if b.scale == "log":
        ratio = numbers.with_interval(*untransformed(np.array([change.change, low, high]), b.scale))
        if settled:
            return f"{span} it changes by a factor of {ratio}."
        return f"{span} the ratio is {ratio}: its interval includes 1, so no direction can be stated."
    size = numbers.with_interval(change.change, low, high) + (f" {b.unit}" if b.unit else "")
    if settled:
        return f"{span} it is {'higher' if low > 0 else 'lower'}: the difference is {size}."
    return f"{span} the difference is {size}: its interval includes 0, so no direction can be stated."


def _ends(study: StudyResult) -> tuple[Result, Result] | None:
    """The conditions with the lowest and highest value of the one varied factor, or the two that there are."""
    results = study.results
    if len(results) < 2 or len(study.factors) > 1:
        return None
    if len(study.factors) == 1:
        values = [result.factors[study.factors[0]] for result in results]
        if all(isinstance(v, Real) and not isinstance(v, bool) for v in values):
            order = np.argsort(np.array(values, dtype=float), kind="stable")
            return results[order[0]], results[order[-1]]
    return (results[0], results[1]) if len(results) == 2 else None


def _few(results: Sequence[Result]) -> Sequence[Result]:
    return results if len(results) <= SHOWN_IN_SENTENCES else (results[0], results[-1])


def _and_more(results: Sequence[Result]) -> str:
    left = len(results) - len(_few(results))
    return f" ({left} more in the table)" if left else ""


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
