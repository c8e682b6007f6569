"""Checks of an effect by other measures, and effects of several studies in one table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from by_hand import factorial

import degeneracy as dg
from degeneracy.analysis.statistics import jackknife
from degeneracy.contrasts.robustness_checks import combine_effects, questions, robustness_checks
from degeneracy.studies.study_result import StudyResult

STUDY = {
    "seeds": range(5),
    "task": {"name": "flip_flop", "n_steps": 10, "threshold": 100.0},
    "network": {"hidden_size": 6},
    "training": {"batch_size": 8, "steps_per_epoch": 4, "max_epochs": 4},
    "vary": {"task.channels": [1, 2]},
    "probe": {"n_trials": 10},
    "options": {"dsa": {"rank": 4, "n_delays": 2, "n_starts": 4}},
    "claims": {
        "dynamics": {"measure": "dsa", "variant": "driven", "expected": {"task.channels": "down"}},
        "weights": {
            "measure": "signed_pif",
            "variant": "recurrent",
            "margin": 0.1,
            "expected": {"task.channels": "up"},
        },
        "behavior": {"measure": "ood_log_error_sd", "variant": "amplitude", "margin": 0.2},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        plan = dg.Study(name=name, **STUDY)
        dg.run_study(plan, out=place / name, jobs=1, progress=False)
    return place


def test_checks_are_rows_of_the_effects_against_the_levels_expectation(folder: Path) -> None:
    study = dg.load_run(folder / "one")
    table, effects = robustness_checks(study), dg.effects(study)
    assert list(dict.fromkeys(table["check"])) == list(questions()), "all measures were taken"
    for row in table.itertuples():
        same = effects[
            (effects["measure"] == row.measure) & (effects["variant"] == row.variant) & (effects["scale"] == row.scale)
        ]
        np.testing.assert_equal(same["effect"].item(), row.effect)
        assert row.expected == {"dynamics": "down", "weights": "up", "behavior": ""}[row.level]
        if not row.expected or not row.verdict:
            assert row.agreement == ""
        elif row.verdict in ("unclear", "not resolved"):
            assert row.agreement == row.verdict
        else:
            assert row.agreement == ("agrees" if row.verdict == row.expected else "disagrees")
    # The variant of the level's claim stands where a check names none.
    assert set(table[table["level"] == "behavior"]["variant"]) == {"amplitude"}


def test_gathered_are_the_primary_effects(folder: Path) -> None:
    table = combine_effects(dg.load_runs(folder))
    for name in ("one", "two"):
        assert set(table[table["study"] == name]["level"]) == {"dynamics", "weights", "behavior"}
    assert table["primary"].all()
    assert set(table["scale"]) == {"value"}
    # The same study twice: the same numbers.
    one, two = (table[table["study"] == name]["effect"].to_numpy() for name in ("one", "two"))
    assert np.array_equal(one, two)


def test_beside_each_primary_effect_stands_the_calibrated_one(folder: Path) -> None:
    run = dg.load_runs(folder)["one"]
    table, all_ = combine_effects({"one": run}).set_index("level"), dg.effects(run)
    for level in ("dynamics", "weights", "behavior"):
        cell = all_[all_["primary"] & (all_["scale"] == "calibrated") & (all_["level"] == level)].iloc[0]
        row = table.loc[level]
        beside = row["calibrated"], row["calibrated_low"], row["calibrated_high"]
        np.testing.assert_array_equal(beside, cell[["effect", "ci_low", "ci_high"]].astype(float))
        assert row["calibrated_verdict"] == cell["verdict"]
    assert np.isfinite(table.loc["weights", "calibrated"])


def test_the_calibrated_effect_is_that_of_the_same_factor() -> None:
    """Two factors with other effects; floor 0 and reference 10, so that a calibrated effect is a tenth of its value."""
    gen = np.random.default_rng(2)
    floor, reference = (jackknife.member_mean(level + 1e-3 * gen.normal(size=8)) for level in (0.0, 10.0))
    results = []
    for result in factorial(gen, effects=(2.0, -1.0)):
        measured = result.measured["linear_flow"]
        finding = replace(measured.findings[0], floor=floor, reference=reference)
        results.append(replace(result, measured={"linear_flow": replace(measured, findings=(finding,))}))
    table = combine_effects({"s": StudyResult(name="s", results=tuple(results))}).set_index("factor")
    assert list(table.index) == ["task.channels", "network.cell"]
    np.testing.assert_allclose(table["calibrated"], table["effect"] / 10, rtol=1e-2)  # noise of 1e-3 in 10 and in 0
    assert list(table["calibrated_verdict"]) == ["up", "down"]


def test_with_checks_each_studys_are_gathered(folder: Path) -> None:
    runs = dg.load_runs(folder)
    table, one = combine_effects(runs, checks=True), robustness_checks(runs["two"])
    assert table[table["study"] == "two"]["effect"].reset_index(drop=True).equals(one["effect"])
    assert list(dict.fromkeys(table["study"])) == ["one", "two"]
