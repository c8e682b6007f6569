"""What the README shows works as it is written."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

import degeneracy as dg
from degeneracy.checks import check_task

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_own_task_and_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [source] = [block for block in blocks("python") if "class Accumulate" in block]
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("mine")
    try:
        check_task(mine.Accumulate())
        study = dg.Study(
            name="own",
            seeds="0:2",
            task={"name": "mine:Accumulate", "n_steps": 6, "threshold": 2.0},
            network={"hidden_size": 4},
            training={"batch_size": 4, "steps_per_epoch": 2},
            probe={"n_trials": 4},
            measures=("mine:mean_speed",),
        )
        [row] = dg.run_study(study, jobs=1, progress=False).table.to_dict("records")
        assert row["measure"] == "mean_speed"
        assert row["value"] > 0
    finally:
        sys.modules.pop("mine", None)


def test_the_study_file() -> None:
    [source] = [block for block in blocks("toml") if "[task]" in block]
    study = dg.Study(**tomllib.loads(source))
    assert [condition.task.delay_max for condition in study.conditions()] == [10, 20]
    assert {condition.network.cell for condition in study.conditions()} == {"gru"}
    assert study.claims.dynamics.expected == {"task.delay_max": "up"}


def test_the_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small: fewer seeds, units and steps."""
    [source] = [block for block in blocks("python") if "result.report" in block]
    for large, small in (
        ("n_steps=50", "n_steps=10, threshold=2.0"),
        ("batch_size=64, steps_per_epoch=25", "batch_size=8, steps_per_epoch=2"),
        ("hidden_size=64", "hidden_size=6"),
        ("range(8)", "range(2), jobs=1, progress=False"),
        ('"rank": 20, "n_delays": 10', '"rank": 4, "n_delays": 2, "n_starts": 2'),
        ("jobs=2", "jobs=1"),
    ):
        assert large in source
        source = source.replace(large, small)
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "README", "exec"), {})
    assert (tmp_path / "flipflop" / "report.html").exists()
    assert len(dg.Ensemble.load("flipflop/networks")) == 2


def test_every_link_to_a_file_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
    assert not re.search(r"PICTURE|QSTIME|TESTTIME", README)
