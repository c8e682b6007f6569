"""Records: arrays in a file, with a header that says what they are, all of it under checksums. No pickle.

A record is

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

Records are read by their headers, over the payloads: no index is needed, and each is read by itself. The files that
they lie in are packs (`packs.py`). Ground floor: any room may import it.
"""

import errno
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from degeneracy.core.files import DamagedFile, digest, reading, regular_size, sha256

Arrays = Mapping[str, NDArray[Any]]
Identity = tuple[str, str, str, str]  # kind, name, key, made_from

MAGIC = b"\x89DGPACK2"
_LENGTHS = struct.Struct("<QQ")
_START = len(MAGIC) + _LENGTHS.size + 8
_CHECK = 32
_LOOK = 1 << 24  # bytes looked through at a time for the next record behind a flaw
_TEXTS = ("condition", "spec", "kind", "name", "key", "made_from", "payload")  # of a header
_TABLES = ("arrays", "about")


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
        kind, name, key, made_from = (self.header[part] for part in ("kind", "name", "key", "made_from"))
        return kind, name, key, made_from

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

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all that it says; when and where it was made (its provenance) may differ."""
        return digest([self.identity, self.digest, {**self.about, "provenance": None}])


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """Where a file holds no record; `torn` where it is the end that a killed process leaves."""

    path: Path
    at: int
    reason: str
    torn: bool = False


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
        with open(path, "rb", buffering=0) as file:  # `_next_data` moves it behind the back of a buffer
            yield from _scan(file, path, start, whole if size < 0 else size)


def _scan(file: FileIO, path: Path, at: int, size: int) -> Iterator[Record | Flaw]:
    while at < size:
        file.seek(at)
        found = _record(path, at, size, file)
        if isinstance(found, Flaw) and found.torn and _next_start(file, at + 1, size) < size:
            # Records follow: no process that was killed has left this.
            found = Flaw(path=path, at=at, reason=found.reason)
        yield found
        at = found.end if isinstance(found, Record) else _next_start(file, at + 1, size)


def _record(path: Path, at: int, size: int, file: FileIO) -> Record | Flaw:
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
    fits = all(isinstance(header.get(name), str) for name in _TEXTS)
    fits = fits and all(isinstance(header.get(name), dict) for name in _TABLES)
    return header if fits else None


def _next_start(file: FileIO, at: int, size: int) -> int:
    """Where the next beginning of a record lies; `size` where there is none."""
    while (at := _next_data(file, at, size)) < size:
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


def next_start(path: Path, at: int) -> int:
    """Where in a file the next beginning of a record lies; its size where there is none."""
    with reading(path):
        size = regular_size(path)
        with open(path, "rb", buffering=0) as file:
            return _next_start(file, at, size)


def _next_data(file: FileIO, at: int, size: int) -> int:
    """Where bytes were ever written again: the holes of a sparse file hold no record, and may be many GB."""
    if not hasattr(os, "SEEK_DATA"):
        return at
    try:
        return os.lseek(file.fileno(), at, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else at  # nothing but a hole; or a disk that cannot tell


def record_bytes(identity: Identity, arrays: Arrays, about: Mapping[str, Any], *, condition: str, spec: str) -> bytes:
    """A record as it lies in a file."""
    ordered = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    payload = safetensors.numpy.save(ordered)
    kind, name, key, made_from = identity
    header = {
        "condition": condition,
        "spec": spec,
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
