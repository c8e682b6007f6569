"""Files: written whole or not at all, named when damaged, locked when shared. No pickle.

Arrays lie in packs (`packs.py`), everything else in JSON, CSV and TOML. Every JSON file carries the SHA-256 of its
content under its last key, "checksum". Ground floor: any room may import it.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from degeneracy.core.errors import UserError

MAX_JSON_BYTES = 1 << 28  # far above what any run writes: a larger file is none of ours, and is not read
CHECKSUM = "checksum"


class DamagedFile(UserError):
    """A stored file that is not what was written, or lies where it does not belong; `path` says which."""

    def __init__(self, path: Path, reason: str, advice: str = "") -> None:
        super().__init__(f"cannot read {path}: {reason}" + (f"; {advice}" if advice else ""))
        self.path, self.reason, self.advice = path, reason, advice

    def __reduce__(self) -> tuple[type["DamagedFile"], tuple[Path, str, str]]:
        return DamagedFile, (self.path, self.reason, self.advice)  # from a worker process to the caller's


@contextlib.contextmanager
def advising(advice: str) -> Iterator[None]:
    """Say what to do where the block meets a damaged file and nothing inside it says so."""
    try:
        yield
    except DamagedFile as error:
        if error.advice:
            raise
        raise DamagedFile(error.path, error.reason, advice) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole: under a temporary name, flushed to the disk, then renamed.

    Raises:
        UserError: the folder cannot be written to, or the disk is full; nothing is left behind.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files private; a shared run is not
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes in hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any, *, sort: bool = False) -> str:
    """The SHA-256 of plain data: of its JSON, however it is spaced; with `sort`, whatever the order of its keys."""
    return sha256(json.dumps(value, sort_keys=sort).encode())


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """What `write_json` writes."""
    json.dumps(value, allow_nan=False)  # refused before anything is written
    whole = {**value, CHECKSUM: digest(value)}
    return (json.dumps(whole, indent=2) + "\n").encode()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON with its checksum, keys in their order, as `write_bytes` does."""
    write_bytes(path, json_bytes(value))


def read_json(path: Path, *, kind: str = "", format: int = 0, older: Collection[str] = ()) -> dict[str, Any]:
    """Read JSON that `write_json` wrote, without its checksum.

    Args:
        path: the file.
        kind: where named, what the file's "kind" has to be.
        format: where a kind is named, what the file's "format" has to be.
        older: keys that tell a file of an earlier version, beside a smaller "format".

    Raises:
        DamagedFile: the file is not what was written, or of another kind.
        UserError: the file is missing, may not be read, or was written by another version.
    """
    value = _parsed(path)
    if not isinstance(value, dict):
        raise DamagedFile(path, "damaged or not a file of this kind (it is no JSON object)")
    there = value.get("format")
    if CHECKSUM not in value:
        if "kind" not in value and (_earlier(there, format) or (older and set(older) <= value.keys())):
            raise _other_version(path, there if isinstance(there, int) else 1, format)
        raise DamagedFile(path, "damaged or not a file of this kind (it has no checksum)")
    if value.pop(CHECKSUM) != _digest_of(value, path):
        raise DamagedFile(path, "its content is not what was written (by its checksum)")
    if kind and value.get("kind") != kind:
        raise DamagedFile(path, f"not a file of this kind (it is '{value.get('kind')}', not '{kind}')")
    if kind and there != format:
        raise _other_version(path, there, format)
    return value


def _parsed(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path, at_most=MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        what = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DamagedFile(path, f"damaged or not a file of this kind ({what})") from error


def _earlier(there: Any, format: int) -> bool:
    return isinstance(there, int) and not isinstance(there, bool) and there < format


def _other_version(path: Path, there: Any, format: int) -> UserError:
    when = "an earlier" if _earlier(there, format) else "a later"
    return UserError(
        f"{path} was written by {when} version of degeneracy (format {there}, this one has format {format});"
        " make it anew in another folder, or read it with the version that wrote it"
    )


def _digest_of(value: Mapping[str, Any], path: Path) -> str:
    try:
        return digest(value)
    except RecursionError as error:
        raise DamagedFile(path, "damaged or not a file of this kind (nested too deeply)") from error


def read_bytes(path: Path, *, at_most: int) -> bytes:
    """The bytes of a file, whose kind and size are looked at first.

    Raises:
        DamagedFile: no ordinary file, or a larger one than `at_most` bytes.
        UserError: the file is missing or may not be read.
    """
    with reading(path):
        size = regular_size(path)
        if size > at_most:
            raise DamagedFile(path, f"it has {size:,} bytes, which is more than any such file has")
        return path.read_bytes()


def regular_size(path: Path) -> int:
    """The size of an ordinary file in bytes.

    Raises:
        DamagedFile: a folder, a pipe or something else that cannot be read as a file.
        OSError: what the operating system has against looking at it.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise DamagedFile(path, "it is a link that leads nowhere") from None
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DamagedFile(path, "it is a link that leads to itself") from None
        raise
    if stat.S_ISDIR(status.st_mode):
        raise DamagedFile(path, "it is a folder, and a file is needed")
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFile(path, "it is a pipe or device, and a file is needed")
    return status.st_size


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say in one line what the operating system has against reading a file."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"cannot read {path}: no such file") from error
    except PermissionError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; its permissions do not let you") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def exists(path: Path) -> bool:
    """Whether there is anything of this name, a broken link included.

    Raises:
        UserError: the folder may not be looked into.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return True


def set_aside(path: Path) -> Path:
    """Rename a damaged file, whatever it is, to NAME.damaged-1, or the first such name that is free; returns it.

    Raises:
        UserError: the folder cannot be written to.
    """
    number = 1
    while exists(target := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    try:
        os.rename(path, target)
    except OSError as error:
        raise UserError(f"cannot rename {path}: {error.strerror or error}") from error
    return target


def clean(folder: Path) -> None:
    """Remove what a killed process was writing; whoever calls this holds the folder's lock."""
    for part in folder.glob(".*.part"):
        if is_part(part):
            part.unlink(missing_ok=True)


def is_part(path: Path, of: str = "") -> bool:
    """Whether a file has a name that `write_bytes` writes under, of the file `of` where that is named."""
    name = re.escape(of) if of else ".+"
    return re.fullmatch(rf"\.{name}\.[a-z0-9_]{{8}}\.part", path.name) is not None and path.is_file()


@contextlib.contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock file while the block runs; yields False, without it, where another process has it and not `wait`.

    The operating system frees the lock of a process that dies, however it dies.
    """
    held = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(blocking=wait)
    except filelock.Timeout:
        yield False
        return
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield True
    finally:
        held.release()
