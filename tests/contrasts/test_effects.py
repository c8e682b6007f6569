"""Effects of a study's factors: rows by hand, several factors, what is missing."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import SCALES, X, condition, factorial, mean_of, over, spread_of
from scipy import stats

import degeneracy as dg
from degeneracy.analysis.measure import Measured, nan_finding
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.contrasts import bends, joint_p, linear_contrast, trend_weights
from degeneracy.analysis.statistics.verdicts import holm
from degeneracy.contrasts.effects import COLUMNS
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult


def test_a_row_by_hand() -> None:
    study = over({8: X[8], 2: X[2], 16: X[16], 4: X[4]}, dynamics={"margin": 0.1})  # in any order
    row = dg.effects(study).iloc[0]
    weights = [-0.9, -0.3, 0.3, 0.9]  # of four ranks
    each = sum(w * X[level] for w, level in zip(weights, (2, 4, 8, 16), strict=True))
    assert tuple(row.index) == COLUMNS
    assert (row.factor, row.lowest, row.highest, row.n_levels) == ("task.channels", "2", "16", 4)
    assert (row.level, row.measure, row.variant, row.scale) == ("dynamics", "linear_flow", "driven", "value")
    assert row.effect == pytest.approx(each.mean())
    half = 2.570582 * each.std(ddof=1) / np.sqrt(6)  # t(5) at 97.5%
    assert (row.ci_low, row.ci_high) == pytest.approx((each.mean() - half, each.mean() + half))
    assert row.at_lowest == pytest.approx(X[2].mean())
    assert row.margin == pytest.approx(0.1 * X[2].mean())
    assert (row.verdict, row.primary, row.n_members, row.note) == ("up", True, 6, "")
    assert row.p_holm == row.p < 0.05  # the only primary cell


@pytest.mark.parametrize("n_second", [6, 4])
def test_two_conditions_have_one_interval_whoever_is_asked(n_second: int) -> None:
    study = over({2: X[2], 4: X[4][:n_second]})
    row, compared = dg.effects(study).iloc[0], dg.compare(*study.results).iloc[0]
    assert (compared.difference, compared.ci_low, compared.ci_high) == (row.effect, row.ci_low, row.ci_high)
    assert np.isfinite(row.ci_low)


def test_levels_on_no_line_are_said_to_be() -> None:
    rng = np.random.default_rng(0)
    hill = {level: rng.normal(height, 0.3, 10) for level, height in {1: 2.0, 2: 2.6, 3: 2.5, 4: 2.1}.items()}
    row = dg.effects(over(hill)).iloc[0]
    estimates = [jackknife.member_mean(x) for x in hill.values()]
    labels = [[str(k) for k in range(10)]] * 4
    assert row.p_bend == pytest.approx(joint_p(estimates, labels, bends(range(4))))
    assert row.p_bend < 0.05 < row.p
    assert "the levels do not lie on a line" in row.note
    assert np.isnan(dg.effects(over({1: hill[1], 2: hill[2]})).iloc[0].p_bend), "two levels make a line"
    unordered = dg.effects(over({"a": hill[1], "b": hill[2], "c": hill[3]}, factor="network.cell")).iloc[0]
    assert np.isnan(unordered.p_bend), "no order, no line"


def test_other_factors_whose_levels_have_one_name_stay_apart() -> None:
    rng = np.random.default_rng(2)
    tasks = [{"name": "flip_flop", "channels": 1}, {"name": "flip_flop", "channels": 3}]
    x = {(k, size): rng.normal(k + size, 0.3, 6) for k in (0, 1) for size in (6, 12)}
    results = tuple(
        condition({"task": tasks[k], "network.hidden_size": size}, {"linear_flow": mean_of(one)}, range(6))
        for (k, size), one in x.items()
    )
    table = dg.effects(StudyResult(name="s", results=results)).set_index(["factor", "scale"])
    both = np.mean([(x[k, 12] - x[k, 6]).mean() for k in (0, 1)])
    assert table.loc[("network.hidden_size", "value"), "effect"] == pytest.approx(both)


def test_the_bend_of_one_factor_is_averaged_over_another() -> None:
    rng = np.random.default_rng(1)
    blocks = {(a, b): rng.normal(a * b, 0.5, 9) for b in (1, 2) for a in (1, 2, 3)}
    results = tuple(
        condition({"task.channels": a, "network.gamma": b}, {"linear_flow": mean_of(x)}, range(9))
        for (a, b), x in blocks.items()
    )
    table = dg.effects(StudyResult(name="s", results=results)).set_index(["factor", "scale"])
    each = sum(blocks[1, b] - 2 * blocks[2, b] + blocks[3, b] for b in (1, 2))
    t = each.mean() / (each.std(ddof=1) / 3)
    row = table.loc[("task.channels", "value")]
    assert row.p_bend == pytest.approx(2 * stats.t.sf(abs(t), 8))


def test_members_are_counted_in_the_smallest_condition() -> None:
    row = dg.effects(over({2: X[2], 3: X[4][:5], 4: X[8]})).iloc[0]
    assert row.n_members == 5


def test_a_study_that_varies_nothing_has_no_effects() -> None:
    for study in (
        over({2: X[2]}),
        StudyResult(name="s", results=(condition({}, {"linear_flow": mean_of(X[2])}, range(6)),)),
    ):
        table = dg.effects(study)
        assert (len(table), tuple(table.columns)) == (0, COLUMNS)


def test_on_the_log_scale_effect_and_margin_are_logarithms() -> None:
    rng = np.random.default_rng(0)
    spreads = {2: rng.normal(size=8), 3: 3 * rng.normal(size=8)}
    results = tuple(condition({"a": k}, {"ood_log_error_sd": spread_of(x)}, range(8)) for k, x in spreads.items())
    study = StudyResult(name="s", results=results, claims=Claims(behavior={"margin": 0.2}))
    row = dg.effects(study).iloc[0]
    assert row.effect == pytest.approx(np.log(spreads[3].std() / spreads[2].std()))
    assert row.margin == pytest.approx(np.log(1.2))
    assert (row.unit, row.at_lowest) == ("log ratio", pytest.approx(spreads[2].std(ddof=1)))
    assert row.primary, "the first variant that is out of distribution"


def test_the_calibrated_scale_has_its_own_effect_and_margin() -> None:
    values = {2: X[2], 3: X[4]}
    results = tuple(
        condition(
            {"a": k},
            {"linear_flow": mean_of(x, floor=jackknife.constant(1.0, 6), reference=jackknife.constant(5.0, 6))},
            range(6),
        )
        for k, x in values.items()
    )
    study = StudyResult(name="s", results=results, claims=Claims(dynamics={"calibrated_margin": 0.07}))
    plain, calibrated = (dg.effects(study).set_index("scale").loc[scale] for scale in SCALES[:2])
    assert calibrated.effect == pytest.approx(plain.effect / 4)
    assert calibrated.ci_low == pytest.approx(plain.ci_low / 4)
    assert (calibrated.margin, plain.margin) == (0.07, 0.0)
    assert (calibrated.unit, calibrated.primary) == ("share of floor to reference", True)
    without = dg.effects(over({2: X[2], 3: X[4]})).set_index("scale").loc["calibrated"]
    assert np.isnan([without.effect, without.p, without.p_holm]).all()
    assert (without.verdict, without.note) == ("", "not calibrated: no floor and no reference")


# --- several factors ---


def test_a_factor_is_averaged_over_the_levels_of_the_others() -> None:
    results = factorial(np.random.default_rng(1), (1.0, -2.0))
    table = dg.effects(StudyResult(name="s", results=results))
    table = table[table.scale == "value"].set_index("factor")
    x = {tuple(r.factors.values()): r.measured["linear_flow"].arrays["driven"] for r in results}
    channels = (x[3, "tanh"] + x[3, "gru"] - x[1, "tanh"] - x[1, "gru"]) / 2
    cell = sum(x[a, "gru"] - x[a, "tanh"] for a in (1, 2, 3)) / 3
    for name, each in (("task.channels", channels), ("network.cell", cell)):
        assert table.loc[name].effect == pytest.approx(each.mean())
        assert table.loc[name].ci_high - each.mean() == pytest.approx(2.364624 * each.std(ddof=1) / np.sqrt(8))
    assert (table.loc["network.cell"].lowest, table.loc["network.cell"].highest) == ("tanh", "gru")
    assert table.verdict.to_list() == ["up", "down"]
    np.testing.assert_allclose(table.p_holm, holm(table.p))  # two primary cells: a level, two factors


def test_only_the_factors_that_are_named_have_primary_cells() -> None:
    study = StudyResult(name="s", results=factorial(np.random.default_rng(1)), claims=Claims(factors=("network.cell",)))
    table = dg.effects(study).query("scale == 'value'").set_index("factor")
    assert table.primary.to_dict() == {"task.channels": False, "network.cell": True}
    assert np.isnan(table.loc["task.channels"].p_holm)


def test_combinations_that_lack_a_level_are_left_out_with_the_reason() -> None:
    results = list(factorial(np.random.default_rng(2)))
    results[5] = replace(
        results[5], measured={}, missing={"linear_flow": "needs 2 converged members, 1 of 8 converged"}
    )
    row = dg.effects(StudyResult(name="s", results=tuple(results))).iloc[0]
    assert row.factor == "task.channels"
    x = [r.measured["linear_flow"].arrays["driven"] for r in results if r.factors["network.cell"] == "tanh"]
    assert row.effect == pytest.approx((x[2] - x[0]).mean())
    assert row.note.startswith(
        "needs 2 converged members, 1 of 8 converged; over 1 of 2 combinations of the other factors; about "
    )


def test_a_level_without_a_number_is_left_out_and_the_others_keep_their_ranks() -> None:
    study = over(X)
    nothing = Measured(findings=(nan_finding("driven", 6, "sizes differ"),))
    results = list(study.results)
    results[1] = replace(results[1], measured={"linear_flow": nothing})
    row = dg.effects(replace(study, results=tuple(results))).iloc[0]
    weights = trend_weights([0, 2, 3])
    expected = linear_contrast(
        [jackknife.member_mean(X[k]) for k in (2, 8, 16)], [[str(k) for k in range(6)]] * 3, weights
    )
    assert row.effect == pytest.approx(expected.change)
    assert row.ci_low == pytest.approx(expected.interval()[0])
    assert (row.n_levels, row.note) == (3, "sizes differ; without channels = 4")


def test_under_two_levels_there_is_no_effect_but_its_reason() -> None:
    lost = {"linear_flow": "needs 2 converged members, 0 of 6 converged"}
    results = condition({"a": 1}, {"linear_flow": mean_of(X[2])}, range(6)), condition({"a": 2}, {}, (), missing=lost)
    table = dg.effects(StudyResult(name="s", results=results))
    assert table.note.iloc[0] == lost["linear_flow"]
    assert table[["effect", "ci_low", "p", "p_holm"]].isna().all(axis=None)
    assert (table.verdict == "").all()
    nowhere = replace(results[0], measured={}, missing=lost), results[1]
    table = dg.effects(StudyResult(name="s", results=nowhere))
    assert table.primary.all(), "what was to be judged is listed, found or not"
    assert table.note.iloc[0] == lost["linear_flow"]


def test_levels_without_an_order_are_said_to_have_none() -> None:
    study = over({"tanh": X[2], "relu": X[4], "gru": X[8]}, factor="network.cell")
    row = dg.effects(study).iloc[0]
    assert (row.lowest, row.highest) == ("tanh", "gru")
    assert row.note == "the levels of cell have no order but the study's"
    tables = over({"a": X[2], "b": X[4]}).results
    tables = tuple(replace(r, factors={"task": {"name": "flip_flop", "channels": k}}) for k, r in enumerate(tables))
    row = dg.effects(StudyResult(name="s", results=tables)).iloc[0]
    assert row.n_levels == 2, "two tables of one name are two levels"
    assert "'channels': 1" in row.highest


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ({2: X[2][:2], 3: X[4][:2]}, "no interval: a condition has under 3 networks"),
        ({2: np.full(6, 2.0), 3: np.full(6, 3.0)}, "no interval: the number is the same whichever network is left out"),
    ],
)
def test_an_effect_without_an_interval_says_why(values, note) -> None:
    row = dg.effects(over(values)).iloc[0]
    assert np.isfinite(row.effect)
    assert np.isnan([row.ci_low, row.p]).all()
    assert (row.verdict, row.note) == ("unclear", note)


def test_members_that_were_coupled_are_said_to_depend_on_each_other() -> None:
    study = over({2: X[2], 3: X[4]})
    for strength, note in (
        (0.0, ""),
        (-0.1, "coupled networks are not independent, so the interval is too narrow"),
    ):
        spec = {"training": dg.Training(coupling={"strength": strength}).model_dump(mode="json")}
        coupled = replace(study.results[1], spec=spec)
        assert dg.effects(replace(study, results=(study.results[0], coupled))).note.iloc[0] == note
