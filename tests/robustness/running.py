"""Many cases of one program, and what they came to."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .framework import REFUSED, RIGHT, SILENT, TRACEBACK, Outcome, Program

KINDS = (REFUSED, RIGHT, SILENT, TRACEBACK)
SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Failures of one cause, with the first case that has it."""

    kind: str
    cause: str
    count: int
    case: int
    what: str
    said: str


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The outcomes of a program's cases, by their numbers."""

    name: str
    outcomes: Mapping[int, Outcome]
    seconds: float = 0.0

    @cached_property
    def counts(self) -> Mapping[str, int]:
        return Counter(outcome.kind for outcome in self.outcomes.values())

    @property
    def row(self) -> tuple[Any, ...]:
        """Name, cases tried, how many ended in each way, seconds."""
        return (self.name, len(self.outcomes), *(self.counts[kind] for kind in KINDS), round(self.seconds))

    @property
    def failed(self) -> bool:
        return any(outcome.failed for outcome in self.outcomes.values())

    @property
    def causes(self) -> list[Cause]:
        """The causes of failures, the most frequent first."""
        cases: dict[tuple[str, str], list[int]] = {}
        for number, outcome in self.outcomes.items():
            if outcome.failed:
                cases.setdefault((outcome.kind, outcome.cause), []).append(number)
        causes = [
            Cause(
                kind=kind,
                cause=cause,
                count=len(numbers),
                case=numbers[0],
                what=self.outcomes[numbers[0]].what,
                said=self.outcomes[numbers[0]].said,
            )
            for (kind, cause), numbers in cases.items()
        ]
        return sorted(causes, key=lambda cause: -cause.count)

    @property
    def plain(self) -> dict[str, Any]:
        """For a file."""
        counts = {kind: self.counts[kind] for kind in KINDS}
        causes = [asdict(cause) for cause in self.causes]
        return {"tried": len(self.outcomes), **counts, "seconds": round(self.seconds, 1), "causes": causes}


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder that any user may read: a case may give up the right to read what is not its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def run_cases(program: Program, numbers: Iterable[int], *, show: Callable[[str], object] = lambda _: None) -> Tally:
    """Run these cases of a program; `show` is told from time to time how far it has come."""
    outcomes: dict[int, Outcome] = {}
    began = shown = time.monotonic()
    for number in numbers:
        outcomes[number] = program.run(number)
        now = time.monotonic()
        if now - shown > SECONDS_BETWEEN_LINES:
            shown = now
            counts = Counter(outcome.kind for outcome in outcomes.values())
            line = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)
            show(f"{program.name}: {len(outcomes)} cases in {now - began:.0f} s: {line}")
    return Tally(name=program.name, outcomes=outcomes, seconds=time.monotonic() - began)
