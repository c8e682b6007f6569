"""What `tune` is asked: a knob, a measure and a target, checked before anything is trained."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from degeneracy.analysis import MEASURES, Measure
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.measuring.measure import build_measures
from degeneracy.measuring.probe import held_input_names, probe_descriptions
from degeneracy.studies.pilot import kinds
from degeneracy.studies.settings import key_parts, set_field
from degeneracy.studies.study import PARTS, Study
from degeneracy.tuning.knob_search import Span

MAX_EVALUATIONS = 8


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked; the fields are the arguments of `tune`."""

    study: Study
    knob: str
    measure: str
    target: float
    low: float
    high: float
    scale: str
    variant: str
    calibrated: bool
    tolerance: float
    max_evaluations: int

    @property
    def span(self) -> Span:
        """The strengths to choose from: whole numbers alone where the ends of a checked question are `int`."""
        return Span(low=self.low, high=self.high, log=self.scale == "log", whole=isinstance(self.low, int))

    def at(self, strength: float) -> Study:
        """The study with the knob set."""
        settings = self.study.model_dump(mode="json")
        set_field(settings, key_parts(self.knob), strength)
        return Study(**settings)

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What makes it this question and no other, as plain data."""
        settings = self.study.model_dump(mode="json")
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("study", "knob")}
        own["tolerance"] = self.tolerance if math.isfinite(self.tolerance) else None  # JSON knows no infinity
        return own | {name: settings[name] for name in ("options", "seeds", "probe")}

    @cached_property
    def about(self) -> dict[str, Any]:
        """What its networks are, apart from the knob: the same in all questions of a folder."""
        low, high = (self.at(strength).conditions()[0].spec for strength in (self.low, self.high))
        spec = {part: low[part] for part in PARTS}
        set_field(spec, key_parts(self.knob), None)
        companions = max(low.get("companions", []), high.get("companions", []), key=len)
        return {"knob": self.knob, **spec, "companions": companions}


def plain_name(knob: str) -> str:
    """A knob's name in letters that a file's name may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", knob)


def checked_question(question: Question, *, device: str) -> Question:
    """The question with its study reduced to the one measure, and with whole numbers where the knob takes no others.

    Raises:
        UserError: whatever can be wrong in it and be seen before anything is trained on the device.
    """
    factors = [factor for factor in question.study.vary if factor != ".".join(key_parts(question.knob))]
    if factors:
        raise UserError(
            f"tune: the study varies {', '.join(factors)} too, and a knob is tuned in one condition;"
            " take it out: --set vary={} --set claims={}"
        )
    _check_knob(question)
    _check_goal(question)
    study, measure = _with_measure(question.study, question.measure)
    if question.target < 0 and question.measure in MEASURES and not question.calibrated:
        raise UserError(f"tune: target = {question.target:g} is wrong: {question.measure} is never below 0")
    task = study.conditions()[0].task
    of_behavior = tuple(probe_descriptions(task, study.probe))
    known = measure.known_variants(of_behavior, held_input_names(task))
    if question.variant and known and question.variant not in known:
        raise unknown_name("variant", question.variant, known, where=f"tune: {measure.name}")
    low, high = float(question.low) + 0.0, float(question.high) + 0.0  # + 0.0: no -0.0
    question = replace(question, study=study, measure=measure.name, target=float(question.target), low=low, high=high)
    return _with_ends_checked(question, measure, device)


def _check_goal(question: Question) -> None:
    target, tolerance, n_seeds = question.target, question.tolerance, len(question.study.seeds)
    if not math.isfinite(target):
        raise UserError(f"tune: target = {target} is wrong: a finite number is needed")
    if not tolerance > 0:
        raise UserError(f"tune: tolerance = {tolerance} is wrong: a number above 0 is needed")
    if question.max_evaluations not in range(2, MAX_EVALUATIONS + 1):
        raise UserError(f"tune: max_evaluations = {question.max_evaluations} is wrong: 2 to {MAX_EVALUATIONS}")
    if n_seeds < 3 and math.isinf(tolerance):
        raise UserError(f"tune: {n_seeds} seeds are wrong: an interval needs 3 members or more (or set a tolerance)")


def _check_knob(question: Question) -> None:
    knob, low, high, scale = question.knob, question.low, question.high, question.scale
    part, *inner = key_parts(knob)
    if part not in PARTS:
        raise unknown_name("part", part, PARTS, where=f"tune: knob '{knob}'")
    if not inner:
        raise UserError(f"tune: knob '{knob}' is a whole part; name one of its fields, as {knob}.FIELD")
    if scale not in ("linear", "log"):
        raise unknown_name("scale", scale, ("linear", "log"), where="tune")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"tune: low = {low:g} and high = {high:g} are wrong: low < high is needed, both finite")
    if scale == "log" and low <= 0:
        raise UserError(f"tune: low = {low:g} is wrong: a logarithmic scale needs low > 0")


def _with_measure(study: Study, name: str) -> tuple[Study, Measure]:
    """The study with this measure alone, without what it varies and says of others; and the measure."""
    settings = study.model_dump(mode="json")
    known = {name, *build_measures([name])}
    options = {measure: values for measure, values in settings["options"].items() if measure in known}
    reduced = Study(**settings | {"measures": [name], "options": options, "vary": {}, "claims": {}})
    if reduced.pilot.n_networks and kinds(reduced.build_measures()):
        raise UserError(
            f"tune: the study's pilot would choose rank and delays of {name} anew at every strength; set them in"
            f" options.{name}"
        )
    reduced = reduced.replace(pilot={})
    return reduced, next(iter(reduced.build_measures().values()))


def _with_ends_checked(question: Question, measure: Measure, device: str) -> Question:
    """The question, its ends whole numbers where the knob takes no others.

    Raises:
        UserError: the knob is no number, or the study refuses a strength, or the measure or the memory does at an end.
    """
    knob, low, high = question.knob, question.low, question.high
    before = _resolved(question.study, knob)
    if before is not None and not _is_number(before):
        raise UserError(f"tune: knob '{knob}' is no number: it is {before!r} in this study")
    for strength in (low, high):
        end = question.at(strength)
        [condition] = end.conditions()
        condition.check_measures({measure.name: measure}, end.probe)
        condition.check_memory({measure.name: measure}, end.probe, len(end.seeds), device=device)
    taken = _resolved(question.at(low), knob)
    if not _is_number(taken):
        raise UserError(f"tune: knob '{knob}' is no number: set to {low:g} it is {taken!r}")
    if isinstance(taken, int):
        return replace(question, low=int(low), high=int(high))
    question.at(low + 0.381966 * (high - low))  # a knob that refuses fractions says so now
    return question


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _resolved(study: Study, knob: str) -> Any:
    """What a field is in the resolved condition of a study; None where it is not set."""
    value: Any = study.conditions()[0].spec
    for part in key_parts(knob):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
