"""The folder that `tune` writes.

tuning.json               the study and the knob, every question asked of them with its answer so far, and the SHA-256
                          of the two files below
tuning.csv, tuning.png    the evaluations of the last question, in their order, and their curve
lock                      held while one of the files above is written
evaluations/KNOB=VALUE/   ordinary run directories, of the study with the knob set

What an evaluation has trained is kept and loaded: a tune that was stopped goes on with the same command, and another
question (target, bounds, measure, more seeds) in the same folder trains only what it needs besides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile, advising, exists
from degeneracy.core.owned_folder import TABLES, OwnedFolder, Sealed, put_aside_if_damaged
from degeneracy.tuning.question import Question, plain_name

ABOUT = Sealed(name="tuning.json", kind="tune", format=3, holds={"about": dict, "questions": list, **TABLES})
REPAIR = "the same command with --repair (tune(..., repair=True)) sets it aside"
LEFTOVERS = ("evaluations", "tuning.csv", "tuning.png")


@dataclass(frozen=True, kw_only=True)
class TuningFolder:
    """The files of the questions about one study and knob."""

    root: Path
    question: Question  # the one that is asked now
    repair: bool = False  # set damaged files aside; answers in a damaged tuning.json are lost, the runs are not

    @property
    def owned(self) -> OwnedFolder:
        """The folder as what the program owns."""
        return OwnedFolder(root=self.root, index=ABOUT, ledger=ABOUT)

    def begin(self) -> None:
        """Begin in a new or empty folder, or go on in that of the same study and knob.

        Raises:
            DamagedFile: tuning.json is not what was written, or tuning.csv or tuning.png is not.
            UserError: the folder holds something else.
        """
        with advising(REPAIR), self.owned.take(self._check):
            if self.repair:
                put_aside_if_damaged(self.root / ABOUT.name, self.owned.read_ledger)
            self._write({"status": "not finished"}, {})

    def run(self, strength: float) -> str:
        """The run directory of an evaluation, below the folder."""
        return f"evaluations/{plain_name(self.question.knob)}={strength!r}"

    def keep(self, answer: Mapping[str, Any], tables: Mapping[str, bytes]) -> None:
        """Write the answer so far, and tables by the names of their files."""
        with advising(REPAIR), self.owned.hold():
            self._write(answer, tables)

    def _write(self, answer: Mapping[str, Any], tables: Mapping[str, bytes]) -> None:
        """Write the question with its answer beside those that were asked before."""
        before = self.owned.read_ledger().get("questions", [])
        others = [question for question in before if question["asked"] != self.question.asked]
        questions = [*others, {"asked": self.question.asked, **answer}]
        about = {"about": self.question.about, "questions": questions}
        self.owned.write_tables(about, tables, repair=self.repair)

    def _check(self) -> None:
        """Refuse what is not the folder of this study and knob."""
        lost = self.repair and exists(self.root / "evaluations")  # tuning.json was lost or set aside
        aside = [path.name for path in self.root.glob("tuning.*.damaged-*")] if lost else []
        if not self.owned.begun(leftovers=(*LEFTOVERS, *aside) if lost else ()):
            return
        try:
            before, now = self.owned.read_ledger()["about"], self.question.about
        except DamagedFile:
            if not self.repair:
                raise
            return
        differ = [key for key in now if before.get(key) != now[key]]
        if differ:
            what = {
                "knob": f"of another knob, {before.get('knob')}",
                "companions": "of coupled members with other seeds",
            }.get(differ[0], f"with another {differ[0]}")
            raise UserError(f"{self.root} holds a tune {what}; choose another folder with --out")
