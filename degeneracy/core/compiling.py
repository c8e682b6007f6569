"""Compilation by numba: at a function's first call, kept on disk for the next process. Ground floor.

What is kept bears a checksum. A file that is cut short or altered, one that may not be read, and one of an earlier
version are as if they were not there: the function is compiled anew, and the file written again where it can be. What
another kind of processor compiled stands beside it under a key of its own (numba's).
"""

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

CHECKSUM_BYTES = hashlib.sha256().digest_size


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: `numba.njit` that lets other threads run and keeps what it compiled.

    Where there is no folder to keep it in (a read-only installation and home), every process compiles anew.

    Args:
        options: further ones of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        made: Any = njit(nogil=True, **options)(function)
        if made is not function:  # else numba is told by its environment to compile nothing
            with contextlib.suppress(RuntimeError):  # numba's "cannot cache function"
                made._cache = _Cache(function)
        result: Callable[..., Any] = made
        return result

    return decorate


class _Cache(FunctionCache):
    """What a function was compiled to, in files that bear checksums."""

    def __init__(self, py_func: Callable[..., Any]) -> None:
        super().__init__(py_func)
        self._cache_file = _CheckedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled where that is possible; a full disk is no reason not to use it."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


class _CheckedFiles(IndexDataCacheFile):
    """An index of signatures and a file for each, that end in the checksum of what is before."""

    def _load_index(self) -> dict[Any, str]:
        if not _is_whole(Path(self._index_path)):
            return {}
        try:
            return super()._load_index()
        except (AttributeError, ImportError):  # another version wrote it: its signatures name classes that are gone
            return {}

    def _load_data(self, name: str) -> Any:
        path = Path(self._data_path(name))
        if not _is_whole(path):
            raise OSError(f"{path} is damaged")  # which numba takes for a file that is not there
        return super()._load_data(name)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        with super()._open_for_write(filepath) as file:
            content = io.BytesIO()
            yield content
            # At the end, where reading a pickle stops before it.
            file.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-CHECKSUM_BYTES]).digest() == content[-CHECKSUM_BYTES:]
