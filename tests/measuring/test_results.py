"""Results: the tidy table, the distances by name, and the difference of two conditions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import degeneracy as dg
from degeneracy.analysis import Estimate, Finding, Measured
from degeneracy.analysis.statistics import jackknife
from degeneracy.core.errors import UserError
from degeneracy.measuring.results import MemberSummary, Result, compare
from degeneracy.studies.study_result import StudyResult

SCHEMA = [  # DESIGN: the flow, as the user sees it
    *("level", "measure", "variant", "value", "ci_low", "ci_high", "floor", "reference"),
    *("calibrated", "calibrated_low", "calibrated_high", "floor_share", "upper_share"),
    *("n_members", "n_converged", "note"),
]


def points(n: int, scale: float, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, 4))
    return scale * np.linalg.norm(x[:, None] - x, axis=-1)


def some_result(n: int = 8, scale: float = 1.0, first: int = 0, **changes) -> Result:
    """A result with a calibrated pairwise measure, a plain one on the log scale, and one that says nothing."""
    d, errors = points(n, scale), np.exp(np.random.default_rng(1).normal(0, scale, n))
    labels = tuple(str(first + k) for k in range(n))
    summary = MemberSummary(
        label="", status="converged", n_updates=8, seconds=0.1, epoch_loss=np.ones(2), learning_rate=np.ones(2),
        steps_per_epoch=4,
    )  # fmt: skip
    fields = {
        "condition": "c",
        "factors": {"task.channels": 3},
        "members": tuple(replace(summary, label=label) for label in (*labels, "lost")),
        "measured_members": labels,
        "levels": {"procrustes": "dynamics", "ood_error_sd": "behavior", "pif": "weights"},
        "measured": {
            "procrustes": Measured(
                findings=(
                    Finding(
                        variant="driven",
                        value=jackknife.pair_mean(d),
                        floor=jackknife.constant(0.5, n),
                        reference=jackknife.constant(4.5 * scale, n),
                        note="a note",
                    ),
                    Finding(variant="autonomous", value=jackknife.pair_mean(2 * d)),
                ),
                distances={"driven": d, "autonomous": 2 * d},
            ),
            "ood_error_sd": Measured(
                findings=(Finding(variant="length_2x", value=jackknife.member_sd(errors), scale="log"),)
            ),
        },
        "missing": {"pif": "needs weights: not given"},
    }
    return Result(**{**fields, **changes})


def test_the_columns_are_the_schema() -> None:
    assert list(some_result().table.columns) == ["condition", "task.channels", *SCHEMA]
    assert list(some_result(factors={}).table.columns) == ["condition", *SCHEMA]
    two = some_result(factors={"a": 1, "b": "x"}).table
    assert list(two.columns[:3]) == ["condition", "a", "b"]


def test_a_row_by_hand() -> None:
    result = some_result()
    row = result.table.iloc[0]
    d = result.distances["procrustes"]
    mean = d[np.triu_indices(8, 1)].mean()
    assert (row.condition, row["task.channels"], row.level) == ("c", 3, "dynamics")
    assert (row.measure, row.variant, row.n_members, row.n_converged) == ("procrustes", "driven", 9, 8)
    assert row["value"] == pytest.approx(mean, rel=1e-12)
    assert row.calibrated == pytest.approx((mean - 0.5) / 4, rel=1e-12)
    assert row.floor_share == pytest.approx(0.5 / mean, rel=1e-12)
    assert row.upper_share > np.sqrt((mean**2 - 0.5**2) / (4.5**2 - 0.5**2))
    assert row.note == "a note"
    # The jackknife by hand: t(7) at 97.5% is 2.3646.
    without = np.array([np.delete(np.delete(d, k, 0), k, 1)[np.triu_indices(7, 1)].mean() for k in range(8)])
    half = 2.3646 * np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())
    assert row.ci_low == pytest.approx(mean - half, rel=1e-4)  # five digits of t
    assert row.ci_high == pytest.approx(mean + half, rel=1e-4)
    assert row.calibrated_high == pytest.approx((mean + half - 0.5) / 4, rel=1e-3)


def test_what_has_no_number_has_its_reason() -> None:
    table = some_result().table
    plain = table.iloc[1]
    assert np.isnan(plain.floor)
    assert np.isnan(plain.calibrated)
    assert plain.note == "not calibrated: no floor and no reference"
    missing = table[table.measure == "pif"].iloc[0]
    numbers = missing[["value", "ci_low", "ci_high", "floor", "reference", "calibrated", "calibrated_low"]]
    assert numbers.isna().all()
    assert missing.note == "needs weights: not given"
    assert (missing.level, missing.n_members, missing.n_converged) == ("weights", 9, 8)


def test_intervals_of_spreads_are_of_their_logarithm() -> None:
    row = some_result().table[lambda t: t.measure == "ood_error_sd"].iloc[0]
    assert row.ci_low > 0
    assert row["value"] / row.ci_low == pytest.approx(row.ci_high / row["value"], rel=1e-9)


def test_distances_by_name() -> None:
    distances = some_result().distances
    assert set(distances) == {"procrustes", "procrustes/driven", "procrustes/autonomous"}
    assert np.array_equal(distances["procrustes"], distances["procrustes/driven"])
    assert np.array_equal(distances["procrustes/autonomous"], 2 * distances["procrustes"])
    assert "ood_error_sd" not in distances


@pytest.mark.parametrize("name", ["ood_error_sd", "procruste", "pif"])
def test_what_is_no_pairwise_distance_is_an_error_that_names_those_that_are(name: str) -> None:
    with pytest.raises(UserError) as caught:
        some_result().distances[name]
    assert f"unknown pairwise distance '{name}'" in str(caught.value)
    assert "known: procrustes, procrustes/autonomous, procrustes/driven" in str(caught.value)


def test_a_result_does_not_differ_from_itself() -> None:
    table = compare(some_result(), some_result())
    assert table.difference.tolist() == [0, 0, 0]
    assert table["value"].equals(table.other_value)
    assert set(table.measure) == {"procrustes", "ood_error_sd"}
    # Members are shared and their influences cancel: there is no spread to make an interval of.
    assert table.ci_low.isna().all()


@pytest.mark.parametrize("first", [0, 100], ids=["same seeds", "other seeds"])
def test_a_planted_difference_is_found_with_its_sign(first: int) -> None:
    table = compare(some_result(), some_result(scale=2.0, first=first)).set_index(["measure", "variant"])
    pairs = table.loc[("procrustes", "driven")]
    assert pairs.difference == pytest.approx(pairs["value"], rel=1e-9), "twice as far: other minus result"
    assert pairs.other_value == pytest.approx(2 * pairs["value"], rel=1e-9)
    assert 0 < pairs.ci_low < pairs.difference < pairs.ci_high
    assert (pairs.n, pairs.n_other, pairs.scale) == (8, 8, "linear")
    spread = table.loc[("ood_error_sd", "length_2x")]
    assert spread.scale == "log"
    assert spread.difference == pytest.approx(np.log(spread.other_value / spread["value"]), rel=1e-9)


def test_shared_members_make_a_closer_comparison() -> None:
    """Ensembles that differ by a constant factor: members with one seed vary together."""
    shared, apart = (compare(some_result(), some_result(scale=1.2, first=first)).iloc[0] for first in (0, 100))
    assert shared.difference == apart.difference
    assert shared.ci_high - shared.ci_low < 0.5 * (apart.ci_high - apart.ci_low)


def test_members_are_paired_by_their_labels_and_not_by_their_places() -> None:
    """The seeds that both conditions have, 4 to 7, are the last of one and the first of the other."""
    own, seeds, none = 0.01 * np.cos(np.arange(8)), [1.0, -1.0, 2.0, -2.0], [0.0] * 4

    def of(x: np.ndarray, first: int) -> Result:
        finding = Finding(variant="driven", value=jackknife.member_mean(x))
        return some_result(first=first, measured={"procrustes": Measured(findings=(finding,))})

    result = of(np.array([*none, *seeds]) + own, 0)
    paired, apart = (compare(result, of(np.array([*seeds, *none]) - own, first)).iloc[0] for first in (4, 100))
    assert paired.difference == apart.difference
    assert paired.ci_high - paired.ci_low < 0.05 * (apart.ci_high - apart.ci_low)


def test_results_without_a_common_finding_are_no_comparison() -> None:
    with pytest.raises(UserError, match="'c' and 'other' share no measure"):
        compare(some_result(), some_result(measured={}, condition="other"))
    with pytest.raises(UserError, match=r"compare: two conditions are needed, not a StudyResult"):
        compare(some_result(), StudyResult(name="s", results=(some_result(),)))  # type: ignore[arg-type]


def test_two_members_have_a_value_and_no_interval() -> None:
    row = some_result(n=2).table.iloc[0]
    assert np.isfinite(row["value"])
    assert np.isnan(row.ci_low)
    assert np.isnan(row.calibrated_low)


def test_a_study_is_its_conditions() -> None:
    results = some_result(condition="a"), some_result(condition="b", factors={"task.channels": 4}, missing={})
    study = StudyResult(name="s", results=results)
    assert len(study.table) == 4 + 3
    assert study.table["task.channels"].tolist() == [3] * 4 + [4] * 3
    assert study["b"] is results[1]
    assert study.factors == ("task.channels",)
    with pytest.raises(UserError, match="unknown condition 'd'"):
        study["d"]


def test_the_table_survives_a_csv_file(tmp_path) -> None:
    table = some_result().table
    table.to_csv(tmp_path / "t.csv", index=False)
    back = pd.read_csv(tmp_path / "t.csv").fillna({"variant": "", "note": ""})
    pd.testing.assert_frame_equal(back, table)


def test_an_estimate_that_is_not_finite_is_a_row_without_an_interval() -> None:
    nan = Estimate(value=float("nan"), leave_one_out=np.full(8, np.nan))
    only = Measured(findings=(Finding(variant="driven", value=nan, note="why"),))
    row = some_result(measured={"procrustes": only}).table.iloc[0]
    assert np.isnan([row["value"], row.ci_low, row.ci_high, row.calibrated]).all()
    assert row.note.startswith("why")


def test_a_measured_ensemble_differs_from_itself_by_nothing() -> None:
    """The same through the whole flow."""
    task = dg.tasks.FlipFlop(channels=1, n_steps=8, threshold=9.0)
    training = dg.Training(batch_size=4, steps_per_epoch=1, max_epochs=1, patience=0)
    ensemble = dg.train(task, dg.Network(hidden_size=5), training, seeds=range(3), jobs=1, progress=False)
    measures = ["procrustes", "ood_log_error_sd", "weight_change"]
    a, b = (dg.measure(ensemble, task, measures=measures, probe=dg.Probe(n_trials=4)) for _ in range(2))
    assert (dg.compare(a, b).difference == 0).all()
    assert list(a.table.columns) == ["condition", *SCHEMA]


def test_what_was_measured_in_another_way_is_not_compared() -> None:
    name = next(iter(some_result().measured))
    spec = {"measures": {name: {"rank": 3}}, "probe": {"n_trials": 8}}
    assert len(compare(some_result(spec=spec), some_result(spec=spec)))
    with pytest.raises(UserError, match=f"'{name}' was measured with other options: .*3.* and .*5"):
        compare(some_result(spec=spec), some_result(spec=spec | {"measures": {name: {"rank": 5}}}))
    with pytest.raises(UserError, match=r"the probe trials differ: .*8.* and .*9"):
        compare(some_result(spec=spec), some_result(spec=spec | {"probe": {"n_trials": 9}}))
