"""What is mostly floor: its share by hand, and a bound of what is left that holds at the stated rate."""

from dataclasses import replace

import numpy as np
import pytest
from noisy_halves import corrected_squares

from degeneracy.analysis.measure import Estimate, Finding
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.resolution import floor_share, resolved, share_of_distance, upper_share


def finding(value, floor, reference=None, *, corrected=False) -> Finding:
    return Finding(variant="", value=value, floor=floor, reference=reference, corrected=corrected, scale="linear")


@pytest.mark.parametrize(
    ("value", "floor", "corrected", "share", "above"),
    [
        (2.0, 1.0, False, 0.5, True),
        (2.0, 1.3, False, 0.65, False),
        (1.0, 2.0, False, 2.0, False),
        (0.0, 0.0, False, np.nan, True),  # all the same, and known to be
        (0.0, 1.0, False, np.inf, False),
        (1.0, 0.0, False, 0.0, True),
        (3.0, 1.0, True, 0.5, True),  # sqrt(1 / (3 + 1))
        (1.0, 1.0, True, np.sqrt(0.5), False),
        (-0.5, 1.0, True, np.sqrt(2), False),
        (-2.0, 1.0, True, np.inf, False),
        (0.0, 0.0, True, np.nan, True),
    ],
)
def test_the_floors_share_by_hand(value, floor, corrected, share, above) -> None:
    shown = finding(jackknife.constant(value, 4), jackknife.constant(floor, 4), corrected=corrected)
    np.testing.assert_allclose(floor_share(shown), share)
    assert resolved(shown) == above


def test_what_has_no_floor_is_resolved() -> None:
    shown = finding(jackknife.constant(1.0, 4), None)
    assert np.isnan(floor_share(shown))
    assert resolved(shown)


def test_the_bound_by_hand() -> None:
    spread = np.array([-0.3, 0.0, 0.3])
    value, floor, reference = (
        Estimate(value=5.0, leave_one_out=5 + spread),
        *(jackknife.constant(x, 3) for x in (3.0, 10.0)),
    )
    # sqrt((5^2 - 3^2) / (10^2 - 3^2)) without the interval, whose end t(2) = 2.92 at 95% is further up.
    ratios = ((5 + spread) ** 2 - 9) / 91
    error = np.sqrt(2 / 3 * np.sum((ratios - ratios.mean()) ** 2))
    assert upper_share(finding(value, floor, reference)) == pytest.approx(np.sqrt(16 / 91 + 2.919986 * error))
    squares = replace(finding(value, None, reference), corrected=True)
    error = np.sqrt(2 / 3 * np.sum((0.1 * spread) ** 2))
    assert upper_share(squares) == pytest.approx(np.sqrt(0.5 + 2.919986 * error))
    below = replace(squares, value=Estimate(value=-5.0, leave_one_out=spread - 5))
    assert upper_share(below) == 0.0


@pytest.mark.parametrize(
    ("floor", "reference"),
    [(None, jackknife.constant(9.0, 3)), (jackknife.constant(1.0, 3), None), (jackknife.constant(9.0, 3),) * 2],
)
def test_no_bound_without_a_scale(floor, reference) -> None:
    assert np.isnan(upper_share(finding(jackknife.member_mean([4.0, 5.0, 6.0]), floor, reference)))


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("share", [0.15, 0.4])
def test_the_bound_holds_in_at_least_95_percent_of_ensembles_that_are_mostly_floor(share, corrected) -> None:
    """Root mean squared distances of noisy halves; 16 members, noise as large as untrained networks are apart."""
    rng = np.random.default_rng(7)
    held, linear = 0, 0
    for _ in range(600):
        value, floor = corrected_squares(rng, share * rng.normal(size=(16, 12)), noise=0.6)
        reference, _ = corrected_squares(rng, rng.normal(size=(16, 12)), noise=0.6)
        estimates = [jackknife.pair_mean(value), jackknife.member_mean(floor), jackknife.pair_mean(reference)]
        if not corrected:  # as a distance, with the floor in it
            estimates = [rooted(estimates[0], estimates[1]), rooted(estimates[1]), rooted(estimates[2], estimates[1])]
        shown = finding(*estimates, corrected=corrected)
        assert not resolved(shown)
        held += upper_share(shown) >= share
        linear += jackknife.calibrate(replace(shown, corrected=False), confidence=0.9).high >= share
    assert held / 600 >= 0.93  # 95% less twice the simulation's error of 0.9%
    if not corrected:  # what a plain difference would say: the proof that the correction matters
        assert linear / 600 < 0.75


def rooted(*squares: Estimate) -> Estimate:
    return Estimate(
        value=float(np.sqrt(sum(x.value for x in squares))),
        leave_one_out=np.sqrt(sum(x.leave_one_out for x in squares)),
    )


def test_a_change_of_a_square_as_a_share_of_the_distance() -> None:
    # 4 + 5 = 9, three halves of 2; 4 - 4 = 0; 4 - 8 = -4, a distance of 2 on the other side.
    np.testing.assert_allclose(share_of_distance([5.0, -4.0, -8.0], 4.0), [0.5, -1.0, -2.0])
