"""A case may use so much time and memory, so that a trap for readers (an endless or a huge file) ends in words."""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


class TookTooLong(BaseException):
    """The case's time is over; no `Exception`, so that nobody takes it for a failure of their own."""


def _over(signum: int, frame: FrameType | None) -> None:
    raise TookTooLong


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TookTooLong` in the block once it has run for so long."""
    before = signal.signal(signal.SIGALRM, _over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def memory_limit(gigabytes: float) -> Iterator[None]:
    """Let the block take so much more memory than the process has now; beyond it there is a MemoryError."""
    if sys.platform != "linux":  # how much the process has is read from /proc
        yield
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * os.sysconf("SC_PAGE_SIZE") + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Run the block as a user to whom no file belongs: root may read anything, whatever its permissions."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        os.seteuid(0)
