"""`degeneracy tune`: what it prints, where, and with which exit code."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from stored import member_records

from degeneracy.cli import main
from degeneracy.core.files import read_json

STUDY = """
name = "tiny"
seeds = "0:3"
task = { name = "flip_flop", channels = 1, n_steps = 10, threshold = 2.0 }
network = { hidden_size = 6 }
training = { batch_size = 8, steps_per_epoch = 4, max_epochs = 5, patience = 1 }
probe = { n_trials = 8 }
"""
TUNE = ["tune", "tiny.toml", "--knob", "training.learning_rate", "--measure", "weight_change", "--jobs", "1"]
TUNE += ["--low", "1e-4", "--high", "0.1", "--log"]
ROOT = Path(__file__).parent.parent.parent
OUT = Path("runs/tiny-tune-training.learning_rate")


@pytest.fixture(autouse=True)
def tiny(here: Path) -> None:
    Path("tiny.toml").write_text(STUDY, encoding="utf-8")


def test_reached(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TUNE, "--target", "0.1"]) == 0
    out, err = capsys.readouterr()
    table = pd.read_csv(OUT / "tuning.csv")
    # One line per evaluation, as it is found.
    found = [line for line in err.splitlines() if "weight_change" in line]
    assert [float(line.split()[2].rstrip(":")) for line in found] == list(table["knob"])
    assert found[0].endswith("], 3 of 3 members converged")
    # The curve by strength, the one that reached marked, and the answer.
    heading, rule, *rest = out.splitlines()
    assert heading.split("  ")[0] == "training.learning_rate"
    assert "Weight change, absolute [95% interval]" in heading
    assert set(rule) == {"-"}
    rows = rest[: len(table)]
    assert [float(row.split()[0]) for row in rows] == sorted(table["knob"])
    marked = [float(row.split()[0]) for row in rows if re.match(r"\S+ \*", row)]
    answer = read_json(OUT / "tuning.json")["questions"][0]
    assert marked == [answer["at"]]
    assert " ".join(" ".join(rest[len(table) + 1 :]).split()).startswith(answer["message"])
    assert out.endswith(f"\nCurve: {OUT}/tuning.csv, {OUT}/tuning.png\n")
    assert max(map(len, out.splitlines())) <= 120
    # Once more: nothing to do, the same text; quiet: nothing else.
    assert main([*TUNE, "--target", "0.1", "--quiet"]) == 0
    assert capsys.readouterr() == (out, "")


def test_out_of_reach_and_not_reached_are_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TUNE, "--target", "50", "--out", "mine"]) == 1
    out, _ = capsys.readouterr()
    assert "\nout of reach: weight_change is " in out
    assert " *" not in out
    assert Path("mine/tuning.png").exists()
    given = ["--target", "0.1", "--tolerance", "1e-9", "--max-evaluations", "2", "--out", "mine", "--quiet"]
    assert main([*TUNE, *given]) == 1
    out, err = capsys.readouterr()
    assert "\nnot reached in 2 evaluations: " in out
    assert err == ""


def test_what_left_no_value_is_said_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--target", "0.1", "--set", "task.threshold=1e-9", "--calibrated", "--quiet"]
    assert main([*TUNE, *given]) == 1
    out, _ = capsys.readouterr()
    assert out.count("0 of 3   no value, the search keeps away: needs 2 converged members, 0 of 3 converged") == 5
    assert "Weight change, calibrated [95% interval]" in out


def test_settings_seeds_and_scale_are_those_of_a_run() -> None:
    scaled = STUDY.replace('seeds = "0:3"', "") + '[scale.small]\nseeds = "0:3"\n"network.hidden_size" = 5\n'
    Path("tiny.toml").write_text(scaled, encoding="utf-8")
    given = [
        "--scale",
        "small",
        "--seeds",
        "0:4",
        "--set",
        "task.n_steps=9",
        "--max-evaluations",
        "2",
        "--quiet",
    ]
    assert main([*TUNE, "--target", "50", *given]) == 1
    out = Path("runs/tiny-small-tune-training.learning_rate")
    found = read_json(out / "tuning.json")
    assert found["about"]["network"]["hidden_size"] == 5
    assert found["about"]["task"]["n_steps"] == 9
    assert found["questions"][0]["asked"]["seeds"] == [0, 1, 2, 3]


def test_the_command_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    """At the smallest of the study's scales."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = [one for one in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL) if "degeneracy tune" in one]
    words = shlex.split(block.replace("\\\n", " "))
    assert words[0] == "degeneracy"
    study, scale = words[2], words.index("laptop")
    words[2], words[scale] = str(ROOT / study), "smoke"
    assert main([*words[1:], "--jobs", "1", "--quiet"]) in (0, 1)
    assert "Procrustes, driven [95% interval]" in capsys.readouterr().out
    assert Path("runs/gamma_flip_flop-smoke-tune-network.gamma/tuning.png").exists()


def test_a_kill_between_evaluations_is_gone_on_from(capsys: pytest.CaptureFixture[str]) -> None:
    """A real SIGKILL once the first evaluation is there; the same command ends as if nothing had been."""
    command = [sys.executable, "-m", "degeneracy.cli", *TUNE, "--target", "0.1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stderr is not None
    while "members converged" not in process.stderr.readline():
        assert process.poll() is None
    process.kill()
    process.wait()
    process.stderr.close()
    first = OUT / "evaluations/training.learning_rate=0.0001"
    members = member_records(first)
    assert len(members) == 3
    assert read_json(OUT / "tuning.json")["questions"][0]["status"] == "not finished"
    assert main([*TUNE, "--target", "0.1"]) == 0
    assert main([*TUNE, "--target", "0.1", "--out", "alone"]) == 0
    assert member_records(first) == members, "the same records in the same places"
    assert (OUT / "tuning.csv").read_bytes() == Path("alone/tuning.csv").read_bytes()
