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

from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from degeneracy.studies.tuning import Status

Gap = tuple["Seen", "Seen"]  # neighbours on the knob's axis

EDGE = 0.1  # an interpolated knob stays this share of its bracket away from the ends: values are noisy
SLACK = 1.5  # halvings behind bisection, at most; on planted curves 1 to 2 served about as well
NARROW = 1 / 32  # of the span: the border between usable and unusable knobs is not sought more closely
PEAK = 1 / 8  # of the span: nor a peak, which is flat
COARSE = 0.3  # of the span: a knob that is usable nowhere is given up at gaps of this width


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


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one evaluation found: NaN where the knob is unusable, an interval of NaN where there is none."""

    knob: float
    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def usable(self) -> bool:
        """Whether it has a value."""
        return math.isfinite(self.value)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval, or the value alone where it has none."""
        return (self.low, self.high) if math.isfinite(self.high - self.low) else (self.value, self.value)

    def side(self, target: float) -> int:
        """1 where the value lies above the target beyond its interval, -1 below, 0 where the interval holds it."""
        low, high = self.interval
        return int(low > target) - int(high < target)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a search ended."""

    status: Status
    seen: tuple[Seen, ...]  # in the order of evaluation
    best: Seen | None  # the one that reached the target, else the nearest; None where no knob was usable


def search(
    evaluate: Callable[[float], Seen],
    span: Span,
    *,
    target: float,
    tolerance: float = math.inf,
    max_evaluations: int = 8,
) -> Outcome:
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
    seen: list[Seen] = []
    knob = span.low
    while math.isfinite(knob) and len(seen) < max_evaluations:
        seen.append(evaluate(knob))
        if len(seen) >= 2 and any(_hits(one, target, tolerance) for one in seen):
            break
        knob = next_knob(seen, span, target)
    return Outcome(status=_status(seen, target, tolerance), seen=tuple(seen), best=_best(seen, target, tolerance))


def next_knob(seen: Sequence[Seen], span: Span, target: float) -> float:
    """The knob to try next; NaN where there is none worth a try.

    Args:
        seen: what was found so far, `span.low` and `span.high` first, in any order after them.
        span: the knobs to choose from.
        target: the value that is wanted.
    """
    for end in (span.low, span.high):
        if all(one.knob != end for one in seen):
            return end
    points = sorted(seen, key=lambda one: one.knob)
    usable = [one for one in points if one.usable]
    bracket = narrowest_bracket(usable, span, target)
    if bracket:
        inside = [gap for gap in pairwise(points) if bracket[0].knob <= gap[0].knob < bracket[1].knob]
        if len(inside) == 1:
            return span.between(bracket, _share(bracket, usable, span, target, n_steps=len(seen) - 2))
        return _halved(inside, span)  # an unusable knob lies between
    if len(points) == 2 or not usable:
        return _halved(list(pairwise(points)), span, narrow=COARSE)
    best = min(usable, key=lambda one: abs(one.value - target))
    border = [
        gap
        for gap in pairwise(points)
        if best in gap and (best.side(target) == 0 or not (gap[0].usable and gap[1].usable))
    ]
    knob = _halved(border, span)
    return knob if math.isfinite(knob) else _towards_peak(points, best, span, target)


def narrowest_bracket(seen: Sequence[Seen], span: Span, target: float) -> Gap | None:
    """The nearest knobs whose values lie on both sides of the target; None where there are none."""
    usable = sorted((one for one in seen if one.usable), key=lambda one: one.knob)
    brackets = [(a, b) for a, b in pairwise(usable) if (a.value - target) * (b.value - target) < 0]
    return min(brackets, key=lambda gap: _width(gap, span)) if brackets else None


def _width(gap: Gap, span: Span) -> float:
    return span.place(gap[1].knob) - span.place(gap[0].knob)


def _halved(gaps: Sequence[Gap], span: Span, *, narrow: float = NARROW) -> float:
    """The middle of the widest gap; NaN where all are narrow."""
    wide = [gap for gap in gaps if _width(gap, span) > narrow]
    return span.between(max(wide, key=lambda gap: _width(gap, span)), 0.5) if wide else math.nan


def _share(bracket: Gap, usable: Sequence[Seen], span: Span, target: float, *, n_steps: int) -> float:
    """Where in a bracket to try next: the curve's guess, drawn towards the middle as far as need be.

    After k steps bisection leaves 2^-k of the span. A bracket of width w may be left with 2^(SLACK - k) of it at most
    after this one, so the guess is to lie within (2^(SLACK - k) - w)/2 of the middle.
    """
    curve = PchipInterpolator([span.place(one.knob) for one in usable], [one.value - target for one in usable])
    low, width = span.place(bracket[0].knob), _width(bracket, span)
    guess = (brentq(curve, low, low + width) - low) / width
    room = max((2.0 ** (SLACK - n_steps) / width - 1) / 2, 0.0)
    share = min(max(guess, 0.5 - room), 0.5 + room)
    return min(max(share, EDGE), 1 - EDGE)


def _towards_peak(points: Sequence[Seen], best: Seen, span: Span, target: float) -> float:
    """Beside a value that is clearly nearer to the target than its neighbours: their intervals do not meet.

    All values lie on one side of the target, and a curve that turns back may still touch it near its peak.
    """
    k = points.index(best)
    near = points[max(k - 1, 0) : k + 2]
    if len(near) < 3 or any(_meet(one, best) for one in near if one is not best):
        return math.nan
    by_distance = sorted(pairwise(near), key=lambda gap: sum(abs(one.value - target) for one in gap))
    return _halved(by_distance, span, narrow=PEAK)  # of gaps of one width, the one towards the nearer value


def _meet(one: Seen, other: Seen) -> bool:
    """Whether the intervals of two values meet."""
    (a, b), (c, d) = one.interval, other.interval
    return a <= d and c <= b


def _hits(one: Seen, target: float, tolerance: float) -> bool:
    if not one.usable or abs(one.value - target) > tolerance:
        return False
    return one.side(target) == 0 or (math.isnan(one.high - one.low) and math.isfinite(tolerance))


def _best(seen: Sequence[Seen], target: float, tolerance: float) -> Seen | None:
    """The nearest value among those that reach the target, else among all."""
    hits = [one for one in seen if _hits(one, target, tolerance)]
    there = hits or [one for one in seen if one.usable]
    return min(there, key=lambda one: abs(one.value - target)) if there else None


def _status(seen: Sequence[Seen], target: float, tolerance: float) -> Status:
    if any(_hits(one, target, tolerance) for one in seen):
        return "reached"
    sides = {one.side(target) for one in seen if one.usable}
    # Two evaluations are the ends alone, and the curve may turn back between them.
    return "out of reach" if len(sides) == 1 and 0 not in sides and len(seen) > 2 else "not reached"
