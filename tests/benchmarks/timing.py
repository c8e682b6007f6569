"""Times of several functions taken in turn, the machine they ran on, and where the numbers are kept.

A benchmark is a module with `main(argv)` and the option `--short`:

    rows = [versus("rank 50", interleaved({"ours": f, "peer": g}), share_not_above_peer=0.99)]
    report("dsa", rows)

`report` prints one line per row and keeps all of them in results/<hardware>/<benchmark>.json. Ratios are
median(peer) / median(ours): above 1, ours is faster.
"""

import gc
import json
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np

import degeneracy as dg

RESULTS = Path(__file__).parent / "results"
Clock = Callable[[], float]  # seconds: time.process_time (CPU, all threads) or time.perf_counter (wall)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one function took over the repeats, in seconds."""

    median: float
    low: float  # the fastest repeat
    high: float  # the slowest repeat


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a benchmark."""

    name: str
    ratio: float  # median(peer) / median(ours); NaN where there is no peer to run
    ratio_low: float  # the least and the greatest over repeats, each side's repeats taken in turn
    ratio_high: float
    ours: Timing
    peer: Timing | None
    clock: str  # "CPU" or "wall"
    extra: Mapping[str, Any] = field(default_factory=dict)  # accuracy and settings that belong to the row


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 5,
    warm_up: bool = True,
    clock: Clock = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of each function in each repeat; all functions run once a repeat, in turn (drift hits all alike).

    Args:
        functions: name -> function without arguments.
        repeats: how often each is timed.
        warm_up: run each once before, untimed (compilation, caches).
        clock: CPU time of this process by default; `time.perf_counter` for wall time, and whenever child
            processes work.
    """
    if warm_up:
        for function in functions.values():
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            gc.collect()
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return seconds


def timing(seconds: Sequence[float]) -> Timing:
    """Median and range of the repeats."""
    return Timing(median=float(np.median(seconds)), low=min(seconds), high=max(seconds))


def versus(
    name: str,
    seconds: Mapping[str, Sequence[float]],
    *,
    ours: str = "ours",
    peer: str = "peer",
    clock: str = "CPU",
    **extra: Any,
) -> Row:
    """The row of one comparison from what `interleaved` gave; without a peer in it, the ratio is NaN."""
    if peer not in seconds:
        nan = float("nan")
        return Row(
            name=name, ratio=nan, ratio_low=nan, ratio_high=nan, ours=timing(seconds[ours]), peer=None,
            clock=clock, extra=extra,
        )  # fmt: skip
    each = [b / a for a, b in zip(seconds[ours], seconds[peer], strict=True)]
    mine, theirs = timing(seconds[ours]), timing(seconds[peer])
    return Row(
        name=name, ratio=theirs.median / mine.median, ratio_low=min(each), ratio_high=max(each), ours=mine,
        peer=theirs, clock=clock, extra=extra,
    )  # fmt: skip


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, cores, versions; no host name."""
    return {
        "processor": _processor(),
        "cores": cpu_count() or 1,
        "system": platform.system(),
        "python": platform.python_version(),
        "degeneracy": dg.__version__,
        **{name: _version(name) for name in ("torch", "numpy", "scipy", "numba")},
    }


def hardware() -> str:
    """The folder of this hardware's results, such as "amd-epyc-2core"."""
    return f"{_slug(_processor())}-{cpu_count() or 1}core"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def report(benchmark: str, rows: Sequence[Row], *, keep: bool = True, results: Path = RESULTS) -> None:
    """Print one line per row, and keep all rows with the machine as JSON (`keep=False` for a short form)."""
    where = machine()
    for row in rows:
        print(_line(row, f"{where['processor']}, {where['cores']} cores"), flush=True)
    if keep:
        keep_rows(benchmark, rows, results=results)


def keep_rows(benchmark: str, rows: Sequence[Row], *, results: Path = RESULTS, processor: str | None = None) -> None:
    """Write all rows with the machine as JSON, in place of what an earlier run kept.

    Args:
        benchmark: names the file.
        rows: what to keep.
        results: the folder of all hardware's results.
        processor: names the hardware's folder where another processor than this machine's did the work: a GPU.
    """
    path = results / (hardware() if processor is None else _slug(processor)) / f"{benchmark}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": benchmark,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rows": [_plain(asdict(row)) for row in rows],
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _line(row: Row, where: str) -> str:
    extra = "".join(f", {name} {_number(value)}" for name, value in row.extra.items())
    mine = f"ours {_seconds(row.ours)}"
    if row.peer is None:
        return f"{row.name}: {mine}{extra} ({row.clock}; {where})"
    return (
        f"{row.name}: {row.ratio:.1f}x ({row.ratio_low:.1f} to {row.ratio_high:.1f}), {mine}, "
        f"peer {_seconds(row.peer)}{extra} ({row.clock}; {where})"
    )


def _seconds(each: Timing) -> str:
    return f"{each.median:.4g} s [{each.low:.4g}, {each.high:.4g}]"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """Something JSON holds: numbers of 6 digits, NaN as null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    name = found.group(1) if found else platform.machine()
    return re.sub(r"\((R|TM)\)|\bCPU\b|@.*$|\bProcessor\b", "", name).strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
