"""The user's mistakes, one table: each is met by one line and exit code 2, before anything is written or deleted."""

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from degeneracy import store
from degeneracy.cli import main
from degeneracy.training import members as training

STUDY = """
name = "tiny"
seeds = "0:2"
measures = ["procrustes"]
vary.task.channels = [1, 2]
task = { name = "flip_flop", n_steps = 10, threshold = 2.0 }
network = { hidden_size = 8 }
training = { batch_size = 8, steps_per_epoch = 2, max_epochs = 5, patience = 1 }
probe = { n_trials = 8 }
"""
STATES = np.random.default_rng(0).normal(size=(3, 4, 10, 5))  # (member, trial, time, unit)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What is done, and the line it is met by; `prepare` makes the folder in which it is done."""

    command: str
    says: str
    prepare: Callable[[Path], Any] = lambda _: None


def a_file(name: str, content: str | bytes) -> Callable[[Path], Any]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def study(old: str = "", new: str = "") -> Callable[[Path], Any]:
    assert old in STUDY
    return a_file("tiny.toml", STUDY.replace(old, new) if old else STUDY)


def arrays(**given: Any) -> Callable[[Path], Any]:
    return lambda folder: np.savez(folder / "a.npz", **given)


def cut(name: str, keep: int) -> Callable[[Path], Any]:
    """A file of a finished run cut short."""

    def damage(folder: Path) -> None:
        [file] = (folder / "run").glob(name)
        file.write_bytes(file.read_bytes()[:keep])

    return damage


def with_nan() -> Any:
    states = STATES.copy()
    states[1, 2, 3, 4] = np.nan
    return states


RUN = "run tiny.toml"
MEASURE = "measure a.npz --out mine"

MISTAKES = {
    # --- the command line
    "command": Mistake(command="rnu", says=r"unknown command 'rnu'; did you mean 'run'\? \(known: cells, "),
    "no study": Mistake(command="run", says=r"arguments are required: STUDY \(see 'degeneracy run --help'\)"),
    "option": Mistake(command="run quickstart --sed 1", says=r"unrecognized arguments: --sed 1 \(see"),
    "abbreviation": Mistake(
        command="run quickstart --devic cpu", says=r"unrecognized arguments: --devic cpu"
    ),
    "no value": Mistake(command="run quickstart --set seeds", says=r"--set seeds: write KEY=VALUE, e.g. "),
    "no key": Mistake(command="run quickstart --set =3", says=r"--set =3: write KEY=VALUE"),
    "damaged value": Mistake(
        command="run quickstart --set a=[1,b]", says=r"--set a=\[1,b\]: the value is no TOML"
    ),
    "damaged key": Mistake(
        command="run quickstart --set a..b=1", says=r"'a..b' is no key: write part.field, such"
    ),
    "key too deep": Mistake(command="run quickstart --set name.x=1", says=r"'name.x': 'name' has no fields"),
    "jobs": Mistake(
        command="run quickstart --jobs 0", says=r"jobs = 0 is wrong: a number of processes, 1 or more"
    ),
    "jobs type": Mistake(
        command="run quickstart --jobs two", says=r"--jobs two: a number of processes is needed"
    ),
    "device": Mistake(
        command="run quickstart --device gpu", says=r"unknown device 'gpu'; did you mean 'cpu'\?"
    ),
    "no cuda": Mistake(
        command="run quickstart --device cuda",
        says=r"device 'cuda': no CUDA device is available here \(use 'auto'",
    ),
    # --- the study file
    "study name": Mistake(
        command="run quickstrt",
        says=r"no such file, and: unknown study 'quickstrt'; did you mean 'quickstart'\?",
    ),
    "study file": Mistake(command="run no.toml", says=r"cannot read no.toml: No such file or directory"),
    "long name": Mistake(command=f"run {'a' * 5000}", says=r"cannot read a+: File name too long"),
    "folder": Mistake(
        command="run a.toml",
        prepare=lambda folder: (folder / "a.toml").mkdir(),
        says=r"cannot read a.toml: Is a directory",
    ),
    "truncated TOML": Mistake(
        command=RUN,
        prepare=a_file("tiny.toml", STUDY[:-8]),
        says=r"cannot read tiny.toml: damaged TOML: .*\(at (line 9|end of document)",
    ),
    "no text": Mistake(
        command=RUN,
        prepare=a_file("tiny.toml", b"\xff\xfe\x00"),
        says=r"cannot read tiny.toml: damaged TOML: .*utf-8",
    ),
    "empty": Mistake(command=RUN, prepare=a_file("tiny.toml", ""), says=r"Study: 'name' is missing"),
    "key": Mistake(
        command=RUN,
        prepare=study("seeds =", "seds ="),
        says=r"Study: 'seeds' is missing|unknown key 'seds'; did you mean 'seeds'\?",
    ),
    "key beside": Mistake(
        command=f"{RUN} --set mesures=[]",
        prepare=study(),
        says=r"Study: unknown key 'mesures'; did you mean 'measures'\?",
    ),
    "task's key": Mistake(
        command=f"{RUN} --set task.n_step=5",
        prepare=study(),
        says=r"FlipFlop: unknown key 'n_step'; did you mean 'n_steps'\? \(known: channels, ",
    ),
    "network's key": Mistake(
        command=f"{RUN} --set network.hiden_size=5",
        prepare=study(),
        says=r"Network: unknown key 'hiden_size'; did you mean 'hidden_size'\?",
    ),
    "training's key": Mistake(
        command=f"{RUN} --set training.lr=5",
        prepare=study(),
        says=r"Training: unknown key 'lr'.* \(known: batch_size",
    ),
    "probe's key": Mistake(
        command=f"{RUN} --set probe.trials=5",
        prepare=study(),
        says=r"unknown key 'trials'; did you mean 'n_trials'\?",
    ),
    "option's key": Mistake(
        command=f"{RUN} --set options.procrustes.alfa=1",
        prepare=study(),
        says=r"Procrustes: unknown key 'alfa'; did you mean 'alpha'\?",
    ),
    "option's measure": Mistake(
        command=f"{RUN} --set options.dsa.rank=3",
        prepare=study(),
        says=r"options: unknown measure 'dsa' \(known: procrustes\)",
    ),
    "task": Mistake(
        command=RUN,
        prepare=study("flip_flop", "flipflop"),
        says=r"unknown task 'flipflop'; did you mean 'flip_flop'\? \(known: delayed_discrimination, ",
    ),
    "no task": Mistake(
        command=RUN,
        prepare=study('name = "flip_flop", ', ""),
        says=r"task: 'name' is missing \(known: delayed",
    ),
    "task's module": Mistake(
        command=f"{RUN} --set task.name=mine:Task",
        prepare=study(),
        says=r"task 'mine:Task': no module 'mine' here or on Python's path",
    ),
    "cell": Mistake(
        command=f"{RUN} --set network.cell=gruu",
        prepare=study(),
        says=r"unknown cell 'gruu'; did you mean 'gru'\?",
    ),
    "measure": Mistake(
        command=f"{RUN} --set measures=['procrustis']",
        prepare=study(),
        says=r"unknown measure 'procrustis'; did you mean 'procrustes'\?",
    ),
    "no measure": Mistake(
        command=f"{RUN} --set measures=[]", prepare=study(), says=r"no measure was asked for \(known"
    ),
    "schedule": Mistake(
        command=f"{RUN} --set training.schedule=cosin", prepare=study(), says=r"unknown schedule 'cosin'"
    ),
    "type": Mistake(
        command=f"{RUN} --set network.hidden_size=big",
        prepare=study(),
        says=r"Network: hidden_size = 'big' is wrong: Input should be a valid integer",
    ),
    "type of a part": Mistake(
        command=f"{RUN} --set task=flip_flop", prepare=study(), says=r"Study: task = 'flip_flop' is wrong: "
    ),
    "type of levels": Mistake(
        command=f"{RUN} --set vary.task.channels=3",
        prepare=study(),
        says=r"Study: vary.task.channels = 3 is wrong: ",
    ),
    "fraction": Mistake(
        command=f"{RUN} --set task.n_steps=2.5", prepare=study(), says=r"FlipFlop: n_steps = 2.5 is wrong: "
    ),
    "range": Mistake(
        command=f"{RUN} --set training.learning_rate=-1",
        prepare=study(),
        says=r"Training: learning_rate = -1 is wrong: Input should be greater than 0",
    ),
    "range of a level": Mistake(
        command=f"{RUN} --set vary.task.channels=[1,0]",
        prepare=study(),
        says=r"FlipFlop: channels = 0 is wrong: Input should be greater than or equal to 1",
    ),
    "nan": Mistake(
        command=f"{RUN} --set training.learning_rate=nan",
        prepare=study(),
        says=r"Training: learning_rate = nan is wrong: Input should be a finite number",
    ),
    "rank too high": Mistake(
        command=f"{RUN} --set measures=['dsa'] --set options.dsa.n_delays=2 --set options.dsa.rank=5000",
        prepare=study(),
        says=r"dsa.*rank",
    ),
    "seeds": Mistake(
        command=f"{RUN} --seeds 0-5", prepare=study(), says=r"seeds = '0-5' is wrong: write 0:16 for 0"
    ),
    "no seeds": Mistake(
        command=f"{RUN} --seeds 5:5", prepare=study(), says=r"seeds = \[\] is wrong: whole numbers"
    ),
    "one seed": Mistake(
        command=f"{RUN} --seeds 7", prepare=study(), says=r"seeds = \[7\] is wrong: 2 members or more"
    ),
    "same seed": Mistake(
        command=f"{RUN} --seeds 1,1", prepare=study(), says=r"seeds = \[1, 1\] is wrong: .*none twice"
    ),
    "odd digits": Mistake(
        command=f"{RUN} --seeds ²", prepare=study(), says=r"seeds = '²' is wrong: write 0:16"
    ),
    "too many seeds": Mistake(
        command=f"{RUN} --seeds 0:999999999", prepare=study(), says=r"at most 100000 members"
    ),
    "seeds as a number": Mistake(
        command=f"{RUN} --set seeds=5",
        prepare=study(),
        says=r'Study: seeds = 5 is wrong: needed is a list, or "0:16"',
    ),
    "factor": Mistake(
        command=f"{RUN} --set vary.tsk.channels=[1]",
        prepare=study(),
        says=r"vary 'tsk.channels': unknown part 'tsk'; did you mean 'task'\?",
    ),
    "no level": Mistake(
        command=f"{RUN} --set vary.task.channels=[]",
        prepare=study(),
        says=r"vary 'task.channels' = \[\] is wrong: it needs one level or more",
    ),
    "level twice": Mistake(
        command=f"{RUN} --set vary.task.channels=[1,1]",
        prepare=study(),
        says=r"vary names the same condition twice",
    ),
    "set and varied": Mistake(
        command=f"{RUN} --set task.channels=4",
        prepare=study(),
        says=r"'task.channels' is both set \(4\) and varied \(1, 2\); drop one of them",
    ),
    # --- where it writes
    "foreign folder": Mistake(
        command=f"{RUN} --out mine",
        prepare=lambda folder: (study()(folder), a_file("mine/thesis.txt", "dear")(folder)),
        says=r"mine is no run directory \(it has no study.json\)",
    ),
    "foreign study.json": Mistake(
        command=f"{RUN} --out mine",
        prepare=lambda folder: (study()(folder), a_file("mine/study.json", '{"trials": 3}')(folder)),
        says=r"mine is no run directory of this version",
    ),
    "file for a folder": Mistake(
        command=f"{RUN} --out mine",
        prepare=lambda folder: (study()(folder), a_file("mine", "dear")(folder)),
        says=r"mine is no run directory",
    ),
    "below a file": Mistake(
        command=f"{RUN} --out mine/deeper",
        prepare=lambda folder: (study()(folder), a_file("mine", "dear")(folder)),
        says=r"cannot write mine/deeper/lock: Not a directory",
    ),
    "other settings": Mistake(
        command=f"{RUN} --out run --set network.hidden_size=9",
        prepare=study(),
        says=r"run holds a run with other settings \(condition channels=1-\w+ is not in this study\); choose another",
    ),
    # --- arrays
    "no arrays": Mistake(command=MEASURE, says=r"a.npz does not exist; needed is a file of arrays"),
    "truncated npz": Mistake(
        command=MEASURE,
        prepare=lambda folder: (
            arrays(states=STATES)(folder),
            (folder / "a.npz").write_bytes((folder / "a.npz").read_bytes()[:-40]),
        ),
        says=r"cannot read a.npz: damaged or not an .npz file",
    ),
    "text for npz": Mistake(command=MEASURE, prepare=a_file("a.npz", "1, 2"), says=r"cannot read a.npz: "),
    "empty npz": Mistake(command=MEASURE, prepare=a_file("a.npz", ""), says=r"cannot read a.npz: "),
    "Python objects": Mistake(
        command=MEASURE,
        prepare=arrays(states=np.array([{}, None], dtype=object)),
        says=r"cannot read a.npz: it holds Python objects",
    ),
    "array's name": Mistake(
        command=MEASURE,
        prepare=arrays(stats=STATES),
        says=r"a.npz: unknown array 'stats'; did you mean 'states'\?",
    ),
    "NaN": Mistake(
        command=MEASURE,
        prepare=arrays(states=with_nan()),
        says=r"states: member 1 holds values that are not finite",
    ),
    "array's rank": Mistake(
        command=MEASURE,
        prepare=arrays(states=STATES[0]),
        says=r"states: \(member, trial, time, unit\) is needed; member 0 has shape \(10, 5\)",
    ),
    "members": Mistake(
        command=MEASURE,
        prepare=arrays(states=STATES, weights=np.zeros((2, 5, 5))),
        says=r"the numbers of members differ: states 3, weights 2",
    ),
    "units": Mistake(
        command=MEASURE,
        prepare=arrays(states=STATES, weights=np.zeros((3, 4, 4))),
        says=r"member 0 has 5 units, .* 4",
    ),
    "one member": Mistake(
        command=MEASURE, prepare=arrays(states=STATES[:1]), says=r"measuring needs 2 members or more, got 1"
    ),
    "trials": Mistake(
        command=f"{MEASURE} --measures procrustes",
        prepare=arrays(states_0=STATES[0], states_1=STATES[1][:3]),
        says=r"states of member 1 have rows \(3, 10\), those of member 0 \(4, 10\)",
    ),
    "array's measure": Mistake(
        command=f"{MEASURE} --measures procrusts",
        prepare=arrays(states=STATES),
        says=r"unknown measure 'procrusts'",
    ),
    "array's key": Mistake(
        command=f"{MEASURE} --set task.n_steps=3",
        prepare=arrays(states=STATES),
        says=r"'task.n_steps' cannot be set for arrays: only options and measures can",
    ),
    "array's folder": Mistake(
        command=MEASURE,
        prepare=lambda folder: (arrays(states=STATES)(folder), a_file("mine/thesis.txt", "dear")(folder)),
        says=r"mine holds something else \(it has no arrays.json\); choose another folder with --out",
    ),
    # --- a run
    "no run": Mistake(
        command="measure runs/no",
        says=r"runs/no does not exist; needed is a file of arrays \(.npz\) or a run directory",
    ),
    "no report": Mistake(command="report no", says=r"no is no run directory \(it has no study.json\)"),
    "no study.json": Mistake(
        command="measure mine",
        prepare=a_file("mine/thesis.txt", "dear"),
        says=r"mine is no run directory \(it has no study.json\)",
    ),
    "truncated study.json": Mistake(
        command="report run",
        prepare=cut("study.json", 40),
        says=r"cannot read run/study.json: damaged or not a file",
    ),
    "truncated member": Mistake(
        command="report run",
        prepare=cut("conditions/channels=1-*/members/seed-000001.safetensors", 300),
        says=r"cannot read run/conditions/channels=1-\w+/members/seed-000001.safetensors: damaged .*; delete it to",
    ),
    "truncated measurement": Mistake(
        command="report run",
        prepare=cut("conditions/channels=2-*/measured/procrustes.safetensors", 300),
        says=r"cannot read run/conditions/channels=2-\w+/measured/procrustes.safetensors: damaged",
    ),
    "unfinished run": Mistake(
        command="report run",
        prepare=lambda folder: next(
            (folder / "run").glob("conditions/channels=2-*/members/*1.safetensors")
        ).unlink(),
        says=r"the run is not finished \(channels=2: 1 of 2 networks are not trained\); start it again to go on",
    ),
    "run's --out": Mistake(
        command="measure run --out mine", says=r"--out is for arrays: a run is measured where it lies"
    ),
    "run's key": Mistake(
        command="measure run --set training.patience=0",
        says=r"'training.patience' cannot be set for a run that is trained: only options, probe and measures can",
    ),
}


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """All files with what they hold, and all folders."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | None]:
    """The files of a finished run, without its report."""
    from degeneracy.study import load_study, run_study

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(STUDY)
    run_study(load_study(folder / "tiny.toml"), out=folder / "run", device="cpu", jobs=1, progress=False)
    return snapshot(folder / "run")


def put(folder: Path, files: dict[str, bytes | None]) -> None:
    for name, content in files.items():
        (folder / name).mkdir(parents=True) if content is None else a_file(name, content)(folder)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake(
    mistake: Mistake,
    finished: dict[str, bytes | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        training, "_train_one", lambda *_: pytest.fail("trained before the mistake was found")
    )
    words = mistake.command.split()
    if "run" in words[1:]:
        put(tmp_path / "run", finished)
    mistake.prepare(tmp_path)
    before = snapshot(tmp_path)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()  # one line, so no traceback
    assert line.startswith("degeneracy: ")
    assert re.search(mistake.says, line), line
    assert snapshot(tmp_path) == before


class TestDisk:
    """What the machine refuses: nothing half-written is left, and the line names the file."""

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
            (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        ],
    )
    @pytest.mark.parametrize("command", ["run tiny.toml --out new", "measure a.npz --out new --measures cka"])
    def test_no_permission(
        self,
        command: str,
        error: OSError,
        says: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def refuse(**_: Any) -> None:
            raise error

        study()(tmp_path)
        arrays(states=STATES)(tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(store, "tempfile", SimpleNamespace(mkstemp=refuse))
        assert main(command.split()) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("degeneracy: cannot write new/")
        assert line.endswith(f".json: {says}")
        assert [p.name for p in (tmp_path / "new").rglob("*") if p.name != "lock"] == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_no_permission_in_earnest(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        study()(tmp_path)
        tmp_path.chmod(0o500)
        try:
            assert main(["run", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "new")]) == 2
        finally:
            tmp_path.chmod(0o700)
        assert "Permission denied" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["run tiny.toml --out new", "measure a.npz --out new --measures cka"])
    def test_full_disk(
        self,
        command: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        study()(tmp_path)
        arrays(states=STATES)(tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(store, "os", SimpleNamespace(**{**vars(os), "fsync": full}))
        assert main(command.split()) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.endswith(".json: No space left on device")
        assert [p.name for p in (tmp_path / "new").rglob("*") if p.name != "lock"] == []
