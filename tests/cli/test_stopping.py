"""Ctrl-C and SIGTERM: whenever they come, what is done is kept, no process is left, and one line says how to go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from degeneracy.cli import commands, main, stopping

ENDLESS = ["run", "tiny.toml", "--jobs", "2", "--set", "network.hidden_size=64", "--set", "task.n_steps=100"]
ENDLESS += ["--set", "task.threshold=1e-9", "--set", "training.max_epochs=1000000"]
needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="counts processes in /proc")


def start(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "degeneracy.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        encoding="utf-8",
    )


def until(true: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait until something is true; False where it is not in time."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def workers(leader: int) -> list[int]:
    """The worker processes of a session."""
    lines = {number: Path(f"/proc/{number}/cmdline") for number in session(leader)}
    return [number for number, line in lines.items() if line.exists() and b"LokyProcess" in line.read_bytes()]


def session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@needs_proc
@pytest.mark.parametrize(
    ("number", "send", "times", "n_workers"),
    [
        (signal.SIGINT, os.kill, 2, 2),
        (signal.SIGTERM, os.kill, 1, 2),
        (
            signal.SIGINT,
            os.killpg,
            1,
            1,
        ),  # a terminal's Ctrl-C: all processes get it, one of them just started
    ],
    ids=["Ctrl-C twice", "SIGTERM", "Ctrl-C in a terminal while workers start"],
)
def test_a_stop_keeps_what_is_done_and_says_how_to_go_on(
    number: int, send: Callable[[int, int], None], times: int, n_workers: int, here: Path
) -> None:
    process = start(ENDLESS)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert until(lambda: len(workers(process.pid)) >= n_workers)
    for _ in range(times):
        send(process.pid, number)
        time.sleep(0.1)
    said = process.stderr.readline() + process.stderr.readline()
    left = workers(process.pid)  # they are gone before it says so
    out, rest = process.communicate(timeout=60)
    again = " ".join(["degeneracy", *ENDLESS])
    expected = f"\ndegeneracy: stopped; what is finished is kept in runs/tiny. To go on: {again}\n"
    assert (process.returncode, out, first, said + rest) == (
        128 + number,
        "",
        "channels=1: training, 0 of 3 networks\n",
        expected,
    )
    assert left == []
    assert until(lambda: session(process.pid) == [], 20)


@needs_proc
def test_workers_end_soon_after_a_killed_process(here: Path) -> None:
    process = start(ENDLESS)
    assert until(lambda: len(workers(process.pid)) == 2)
    cpu = os.sysconf("SC_CLK_TCK")
    started = workers(process.pid)

    def busy() -> bool:
        """Each has computed for so long that it has long begun its first network (it imports for 2 s or so)."""
        times = [
            sum(map(int, Path(f"/proc/{w}/stat").read_text(encoding="utf-8").split()[13:15])) / cpu for w in started
        ]
        return min(times) > 5

    assert until(busy, 90)
    process.kill()
    assert until(lambda: workers(process.pid) == [], 15), "they look once a second"
    process.communicate()
    until(lambda: session(process.pid) == [], 20)


SLOW = """
import time
from pathlib import Path
Path("begun").touch()
time.sleep(0.5)
Path("done").touch()
from degeneracy.tasks import FlipFlop
"""


def test_a_stop_in_the_midst_of_an_import_waits_for_its_end(here: Path) -> None:
    # Compiled modules (torch's) end the process where an exception meets them there.
    (here / "mine.py").write_text(SLOW, encoding="utf-8")
    process = start(["run", "tiny.toml", "--set", "task.name=mine:FlipFlop"])
    assert until((here / "begun").exists)
    process.terminate()
    out, err = process.communicate(timeout=60)
    # A few milliseconds of the command may pass before the signal is given again.
    others = ("importing the module 'mine'", "channels=1: training")
    lines = [line for line in err.splitlines() if line and not line.startswith(others)]
    assert (process.returncode, out, len(lines)) == (143, "", 1), err
    assert lines[0].startswith("degeneracy: stopped")
    assert (here / "done").exists()


def run_instead(monkeypatch: pytest.MonkeyPatch, command: Callable[[object], None]) -> None:
    monkeypatch.setitem(commands.COMMANDS, "cells", command)


def test_a_stop_that_was_swallowed_comes_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stopping, "AGAIN", 0.2)
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    swallowed = []

    def command(_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except KeyboardInterrupt as error:  # as Python itself does in a `__del__`
            swallowed.append(error)
        time.sleep(10)

    run_instead(monkeypatch, command)
    try:
        assert main(["cells"]) == 143
        assert [signal.getsignal(number) for number in stopping.SIGNALS] == [signal.SIG_IGN] * 2, "deaf"
    finally:
        for number, handler in zip(stopping.SIGNALS, before, strict=True):
            signal.signal(number, handler)
    assert len(swallowed) == 1
    assert capsys.readouterr().err == "\ndegeneracy: stopped\n"


def test_a_stop_that_has_become_another_error_is_a_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in stopping.SIGNALS]

    def command(_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt as error:
            raise ImportError("numpy could not be imported") from error

    run_instead(monkeypatch, command)
    try:
        assert main(["cells"]) == 130
    finally:
        for number, handler in zip(stopping.SIGNALS, before, strict=True):
            signal.signal(number, handler)
    assert capsys.readouterr().err == "\ndegeneracy: stopped\n"


def test_without_a_stop_signals_are_heard_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    run_instead(monkeypatch, lambda _: None)
    assert main(["cells"]) == 0
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before

    def fault(_: object) -> None:
        raise ZeroDivisionError("a fault of the program")

    run_instead(monkeypatch, fault)
    with pytest.raises(ZeroDivisionError):
        main(["cells"])
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
