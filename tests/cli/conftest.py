"""What the tests of the command line share: a small study, a finished run of it, reports without figures."""

from pathlib import Path
from typing import Any

import mistakes
import pytest

from degeneracy import reporting
from degeneracy.core.user_files import user_path
from degeneracy.runs import arrays_folder, run_directory

STUDY = """
name = "tiny"
seeds = "0:3"
measures = ["procrustes", "ood_log_error_sd", "ood_error_cv"]
vary.task.channels = [1, 2]
task = { name = "flip_flop", n_steps = 10, threshold = 2.0 }
network = { hidden_size = 8 }
training = { batch_size = 8, steps_per_epoch = 2, max_epochs = 5, patience = 1 }
probe = { n_trials = 8 }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a small study in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(STUDY, encoding="utf-8")
    return tmp_path


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Reports are one line of text (the report has its own tests); the list fills with their paths."""
    written: list[Path] = []

    def report(study: object, path: Any, *, jobs: int = 1) -> Path:
        written.append(user_path(path))
        written[-1].write_text("a report", encoding="utf-8")
        return written[-1]

    for home in (reporting, arrays_folder, run_directory):  # each has the name for itself
        monkeypatch.setattr(home, "report", report)
    return written


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | None]:
    """The files of a finished run, without its report."""
    from degeneracy.runs.running import run_study
    from degeneracy.studies.study import load_study

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(mistakes.STUDY, encoding="utf-8")
    run_study(load_study(folder / "tiny.toml"), out=folder / "run", device="cpu", jobs=1, progress=False)
    return mistakes.snapshot(folder / "run")
