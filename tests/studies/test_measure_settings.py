"""`robust_over`: the settings of a measure at which a verdict has to hold, and the mistakes there are in them."""

import pytest
from small_runs import tiny

import degeneracy as dg
from degeneracy.core.errors import UserError

MEASURES = ["linear_flow", "procrustes"]


def test_the_grid_is_every_combination_beside_the_measures_own_options() -> None:
    study = tiny(
        measures=MEASURES,
        options={"linear_flow": {"n_starts": 4}},
        claims={"dynamics": {"robust_over": {"rank": [2, 4], "weighting": ["variance", "none"]}}},
    )
    settings = study.measure_settings()
    assert [dict(one.options) for one in settings] == [
        {"rank": rank, "weighting": weighting} for rank in (2, 4) for weighting in ("variance", "none")
    ]
    assert {one.measure.n_starts for one in settings} == {4}
    assert [one.measure.rank for one in settings] == [2, 2, 4, 4]
    assert settings[1].label == "linear_flow at rank = 2, weighting = none"
    assert tiny(measures=MEASURES, claims={"dynamics": {}}).measure_settings() == []


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"rnak": [1]}, r"claims.dynamics.robust_over: unknown option of linear_flow 'rnak'; did you mean 'rank'\?"),
        ({"rank": [0]}, r"claims.dynamics.robust_over: LinearFlow: rank = 0 is wrong"),
        ({"weighting": ["varance"]}, r"robust_over: LinearFlow: weighting"),
        ({"rank": []}, r"rank = \[\] is wrong: different values are needed, one or more"),
        ({"rank": [2, 2]}, r"rank = \[2, 2\] is wrong: different values are needed"),
        ({"rank": list(range(1, 102))}, r"101 settings; at most 100 are possible"),
    ],
)
def test_a_mistake_in_a_grid_is_one_line(grid, says) -> None:
    with pytest.raises(UserError, match=says) as caught:
        tiny(measures=MEASURES, claims={"dynamics": {"robust_over": grid}})
    assert "\n" not in str(caught.value)


def test_claims_of_a_measure_that_is_not_taken_have_no_settings() -> None:
    with pytest.raises(UserError, match="not among the measures to take"):
        tiny(measures=["procrustes"], claims={"dynamics": {"robust_over": {"rank": [2]}}})
    assert dg.Claim(measure="procrustes").robust_over == {}
