"""Compilation by numba: at a function's first call, kept on disk for the next process. Ground floor.

Raises ImportError where numba has no release for this Python or machine; whoever compiles has a reference path.
"""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: `numba.njit` that lets other threads run and keeps what it compiled.

    Where there is no folder to keep it in (a read-only installation and home), every process compiles anew.

    Args:
        options: further ones of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            made: Callable[..., Any] = njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # numba's "cannot cache function"
            made = njit(nogil=True, **options)(function)
        return made

    return decorate
