"""Runs of a folder, found by name and scale."""

from pathlib import Path

import pytest

import degeneracy as dg
from degeneracy.core.errors import UserError

STUDY = {
    "seeds": range(2),
    "task": {"name": "flip_flop", "n_steps": 5, "threshold": 100.0},
    "network": {"hidden_size": 4},
    "training": {"batch_size": 4, "steps_per_epoch": 2, "max_epochs": 4},
    "probe": {"n_trials": 4},
    "measures": ["weight_change"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs and something else."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        dg.run_study(dg.Study(name=name, **STUDY), out=place / name, jobs=1, progress=False)
    (place / "else").mkdir()
    (place / "note.txt").write_text("no run", encoding="utf-8")
    return place


def test_runs_are_found_by_name_in_the_order_asked_for(folder: Path) -> None:
    assert list(dg.load_runs(folder)) == ["one", "two"]
    found = dg.load_runs(folder, ["two", "three", "one"])
    assert [(name, run.name) for name, run in found.items()] == [("two", "two"), ("one", "one")]


def test_what_is_not_there_is_said(folder: Path) -> None:
    for given, message in (
        ((folder, ["three"]), "no finished run of three"),
        ((folder / "else", []), "no finished run of a study"),
        ((folder / "nowhere", []), "no folder with run directories"),
    ):
        with pytest.raises(UserError, match=message):
            dg.load_runs(*given)
    with pytest.raises(UserError, match="at scale laptop"):
        dg.load_runs(folder, scale="laptop")
