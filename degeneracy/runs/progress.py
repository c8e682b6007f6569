"""Progress of a run, for a person: one moving line on a terminal or in a notebook, lines of a log elsewhere."""

import logging
import sys
import time
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

log = logging.getLogger("degeneracy")

BAR = "{desc} |{bar:20}| {percentage:3.0f}% of all, {elapsed} gone, about {remaining} to go"
LOG_SECONDS = 20.0  # at most one line of the log in this time, besides those that begin a phase


class Progress:
    """Counts networks and measures as they are done; what was there already does not count in the time to go.

    On a terminal and in a notebook: "channels=2: training, 3 of 16 networks |####    | 9% of all, ...". Elsewhere
    (a batch system's log) the same as lines of the logger "degeneracy", level INFO.
    """

    def __init__(self, total: int, *, show: bool) -> None:
        live = sys.stderr.isatty() or "ipykernel" in sys.modules
        # smoothing 0: the mean rate; a network takes far longer than most measures.
        self._bar: tqdm[NoReturn] | None = None
        if show and live:
            self._bar = tqdm(total=total, bar_format=BAR, smoothing=0, dynamic_ncols=True)
        self._logs = show and not live
        self._what, self._unit, self._n, self._of = "", "", 0, 0
        self._logged = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, what: str, unit: str, *, done: int, of: int) -> None:
        """Start a phase: `what` is done to `of` things called `unit`, of which `done` are there already."""
        self._what, self._unit, self._n, self._of = what, unit, done, of
        if self._bar is not None:
            self._bar.initial += done
            self._bar.n += done
            self._bar.last_print_n += done
        self._show(log_now=done < of)

    def step(self) -> None:
        """One more is done."""
        self._n += 1
        if self._bar is not None:
            self._bar.update()
        self._show(log_now=self._n == self._of)

    def wait(self, what: str) -> None:
        """Say that nothing can be done for now."""
        if self._bar is not None:
            self._bar.set_description_str(what)
        if self._logs:
            log.info(what)

    def _show(self, *, log_now: bool) -> None:
        line = f"{self._what}, {self._n} of {self._of} {self._unit}"
        if self._bar is not None:
            self._bar.set_description_str(line)
        now = time.monotonic()
        if self._logs and (log_now or now - self._logged > LOG_SECONDS):
            log.info(line)
            self._logged = now
