"""The search for a knob's strength: planted curves, where the answer is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from degeneracy.tuning.knob_search import NARROW, Outcome, Seen, Span, narrowest_bracket, next_knob, search

Curve = Callable[[float], float]
UNIT = Span(low=0.0, high=1.0)
DECADES = Span(low=1e-3, high=1e3, log=True)


def look(curve: Curve, span: Span, target: float, half: float = 0.05, **given: float) -> Outcome:
    """Search a curve whose intervals reach `half` to both sides."""

    def evaluate(knob: float) -> Seen:
        value = curve(knob)
        return Seen(knob=knob, value=value, ci_low=value - half, ci_high=value + half)

    return search(evaluate, span, target=target, **given)  # type: ignore[arg-type]


def knobs(outcome: Outcome) -> list[float]:
    return [one.knob for one in outcome.seen]


def sigmoid(place: float, width: float) -> Curve:
    return lambda u: 1 / (1 + math.exp(-(u - place) / width))


PLANTED: dict[str, tuple[Curve, Span, float]] = {
    "rising": (lambda u: u, UNIT, 0.37),
    "falling": (lambda u: 5 - 3 * u, UNIT, 3.1),
    "below zero": (lambda u: -2 * u, UNIT, -1.3),
    "steep sigmoid": (sigmoid(0.7, 0.05), UNIT, 0.25),
    "early sigmoid": (sigmoid(0.15, 0.05), UNIT, 0.8),
    "over decades": (lambda k: math.log10(k) / 6 + 0.5, DECADES, 0.61),
    "falling over decades": (lambda k: 1 / (1 + k), DECADES, 0.8),
    "signed knob": (lambda k: math.tanh(3 * k), Span(low=-1.0, high=1.0), 0.4),
    "whole numbers": (lambda k: 10 / k, Span(low=2, high=64, whole=True), 0.6),
    "whole numbers over decades": (lambda k: math.log(k), Span(low=1, high=4096, log=True, whole=True), 5.0),
    "hump": (lambda u: 1 - 4 * (u - 0.4) ** 2, UNIT, 0.75),
    "hump between the three first": (lambda u: math.exp(-(((u - 0.3) / 0.15) ** 2)), UNIT, 0.8),
    "touched at its peak alone": (lambda u: 1 - 4 * (u - 0.3) ** 2, UNIT, 0.98),
    "touched at its bottom alone": (lambda u: 4 * (u - 0.7) ** 2, UNIT, 0.02),
    "valley": (lambda u: 0.2 + abs(u - 0.55), UNIT, 0.3),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_targets_are_reached(name: str) -> None:
    curve, span, target = PLANTED[name]
    found = look(curve, span, target)
    assert found.status == "reached"
    assert len(found.seen) <= 8
    assert knobs(found)[:2] == [span.low, span.high], "both ends first"
    assert found.best is not None
    assert abs(curve(found.best.knob) - target) <= 0.05
    assert len(set(knobs(found))) == len(found.seen), "nothing is evaluated twice"
    if span.whole:
        assert all(knob == int(knob) for knob in knobs(found))


def test_it_stops_at_the_first_interval_that_holds_the_target_once_both_ends_are_seen() -> None:
    assert knobs(look(lambda u: u, UNIT, 0.02)) == [0, 1]
    # Of two that do, the nearer one.
    both = look(lambda u: 0.3 + 0.02 * u, UNIT, 0.31)
    assert (both.status, knobs(both)) == ("reached", [0, 1])
    near = look(lambda u: 0.3 + 0.04 * u, UNIT, 0.33)
    assert near.best is not None
    assert near.best.knob == 1
    # Nearest of all is no answer where its interval excludes the target.
    ends = {
        0: Seen(knob=0, value=0.30, ci_low=0.295, ci_high=0.305),
        1: Seen(knob=1, value=0.35, ci_low=0.25, ci_high=0.45),
    }
    assert search(lambda knob: ends[int(knob)], UNIT, target=0.31).best == ends[1]
    # On a straight line the first guess lies on the target.
    assert knobs(look(lambda u: u, UNIT, 0.4)) == [0, 1, 0.4]
    assert knobs(look(lambda k: math.log10(k) / 6 + 0.5, DECADES, 0.5)) == [1e-3, 1e3, 1]


def test_the_hardest_curve_is_narrowed_almost_as_by_bisection() -> None:
    """A step: n evaluations after the ends leave 2^-n of the span by bisection, here 2^(1.5 - n) at most."""
    for place in np.linspace(0.03, 0.97, 37):
        for target in (0.11, 0.5, 0.93):
            found = look(lambda u, place=place: float(u > place) + 0.001 * u, UNIT, target, half=1e-4)
            assert (found.status, len(found.seen)) == ("not reached", 8)
            bracket = narrowest_bracket(found.seen, UNIT, target)
            assert bracket is not None
            assert bracket[0].knob <= place <= bracket[1].knob
            assert bracket[1].knob - bracket[0].knob <= 2.0 ** (1.5 - 6) * 1.01  # knobs are rounded to 3 digits


def test_guesses_keep_a_tenth_of_the_bracket_from_its_ends() -> None:
    found = look(lambda u: u**9, UNIT, 0.005, half=1e-6, max_evaluations=3)
    assert knobs(found) == [0, 1, 0.1]  # the straight line says 0.005


@pytest.mark.parametrize("target", [-0.5, 1.7])
@pytest.mark.parametrize("curve", [lambda u: u, lambda u: 1 - u, lambda u: 0.5 + 0 * u, sigmoid(0.5, 0.01)])
def test_out_of_reach_is_said_after_the_middle(curve: Curve, target: float) -> None:
    found = look(curve, UNIT, target)
    assert found.status == "out of reach"
    assert knobs(found) == [0, 1, 0.5]
    assert found.best is not None
    assert abs(found.best.value - target) == min(abs(one.value - target) for one in found.seen)


def test_a_peak_under_the_target_is_climbed_as_long_as_it_is_clear() -> None:
    def peak(u: float) -> float:
        return 1 - 4 * (u - 0.3) ** 2

    found = look(peak, UNIT, 1.2)
    assert (found.status, knobs(found)) == ("out of reach", [0, 1, 0.5, 0.25, 0.375])
    assert knobs(look(lambda u: -peak(u), UNIT, -1.2)) == knobs(found)
    # Where the middle is not clearly nearer than the ends, noise may have made the peak.
    assert knobs(look(peak, UNIT, 1.2, half=0.11)) == [0, 1, 0.5]
    rng = np.random.default_rng(0)
    lengths = [len(look(lambda u: rng.normal(0, 0.025), UNIT, 1.0).seen) for _ in range(200)]  # noqa: ARG005
    assert np.mean(lengths) < 3.1


def test_two_evaluations_say_nothing_of_what_lies_between() -> None:
    assert look(lambda u: u, UNIT, 3.0, max_evaluations=2).status == "not reached"


@pytest.mark.parametrize("rise", [1, -1])
def test_noisy_curves(rise: int) -> None:
    """95% intervals over noise: nearly all are reached, and what was reached is near."""
    rng = np.random.default_rng(0)
    reached, errors = [], []
    for _ in range(300):
        place, target = rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.85)
        clean = sigmoid(place, 0.1)

        def evaluate(knob: float, clean: Curve = clean) -> Seen:
            value = rise * clean((math.log10(knob) + 3) / 6) + rng.normal(0, 0.03)
            return Seen(knob=knob, value=value, ci_low=value - 0.06, ci_high=value + 0.06)

        found = search(evaluate, DECADES, target=rise * target)
        reached.append(found.status == "reached")
        if found.status == "reached" and found.best is not None:
            errors.append(abs(clean((math.log10(found.best.knob) + 3) / 6) - target))
    assert np.mean(reached) > 0.97
    # The interval is 0.06 and the noise 0.03 to each side: beyond 0.12 lies a fifth of a percent of the draws.
    assert np.quantile(errors, 0.99) < 0.12


def test_a_tolerance_goes_on_where_a_wide_interval_would_have_done() -> None:
    wide = look(lambda u: u, UNIT, 0.4, half=0.5)
    assert knobs(wide) == [0, 1]
    near = look(lambda u: u, UNIT, 0.4, half=0.5, tolerance=0.02)
    assert near.status == "reached"
    assert near.best is not None
    assert abs(near.best.value - 0.4) <= 0.02
    # A value near the target whose interval excludes it has not reached it.
    sharp = look(lambda u: float(u > 0.5) * 0.02, UNIT, 0.01, half=1e-4, tolerance=0.02)
    assert sharp.status == "not reached"


def test_values_on_one_side_whose_intervals_hold_the_target_are_not_out_of_reach() -> None:
    found = look(lambda u: 0.5 + 0.1 * u, UNIT, 0.45, half=0.1, tolerance=0.01)
    assert (found.status, len(found.seen)) == ("not reached", 7)  # down to the 1/32 next to the nearest
    assert found.best is not None
    assert found.best.knob == 0


def test_without_an_interval_a_value_is_judged_by_the_tolerance() -> None:
    def evaluate(knob: float) -> Seen:
        return Seen(knob=knob, value=knob**2)

    found = search(evaluate, UNIT, target=0.3, tolerance=0.01)
    assert found.status == "reached"
    assert found.best is not None
    assert abs(found.best.value - 0.3) <= 0.01
    assert search(evaluate, UNIT, target=0.3).status == "not reached", "the interval alone would have to hold it"
    assert search(evaluate, UNIT, target=2.0).status == "out of reach"


# --- Unusable knobs -----------------------------------------------------------------------------------------------


def usable_in(low: float, high: float, curve: Curve) -> Curve:
    return lambda u: curve(u) if low <= u <= high else math.nan


def test_where_the_tolerance_is_met_nowhere_the_nearest_value_is_best_whatever_the_intervals() -> None:
    near, wide = Seen(knob=0, value=0.8, ci_low=0.79, ci_high=0.81), Seen(knob=1, value=1.5, ci_low=0.5, ci_high=2.5)
    ends = {0.0: near, 1.0: wide}
    span = Span(low=0.0, high=1.0)
    found = search(lambda knob: ends[knob], span, target=1.0, tolerance=0.1, max_evaluations=2)
    assert (found.status, found.best) == ("not reached", near)
    found = search(lambda knob: ends[knob], span, target=1.0, max_evaluations=2)
    assert (found.status, found.best) == ("reached", wide), "without one, the interval that holds the target"


@pytest.mark.parametrize(
    ("low", "high", "curve", "target"),
    [
        (0.0, 0.4, lambda u: u, 0.3),
        (0.0, 0.4, lambda u: 1 - u, 0.7),
        (0.35, 1.0, lambda u: u, 0.5),
        (0.3, 0.8, lambda u: u, 0.75),
        (0.3, 0.8, lambda u: -u, -0.4),
        (0.0, 0.1, lambda u: 5 * u, 0.35),
    ],
)
def test_the_search_keeps_to_usable_knobs(low: float, high: float, curve: Curve, target: float) -> None:
    found = look(usable_in(low, high, curve), UNIT, target)
    assert found.status == "reached"
    assert found.best is not None
    assert low <= found.best.knob <= high


def test_unusable_knobs_between_the_ends() -> None:
    hole = look(lambda u: math.nan if 0.4 < u < 0.6 else u, UNIT, 0.75)
    assert hole.status == "reached"
    inside = look(lambda u: math.nan if 0.3 < u < 0.7 else u, UNIT, 0.5)
    assert inside.status == "not reached"
    assert len(inside.seen) <= 8


def test_out_of_reach_where_knobs_are_usable() -> None:
    away = look(usable_in(0.0, 0.6, lambda u: u), UNIT, -1.0)  # the nearest value is at the usable end
    assert (away.status, knobs(away)) == ("out of reach", [0, 1, 0.5])
    towards = look(usable_in(0.0, 0.4, lambda u: u), UNIT, 2.0)
    assert towards.status == "out of reach"
    assert towards.best is not None
    assert 0.4 - 2 * NARROW <= towards.best.knob <= 0.4, "the border was looked for first"


def test_knobs_that_are_all_unusable_are_given_up() -> None:
    found = look(lambda u: math.nan * u, UNIT, 0.5)
    assert (found.status, found.best, knobs(found)) == ("not reached", None, [0, 1, 0.5, 0.25, 0.75])


# --- Whole numbers and rounding ------------------------------------------------------------------------------------


def test_whole_numbers_end_where_none_lies_between() -> None:
    found = look(lambda k: float(k), Span(low=2, high=6, whole=True), 3.5)
    assert found.status == "not reached"
    bracket = narrowest_bracket(found.seen, Span(low=2, high=6, whole=True), 3.5)
    assert bracket is not None
    assert [one.knob for one in bracket] == [3, 4]
    assert len(found.seen) == 4
    assert knobs(look(lambda k: float(k), Span(low=2, high=3, whole=True), 9.0)) == [2, 3]


@pytest.mark.parametrize("low", [1e-9, 1.0, 1e7])
@pytest.mark.parametrize("width", [1e-5, 1.0, 1e4])
@pytest.mark.parametrize("log", [True, False])
def test_knobs_lie_strictly_inside_and_have_few_digits(low: float, width: float, log: bool) -> None:
    ends = Seen(knob=low, value=0.0), Seen(knob=low * (1 + width), value=1.0)
    span = Span(low=ends[0].knob, high=ends[1].knob, log=log)
    for share in (0.1, 0.5, 0.9):
        knob = span.between(ends, share)
        assert ends[0].knob < knob < ends[1].knob
        # Three digits of the distance to the nearer end are right to a hundredth of it.
        exact = low * (1 + width) ** share if log else low + share * low * width
        assert abs(knob - exact) <= 0.01 * min(exact - ends[0].knob, ends[1].knob - exact) + 1e-12 * low


def test_a_knob_between_others_reads_well() -> None:
    ends = Seen(knob=0.1, value=0.0), Seen(knob=10.0, value=1.0)
    span = Span(low=0.1, high=10.0, log=True)
    assert [repr(span.between(ends, share)) for share in (0.25, 0.5, 0.75)] == ["0.316", "1.0", "3.16"]
    signed = Span(low=-1.0, high=1.0)
    assert repr(signed.between((Seen(knob=-1.0, value=0.0), Seen(knob=1.0, value=0.0)), 0.5)) == "0.0"


def test_what_is_next_follows_from_what_was_seen_whatever_its_order() -> None:
    curve = sigmoid(0.7, 0.05)
    seen = look(curve, UNIT, 0.25, half=1e-6).seen
    rng = np.random.default_rng(0)
    for n in range(2, len(seen)):
        assert next_knob(seen[:n], UNIT, 0.25) == seen[n].knob
        shuffled = [seen[k] for k in rng.permutation(n)]
        assert next_knob(shuffled, UNIT, 0.25) == seen[n].knob
