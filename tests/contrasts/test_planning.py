"""Plans from a pilot: what its numbers of networks show in simulated studies, and tables as text."""

import numpy as np
import pandas as pd
import pytest
from by_hand import X, condition, mean_of, over, spread_of

import degeneracy as dg
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.power import equivalence_errors, visible_errors
from degeneracy.cli.text import plan_text
from degeneracy.core.errors import UserError
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult


def test_a_plan_by_hand() -> None:
    study = over({2: X[2], 4: X[4]}, dynamics={"margin": 0.1})
    table = dg.plan(study, [6, 24])
    assert table[["measure", "scale", "n_pilot", "margin"]].drop_duplicates().to_numpy().tolist() == [
        ["linear_flow", "value", 6, 0.1]
    ]
    error = (X[4] - X[2]).std(ddof=1) / np.sqrt(6)
    expected = [visible_errors(n - 1) * error * np.sqrt(6 / n) / X[2].mean() for n in (6, 24)]
    np.testing.assert_allclose(table.smallest_visible, expected)
    for margin, n in zip(table.flat_margin, (6, 24), strict=True):
        sides = [(X[4] - (1 + k) * X[2]).std(ddof=1) / np.sqrt(n) for k in (margin, -margin)]
        # to within the 1e-4 of the search
        assert margin * X[2].mean() == pytest.approx(equivalence_errors(n - 1) * max(sides), abs=1e-3)
    row = dg.effects(study).iloc[0]
    assert row.smallest_visible == pytest.approx(expected[0] * X[2].mean())


def test_what_is_judged_together_shares_the_level() -> None:
    results = tuple(
        condition({"a": k}, {"linear_flow": mean_of(x), "ood_log_error_sd": spread_of(x)}, range(6))
        for k, x in ((1, X[2]), (2, X[4]))
    )
    table = dg.plan(StudyResult(name="s", results=results), [6])
    alone = dg.plan(over({1: X[2], 2: X[4]}, factor="a"), [6])
    first = table.set_index("measure").smallest_visible["linear_flow"]
    ratio = visible_errors(5, 0.025) / visible_errors(5)
    assert first == pytest.approx(alone.smallest_visible[0] * ratio)
    logs = np.log(1 + table.set_index("measure").smallest_visible["ood_log_error_sd"])
    row = dg.effects(StudyResult(name="s", results=results)).query("measure == 'ood_log_error_sd'").iloc[0]
    assert logs == pytest.approx(row.smallest_visible)


def test_changes_of_squares_are_shares_of_the_distance() -> None:
    results = tuple(
        condition({"a": k}, {"linear_flow": mean_of(x, floor=jackknife.constant(0.0, 6), corrected=True)}, range(6))
        for k, x in ((1, X[2]), (2, X[4]))
    )
    squares = dg.plan(StudyResult(name="s", results=results), [50])
    plain = dg.plan(over({1: X[2], 2: X[4]}, factor="a"), [50])
    assert (1 + squares.smallest_visible[0]) ** 2 - 1 == pytest.approx(plain.smallest_visible[0])
    # Downwards a margin of m lets the square fall by 1 - (1 - m)^2 alone, which is what limits it.
    assert 1 - (1 - squares.flat_margin[0]) ** 2 == pytest.approx(plain.flat_margin[0], rel=0.05)


def test_as_many_networks_as_planned_decide_at_the_stated_rate() -> None:
    """A pilot of 40 whose standard error is the true one: the number said to decide does, in 80% or more."""
    rng = np.random.default_rng(5)
    pilot = over({1: spread(rng, 40, 10.0), 2: spread(rng, 40, 10.0)}, dynamics={"margin": 0.05})
    assert dg.effects(pilot).verdict[0] == "unclear"
    note = dg.effects(pilot).note[0]
    n = int(note.split("about ")[1].split()[0])
    assert "would tell a change as large as the margin from none (80% power)" in note
    called: dict[float, list[str]] = {10.0: [], 10.5: []}
    for _ in range(200):
        for high, said in called.items():
            study = over({1: spread(rng, n, 10.0), 2: spread(rng, n, high)}, dynamics={"margin": 0.05})
            said.append(dg.effects(study).verdict[0])
    # 80% less three times the simulation's error of 2.8%
    assert np.mean([said == "flat" for said in called[10.0]]) > 0.71
    assert np.mean([said == "up" for said in called[10.5]]) > 0.71
    fewer = over({1: spread(rng, n // 3, 10.0), 2: spread(rng, n // 3, 10.5)}, dynamics={"margin": 0.05})
    assert n // 3 < dg.plan(fewer, [n]).n_members[0]


def spread(rng: np.random.Generator, n: int, mean: float) -> np.ndarray:
    x = rng.normal(size=n)
    return mean + 2 * (x - x.mean()) / x.std(ddof=1) + 2 / np.sqrt(n) * rng.normal()


def test_without_a_margin_the_estimate_is_what_would_be_shown() -> None:
    note = dg.effects(over({2: X[2], 3: X[2][::-1] + 0.05})).note[0]
    assert "networks per level would show a change as large as the one estimated" in note
    assert "over 10,000 networks" in dg.effects(over({2: X[2], 3: X[2][::-1] + 1e-4})).note[0]


def test_what_is_mostly_floor_is_told_to_need_trials() -> None:
    floor = jackknife.constant(2.9, 6)
    results = tuple(
        condition({"a": k}, {"linear_flow": mean_of(x, floor=floor)}, range(6)) for k, x in ((1, X[2]), (2, X[4]))
    )
    table = dg.plan(StudyResult(name="s", results=results, claims=Claims()), [16])
    assert table[["smallest_visible", "flat_margin"]].isna().all(axis=None)
    assert table.note[0].startswith("not resolved: the floor is 9")
    text = plan_text(table)
    assert "\N{EM DASH}, \N{EM DASH}" in text
    assert "linear_flow, driven (value): not resolved" in text


def test_a_plan_as_text_has_both_numbers_for_each_number_of_networks() -> None:
    table = dg.plan(over({2: X[2], 4: X[4]}, dynamics={"margin": 0.1}), [16, 50])
    head, _, line = plan_text(table).splitlines()
    assert "n = 16: seen, flat in" in head
    for row in table.itertuples():
        assert f"{100 * row.smallest_visible:.3g}%, {100 * row.flat_margin:.3g}%" in line
    assert "10%" in line


@pytest.mark.parametrize(
    ("study", "networks", "says"),
    [
        (over({2: X[2]}), [16], "no measure that is judged has a number in two levels"),
        (StudyResult(name="s", results=(condition({}, {}, ()),)), [16], "varies nothing"),
        (over({2: X[2], 4: X[4]}), [2], "3 or more each"),
        (over({2: X[2], 4: X[4]}), [], "numbers per level are needed"),
        (over({2: X[2], 4: X[4]}), [16.5], "numbers per level are needed"),
    ],
)
def test_a_plan_of_nothing_is_one_line(study, networks, says) -> None:
    with pytest.raises(UserError, match=says):
        dg.plan(study, networks)


def test_a_pilot_without_an_interval_says_what_is_needed() -> None:
    table = dg.plan(over({2: X[2][:2], 4: X[4][:2]}), [16])
    assert table.note[0].startswith("the pilot gives no interval")
    assert isinstance(table, pd.DataFrame)
