"""Tuning in earnest, on small networks: evaluations are ordinary runs, kept, and never made twice."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mistakes
import numpy as np
import pytest
from stored import member_arrays

import degeneracy as dg
from degeneracy import UserError, load_run, tune
from degeneracy.core import owned_folder
from degeneracy.core.files import DamagedFile, read_json, write_json
from degeneracy.runs import running
from degeneracy.tuning import tune as tuning
from degeneracy.tuning.tune import default_folder

TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1, 2, 3],
    "task": {"name": "flip_flop", "channels": 1, "n_steps": 10, "threshold": 2.0},  # converges at once
    "network": {"hidden_size": 6},
    "training": {"batch_size": 8, "steps_per_epoch": 4, "max_epochs": 5, "patience": 1},
    "probe": {"n_trials": 8},
}
# How far weights move in so few updates grows with the learning rate, from 0.001 to 1 or so.
RATE: dict[str, Any] = {
    "knob": "training.learning_rate",
    "measure": "weight_change",
    "low": 1e-4,
    "high": 1e-1,
    "scale": "log",
}


def tiny(**changes: Any) -> dg.Study:
    return dg.Study(**{**TINY, **changes})


def tuned(out: Path, plan: dg.Study | None = None, **asked: Any) -> dg.Tuning:
    return tune(plan or tiny(), **{**RATE, **asked}, out=out, device="cpu", jobs=1, progress=False)


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """(learning rate, seed) of every network that was trained."""
    done: list[tuple[float, int]] = []
    real = running.train_members

    def watched(task: Any, network: Any, training: Any, seeds: Any, **rest: Any) -> Iterator[Any]:
        for member in real(task, network, training, seeds, **rest):
            done.append((training.learning_rate, member.seed))
            yield member

    monkeypatch.setattr(running, "train_members", watched)
    return done


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tune that nothing disturbed."""
    out = tmp_path_factory.mktemp("alone") / "tuned"
    assert tuned(out, target=0.1).status == "reached"
    return out


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


def test_a_death_between_evaluations_or_within_one_changes_nothing(
    tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, trained: list[tuple[float, int]]
) -> None:
    expected = tuned(alone, target=0.1)
    n = len(expected.evaluations)
    assert n >= 3
    real, calls = tuning.run_study, 0
    for dies_at in range(n):

        def deadly(*args: Any, dies_at: int = dies_at, **given: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > dies_at:
                raise Crash
            return real(*args, **given)

        calls = 0
        monkeypatch.setattr(tuning, "run_study", deadly)
        with pytest.raises(Crash):
            tuned(tmp_path / "out", target=0.1)
        assert read_json(tmp_path / "out" / "tuning.json")["questions"][0]["status"] == "not finished"
    monkeypatch.setattr(tuning, "run_study", real)
    # The last evaluation is left with some of its networks.
    save, saved = running.RunDirectory.save_member, 0

    def dying_save(*args: Any) -> None:
        nonlocal saved
        saved += 1
        if saved > 2:
            raise Crash
        save(*args)

    monkeypatch.setattr(running.RunDirectory, "save_member", dying_save)
    with pytest.raises(Crash):
        tuned(tmp_path / "out", target=0.1)
    monkeypatch.setattr(running.RunDirectory, "save_member", save)
    trained.clear()
    found = tuned(tmp_path / "out", target=0.1)
    assert trained == [(expected.evaluations["knob"].iloc[-1], seed) for seed in (2, 3)]
    assert found.message == expected.message
    assert (tmp_path / "out" / "tuning.csv").read_bytes() == (alone / "tuning.csv").read_bytes()
    assert not list((tmp_path / "out").rglob("*.part"))
    ours, theirs = member_arrays(tmp_path / "out"), member_arrays(alone)
    assert len(ours) == 4 * n
    for name, arrays in ours.items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, theirs[name][key])


def test_another_question_takes_over_what_is_there(tmp_path: Path, trained: list[tuple[float, int]]) -> None:
    out = tmp_path / "out"
    first = tuned(out, target=0.1)
    csv = (out / "tuning.csv").read_bytes()
    trained.clear()
    second = tuned(out, target=0.02)
    new = set(second.evaluations["knob"]) - set(first.evaluations["knob"])
    assert {rate for rate, _ in trained} == new
    assert {1e-4, 1e-1} & new == set()
    # Wider bounds, another variant and a calibrated measure are questions too; networks that are there are kept.
    trained.clear()
    tuned(out, target=0.1, high=0.2, variant="relative")
    assert {rate for rate, _ in trained} >= {0.2}
    assert {rate for rate, _ in trained} & {1e-4} == set()
    trained.clear()
    again = tuned(out, target=0.1)
    assert trained == []
    assert (again.message, (out / "tuning.csv").read_bytes()) == (first.message, csv)
    questions = read_json(out / "tuning.json")["questions"]
    assert [(q["asked"]["target"], q["asked"]["variant"]) for q in questions] == [
        (0.02, ""),
        (0.1, "relative"),
        (0.1, ""),
    ]
    assert [q["message"] for q in questions[::2]] == [second.message, first.message]


def test_more_seeds_train_only_the_new_ones(tmp_path: Path, trained: list[tuple[float, int]]) -> None:
    first = tuned(tmp_path / "out", tiny(seeds=[0, 1, 2]), target=0.1)
    trained.clear()
    more = tuned(tmp_path / "out", tiny(seeds=[0, 1, 2, 3]), target=0.1)
    before = {(rate, seed) for rate in first.evaluations["knob"] for seed in (0, 1, 2)}
    assert not before & set(trained)
    assert {(1e-4, 3), (1e-1, 3)} <= set(trained)
    assert (more.evaluations["n_members"] == 4).all()


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


@pytest.mark.parametrize(
    ("plan", "asked", "says"),
    [
        (
            {"network": {"hidden_size": 7}},
            {},
            "holds a tune with another network; choose another folder with --out",
        ),
        (
            {},
            {"knob": "network.init_gain"},
            "holds a tune of another knob, training.learning_rate; choose another folder",
        ),
        ({"task": {**TINY["task"], "n_steps": 11}}, {"target": 0.2}, "holds a tune with another task"),
    ],
)
def test_a_folder_is_for_one_study_and_knob(alone: Path, plan: Any, asked: Any, says: str) -> None:
    before = mistakes.snapshot(alone)
    with pytest.raises(UserError, match=says):
        tuned(alone, tiny(**plan), **{"target": 0.1, **asked})
    assert mistakes.snapshot(alone) == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, alone: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(UserError, match=r"holds something else \(it has no tuning.json\); choose another folder"):
        tuned(tmp_path, target=0.1)
    with pytest.raises(UserError, match="holds something else"):
        tuned(tmp_path / "thesis.txt", target=0.1)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    run = next((alone / "evaluations").iterdir())
    with pytest.raises(UserError, match="holds something else"):
        tuned(run, target=0.1)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "tuning.json").write_text('{"piano": 440}', encoding="utf-8")
    with pytest.raises(UserError, match=r"tuning\.json: damaged or not a file of this kind"):
        tuned(tmp_path / "odd", target=0.1)
    assert [file.name for file in (tmp_path / "odd").iterdir()] == ["tuning.json"], "not even a lock"


def test_another_process_may_begin_in_the_same_folder(
    tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look into the folder and the lock on it."""
    real = owned_folder.lock

    def late(path: Path, *, wait: bool) -> Any:
        if not path.parent.exists():
            path.parent.mkdir()
            other = read_json(alone / "tuning.json")
            other["about"]["network"]["hidden_size"] = 7
            write_json(path.parent / "tuning.json", other)
        return real(path, wait=wait)

    monkeypatch.setattr(owned_folder, "lock", late)
    with pytest.raises(UserError, match="holds a tune with another network"):
        tuned(tmp_path / "out", target=0.1)
    assert not (tmp_path / "out" / "evaluations").exists()


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


def test_the_default_folder_names_study_and_knob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_folder(tiny(), "network.gamma") == Path("runs/tiny-tune-network.gamma")
    monkeypatch.chdir(tmp_path)
    tune(tiny(), **RATE, target=9.0, device="cpu", jobs=1, progress=False, max_evaluations=2)
    assert (tmp_path / "runs/tiny-tune-training.learning_rate/tuning.csv").exists()


def test_a_target_below_0_is_refused_before_anything_is_trained(
    tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    with pytest.raises(UserError, match=r"^tune: target = -0.1 is wrong: weight_change is never below 0$"):
        tuned(tmp_path / "t", target=-0.1)
    assert not trained
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"kind": "tune", "format": 2}', "[" * 100_000 + "]" * 100_000])
def test_a_damaged_tuning_json_is_named_and_set_aside(content: str, tmp_path: Path, alone: Path) -> None:
    out = shutil.copytree(alone, tmp_path / "out")
    (out / "tuning.json").write_text(content, encoding="utf-8")
    with pytest.raises(DamagedFile, match=r"tuning\.json: .* --repair .* sets it aside"):
        tuned(out, target=0.1)
    assert (out / "tuning.json").read_text(encoding="utf-8") == content
    tuned(out, target=0.1, repair=True)
    assert (out / "tuning.json.damaged-1").read_text(encoding="utf-8") == content
    assert (out / "tuning.csv").read_bytes() == (alone / "tuning.csv").read_bytes()


def test_a_damaged_evaluation_is_named_and_repaired(
    tmp_path: Path, alone: Path, trained: list[tuple[float, int]]
) -> None:
    out = shutil.copytree(alone, tmp_path / "out")
    pack = sorted(out.rglob("members-0001.pack"))[0]
    data = pack.read_bytes()
    pack.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DamagedFile, match=r"members-0001\.pack: its member 3 .*--repair"):
        tuned(out, target=0.1)
    tuned(out, target=0.1, repair=True)
    assert [seed for _, seed in trained] == [3]
    assert (out / "tuning.csv").read_bytes() == (alone / "tuning.csv").read_bytes()


@pytest.mark.parametrize("name", ["tuning.csv", "tuning.png"])
def test_what_somebody_has_written_into_table_or_curve_is_never_replaced(
    name: str, tmp_path: Path, alone: Path, trained: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(alone, tmp_path / "out")
    (out / name).write_bytes(b"mine")
    before = mistakes.snapshot(out)
    with pytest.raises(DamagedFile, match=rf"{name}: it is not what degeneracy has written; .* --repair"):
        tuned(out, target=0.02)
    assert trained == [], "refused before anything is trained"
    assert mistakes.snapshot(out) == before
    tuned(out, target=0.1, repair=True)
    assert (out / f"{name}.damaged-1").read_bytes() == b"mine"
    assert (out / "tuning.csv").read_bytes() == (alone / "tuning.csv").read_bytes()
    assert (out / "tuning.png").read_bytes().startswith(b"\x89PNG")
    # While the search goes on.
    real = tuning.run_study

    def slow(*args: Any, **given: Any) -> Any:
        (out / name).write_bytes(b"mine")
        return real(*args, **given)

    monkeypatch.setattr(tuning, "run_study", slow)
    with pytest.raises(DamagedFile, match=rf"{name}: it is not what degeneracy has written"):
        tuned(out, target=0.1)
    assert (out / name).read_bytes() == b"mine"


def test_where_tuning_json_is_lost_its_evaluations_are_taken_over_by_repair_alone(
    tmp_path: Path, alone: Path, trained: list[tuple[float, int]]
) -> None:
    out = shutil.copytree(alone, tmp_path / "out")
    (out / "tuning.json").rename(out / "tuning.json.damaged-1")
    before = mistakes.snapshot(out)
    with pytest.raises(UserError, match=r"holds something else \(it has no tuning.json\)"):
        tuned(out, target=0.1)
    assert mistakes.snapshot(out) == before
    tuned(out, target=0.1, repair=True)
    assert trained == []
    assert (out / "tuning.csv").read_bytes() == (alone / "tuning.csv").read_bytes()
