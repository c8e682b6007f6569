"""Random command lines: exit code 0 or 1, or 2 with one line and every file as it was.

A command that gets as far as the first network is right; nothing is trained, and figures are left out of reports.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np

import degeneracy as dg
from degeneracy.reporting import page
from degeneracy.runs import running

from .damage import STUDY
from .file_damage import Rng
from .framework import Outcome, Program, Reached, attempt_command, snapshot
from .studies import NONSENSE, TEXTS, pick

COMMANDS = ("run", "tune", "measure", "report", "tasks", "cells", "measures")
ODD_COMMANDS = (
    "",
    "Run",
    "runn",
    "--",
    "-",
    "help",
    "--help",
    "--version",
    "-h",
    "run run",
    "ü",
    "--quiet",
    "-x",
)
# What lies in the folder (see `prepare`), and what does not.
PATHS = (
    "tiny.toml", "scales.toml", "damaged.toml", "ünï code.toml", "latin.toml", "a.npz", "damaged.npz",
    "a b.npz", "run", "unfinished", "damaged run", "measured", "link", "loop", "fifo", "folder", "text.txt",
    "empty", "~", "~/tiny.toml", "~/a.npz", "~nobody/x", "$HOME/a.npz", "quickstart", "nowhere",
    "nowhere/deeper/a.npz", "tiny.toml/x", "run/study.json", ".", "..", "", " ", "-", "a" * 300, "*.toml",
    "\udcff.toml", "a\nb.toml", "C:\\x.npz", "http://x/a.npz", "\u2028",
)  # fmt: skip
SOURCES = (*PATHS, "/", "/dev/null", "/dev/zero", "/dev/stdin")
# Never a path outside: as root, all of them could be written to.
OUTS = (
    *(path for path in PATHS if not path.startswith("..")),
    "new",
    "new/er",
    "new.html",
    "~/new",
    "run/report.html",
)
KEYS = (
    "training.learning_rate", "network.hidden_size", "task.n_steps", "task.name", "network.cell", "vary",
    "seeds", "name", "vary.task.channels", "options.dsa.rank", "options.cka.x", "measures",
    "probe.n_trials", "probe.seed", "x", "x.y", "", "a.b.c.d", '"a', "claims", "scale", "network",
    "training.schedule", "description", "ü", "vary.", ".", "seeds.x",
)  # fmt: skip
VALUES = (
    "1", "0", "-1", "1e-3", "nan", "inf", "1e400", "[1, 2]", "[]", "{}", "[", "'x", '"x"', "x", "true",
    "1e9", "99999999999999999999", "2024-01-01", "[[[1]]]", "{ name = 'constant' }", "gru", "no:thing",
)  # fmt: skip
SEEDS = (
    "0:2",
    "0:3",
    "3",
    "0:",
    ":",
    "",
    "x",
    "-1",
    "0:0",
    "5:2",
    "0:4,1",
    "1e3",
    "0:99999999",
    "٣",
    "0:2 ",
    ",",
    "1.5",
)
JOBS = ("1", "1", "1", "1", "0", "-2", "x", "", "1.5", "1e3", "٣", " 1")
FLAGS: dict[str, tuple[str, ...]] = {
    "--set": (),
    "--seeds": SEEDS,
    "--scale": ("", "small", "Small", "x", "ü"),
    "--device": ("cpu", "auto", "cpu:7", "gpu", "", "mps", "CPU", "cuda:99"),
    "--out": OUTS,
    "--measures": ("procrustes", "cka,procrustes", "", ",", "x", "cka,cka", "dsa", " cka ", *NONSENSE[:6]),
    "--quiet": (),
    "--knob": (
        "network.hidden_size",
        "training.learning_rate",
        "x",
        "",
        "seeds",
        "network.cell",
        "task.channels",
    ),
    "--measure": ("procrustes", "x", "", "ood_log_error_sd", *NONSENSE[:3]),
    "--target": VALUES,
    "--low": VALUES,
    "--high": VALUES,
    "--log": (),
    "--variant": ("driven", "x", ""),
    "--calibrated": (),
    "--tolerance": VALUES,
    "--max-evaluations": ("2", "8", "1", "0", "9", "x", ""),
    "--repair": (),
    "--zzz": ("1",),
    "--help": (),
    "--ou": ("new",),
}
COMMON = ("--set", "--quiet")
TAKES: dict[str, tuple[str, ...]] = {
    "run": (*COMMON, "--seeds", "--scale", "--device", "--out"),
    "tune": (
        *COMMON,
        "--seeds",
        "--scale",
        "--out",
        "--log",
        "--variant",
        "--calibrated",
        "--tolerance",
        "--max-evaluations",
    ),
    "measure": (*COMMON, "--out", "--measures"),
    "report": ("--out",),
}
MANY_MEASURES = ("--measures", "procrustes,cka,ood_error_mean")  # all there are would take seconds


class CommandLines(Program):
    """See the module."""

    name: ClassVar[str] = "commands"
    about: ClassVar[str] = "random command lines"
    short: ClassVar[int] = 80
    long: ClassVar[int] = 1_500
    seconds: ClassVar[float] = 10.0

    def prepare(self) -> None:
        """A folder with studies, arrays and runs, good and bad ones."""
        here = self.folder / "sandbox"
        _write_files(here)
        dg.run_study(dg.load_study(here / "tiny.toml"), out=here / "run", jobs=1, progress=False)
        for name in ("unfinished", "damaged run"):
            shutil.copytree(here / "run", here / name)
        (here / "damaged run" / "study.json").write_text("{", encoding="utf-8")
        shutil.rmtree(sorted((here / "unfinished" / "conditions").iterdir())[0])
        (here / "link").symlink_to("run")
        (here / "loop").symlink_to("loop")
        os.mkfifo(here / "fifo")
        with patch.object(page, "draw_figures", return_value=([], [])):
            words = [
                "measure",
                str(here / "a.npz"),
                "--out",
                str(here / "measured"),
                *MANY_MEASURES,
                "--jobs",
                "1",
            ]
            assert attempt_command(words).value

    def case(self, rng: Rng) -> Outcome:
        """One command line, where all these files are."""
        place = Path.cwd()
        _copied(self.folder / "sandbox", place)
        words = command(rng)
        before = snapshot(place)
        with (
            patch.object(page, "draw_figures", return_value=([], [])),
            patch.object(running, "train_members", side_effect=Reached),
        ):
            answer = attempt_command(words)
        wrong, cause = "", " ".join(words)
        if answer.refusal and (changed := _changed(before, snapshot(place))):
            wrong, cause = (
                f"it was refused ({answer.refusal}), and yet {changed} has changed",
                "changed though refused",
            )
        elif (place / "~").exists():
            wrong, cause = "a folder called ~ was made", "a folder called ~"
        return answer.outcome(" ".join(words)[:300], wrong=wrong, cause=cause)


def _write_files(here: Path) -> None:
    """Studies and arrays, good ones and bad ones."""
    for folder in (here, here / "folder", here / "home"):
        folder.mkdir()
    study = STUDY.replace('"0:3"', '"0:2"')
    texts = {
        "tiny.toml": study,
        "ünï code.toml": study,
        "home/tiny.toml": study,
        "damaged.toml": study[:200],
    }
    texts |= {
        "scales.toml": study + "[scale.small]\n'task.n_steps' = 8\n",
        "text.txt": "dear\n",
        "empty": "",
    }
    for name, text in texts.items():
        (here / name).write_text(text, encoding="utf-8")
    (here / "latin.toml").write_bytes(study.encode() + "# ü\n".encode("latin-1"))
    rng = np.random.default_rng(0)
    arrays = {"states": rng.normal(size=(3, 4, 8, 4)), "ood_errors": rng.uniform(size=(3, 2))}
    for name in ("a.npz", "a b.npz", "home/a.npz"):
        np.savez(here / name, **arrays)
    (here / "damaged.npz").write_bytes((here / "a.npz").read_bytes()[:-40])


def _copied(source: Path, place: Path) -> None:
    """All of a folder; links stay links and the fifo a fifo."""

    def copy(a: str, b: str) -> Any:
        return os.mkfifo(b) if Path(a).is_fifo() else shutil.copy2(a, b)

    shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True, copy_function=copy)


def _changed(before: dict[str, object], now: dict[str, object]) -> str:
    names = sorted(before.keys() | now.keys())
    return next((name for name in names if before.get(name) != now.get(name)), "")


def command(rng: Rng) -> list[str]:
    """The words of a command line: for the most part one that might be meant, then spoilt here and there."""
    name = pick(rng, COMMANDS) if rng.random() < 0.92 else pick(rng, ODD_COMMANDS)
    makers: dict[str, Callable[[], list[str]]] = {
        "run": lambda: ["run", _source(rng, ("tiny.toml", "scales.toml", "~/tiny.toml", "ünï code.toml"))],
        "measure": lambda: ["measure", _source(rng, ("a.npz", "run", "~/a.npz", "a b.npz", "link")), *MANY_MEASURES],
        "report": lambda: ["report", _source(rng, ("run", "link", "~/../run"))],
        "tune": lambda: [
            "tune", _source(rng, ("tiny.toml",)), "--knob", "network.hidden_size", "--measure", "procrustes",
            "--target", "0.3", "--low", "4", "--high", "8", "--set", "vary={}",
        ],
    }  # fmt: skip
    words = makers[name]() if name in makers else [name]
    if name in ("run", "tune", "measure") and rng.random() < 0.95:
        words += ["--jobs", "1" if rng.random() < 0.8 else pick(rng, JOBS)]
    elif name in ("run", "tune", "measure"):
        words += ["--jobs"]  # without its number; without it altogether, workers would be started
    for _ in range(int(rng.integers(4))):
        words += _flag(rng, pick(rng, TAKES.get(name, FLAGS) if rng.random() < 0.8 else FLAGS))
    return _spoilt(rng, words) if rng.random() < 0.15 else words


def _source(rng: Rng, usual: tuple[str, ...]) -> str:
    return pick(rng, usual) if rng.random() < 0.6 else pick(rng, SOURCES)


def _flag(rng: Rng, flag: str) -> list[str]:
    if flag == "--set":
        text = f"{pick(rng, KEYS)}={pick(rng, VALUES)}" if rng.random() < 0.9 else pick(rng, (*TEXTS, "=", "=1", "x="))
        return [flag, text.replace("\x00", "")]
    values = FLAGS[flag]
    if not values:
        return [flag]
    value = pick(rng, values)
    return [f"{flag}={value}"] if rng.random() < 0.2 else [flag, value]


def _spoilt(rng: Rng, words: list[str]) -> list[str]:
    """A word twice, gone, elsewhere, or another; the number of jobs stays."""
    at = int(rng.integers(len(words)))
    if "--jobs" in words[max(at - 1, 0) : at + 2]:
        return words
    kind = int(rng.integers(3))
    if kind == 0:
        return words[:at] + words[at + 1 :]
    if kind == 1:
        return [*words[:at], words[at], *words[at:]]
    return [*words[:at], pick(rng, ("-", "--", "x", "", "run", "--x", "-o", "@tiny.toml")), *words[at:]]
