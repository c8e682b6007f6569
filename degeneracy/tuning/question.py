"""What `tune` is asked: a knob, a measure and a target, checked before anything is trained."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from degeneracy.analysis import MEASURES, Measure
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.measuring.measure import build_measures
from degeneracy.measuring.probe import probe_descriptions
from degeneracy.studies.settings import key_parts, set_field
from degeneracy.studies.study import PARTS, Study
from degeneracy.tuning.knob_search import Span

MAX_EVALUATIONS = 8


@dataclass(frozen=True, kw_only=True)
class Question:
    """A checked question: what to set, what to measure, and where."""

    plan: Study  # the study with the one measure
    measure: str
    variant: str
    calibrated: bool
    knob: str
    span: Span
    target: float
    tolerance: float
    max_evaluations: int

    def study(self, strength: float) -> Study:
        """The study with the knob set."""
        fields = self.plan.model_dump(mode="json")
        set_field(fields, key_parts(self.knob), strength)
        return Study(**fields)

    @property
    def asked(self) -> dict[str, Any]:
        """What makes it this question and no other, as plain data."""
        return {
            "measure": self.measure,
            "options": self.plan.model_dump(mode="json")["options"],
            "variant": self.variant,
            "calibrated": self.calibrated,
            "target": self.target,
            "tolerance": self.tolerance if math.isfinite(self.tolerance) else None,
            "low": self.span.low,
            "high": self.span.high,
            "scale": "log" if self.span.log else "linear",
            "max_evaluations": self.max_evaluations,
            "seeds": list(self.plan.seeds),
            "probe": self.plan.probe.model_dump(mode="json"),
        }

    @property
    def about(self) -> dict[str, Any]:
        """What its networks are, apart from the knob: the same in all questions of a folder."""
        ends = [self.study(strength).conditions()[0].spec for strength in (self.span.low, self.span.high)]
        spec = {part: ends[0][part] for part in PARTS}
        *inner, last = key_parts(self.knob)
        found = spec
        for part in inner:
            found = found[part]
        del found[last]
        companions = max((one.get("companions", []) for one in ends), key=len)
        return {"knob": self.knob, **spec, "companions": companions}


def plain_name(knob: str) -> str:
    """A knob's name in letters that a file's name may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", knob)


def checked_question(
    plan: Study,
    *,
    knob: str,
    measure: str,
    target: float,
    low: float,
    high: float,
    scale: str,
    variant: str,
    calibrated: bool,
    tolerance: float,
    max_evaluations: int,
) -> Question:
    """The question, arguments as of `tune`.

    Raises:
        UserError: whatever can be wrong in it and be seen before anything is trained.
    """
    others = [factor for factor in plan.vary if factor != ".".join(key_parts(knob))]
    if others:
        raise UserError(
            f"tune: the study varies {', '.join(others)} too, and a knob is tuned in one condition;"
            " take it out: --set vary={} --set claims={}"
        )
    span = _span(knob, low, high, scale)
    _check_goal(target, tolerance, max_evaluations, len(plan.seeds))
    one, taken = _with_measure(plan, measure)
    if target < 0 and measure in MEASURES and not calibrated:
        raise UserError(f"tune: target = {target:g} is wrong: {measure} is never below 0")
    question = Question(
        plan=one,
        measure=taken.name,
        variant=_checked_variant(one, taken, variant),
        calibrated=calibrated,
        knob=knob,
        span=span,
        target=float(target),
        tolerance=float(tolerance),
        max_evaluations=max_evaluations,
    )
    return replace(question, span=_span_of_kind(question, taken))


def _check_goal(target: float, tolerance: float, max_evaluations: int, n_seeds: int) -> None:
    if not math.isfinite(target):
        raise UserError(f"tune: target = {target} is wrong: a finite number is needed")
    if not tolerance > 0:
        raise UserError(f"tune: tolerance = {tolerance} is wrong: a number above 0 is needed")
    if max_evaluations not in range(2, MAX_EVALUATIONS + 1):
        raise UserError(f"tune: max_evaluations = {max_evaluations} is wrong: 2 to {MAX_EVALUATIONS}")
    if n_seeds < 3 and math.isinf(tolerance):
        raise UserError(f"tune: {n_seeds} seeds are wrong: an interval needs 3 members or more (or set a tolerance)")


def _span(knob: str, low: float, high: float, scale: str) -> Span:
    part, *fields = key_parts(knob)
    if part not in PARTS:
        raise unknown_name("part", part, PARTS, where=f"tune: knob '{knob}'")
    if not fields:
        raise UserError(f"tune: knob '{knob}' is a whole part; name one of its fields, as {knob}.FIELD")
    if scale not in ("linear", "log"):
        raise unknown_name("scale", scale, ("linear", "log"), where="tune")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"tune: low = {low:g} and high = {high:g} are wrong: low < high is needed, both finite")
    if scale == "log" and low <= 0:
        raise UserError(f"tune: low = {low:g} is wrong: a logarithmic scale needs low > 0")
    return Span(low=float(low) + 0.0, high=float(high) + 0.0, log=scale == "log")  # + 0.0: no -0.0


def _with_measure(plan: Study, measure: str) -> tuple[Study, Measure]:
    """The study with this measure alone, without what it varies and says of others; and the measure."""
    fields = plan.model_dump(mode="json")
    known = {measure, *build_measures([measure])}
    options = {name: given for name, given in fields["options"].items() if name in known}
    fields |= {"measures": [measure], "options": options, "vary": {}, "claims": {}}
    one = Study(**fields)
    return one, next(iter(one.build_measures().values()))


def _checked_variant(plan: Study, measure: Measure, variant: str) -> str:
    """The variant, where it is known beforehand which ones there are."""
    task = plan.conditions()[0].task
    of_behavior = tuple(probe_descriptions(task, plan.probe))
    known = measure.known_variants(of_behavior)
    if variant and known and variant not in known:
        raise unknown_name("variant", variant, known, where=f"tune: {measure.name}")
    return variant


def _span_of_kind(question: Question, measure: Measure) -> Span:
    """The span, in whole numbers where the knob takes no others.

    Raises:
        UserError: the knob is no number, or the study refuses a strength, or the measure's options at it.
    """
    knob, span = question.knob, question.span
    before = _resolved(question.plan, knob)
    if before is not None and not _is_number(before):
        raise UserError(f"tune: knob '{knob}' is no number: it is {before!r} in this study")
    for strength in (span.low, span.high):
        [condition] = question.study(strength).conditions()
        condition.check_measures({measure.name: measure}, question.plan.probe)
    found = _resolved(question.study(span.low), knob)
    if not _is_number(found):
        raise UserError(f"tune: knob '{knob}' is no number: set to {span.low:g} it is {found!r}")
    if isinstance(found, int):
        return replace(span, low=int(span.low), high=int(span.high), whole=True)
    question.study(span.low + 0.381966 * (span.high - span.low))  # a knob that refuses fractions says so now
    return span


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _resolved(plan: Study, knob: str) -> Any:
    """What a field is in the resolved condition of a study; None where it is not set."""
    found: Any = plan.conditions()[0].spec
    for part in key_parts(knob):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
