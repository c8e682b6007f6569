"""Files: written whole or not at all, read whole or named as damaged, locked when shared."""

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from degeneracy.core.errors import UserError
from degeneracy.core.files import (
    DamagedFile,
    advising,
    clean,
    digest,
    is_part,
    lock,
    read_bytes,
    read_json,
    set_aside,
    write_bytes,
    write_json,
)


def test_json_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "y", {"b": 1, "a": [2.5, None]})
    assert read_json(tmp_path / "y") == {"b": 1, "a": [2.5, None]}
    assert list(read_json(tmp_path / "y")) == ["b", "a"]


def test_json_that_others_cannot_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "x", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


WRITTEN = {"kind": "run", "format": 2, "study": {"b": 1, "a": [1, 2]}}


def changed(text: str, old: str, new: str) -> bytes:
    assert old in text
    return text.replace(old, new, 1).encode()


DAMAGES = {
    "no JSON": lambda _: b"{ not json",
    "empty": lambda _: b"",
    "cut short": lambda text: text[:-9].encode(),
    "no UTF-8": lambda text: text.encode() + b"\xff",
    "a list": lambda _: b"[]",
    "a number": lambda _: b"3",
    "another number": lambda text: changed(text, '"b": 1', '"b": 7'),
    "another type": lambda text: changed(text, '"b": 1', '"b": "1"'),
    "another order": lambda _: json.dumps(
        {**WRITTEN, "study": {"a": [1, 2], "b": 1}, "checksum": digest(WRITTEN)}
    ).encode(),
    "a key less": lambda text: changed(text, '"format": 2,', ""),
    "a key more": lambda text: changed(text, '"format": 2,', '"format": 2, "more": 0,'),
    "no checksum": lambda _: json.dumps(WRITTEN).encode(),
    "NaN": lambda text: changed(text, '"b": 1', '"b": NaN'),
    "nested": lambda _: b"[" * 100_000 + b"]" * 100_000,
    "nested below": lambda text: changed(text, '"b": 1', '"b": ' + "[" * 100_000 + "]" * 100_000),
    "digits": lambda text: changed(text, '"b": 1', '"b": ' + "1" * 5000),  # more than Python converts
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_json_that_is_not_what_was_written_is_named(damage: Callable[[str], bytes], tmp_path: Path) -> None:
    file = tmp_path / "y"
    write_json(file, WRITTEN)
    file.write_bytes(damage(file.read_text(encoding="utf-8")))
    with pytest.raises(DamagedFile) as caught:
        read_json(file)
    assert str(caught.value).startswith(f"cannot read {file}: ")
    assert "\n" not in str(caught.value)
    assert "delete" not in str(caught.value)


def test_json_that_is_spaced_otherwise_is_the_same(tmp_path: Path) -> None:
    write_json(tmp_path / "y", WRITTEN)
    parsed = json.loads((tmp_path / "y").read_text(encoding="utf-8"))
    (tmp_path / "y").write_text(json.dumps(parsed, indent=7), encoding="utf-8")
    assert read_json(tmp_path / "y", kind="run", format=2) == WRITTEN


def test_json_of_another_kind_or_version_is_named(tmp_path: Path) -> None:
    file = tmp_path / "y"
    write_json(file, WRITTEN)
    with pytest.raises(DamagedFile, match="it is 'run', not 'tune'"):
        read_json(file, kind="tune", format=2)
    with pytest.raises(UserError, match="written by an earlier version of degeneracy") as caught:
        read_json(file, kind="run", format=3)
    assert not isinstance(caught.value, DamagedFile), "an older file is nothing to repair"
    with pytest.raises(UserError, match="written by a later version of degeneracy"):
        read_json(file, kind="run", format=1)
    file.write_text(json.dumps({"format": 1, "study": {}}), encoding="utf-8")  # as it was before there were checksums
    with pytest.raises(UserError, match="written by an earlier version of degeneracy"):
        read_json(file, kind="run", format=2)


def test_only_what_was_being_written_is_cleaned_away(tmp_path: Path) -> None:
    strangers = [
        ".results.json.abc.part",
        ".part",
        "notes.part",
        ".study.json.ABCDEFGH.part",
        ".x.12345678.parts",
    ]
    for name in (".study.json.a1b2c3_4.part", *strangers):
        (tmp_path / name).write_text("dear", encoding="utf-8")
    (tmp_path / ".folder.a1b2c3_4.part").mkdir()
    assert is_part(tmp_path / ".study.json.a1b2c3_4.part", "study.json")
    assert not is_part(tmp_path / ".study.json.a1b2c3_4.part", "results.json")
    clean(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*strangers, ".folder.a1b2c3_4.part"}


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(20 << 30)  # looked at, never read: it would fill the memory
    for name, reason in {
        "folder": "it is a folder",
        "pipe": "it is a pipe",  # a plain open would wait for ever
        "link": "a link that leads nowhere",
        "circle": "a link that leads to itself",
        "sparse": r"it has 21,474,836,480 bytes",
    }.items():
        with pytest.raises(DamagedFile, match=rf"cannot read .*{name}: .*{reason}"):
            read_json(tmp_path / name)
    with pytest.raises(UserError, match=r"cannot read .*none: no such file"):
        read_json(tmp_path / "none")


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "y", WRITTEN)

    def refuse(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything
    with pytest.raises(UserError, match=r"cannot read .*y: Permission denied; its permissions") as caught:
        read_json(tmp_path / "y")
    assert not isinstance(caught.value, DamagedFile)


def test_setting_aside_overwrites_nothing(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "x").write_text(content, encoding="utf-8")
        set_aside(tmp_path / "x")
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == {
        "x.damaged-1": "first",
        "x.damaged-2": "second",
    }


def test_a_link_that_leads_nowhere_is_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "x.damaged-1").symlink_to(tmp_path / "unmounted")
    (tmp_path / "x").write_bytes(b"x")
    assert set_aside(tmp_path / "x").name == "x.damaged-2"
    assert (tmp_path / "x.damaged-1").is_symlink()


def test_the_first_advice_is_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=r"bad; do this$"), advising("do that"), advising("do this"):
        raise DamagedFile(tmp_path, "bad")


def test_a_file_may_be_as_large_as_is_said_and_no_larger(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    assert read_bytes(tmp_path / "x", at_most=100) == bytes(100)
    with pytest.raises(DamagedFile, match="it has 100 bytes, which is more than"):
        read_bytes(tmp_path / "x", at_most=99)


def test_a_lock_follows_no_link(tmp_path: Path) -> None:
    """Older releases of filelock truncated what a link in the place of the lock leads to."""
    (tmp_path / "thesis").write_text("dear", encoding="utf-8")
    (tmp_path / "lock").symlink_to(tmp_path / "thesis")
    with pytest.raises(UserError, match=r"cannot write .*lock"), lock(tmp_path / "lock", wait=True):
        pass
    assert (tmp_path / "thesis").read_text(encoding="utf-8") == "dear"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "kept"
    write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*kept: No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


def test_a_file_is_flushed_before_it_gets_its_name(tmp_path: Path, monkeypatch) -> None:
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (order.append("flush"), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    write_bytes(tmp_path / "x", b"data")
    assert order == ["flush", "rename"]
    assert (tmp_path / "x").read_bytes() == b"data"


def test_files_have_the_users_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "x", b"data")
        assert os.umask(0o027) == 0o027, "the mask is left as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_lock_held_by_another_process_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = (
        "import sys, filelock\n"
        f"lock = filelock.FileLock({str(path)!r}); lock.acquire()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with lock(path, wait=False) as held:
            assert held is False
        process.kill()  # the operating system frees the lock, however the process died
        process.wait()
        with lock(path, wait=False) as held:
            assert held is True


def test_a_lock_is_freed_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock(tmp_path / "lock", wait=False):
        raise RuntimeError
    with lock(tmp_path / "lock", wait=False) as held:
        assert held is True
