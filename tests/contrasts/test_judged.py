"""What is said of an effect: held against claims, at matched training loss, beside convergence."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import X, condition, factorial, mean_of, over

import degeneracy as dg
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.contrasts import linear_contrast
from degeneracy.contrasts.convergence import CONVERGENCE_COLUMNS
from degeneracy.reporting.effects import sentences
from degeneracy.studies.claims import Claim, Claims
from degeneracy.studies.study_result import StudyResult

# --- claims ---


@pytest.mark.parametrize(
    ("expected", "shift", "says"),
    [("up", 1.0, "agrees"), ("up", -1.0, "disagrees"), ("flat", 0.0, "agrees"), ("down", 0.0, "disagrees")],
)
def test_what_was_expected_is_held_against_the_verdict(expected: str, shift: float, says: str) -> None:
    noise = 0.1 * np.random.default_rng(3).normal(size=8)
    values = {2: 5 + noise, 3: 5 + shift + noise + 0.02 * np.cos(np.arange(8))}
    study = over(values, dynamics={"margin": 0.05, "expected": {"task.channels": expected}})
    row = dg.effects(study).iloc[0]
    assert (row.expected, row.agreement) == (expected, says)
    vague = dg.effects(over({2: X[2], 3: X[2][::-1]}, dynamics={"expected": {"task.channels": expected}})).iloc[0]
    assert (vague.verdict, vague.agreement) == ("unclear", "unclear")


def test_a_secondary_claim_is_held_against_its_own_p_value() -> None:
    """It takes no part in Holm's correction of what is judged, which would otherwise be of two questions."""
    noise = 0.1 * np.random.default_rng(3).normal(size=8)
    shift = {2: 5 + noise, 3: 6 + noise + 0.02 * np.cos(np.arange(8))}
    results = tuple(
        condition(
            {"task.channels": k}, {"linear_flow": mean_of(x[::-1]), "dsa": mean_of(x), "cka": mean_of(x)}, range(8)
        )
        for k, x in shift.items()
    )
    results = tuple(
        replace(r, levels={"linear_flow": "dynamics", "dsa": "dynamics", "cka": "dynamics"}) for r in results
    )
    claim = {"measure": "dsa", "variant": "driven", "margin": 0.1, "expected": {"task.channels": "down"}}
    study = StudyResult(name="s", results=results, claims=Claims(secondary=[claim]))
    table = dg.effects(study).query("scale == 'value'").set_index("measure")
    dsa, alone = table.loc["dsa"], table.loc["cka"]
    assert table["secondary"].to_dict() == {"linear_flow": False, "dsa": True, "cka": False}
    assert (dsa.verdict, dsa.expected, dsa.agreement) == ("up", "down", "disagrees")
    assert (alone.verdict, alone.expected, alone.agreement) == ("up", "", "")
    assert dsa.p == alone.p
    assert np.isnan(dsa.p_holm)
    assert dsa.margin == pytest.approx(0.1 * dsa.at_lowest)
    without = dg.effects(StudyResult(name="s", results=results)).query("primary").p_holm
    np.testing.assert_array_equal(without, dg.effects(study).query("primary").p_holm)


def test_a_secondary_claim_can_be_flat_by_its_own_margin_and_by_its_levels() -> None:
    """What is exploratory has the margins of its level too: a claim takes none away."""
    values = 5 + 0.1 * np.random.default_rng(3).normal(size=8)
    results = tuple(
        condition({"task.channels": k}, {name: mean_of(x) for name in ("linear_flow", "dsa", "cka")}, range(8))
        for k, x in ((2, values), (3, values + 0.02 * np.cos(np.arange(8))))
    )
    results = tuple(replace(r, levels=dict.fromkeys(r.measured, "dynamics")) for r in results)
    of_dsa = {"measure": "dsa", "variant": "driven", "expected": {"task.channels": "flat"}}
    for margins, of_level, says in (
        ({}, {"margin": 0.1}, "flat"),
        ({"margin": 0.1}, {}, "flat"),
        ({"margin": 0.001}, {"margin": 0.1}, "unclear"),  # its own counts, of .005 beside a standard error of as much
        ({}, {}, "unclear"),
    ):
        claims = Claims(dynamics=of_level, secondary=[{**of_dsa, **margins}])
        study = StudyResult(name="s", results=results, claims=claims)
        rows = dg.effects(study).query("scale == 'value'").set_index("measure")
        dsa, written = rows.loc["dsa"], margins.get("margin") or of_level.get("margin", 0.0)
        assert (dsa.verdict, dsa.agreement) == (says, "agrees" if says == "flat" else "unclear")
        assert dsa.margin == pytest.approx(written * dsa.at_lowest)
        assert rows.loc["cka"].verdict == rows.loc["linear_flow"].verdict == ("flat" if of_level else "unclear")


def test_a_secondary_claim_without_a_number_has_its_row() -> None:
    """What was said beforehand does not vanish where the measure failed in every condition."""
    claim = {"measure": "dsa", "variant": "driven", "expected": {"task.channels": "down"}}
    study = over(X, secondary=[claim])
    study = replace(study, results=tuple(replace(r, levels={**r.levels, "dsa": "dynamics"}) for r in study.results))
    rows = dg.effects(study).query("measure == 'dsa'")
    assert set(rows["scale"]) == {"value", "calibrated", "value, matched loss"}
    assert rows["secondary"].all()
    assert not rows["primary"].any()
    assert (rows["effect"].isna() & (rows["verdict"] == "") & (rows["expected"] == "down")).all()
    unasked = replace(study, results=tuple(replace(r, levels={"linear_flow": "dynamics"}) for r in study.results))
    assert "dsa" not in set(dg.effects(unasked)["measure"])


def test_nothing_is_secondary_of_a_factor_that_is_not_judged() -> None:
    results = tuple(
        replace(r, measured={**r.measured, "dsa": r.measured["linear_flow"]}, levels={**r.levels, "dsa": "dynamics"})
        for r in factorial(np.random.default_rng(0))
    )
    claim = {"measure": "dsa", "variant": "driven"}
    for judged, expected in (((), 2), (("task.channels",), 1)):
        claims = Claims(factors=judged, secondary=[claim])
        table = dg.effects(StudyResult(name="s", results=results, claims=claims)).query("scale == 'value'")
        assert table.query("measure == 'dsa'")["secondary"].sum() == expected
        assert table.query("measure == 'linear_flow'")["primary"].sum() == expected


def test_a_margin_counts_how_well_the_value_at_the_lowest_level_is_known() -> None:
    """A change of nearly nothing is flat beside a value that is known, and not beside one that may be 0."""
    noise, own = np.random.default_rng(4).normal(size=8), 0.01 * np.cos(np.arange(8))
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    for value, says in ((1.0, "flat"), (0.6, "unclear"), (-0.6, "unclear"), (-1.0, "flat")):
        # Standard error 0.35 of the value; t(7) at 95% is 1.89, so 0.67 either way.
        row = dg.effects(over({2: value + noise, 3: value + noise + own}, dynamics={"margin": 1.0})).iloc[0]
        assert row.margin == pytest.approx(abs(value))
        assert -row.margin < row.ci_low < row.ci_high < row.margin
        assert row.verdict == says


def test_verdicts_at_odds_with_their_interval_are_explained() -> None:
    noise = 0.1 * np.random.default_rng(3).normal(size=8)
    values = {2: 5 + noise, 3: 5.1 + noise + 0.02 * np.cos(np.arange(8))}
    row = dg.effects(over(values, dynamics={"margin": 0.05})).iloc[0]
    assert row.ci_low > 0
    assert (row.verdict, row.note) == ("flat", "differs from 0, but by less than the margin")
    rng = np.random.default_rng(0)
    while True:  # a p value between 2.5% and 5%, twice
        own = {k: rng.normal(size=8) for k in (2, 3)}
        if 0.025 < dg.effects(over(own)).p.iloc[0] < 0.05:
            break
    results = tuple(
        condition({"a": k}, {"linear_flow": mean_of(x), "signed_pif": mean_of(x)}, range(8)) for k, x in own.items()
    )
    claims = Claims(weights={"variant": "driven"})
    table = dg.effects(StudyResult(name="s", results=results, claims=claims)).query("scale == 'value'")
    assert table.primary.all()
    assert (table.verdict == "unclear").all()
    assert table.note.str.startswith("its own interval excludes 0, but not after Holm's correction; about ").all()


def test_another_primary_measure_and_variant() -> None:
    two = Measured(
        findings=tuple(Finding(variant=v, value=jackknife.member_mean(X[2])) for v in ("driven", "autonomous"))
    )
    results = tuple(condition({"a": k}, {"linear_flow": two}, range(6)) for k in (1, 2))
    table = dg.effects(StudyResult(name="s", results=results, claims=Claims(dynamics={"variant": "autonomous"})))
    assert table[table.primary].variant.unique().tolist() == ["autonomous"]
    assert dg.effects(StudyResult(name="s", results=results)).query("primary").variant.unique() == ["driven"]
    none = dg.effects(StudyResult(name="s", results=results, claims=Claims(dynamics={"variant": "gone"})))
    assert (
        none.query("primary").note.iloc[0]
        == "linear_flow has no variant 'gone' in a=1; linear_flow has no variant 'gone' in a=2"
    )


def test_the_variant_of_a_measure_is_chosen_by_name_alone() -> None:
    chosen = Claim(measure="m").chosen_variant
    assert chosen(["in_distribution", "input_noise", "length_2x"]) == "length_2x"
    assert chosen(["in_distribution", "input_noise", "lesion"]) == "input_noise"
    assert chosen(["joint", "recurrent"]) == "joint", "of a measure that nobody knows, the order is all there is"
    assert Claim(measure="signed_pif").chosen_variant(["joint", "recurrent"]) == "recurrent", "by its card"
    assert chosen(["in_distribution"]) == "in_distribution"
    assert chosen([]) == ""


# --- matched training loss ---


def at_losses(losses: dict, values: dict) -> StudyResult:
    results = tuple(
        condition({"a": k}, {"linear_flow": mean_of(values[k])}, range(len(values[k])), losses=losses[k])
        for k in values
    )
    return StudyResult(name="s", results=results)


def test_matched_loss_is_the_effect_among_members_in_the_common_range() -> None:
    """Losses 1-6 and 3-8: 3 to 6 are common, members 2-5 of the one and 0-3 of the other."""
    values = {1: X[2], 2: X[4]}
    row = dg.effects(at_losses({1: [1, 2, 3, 4, 5, 6], 2: [3, 4, 5, 6, 7, 8]}, values)).set_index("scale")
    expected = linear_contrast(
        [jackknife.member_mean(X[2][2:]), jackknife.member_mean(X[4][:4])],
        [["2", "3", "4", "5"], ["0", "1", "2", "3"]],
        [-1, 1],
    )
    found = row.loc["value, matched loss"]
    assert found.effect == pytest.approx(expected.change)
    assert (found.ci_low, found.ci_high) == pytest.approx(expected.interval())
    assert (found.n_members, found.at_lowest) == (4, pytest.approx(X[2][2:].mean()))
    assert row.loc["value"].n_members == 6


def test_too_few_members_of_matched_loss_are_said() -> None:
    study = at_losses({1: [1, 2, 3, 4, 5, 6], 2: [4, 4, 5, 6, 7, 8]}, {1: X[2], 2: X[4]})
    row = dg.effects(study).iloc[2]
    assert np.isnan(row.effect)
    assert row.note == ("final losses overlap too little: 3 of 6 networks of a=1 lie in the common range; 4 are needed")


def test_matched_loss_is_common_within_each_combination_of_the_other_factors() -> None:
    results = []
    for result in factorial(np.random.default_rng(4)):
        base = {"tanh": 0.0, "gru": 100.0}[result.factors["network.cell"]]  # no range common to all
        losses = base + np.arange(8.0) + result.factors["task.channels"]
        members = tuple(replace(m, epoch_loss=np.array([x])) for m, x in zip(result.members, losses, strict=True))
        results.append(replace(result, members=members))
    table = dg.effects(StudyResult(name="s", results=tuple(results))).query("scale == 'value, matched loss'")
    channels, cell = table.to_dict("records")
    assert channels["n_members"] == 6  # losses 3 to 8 of 1-8, 2-9 and 3-10
    assert np.isfinite(channels["effect"])
    assert cell["note"].startswith("final losses overlap too little: 0 of 8")


def test_what_cannot_be_matched_says_why() -> None:
    study = over({2: X[2], 3: X[4]})
    given = tuple(
        replace(r, members=tuple(replace(m, epoch_loss=np.zeros(0)) for m in r.members)) for r in study.results
    )
    assert dg.effects(replace(study, results=given)).note.iloc[2] == "final training losses are not known"
    bare = tuple(
        replace(r, measured={"linear_flow": replace(r.measured["linear_flow"], arrays={})}) for r in study.results
    )
    assert "keeps nothing" in dg.effects(replace(study, results=bare)).note.iloc[2]


# --- value against convergence ---


def test_convergence_stands_beside_the_primary_values() -> None:
    results = tuple(
        condition(
            {"a": k},
            {"linear_flow": mean_of(X[k]), "own": mean_of(X[k])},
            range(6),
            losses=[k, 2, 3, 4, 5, 9],
            lost=lost,
        )
        for k, lost in ((2, 0), (4, 2))
    )
    table = dg.convergence(StudyResult(name="s", results=results))
    assert tuple(table.columns) == ("condition", "a", *CONVERGENCE_COLUMNS)
    assert table.n_members.to_list() == [6, 8]
    assert table.converged_share.to_list() == [1.0, 0.75]
    assert table.final_loss.to_list() == pytest.approx([25 / 6, 27 / 6])
    assert table.final_loss_min.to_list() == [2, 2]
    assert table.final_loss_max.to_list() == [9, 9]
    assert table[["level", "measure"]].drop_duplicates().to_numpy().tolist() == [["dynamics", "linear_flow"]]
    low, high = jackknife.interval(jackknife.member_mean(X[4]))
    assert table.iloc[1][["value", "ci_low", "ci_high"]].tolist() == pytest.approx([X[4].mean(), low, high])


# --- networks of several sizes ---


def of_weights(variant: str, x) -> Measured:
    finding = Finding(variant=variant, value=jackknife.member_mean(x), statistic="mean", of=variant)
    return Measured(findings=(finding,), arrays={variant: np.array(x)})


def of_sizes(factor: str, sizes: dict, variant: str, **spec) -> StudyResult:
    results = tuple(
        replace(
            condition({factor: level}, {"signed_pif": of_weights(variant, X[2 * k + 2] / size**2)}, range(6)),
            spec={"network": {"hidden_size": size, **spec}},
        )
        for k, (level, size) in enumerate(sizes.items())
    )
    claims = Claims(weights={"measure": "signed_pif", "variant": variant, "expected": {factor: "down"}})
    return StudyResult(name="s", results=results, claims=claims)


def test_what_a_number_does_with_the_size_of_networks_by_itself_is_said_where_sizes_differ() -> None:
    says = "falls with the number of units for shuffled weights too: sizes are compared by the calibrated value"
    study = of_sizes("network.hidden_size", {32: 32, 64: 64}, "recurrent/per_parameter")
    rows = dg.effects(study).set_index("scale")
    row = rows.loc["value"]
    assert (row.verdict, row.agreement) == ("down", "agrees")
    assert row.note == f"it {says}"
    assert "shuffled weights" not in rows.loc["calibrated"].note
    [sentence] = sentences(rows.reset_index(), "weights")
    assert f"It {says}. Expected was down: this agrees." in sentence
    assert "Signed PIF (recurrent, per parameter) falls" in sentence
    grows = dg.effects(of_sizes("network.hidden_size", {32: 32, 64: 64}, "recurrent")).note.iloc[0]
    assert grows.startswith("it grows with the number of units for shuffled weights too")
    # The size changes along with the factor: it is said of that factor, too.
    along = dg.effects(of_sizes("task.channels", {2: 32, 3: 64}, "recurrent/per_parameter"))
    assert says in along.note.iloc[0]
    same = dg.effects(of_sizes("task.channels", {2: 32, 3: 32}, "recurrent/per_parameter"))
    assert "shuffled weights" not in same.note.iloc[0]
