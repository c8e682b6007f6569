"""The kept results as the README's table, a page of scaling numbers, and one figure.

    python -m tests.benchmarks.summary [--hardware NAME] [--figure PATH]

Every number comes from results/NAME/*.json, as the other programs wrote them. The table goes to standard output; with
`--figure` the ratios are drawn as well.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tests.benchmarks.timing import RESULTS, hardware

# What stands before a program's rows, and its peer.
PROGRAMS = {
    "update": ("one update of ", "torch's module or a loop"),
    "to_threshold": ("", "nn.RNN"),
    "gpu": ("on a GPU, one update of ", "nn.RNN by cuDNN"),
    "dsa": ("", "dsa-metric 2.0.2"),
    "pif": ("PIF, ", "scipy FAQ, 8 restarts"),
    "shape": ("", "netrep or numpy"),
    "fixed_points": ("fixed points, ", "a loop over networks"),
}


def load(folder: Path, program: str) -> dict[str, Any]:
    """What a program kept, or nothing."""
    path = folder / f"{program}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    return found


def seconds(timing: dict[str, float]) -> str:
    """A median, in a unit that suits it."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        value = timing["median"] * factor
        if value >= 1 or unit == "µs":
            return f"{value:.3g} {unit}"
    raise AssertionError


def table(folder: Path) -> list[str]:
    """Lines of a Markdown table: each comparison with its ratio and range."""
    lines = ["| work | times faster (range) | ours | peer | which peer |", "|---|---|---|---|---|"]
    for program, (before, peer) in PROGRAMS.items():
        for row in load(folder, program)["rows"]:
            if row["peer"] is None:
                continue
            ratio = f"{row['ratio']:.2g} ({row['ratio_low']:.2g}-{row['ratio_high']:.2g})"
            if row["ratio"] >= 100:
                ratio = f"{row['ratio']:.0f} ({row['ratio_low']:.0f}-{row['ratio_high']:.0f})"
            ours, theirs = seconds(row["ours"]), seconds(row["peer"])
            lines.append(f"| {before}{row['name']} | {ratio} | {ours} | {theirs} | {peer} |")
    return lines


def scaling(folder: Path) -> list[str]:
    """Lines of a Markdown table: time against size, and the exponent."""
    series: dict[str, list[dict[str, Any]]] = {}
    for row in load(folder, "scale")["rows"]:
        series.setdefault(row["name"].split(" = ")[0].removesuffix(", the largest"), []).append(row)
    lines = ["| work / what grows | CPU time at each size | exponent |", "|---|---|---|"]
    for name, rows in series.items():
        *sizes, last = rows
        times = ", ".join(f"{row['extra']['size']}: {seconds(row['ours'])}" for row in sizes)
        lines.append(f"| {name} | {times} | {last['extra']['exponent']:.2f} |")
    return lines


def draw(folder: Path) -> Figure:
    """Ratios on a logarithmic axis, with their ranges; 1 is the peer's speed."""
    rows = [
        {**row, "name": before + row["name"]}
        for program, (before, _) in PROGRAMS.items()
        for row in load(folder, program)["rows"]
        if row["peer"] is not None
    ]
    rows.reverse()
    figure = Figure(figsize=(6.7, 0.6 + 0.27 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows))
    ratios = [row["ratio"] for row in rows]
    around = [
        [row["ratio"] - row["ratio_low"] for row in rows],
        [row["ratio_high"] - row["ratio"] for row in rows],
    ]
    axes.barh(places, [ratio - 1 for ratio in ratios], left=1, height=0.6, color="#56B4E9")
    axes.errorbar(ratios, places, xerr=[[max(0, x) for x in side] for side in around], fmt="none", ecolor="black", lw=1)
    for place, row in zip(places, rows, strict=True):
        axes.text(row["ratio_high"] * 1.08, place, f"{row['ratio']:.3g}", va="center", fontsize=8)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xscale("log")
    axes.set_xlim(right=max(row["ratio_high"] for row in rows) * 2.2)
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=8)
    axes.set_xlabel("times faster than the peer (median of 5, range; 1: as fast)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hardware", default=hardware(), help="a folder of results (default: this machine's)")
    parser.add_argument("--figure", type=Path, help="also draw the ratios to this file")
    args = parser.parse_args(argv)
    folder = RESULTS / args.hardware
    if not folder.is_dir():
        parser.error(f"no results for {args.hardware}; kept are {', '.join(sorted(p.name for p in RESULTS.iterdir()))}")
    print("\n".join([*table(folder), "", *scaling(folder)]))
    if args.figure:
        draw(folder).savefig(args.figure, dpi=150)


if __name__ == "__main__":
    main()
