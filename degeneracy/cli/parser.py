"""What may be written after `degeneracy`: commands, options, their help, and values read from text."""

import argparse
import tomllib
from typing import Any, NoReturn

from degeneracy.cli.planning import PLAN, add_plan
from degeneracy.cli.tuning import TUNE, add_question
from degeneracy.core.errors import UserError
from degeneracy.core.user_files import whole_text
from degeneracy.core.version import __version__

TOP = """\
examples:
  degeneracy run quickstart                  a first study, a few minutes on 2 cores -> runs/quickstart/
  degeneracy run my_study.toml --jobs 8      a study of your own
  degeneracy measure states.npz --out mine   networks trained elsewhere
  degeneracy measures                        what can be measured, and with which options

'degeneracy COMMAND --help' says more. Exit codes: 0 done, 2 a mistake in what was given, 130 stopped by Ctrl-C;
of tune also 1, the target was not reached.
"""


RUN = """\
examples:
  degeneracy run quickstart
  degeneracy run quickstart --seeds 0:50 --out runs/fifty
  degeneracy run my_study.toml --set training.learning_rate=3e-3 --set network.hidden_size=128
  degeneracy run quickstart --set 'vary.task.channels=[2, 3]' --set options.dsa.rank=30

KEY is one of a study file: seeds, measures, task.FIELD, network.FIELD, training.FIELD, probe.FIELD, pilot.FIELD,
options.MEASURE.FIELD, claims.LEVEL.FIELD, or vary.PART.FIELD with a list of levels. VALUE is written as in TOML; text
needs no quotes. Where measures are set, options and claims in the file that are of others are left out.

Whatever is finished is kept at once: the same command goes on where a run was stopped, and more seeds train only
the new ones. Several processes may run the same study into the same folder. Other settings need another folder.

Everything stored carries a checksum and says what it is. A file that is damaged or lies in the wrong place is named;
with --repair the same command sets it aside (NAME.damaged-1), keeps what is whole and makes the rest again.

Running a study executes the code that it names as module:Name, as does measuring its run again or tuning it: run none
that you do not trust. Reading a finished run ('degeneracy report', load_run) executes nothing.
"""


MEASURE = """\
examples:
  degeneracy measure states.npz --out mine --measures procrustes,cka
  degeneracy measure states.npz --out mine --set options.dsa.rank=20 --set options.dsa.n_delays=10
  degeneracy measure nets.npz --out mine --cell leaky_tanh --set cell_options.dt_ms=10
  degeneracy measure runs/quickstart --measures dsa,pif --set options.dsa.rank=10

Of arrays: writes degeneracy.csv, distances.npz and report.html into --out, a new or empty folder, or one that
this command wrote before. No cell is assumed: fixed_points, signed_pif and orthogonal need --cell (or the name of
a cell as the array "cell"), with the cell's fields as cell_options.FIELD, set or in the file. A cell module:Name is
code of yours that is imported and run; it can be given with --cell alone, never by a file of arrays.

Of a run: measures its stored networks again, where it lies, and trains nothing. What was measured with the same
options before is taken over; options.MEASURE.FIELD, probe.FIELD and measures can be set. The run's study.json,
degeneracy.csv and report.html are then those of the new measures and options; what earlier measures found stays
in conditions/*/measured-*.pack. Measuring (or running the study) with the earlier settings brings the earlier
table back. For both tables, copy the folder first.

Measuring executes the code that a run's study or --measures names as module:Name, and says which before it does.
"""


PACK = """\
examples:
  degeneracy run my_study.toml --train-only
  degeneracy pack runs/my_study --out zoo    -> zoo/my_study/, for dg.load_zoo("my_study", directory="zoo")

Of each condition the networks of the first 20 seeds are kept (8 where they have more than 128 units): their final
weights, not those they began with, which follow from the seed. The run need not be finished; packing it again adds
the networks that are new.
"""


REPORT = """\
A finished run is read as plain data: none of the code that its study names (module:Name) is imported.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see '{self.prog} --help')")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="degeneracy",
        description="Measure and control solution degeneracy in task-trained recurrent neural networks.",
        epilog=TOP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"degeneracy {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, what: str, epilog: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=what,
            description=what[0].upper() + what[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    run = add("run", "train and measure a study, or go on with it", RUN)
    _add_run(run)
    tune = add("tune", "find the strength of a knob that brings a measure to a chosen value", TUNE)
    _add_study(tune)
    add_question(tune)
    tune.add_argument("--out", metavar="DIR", default="", help="the folder (default: runs/NAME-tune-KNOB)")
    measure = add("measure", "measure arrays, or the networks of a run with other measures", MEASURE)
    _add_measured(measure)
    for command in (run, tune, measure):
        _add_common(command)
    report = add("report", "write the report of a finished run again", REPORT)
    report.add_argument("run", metavar="RUN_DIR", help="a run directory")
    report.add_argument("--out", metavar="PATH", default="", help="(default: RUN_DIR/report.html)")
    pack = add("pack", "keep the final weights of a run's networks in a small form", PACK)
    _add_packed(pack)
    add_plan(add("plan", "say which changes a number of networks can show, from a pilot", PLAN))
    add("tasks", "list the tasks with their fields")
    add("cells", "list the cells and the recurrent maps with their fields")
    add("measures", "list the measures with their options")
    return parser


def _add_run(command: argparse.ArgumentParser) -> None:
    """What is trained and measured, and where it is kept."""
    _add_study(command)
    command.add_argument(
        "--out", metavar="DIR", default="", help="the run directory (default: runs/NAME, or runs/NAME-SCALE)"
    )
    command.add_argument(
        "--train-only", action="store_true", help="measure nothing yet; the same command without it does so later"
    )
    command.add_argument(
        "--zoo", metavar="DIR", default="", help="take networks that 'degeneracy pack' kept there, and train the others"
    )


def _add_packed(command: argparse.ArgumentParser) -> None:
    """Whose networks are kept, and where."""
    command.add_argument("run", metavar="RUN_DIR", help="a run directory, finished or not")
    command.add_argument("--out", metavar="DIR", default="zoo", help="where the study's folder is made (default: zoo)")


def _add_measured(command: argparse.ArgumentParser) -> None:
    """What is measured, and where the table goes."""
    command.add_argument("source", metavar="ARRAYS.npz|RUN_DIR", help="arrays, or a run directory")
    command.add_argument("--out", metavar="DIR", default="", help="for arrays (default: runs/ARRAYS)")
    command.add_argument("--measures", metavar="A,B", default="", help="names, or module:Name (default: all)")
    command.add_argument(
        "--cell",
        metavar="NAME",
        default="",
        help="of arrays: the networks' cell, or module:Name (default: unknown)",
    )


def _add_study(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", metavar="STUDY", help="a study file (TOML), or the name of one that is included")
    command.add_argument(
        "--scale", metavar="NAME", default="", help="for a study with several scales, such as smoke or laptop"
    )
    command.add_argument("--seeds", metavar="SEEDS", help="members, as 0:50 for 0 to 49, or 0:8,12")
    command.add_argument(
        "--repair", action="store_true", help="set damaged or misplaced files aside and make them again"
    )
    command.add_argument("--device", metavar="DEVICE", default="auto", help="auto, cpu or cuda (default: auto)")


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="settings",
        action="append",
        default=[],
        help="set a value, e.g. options.dsa.rank=30; may be given several times",
    )
    command.add_argument("--jobs", metavar="N", default="-1", help="processes on a CPU (default: one per core)")
    command.add_argument("--quiet", action="store_true", help="no progress and no messages but errors")


def parse_setting(text: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE; a value that is no TOML is text.

    Raises:
        UserError: no "=", or a list, table or quoted text that is damaged.
    """
    text = whole_text(text)
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise UserError(f"--set {text}: write KEY=VALUE, e.g. training.learning_rate=3e-3")
    try:
        read = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError):
        read = {}
    if list(read) == ["value"]:
        return key, read["value"]
    if value[:1] in ("[", "{", '"', "'"):
        raise UserError(f"--set {text}: the value is no TOML (in lists and tables, text stands in quotes)")
    return key, value


def parse_jobs(text: str) -> int:
    """The number of --jobs.

    Raises:
        UserError: no whole number.
    """
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--jobs {text}: a number of processes is needed, or -1 for one per core") from None


def settings_of(args: argparse.Namespace) -> list[tuple[str, Any]]:
    """What --set and --seeds say."""
    settings = [parse_setting(text) for text in args.settings]
    return [*settings, ("seeds", args.seeds)] if args.seeds is not None else settings
