"""The command line in other locales: files, paths and a terminal of other encodings, marks before the text."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stored import records

from degeneracy.cli import main
from degeneracy.core.files import read_json

STUDY = """\
# a “curly” quote
name = "tiny"
seeds = "0:2"
measures = ["procrustes", "mine:Übereinstimmung"]
description = "“größe”"
task = { name = "mine:Größe", n_steps = 10, threshold = 2.0 }
network = { hidden_size = 8 }
training = { batch_size = 8, steps_per_epoch = 2, max_epochs = 5, patience = 1 }
probe = { n_trials = 8 }
"""
MINE = """\
# a “curly” quote
import numpy as np
import degeneracy as dg

class Größe(dg.tasks.FlipFlop):
    '''“A task”.'''
    name = "größe"

def Übereinstimmung(recording):
    return np.zeros((len(recording.states), len(recording.states)))
"""
# Every command in one process, since each start imports torch. Our own text is never in the locale's encoding.
PROGRAM = """\
import os, sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module="degeneracy")
from degeneracy.cli import main
from degeneracy.runs.run_directory import RunDirectory
assert sys.getfilesystemencoding() == sys.stdout.encoding == "ascii"
RunDirectory.report = lambda self, result, jobs=1: self.root / "report.html"  # that of the arrays will do
umlaut = os.fsdecode("größe".encode())  # as Python hands on arguments that the locale does not know
for words in (
    ["run", "tiny.toml", "--jobs", "1", "--set", f"vary.task.name=['mine:Gr{umlaut[2:]}']", "--out", umlaut],
    ["run", "tiny.toml", "--jobs", "1", "--out", umlaut, "--set", f"description={umlaut}"],
    ["measure", os.fsdecode("états.npz".encode()), "--measures", "cka", "--jobs", "1"],
    ["measures"],
    ["--help"],
    ["run", umlaut + ".toml"],
    ["run", "größe.toml"],
):
    print("exit code", main(words))
"""


@dataclass(frozen=True, kw_only=True)
class Done:
    folder: Path
    out: str
    errors: list[str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("locale")
    (folder / "tiny.toml").write_text(STUDY, encoding="utf-8-sig")
    (folder / "mine.py").write_text(MINE, encoding="utf-8-sig")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    np.savez(folder / "états.npz", states=np.random.default_rng(0).normal(size=(3, 12, 10, 5)))
    settings = {
        "PYTHONUTF8": "0",
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONWARNDEFAULTENCODING": "1",
    }
    ended = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        encoding="ascii",
    )
    lines = [line for line in ended.stderr.splitlines() if "Warning" not in line and line[:1] != " "]
    return Done(folder=folder, out=ended.stdout, errors=lines)


def test_everything_runs_and_prints(done: Done) -> None:
    codes = [line for line in done.out.splitlines() if line.startswith("exit code")]
    assert codes == [f"exit code {code}" for code in (2, 0, 0, 0, 0, 2, 2)], done.errors
    assert not [line for line in done.errors if "Traceback" in line]
    assert "usage: degeneracy" in done.out
    assert "?tats      cka" in done.out


def test_a_mistake_is_one_line_of_what_can_be_printed(done: Done) -> None:
    said = [line for line in done.errors if line.startswith("degeneracy: ")]
    assert len(said) == 3
    assert said[0].startswith(r"degeneracy: Study: 'task.name' is both set (mine:Gr\xf6\xdfe) and varied")
    assert said[1] == said[2]
    assert said[1].startswith("degeneracy: cannot read gr")
    assert said[1].endswith("e.toml: no such file")


def test_names_in_files_are_what_was_written(done: Done) -> None:
    run = done.folder / "größe"
    assert read_json(run / "study.json")["study"]["description"] == "größe"
    assert set(pd.read_csv(run / "degeneracy.csv")["measure"]) == {"procrustes", "Übereinstimmung"}
    for pack in run.glob("conditions/*/measured-*.pack"):
        assert "Übereinstimmung" in {record.header["name"] for record in records(pack)}
    arrays = done.folder / "runs" / "états"
    assert set(pd.read_csv(arrays / "degeneracy.csv")["condition"]) == {"états"}
    assert read_json(arrays / "arrays.json")["source"] == "états.npz"
    assert "<title>états" in (arrays / "report.html").read_text(encoding="utf-8")


def test_the_tilde_is_the_home_folder_wherever_a_path_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: list[Path]
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(elsewhere)
    plain = STUDY.replace('"mine:Größe"', '"flip_flop"').replace(', "mine:Übereinstimmung"', "")
    (home / "tiny.toml").write_text(plain, encoding="utf-8")
    np.savez(home / "a.npz", states=np.random.default_rng(0).normal(size=(3, 12, 10, 5)))
    assert main(["run", "~/tiny.toml", "--out", "~/run", "--jobs", "1", "--quiet"]) == 0
    assert main(["measure", "~/run", "--measures", "cka", "--jobs", "1", "--quiet"]) == 0
    assert main(["measure", "~/a.npz", "--out", "~/arrays", "--measures", "cka", "--quiet"]) == 0
    assert main(["report", "~/run", "--out", "~/other.html"]) == 0
    assert (home / "run" / "degeneracy.csv").is_file()
    assert (home / "arrays" / "degeneracy.csv").is_file()
    assert no_figures == [home / "run/report.html"] * 2 + [home / "arrays/report.html", home / "other.html"]
    assert list(elsewhere.iterdir()) == []
