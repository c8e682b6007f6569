"""`degeneracy plan`: from a run, or from a study whose run lies where it would."""

from pathlib import Path

import pytest

import degeneracy as dg
from degeneracy.cli import main
from degeneracy.cli.text import plan_text

SET = ["--set", 'claims.dynamics.measure="procrustes"', "--set", "claims.dynamics.margin=0.1"]


def test_a_plan_from_a_run_and_from_its_study(
    here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "tiny.toml"]) == 2
    assert capsys.readouterr().err == (
        "degeneracy: plan: runs/tiny does not exist; run a pilot first, such as: degeneracy run tiny.toml --seeds 0:8\n"
    )
    assert main(["run", "tiny.toml", "--jobs", "1", "--seeds", "0:4", "--quiet", *SET]) == 0
    capsys.readouterr()
    assert main(["plan", "runs/tiny", "--networks", "16", "50"]) == 0
    out = capsys.readouterr().out
    assert out == plan_text(dg.plan(dg.load_run(here / "runs/tiny"), [16, 50])) + "\n"
    assert "procrustes, driven" in out
    assert main(["plan", "tiny.toml", "--networks", "16", "50"]) == 0
    assert capsys.readouterr().out == out
    for wrong, says in (("2", "3 or more each"), ("x", "invalid int value")):
        assert main(["plan", "runs/tiny", "--networks", wrong]) == 2
        assert says in capsys.readouterr().err
    assert main(["plan", "tuny"]) == 2
    assert "unknown study 'tuny'" in capsys.readouterr().err
