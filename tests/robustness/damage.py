"""Damage to the files of a finished run or of a saved ensemble, and whether it is noticed.

The run is tiny, made once and copied. What reads it then has to give the numbers of the undamaged run, or one line. A
command that refuses leaves every file as it was.
"""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np

import degeneracy as dg
from degeneracy.reporting import page
from degeneracy.runs.loading import remeasured

from . import numbers
from .file_damage import Rng
from .framework import Answer, Outcome, Program, attempt, attempt_command, snapshot
from .limits import without_rights
from .run_damage import KINDS

STUDY = """
name = "tiny"
seeds = "0:3"
measures = ["procrustes", "signed_pif", "ood_log_error_sd", "weight_change"]
vary.task.channels = [1, 2]
task = { name = "flip_flop", n_steps = 10, threshold = 2.0 }
network = { hidden_size = 8 }
training = { batch_size = 8, steps_per_epoch = 2, max_epochs = 5, patience = 1, checkpoints = [0.5] }
probe = { n_trials = 8 }
"""
# Where other files come from: the same study with other networks, with fewer members, with other probe trials.
RELATIVES = {
    "of other networks": [("network.init_gain", 1.5)],
    "with fewer members": [("seeds", "0:2")],
    "with other trials": [("probe.seed", 1)],
}
# After so long the other end of a fifo is opened and closed: who waits for it is found.
SECONDS_OF_A_FIFO = 10
ODDS_OF_ACTIONS = {"load": 0.5, "run": 0.2, "measure": 0.12, "report": 0.08, "repair": 0.1}
ACTIONS, ODDS = list(ODDS_OF_ACTIONS), np.array(list(ODDS_OF_ACTIONS.values()))
ODDS /= ODDS.sum()
WRITING = ("run", "measure", "repair")
# What `repair` has to mend: plain files that hold something else, or are gone.
MENDABLE = ("in bytes", "in records", "copied over", "swapped", "deleted", "json", "nested")


class DamagedRuns(Program):
    """See the module."""

    name: ClassVar[str] = "damage"
    about: ClassVar[str] = "files of a finished run: damaged, swapped, gone"
    short: ClassVar[int] = 80
    long: ClassVar[int] = 2_000

    def prepare(self) -> None:
        """A finished run, its relatives, and an ensemble in a folder."""
        self.study = dg.Study(**_fields([]))
        self.made = dg.run_study(self.study, out=self.folder / "run", jobs=1, progress=False)
        self.relatives = [self.folder / name for name in RELATIVES]
        for path, changes in zip(self.relatives, RELATIVES.values(), strict=True):
            dg.run_study(dg.Study(**_fields(changes)), out=path, jobs=1, progress=False)
        condition = self.study.conditions()[0]
        trained = [
            dg.train(condition.task, condition.network, condition.training, seeds=seeds, jobs=1, progress=False)
            for seeds in (range(3), range(3, 6))
        ]
        self.ensembles = [e.save(self.folder / f"ensemble {k}") for k, e in enumerate(trained)]
        self.numbers = numbers.of_study(self.made)
        self.files = snapshot(self.folder / "run")
        self.numbers_of_run = numbers.of_run(self.folder / "run")
        self.numbers_of_ensemble = numbers.of_ensemble(trained[0])

    def case(self, rng: Rng) -> Outcome:
        """Damage a copy, then load it, report it, go on with it or measure it again."""
        place = Path.cwd()
        of_ensemble = rng.random() < 0.12
        root, relatives = place / "run", self.ensembles[1:] if of_ensemble else self.relatives
        shutil.copytree(self.ensembles[0] if of_ensemble else self.folder / "run", root)
        names = [name for name in KINDS if not (of_ensemble and name == "folders")]
        odds = np.array([KINDS[name][0] for name in names])
        kind = names[int(rng.choice(len(names), p=odds / odds.sum()))]
        what = KINDS[kind][1](rng, root, relatives)
        if of_ensemble:
            action = "load ensemble"
        elif kind == "unreadable":
            action = "load"
        else:
            action = ACTIONS[int(rng.choice(len(ACTIONS), p=ODDS))]
        before = snapshot(root) if action in WRITING else {}
        rights = without_rights() if kind == "unreadable" else contextlib.nullcontext()
        with rights, _writers(root) as waited:
            answer = self._do(action, rng, root)
            if waited():
                answer = Answer(fault="it waited for what may never come", cause="waited for a fifo")
        wrong = ""
        if answer.refusal and before and snapshot(root) != before:
            wrong = "it was refused, and yet files have changed"
        elif answer.refusal and action == "repair" and kind in MENDABLE:
            wrong = f"it is not mended: {answer.refusal}"
        elif not answer.refusal and not answer.fault:
            wrong = numbers.difference(self._expected(action), answer.value)
            wrong = wrong or self._lost(before, snapshot(root) if before else {})
        return answer.outcome(f"{action}: {what}", wrong=wrong, cause=what)

    def _lost(self, before: Mapping[str, object], now: Mapping[str, object]) -> str:
        """A file that was not the run's own as it had written it, and whose bytes are nowhere any more."""
        left = [content for content in now.values() if isinstance(content, bytes)]
        for name, content in before.items():
            if not isinstance(content, bytes) or _says_the_same(content, self.files.get(name)):
                continue
            if not any(now_there.startswith(content) for now_there in left):
                return f"what {name} held is lost"
        return ""

    def _expected(self, action: str) -> numbers.Numbers:
        """What the action gives of files that nobody has touched."""
        if action == "load ensemble":
            return self.numbers_of_ensemble
        return self.numbers if action in WRITING else self.numbers_of_run

    def _do(self, action: str, rng: Rng, root: Path) -> Answer:
        """Read the damaged folder in one of the ways that users have; the value is its numbers."""
        run = partial(dg.run_study, out=root, jobs=1, progress=False)
        if action == "load ensemble":
            return attempt(lambda: numbers.of_ensemble(dg.Ensemble.load(root)))
        if action == "load":
            return attempt(lambda: numbers.of_run(root))
        if action == "run":
            return attempt(lambda: numbers.of_study(run(self.study)))
        if action == "repair":
            return attempt(lambda: numbers.of_study(run(self.study, repair=True)))
        if action == "measure":
            return attempt(lambda: numbers.of_study(run(remeasured(root))))
        drawn = rng.random() < 0.03  # figures take seconds
        undrawn = contextlib.nullcontext() if drawn else patch.object(page, "draw_figures", return_value=([], []))
        with undrawn:
            answer = attempt_command(["report", str(root), "--out", "report.html"])
        return answer if answer.refusal or answer.fault else self._do("load", rng, root)


def _says_the_same(content: bytes, of_the_run: object) -> bool:
    """Whether two files hold the same bytes, or JSON of the same content."""
    try:
        return content == of_the_run or (
            isinstance(of_the_run, bytes) and json.loads(content) == json.loads(of_the_run)
        )
    except (ValueError, RecursionError):
        return False


def _fields(changes: list[tuple[str, Any]]) -> dict[str, Any]:
    path = Path("tiny.toml")
    path.write_text(STUDY, encoding="utf-8")
    return dg.load_study(path, changes).model_dump(mode="json")


@contextlib.contextmanager
def _writers(root: Path) -> Iterator[Callable[[], bool]]:
    """Open and close the other end of each fifo after a while; yields whether that has had to be done.

    A process of its own does so: a library that waits in compiled code lets no thread of this process run.
    """
    fifos = [str(path) for path in root.rglob("*") if path.is_fifo()]
    if not fifos:
        yield lambda: False
        return
    script = f'sleep {SECONDS_OF_A_FIFO}; for f in "$@"; do exec 3<>"$f"; exec 3>&-; done'
    with subprocess.Popen(["sh", "-c", script, "sh", *fifos]) as process:
        try:
            yield lambda: process.poll() is not None
        finally:
            process.kill()
