"""Damage to the files of a folder that a run or an ensemble was written to, whatever their format.

Each function damages the run in `root` and says in words how; `relatives` are runs from which other files may come.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .file_damage import Rng, damaged

SPARSE = 20 * 2**30


def files_of(root: Path) -> list[Path]:
    """The files that hold something, in a fixed order."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != "lock")


def _kind(path: Path) -> str:
    """What a file is called in causes: its folder and name without what differs between conditions and members."""
    folder = path.parent.name if path.parent.name in ("members", "measured") else ""
    stem = f"*{path.suffix}" if folder or not path.suffix else path.name
    return f"{folder}/{stem}".lstrip("/")


def _drawn_file(rng: Rng, root: Path) -> Path:
    """Any file; those that hold arrays come up more often, tables that are written for people more rarely."""
    paths = files_of(root)
    weights = np.array([{".csv": 0.3, ".json": 1.0}.get(path.suffix, 2.0) for path in paths])
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


def _records(data: bytes) -> list[bytes]:
    """The parts of a file that begin as it does, where it is such a sequence; else the whole."""
    first, *others = data.split(data[:8]) if len(data) > 8 else [b"", data]
    return [data[:8] + part for part in others] if not first and len(others) > 1 else [data]


def _in_records(rng: Rng, root: Path, relatives: list[Path]) -> str:
    """Whole records of a file that holds several: twice, gone, elsewhere, of another file, each as it was written."""
    paths = [path for path in files_of(root) if len(_records(path.read_bytes())) > 1]
    if not paths:
        return _swapped(rng, root, relatives)
    path = paths[int(rng.integers(len(paths)))]
    records = _records(path.read_bytes())
    here = rng.random() < 0.5
    other = _alike(rng, path, [root] if here else relatives) or _alike(rng, path, [root, *relatives])
    assert other is not None
    foreign = _records(other.read_bytes())
    at, of = int(rng.integers(len(records))), int(rng.integers(len(foreign)))
    how = ("twice", "gone", "in another order", "added", "replaced", "swapped")[int(rng.integers(6))]
    changed = {
        "twice": [*records, records[at]],
        "gone": records[:at] + records[at + 1 :],
        "in another order": records[::-1],
        "added": [*records, foreign[of]],
        "replaced": [*records[:at], foreign[of], *records[at + 1 :]],
        "swapped": [*records[:at], foreign[of], *records[at + 1 :]],
    }
    path.write_bytes(b"".join(changed[how]))
    if how == "swapped" and other.is_relative_to(root):
        other.write_bytes(b"".join([*foreign[:of], records[at], *foreign[of + 1 :]]))
    where = f" from {'this' if here else 'another'} run" if how in ("added", "replaced", "swapped") else ""
    return f"a record {how}{where}: {_kind(path)}"


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
    path.write_text(deep, encoding="utf-8")
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
    "in records": (4.0, _in_records),
    "deleted": (1.0, _deleted),
    "folders": (1.0, _folders),
    "json": (3.0, _json_edited),
    "nested": (0.3, _nested),
    "in its place": (1.2, _in_its_place),
    "grown": (0.3, _grown),
    "unreadable": (0.7, _unreadable),
    "strangers": (0.7, _strangers),
}
