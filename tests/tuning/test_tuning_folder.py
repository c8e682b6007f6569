"""The folder of a tune: it goes on where it was stopped, is for one study and knob, and loses nothing of the user's."""

import shutil
from pathlib import Path
from typing import Any

import mistakes
import numpy as np
import pytest
from stored import member_arrays
from tunes import RATE, TINY, tiny, tuned

from degeneracy import UserError, tune
from degeneracy.core import owned_folder
from degeneracy.core.files import DamagedFile, read_json, write_json
from degeneracy.runs import running
from degeneracy.tuning import tune as tuning
from degeneracy.tuning.tune import default_folder


class Crash(BaseException):
    """The process ends here."""


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


def test_the_default_folder_names_study_and_knob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_folder(tiny(), "network.gamma") == Path("runs/tiny-tune-network.gamma")
    monkeypatch.chdir(tmp_path)
    tune(tiny(), **RATE, target=9.0, device="cpu", jobs=1, progress=False, max_evaluations=2)
    assert (tmp_path / "runs/tiny-tune-training.learning_rate/tuning.csv").exists()


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
