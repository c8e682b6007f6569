"""Tuning in earnest, on small networks: what is found, and how it is said."""

import json
import math
import re
from pathlib import Path

import mistakes
import pytest
from tunes import TINY, tiny, tuned

import degeneracy as dg
from degeneracy import UserError, load_run
from degeneracy.core.files import read_json


def test_a_planted_target_is_reached(alone: Path) -> None:
    """What a learning rate of 0.008 does is asked for, and about that rate found, 8 evaluations at most."""
    training = dg.Training(**TINY["training"], learning_rate=0.008)
    task, network = dg.tasks.FlipFlop(channels=1, n_steps=10, threshold=2.0), dg.Network(hidden_size=6)
    planted = dg.train(task, network, training, seeds=range(4), jobs=1, progress=False)
    target = dg.measure(planted, task, measures=["weight_change"], probe=dg.Probe(n_trials=8)).table["value"][0]
    found = tuned(alone, target=target, tolerance=0.02 * target)
    assert found.status == "reached"
    assert len(found.evaluations) <= 8
    assert found.ci_low <= target <= found.ci_high
    # The change of the weights goes as the rate, or nearly so.
    assert found.at == pytest.approx(0.008, rel=0.05)
    assert repr(found).startswith("Tuning(reached: weight_change ")


def test_it_says_what_it_saw_and_writes_it(tmp_path: Path, alone: Path) -> None:
    found = tuned(alone, target=0.1)
    assert (found.knob, found.measure, found.variant) == (
        "training.learning_rate",
        "weight_change",
        "absolute",
    )
    table = found.evaluations
    assert list(table["knob"])[:2] == [1e-4, 1e-1]
    assert list(table.columns) == [
        "knob",
        "value",
        "ci_low",
        "ci_high",
        "n_members",
        "n_converged",
        "run",
        "note",
    ]
    [best] = table[table["knob"] == found.at].to_dict("records")
    assert (best["value"], best["ci_low"], best["ci_high"]) == (found.value, found.ci_low, found.ci_high)
    assert best["ci_low"] <= 0.1 <= best["ci_high"]
    assert (table["n_members"] == 4).all()
    assert (table["n_converged"] == 4).all()
    assert (table["note"] == "").all()
    assert (alone / "tuning.csv").read_text(encoding="utf-8") == table.to_csv(index=False)
    answer = read_json(alone / "tuning.json")["questions"][-1]
    assert answer["asked"]["target"] == 0.1
    assert (answer["status"], answer["message"], answer["at"]) == ("reached", found.message, found.at)
    assert answer["evaluations"] == list(table["knob"])
    width = found.ci_high - found.ci_low
    assert found.message == (
        f"reached: weight_change {found.value:.4g} [{found.ci_low:.4g}, {found.ci_high:.4g}] at"
        f" training.learning_rate = {found.at:g}; its interval, {width:.2g} wide, holds the target 0.1"
    )
    assert (alone / "tuning.png").read_bytes().startswith(b"\x89PNG")


def test_every_evaluation_is_an_ordinary_run_of_the_one_measure(alone: Path) -> None:
    table = tuned(alone, target=0.1).evaluations
    for row in table.to_dict("records"):
        run = load_run(alone / row["run"])
        [result] = run.results
        assert result.spec["training"]["learning_rate"] == row["knob"]
        assert list(result.measured) == ["weight_change"]
        assert result.table["value"][0] == row["value"]
        assert (alone / row["run"] / "degeneracy.csv").exists()


def test_out_of_reach(tmp_path: Path) -> None:
    found = tuned(tmp_path / "out", target=50.0)
    assert found.status == "out of reach"
    assert found.at == 0.1
    low, high = found.evaluations["value"].min(), found.evaluations["value"].max()
    assert found.message == (
        f"out of reach: weight_change is {low:.4g} to {high:.4g} for training.learning_rate from 0.0001 to 0.1,"
        f" never 50; nearest is {found.value:.4g} [{found.ci_low:.4g}, {found.ci_high:.4g}] at"
        " training.learning_rate = 0.1"
    )


def test_strengths_without_enough_converged_members_are_kept_away_from(tmp_path: Path) -> None:
    asked = {"knob": "task.threshold", "low": 1e-6, "high": 2.0, "target": 0.5, "tolerance": 0.001}
    found = tuned(tmp_path / "out", **asked)
    first = found.evaluations.iloc[0]
    assert (first["knob"], first["n_converged"]) == (1e-6, 0)
    assert math.isnan(first["value"])
    assert first["note"] == ("no value, the search keeps away: needs 2 converged members, 0 of 4 converged")
    assert math.isfinite(found.value)
    assert "left no value" in found.message
    assert found.evaluations["knob"].iloc[2] == pytest.approx((1e-6 * 2.0) ** 0.5, rel=0.01)
    nothing = tuned(tmp_path / "none", **(asked | {"high": 1e-5}))
    assert (nothing.status, len(nothing.evaluations)) == ("not reached", 5)
    assert nothing.message == ("not reached: none of 5 strengths of task.threshold left a value (the notes say why)")
    assert math.isnan(nothing.at)
    assert (tmp_path / "none" / "tuning.png").exists()
    assert json.loads((tmp_path / "none" / "tuning.json").read_text(encoding="utf-8"))["questions"][0]["at"] is None


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    asked = {"knob": "network.hidden_size", "low": 3, "high": 7.0, "scale": "linear", "tolerance": 1e-9}
    found = tuned(tmp_path / "out", **asked, target=0.01)
    assert found.evaluations["knob"].dtype.kind == "i"
    assert list(found.evaluations["run"])[:2] == [
        "evaluations/network.hidden_size=3",
        "evaluations/network.hidden_size=7",
    ]
    sizes = found.evaluations.set_index("knob")["value"]
    between = (sizes[3] + sizes[7]) / 2
    found = tuned(tmp_path / "out", **asked, target=between)
    assert found.status == "not reached"
    bracket = re.search(r"lies between network.hidden_size = (\d) and (\d), with no whole number", found.message)
    assert bracket is not None
    assert int(bracket[2]) - int(bracket[1]) == 1


def test_the_calibrated_value_is_tuned_between_floor_and_reference(tmp_path: Path) -> None:
    found = tuned(tmp_path / "out", measure="procrustes", calibrated=True, target=0.5, max_evaluations=2)
    for row in found.evaluations.to_dict("records"):
        table = load_run(tmp_path / "out" / row["run"]).table
        assert row["value"] == table["calibrated"][0] != table["value"][0]
        assert (row["ci_low"], row["ci_high"]) == (table["calibrated_low"][0], table["calibrated_high"][0])


def test_two_members_have_no_interval_and_need_a_tolerance(tmp_path: Path) -> None:
    two = tiny(seeds=[0, 1])
    with pytest.raises(UserError, match="2 seeds are wrong: an interval needs 3 members or more"):
        tuned(tmp_path / "out", two, target=0.1)
    assert not (tmp_path / "out").exists()
    found = tuned(tmp_path / "out", two, target=0.1, tolerance=0.02)
    assert found.status == "reached"
    assert abs(found.value - 0.1) <= 0.02
    assert "(no interval) at" in found.message
    assert found.message.endswith("within the tolerance of 0.1")
    assert found.evaluations["note"].str.startswith("no interval").all()


def test_an_interval_as_wide_as_the_curve_is_said_to_say_little(tmp_path: Path) -> None:
    asked = {"knob": "network.init_gain", "low": 1.0, "high": 1.01, "scale": "linear"}  # hardly a change
    seen = tuned(tmp_path / "out", **asked, target=50.0, max_evaluations=2).evaluations["value"]
    vague = tuned(tmp_path / "out", **asked, target=seen.mean())
    assert vague.status == "reached"
    assert vague.ci_high - vague.ci_low > abs(seen[1] - seen[0])
    assert vague.message.endswith("; as wide as all that was seen, it says little: take more seeds, or a tolerance")
    strict = tuned(tmp_path / "out", **asked, target=seen.mean(), tolerance=1.0)
    assert strict.message == vague.message.partition("; as wide")[0]


def test_what_a_study_varies_and_claims(tmp_path: Path) -> None:
    claims = {"dynamics": {"measure": "procrustes", "expected": {"training.learning_rate": "up"}}}
    varied = tiny(
        vary={"training.learning_rate": [1e-3, 1e-2]},
        claims=claims,
        measures=["procrustes", "weight_change"],
        options={"procrustes": {"alpha": 0.5}},
    )
    found = tuned(tmp_path / "out", varied, target=0.1)  # of the knob itself the levels are not looked at
    assert list(found.evaluations["knob"])[:2] == [1e-4, 1e-1]
    both = tiny(vary={"training.learning_rate": [1e-3, 1e-2], "network.hidden_size": [5, 6]}, network={})
    with pytest.raises(UserError, match=r"the study varies network\.hidden_size too, and a knob is tuned in one"):
        tuned(tmp_path / "both", both, target=0.1)


def test_options_of_the_measure_are_taken(tmp_path: Path) -> None:
    plan = tiny(options={"procrustes": {"alpha": 0.5}, "cka": {}}, measures=["cka", "procrustes"])
    found = tuned(tmp_path / "out", plan, measure="procrustes", target=5.0, max_evaluations=2)
    run = load_run(tmp_path / "out" / found.evaluations["run"][0])
    assert run.results[0].spec["measures"]["procrustes"]["alpha"] == 0.5


def test_coupled_members_can_be_tuned_from_repulsion_to_attraction(tmp_path: Path) -> None:
    asked = {"knob": "training.coupling.strength", "scale": "linear", "measure": "cka", "max_evaluations": 3}
    found = tuned(tmp_path / "out", low=-1.0, high=1.0, target=0.9, **asked)
    assert list(found.evaluations["knob"])[:2] == [-1.0, 1.0]
    before = mistakes.snapshot(tmp_path)
    with pytest.raises(UserError, match="holds a tune of coupled members with other seeds; choose another folder"):
        tuned(tmp_path / "out", tiny(seeds=[0, 1, 2]), low=-1.0, high=1.0, target=0.9, **asked)
    assert mistakes.snapshot(tmp_path) == before


def test_what_can_only_be_seen_when_measured_is_said_after_the_first_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weight_change, absolute has no calibrated value: .*no floor and no ref"):
        tuned(tmp_path / "a", target=0.1, calibrated=True)
    with pytest.raises(UserError, match="valid_prediction_time says nothing here: needs prediction times"):
        tuned(tmp_path / "b", target=0.1, measure="valid_prediction_time")
    for name in "ab":
        assert len(list((tmp_path / name / "evaluations").iterdir())) == 1


def test_a_variant_that_its_measure_never_has_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fixed_points: unknown variant 'stable'.* \(known: .*n_stable"):
        tuned(tmp_path / "c", target=0.1, measure="fixed_points", variant="stable")
    assert not (tmp_path / "c").exists()


def test_a_target_below_0_is_refused_before_anything_is_trained(
    tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    with pytest.raises(UserError, match=r"^tune: target = -0.1 is wrong: weight_change is never below 0$"):
        tuned(tmp_path / "t", target=-0.1)
    assert not trained
    assert not (tmp_path / "t").exists()
