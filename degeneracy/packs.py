"""Packs: append-only files of arrays that say what they are; readable one by one, never half-read. No pickle.

A pack is the files STEM-0001.pack, STEM-0002.pack, ... of one folder. Each is a sequence of records:

    magic               8 bytes, b"\\x89DGPACK2"
    header's length     8 bytes, unsigned, little-endian
    payload's length    likewise
    check of the above  8 bytes: the first of the SHA-256 of these 24
    header              JSON, see below
    check of the above  32 bytes: the SHA-256 of all since the magic
    payload             safetensors

The header holds
    condition, spec     the folder the record belongs to, and the SHA-256 of the spec that made it
    kind, name          what the record is, such as "member" and "7"
    key, made_from      under which settings it may be used again, and the digest of what it was made from, or ""
    arrays              name -> [dtype, shape]
    payload             the SHA-256 of the payload
    about               whatever else belongs to it, as JSON

Records are read by their headers, over the payloads, so that no index is needed. They are only ever appended, under the
lock of whoever owns the folder, and flushed to the disk before `append` returns. A process that is killed while it
appends leaves the beginning of a record at the end of a file: such a torn end is passed over and left as it is, and the
next record begins a new file. Anything else that is wrong is a `DamagedFile`.

Ground floor: any room may import it.
"""

import contextlib
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from degeneracy.errors import UserError
from degeneracy.files import DamagedFile, reading, regular_size, sha256

Arrays = Mapping[str, NDArray[Any]]
Identity = tuple[str, str, str, str]  # kind, name, key, made_from

MAGIC = b"\x89DGPACK2"
SEGMENT_BYTES = 1 << 30  # a file of this size or more is not appended to, so that none grows without bounds
_LENGTHS = struct.Struct("<QQ")
_START = len(MAGIC) + _LENGTHS.size + 8
_CHECK = 32
_LOOK = 1 << 24  # bytes looked through at a time for the next record behind a flaw
_HEADER = {"condition": str, "spec": str, "kind": str, "name": str, "key": str, "made_from": str}
_HEADER |= {"arrays": dict, "payload": str, "about": dict}


@dataclass(frozen=True, kw_only=True)
class Record:
    """Where a record lies, and its header, which has been checked."""

    path: Path
    at: int  # where it begins, in bytes
    payload_at: int
    end: int
    header: Mapping[str, Any]

    @property
    def identity(self) -> Identity:
        """What the record is: one pack has one record of it."""
        return tuple(self.header[name] for name in ("kind", "name", "key", "made_from"))  # type: ignore[return-value]

    @property
    def digest(self) -> str:
        """The SHA-256 of its arrays."""
        return str(self.header["payload"])

    @property
    def about(self) -> Mapping[str, Any]:
        """What belongs to it beside the arrays."""
        about: Mapping[str, Any] = self.header["about"]
        return about

    @property
    def title(self) -> str:
        """What to call it in messages."""
        return f"{self.header['kind']} {self.header['name']}"

    def says_the_same(self, other: "Record") -> bool:
        """Whether two records of one identity hold the same; when and where they were made may differ."""
        mine, theirs = ({**one.about, "provenance": None} for one in (self, other))
        return self.digest == other.digest and mine == theirs


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """Where a file holds no record; `torn` where it is the end that a killed process leaves."""

    path: Path
    at: int
    reason: str
    torn: bool = False


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
        data = _encoded(self, (kind, name, key, made_from), arrays, about)
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
            whose = header["condition"] or "an ensemble of its own"
            if header["condition"] == self.condition:
                whose = "the same name with another spec"
            raise DamagedFile(record.path, f"its {record.title} belongs to {whose}, not here")
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
            if not other.says_the_same(found):
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


def combined_digest(records: Sequence[Record]) -> str:
    """The digest of several records' arrays in their order: what something was made from."""
    return sha256("\n".join(record.digest for record in records).encode())


def read_arrays(record: Record) -> dict[str, NDArray[Any]]:
    """The arrays of a record.

    Raises:
        DamagedFile: they are not what was written.
        UserError: the file is missing or may not be read.
    """
    with reading(record.path), open(record.path, "rb") as file:
        file.seek(record.payload_at)
        payload = file.read(record.end - record.payload_at)
    if sha256(payload) != record.digest:
        raise DamagedFile(
            record.path, f"its {record.title} (byte {record.at:,}) is not what was written (by its checksum)"
        )
    try:
        arrays = safetensors.numpy.load(payload)
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        raise DamagedFile(record.path, f"its {record.title} holds no arrays ({error})") from error
    if _shapes(arrays) != record.header["arrays"]:
        raise DamagedFile(record.path, f"its {record.title} holds other arrays than its header says")
    return arrays


def read_raw(record: Record) -> bytes:
    """A whole record as it lies in its file."""
    with reading(record.path), open(record.path, "rb") as file:
        file.seek(record.at)
        return file.read(record.end - record.at)


def scan(path: Path, start: int = 0, size: int = -1) -> Iterator[Record | Flaw]:
    """The records of a file by their headers, and what is none; goes on behind a flaw where a record begins again.

    Args:
        path: the file.
        start: where to begin, in bytes.
        size: how far to read; all of it by default.

    Raises:
        DamagedFile: no ordinary file.
        UserError: the file is missing or may not be read.
    """
    with reading(path):
        whole = regular_size(path)
        with open(path, "rb") as file:
            yield from _scan(file, path, start, whole if size < 0 else size)


def _scan(file: BinaryIO, path: Path, at: int, size: int) -> Iterator[Record | Flaw]:
    while at < size:
        file.seek(at)
        found = _record(path, at, size, file)
        if isinstance(found, Flaw) and found.torn and _next_start(file, at + 1, size) < size:
            # Records follow: no process that was killed has left this.
            found = Flaw(path=path, at=at, reason=found.reason)
        yield found
        at = found.end if isinstance(found, Record) else _next_start(file, at + 1, size)


def _record(path: Path, at: int, size: int, file: BinaryIO) -> Record | Flaw:
    """The record at the file's position, its header checked."""
    start = file.read(_START)
    lengths = _lengths(start)
    if lengths is None:
        torn = len(start) < _START and start[: len(MAGIC)] == MAGIC[: len(start)]
        reason = "a record is cut short" if torn else "no record begins here"
        return Flaw(path=path, at=at, reason=reason, torn=torn)
    payload_at = at + _START + lengths[0] + _CHECK
    end = payload_at + lengths[1]
    if end > size:
        return Flaw(path=path, at=at, reason="a record is cut short", torn=True)
    text, check = file.read(lengths[0]), file.read(_CHECK)
    if hashlib.sha256(start + text).digest() != check:
        return Flaw(path=path, at=at, reason="a header is not what was written (by its checksum)")
    header = _header(text)
    if header is None:
        return Flaw(path=path, at=at, reason="a header lacks what every header has")
    return Record(path=path, at=at, payload_at=payload_at, end=end, header=header)


def _lengths(start: bytes) -> tuple[int, int] | None:
    """Of header and payload; None for what is no beginning of a record."""
    said = start[: _START - 8]
    if len(start) < _START or not start.startswith(MAGIC) or hashlib.sha256(said).digest()[:8] != start[-8:]:
        return None
    header, payload = _LENGTHS.unpack(said[len(MAGIC) :])
    return header, payload


def _header(text: bytes) -> dict[str, Any] | None:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict):
        return None
    fits = all(isinstance(header.get(name), kind) for name, kind in _HEADER.items())
    return header if fits else None


def _next_start(file: BinaryIO, at: int, size: int) -> int:
    """Where the next beginning of a record lies; `size` where there is none."""
    while at < size:
        file.seek(at)
        looked = file.read(min(size - at, _LOOK))
        place = looked.find(MAGIC)
        while place >= 0:
            file.seek(at + place)
            if _lengths(file.read(_START)) is not None:
                return at + place
            place = looked.find(MAGIC, place + 1)
        at += max(len(looked) - len(MAGIC) + 1, 1)
    return size


def _encoded(pack: Pack, identity: Identity, arrays: Arrays, about: Mapping[str, Any]) -> bytes:
    """A record as bytes."""
    ordered = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    payload = safetensors.numpy.save(ordered)
    kind, name, key, made_from = identity
    header = {
        "condition": pack.condition,
        "spec": pack.spec,
        "kind": kind,
        "name": name,
        "key": key,
        "made_from": made_from,
        "arrays": _shapes(ordered),
        "payload": sha256(payload),
        "about": dict(about),
    }
    text = json.dumps(header, allow_nan=False).encode()
    said = MAGIC + _LENGTHS.pack(len(text), len(payload))
    start = said + hashlib.sha256(said).digest()[:8]
    return start + text + hashlib.sha256(start + text).digest() + payload


def _shapes(arrays: Arrays) -> dict[str, list[Any]]:
    return {name: [value.dtype.str, list(value.shape)] for name, value in sorted(arrays.items())}


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
