"""Effects of what is mostly floor have no verdict, and squared distances are judged as distances."""

import numpy as np
import pytest
from by_hand import SCALES, condition, mean_of
from noisy_halves import corrected_squares

import degeneracy as dg
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics import jackknife
from degeneracy.plots.changes import in_percent
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult

NOISE = 0.01 * np.cos(np.arange(8))


def levels(values: dict, floors: dict, **claim) -> StudyResult:
    results = tuple(
        condition(
            {"a": k},
            {
                "linear_flow": mean_of(
                    x + k * NOISE, floor=jackknife.constant(floors[k], 8), reference=jackknife.constant(4.0, 8)
                )
            },
            range(8),
        )
        for k, x in values.items()
    )
    return StudyResult(name="s", results=results, claims=Claims(dynamics=claim))


@pytest.mark.parametrize(("floor", "says"), [(0.59, "up"), (0.62, "not resolved")])
def test_one_condition_that_is_mostly_floor_leaves_no_verdict_on_any_scale(floor, says) -> None:
    study = levels({1: 1.0, 2: 1.5}, {1: floor, 2: 0.1}, expected={"a": "up"}, margin=0.1)
    table = dg.effects(study).set_index("scale")
    assert table.verdict.to_dict() == dict.fromkeys(SCALES, says)
    assert table.floor_share.to_numpy() == pytest.approx([floor] * 3, rel=0.01)  # of the worse one
    row = table.loc["value"]
    if says == "up":
        assert (row.agreement, row.note) == ("agrees", "")
    else:
        assert row.agreement == "not resolved"
        # sqrt((1.5^2 - 0.1^2) / (4^2 - 0.1^2)) = 37%, the larger of the two and next to no interval about it.
        assert row.note == (
            "not resolved: the floor is 62% of the value in a=1; without it the value is at most 38% of the reference"
            " (one-sided 95%)"
        )


def test_a_change_as_small_as_the_margin_is_not_called_flat_where_it_is_mostly_floor() -> None:
    for floor, says in ((0.1, "flat"), (0.9, "not resolved")):
        assert dg.effects(levels({1: 1.0, 2: 1.0}, {1: floor, 2: floor}, margin=0.1)).verdict.iloc[0] == says


def of_squares(values: dict, **claim) -> StudyResult:
    """Squared distances without their floor, of these distances, known to 1%."""
    results = tuple(
        condition(
            {"a": k},
            {"linear_flow": mean_of(x**2 * (1 + NOISE), floor=jackknife.constant(0.001, 8), corrected=True)},
            range(8),
        )
        for k, x in values.items()
    )
    return StudyResult(name="s", results=results, claims=Claims(dynamics=claim))


@pytest.mark.parametrize(
    ("highest", "margin", "says"),
    [
        (2.3, 0.2, "flat"),  # 15% more: of the square 32%
        (2.5, 0.2, "up"),  # 25% more
        (1.7, 0.2, "flat"),  # 15% less: of the square 28%
        (1.55, 0.2, "down"),  # 22.5% less, and of the square 40%, less than the 44% that a rise of 20% would be
        (0.1, 1.0, "flat"),
    ],
)
def test_margins_of_squares_are_shares_of_the_distance(highest, margin, says) -> None:
    study = of_squares({1: 2.0, 2: highest}, margin=margin)
    row = in_percent(dg.effects(study)).iloc[0]
    assert row.verdict == says
    assert row.corrected
    assert row.margin == pytest.approx(((1 + margin) ** 2 - 1) * 4, rel=0.01)
    assert row.percent == pytest.approx(100 * (highest / 2 - 1), abs=0.1)
    assert (row.margin_low, row.margin_high) == pytest.approx((-100 * margin, 100 * margin))


@pytest.mark.parametrize(("shift", "called"), [(0.0, "flat"), (-0.2, ""), (0.2, "")])
def test_a_change_of_the_distance_as_large_as_the_margin_is_called_flat_at_the_stated_rate(shift, called) -> None:
    rng = np.random.default_rng(3)
    n, said = 200, []
    for _ in range(n):
        results = []
        for k, spread in ((1, 1.0), (2, 1 + shift)):
            squares, floor = corrected_squares(rng, spread * rng.normal(size=(30, 8)), noise=0.3)
            measured = Measured(
                findings=(
                    Finding(
                        variant="driven", value=jackknife.pair_mean(squares), floor=jackknife.member_mean(floor),
                        corrected=True,
                    ),
                ),
            )  # fmt: skip
            results.append(condition({"a": k}, {"linear_flow": measured}, range(30 * k, 30 * k + 30)))
        study = StudyResult(name="s", results=tuple(results), claims=Claims(dynamics={"margin": 0.2}))
        said.append(dg.effects(study).verdict.iloc[0])
    flat = np.mean([one == "flat" for one in said])
    if called:
        assert flat > 0.6
    else:  # 5% and twice the simulation's error of 1.5%
        assert flat <= 0.08
