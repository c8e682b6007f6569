"""Kill a real run at a random moment, start it again, and compare its end with that of a run left alone.

A kill is a SIGKILL of the whole process group, of the parent alone, or of one worker (as where memory runs out).
Checked: the tables are equal byte for byte, the networks equal bit for bit, none that was finished before the kill was
trained again, no file is left over, no worker outlives its parent, and a run that loses a worker ends well or in words.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import degeneracy as dg
from degeneracy.runs.run_directory import RunDirectory

from . import numbers
from .framework import RIGHT, SILENT, TRACEBACK, Outcome, Program

STUDY = """
name = "killed"
seeds = "0:8"
measures = ["procrustes", "cka", "output_distance", "ood_log_error_sd", "weight_change"]
vary.task.channels = [1, 2]
[task]
name = "flip_flop"
n_steps = 25
threshold = 0.3
[network]
hidden_size = 32
[training]
learning_rate = 3e-3
batch_size = 32
steps_per_epoch = 25
max_epochs = 20
patience = 1
[probe]
n_trials = 16
"""
SECONDS_TO_END = 15.0  # within which workers have to be gone once their parent is


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When and whom a kill meets."""

    whom: str  # "all", "the parent" or "a worker"
    share: float  # of the bytes that are still to be written
    seconds: float  # after that
    jobs: int
    by_command: bool  # the command line, which draws a report as well, or a script

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Moment":
        whom = ("all", "the parent", "a worker")[int(rng.choice(3, p=[0.6, 0.2, 0.2]))]
        return cls(
            whom=whom,
            share=float(rng.uniform(0, 1)) if rng.random() < 0.9 else 0.0,
            seconds=float(rng.uniform(0, 0.4)),
            jobs=int(rng.integers(1, 3)) if whom == "all" else 2,
            by_command=whom == "a worker" or rng.random() < 0.2,
        )

    def __str__(self) -> str:
        how = "command" if self.by_command else "script"
        when = f"{self.seconds:.2f} s after {self.share:.0%} was written"
        return f"{how} with {self.jobs} jobs, {self.whom} killed {when}"


class Start:
    """One start of the run, in processes of its own."""

    def __init__(self, folder: Path, out: Path, moment: Moment) -> None:
        self.study, self.out = folder / "killed.toml", out
        words = ["-m", "degeneracy.cli", "run", str(self.study), "--out", str(out), "--quiet"]
        words += ["--jobs", str(moment.jobs)]
        if not moment.by_command:
            call = f"dg.run_study({str(self.study)!r}, out={str(out)!r}, jobs={moment.jobs}, progress=False)"
            words = ["-c", f"import degeneracy as dg; {call}"]
        self.said = folder / "said.txt"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )

    def workers(self) -> list[int]:
        """The processes of the start but its first, those of the operating system's bookkeeping left out."""
        return [pid for pid, words in _group(self.process.pid) if b"LokyProcess" in words]

    def kill(self, moment: Moment, total: int) -> list[int]:
        """Kill when the moment has come; returns the workers that were there then, none where it ended before.

        `total` is what a whole run writes, in bytes.
        """
        there = _written(self.out)
        enough = there + moment.share * (total - there)
        while self.process.poll() is None:
            if _written(self.out) >= enough and (moment.whom != "a worker" or self.workers()):
                time.sleep(moment.seconds)
                workers = self.workers()
                with contextlib.suppress(ProcessLookupError):
                    if moment.whom == "all":
                        os.killpg(self.process.pid, signal.SIGKILL)
                    elif moment.whom == "the parent":
                        self.process.kill()
                    elif workers:
                        os.kill(workers[0], signal.SIGKILL)
                self.process.wait()
                return workers
            time.sleep(0.005)
        return []

    def left(self) -> list[int]:
        """Workers that are still there a while after their parent has died; they are ended then."""
        deadline = time.monotonic() + SECONDS_TO_END
        while self.workers() and time.monotonic() < deadline:
            time.sleep(0.05)
        left = self.workers()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return left


def _group(leader: int) -> Iterator[tuple[int, bytes]]:
    """The living processes of a process group with their command lines."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, group = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:3]
                if int(group) == leader and state != "Z":
                    yield int(place.name), (place / "cmdline").read_bytes()


def _written(out: Path) -> int:
    """Bytes of the run's files."""
    total = 0
    for name in _names(out):
        with contextlib.suppress(OSError):  # a temporary one, gone by now
            total += (out / name).stat().st_size
    return total


class Kills(Program):
    """See the module."""

    name: ClassVar[str] = "kills"
    about: ClassVar[str] = "a run killed at any moment"
    short: ClassVar[int] = 1
    long: ClassVar[int] = 40
    seconds: ClassVar[float] = 300.0
    in_this_process: ClassVar[bool] = False

    def prepare(self) -> None:
        """A run left alone."""
        (self.folder / "killed.toml").write_text(STUDY, encoding="utf-8")
        self.alone = self.folder / "alone"
        self.study = dg.load_study(self.folder / "killed.toml")
        dg.run_study(self.study, out=self.alone, jobs=1, progress=False)
        self.table = (self.alone / "degeneracy.csv").read_bytes()
        self.numbers, self.size = numbers.of_run(self.alone), _written(self.alone)

    def case(self, rng: np.random.Generator) -> Outcome:
        """Kill once or twice, then let the run end, by itself and at once."""
        place = Path.cwd()
        moments = [Moment.drawn(rng) for _ in range(int(rng.integers(1, 3)))]
        what, out = "; ".join(str(moment) for moment in moments), place / "killed"
        before: dict[str, Any] = {}
        for moment in moments:
            start = Start(self.folder, out, moment)
            workers, left = start.kill(moment, self.size), start.left()
            said = start.said.read_text(encoding="utf-8", errors="replace")
            if left and moment.whom == "the parent":
                wrong = f"{len(left)} of {len(workers)} workers were there {SECONDS_TO_END:g} s later"
                return Outcome(kind=SILENT, what=what, said=wrong, cause="workers outlive their parent")
            fault = _badly_ended(start, said) if start.process.returncode >= 0 else ""
            if fault:
                return Outcome(kind=TRACEBACK, what=what, said=fault, cause="a worker killed", trace=said)
            before |= self._trained(out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            last = Start(self.folder, out, Moment(whom="", share=0, seconds=0, jobs=1, by_command=False))
            if last.process.wait(self.seconds) != 0:
                said = last.said.read_text(encoding="utf-8", errors="replace")
                line = (said.splitlines() or [""])[-1]
                return Outcome(kind=TRACEBACK, what=what, said=line, cause="it does not go on", trace=said)
        wrong = self._wrong(out, before)
        return Outcome(kind=SILENT if wrong else RIGHT, what=what, said=wrong, cause="not the run left alone")

    def _trained(self, out: Path) -> dict[str, Any]:
        """The finished members with how long they took, which tells one that was trained again."""
        members = {}
        for condition in self.study.conditions():
            for seed in self.study.seeds:
                with contextlib.suppress(dg.UserError, KeyError):  # not there yet
                    [member] = RunDirectory.at(out).load_ensemble(condition, [seed]).members
                    members[f"{condition.name} {seed}"] = dict(member.provenance)
        return members

    def _wrong(self, out: Path, before: dict[str, Any]) -> str:
        """What differs from the run left alone, "" where all is well."""
        if (out / "degeneracy.csv").read_bytes() != self.table:
            return "the tables differ"
        if wrong := numbers.difference(self.numbers, numbers.of_run(out)):
            return wrong
        now = self._trained(out)
        again = [name for name, provenance in before.items() if now[name] != provenance]
        if again:
            return f"{len(again)} finished networks were trained again, such as {again[0]}"
        odd = _names(out) ^ _names(self.alone)
        return f"{sorted(odd)[0]} is in one of two runs alone" if odd else ""


def _names(out: Path) -> set[str]:
    """All files but the report's, which only the command line writes."""
    paths = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return {str(path) for path in paths if path.parts[0] not in ("figures", "report.html")}


def _badly_ended(start: Start, said: str) -> str:
    """What is wrong with the end of a start that lost no more than a worker, "" where it is as it has to be."""
    code, lines = start.process.returncode, said.splitlines()
    if code == 0 or (code == 2 and len(lines) == 1 and lines[0].startswith("degeneracy: ")):
        return ""
    return f"exit code {code} and {len(lines)} lines, the last '{(lines or [''])[-1][:150]}'"
