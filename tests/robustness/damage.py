"""Damage to the files of a finished run or of a saved ensemble, and whether it is noticed.

The run is tiny, made once and copied. What reads it then has to give the numbers of the undamaged run, or one line. A
command that refuses leaves every file as it was.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np

import degeneracy as dg
from degeneracy.report import page
from degeneracy.studies.loading import remeasured

from . import numbers
from .file_damage import Rng, damaged
from .framework import Answer, Outcome, Program, attempt, attempt_command, snapshot
from .limits import without_rights

STUDY = """
name = "tiny"
seeds = "0:3"
measures = ["procrustes", "signed_pif", "ood_log_error_sd", "weight_change"]
vary.task.channels = [1, 2]
task = { name = "flip_flop", n_steps = 10, threshold = 2.0 }
network = { hidden_size = 8 }
training = { batch_size = 8, steps_per_epoch = 2, max_epochs = 5, patience = 1, checkpoints = [0.5] }
probe = { n_trials = 8 }
"""
# Where other files come from: the same study with other networks, with fewer members, with other probe trials.
RELATIVES = {
    "of other networks": [("network.init_gain", 1.5)],
    "with fewer members": [("seeds", "0:2")],
    "with other trials": [("probe.seed", 1)],
}
SPARSE = 20 * 2**30
SECONDS_OF_A_FIFO = (
    20  # after which its other end is closed; a reader waits for that long, and is found by it
)


def files_of(root: Path) -> list[Path]:
    """The files that hold something, in a fixed order."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != "lock")


def _kind(path: Path) -> str:
    """What a file is called in causes: its folder and name without what differs between conditions and members."""
    folder = path.parent.name if path.parent.name in ("members", "measured") else ""
    stem = f"*{path.suffix}" if folder or not path.suffix else path.name
    return f"{folder}/{stem}".lstrip("/")


def _drawn_file(rng: Rng, root: Path) -> Path:
    """Any file; tables that are written for people and read by nobody come up more rarely."""
    paths = files_of(root)
    weights = np.array([0.2 if path.suffix == ".csv" else 1.0 for path in paths])
    return paths[int(rng.choice(len(paths), p=weights / weights.sum()))]


def _alike(rng: Rng, path: Path, roots: list[Path]) -> Path | None:
    """Another file of the same kind with other content, in this run or a relative."""
    known = path.read_bytes()
    others = [
        other
        for root in roots
        for other in files_of(root)
        if other.suffix == path.suffix and other != path and other.read_bytes() != known
    ]
    near = [other for other in others if other.name == path.name or other.parent == path.parent]
    pool = near if near and rng.random() < 0.7 else others
    return pool[int(rng.integers(len(pool)))] if pool else None


def _in_bytes(rng: Rng, root: Path, relatives: list[Path]) -> str:
    path = _drawn_file(rng, root)
    how, data = damaged(rng, path.read_bytes())
    path.write_bytes(data)
    return f"{how}: {_kind(path)}"


def _copied_over(rng: Rng, root: Path, relatives: list[Path]) -> str:
    path = _drawn_file(rng, root)
    here = rng.random() < 0.6
    other = _alike(rng, path, [root] if here else relatives) or _alike(rng, path, [root, *relatives])
    assert other is not None
    shutil.copy(other, path)
    return f"another file of {'this run' if here else 'another run'} copied over {_kind(path)}"


def _swapped(rng: Rng, root: Path, relatives: list[Path]) -> str:
    path = _drawn_file(rng, root)
    other = _alike(rng, path, [root]) or _alike(rng, path, relatives)
    assert other is not None
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    if other.is_relative_to(root):
        other.write_bytes(mine)
    return f"swapped: {_kind(path)} and {_kind(other)}"


def _deleted(rng: Rng, root: Path, relatives: list[Path]) -> str:
    path = _drawn_file(rng, root)
    path.unlink()
    return f"deleted: {_kind(path)}"


def _folders(rng: Rng, root: Path, relatives: list[Path]) -> str:
    """Whole condition folders in each other's place, one inside another, gone or of another name."""
    first, second = sorted((root / "conditions").iterdir())
    how = ("swapped", "copied over", "deleted", "renamed", "of another run")[int(rng.integers(5))]
    if how == "swapped":
        first.rename(root / "aside")
        second.rename(first)
        (root / "aside").rename(second)
    elif how == "copied over":
        shutil.rmtree(first)
        shutil.copytree(second, first)
    elif how == "deleted":
        shutil.rmtree(first)
    elif how == "renamed":
        first.rename(first.with_name("renamed"))
    else:
        other = relatives[int(rng.integers(len(relatives)))]
        shutil.rmtree(second)
        shutil.copytree(sorted((other / "conditions").iterdir())[1], second)
    return f"condition folder {how}"


ODD_VALUES = (None, True, -1, 0, 1e308, "x", "", [], {}, [[]], {"x": 1}, "9" * 400, "ü\u2028$x_{")


def _json_edited(rng: Rng, root: Path, relatives: list[Path]) -> str:
    """JSON that stays JSON, with another value, without a key, or with one more."""
    texts = [path for path in files_of(root) if path.suffix == ".json"]
    path = texts[int(rng.integers(len(texts)))]
    value = json.loads(path.read_text(encoding="utf-8"))
    holders = list(_holders(value))
    holder, key = holders[int(rng.integers(len(holders)))]
    old, how = holder[key], ("value", "near", "gone", "more", "whole")[int(rng.integers(5))]
    new = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    if how == "whole":
        value = new
    elif how == "gone":
        del holder[key]
    elif how == "more" and isinstance(holder, dict):
        holder["more"] = new
    elif how == "near":
        holder[key] = _near(rng, old)
    else:
        holder[key] = new
    path.write_text(json.dumps(value), encoding="utf-8")
    return f"JSON edited ({how}): {path.name}"


def _holders(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested JSON, as what holds it and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _holders(inner)


def _near(rng: Rng, value: Any) -> Any:
    """Another value of the same type, such as a person or a program might have written."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + type(value)(rng.integers(1, 4)) if rng.random() < 0.5 else type(value)(value * 2)
    if isinstance(value, str):
        return value + "x" if rng.random() < 0.5 else value[1:]
    if isinstance(value, list):
        return value[::-1] if len(value) > 1 else [*value, *value]
    return value if value is None else dict(reversed(list(value.items())))


def _nested(rng: Rng, root: Path, relatives: list[Path]) -> str:
    texts = [path for path in files_of(root) if path.suffix == ".json"]
    path = texts[int(rng.integers(len(texts)))]
    deep = ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000)[int(rng.integers(3))]
    path.write_text(deep)
    return f"100,000 nested brackets: {path.name}"


def _in_its_place(rng: Rng, root: Path, relatives: list[Path]) -> str:
    """Something that is no plain file, or one that is larger than any memory."""
    path = _drawn_file(rng, root)
    made: dict[str, Callable[[], Any]] = {
        "a folder": path.mkdir,
        "a fifo": lambda: os.mkfifo(path),
        "a link to nothing": lambda: path.symlink_to(root / "nothing"),
        "a link to itself": lambda: path.symlink_to(path),
        "a link to a folder": lambda: path.symlink_to(root),
        "an endless file": lambda: path.symlink_to("/dev/zero"),
        "a sparse file of 20 GiB": lambda: _sparse(path),
    }
    what = list(made)[int(rng.integers(len(made)))]
    path.unlink()
    made[what]()
    return f"{what} in place of {_kind(path)}"


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE)


def _grown(rng: Rng, root: Path, relatives: list[Path]) -> str:
    path = _drawn_file(rng, root)
    os.truncate(path, SPARSE)
    return f"grown to 20 GiB: {_kind(path)}"


def _unreadable(rng: Rng, root: Path, relatives: list[Path]) -> str:
    path = _drawn_file(rng, root) if rng.random() < 0.7 else _drawn_file(rng, root).parent
    path.chmod(0)
    return f"unreadable: {_kind(path) if path.is_file() else 'a folder'}"


def _strangers(rng: Rng, root: Path, relatives: list[Path]) -> str:
    """Files that a person, an editor or a file system leaves behind, beside the run's own."""
    names = (
        ".DS_Store",
        "notes.txt",
        "copy of {}",
        "{}~",
        ".{}.abc.part",
        "{} (1)",
        "ünïcode\u202e",
        "x" * 200,
    )
    beside = _drawn_file(rng, root)
    name = names[int(rng.integers(len(names)))].format(beside.name)
    if rng.random() < 0.5:
        (beside.parent / name).write_bytes(beside.read_bytes())
    else:
        (beside.parent / name).mkdir(exist_ok=True)
    return f"a stranger beside {_kind(beside)}"


KINDS: dict[str, tuple[float, Callable[[Rng, Path, list[Path]], str]]] = {
    "in bytes": (9.0, _in_bytes),
    "copied over": (3.0, _copied_over),
    "swapped": (3.0, _swapped),
    "deleted": (1.0, _deleted),
    "folders": (1.0, _folders),
    "json": (3.0, _json_edited),
    "nested": (0.3, _nested),
    "in its place": (1.2, _in_its_place),
    "grown": (0.3, _grown),
    "unreadable": (0.7, _unreadable),
    "strangers": (0.7, _strangers),
}


class DamagedRuns(Program):
    """See the module."""

    name: ClassVar[str] = "damage"
    about: ClassVar[str] = "files of a finished run: damaged, swapped, gone"
    short: ClassVar[int] = 80
    long: ClassVar[int] = 2_000

    def prepare(self) -> None:
        """A finished run, its relatives, and an ensemble in a folder."""
        self.study = dg.Study(**_fields([]))
        self.made = dg.run_study(self.study, out=self.folder / "run", jobs=1, progress=False)
        self.relatives = [self.folder / name for name in RELATIVES]
        for path, changes in zip(self.relatives, RELATIVES.values(), strict=True):
            dg.run_study(dg.Study(**_fields(changes)), out=path, jobs=1, progress=False)
        condition = self.study.conditions()[0]
        trained = [
            dg.train(
                condition.task, condition.network, condition.training, seeds=seeds, jobs=1, progress=False
            )
            for seeds in (range(3), range(3, 6))
        ]
        self.ensembles = [e.save(self.folder / f"ensemble {k}") for k, e in enumerate(trained)]
        self.numbers = numbers.of_study(self.made)
        self.numbers_of_run = numbers.of_run(self.folder / "run")
        self.numbers_of_ensemble = numbers.of_ensemble(trained[0])

    def case(self, rng: Rng) -> Outcome:
        """Damage a copy, then load it, report it, go on with it or measure it again."""
        place = Path.cwd()
        of_ensemble = rng.random() < 0.12
        root, relatives = place / "run", self.ensembles[1:] if of_ensemble else self.relatives
        shutil.copytree(self.ensembles[0] if of_ensemble else self.folder / "run", root)
        names = [name for name in KINDS if not (of_ensemble and name == "folders")]
        odds = np.array([KINDS[name][0] for name in names])
        kind = names[int(rng.choice(len(names), p=odds / odds.sum()))]
        what = KINDS[kind][1](rng, root, relatives)
        if of_ensemble:
            action = "load ensemble"
        elif kind == "unreadable":
            action = "load"
        else:
            action = ("load", "run", "measure", "report")[int(rng.choice(4, p=[0.6, 0.2, 0.12, 0.08]))]
        before = snapshot(root) if action in ("run", "measure") else {}
        rights = without_rights() if kind == "unreadable" else contextlib.nullcontext()
        with rights, _writers(root):
            answer = self._do(action, rng, root)
        wrong = ""
        if answer.refusal and before and snapshot(root) != before:
            wrong = "it was refused, and yet files have changed"
        elif not answer.refusal and not answer.fault:
            wrong = numbers.difference(self._expected(action), answer.value)
        return answer.outcome(f"{action}: {what}", wrong=wrong, cause=what)

    def _expected(self, action: str) -> numbers.Numbers:
        """What the action gives of files that nobody has touched."""
        if action == "load ensemble":
            return self.numbers_of_ensemble
        return self.numbers if action in ("run", "measure") else self.numbers_of_run

    def _do(self, action: str, rng: Rng, root: Path) -> Answer:
        """Read the damaged folder in one of the ways that users have; the value is its numbers."""
        run = partial(dg.run_study, out=root, jobs=1, progress=False)
        if action == "load ensemble":
            return attempt(lambda: numbers.of_ensemble(dg.Ensemble.load(root)))
        if action == "load":
            return attempt(lambda: numbers.of_run(root))
        if action == "run":
            return attempt(lambda: numbers.of_study(run(self.study)))
        if action == "measure":
            return attempt(lambda: numbers.of_study(run(remeasured(root))))
        drawn = rng.random() < 0.03  # figures take seconds
        undrawn = (
            contextlib.nullcontext() if drawn else patch.object(page, "draw_plates", return_value=([], []))
        )
        with undrawn:
            answer = attempt_command(["report", str(root), "--out", "report.html"])
        return answer if answer.refusal or answer.fault else self._do("load", rng, root)


def _fields(changes: list[tuple[str, Any]]) -> dict[str, Any]:
    path = Path("tiny.toml")
    path.write_text(STUDY)
    return dg.load_study(path, changes).model_dump(mode="json")


@contextlib.contextmanager
def _writers(root: Path) -> Iterator[None]:
    """Open and close the other end of each fifo after a while: who waits there for ever is found, not waited for.

    A process of its own does so: a library that waits in compiled code lets no thread of this process run.
    """
    fifos = [str(path) for path in root.rglob("*") if path.is_fifo()]
    if not fifos:
        yield
        return
    script = f'sleep {SECONDS_OF_A_FIFO}; for f in "$@"; do exec 3<>"$f"; exec 3>&-; done'
    with subprocess.Popen(["sh", "-c", script, "sh", *fifos]) as process:
        try:
            yield
        finally:
            process.kill()
