"""`python -m tests.robustness`: see the package."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from . import __doc__ as about
from .programs import PROGRAMS
from .running import Tally, run_cases, workplace


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.robustness",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(f"{name} ({kind.about})" for name, kind in PROGRAMS.items())
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"all by default: {names}")
    parser.add_argument("--long", action="store_true", help="as many cases as the long form has")
    parser.add_argument("--cases", type=int, help="so many cases of each program instead")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case (default: 0)")
    parser.add_argument("--case", type=int, help="this case alone, and all that it says")
    parser.add_argument("--out", type=Path, help="a file for the results, as JSON")
    return parser


def _table(tallies: Sequence[Tally]) -> str:
    """One row per program, then every cause of a failure with the first case that has it."""
    heads = ("program", "tried", "refused", "right", "SILENT", "TRACEBACK", "seconds")
    rows = [heads, *([str(value) for value in tally.row] for tally in tallies)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(heads))]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    for tally in tallies:
        for cause in tally.causes:
            lines += [
                f"{cause.kind} {cause.count} times: {cause.cause}",
                f"    {tally.name} --case {cause.case}: {cause.what}: {cause.said}",
            ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 where a case was silent or ended in a traceback."""
    args = _parser().parse_args(argv)
    unknown = [name for name in args.programs if name not in PROGRAMS]
    if unknown:
        print(f"unknown program {unknown[0]} (known: {', '.join(PROGRAMS)})", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    tallies = []
    for name in args.programs or PROGRAMS:
        with workplace() as folder:
            program = PROGRAMS[name](folder / name)
            if args.case is not None:
                outcome = program.run(args.case)
                print(f"{outcome.kind}: {outcome.what}\n{outcome.said}\n{outcome.trace}")
                tallies.append(Tally(name=name, outcomes={args.case: outcome}))
                continue
            n = args.cases if args.cases is not None else program.long if args.long else program.short
            tallies.append(run_cases(program, range(args.first, args.first + n), show=print))
    print(_table(tallies))
    if args.out:
        args.out.write_text(
            json.dumps({tally.name: tally.plain for tally in tallies}, indent=2) + "\n", encoding="utf-8"
        )
    return 1 if any(tally.failed for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
