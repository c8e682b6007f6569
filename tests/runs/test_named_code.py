"""Code that a study names: running executes it and says so first; a finished run is read without it."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from degeneracy import UserError
from degeneracy.cli import main
from degeneracy.core.registry import look_up

MINE = """
from pathlib import Path
import numpy as np
import degeneracy as dg

with Path(__file__).with_name("mark").open("a") as mark:
    mark.write("imported ")


class Flips(dg.tasks.FlipFlop):
    "As the library's, under a name of its own."
    name = "flips"


class Unit(dg.CELLS["tanh"]):
    "Likewise."
    name = "unit"


def speed(recording):
    return np.array([np.abs(np.diff(x, axis=1)).mean() for x in recording.states])
"""
STUDY = """
name = "mine"
seeds = "0:3"
measures = ["procrustes", "mine:speed"]
vary.task.channels = [1, 2]
task = { name = "mine:Flips", n_steps = 10, threshold = 2.0 }
network = { hidden_size = 8, cell = "mine:Unit" }
training = { batch_size = 8, steps_per_epoch = 2, max_epochs = 5, patience = 1 }
probe = { n_trials = 8 }
"""
RUN = "import degeneracy as dg; dg.run_study('mine.toml', out='run', jobs=1, progress=False)"
READ = """
import degeneracy as dg
run = dg.load_run("run")
print(run.table.to_csv())
print(dg.effects(run).to_csv(), dg.convergence(run).to_csv())
for result in run.results:
    assert set(result.distances) == {"procrustes", "procrustes/driven"}
    assert {"procrustes", "speed"} == set(result.measured)
    assert result.examples.states.shape[0] == 3
    assert result.spec["task"]["name"] == "mine:Flips"
dg.plots.distance_heatmaps(run, ["procrustes"])
dg.plots.training_curves(run)
dg.plots.example_trials(run.results[0])
dg.load_runs(".")
dg.report(run, "read.html")
"""


def python(here: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which has imported nothing yet, from the folder where the module lies."""
    return subprocess.run(
        [sys.executable, *command], cwd=here, capture_output=True, text=True, encoding="utf-8", timeout=300
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of a study that names code for all that can be named."""
    here = tmp_path_factory.mktemp("named")
    (here / "mine.py").write_text(MINE, encoding="utf-8")
    (here / "mine.toml").write_text(STUDY, encoding="utf-8")
    done = python(here, "-c", RUN)
    assert done.returncode == 0, done.stderr
    assert (here / "mark").exists()
    return here


@pytest.fixture
def here(finished: Path) -> Path:
    """The folder, without the mark that an import leaves."""
    (finished / "mark").unlink(missing_ok=True)
    return finished


@pytest.mark.parametrize(
    "command",
    [
        ("-c", READ),
        ("-m", "degeneracy.cli", "report", "run"),
        ("-m", "degeneracy.cli", "report", "run", "--out", "x"),
    ],
    ids=["load_run", "report", "report --out"],
)
def test_a_finished_run_is_read_without_its_code(command: tuple[str, ...], here: Path) -> None:
    done = python(here, *command)
    assert done.returncode == 0, done.stderr
    assert not (here / "mark").exists()
    assert "importing" not in done.stderr


def test_it_is_read_where_that_code_is_not(here: Path) -> None:
    (here / "mine.py").rename(here / "gone.txt")
    try:
        whole = python(here, "-c", READ)
    finally:
        (here / "gone.txt").rename(here / "mine.py")
    assert whole.returncode == 0, whole.stderr
    assert "mine" not in whole.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("run", "mine.toml", "--out", "run", "--jobs", "1"),
        ("measure", "run", "--measures", "cka", "--jobs", "1"),
    ],
    ids=["run", "measure"],
)
def test_what_needs_the_code_says_so_before_it_imports_it(command: tuple[str, ...], here: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(here, tmp_path / "copy"))  # measuring changes the run that the others read
    (here / "mine.py").write_text("print('executed', flush=True)\n" + MINE, encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "degeneracy.cli", *command],
            cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", timeout=300,
        )  # fmt: skip
    finally:
        (here / "mine.py").write_text(MINE, encoding="utf-8")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    said = [line for line in lines if line.startswith("importing the module 'mine'")]
    assert len(said) == 1, done.stdout
    assert lines.index(said[0]) < lines.index("executed")
    assert (here / "mark").exists()


def test_a_module_that_is_there_already_is_not_announced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "degeneracy")
    look_up("measure", "json:dumps", {})
    assert caplog.text == ""
    with pytest.raises(UserError):
        look_up("measure", "no_such_module_here:x", {})


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run", "Running a study executes the code that it names as module:Name"),
        ("measure", "Measuring executes the code that a run's study or --measures names"),
        ("tune", "Tuning executes the code that the study names"),
        ("report", "none of the code that its study names (module:Name) is imported"),
    ],
)
def test_the_help_says_what_is_executed(command: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert words in " ".join(capsys.readouterr().out.split())
