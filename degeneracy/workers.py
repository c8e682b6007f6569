"""Worker processes: calls spread over them, and an end to all of them at any moment.

A thread of its own feeds the workers, so that a KeyboardInterrupt never lands inside joblib, where it could leave
a process half started or a lock held. Ground floor: any room may import it.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib
from joblib.externals.loky import reusable_executor

from degeneracy.errors import UserError

# loky ends a worker whose memory has grown, compiled code included, and starts another: nothing a user need know.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)

STOPS = (signal.SIGINT, signal.SIGTERM)
Call = tuple[Callable[..., Any], tuple[Any, ...]]  # a function and its arguments

_feeders: set["_Feeder"] = set()  # those at work
_watching: list[threading.Thread] = []  # in a worker: the thread that watches its parent
SECONDS_TO_END = 30.0  # after which a feeder that does not end is left alone: its processes are elsewhere


def resolve_jobs(jobs: int) -> int:
    """Number of processes for `jobs` (-1: one a core this process may use).

    Raises:
        UserError: 0 or less than -1.
    """
    if jobs == -1:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs < 1:
        raise UserError(f"jobs = {jobs} is wrong: a number of processes, 1 or more, or -1 for one a core")
    return jobs


def spread(calls: Iterable[Call], *, jobs: int) -> Iterator[Any]:
    """Make calls in `jobs` processes (1: in this one) and yield what each returns as it is done, in no fixed order.

    Where the consumer stops early, for whatever reason, the workers end at once. joblib's own settings
    (`joblib.parallel_config`) choose a backend that reaches other machines.

    Args:
        calls: drawn one by one as processes become free.
        jobs: processes, 1 or more.
    """
    if jobs <= 1:
        for function, arguments in calls:
            yield function(*arguments)
        return
    feeder, kind = _Feeder(calls, jobs), "value"
    try:
        feeder.start()
        while True:
            kind, value = feeder.results.get()
            if kind != "value":
                break
            yield value
    finally:
        if kind == "value":  # not at its end: an error or a stop where the values go
            feeder.stop()
    feeder.join()
    if kind == "error":
        raise value


def stop_workers() -> None:
    """End all worker processes at once, idle ones too, with what they were at."""
    for feeder in tuple(_feeders):
        feeder.stop()
    with _quiet_manager():
        _kill_workers()


class _Feeder(threading.Thread):
    """Runs joblib and puts what it yields into a queue."""

    def __init__(self, calls: Iterable[Call], jobs: int) -> None:
        super().__init__(name="degeneracy workers", daemon=True)
        self.results: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.calls = calls
        self.stopped = False
        # Made here, in the caller's thread, whose settings of joblib hold. max_nbytes=None: arrays are copied to the
        # workers, not mapped read-only.
        self.pool = joblib.Parallel(
            n_jobs=jobs,
            batch_size=1,
            pre_dispatch="n_jobs",
            max_nbytes=None,
            return_as="generator_unordered",
        )

    def start(self) -> None:
        """Start with the signals of a stop blocked: the feeder's workers inherit that, so Ctrl-C is ours alone."""
        _feeders.add(self)
        with _blocked_signals():
            super().start()

    def run(self) -> None:
        """Hand on what the workers return, then the end or the error."""
        last: tuple[str, Any] = "end", None
        try:
            _start_trackers()
            _block_signals()
            for value in self.pool(
                joblib.delayed(_call)(os.getpid(), *call) for call in self._until_stopped()
            ):
                self.results.put(("value", value))
        except BaseException as error:
            last = "error", error
        finally:
            _feeders.discard(self)
            self.results.put(last)

    def stop(self) -> None:
        """End the workers at once, and this thread."""
        self.stopped = True
        _feeders.discard(self)
        began = time.monotonic()
        with _quiet_manager():
            while self.is_alive() and time.monotonic() - began < SECONDS_TO_END:
                _kill_workers()  # again and again: the thread may have been about to start them
                self.join(0.05)

    def _until_stopped(self) -> Iterator[Call]:
        for call in self.calls:
            if self.stopped:
                return
            yield call


def _kill_workers() -> None:
    """End joblib's worker processes on this machine, if there are any."""
    executor = reusable_executor._executor
    if executor is not None:
        with contextlib.suppress(Exception):  # joblib may be ending them itself at this moment, in the feeder
            executor.shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _quiet_manager() -> Iterator[None]:
    """Meanwhile loky's thread that looks after the workers dies in silence: it may meet one that was killed as it
    started, and the traceback would be all that a user sees of a stop that went well.
    """
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if failed.thread is None or failed.thread.name != "ExecutorManagerThread":
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _block_signals() -> None:
    """In this thread, and in the threads and processes that it starts."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """What comes meanwhile comes afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_trackers() -> None:
    """Python's own helper processes, which on their start let signals through again in the thread they start from."""
    if sys.platform != "win32":
        from multiprocessing import resource_tracker as of_python

        from joblib.externals.loky.backend import resource_tracker as of_loky

        of_python.ensure_running()
        of_loky.ensure_running()


def _call(parent: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """One call, in a worker that does not outlive its parent."""
    if not _watching and os.getppid() == parent:  # else in the parent itself, or on another machine
        _watching.append(threading.Thread(target=_end_with, args=(parent,), daemon=True))
        _watching[0].start()
    return function(*arguments)


def _end_with(parent: int) -> None:
    """End this process soon after its parent has gone, however that went: a killed one cannot end its workers."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
