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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from degeneracy.cli.parser import build_parser, parse_jobs, parse_setting, settings_of
from degeneracy.cli.stopping import Stop, stop_workers
from degeneracy.core.errors import UserError, one_line, unknown_name
from degeneracy.core.user_files import user_path

log = logging.getLogger("degeneracy")


def _run(args: argparse.Namespace) -> None:
    from degeneracy.cli.text import table_text
    from degeneracy.core.workers import resolve_jobs
    from degeneracy.runs.run_directory import RunDirectory
    from degeneracy.runs.running import run_study, train_study
    from degeneracy.runs.zoo import counts
    from degeneracy.studies.study import load_study

    plan = load_study(args.study, settings_of(args), scale=args.scale)
    out = user_path(args.out) if args.out else plan.folder
    args.kept = out
    jobs = resolve_jobs(parse_jobs(args.jobs))
    work = train_study if args.train_only else run_study
    quiet, repair = args.quiet, args.repair
    result = work(plan, out=out, device=args.device, jobs=jobs, progress=not quiet, repair=repair, zoo=args.zoo)
    if isinstance(result, dict):
        print("\n".join(counts(result)))
        return
    print(table_text(result, out / "degeneracy.csv"))
    log.info("writing the report")
    report = RunDirectory.at(out).report(result, jobs=jobs)
    log.info("Report: %s", report)


def _tune(args: argparse.Namespace) -> None:
    from degeneracy.cli.tuning import tuning_text
    from degeneracy.studies.study import load_study
    from degeneracy.tuning.tune import default_folder, tune

    plan = load_study(args.study, settings_of(args), scale=args.scale)
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
    out = user_path(args.out) if args.out else default_folder(plan, args.knob)
    args.kept = out
    tuning = tune(
        plan,
        **{name: getattr(args, name) for name in asked},
        scale="log" if args.log else "linear",
        out=out,
        device=args.device,
        jobs=parse_jobs(args.jobs),
        progress=not args.quiet,
        repair=args.repair,
    )
    print(tuning_text(tuning, out))
    args.code = 0 if tuning.status == "reached" else 1


def _measure(args: argparse.Namespace) -> None:
    source = user_path(args.source)
    if not source.exists():
        raise UserError(f"{source} does not exist; needed is a file of arrays (.npz) or a run directory")
    names = tuple(name.strip() for name in args.measures.split(",") if name.strip())
    settings = [parse_setting(text) for text in args.settings]
    if source.is_dir():
        _measure_run(args, source, names, settings)
    else:
        _measure_arrays(args, source, names, settings)


def _measure_run(args: argparse.Namespace, source: Path, names: Sequence[str], settings: list[tuple[str, Any]]) -> None:
    from degeneracy.cli.text import table_text
    from degeneracy.core.workers import resolve_jobs
    from degeneracy.runs.loading import remeasured
    from degeneracy.runs.run_directory import RunDirectory
    from degeneracy.runs.running import run_study

    if args.cell:
        raise UserError("--cell is for arrays: a run knows the cell of its networks")
    if args.out:
        raise UserError("--out is for arrays: a run is measured where it lies (copy its folder to keep both tables)")
    plan = remeasured(source, names, settings)
    args.kept = source
    jobs = resolve_jobs(parse_jobs(args.jobs))
    result = run_study(plan, out=source, device="cpu", jobs=jobs, progress=not args.quiet)
    report = RunDirectory.at(source).report(result, jobs=jobs)
    print(table_text(result, source / "degeneracy.csv"))
    log.info("Report: %s", report)


def _measure_arrays(
    args: argparse.Namespace, source: Path, names: Sequence[str], settings: list[tuple[str, Any]]
) -> None:
    from degeneracy.cli.text import table_text
    from degeneracy.runs.arrays_folder import measure_to_folder

    out = user_path(args.out) if args.out else Path("runs") / source.stem
    result, report = measure_to_folder(
        source, out, measures=names, cell=args.cell, settings=settings, jobs=parse_jobs(args.jobs)
    )
    print(table_text(result, out / "degeneracy.csv"))
    log.info("Report: %s", report)


def _report(args: argparse.Namespace) -> None:
    from degeneracy.reporting import report
    from degeneracy.runs.loading import load_run
    from degeneracy.runs.run_directory import RunDirectory

    result = load_run(args.run)
    written = report(result, args.out) if args.out else RunDirectory.at(user_path(args.run)).report(result)
    log.info("Report: %s", written)


def _pack(args: argparse.Namespace) -> None:
    from degeneracy.runs.zoo import counts, load_zoo, pack_zoo

    folder = pack_zoo(args.run, args.out)
    print("\n".join(counts(load_zoo(folder.name, directory=folder.parent))))
    log.info("Networks: %s", folder)


def _plan(args: argparse.Namespace) -> None:
    from degeneracy.cli.planning import pilot_folder
    from degeneracy.cli.text import plan_text
    from degeneracy.contrasts.planning import plan
    from degeneracy.runs.loading import load_run

    print(plan_text(plan(load_run(pilot_folder(args.pilot, args.scale)), args.networks)))


def _tasks(args: argparse.Namespace) -> None:  # noqa: ARG001
    from degeneracy.cli.text import tasks_text

    print(tasks_text())


def _cells(args: argparse.Namespace) -> None:  # noqa: ARG001
    from degeneracy.cli.text import cells_text

    print(cells_text())


def _measures(args: argparse.Namespace) -> None:  # noqa: ARG001
    from degeneracy.cli.text import measures_text

    print(measures_text())


COMMANDS = {
    "run": _run,
    "tune": _tune,
    "measure": _measure,
    "report": _report,
    "plan": _plan,
    "pack": _pack,
    "tasks": _tasks,
    "cells": _cells,
    "measures": _measures,
}


class _OneLine(logging.Formatter):
    """Messages that stay on their line, whatever names stand in them."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message without its traceback, if it has one."""
        return one_line(super().formatMessage(record))


@contextlib.contextmanager
def _messages(quiet: bool) -> Iterator[None]:
    """Messages of the package as plain lines on standard error while a command runs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
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
        print(f"\ndegeneracy: stopped; what is finished is kept in {kept}. To go on: {again}", file=sys.stderr)


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
        print(f"degeneracy: {one_line(f'{place}{failure.strerror or failure}')}", file=sys.stderr)
    else:
        raise failure
    return 2


def _command(given: Sequence[str], args: argparse.Namespace) -> None:
    """Parse and do one command."""
    if given and not given[0].startswith("-") and given[0] not in COMMANDS:
        raise unknown_name("command", given[0], COMMANDS)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a sign that its encoding lacks becomes "?"
        sys.stdout.reconfigure(errors="replace")
    parser = build_parser()
    parser.parse_args(given, args)
    if not args.command:
        parser.print_help()
        return
    with _messages(getattr(args, "quiet", False)):
        COMMANDS[args.command](args)
