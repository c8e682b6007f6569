"""Worker processes: calls spread over them, and an end to all of them at any moment.

A worker that is ended from outside, as by a machine whose memory has run out, costs its own call alone: what the
workers were at is done once more, a call at a time with nothing beside it.

A thread of its own feeds the workers, so that a KeyboardInterrupt never lands inside joblib, where it could leave
a process half started or a lock held. Ground floor: any room may import it.
"""

import contextlib
import logging
import os
import queue
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from numbers import Integral
from typing import Any, NamedTuple

import joblib
from joblib.externals.loky import reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import LokyBackend

from degeneracy.core.errors import UserError

log = logging.getLogger("degeneracy")

# loky ends a worker whose memory has grown, compiled code included, and starts another: nothing a user need know.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)

STOPS = (signal.SIGINT, signal.SIGTERM)
SECONDS_BETWEEN_LOOKS = 1.0  # of a worker for its parent


class Call(NamedTuple):
    """A function and its arguments, and in words what it does, should its process be ended."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    what: str = "a call"


class WorkerEnded(UserError):
    """A call whose worker process was ended twice, the second time with nothing beside it."""


_feeders: set["_Feeder"] = set()  # those at work
_watching: list[threading.Thread] = []  # in a worker: the thread that watches its parent
SECONDS_TO_END = 30.0  # after which a feeder that does not end is left alone: its processes are elsewhere


def resolve_jobs(jobs: int) -> int:
    """Number of processes for `jobs` (-1: one per core this process may use).

    Raises:
        UserError: 0, less than -1, or no whole number.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, Integral):
        raise UserError(f"jobs = {jobs!r} is wrong: a number of processes, 1 or more, or -1 for one per core")
    if jobs == -1:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs < 1:
        raise UserError(f"jobs = {jobs!r} is wrong: a number of processes, 1 or more, or -1 for one per core")
    return int(jobs)


def spread(calls: Iterable[Call], *, jobs: int) -> Iterator[Any]:
    """Make calls in `jobs` processes (1: in this one) and yield what each returns as it is done, in no fixed order.

    Where the consumer stops early, for whatever reason, the workers end at once. joblib's own settings
    (`joblib.parallel_config`) choose a backend that reaches other machines, which has its own ways with workers that
    are lost.

    Args:
        calls: drawn one by one as processes become free.
        jobs: processes, 1 or more.

    Raises:
        WorkerEnded: a worker was ended from outside, and again when it made that call alone.
    """
    if jobs <= 1:
        for call in calls:
            yield call.function(*call.arguments)
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
        self.calls = enumerate(calls)
        self.at_work: dict[int, Call] = {}  # handed to a worker, not come back yet
        self.drawn_all = False
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
        _let_watch(self.pool)

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
            while not (self._made_in_pool() and self.drawn_all) and not self.stopped:
                for number in list(self.at_work):
                    self._make_alone(number)
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

    def _made_in_pool(self) -> bool:
        """Make the calls that are left, side by side; False where a worker was ended from outside.

        A pool that broke may hand on, when it is used again, what came back while it broke.
        """
        drawn = _Drawn(self)
        try:
            for number, value in self.pool(
                joblib.delayed(_call)(os.getpid(), number, call.function, call.arguments) for number, call in drawn
            ):
                self._hand_on(number, value)
        except TerminatedWorkerError:
            if not self.stopped:
                log.warning(
                    "A worker process was ended from outside, probably because memory ran out: what all %d were at"
                    " is done again, one after the other. Fewer processes (--jobs) need less memory.",
                    len(self.at_work),
                )
            return self.stopped
        finally:
            drawn.end()
        return not self.at_work

    def _make_alone(self, number: int) -> None:
        """Make a call once more, in a new process with nothing beside it."""
        if self.stopped:
            return
        call, parent = self.at_work[number], os.getpid()
        # joblib runs a single process's calls in this one, so that loky itself is asked.
        executor = reusable_executor.get_reusable_executor(
            max_workers=1, reuse=False, kill_workers=True, initializer=_watch, initargs=_start()
        )
        try:
            self._hand_on(*executor.submit(_call, parent, number, call.function, call.arguments).result())
        except TerminatedWorkerError as error:
            if not self.stopped:
                raise WorkerEnded(f"{call.what}: {_how_it_ended(error)}") from None
        finally:
            executor.shutdown(wait=True, kill_workers=True)

    def _hand_on(self, number: int, value: Any) -> None:
        if self.at_work.pop(number, None) is not None:  # else it was made again alone before this came
            self.results.put(("value", value))


class _Drawn:
    """The calls of a feeder for one pool, in whose threads they are drawn, until the feeder is stopped or `end`."""

    def __init__(self, feeder: _Feeder) -> None:
        self.feeder = feeder
        self.ended = False
        self.lock = threading.Lock()

    def __iter__(self) -> "_Drawn":
        return self

    def __next__(self) -> tuple[int, Call]:
        with self.lock:
            if self.ended or self.feeder.stopped:
                raise StopIteration
            try:
                number, call = next(self.feeder.calls)
            except StopIteration:
                self.feeder.drawn_all = True
                raise
            self.feeder.at_work[number] = call
            return number, call

    def end(self) -> None:
        """Draw no more: a pool that broke may still be about to."""
        with self.lock:
            self.ended = True


def _how_it_ended(error: TerminatedWorkerError) -> str:
    """In words, from the exit codes in loky's message."""
    codes = sorted(set(re.findall(r"[A-Z]+\(-?\d+\)", str(error))))
    if codes and not any("KILL" in code or "TERM" in code for code in codes):
        return f"its process broke off, and again when it ran alone ({', '.join(codes)})"
    return (
        "its process was ended from outside, and again when it ran alone; it probably ran out of memory: give it"
        " more, choose smaller sizes, or use one process (--jobs 1; jobs = 1 in Python), which needs least"
    )


def _kill_workers() -> None:
    """End joblib's worker processes on this machine, if there are any."""
    executor = reusable_executor._executor  # loky's public ways to it start one where there is none
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


def _let_watch(pool: joblib.Parallel) -> None:
    """Let the pool's workers watch their parent from their start, where they are loky's and have nothing else to do.

    An initializer has to be set once it is known which backend the caller's settings of joblib choose: others than loky
    refuse it. joblib's public ways set both together.
    """
    backend = pool._backend
    if isinstance(backend, LokyBackend) and "initializer" not in getattr(backend, "backend_kwargs", {}):
        # What joblib configures the backend with, by its present and by its earlier name.
        settings = pool._backend_kwargs if hasattr(pool, "_backend_kwargs") else pool._backend_args
        settings |= {"initializer": _watch, "initargs": _start()}


def _call(parent: int, number: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[int, Any]:
    """One call, in a worker that does not outlive its parent; returns its number with its value."""
    if os.getppid() == parent:  # else in the parent itself, or on another machine
        _watch(parent)
    return number, function(*arguments)


def _start() -> tuple[int, str, tuple[str, ...]]:
    """What workers start with: their parent, and where it finds modules.

    joblib uses workers again that started with the same; others could not import what the user's code is in.
    """
    here = ""
    with contextlib.suppress(OSError):  # the working directory was removed
        here = os.getcwd()
    return os.getpid(), here, tuple(sys.path)


def _watch(parent: int, *_: Any) -> None:
    """In a worker on the parent's machine: end with the parent, from now on."""
    if not _watching:
        _watching.append(threading.Thread(target=_end_with, args=(parent,), daemon=True))
        _watching[0].start()


def _end_with(parent: int) -> None:
    """End this process soon after its parent has gone, however that went: a killed one cannot end its workers."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
