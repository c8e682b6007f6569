"""The command line: each command is a function of its parsed arguments; what is heavy is imported only inside.

The table goes to standard output, progress and messages to standard error. Exit codes: 0 done, 1 a target that
`tune` did not reach, 2 a mistake of the user's (one line says what, where and what would be right), 130 stopped by
Ctrl-C (143 by SIGTERM).
"""

import argparse
import contextlib
import io
import logging
import os
import shlex
import signal
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from degeneracy.cli.stopping import Stop, stop_workers
from degeneracy.cli.tuning import TUNE, add_question
from degeneracy.errors import UserError, unknown_name
from degeneracy.version import __version__

log = logging.getLogger("degeneracy")

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

KEY is one of a study file: seeds, measures, task.FIELD, network.FIELD, training.FIELD, probe.FIELD,
options.MEASURE.FIELD, or vary.PART.FIELD with a list of levels. VALUE is written as in TOML; text needs no quotes.

Whatever is finished is kept at once: the same command goes on where a run was stopped, and more seeds train only
the new ones. Several processes may run the same study into the same folder. Other settings need another folder.
"""

MEASURE = """\
examples:
  degeneracy measure states.npz --out mine --measures procrustes,cka
  degeneracy measure states.npz --out mine --set options.dsa.rank=20 --set options.dsa.n_delays=10
  degeneracy measure runs/quickstart --measures dsa,pif --set options.dsa.rank=10

Of arrays: writes degeneracy.csv, distances.npz and report.html into --out, a new or empty folder, or one that
this command wrote before.

Of a run: measures its stored networks again, where it lies, and trains nothing. What was measured with the same
options before is taken over; options.MEASURE.FIELD, probe.FIELD and measures can be set. The run's study.json,
degeneracy.csv and report.html are then those of the new measures and options; what earlier measures found stays
in conditions/*/measured until the same measure is taken with other options. Measuring (or running the study)
with the earlier settings brings the earlier table back. For both tables, copy the folder first.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see '{self.prog} --help')")


def _parser() -> _Parser:
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
    _add_study(run)
    run.add_argument(
        "--out", metavar="DIR", default="", help="the run directory (default: runs/NAME, or runs/NAME-SCALE)"
    )
    tune = add("tune", "find the strength of a knob that brings a measure to a chosen value", TUNE)
    _add_study(tune)
    add_question(tune)
    tune.add_argument("--out", metavar="DIR", default="", help="the folder (default: runs/NAME-tune-KNOB)")
    measure = add("measure", "measure arrays, or the networks of a run with other measures", MEASURE)
    measure.add_argument("source", metavar="ARRAYS.npz|RUN_DIR", help="arrays, or a run directory")
    measure.add_argument("--out", metavar="DIR", default="", help="for arrays (default: runs/ARRAYS)")
    measure.add_argument("--measures", metavar="A,B", default="", help="names, or module:Name (default: all)")
    for command in (run, tune, measure):
        _add_common(command)
    report = add("report", "write the report of a finished run again")
    report.add_argument("run", metavar="RUN_DIR", help="a run directory")
    report.add_argument("--out", metavar="PATH", default="", help="(default: RUN_DIR/report.html)")
    add("tasks", "list the tasks with their fields")
    add("cells", "list the cells with their fields")
    add("measures", "list the measures with their options")
    return parser


def _add_study(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "study", metavar="STUDY", help="a study file (TOML), or the name of one that is included"
    )
    command.add_argument(
        "--scale", metavar="NAME", default="", help="for a study with several scales, such as smoke or laptop"
    )
    command.add_argument("--seeds", metavar="SEEDS", help="members, as 0:50 for 0 to 49, or 0:8,12")
    command.add_argument(
        "--device", metavar="DEVICE", default="auto", help="auto, cpu or cuda (default: auto)"
    )


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="settings",
        action="append",
        default=[],
        help="set a value, e.g. options.dsa.rank=30; may be given several times",
    )
    command.add_argument("--jobs", metavar="N", default="-1", help="processes on a CPU (default: one a core)")
    command.add_argument("--quiet", action="store_true", help="no progress and no messages but errors")


def parse_setting(text: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE; a value that is no TOML is text.

    Raises:
        UserError: no "=", or a list, table or quoted text that is damaged.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise UserError(f"--set {text}: write KEY=VALUE, e.g. training.learning_rate=3e-3")
    try:
        read = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        read = {}
    if list(read) == ["value"]:
        return key, read["value"]
    if value[:1] in ("[", "{", '"', "'"):
        raise UserError(f"--set {text}: the value is no TOML (in lists and tables, text stands in quotes)")
    return key, value


def _jobs(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--jobs {text}: a number of processes is needed, or -1 for one a core") from None


def _settings(args: argparse.Namespace) -> list[tuple[str, Any]]:
    """What --set and --seeds say."""
    settings = [parse_setting(text) for text in args.settings]
    return [*settings, ("seeds", args.seeds)] if args.seeds is not None else settings


def _run(args: argparse.Namespace) -> None:
    from degeneracy.cli.text import table_text
    from degeneracy.run_directory import RunDirectory
    from degeneracy.study import load_study, run_study
    from degeneracy.training import resolve_jobs

    plan = load_study(args.study, _settings(args), scale=args.scale)
    out = Path(args.out) if args.out else plan.folder
    args.kept = out
    jobs = resolve_jobs(_jobs(args.jobs))
    result = run_study(plan, out=out, device=args.device, jobs=jobs, progress=not args.quiet)
    _print(table_text(result, out / "degeneracy.csv"))
    log.info("writing the report")
    report = RunDirectory.at(out).report(result, jobs=jobs)
    log.info("Report: %s", report)


def _tune(args: argparse.Namespace) -> None:
    from degeneracy.cli.tuning import tuning_text
    from degeneracy.study import load_study
    from degeneracy.tuning import default_folder, tune

    plan = load_study(args.study, _settings(args), scale=args.scale)
    asked = (
        "knob",
        "measure",
        "target",
        "low",
        "high",
        "variant",
        "calibrated",
        "tolerance",
        "max_evaluations",
    )
    out = Path(args.out) if args.out else default_folder(plan, args.knob)
    args.kept = out
    tuning = tune(
        plan,
        **{name: getattr(args, name) for name in asked},
        scale="log" if args.log else "linear",
        out=out,
        device=args.device,
        jobs=_jobs(args.jobs),
        progress=not args.quiet,
    )
    _print(tuning_text(tuning, out))
    args.code = 0 if tuning.status == "reached" else 1


def _measure(args: argparse.Namespace) -> None:
    source = Path(args.source)
    if not source.exists():
        raise UserError(f"{source} does not exist; needed is a file of arrays (.npz) or a run directory")
    names = tuple(name.strip() for name in args.measures.split(",") if name.strip())
    settings = [parse_setting(text) for text in args.settings]
    if source.is_dir():
        _measure_run(args, source, names, settings)
    else:
        _measure_arrays(args, source, names, settings)


def _measure_run(
    args: argparse.Namespace, source: Path, names: Sequence[str], settings: list[tuple[str, Any]]
) -> None:
    from degeneracy.cli.text import table_text
    from degeneracy.run_directory import RunDirectory
    from degeneracy.study import remeasured, run_study
    from degeneracy.training import resolve_jobs

    if args.out:
        raise UserError(
            "--out is for arrays: a run is measured where it lies (copy its folder to keep both tables)"
        )
    plan = remeasured(source, names, settings)
    args.kept = source
    jobs = resolve_jobs(_jobs(args.jobs))
    result = run_study(plan, out=source, device="cpu", jobs=jobs, progress=not args.quiet)
    report = RunDirectory.at(source).report(result, jobs=jobs)
    _print(table_text(result, source / "degeneracy.csv"))
    log.info("Report: %s", report)


def _measure_arrays(
    args: argparse.Namespace, source: Path, names: Sequence[str], settings: list[tuple[str, Any]]
) -> None:
    from degeneracy.arrays_folder import measure_to_folder
    from degeneracy.cli.text import table_text

    out = Path(args.out) if args.out else Path("runs") / source.stem
    result, report = measure_to_folder(source, out, measures=names, settings=settings, jobs=_jobs(args.jobs))
    _print(table_text(result, out / "degeneracy.csv"))
    log.info("Report: %s", report)


def _report(args: argparse.Namespace) -> None:
    from degeneracy.run_directory import RunDirectory
    from degeneracy.study import load_run

    result = load_run(args.run)
    written = result.report(args.out) if args.out else RunDirectory.at(Path(args.run)).report(result)
    log.info("Report: %s", written)


def _tasks(args: argparse.Namespace) -> None:  # noqa: ARG001
    from degeneracy.cli.text import tasks_text

    _print(tasks_text())


def _cells(args: argparse.Namespace) -> None:  # noqa: ARG001
    from degeneracy.cli.text import cells_text

    _print(cells_text())


def _measures(args: argparse.Namespace) -> None:  # noqa: ARG001
    from degeneracy.cli.text import measures_text

    _print(measures_text())


COMMANDS = {
    "run": _run,
    "tune": _tune,
    "measure": _measure,
    "report": _report,
    "tasks": _tasks,
    "cells": _cells,
    "measures": _measures,
}


def _print(text: str) -> None:
    """Print to standard output; a sign that its encoding lacks becomes "?"."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    print(text)


@contextlib.contextmanager
def _messages(quiet: bool) -> Iterator[None]:
    """Messages of the package as plain lines on standard error while a command runs."""
    handler = logging.StreamHandler(sys.stderr)
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    args, stop = argparse.Namespace(), Stop()
    deaf = argv is None  # the process's own command line: nothing comes after it that a signal should disturb
    failure: BaseException | None = None
    try:
        try:
            stop.begin()
            _command(given, args)
        except BaseException as error:
            failure = error
        failure = _flushed(failure)
        stop.end(deaf=deaf)
    except KeyboardInterrupt as error:  # in the last moment
        failure = failure or error
        stop.end(deaf=deaf)
    if failure is None:
        return int(getattr(args, "code", 0))
    # On its way a KeyboardInterrupt may have become another error.
    if stop.number or isinstance(failure, KeyboardInterrupt):
        _say_stopped(args, given)
        return 128 + (stop.number or signal.SIGINT)
    return _exit_code(failure)


def _flushed(failure: BaseException | None) -> BaseException | None:
    """Write out standard output, here, where what goes wrong with it can be said."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return failure or error
    return failure


def _say_stopped(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """End the workers and say how to go on."""
    stop_workers()
    kept = getattr(args, "kept", None)
    if kept is None:
        print("\ndegeneracy: stopped", file=sys.stderr)
    else:
        again = shlex.join(["degeneracy", *argv])
        print(
            f"\ndegeneracy: stopped; what is finished is kept in {kept}. To go on: {again}", file=sys.stderr
        )


def _exit_code(failure: BaseException) -> int:
    """Say what ended a command; a fault of the program is raised."""
    if isinstance(failure, SystemExit):  # --help and --version
        return int(failure.code or 0)
    if isinstance(failure, UserError):
        print(f"degeneracy: {failure}", file=sys.stderr)
    elif isinstance(failure, BrokenPipeError):  # a reader who has seen enough (`| head`) is no error
        with contextlib.suppress(OSError):  # else Python complains again when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    elif isinstance(failure, OSError):  # a full disk, a file that vanished: the machine's, not the program's
        place = f"{failure.filename}: " if failure.filename else ""
        print(f"degeneracy: {place}{failure.strerror or failure}", file=sys.stderr)
    else:
        raise failure
    return 2


def _command(given: Sequence[str], args: argparse.Namespace) -> None:
    """Parse and do one command."""
    if given and not given[0].startswith("-") and given[0] not in COMMANDS:
        raise unknown_name("command", given[0], COMMANDS)
    parser = _parser()
    parser.parse_args(given, args)
    if not args.command:
        parser.print_help()
        return
    with _messages(getattr(args, "quiet", False)):
        COMMANDS[args.command](args)
