"""What all programs share: a case and its outcome, and how a call or a command line is tried."""

import contextlib
import io
import os
import shutil
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import degeneracy
from degeneracy.cli import main
from degeneracy.core.errors import UserError

from .limits import TookTooLong, memory_limit, time_limit

REFUSED, RIGHT, SILENT, TRACEBACK = "refused", "right", "SILENT", "TRACEBACK"
PACKAGE = Path(degeneracy.__file__).parent
GIGABYTES = 6.0  # that a case may take; none needs one, and the files that are too large for it claim 20


class Reached(BaseException):
    """The first network would be trained now: what was given is valid, and it is not trained."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one case ended."""

    kind: str
    what: str  # what was tried
    said: str = ""  # the message, or what is wrong
    cause: str = ""  # failures of one cause are counted together
    trace: str = ""

    @property
    def failed(self) -> bool:
        return self.kind in (SILENT, TRACEBACK)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a call: its value, or the line that refused it, or what should never have come of it."""

    value: Any = None
    refusal: str = ""
    fault: str = ""
    cause: str = ""
    trace: str = ""

    def outcome(self, what: str, *, wrong: str = "", cause: str = "") -> Outcome:
        """The outcome of a case that hangs on this call.

        Args:
            what: what was tried.
            wrong: what is wrong although the call said nothing, "" where all is right.
            cause: what such silent mistakes are counted under.
        """
        if self.fault:
            return Outcome(kind=TRACEBACK, what=what, said=self.fault, cause=self.cause, trace=self.trace)
        if wrong:
            return Outcome(kind=SILENT, what=what, said=wrong, cause=cause or what)
        if self.refusal:
            return Outcome(kind=REFUSED, what=what, said=self.refusal)
        return Outcome(kind=RIGHT, what=what)


class Program(ABC):
    """One kind of mistakes; `case` makes the one that a generator draws and says how it ended."""

    name: ClassVar[str]
    about: ClassVar[str]
    short: ClassVar[int]  # cases in the normal tests
    long: ClassVar[int]
    seconds: ClassVar[float] = 30.0  # that a case may take
    in_this_process: ClassVar[bool] = True  # whose memory is limited

    def __init__(self, folder: Path) -> None:
        """Make in `folder` what all cases share."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(folder):
            self.prepare()

    def prepare(self) -> None:  # noqa: B027 (most programs share nothing)
        """What is made once; the working directory is `self.folder`."""

    @abstractmethod
    def case(self, rng: np.random.Generator) -> Outcome:
        """Make one mistake; the working directory is an empty folder of the case's own."""

    def run(self, number: int) -> Outcome:
        """The case of this number: the same whenever it is run."""
        place = self.folder / "case"
        place.mkdir()
        limit = memory_limit(GIGABYTES) if self.in_this_process else contextlib.nullcontext()
        try:
            with contextlib.chdir(place), _home(place), limit, time_limit(self.seconds):
                return self.case(np.random.default_rng(number))
        finally:
            _remove(place)


@contextlib.contextmanager
def _home(place: Path) -> Iterator[None]:
    """`~` is a folder of the case's own."""
    before = os.environ.get("HOME", "")
    os.environ["HOME"] = str(place / "home")
    try:
        yield
    finally:
        os.environ["HOME"] = before


def _remove(place: Path) -> None:
    for folder, _, _ in os.walk(place):
        os.chmod(folder, 0o700)
    shutil.rmtree(place)


def attempt(function: Callable[[], Any]) -> Answer:
    """Call a function of the package; warnings that it lets through count as errors, as in all tests."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", module="degeneracy")
            return Answer(value=function())
    except UserError as error:
        return _refused(str(error))
    except Reached:
        return Answer(value=(0, "", ""))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _fault(error)


def attempt_command(argv: Sequence[str]) -> Answer:
    """Try a command line; `value` is (exit code, standard output, standard error)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        answer = attempt(lambda: main(argv))
    if answer.fault:
        return answer
    if isinstance(answer.value, tuple):  # as far as the first network
        return answer
    code, said = answer.value, err.getvalue()
    if "Traceback" in out.getvalue() + said:
        return Answer(fault="a traceback is printed", cause="a traceback is printed", trace=said)
    if code == 2:
        *before, last = said.splitlines() or [""]
        if not last.startswith("degeneracy: ") or any(line.startswith("degeneracy: ") for line in before):
            return Answer(fault=f"exit code 2 with {said!r}", cause="exit code 2 without its line")
        return _refused(last)
    if code not in (0, 1):
        return Answer(fault=f"exit code {code}", cause=f"exit code {code}", trace=said)
    return Answer(value=(code, out.getvalue(), said))


def _refused(text: str) -> Answer:
    lines = text.splitlines()
    if len(lines) != 1:
        fault = f"a message of {len(lines)} lines: {text!r}"
        return Answer(fault=fault, cause=f"a message of {min(len(lines), 2)} lines or more")
    return Answer(refusal=text)


def _fault(error: BaseException) -> Answer:
    """Names the innermost place in the package that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    place = ours[-1] if ours else frames[-1]
    where = f"{'/'.join(Path(place.filename).parts[-2:])}:{place.name}"
    name = "no end" if isinstance(error, TookTooLong) else type(error).__name__
    said = (str(error).splitlines() or [""])[0][:200]
    trace = "".join(traceback.format_exception(error))
    return Answer(fault=f"{name} in {where}: {said}", cause=f"{name} in {where}", trace=trace)


def snapshot(folder: Path) -> dict[str, object]:
    """What a folder holds, to tell whether it was changed; huge files by their size alone."""
    return {str(path.relative_to(folder)): _content(path) for path in folder.rglob("*") if path.name != "lock"}


def _content(path: Path) -> object:
    if path.is_symlink():
        return os.readlink(path)
    if not path.is_file():
        return path.stat().st_mode
    size = path.stat().st_size
    return size if size > 2**28 else path.read_bytes()
