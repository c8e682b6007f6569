"""Compilation by numba: at a function's first call, kept on disk for the next process. Ground floor.

What is kept bears a checksum. A file that is cut short or altered, one that may not be read, and one of an earlier
version are as if they were not there: the function is compiled anew, and the file written again where it can be. What
another kind of processor compiled stands beside it under a key of its own (numba's).

What is compiled holds the code of all functions that it calls, the constants that it names and the order of the fields
of its arguments. numba looks at the function's own file alone; here a change of any of them compiles it anew.

numba has no public way to say where or how what it compiles is kept, so that private attributes of it are set here and
methods replaced (`tests/core/test_compiling.py` covers each; the versions of numba that may be installed are bounded).
"""

import contextlib
import hashlib
import io
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile

CHECKSUM_BYTES = hashlib.sha256().digest_size
# What reading raises where a file names types that this version no longer has; numba reads before it compares versions.
OF_AN_EARLIER_VERSION = (AttributeError, ImportError, TypeError)


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
        own = self._impl.locator.get_source_stamp()
        self._cache_file = _CheckedFiles(
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=own
        )
        self._cache_file.stamp = lambda: _stamp(own, py_func.__globals__)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled where that is possible; a full disk is no reason not to use it."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """numba's, and the names of the fields of all named tuples, which are known by their place to what is kept."""
        return (*super()._index_key(sig, codegen), _fields(getattr(sig, "args", sig)))


def _stamp(own: Any, names: dict[str, Any]) -> str:
    """A digest of all that the compiled code of a module's functions is made of."""
    digest = hashlib.sha256(repr(own).encode())
    for reached in _reached(names):
        digest.update(_source(reached.get("__file__")))
        for name in sorted(reached):
            if not name.startswith("__"):
                digest.update(_constant(name, reached[name]))
    return digest.hexdigest()


def _reached(names: dict[str, Any]) -> list[dict[str, Any]]:
    """The globals of a module, of this one, and of all modules of compiled code that it refers to, and so on."""
    reached, waiting = {str(each.get("__name__")): each for each in (globals(), names)}, [names]
    while waiting:
        for value in _parts(tuple(waiting.pop().values())):
            module = value if isinstance(value, ModuleType) else sys.modules.get(str(getattr(value, "__module__", "")))
            if module is not None and module.__name__ not in reached and _compiles(module):
                reached[module.__name__] = vars(module)
                waiting.append(vars(module))
    return [reached[name] for name in sorted(reached)]


def _parts(value: Any, depth: int = 3) -> Iterator[Any]:
    """What a table holds, and the tables in it, or the value itself."""
    if depth > 0 and type(value) in (dict, list, tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part, depth - 1)
    else:
        yield value


@cache
def _compiles(module: ModuleType) -> bool:
    """Whether a module uses numba or `compiled`; not so numba's own."""
    if module.__name__.partition(".")[0] in ("numba", "llvmlite", "builtins"):
        return False
    return any(
        value is compiled or str(getattr(value, "__module__", "")).partition(".")[0] == "numba"
        for value in tuple(vars(module).values())
    )


def _source(file: str | None) -> bytes:
    if file is not None:
        with contextlib.suppress(OSError):
            about = Path(file).stat()
            return _source_of(file, about.st_mtime_ns, about.st_size)
    return b""


@cache
def _source_of(file: str, _time: int, _size: int) -> bytes:
    return hashlib.sha256(Path(file).read_bytes()).digest()


def _constant(name: str, value: Any) -> bytes:
    """What numba freezes of a global that is no function: numbers, text, arrays and tuples of them."""
    if isinstance(value, np.ndarray):
        return repr((name, value.dtype, value.shape)).encode() + value.tobytes()
    if all(isinstance(part, bool | int | float | complex | str | np.generic) for part in _parts(value)):
        return repr((name, value)).encode()
    return b""


def _fields(given: Any) -> tuple[Any, ...]:
    """The names of the fields of the types of arguments, and of those within them."""
    inner: tuple[Any, ...] = tuple(given) if isinstance(given, types.BaseTuple | tuple) else ()  # type: ignore[arg-type]
    return tuple((getattr(part, "fields", ()), _fields(part)) for part in inner)


class _CheckedFiles(IndexDataCacheFile):
    """An index of signatures and a file for each, that end in the checksum of what is before."""

    stamp: Callable[[], str]

    def _load_index(self) -> dict[Any, str]:
        # The functions that a function calls are known once its module is whole: now, not at its definition.
        self._source_stamp = self.stamp()
        with contextlib.suppress(*OF_AN_EARLIER_VERSION):
            return super()._load_index() if _is_whole(Path(self._index_path)) else {}
        return {}

    def _load_data(self, name: str) -> Any:
        path = Path(self._data_path(name))
        if not _is_whole(path):
            raise OSError(f"{path} is damaged")  # which numba takes for a file that is not there
        try:
            return super()._load_data(name)
        except OF_AN_EARLIER_VERSION as error:
            raise OSError(f"{path} is of an earlier version") from error

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
