"""Files: written whole or not at all, named when damaged, locked when shared. No pickle.

Arrays are safetensors, everything else is JSON, CSV and TOML. Ground floor: any room may import it.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from degeneracy.errors import UserError

Arrays = Mapping[str, NDArray[Any]]


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


def write_json(path: Path, value: Any) -> None:
    """Write JSON, keys in their order, as `write_bytes` does."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing or damaged; names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {_reason(error)}") from error


def write_arrays(path: Path, arrays: Arrays, metadata: Any) -> None:
    """Write named arrays and JSON metadata to one safetensors file, as `write_bytes` does."""
    ordered = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    text = {"degeneracy": json.dumps(metadata, allow_nan=False)}
    write_bytes(path, safetensors.numpy.save(ordered, metadata=text))


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], Any]:
    """The arrays and metadata of a file that `write_arrays` wrote.

    Raises:
        UserError: the file is missing, cut short or of another kind; names it.
    """
    if not path.exists():
        raise UserError(f"cannot read {path}: no such file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = (file.metadata() or {})["degeneracy"]
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata)  # noqa: SIM118
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot read {path}: {_reason(error)}; delete it to have it made again") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged or not a file of this kind ({error})"


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
