"""Arrays of networks trained elsewhere in one .npz file: read whole, or refused in one line that says why.

The file may come from anywhere and may be damaged or made to do harm. Nothing in it is run, and its sizes are checked
against each other, the file and the memory that is there before memory is taken.
"""

import errno
import io
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.files import reading, regular_size
from degeneracy.core.memory import available_memory, in_words
from degeneracy.core.user_files import user_path
from degeneracy.measuring.arrays.measure import KEYS, NUMERIC
from degeneracy.networks.cells import CELLS

NOT_NPZ = "damaged or not an .npz file, as numpy.savez writes them"
OPTIONS = "cell_options"
MAX_READ = 2**24  # bytes at once; also what a list of members may take: 100,000 of them take 10 MB
CHUNK = 2**20
# Records at the end of an archive (APPNOTE.TXT 4.3.14 to 4.3.16).
END, POINTER, END_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
MANY = 0xFFFF


def load_arrays(path: str | Path) -> dict[str, Any]:
    """The arguments of `measure_arrays` from an .npz file with the same names.

    Where members differ in size, `states` is given as `states_0`, `states_1`, ... one array per member; likewise
    the others. `cell` and `ood_variants` are strings, `fully_observed` is true or false; an option of the cell is a
    number or string of its own, such as `cell_options.dt_ms`. A file names no code: a cell of the user's own is given
    to `measure_arrays`, or by --cell.

    Raises:
        UserError: no such file, one that may not be read, a damaged one, one with Python objects in it, one whose
            arrays do not fit in memory, or an unknown name.
    """
    path = user_path(path)
    stored = _read(path)
    arguments: dict[str, Any] = {}
    members: dict[str, dict[int, NDArray[Any]]] = {}
    for name, value in stored.items():
        base, position = _parts(name)
        if base == OPTIONS:
            arguments.setdefault(OPTIONS, {})[position] = _single(path, name, value)
        elif position is None:
            arguments[name] = value
        else:
            members.setdefault(base, {})[int(position)] = value
    for name, by_position in members.items():
        if name in arguments:
            raise UserError(f"{path}: {name} and {name}_0 both stand for members; give one of the two")
        if sorted(by_position) != list(range(len(by_position))):
            raise UserError(
                f"{path}: {name}_0 to {name}_{max(by_position)} are needed, one per member; some are missing"
            )
        arguments[name] = [by_position[k] for k in range(len(by_position))]
    if "cell" in arguments:
        arguments["cell"] = _cell_name(path, arguments["cell"])
    if "fully_observed" in arguments:
        arguments["fully_observed"] = _single(path, "fully_observed", arguments["fully_observed"])
    if "ood_variants" in arguments:
        names = np.atleast_1d(arguments["ood_variants"])
        if names.dtype.kind != "U" or names.ndim != 1:
            raise UserError(f"{path}: ood_variants must be text, one name per variant")
        arguments["ood_variants"] = names.tolist()
    return arguments


def _parts(name: str) -> tuple[str, Any]:
    """The keyword that a stored name belongs to, with the member's position or the option's name, or None."""
    if name in KEYS:
        return name, None
    base, dot, field = name.partition(".")
    if base == OPTIONS and dot and field:
        return base, field
    base, _, digits = name.rpartition("_")
    # One way to write a position: "01" or another script's digits would be a second array for the same member.
    if base in NUMERIC and digits.isascii() and digits.isdecimal() and str(int(digits[:9])) == digits:
        return base, int(digits)
    return "", None


def _single(path: Path, name: str, value: NDArray[Any]) -> Any:
    if value.ndim or value.dtype.kind not in "biufU":
        raise UserError(f"{path}: {name} must be one number or one text, got shape {value.shape} of {value.dtype}")
    return value.item()


def _cell_name(path: Path, value: NDArray[Any]) -> str:
    name = str(_single(path, "cell", value))
    if ":" in name:
        raise UserError(
            f"{path}: cell '{name}' names code, which a file of arrays must not; leave it out and give --cell {name}"
            " or cell=..."
        )
    if name not in CELLS:
        raise unknown_name("cell", name, CELLS, where=str(path))
    return name


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of the file by name."""
    try:
        with reading(path):
            regular_size(path)  # refuses a folder, and a pipe that would be waited for for ever
        with _Bounded(path) as raw, zipfile.ZipFile(raw) as archive:
            members = _members(path, archive)
            headers = {name: _header(archive, info) for name, info in members.items()}
            _check_memory(headers)
            return {name: _values(archive, info, headers[name]) for name, info in members.items()}
    except _Refused as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"cannot read {path}: its arrays do not fit in memory") from None
    except OSError as error:
        damaged = error.errno in (None, errno.EINVAL)  # a place that the archive names and the file has not
        raise UserError(f"cannot read {path}: {NOT_NPZ if damaged else error.strerror}") from error
    except Exception as error:  # damage makes zipfile, its decompressors and numpy raise a dozen kinds
        raise UserError(f"cannot read {path}: {NOT_NPZ}") from error


class _Refused(Exception):
    """What is wrong with the content of a file."""


class _Bounded(io.FileIO):
    """A file of which no more is read at once than an archive of arrays needs, whatever it claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > MAX_READ:
            raise _Refused(NOT_NPZ)
        return super().read(max(wanted, 0))


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The stored arrays by name, each once, all known and none encrypted."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        shown = ascii(info.filename)[1:-1]
        if info.flag_bits & 0x1:
            raise _Refused(f"'{shown}' in it is encrypted")
        if not info.filename.endswith(".npy"):
            raise _Refused(f"'{shown}' in it is no array; only what numpy.savez writes is read")
        name = info.filename.removesuffix(".npy")
        if not _parts(name)[0]:
            known = (*KEYS, f"{OPTIONS}.FIELD")
            raise unknown_name("array", shown.removesuffix(".npy"), known, where=str(path))
        if name in members:
            raise _Refused(f"'{shown}' is in it twice")
        members[name] = info
    if len(members) != _count(archive):
        raise _Refused(NOT_NPZ)
    if not members:
        raise _Refused("it holds no arrays")
    return members


def _count(archive: zipfile.ZipFile) -> int:
    """How many members the end of the archive says it has, which zipfile does not look at: some may be lost."""
    assert isinstance(archive.fp, _Bounded)
    end = os.fstat(archive.fp.fileno()).st_size - END.size - len(archive.comment)
    archive.fp.seek(end)
    signature, *_, count, _, _, _ = END.unpack(archive.fp.read(END.size))
    if count == MANY:  # then the count stands in a record of its own, which a pointer before the end leads to
        archive.fp.seek(end - POINTER.size)
        archive.fp.seek(POINTER.unpack(archive.fp.read(POINTER.size))[2])
        count = END_64.unpack(archive.fp.read(END_64.size))[7]
    return int(count) if signature == b"PK\x05\x06" else -1


Header = tuple[tuple[int, ...], bool, np.dtype[Any]]  # shape, column-major, type


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    """An array's shape, order and type, its size being what the archive says it is."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(info) as opened:
        shape, column_major, dtype = readers[np.lib.format.read_magic(opened)](opened)
        start = opened.tell()
    if dtype.hasobject:
        raise _Refused(f"it holds Python objects ({ascii(info.filename)[1:-1]})")
    if min(shape, default=0) < 0 or start + math.prod(shape) * dtype.itemsize != info.file_size:
        raise _Refused(NOT_NPZ)
    return shape, column_major, dtype


def _check_memory(headers: Mapping[str, Header]) -> None:
    """Refuse arrays that do not fit: as they are stored, and as the float64 that is measured."""
    needed = sum(
        math.prod(shape) * (dtype.itemsize + (0 if dtype == np.float64 else 8)) for shape, _, dtype in headers.values()
    )
    free = available_memory()
    if needed > free:
        raise _Refused(f"its arrays take {in_words(needed)} of memory, and {in_words(free)} are free")


def _values(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: Header) -> NDArray[Any]:
    """An array read to the end of its member, where its checksum is compared."""
    shape, column_major, dtype = header
    values = np.empty(math.prod(shape), dtype)
    left = values.view(np.uint8) if values.nbytes else np.empty(0, np.uint8)
    opened: Any
    with archive.open(info) as opened:
        opened.read(info.file_size - values.nbytes)  # the header
        while len(left):
            n_read = opened.readinto(left[:CHUNK])
            if not n_read:
                raise _Refused(NOT_NPZ)
            left = left[n_read:]
        if opened.read(1):
            raise _Refused(NOT_NPZ)
    return values.reshape(shape, order="F" if column_major else "C")
