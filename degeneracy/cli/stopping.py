"""Ctrl-C and a batch system's SIGTERM: heard wherever a command is, and acted on where that does no harm."""

import _thread
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEAT = 0.05  # seconds until a signal that came in the midst of an import is given again
AGAIN = 2.0  # seconds until a stop that other code has swallowed is raised once more


class Stopped(KeyboardInterrupt):
    """A stop was asked for. Not KeyboardInterrupt itself: Python, once it has met that in a string of code that is
    executed (as `namedtuple` does), ends the process by SIGINT at its exit, whoever caught it.
    """


class Stop:
    """Whether a stop was asked for, and by which signal.

    A signal raises `Stopped` in the main thread, but never in the midst of an import: compiled modules end the
    process there (C++ that meets an exception it does not expect), and others are left half made. It is then raised
    as soon as the import is over. A second signal does not disturb the winding up after the first.
    """

    def __init__(self) -> None:
        self.number = 0  # of the first signal; 0: none came
        self._raised = -AGAIN  # when
        self._over = False
        self._before: dict[int, Any] = {}
        self._wake = _thread.allocate_lock()  # raw: a handler may release it whatever the main thread is at
        self._repeater = threading.Thread(target=self._repeat, daemon=True, name="degeneracy stop")

    def begin(self) -> None:
        """Hear signals from now on. Only a main thread can: in another one nothing changes."""
        if threading.current_thread() is threading.main_thread():
            self._wake.acquire()
            self._repeater.start()
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._hear)

    def end(self, *, deaf: bool) -> None:
        """Raise no more; from now on signals are ignored where a stop came or `deaf`, else heard as before `begin`."""
        self._over = True
        if self._wake.locked():
            self._wake.release()
        if self._repeater.is_alive():
            self._repeater.join()  # before the handlers go, so that no signal of its own meets others
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if deaf or self.number else handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number = number
            self._wake.release()
        now = time.monotonic()
        if not self._over and now - self._raised > AGAIN and not _importing(frame):
            self._raised = now
            raise Stopped

    def _repeat(self) -> None:
        """After the first signal: give it again until the main thread winds up."""
        self._wake.acquire()
        while not self._over:
            time.sleep(REPEAT)
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(threading.main_thread().ident or 0, self.number)
            else:
                signal.raise_signal(self.number)


def _importing(frame: FrameType | None) -> bool:
    """Whether a command is in the midst of an import there."""
    while frame is not None and frame.f_globals.get("__name__") != "degeneracy.cli.commands":
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def stop_workers() -> None:
    """End the worker processes at once, where any can have been started."""
    if "degeneracy.core.workers" in sys.modules:
        from degeneracy.core import workers

        workers.stop_workers()
