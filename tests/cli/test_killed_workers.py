"""A worker that the machine kills: one line says whose it was, what is done is kept, the same command goes on."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stored import member_records, records

from degeneracy.cli import main
from degeneracy.core.workers import Call, WorkerEnded
from degeneracy.measuring import measure

MINE = """\
import pathlib, signal
import degeneracy as dg

class Heavy(dg.tasks.FlipFlop):
    '''A flip-flop that takes all memory for the network of seed 1 with 2 channels, while there is little.'''
    name = "heavy"

    def sample(self, streams, n_trials):
        if self.channels == 2 and 1 in streams.seeds and pathlib.Path("little memory").exists():
            signal.raise_signal(signal.SIGKILL)
        return super().sample(streams, n_trials)
"""
RUN = ["run", "tiny.toml", "--seeds", "0:2", "--quiet", "--out"]


@pytest.fixture
def heavy(here: Path, no_figures: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", [*sys.path])  # the working directory comes onto it
    text = (here / "tiny.toml").read_text(encoding="utf-8").replace('"flip_flop"', '"killed_heavy:Heavy"')
    (here / "tiny.toml").write_text(text, encoding="utf-8")
    (here / "killed_heavy.py").write_text(MINE, encoding="utf-8")
    yield here
    sys.modules.pop("killed_heavy", None)


def the_line(capsys: pytest.CaptureFixture[str]) -> str:
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("degeneracy: ")]
    return line


def test_a_network_is_named_and_the_same_command_goes_on(heavy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (heavy / "little memory").touch()
    assert main([*RUN, "out", "--jobs", "2"]) == 2
    line = the_line(capsys)
    assert line.startswith("degeneracy: channels=2: the network of seed 1: its process was ended from outside")
    assert "it probably ran out of memory" in line
    assert "--jobs 1" in line
    assert line.endswith("What is finished is kept in out; the same command goes on")
    (heavy / "little memory").unlink()
    kept = member_records(heavy / "out")
    assert sum("channels=1" in name for name in kept) == 2
    for out in ("out", "alone"):  # in this process, which has no worker to wait for
        assert main([*RUN, out, "--jobs", "1"]) == 0
    assert kept.items() <= member_records(heavy / "out").items(), "the same records in the same places"
    pd.testing.assert_frame_equal(pd.read_csv("out/degeneracy.csv"), pd.read_csv("alone/degeneracy.csv"))


def test_a_measure_is_named(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a worker: all but the first call come back, of which the calls' own words are said."""

    def spread(calls: Iterable[Call], *, jobs: int) -> Iterator[Any]:
        first, *others = calls
        yield from (call.function(*call.arguments) for call in others)
        raise WorkerEnded(f"{first.what}: ended")

    monkeypatch.setattr(measure, "spread", spread)
    assert main([*RUN, "out", "--jobs", "1"]) == 2
    assert the_line(capsys).startswith("degeneracy: channels=1: measure 'procrustes': ended. What is finished")
    [pack] = here.glob("out/conditions/channels=1-*/measured-*.pack")
    assert sum(record.header["kind"] == "measure" for record in records(pack)) == 2
