"""Calls spread over worker processes: all are made, errors come back, and no worker outlives its use."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky.process_executor import ShutdownExecutorError, TerminatedWorkerError

from degeneracy.core import workers
from degeneracy.core.errors import UserError
from degeneracy.core.workers import Call, WorkerEnded, resolve_jobs, spread, stop_workers


# What workers call is found there by its module's name, so only what an installed module holds: os, time, builtins.
@pytest.fixture(autouse=True)
def _no_worker_left() -> Iterator[None]:
    yield
    stop_workers()


def gone(number: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_call_is_made_once(jobs: int) -> None:
    calls: list[Call] = [Call(pow, (k, 2)) for k in range(7)]
    assert sorted(spread(calls, jobs=jobs)) == [0, 1, 4, 9, 16, 25, 36]


def test_one_job_is_this_process_and_more_are_others() -> None:
    calls: list[Call] = [Call(os.getpid, ())] * 4
    assert set(spread(calls, jobs=1)) == {os.getpid()}
    others = {number for _ in range(3) for number in spread(calls, jobs=2)}
    assert os.getpid() not in others
    # Workers are used again; of two, one may be quick enough to make all calls.
    assert len(others) <= 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_comes_back(jobs: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(spread([Call(divmod, (1, 0))], jobs=jobs))


def test_an_error_where_calls_are_made_comes_back() -> None:
    def calls() -> Iterator[Call]:
        yield Call(pow, (2, 2))
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        list(spread(calls(), jobs=2))


@pytest.mark.parametrize("how", ["closed", "stopped"])
def test_workers_end_with_what_they_are_at(how: str) -> None:
    calls: list[Call] = [Call(os.getpid, ()), *[Call(time.sleep, (600,))] * 3]
    values: Any = spread(calls, jobs=2)
    first = next(values)
    began = time.monotonic()
    values.close() if how == "closed" else stop_workers()
    assert time.monotonic() - began < 60
    assert gone(first)


def test_workers_find_the_modules_that_their_parent_finds_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that started before a folder came onto Python's path do not know it."""
    assert list(spread([Call(pow, (2, 2))] * 2, jobs=2)) == [4, 4]
    (tmp_path / "came_later.py").write_text("def triple(x):\n    return 3 * x\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from came_later import triple

    assert list(spread([Call(triple, (2,))] * 2, jobs=2)) == [6, 6]


def test_idle_workers_end_too() -> None:
    [first] = spread([Call(os.getpid, ())], jobs=2)
    assert not_gone(first)
    stop_workers()
    assert gone(first)


def not_gone(number: int) -> bool:
    os.kill(number, 0)
    return True


KILLED = (signal.raise_signal, (signal.SIGKILL,))  # the way of a machine whose memory has run out


def dies_once(flag: Path) -> Call:
    """A call that ends its process where the flag is not there, and makes it."""
    code = "import os, pathlib, signal\nif not flag.exists():\n    flag.touch()\n    signal.raise_signal(9)"
    return Call(exec, (code, {"flag": flag}))


def test_a_call_whose_worker_is_killed_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls = [Call(pow, (k, 2)) for k in range(5)]
    calls.insert(2, dies_once(tmp_path / "flag"))
    values = list(spread(calls, jobs=2))
    assert (tmp_path / "flag").exists()
    assert sorted(value for value in values if value is not None) == [0, 1, 4, 9, 16]
    assert values.count(None) == 1
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("A worker process was ended from outside, probably because memory ran out")


def test_what_comes_back_late_is_not_handed_on_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that broke hands on, at its next use, what came back meanwhile; and ends before all was drawn."""
    rounds = iter([[(0, "a")], [(0, "a"), (1, "b"), (2, "c")]])

    class Pool:
        def __init__(self, **_: Any) -> None:
            self._backend = None

        def __call__(self, calls: Iterator[Any]) -> Iterator[Any]:
            done = next(rounds)
            for _ in zip(range(3), calls, strict=False):
                pass
            yield from done
            if len(done) == 1:
                raise TerminatedWorkerError("SIGKILL(-9)")

    made: list[int] = []

    def make_alone(self: Any, number: int) -> None:
        made.append(number)
        self._hand_on(number, "again")

    monkeypatch.setattr(workers.joblib, "Parallel", Pool)
    monkeypatch.setattr(workers._Feeder, "_make_alone", make_alone)
    values = list(spread([Call(pow, (k, 2)) for k in range(3)], jobs=2))
    assert (sorted(values), made) == (["a", "again", "again"], [1, 2])


def test_what_a_pool_has_not_drawn_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        """Ends after one call at each use."""

        def __init__(self, **_: Any) -> None:
            self._backend = None

        def __call__(self, calls: Iterator[Any]) -> Iterator[Any]:
            for function, arguments, options in calls:
                yield function(*arguments, **options)
                return

    monkeypatch.setattr(workers.joblib, "Parallel", Pool)
    assert list(spread([Call(pow, (k, 2)) for k in range(4)], jobs=2)) == [0, 1, 4, 9]


def test_it_is_made_again_with_nothing_beside_it(tmp_path: Path) -> None:
    """Of two calls that are under way, each is made again alone: their times do not meet."""
    code = (
        "import pathlib, signal, time\n"
        "if not flag.exists():\n"
        "    flag.touch()\n"
        "    while len(list(flag.parent.glob('first*'))) < 2:\n"  # so that both are under way
        "        time.sleep(0.01)\n"
        "    signal.raise_signal(9)\n"
        "began = time.monotonic()\n"
        "time.sleep(0.2)\n"
        "(flag.parent / f'times{flag.name}').write_text(f'{began} {time.monotonic()}', encoding='utf-8')"
    )
    calls = [Call(exec, (code, {"flag": tmp_path / f"first{k}"})) for k in range(2)]
    assert list(spread(calls, jobs=2)) == [None, None]
    times = sorted(tuple(map(float, file.read_text(encoding="utf-8").split())) for file in tmp_path.glob("times*"))
    assert len(times) == 2
    assert times[0][1] <= times[1][0]


def test_a_call_whose_worker_is_killed_twice_is_named_and_what_was_done_is_kept() -> None:
    calls = [Call(pow, (2, 2)), Call(pow, (3, 2)), Call(*KILLED, "the network of seed 7")]
    done = []
    with pytest.raises(WorkerEnded) as raised:
        done.extend(value for value in spread(calls, jobs=2))
    assert str(raised.value).startswith(
        "the network of seed 7: its process was ended from outside, and again when it ran alone;"
        " it probably ran out of memory"
    )
    assert "--jobs 1" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_values_come_before_the_line_about_a_killed_worker() -> None:
    calls = [Call(pow, (2, 2)), Call(pow, (3, 2)), Call(*KILLED, "x")]
    values = spread(calls, jobs=2)
    assert sorted([next(values), next(values)]) == [4, 9]
    with pytest.raises(WorkerEnded):
        next(values)
    assert sorted(spread(calls[:2], jobs=2)) == [4, 9], "workers are there again"


def test_a_process_that_breaks_off_by_itself_is_not_said_to_lack_memory() -> None:
    with pytest.raises(WorkerEnded, match=r"^x: its process broke off, and again .* alone \(EXIT\(3\)\)$"):
        list(spread([Call(os._exit, (3,), "x"), Call(pow, (2, 2))], jobs=2))


def test_a_stop_while_a_call_is_made_alone_ends_it(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "if not flag.exists():\n    flag.touch()\n    signal.raise_signal(9)\n"
        "(flag.parent / 'alone').write_text(str(os.getpid()), encoding='utf-8')\ntime.sleep(600)"
    )
    calls = [Call(exec, (code, {"flag": tmp_path / "flag"})), Call(pow, (2, 2)), Call(pow, (2, 2))]

    def consume() -> None:
        with contextlib.suppress(ShutdownExecutorError):
            list(spread(calls, jobs=2))

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "alone").exists() or not (tmp_path / "alone").read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stop_workers()
    consumer.join(60)
    assert not consumer.is_alive()
    assert gone(int((tmp_path / "alone").read_text(encoding="utf-8")))


# The parent says who its workers are, then is killed as a machine without memory does it.
ORPHANS = """\
import os, signal, sys, threading, time
from joblib.externals.loky import reusable_executor
from degeneracy.core.workers import Call, spread

def end():
    workers = []
    while len(workers) < 3:
        executor = reusable_executor._executor
        workers = list((executor and executor._processes) or {})
        time.sleep(0.005)
    if sys.argv[1] == "idle":
        done.wait()
    print(*workers, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

done = threading.Event()
threading.Thread(target=end, daemon=True).start()
calls = [Call(time.sleep, (600,))] * 3 if sys.argv[1] == "starting" else [Call(os.getpid, ())]
list(spread(calls, jobs=3))
done.set()
time.sleep(600)
"""


def ended(number: int) -> bool:
    """Whether a process is no more, or was not yet collected by the one that took it over."""
    try:
        state = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("when", ["starting", "idle"])
def test_workers_end_with_a_parent_that_is_killed(when: str) -> None:
    """Also those that have not made a call yet: of three workers, two are idle from their start."""
    command = [sys.executable, "-c", ORPHANS, when]
    parent = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    numbers = [int(word) for word in parent.stdout.split()]
    assert len(numbers) == 3
    deadline = time.monotonic() + 60  # seconds of imports and a look each second, on a busy machine
    while not all(map(ended, numbers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [number for number in numbers if not ended(number)] == []


def test_a_stop_hides_the_end_of_lokys_thread_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one thread that a worker killed at its start takes along, with a traceback on standard error."""
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: seen.append(failed.thread.name))

    def fail() -> None:
        raise RuntimeError

    def run(name: str) -> None:
        thread = threading.Thread(target=fail, name=name)
        thread.start()
        thread.join()

    with workers._quiet_manager():
        run("ExecutorManagerThread")
        run("another")
    run("ExecutorManagerThread")
    assert seen == ["another", "ExecutorManagerThread"]


def test_the_number_of_jobs_is_taken_or_one_a_core() -> None:
    assert resolve_jobs(3) == 3
    assert resolve_jobs(-1) >= 1


@pytest.mark.parametrize("jobs", [0, -2, "1", None, 1.5, True])
def test_impossible_jobs_are_refused(jobs: Any) -> None:
    with pytest.raises(UserError, match=f"jobs = {jobs!r} is wrong"):
        resolve_jobs(jobs)
