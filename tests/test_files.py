"""Files: written whole or not at all, read whole or named as damaged, locked when shared."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from degeneracy.errors import UserError
from degeneracy.files import lock, read_arrays, read_json, write_arrays, write_bytes, write_json


def test_arrays_and_json_come_back(tmp_path: Path) -> None:
    given = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array([True, False]), "empty": np.empty((0, 3))}
    write_arrays(tmp_path / "x", given, {"k": [1, "two"]})
    arrays, metadata = read_arrays(tmp_path / "x")
    assert metadata == {"k": [1, "two"]}
    for name, value in given.items():
        assert np.array_equal(arrays[name], value)
        assert arrays[name].dtype == value.dtype
    write_json(tmp_path / "y", {"b": 1, "a": [2.5, None]})
    assert read_json(tmp_path / "y") == {"b": 1, "a": [2.5, None]}
    assert list(read_json(tmp_path / "y")) == ["b", "a"]


def test_json_that_others_cannot_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "x", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "y").write_text("{ not json", encoding="utf-8")
    for read in (read_json, read_arrays):
        with pytest.raises(UserError, match=r"cannot read .*y: damaged"):
            read(tmp_path / "y")
        with pytest.raises(UserError, match=r"cannot read .*none: [Nn]o such file"):
            read(tmp_path / "none")


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
