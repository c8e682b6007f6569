"""What `degeneracy tune` takes and prints."""

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from degeneracy.core.errors import one_line

if TYPE_CHECKING:
    from degeneracy.tuning.tune import Tuning

TUNE = """\
examples:
  degeneracy tune my_study.toml --knob network.gamma --measure dsa --target 0.3 --low 0.1 --high 10 --log
  degeneracy tune my_study.toml --knob training.regularisers.nuclear --measure signed_pif --target 0.5 \\
      --calibrated --low 1e-5 --high 1e-2 --log --seeds 0:20
  degeneracy tune quickstart --set vary={} --knob network.hidden_size --measure cka --target 0.2 --low 16 --high 128

Trains and measures the study (of that measure alone) with the knob at --low, at --high, then in between, each in a
run directory of its own, until the target lies in the 95% interval of an evaluation: 8 evaluations at most. The
study varies nothing besides the knob. Strengths that leave under 2 converged networks have no value.

Writes evaluations/, tuning.csv (the curve that was seen), tuning.png and tuning.json into --out. The same command
goes on where it was stopped. Another target, other bounds, another measure or more seeds in the same folder take over
the networks that are there; tuning.json keeps every answer, table and figure are of the last question. A file that is
damaged is named; --repair sets it aside and makes it again. Tuning executes the code that the study names.

Exit codes: 0 reached, 1 out of reach or not reached, 2 a mistake in what was given, 130 stopped by Ctrl-C.
"""


def add_question(parser: argparse.ArgumentParser) -> None:
    """The options of `degeneracy tune` that say what is asked."""
    add = parser.add_argument
    add("--knob", metavar="KEY", required=True, help="a number of the study, such as network.gamma")
    add("--measure", metavar="NAME", required=True, help="a measure, or module:Name")
    add("--variant", metavar="NAME", default="", help="of the measure (default: the one that judges a study)")
    add("--calibrated", action="store_true", help="tune the calibrated value: 0 = floor, 1 = reference")
    add("--target", metavar="VALUE", type=float, required=True, help="the measure's value that is wanted")
    add("--low", metavar="VALUE", type=float, required=True, help="smallest strength of the knob")
    add("--high", metavar="VALUE", type=float, required=True, help="largest strength of the knob")
    add("--log", action="store_true", help="search on the logarithm of the knob")
    add(
        "--tolerance",
        metavar="VALUE",
        type=float,
        default=float("inf"),
        help="largest distance of the value itself from the target (default: the interval decides alone)",
    )
    add("--max-evaluations", metavar="N", type=int, default=8, help="2 to 8 (default: 8)")


def tuning_text(tuning: "Tuning", out: Path) -> str:
    """The curve that was seen, by strength, and the answer."""
    from degeneracy.cli.text import WIDTH, columns
    from degeneracy.wording import numbers
    from degeneracy.wording.names import full_name

    what = full_name(tuning.measure, tuning.variant) + (", calibrated" if tuning.calibrated else "")
    rows = [
        (
            f"{row['knob']:g}" + (" *" if row["knob"] == tuning.at and tuning.status == "reached" else ""),
            numbers.with_interval(row["value"], row["ci_low"], row["ci_high"]),
            f"{row['n_converged']} of {row['n_members']}",
            row["note"],
        )
        for row in tuning.evaluations.sort_values("knob").to_dict("records")
    ]
    table = columns([(tuning.knob, f"{what} [95% interval]", "members", ""), *rows])
    notes = textwrap.wrap(tuning.message, WIDTH)
    return "\n".join([*table, "", *notes, "", one_line(f"Curve: {out / 'tuning.csv'}, {out / 'tuning.png'}")])
