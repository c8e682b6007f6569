"""The command line: what each command writes and prints, where, and with which exit code."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored import member_records
from synthetic import study

import degeneracy
from degeneracy import UserError
from degeneracy.cli import main
from degeneracy.cli.text import table_text

STATES = np.random.default_rng(0).normal(size=(3, 6, 10, 4))  # (member, trial, time, unit)


# --- run, report, measure ----------------------------------------------------------------------------------------


def test_run(here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "tiny.toml", "--jobs", "1", "--seeds", "0:4", "--set", "options.procrustes.alpha=0.5"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    run = Path("runs/tiny")
    assert no_figures == [run / "report.html"]
    stored = json.loads((run / "study.json").read_text(encoding="utf-8"))["study"]
    assert (stored["seeds"], stored["options"]) == ([0, 1, 2, 3], {"procrustes": {"alpha": 0.5}})
    assert len(member_records(run)) == 8
    # Progress and messages to standard error, the table to standard output, the report named last.
    assert err.splitlines()[0] == "channels=1: training, 0 of 4 networks"
    assert err.splitlines()[-1] == "Report: runs/tiny/report.html"
    assert_is_table(out, pd.read_csv(run / "degeneracy.csv"), {"procrustes": "driven", "ood_log_error_sd": "length_2x"})
    # Once more: nothing to do, the same table; quiet: nothing else.
    assert main([*command, "--quiet"]) == 0
    again, silent = capsys.readouterr()
    assert (again, silent) == (out, "")


def assert_is_table(out: str, csv: pd.DataFrame, shown: dict[str, str]) -> None:
    """One row per measure shown and condition, with the numbers of degeneracy.csv."""
    lines = out.split("\n\n")[0].splitlines()[2:]
    assert len(lines) == len(shown) * csv["condition"].nunique()
    assert max(map(len, out.splitlines())) <= 120
    for line in lines:
        condition, measure, variant, value, *_ = (cell.strip() for cell in line.split("  ") if cell.strip())
        assert shown[measure] == variant
        of_line = (csv["condition"] == condition) & (csv["measure"] == measure) & (csv["variant"] == variant)
        [row] = csv[of_line].to_dict("records")
        point, low, high = (float(x.strip("[],").replace("−", "-")) for x in value.split())
        width = row["ci_high"] - row["ci_low"]
        for printed, exact in ((point, row["value"]), (low, row["ci_low"]), (high, row["ci_high"])):
            assert abs(printed - exact) <= 0.05 * width  # two digits of the half-width, so half of 1/10 of it
        assert line.endswith("4 of 4")


def test_what_could_not_be_measured_is_said_under_the_table(
    here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lost = ["--set", "task.threshold=1e-9", "--set", 'measures=["procrustes", "cka"]']
    assert main(["run", "tiny.toml", "--jobs", "1", *lost, "--quiet"]) == 0
    out = capsys.readouterr().out
    why = "needs 2 converged members, 0 of 3 converged"
    assert out.startswith(f"\nWithout a number, not calibrated or not resolved:\n  procrustes, cka: {why}\n")
    assert out.count("procrustes") == 1  # once, though it holds in both conditions
    assert "\n\nNo network converged in channels=1; channels=2: more training.max_epochs or another" in out


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (("not converged", "diverged"), True),
        (("not converged", "converged"), False),
        (("diverged",), False),
        (("given",), False),
        ((), False),
    ],
)
def test_more_training_is_advised_where_no_network_converged(statuses: tuple[str, ...], said: bool) -> None:
    made = study(2, (2,))
    (result,) = made.results
    members = tuple(replace(result.members[0], label=status, status=status) for status in statuses)
    found = replace(made, results=(replace(result, members=members),))
    assert ("No network converged in condition_2:" in table_text(found, Path("table.csv"))) == said


def test_training_alone_and_keeping_networks(
    here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "tiny.toml", "--jobs", "1", "--quiet", "--train-only"]) == 0
    said = capsys.readouterr().out
    assert said == "channels=1: 3 networks, all converged\nchannels=2: 3 networks, all converged\n"
    assert not no_figures
    assert not list(here.rglob("measured-*.pack"))
    assert main(["pack", "runs/tiny"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (said, "Networks: zoo/tiny\n")
    assert len(degeneracy.load_zoo("tiny", directory="zoo")["channels=2"]) == 3
    assert main(["pack", "runs/none", "--out", "zoo"]) == 2
    assert capsys.readouterr().err == "degeneracy: runs/none is no run directory (it has no study.json)\n"


def test_report_again(here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "tiny.toml", "--jobs", "1", "--quiet"])
    (here / "runs/tiny/report.html").unlink()
    assert main(["report", "runs/tiny"]) == 0
    assert (here / "runs/tiny/report.html").exists()
    assert main(["report", "runs/tiny", "--out", "elsewhere.html"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "Report: elsewhere.html"
    assert no_figures[-1] == Path("elsewhere.html")


def test_repair(here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "tiny.toml", "--jobs", "1"]
    assert main(command) == 0
    table = Path("runs/tiny/degeneracy.csv").read_bytes()
    pack = next(Path("runs/tiny").glob("conditions/channels=1-*/members-0001.pack"))
    pack.write_bytes(pack.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    assert main(command) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"degeneracy: cannot read {pack}: its member 2 ")
    assert "the same command with --repair" in line
    assert main([*command, "--repair"]) == 0
    assert f"set {pack} aside as members-0001.pack.damaged-1: its member 2" in capsys.readouterr().err
    assert Path("runs/tiny/degeneracy.csv").read_bytes() == table


@pytest.mark.parametrize(
    "command", ["run tiny.toml", "tune tiny.toml --knob k --measure m --target 1 --low 1 --high 2"]
)
@pytest.mark.parametrize("repair", [True, False])
def test_every_command_that_repairs_is_told_to(
    repair: bool, command: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def called(*_: Any, **given: Any) -> None:
        told.append(given["repair"])
        raise UserError("enough")

    for module in ("tuning.tune.tune", "runs.running.run_study"):  # tune imports the real run_study first
        monkeypatch.setattr(f"degeneracy.{module}", called)
    assert main([*command.split(), *(["--repair"] if repair else [])]) == 2
    assert told == [repair]


def test_measure_a_run_again(here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "tiny.toml", "--jobs", "1", "--quiet"])
    members = {file: file.stat().st_mtime_ns for file in here.glob("runs/tiny/conditions/*/members-*.pack")}
    assert len(members) == 2
    capsys.readouterr()
    assert main(["measure", "runs/tiny", "--measures", "cka, procrustes", "--jobs", "1"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "Report: runs/tiny/report.html"
    assert "training" not in err.replace("training, 3 of 3", "")
    table = pd.read_csv("runs/tiny/degeneracy.csv")
    assert list(table["measure"].unique()) == ["cka", "procrustes"]
    assert "cka" in out
    assert {file: file.stat().st_mtime_ns for file in here.glob("runs/tiny/conditions/*/members-*.pack")} == members
    assert len(no_figures) == 2


def test_arrays_measured_again_replace_their_own_table_and_nobody_elses(
    here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("mine.npz", states=STATES)
    command = ["measure", "mine.npz", "--out", "out", "--jobs", "1", "--measures"]
    assert main([*command, "procrustes"]) == 0
    assert main([*command, "cka"]) == 0
    table = Path("out/degeneracy.csv")
    assert set(pd.read_csv(table)["measure"]) == {"cka"}
    table.write_text(table.read_text(encoding="utf-8") + "my,own,row\n", encoding="utf-8")
    mine = table.read_bytes()
    capsys.readouterr()
    assert main([*command, "procrustes"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "degeneracy: cannot read out/degeneracy.csv: it is not what degeneracy has written; move it away, or choose"
        " another folder with --out"
    )
    assert table.read_bytes() == mine


def test_measure_arrays(here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("mine.npz", states=STATES)
    command = ["measure", "mine.npz", "--out", "out", "--measures", "procrustes,pif", "--jobs", "1"]
    assert main([*command, "--set", "options.procrustes.alpha=0.5"]) == 0
    out, err = capsys.readouterr()
    assert err == "Report: out/report.html\n"
    assert "pif: needs weights: not given" in out
    assert sorted(file.name for file in Path("out").iterdir()) == [
        "arrays.json",
        "degeneracy.csv",
        "distances.npz",
        "lock",
        "report.html",
    ]
    expected = degeneracy.measure_arrays(states=STATES, measures=["procrustes"], options={"procrustes": {"alpha": 0.5}})
    with np.load("out/distances.npz", allow_pickle=False) as distances:
        assert list(distances) == ["members", "procrustes/driven"]
        assert list(distances["members"]) == ["0", "1", "2"]
        np.testing.assert_array_equal(distances["procrustes/driven"], expected.distances["procrustes"])
    described = json.loads(Path("out/arrays.json").read_text(encoding="utf-8"))
    assert described["measures"]["procrustes"]["alpha"] == 0.5
    table = pd.read_csv("out/degeneracy.csv")
    assert table["condition"].unique().tolist() == ["mine"]
    assert table["value"][0] == pytest.approx(expected.table["value"][0], rel=1e-12)  # decimals of the CSV
    # What this command wrote may be written again, and without --out it is runs/ARRAYS.
    assert main(command) == 0
    assert pd.read_csv("out/degeneracy.csv")["value"][0] != table["value"][0]
    assert main(["measure", "mine.npz", "--measures", "cka", "--quiet"]) == 0
    assert Path("runs/mine/degeneracy.csv").exists()


CELL_SOURCE = """
from degeneracy.networks.pointwise import TanhCell


class Mine(TanhCell):
    gain: float = 1.0
"""


def test_the_cell_of_arrays(here: Path, no_figures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "states": np.tanh(STATES),
        "weights": rng.normal(size=(3, 4, 4)),
        "bias": rng.normal(size=(3, 4)),
    }
    np.savez("bare.npz", **arrays)
    np.savez("leaky.npz", **arrays, cell="leaky_tanh", **{"cell_options.dt_ms": 10.0, "cell_options.tau_ms": 50.0})
    Path("of_mine.py").write_text(CELL_SOURCE, encoding="utf-8")
    command = [
        "--measures",
        "signed_pif,fixed_points",
        "--set",
        "options.fixed_points.n_starts=8",
        "--jobs",
        "1",
    ]

    def measured(source: str, *more: str) -> tuple[dict[str, Any], dict[str, str]]:
        assert main(["measure", source, "--out", "out", *command, *more]) == 0
        table = pd.read_csv("out/degeneracy.csv")
        notes = {row["measure"]: str(row["note"]) for row in table.to_dict("records")}
        return json.loads(Path("out/arrays.json").read_text(encoding="utf-8"))["cell"], notes

    cell, notes = measured("bare.npz")
    assert cell == "not given"
    assert all("give cell=" in notes[name] for name in ("signed_pif", "fixed_points"))
    assert "fixed_points: needs step: the cell is not known: give cell=" in capsys.readouterr().out.replace(
        "\n    ", " "
    )
    cell, notes = measured("bare.npz", "--cell", "tanh")
    assert cell == {"name": "tanh"}
    assert all("cell: tanh" in notes[name] for name in ("signed_pif", "fixed_points"))
    cell, notes = measured("leaky.npz")
    assert cell == {"name": "leaky_tanh", "dt_ms": 10.0, "tau_ms": 50.0}
    assert "give cell_options (form)" in notes["fixed_points"]
    cell, notes = measured("leaky.npz", "--set", "cell_options.form=rate", "--set", "cell_options.dt_ms=20")
    assert cell == {"name": "leaky_tanh", "dt_ms": 20.0, "tau_ms": 50.0, "form": "rate"}
    assert "cell: leaky_tanh (dt_ms = 20.0, tau_ms = 50.0, form = rate)" in notes["fixed_points"]
    cell, notes = measured("bare.npz", "--cell", "of_mine:Mine", "--set", "cell_options.gain=2")
    assert cell == {"name": "of_mine:Mine", "gain": 2.0}
    assert len(no_figures) == 5


def test_the_report_of_a_run_in_earnest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("mine.npz", states=STATES)
    assert main(["measure", "mine.npz", "--out", "out", "--measures", "cka", "--jobs", "1"]) == 0
    assert "<html" in Path("out/report.html").read_text(encoding="utf-8")
    assert list(Path("out/figures").glob("*.png"))


# --- Streams -------------------------------------------------------------------------------------------


def test_a_reader_who_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "degeneracy.cli", "cells"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, encoding="utf-8")
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["cells"]) == 2
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # so that it can be closed
    assert capsys.readouterr().err == "degeneracy: No space left on device\n"


def test_signs_that_the_terminal_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from degeneracy.cli import commands

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setitem(commands.COMMANDS, "tasks", lambda _: print("−0.5 [—]"))
    assert main(["tasks"]) == 0
    assert raw.getvalue() == b"?0.5 [?]\n"
