"""A verdict that hangs on how its measure is set is caught, and one that does not stands, at stated rates."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from by_hand import X, condition, mean_of, over, spread_of

import degeneracy as dg
from degeneracy.contrasts.effects import ROBUSTNESS_COLUMNS
from degeneracy.contrasts.robustness import changing_options, stands
from degeneracy.measuring.results import GridPoint
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult

GRID = [{"rank": rank, "weighting": weighting} for rank, weighting in product((5, 10, 20), ("variance", "none", "all"))]


def gridded(rng, shift, n: int = 20, **claim) -> StudyResult:
    """Two levels; the value at the second is larger by shift(options). Settings see the same networks: most of what
    differs between networks is common to them."""
    results = []
    for k in (1, 2):
        networks = rng.normal(size=n)
        points = tuple(
            GridPoint(options=point, outcome=mean_of(10 + networks + 0.3 * rng.normal(size=n) + (k - 1) * shift(point)))
            for point in GRID
        )
        own = next(point.outcome for point in points if point.options == GRID[0])
        labels = range(n * k, n * k + n)
        made = condition({"a": k}, {"linear_flow": own}, labels)
        results.append(replace(made, grids={"dynamics": points}))
    return StudyResult(name="s", results=tuple(results), claims=Claims(dynamics=claim))


def by_rank(point) -> float:
    return {5: 1.5, 10: -1.5, 20: 1.5}[point["rank"]]


def test_an_effect_that_flips_with_the_rank_is_caught_and_a_stable_one_stands() -> None:
    rng = np.random.default_rng(0)
    said = {name: [] for name in ("flips", "stable", "nothing")}
    shifts = {"flips": by_rank, "stable": lambda _: 1.5, "nothing": lambda _: 0.0}
    n_studies = 150
    for _ in range(n_studies):
        for name, shift in shifts.items():
            said[name].append(dg.effects(gridded(rng, shift)).verdict[0])
    # An effect of 4.7 standard errors: seen at a point in over 99%.
    assert np.mean([one == "depends on rank" for one in said["flips"]]) > 0.95
    assert "up" not in said["flips"]
    assert np.mean([one == "up" for one in said["stable"]]) > 0.95
    # With no effect at any point a direction stands in 5% at most, and twice the simulation's error of 1.8%.
    assert np.mean([one in ("up", "down") for one in said["nothing"]]) <= 0.085


def test_a_row_by_hand() -> None:
    study = gridded(np.random.default_rng(1), by_rank, expected={"a": "up"})
    row = dg.effects(study).iloc[0]
    assert (row.verdict, row.settings, row.agreement) == ("depends on rank", "6 of 9", "depends")
    assert row.note.startswith("up at 6 of 9 (rank = 5, weighting = variance | rank = 5, weighting = none | ")
    assert "; down at 3 of 9 (rank = 10, weighting = variance | " in row.note
    table = dg.robustness(study)
    assert tuple(table.columns) == ROBUSTNESS_COLUMNS
    assert table.setting.to_list()[:2] == ["rank = 5, weighting = variance", "rank = 5, weighting = none"]
    value = table[table.scale == "value"].set_index("setting")
    assert len(value) == 9
    other = study.results[0].grids["dynamics"][4].outcome, study.results[1].grids["dynamics"][4].outcome
    change = other[1].findings[0].value.value - other[0].findings[0].value.value
    assert value.effect["rank = 10, weighting = none"] == pytest.approx(change)
    assert value.verdict.to_list() == ["up"] * 3 + ["down"] * 3 + ["up"] * 3
    stable = gridded(np.random.default_rng(2), lambda _: 3.0)
    assert dg.effects(stable)[["verdict", "settings", "note"]].iloc[0].tolist() == ["up", "9 of 9", ""]


def test_no_grid_no_rows() -> None:
    study = over({2: X[2], 4: X[4]})
    assert dg.effects(study).settings.eq("").all()
    assert (len(dg.robustness(study)), tuple(dg.robustness(study).columns)) == (0, ROBUSTNESS_COLUMNS)


def test_eight_of_nine_are_enough_and_fewer_are_not() -> None:
    assert stands("up", ["up"] * 8 + ["down"])
    assert not stands("up", ["up"] * 7 + ["unclear"] * 2)
    assert stands("flat", ["flat"] * 3)
    assert not stands("flat", ["flat"] * 7 + ["up"])
    assert stands("up", ["up"] * 16 + ["down"] * 2)


@pytest.mark.parametrize(
    ("verdict", "names"),
    [
        (lambda p: "up" if p["rank"] > 5 else "down", ["rank"]),
        (lambda p: "up" if p["weighting"] == "none" else "flat", ["weighting"]),
        (lambda p: "up" if p["rank"] > 5 and p["weighting"] == "none" else "flat", ["rank", "weighting"]),
        # One point near the border is noise beside an option that changes everything.
        (lambda p: "down" if p["rank"] == 10 else "flat" if p == GRID[0] else "up", ["rank"]),
    ],
)
def test_the_options_along_which_a_verdict_changes_are_named(verdict, names) -> None:
    assert changing_options(GRID, [verdict(point) for point in GRID]) == names


def test_a_setting_is_judged_with_the_other_levels_as_they_are() -> None:
    """Holm's correction of a point: the other level's p value stands beside that of the point."""
    study = gridded(np.random.default_rng(3), lambda p: 0.8 if p == GRID[0] else 0.7)
    spread = np.random.default_rng(4).normal(size=(2, 20))
    results = tuple(
        replace(
            r,
            measured={**r.measured, "ood_log_error_sd": spread_of(x)},
            levels={**r.levels, "ood_log_error_sd": "behavior"},
        )
        for r, x in zip(study.results, spread, strict=True)
    )
    alone, both = dg.robustness(study), dg.robustness(replace(study, results=results))
    p = dg.effects(replace(study, results=results)).query("measure == 'ood_log_error_sd' and scale == 'value'").p.item()
    first = alone[alone.scale == "value"].p_holm.to_numpy()
    expected = [min(1, 2 * each) if each < p else max(each, min(1, 2 * p)) for each in first]
    np.testing.assert_allclose(both[both.scale == "value"].p_holm, expected)


def test_a_setting_without_a_number_is_no_agreement() -> None:
    study = gridded(np.random.default_rng(5), lambda _: 3.0)
    points = study.results[1].grids["dynamics"]
    points = tuple(replace(p, outcome="no number here") if p.options["rank"] == 20 else p for p in points)
    lost = replace(study.results[1], grids={"dynamics": points})
    row = dg.effects(replace(study, results=(study.results[0], lost))).iloc[0]
    assert (row.verdict, row.settings) == ("depends on rank", "6 of 9")
    assert "no number at 3 of 9" in row.note
