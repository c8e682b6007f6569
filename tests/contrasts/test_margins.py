"""Margins: a change is held against the share of the value at the lowest level, and what that value is."""

import numpy as np
import pytest
from by_hand import condition, mean_of, spread_of

import degeneracy as dg
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult

NOISE = 0.01 * np.cos(np.arange(8))  # members differ a little


@pytest.mark.parametrize(
    ("lowest", "highest", "share", "says"),
    [
        (1.0, 1.9, 0.5, "up"),  # 0.9 is more than half of 1, and less than half of 1.9
        (1.9, 1.0, 0.6, "flat"),  # 0.9 is less than 60% of 1.9, and more than 60% of 1
        (-1.0, -1.9, 0.5, "down"),
        (-1.9, -1.0, 0.6, "flat"),
    ],
)
def test_a_margin_is_a_share_of_the_value_at_the_lowest_level(
    lowest: float, highest: float, share: float, says: str
) -> None:
    claims = Claims(dynamics={"margin": share})
    results = tuple(
        condition({"a": level}, {"linear_flow": mean_of(value + level * NOISE)}, range(8))
        for level, value in ((1, lowest), (2, highest))
    )
    study = StudyResult(name="s", results=results, claims=claims)
    row = dg.effects(study).iloc[0]
    assert row.effect == pytest.approx(highest - lowest, abs=0.01)
    assert row.margin == pytest.approx(share * abs(lowest), abs=0.01)
    assert row.verdict == says


def test_the_value_at_the_lowest_level_is_a_geometric_mean_where_effects_are_ratios() -> None:
    one = np.arange(8.0) / np.arange(8.0).std(ddof=1)  # sd 1
    results = tuple(
        condition({"a": a, "b": b}, {"ood_log_error_sd": spread_of(sd * one)}, range(8))
        for a, b, sd in ((1, 1, 1.0), (1, 2, 4.0), (2, 1, 3.0), (2, 2, 12.0))
    )
    rows = dg.effects(StudyResult(name="s", results=results)).query("scale == 'value'").set_index("factor")
    assert rows.at_lowest["a"] == pytest.approx(2.0), "sqrt(1 x 4)"
    assert rows.at_lowest["b"] == pytest.approx(3**0.5), "sqrt(1 x 3)"
    assert rows.effect["a"] == pytest.approx(np.log(3))
    assert rows.effect["b"] == pytest.approx(np.log(4))
