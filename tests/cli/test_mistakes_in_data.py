"""Mistakes in arrays and in run directories, one table, and what the machine refuses."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mistakes import (
    MEASURE,
    STATES,
    Mistake,
    a_file,
    arrays,
    assert_is_met,
    copied,
    cut,
    flipped,
    study,
    with_nan,
)
from stored import without

from degeneracy.cli import main
from degeneracy.core import files

MISTAKES = {
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
        says=r"states of member 1 have rows \(3, 10\), those of member 0 \(6, 10\)",
    ),
    "array's measure": Mistake(
        command=f"{MEASURE} --measures procrusts",
        prepare=arrays(states=STATES),
        says=r"unknown measure 'procrusts'",
    ),
    "array's key": Mistake(
        command=f"{MEASURE} --set task.n_steps=3",
        prepare=arrays(states=STATES),
        says=r"'task.n_steps' cannot be set for arrays: only options, measures, cell_options and fully_observed can",
    ),
    "array's cell": Mistake(
        command=f"{MEASURE} --cell tnah",
        prepare=arrays(states=STATES),
        says=r"unknown cell 'tnah'; did you mean 'tanh'\?",
    ),
    "array's other cell": Mistake(
        command=f"{MEASURE} --cell tanh --measures cka",
        prepare=arrays(states=STATES),
        says=r"member 0 reaches -?[\d.]+, and states of a cell 'tanh' are between -1 and 1: these networks",
    ),
    "array's code": Mistake(
        command=MEASURE,
        prepare=arrays(states=STATES, cell="mine:Cell"),
        says=r"a.npz: cell 'mine:Cell' names code, .* give --cell mine:Cell",
    ),
    "array's options of no cell": Mistake(
        command=f"{MEASURE} --set cell_options.dt_ms=10",
        prepare=arrays(states=STATES),
        says=r"cell_options: dt_ms without a cell",
    ),
    "array's options as one": Mistake(
        command=f"{MEASURE} --cell leaky_tanh --set cell_options=10",
        prepare=arrays(states=STATES),
        says=r"cell_options = 10 is wrong: write cell_options.FIELD=VALUE",
    ),
    "run's cell": Mistake(command="measure run --cell tanh", says=r"--cell is for arrays: a run knows"),
    "array's folder": Mistake(
        command=MEASURE,
        prepare=lambda folder: (arrays(states=STATES)(folder), a_file("mine/thesis.txt", "dear")(folder)),
        says=r"mine holds something else \(it has no arrays.json\); choose another folder$",
    ),
    "array's folder of another program": Mistake(
        command=MEASURE,
        prepare=lambda folder: (
            arrays(states=STATES)(folder),
            a_file("mine/arrays.json", '{"piano": 440}')(folder),
            a_file("mine/degeneracy.csv", "dear")(folder),
        ),
        says=r"cannot read mine/arrays.json: damaged or not a file of this kind .*; move it away, or choose",
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
    "older run": Mistake(
        command="report run",
        prepare=a_file("run/study.json", '{"format": 1, "study": {}, "conditions": []}'),
        says=r"run/study.json was written by an earlier version of degeneracy \(format 1, this one has format 5\)",
    ),
    "altered results": Mistake(
        command="report run",
        prepare=lambda folder: (folder / "run" / "results.json").write_text(
            "[" * 100_000 + "]" * 100_000, encoding="utf-8"
        ),
        says=r"cannot read run/results.json: damaged .*nested too deeply.*; 'degeneracy run STUDY --out run --repair' ",
    ),
    "altered table": Mistake(
        command="report run",
        prepare=lambda folder: (folder / "run" / "degeneracy.csv").write_text("condition\n", encoding="utf-8"),
        says=r"cannot read run/degeneracy.csv: it is not what degeneracy has written; .* --repair' sets it aside",
    ),
    "altered spec": Mistake(
        command="report run",
        prepare=copied("conditions/channels=2-*/spec.json", "conditions/channels=1-*/spec.json"),
        says=r"cannot read run/conditions/channels=1-\w+/spec.json: it is not the spec of channels=1-\w+; ",
    ),
    "altered member": Mistake(
        command="report run",
        prepare=flipped("conditions/channels=1-*/members-0001.pack", -9),
        says=r"cannot read run/conditions/channels=1-\w+/members-0001.pack: its member 1 .* is not what was written",
    ),
    "altered header": Mistake(
        command="measure run",
        prepare=flipped("conditions/channels=1-*/members-0001.pack", 90),
        says=r"cannot read run/conditions/channels=1-\w+/members-0001.pack: damaged at byte 0: a header is not",
    ),
    "members of another condition": Mistake(
        command="report run",
        prepare=copied("conditions/channels=2-*/members-0001.pack", "conditions/channels=1-*/members-0001.pack"),
        says=r"channels=1-\w+/members-0001.pack: its member 0 belongs to channels=2-\w+, and does not lie there",
    ),
    "measures of another condition": Mistake(
        command="report run",
        prepare=copied("conditions/channels=1-*/measured-0001.pack", "conditions/channels=2-*/measured-0001.pack"),
        says=r"channels=2-\w+/measured-0001.pack: its example trials belongs to channels=1-\w+, and",
    ),
    "members for measures": Mistake(
        command="report run",
        prepare=copied("conditions/channels=1-*/members-0001.pack", "conditions/channels=1-*/measured-0001.pack"),
        says=r"channels=1-\w+/measured-0001.pack: its member 0 does not belong in measured-\*.pack",
    ),
    "altered measurement": Mistake(
        command="report run",
        prepare=flipped("conditions/channels=2-*/measured-0001.pack", -9),
        says=r"channels=2-\w+/measured-0001.pack: its measure procrustes .* is not what was written",
    ),
    "truncated members": Mistake(
        command="measure run",
        prepare=cut("conditions/channels=1-*/members-0001.pack", 300),
        says=r"the run is not finished \(channels=1: 2 of 2 networks are not trained\); start it again to go on",
    ),
    "truncated measurements": Mistake(
        command="report run",
        prepare=cut("conditions/channels=2-*/measured-0001.pack", 300),
        says=r"the run is not finished \(channels=2: 'procrustes' is not measured\); start it again to go on",
    ),
    "unfinished run": Mistake(
        command="report run",
        prepare=lambda folder: without(next((folder / "run").glob("conditions/channels=2-*/members-0001.pack")), "1"),
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


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake(
    mistake: Mistake,
    finished: dict[str, bytes | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_is_met(mistake, tmp_path, finished, monkeypatch, capsys)


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
        monkeypatch.setattr(files, "tempfile", SimpleNamespace(mkstemp=refuse))
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
        monkeypatch.setattr(files, "os", SimpleNamespace(**{**vars(os), "fsync": full}))
        assert main(command.split()) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.endswith(".json: No space left on device")
        assert [p.name for p in (tmp_path / "new").rglob("*") if p.name != "lock"] == []
