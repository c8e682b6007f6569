"""A user's mistake, and how it must be met: one line, exit code 2, before anything is written or deleted."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from degeneracy.cli import main
from degeneracy.training import members as training

STUDY = """
name = "tiny"
seeds = "0:2"
measures = ["procrustes"]
vary.task.channels = [1, 2]
task = { name = "flip_flop", n_steps = 10, threshold = 2.0 }
network = { hidden_size = 8 }
training = { batch_size = 8, steps_per_epoch = 2, max_epochs = 5, patience = 1 }
probe = { n_trials = 8 }
"""
STATES = np.random.default_rng(0).normal(size=(3, 6, 10, 5))  # (member, trial, time, unit)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What is done, and the line it is met by; `prepare` makes the folder in which it is done."""

    command: str
    says: str
    prepare: Callable[[Path], Any] = lambda _: None


def a_file(name: str, content: str | bytes) -> Callable[[Path], Any]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def study(old: str = "", new: str = "") -> Callable[[Path], Any]:
    assert old in STUDY
    return a_file("tiny.toml", STUDY.replace(old, new) if old else STUDY)


def arrays(**given: Any) -> Callable[[Path], Any]:
    return lambda folder: np.savez(folder / "a.npz", **given)


def cut(name: str, keep: int) -> Callable[[Path], Any]:
    """A file of a finished run cut short."""

    def damage(folder: Path) -> None:
        [file] = (folder / "run").glob(name)
        file.write_bytes(file.read_bytes()[:keep])

    return damage


def flipped(name: str, at: int) -> Callable[[Path], Any]:
    """A file of a finished run with one bit flipped; `at` counts from its end where it is negative."""

    def damage(folder: Path) -> None:
        [file] = (folder / "run").glob(name)
        data = bytearray(file.read_bytes())
        data[at] ^= 4
        file.write_bytes(data)

    return damage


def copied(source: str, target: str) -> Callable[[Path], Any]:
    """A file of a finished run copied over another."""

    def damage(folder: Path) -> None:
        [here], [there] = ((folder / "run").glob(name) for name in (source, target))
        there.write_bytes(here.read_bytes())

    return damage


def with_nan() -> Any:
    states = STATES.copy()
    states[1, 2, 3, 4] = np.nan
    return states


RUN = "run tiny.toml"
MEASURE = "measure a.npz --out mine"


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """All files with what they hold, and all folders."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def put(folder: Path, files: dict[str, bytes | None]) -> None:
    for name, content in files.items():
        (folder / name).mkdir(parents=True) if content is None else a_file(name, content)(folder)


def assert_is_met(
    mistake: Mistake,
    folder: Path,
    finished: dict[str, bytes | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Make the mistake in a folder, beside a finished run where it is about one."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(training, "_train_one", lambda *_: pytest.fail("trained before the mistake was found"))
    words = mistake.command.split()
    if "run" in words[1:]:
        put(folder / "run", finished)
    mistake.prepare(folder)
    before = snapshot(folder)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()  # one line, so no traceback
    assert line.startswith("degeneracy: ")
    assert re.search(mistake.says, line), line
    assert snapshot(folder) == before
