"""The folder that `tune` writes.

tuning.json               the study and the knob, and every question asked of them with its answer so far
tuning.csv, tuning.png    the evaluations of the last question, in their order, and their curve
evaluations/KNOB=VALUE/   an ordinary run directory each, of the study with the knob set

What an evaluation has trained is kept and loaded: a tune that was stopped goes on with the same command, and another
question (target, bounds, measure, more seeds) in the same folder trains only what it needs besides.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from degeneracy.core.errors import UserError
from degeneracy.core.files import (
    DamagedFile,
    advising,
    clean,
    exists,
    lock,
    read_json,
    set_aside,
    write_bytes,
    write_json,
)
from degeneracy.tuning.question import Question, plain_name

FORMAT = 2
REPAIR = "the same command with --repair (tune(..., repair=True)) sets it aside"
COLUMNS = ("knob", "value", "ci_low", "ci_high", "n_members", "n_converged", "run", "note")
Row = Mapping[str, Any]  # of the table of evaluations

log = logging.getLogger("degeneracy")


@dataclass(frozen=True, kw_only=True)
class TuningFolder:
    """The files of the questions about one study and knob."""

    root: Path
    question: Question  # the one that is asked now

    @classmethod
    def open(cls, root: Path, question: Question, *, repair: bool = False) -> "TuningFolder":
        """Begin in a new or empty folder, or go on in that of the same study and knob.

        Args:
            root: the folder.
            question: what is asked.
            repair: set a damaged tuning.json aside; the answers that it held are lost, the runs are not.

        Raises:
            DamagedFile: tuning.json is not what was written.
            UserError: the folder holds something else.
        """
        _check_folder(root, question, repair)
        folder = cls(root=root, question=question)
        with lock(root / "lock", wait=True):
            _check_folder(root, question, repair)  # again: another process may have begun here since
            if repair:
                _mend(root)
            clean(root)
            folder._keep({"status": "not finished"})
        return folder

    def run(self, strength: float) -> str:
        """The run directory of an evaluation, below the folder."""
        return f"evaluations/{plain_name(self.question.knob)}={strength!r}"

    def keep_table(self, rows: Sequence[Row]) -> pd.DataFrame:
        """Write the table of the evaluations so far; returns it."""
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        with lock(self.root / "lock", wait=True):
            write_bytes(self.root / "tuning.csv", table.to_csv(index=False).encode())
        return table

    def keep_answer(self, answer: Row, figure: bytes) -> None:
        """Write the answer and the curve."""
        with lock(self.root / "lock", wait=True):
            self._keep(answer)
            write_bytes(self.root / "tuning.png", figure)

    def _keep(self, answer: Row) -> None:
        """Write the question with its answer beside those that were asked before."""
        file, question = self.root / "tuning.json", self.question
        before = _stored(self.root)["questions"] if exists(file) else []
        others = [one for one in before if one["asked"] != question.asked]
        questions = [*others, {"asked": question.asked, **answer}]
        about = {"kind": "tune", "format": FORMAT, "about": question.about}
        write_json(file, {**about, "questions": questions})


def _stored(root: Path) -> dict[str, Any]:
    """What tuning.json holds."""
    with advising(REPAIR):
        stored = read_json(root / "tuning.json", kind="tune", format=FORMAT)
        if not isinstance(stored.get("about"), dict) or not isinstance(stored.get("questions"), list):
            raise DamagedFile(root / "tuning.json", "it lacks what such a file has")
    return stored


def _check_folder(root: Path, question: Question, repair: bool) -> None:
    if exists(root / "tuning.json"):
        try:
            _same_networks(root, _stored(root)["about"], question.about)
        except DamagedFile:
            if not repair:
                raise
    elif exists(root):
        names = [path.name for path in root.iterdir()] if root.is_dir() else [root.name]
        ours = {"lock"}
        if repair and "evaluations" in names:  # tuning.json was lost or set aside
            ours |= {"evaluations", "tuning.csv", "tuning.png"}
            names = [name for name in names if not name.startswith("tuning.json.damaged-")]
        if any(name not in ours and not name.startswith(".tuning.") for name in names):
            raise UserError(f"{root} holds something else (it has no tuning.json); choose another folder with --out")


def _mend(root: Path) -> None:
    """Set a damaged tuning.json aside."""
    if exists(root / "tuning.json"):
        try:
            _stored(root)
        except DamagedFile as error:
            aside = set_aside(root / "tuning.json")
            log.info("set %s aside as %s: %s", error.path, aside.name, error.reason)


def _same_networks(root: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differ = [key for key in now if before.get(key) != now[key]]
    if not differ:
        return
    what = {
        "knob": f"of another knob, {before.get('knob')}",
        "companions": "of coupled members with other seeds",
    }.get(differ[0], f"with another {differ[0]}")
    raise UserError(f"{root} holds a tune {what}; choose another folder with --out")
