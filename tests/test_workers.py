"""Calls spread over worker processes: all are made, errors come back, and no worker outlives its use."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from degeneracy import workers
from degeneracy.errors import UserError
from degeneracy.workers import Call, resolve_jobs, spread, stop_workers


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
    calls: list[Call] = [(pow, (k, 2)) for k in range(7)]
    assert sorted(spread(calls, jobs=jobs)) == [0, 1, 4, 9, 16, 25, 36]


def test_one_job_is_this_process_and_more_are_others() -> None:
    calls: list[Call] = [(os.getpid, ())] * 4
    assert set(spread(calls, jobs=1)) == {os.getpid()}
    others = {number for _ in range(3) for number in spread(calls, jobs=2)}
    assert os.getpid() not in others
    # Workers are used again; of two, one may be quick enough to make all calls.
    assert len(others) <= 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_comes_back(jobs: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(spread([(divmod, (1, 0))], jobs=jobs))


def test_an_error_where_calls_are_made_comes_back() -> None:
    def calls() -> Iterator[Call]:
        yield pow, (2, 2)
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        list(spread(calls(), jobs=2))


@pytest.mark.parametrize("how", ["closed", "stopped"])
def test_workers_end_with_what_they_are_at(how: str) -> None:
    calls: list[Call] = [(os.getpid, ()), *[(time.sleep, (600,))] * 3]
    values: Any = spread(calls, jobs=2)
    first = next(values)
    began = time.monotonic()
    values.close() if how == "closed" else stop_workers()
    assert time.monotonic() - began < 60
    assert gone(first)


def test_idle_workers_end_too() -> None:
    [first] = spread([(os.getpid, ())], jobs=2)
    assert not_gone(first)
    stop_workers()
    assert gone(first)


def not_gone(number: int) -> bool:
    os.kill(number, 0)
    return True


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


@pytest.mark.parametrize("jobs", [0, -2])
def test_impossible_jobs_are_refused(jobs: int) -> None:
    with pytest.raises(UserError, match=f"jobs = {jobs} is wrong"):
        resolve_jobs(jobs)
