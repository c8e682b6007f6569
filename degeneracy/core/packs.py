"""Packs: append-only, kill-safe files of records (`records.py`) that belong to one folder. No pickle.

A pack is the files STEM-0001.pack, STEM-0002.pack, ... of a folder, each a sequence of records. Records are only ever
appended, under the lock of whoever owns the folder, and flushed to the disk before `append` returns. A process that is
killed while it appends leaves the beginning of a record at the end of a file: such a torn end is passed over and left
as it is, and the next record begins a new file. Anything else that is wrong is a `DamagedFile`: bytes that are no
record, a checksum that does not fit, a record of another folder or kind, two that say different things about the same.

Ground floor: any room may import it.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile, reading, regular_size
from degeneracy.core.records import Arrays, Flaw, Identity, Record, read_arrays, record_bytes, scan

SEGMENT_BYTES = 1 << 30  # a file of this size or more is not appended to, so that none grows without bounds


@dataclass(kw_only=True)
class _Segment:
    """What is known of one file."""

    stamp: tuple[int, int, int]  # inode, size, time of change
    end: int = 0  # of its last record
    torn: bool = False


@dataclass(kw_only=True)
class Pack:
    """The records of one stem in a folder; whoever appends holds the folder's lock."""

    folder: Path
    stem: str
    condition: str
    spec: str
    kinds: tuple[str, ...]
    _segments: dict[Path, _Segment] = field(default_factory=dict, repr=False)
    _index: dict[Identity, Record] = field(default_factory=dict, repr=False)

    def records(self) -> Mapping[Identity, Record]:
        """All records by what they are; files that have grown are read on from where they were left.

        Raises:
            DamagedFile: a file with anything in it but whole records of this folder and, perhaps, a torn end.
            UserError: a file that may not be read.
        """
        files = self.files()
        stamps = {}
        for path in files:
            with reading(path):
                regular_size(path)
                stamps[path] = _stamp(path)
        if not self._has_only_grown(stamps):
            self._segments, self._index = {}, {}
        try:
            for path, stamp in stamps.items():
                known = self._segments.get(path)
                if known is None or known.stamp != stamp:
                    self._read_on(path, stamp, known.end if known else 0)
        except BaseException:
            self._segments, self._index = {}, {}
            raise
        return self._index

    def find(self, kind: str, name: str, key: str = "", made_from: str = "") -> Record | None:
        """A record, or None where there is none.

        Raises:
            As `records`.
        """
        return self.records().get((kind, name, key, made_from))

    def read(self, record: Record) -> dict[str, NDArray[Any]]:
        """The arrays of a record.

        Raises:
            DamagedFile: they are not what was written.
        """
        return read_arrays(record)

    def append(
        self,
        kind: str,
        name: str,
        arrays: Arrays,
        about: Mapping[str, Any],
        *,
        key: str = "",
        made_from: str = "",
    ) -> Record:
        """Append a record, flushed to the disk; one that is there already is left as it is.

        Raises:
            UserError: the folder cannot be written to, or the disk is full; the record is not there then.
            As `records`.
        """
        there = self.find(kind, name, key, made_from)
        if there is not None:
            return there
        identity = (kind, name, key, made_from)
        data = record_bytes(identity, arrays, about, condition=self.condition, spec=self.spec)
        path, end = self._open_end()
        append_bytes(path, data, end)
        found = self.find(kind, name, key, made_from)
        if found is None:
            raise DamagedFile(path, f"{kind} {name} is not there right after it was written")
        return found

    def files(self) -> list[Path]:
        """The pack's files, in the order of their numbers."""
        return [path for _, path in sorted(self._numbered(r"\.pack"))]

    def next_file(self) -> Path:
        """A file of a number that none has had, one set aside included."""
        number = max((number for number, _ in self._numbered(r"\.pack.*")), default=0) + 1
        return self.folder / f"{self.stem}-{number:04d}.pack"

    def check_place(self, record: Record) -> None:
        """Refuse a record that belongs elsewhere.

        Raises:
            DamagedFile: it is of another condition, another spec or another kind.
        """
        header = record.header
        if header["condition"] != self.condition or header["spec"] != self.spec:
            whose = header["condition"] or "an ensemble"
            if header["condition"] == self.condition:
                whose += " with another spec"
            raise DamagedFile(record.path, f"its {record.title} belongs to {whose}, and does not lie there")
        if header["kind"] not in self.kinds:
            raise DamagedFile(record.path, f"its {record.title} does not belong in {self.stem}-*.pack")

    def _numbered(self, ending: str) -> list[tuple[int, Path]]:
        pattern = re.compile(rf"{re.escape(self.stem)}-(\d+){ending}")
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise UserError(f"cannot read {self.folder}: {error.strerror or error}") from error
        matches = [match for match in map(pattern.fullmatch, names) if match]
        return [(int(match[1]), self.folder / match[0]) for match in matches]

    def _has_only_grown(self, stamps: Mapping[Path, tuple[int, int, int]]) -> bool:
        """Whether every file that is known is there, and either as it was or larger."""
        for path, known in self._segments.items():
            inode, size, _ = known.stamp
            now = stamps.get(path)
            if now is None or now[0] != inode or (now != known.stamp and now[1] <= size):
                return False
        return True

    def _read_on(self, path: Path, stamp: tuple[int, int, int], start: int) -> None:
        segment = _Segment(stamp=stamp, end=start)
        for found in scan(path, start, stamp[1]):
            if isinstance(found, Flaw):
                if not found.torn:
                    raise DamagedFile(path, f"damaged at byte {found.at:,}: {found.reason}")
                segment.torn = True
                continue
            self.check_place(found)
            other = self._index.setdefault(found.identity, found)
            if other is not found and other.fingerprint != found.fingerprint:
                where = f"at byte {other.at:,}" if other.path == path else f"in {other.path.name}"
                raise DamagedFile(path, f"its {found.title} is another one than that {where}")
            segment.end = found.end
        self._segments[path] = segment

    def _open_end(self) -> tuple[Path, int]:
        """The file to append to and its size: the last one, or a new one where that is torn or full."""
        files = self.files()
        if files:
            last = self._segments[files[-1]]
            if not last.torn and last.end < SEGMENT_BYTES:
                return files[-1], last.end
        return self.next_file(), 0


def append_bytes(path: Path, data: bytes, end: int) -> None:
    """Append to a file of `end` bytes, or begin a new one (0), and flush it to the disk.

    Raises:
        UserError: the folder cannot be written to, or the disk is full; what was written of `data` is taken back.
    """
    handle = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags, 0o666)
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
        if not end:
            _flush_folder(path.parent)
    except OSError as error:
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, end)  # of this process's own beginning of a record, and of nothing else
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if handle >= 0:
            os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Flush a new file's name; systems that cannot do so (Windows) keep names by themselves."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _stamp(path: Path) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns
