"""Progress as a person sees it: a moving line on a terminal, lines of a log elsewhere."""

import io
import logging
import sys

import pytest

from degeneracy.runs import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as the bar sees it."""
    now = [1000.0]
    monkeypatch.setattr(progress.tqdm, "monitor_interval", 0)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_bar_reads_as_a_sentence(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.Progress(20, show=True) as shown:
        shown.begin("channels=2: training", "networks", done=10, of=16)
        clock[0] += 60
        shown.step()
        shown.step()
    lines = [line.strip() for line in terminal.getvalue().replace("\n", "\r").split("\r") if line.strip()]
    # 2 in 60 s and 8 left of 20: 240 s; the 10 that were there already say nothing about the rate.
    bar = "############        "  # 12 of 20
    assert lines[-1] == f"channels=2: training, 12 of 16 networks |{bar}|  60% of all, 01:00 gone, about 04:00 to go"


def test_without_a_terminal_progress_is_lines_of_a_log(
    clock: list[float], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "degeneracy"), progress.Progress(20, show=True) as shown:
        shown.begin("a: training", "networks", done=0, of=16)
        for _ in range(15):
            clock[0] += 5
            shown.step()
    # One line at the start and then one in 20 s.
    counts = [line.split()[2] for line in caplog.messages]
    assert counts == ["0", "5", "10", "15"]
    assert capsys.readouterr().err == ""
