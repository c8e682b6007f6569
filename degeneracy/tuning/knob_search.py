"""The search of `tune`: which strength of a knob to try next, from what was seen. It knows numbers only.

Both ends come first. Where the target lies between two neighbouring values, the monotone cubic through what was seen
says where to look, never behind bisection by more than one halving and a half. Where all values lie on one side of the
target, the middle is tried, then a peak is climbed where there clearly is one; where knobs turn out unusable, the
border of the usable ones is looked for. What is next follows from what was seen alone, so a search that is resumed
goes the same way.

Sources: Fritsch & Carlson (1980), Monotone piecewise cubic interpolation, SIAM Journal on Numerical Analysis 17:238;
the bound on the number of steps is the projection of Oliveira & Takahashi (2020), An enhancement of the bisection
method average performance preserving minmax optimality, ACM Transactions on Mathematical Software 47:5.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from degeneracy.studies.tuning import Status

EDGE = 0.1  # an interpolated knob stays this share of its bracket away from the ends: values are noisy
SLACK = 1.5  # halvings behind bisection, at most; on planted curves 1 to 2 served about as well
NARROW = 1 / 32  # of the span: the border between usable and unusable knobs is not sought more closely
PEAK = 1 / 8  # of the span: nor a peak, which is flat
COARSE = 0.3  # of the span: a knob that is usable nowhere is given up at gaps of this width


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one evaluation found: NaN where the knob is unusable, an interval of NaN where there is none."""

    knob: float
    value: float
    ci_low: float = math.nan
    ci_high: float = math.nan

    @property
    def usable(self) -> bool:
        """Whether it has a value."""
        return math.isfinite(self.value)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval, or the value alone where it has none."""
        return (self.ci_low, self.ci_high) if math.isfinite(self.ci_high - self.ci_low) else (self.value, self.value)

    def side(self, target: float) -> int:
        """1 where the value lies above the target beyond its interval, -1 below, 0 where the interval holds it."""
        low, high = self.interval
        return int(low > target) - int(high < target)

    def reaches(self, target: float, tolerance: float) -> bool:
        """Whether the interval holds the target and the value is near enough, where there are such demands."""
        if not abs(self.value - target) <= tolerance:
            return False
        return self.side(target) == 0 or (math.isnan(self.ci_high - self.ci_low) and math.isfinite(tolerance))


S = TypeVar("S", bound=Seen)
Gap = tuple[Seen, Seen]  # neighbours on the knob's axis


@dataclass(frozen=True, kw_only=True)
class Span:
    """The strengths that a knob may take."""

    low: float
    high: float
    log: bool = False  # search on the logarithm; low > 0
    whole: bool = False  # whole numbers only

    def place(self, knob: float) -> float:
        """Where a knob stands between low (0) and high (1)."""
        if self.log:
            return math.log(knob / self.low) / math.log(self.high / self.low)
        return (knob - self.low) / (self.high - self.low)

    def width(self, gap: Gap) -> float:
        """The share of the span that a gap takes."""
        return self.place(gap[1].knob) - self.place(gap[0].knob)

    def between(self, gap: Gap, share: float) -> float:
        """A knob at this share of the way through a gap, strictly inside and of few digits; NaN where there is none."""
        a, b = gap[0].knob, gap[1].knob
        knob = a * (b / a) ** share if self.log else a + share * (b - a)
        if self.whole:
            knob = min(max(round(knob), a + 1), b - 1)
        elif a < knob < b:
            # Three digits of the distance to the nearer end; + 0.0: no -0.0.
            knob = round(knob, 2 - math.floor(math.log10(min(knob - a, b - knob)))) + 0.0
        return knob if a < knob < b else math.nan

    def middle(self, gaps: Sequence[Gap], *, narrow: float = NARROW) -> float:
        """The middle of the widest gap, of equals the first; NaN where all are narrow."""
        widest = max(gaps, key=self.width, default=None)
        return self.between(widest, 0.5) if widest and self.width(widest) > narrow else math.nan


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[S]):
    """How a search ended."""

    status: Status
    seen: tuple[S, ...]  # in the order of evaluation
    best: S | None  # the one that reached the target, else the nearest; None where no knob was usable


def search(
    evaluate: Callable[[float], S],
    span: Span,
    *,
    target: float,
    tolerance: float = math.inf,
    max_evaluations: int = 8,
) -> Outcome[S]:
    """Look for the knob whose value's interval holds the target.

    Args:
        evaluate: what is found at a knob; called with `span.low` and `span.high` first.
        span: the knobs to choose from.
        target: the value that is wanted, in the unit of the values.
        tolerance: largest distance of the value itself from the target, in the same unit; inf leaves it to the
            interval, and a value that has no interval is judged by it alone.
        max_evaluations: 2 or more.

    Returns:
        "reached", with the nearest value among those that do; "out of reach" where every usable value lay on one side
        of the target beyond its interval and nothing promising was left to try; else "not reached".
    """
    seen: list[S] = []
    knob = span.low
    while math.isfinite(knob) and len(seen) < max_evaluations:
        seen.append(evaluate(knob))
        if len(seen) >= 2 and any(point.reaches(target, tolerance) for point in seen):
            break
        knob = next_knob(seen, span, target)
    usable = [point for point in seen if point.usable]
    reaching = [point for point in usable if point.reaches(target, tolerance)]
    best = min(reaching or usable, key=lambda point: abs(point.value - target), default=None)
    # Two evaluations are the ends alone, and the curve may turn back between them.
    one_sided = len(seen) > 2 and {point.side(target) for point in usable} in ({-1}, {1})
    status: Status = "reached" if reaching else "out of reach" if one_sided else "not reached"
    return Outcome(status=status, seen=tuple(seen), best=best)


def next_knob(seen: Sequence[Seen], span: Span, target: float) -> float:
    """The knob to try next; NaN where there is none worth a try.

    Args:
        seen: what was found so far, `span.low` and `span.high` first, in any order after them.
        span: the knobs to choose from.
        target: the value that is wanted.
    """
    for end in (span.low, span.high):
        if all(point.knob != end for point in seen):
            return end
    gaps = list(pairwise(sorted(seen, key=lambda point: point.knob)))
    usable = [point for point in seen if point.usable]
    bracket = narrowest_bracket(usable, span, target)
    if bracket and bracket in gaps:
        return span.between(bracket, _share(bracket, usable, span, target, n_steps=len(seen) - 2))
    if bracket:  # an unusable knob lies between
        return span.middle([gap for gap in gaps if bracket[0].knob <= gap[0].knob < bracket[1].knob])
    if len(gaps) == 1 or not usable:
        return span.middle(gaps, narrow=COARSE)
    best = min(usable, key=lambda point: abs(point.value - target))
    beside = [gap for gap in gaps if best in gap]
    border = [gap for gap in beside if best.side(target) == 0 or not (gap[0].usable and gap[1].usable)]
    knob = span.middle(border)
    return knob if math.isfinite(knob) else _towards_peak(beside, span, target)


def narrowest_bracket(seen: Sequence[Seen], span: Span, target: float) -> Gap | None:
    """The nearest knobs whose values lie on both sides of the target; None where there are none."""
    usable = sorted((point for point in seen if point.usable), key=lambda point: point.knob)
    brackets = [(a, b) for a, b in pairwise(usable) if (a.value - target) * (b.value - target) < 0]
    return min(brackets, key=span.width, default=None)


def _share(bracket: Gap, usable: Sequence[Seen], span: Span, target: float, *, n_steps: int) -> float:
    """Where in a bracket to try next: the curve's guess, drawn towards the middle as far as need be.

    After k steps bisection leaves 2^-k of the span. A bracket of width w may be left with 2^(SLACK - k) of it at most
    after this one, so the guess is to lie within (2^(SLACK - k) - w)/2 of the middle.
    """
    curve = PchipInterpolator(*zip(*sorted((span.place(p.knob), p.value - target) for p in usable), strict=True))
    low, width = span.place(bracket[0].knob), span.width(bracket)
    guess = (brentq(curve, low, low + width) - low) / width
    room = max((2.0 ** (SLACK - n_steps) / width - 1) / 2, 0.0)
    return float(np.clip(np.clip(guess, 0.5 - room, 0.5 + room), EDGE, 1 - EDGE))


def _towards_peak(beside: Sequence[Gap], span: Span, target: float) -> float:
    """Beside a value that is clearly nearer to the target than both its neighbours: their intervals do not meet.

    All values lie on one side of the target, and a curve that turns back may still touch it near its peak.
    """
    meeting = any(a.interval[0] <= b.interval[1] and b.interval[0] <= a.interval[1] for a, b in beside)
    if len(beside) < 2 or meeting:
        return math.nan
    by_distance = sorted(beside, key=lambda gap: sum(abs(point.value - target) for point in gap))
    return span.middle(by_distance, narrow=PEAK)  # of gaps of one width, the one towards the nearer value
