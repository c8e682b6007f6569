"""A run stopped at any moment and started again ends as one never stopped, and trains nothing twice."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stored import member_arrays, member_records, without

from degeneracy import UserError, load_run, run_study
from degeneracy.core import files, packs
from degeneracy.runs import running
from degeneracy.runs.loading import remeasured
from degeneracy.studies import keys
from degeneracy.studies.study import Study

SEEDS = (0, 1, 2)
TINY = {
    "name": "tiny",
    "seeds": list(SEEDS),
    "task": {
        "name": "flip_flop",
        "n_steps": 10,
        "threshold": 2.0,
    },  # any network is under 2: converges at once
    "network": {"hidden_size": 8},
    "training": {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 5, "patience": 1},
    "vary": {"task.channels": [1, 2]},
    "probe": {"n_trials": 8},
    "measures": ["procrustes", "weight_change"],
}
# study.json; per condition: spec; results, table, effects, convergence, provenance.
N_WRITES = 1 + 2 * 1 + 5
# Per condition: members, examples, measures.
N_APPENDED = 2 * (len(SEEDS) + 1 + 2)


class Crash(BaseException):
    """The process ends here: nothing catches it, and nothing is tidied up."""


def tiny(**changes: Any) -> Study:
    return Study(**{**TINY, **changes})


def run(out: Path, **changes: Any) -> bytes:
    run_study(tiny(**changes), out=out, device="cpu", jobs=1, progress=False)
    return (out / "degeneracy.csv").read_bytes()


def assert_same_run(out: Path, other: Path) -> None:
    assert (out / "degeneracy.csv").read_bytes() == (other / "degeneracy.csv").read_bytes()
    ours, theirs = member_arrays(out), member_arrays(other)
    assert ours.keys() == theirs.keys()
    for name, arrays in ours.items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, theirs[name][key], err_msg=f"{name} {key}")
    assert not list(out.rglob("*.part"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("alone") / "run"
    run(out)
    return out


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(channels, seed) of every network whose training was asked for."""
    asked: list[tuple[int, int]] = []
    real = running.train_members

    def watched(task: Any, network: Any, training: Any, seeds: Any, **rest: Any) -> Iterator[Any]:
        for member in real(task, network, training, seeds, **rest):
            asked.append((task.channels, member.seed))
            yield member

    monkeypatch.setattr(running, "train_members", watched)
    return asked


def crashing_os(at: int, moment: str) -> Any:
    """The module `os` as `files` sees it, of a process that dies at its `at`-th write."""
    writes = -1
    dead = False

    def die_at(this: str) -> None:
        nonlocal dead
        if writes == at and moment == this:
            dead = True
            raise Crash

    def fdopen(handle: int, mode: str) -> Any:
        nonlocal writes
        writes += 1
        file = os.fdopen(handle, mode)
        if writes == at and moment in ("before", "during"):
            file.write(b"half a fi" if moment == "during" else b"")  # the temporary file as it is found later
            file.close()
        die_at("before")
        die_at("during")
        return file

    def replace(source: str, target: Path) -> None:
        die_at("written")
        os.replace(source, target)
        die_at("renamed")

    def unlink(path: str) -> None:
        if not dead:  # a dead process does not tidy up
            os.unlink(path)

    return SimpleNamespace(**{**vars(os), "fdopen": fdopen, "replace": replace, "unlink": unlink})


def crashing_appends(at: int, moment: str) -> Any:
    """The module `os` as `packs` sees it, of a process that dies at its `at`-th record."""
    appended = -1
    dead = False

    def die_at(this: str) -> None:
        nonlocal dead
        if appended == at and moment == this:
            dead = True
            raise Crash

    def write(handle: int, data: memoryview) -> int:
        nonlocal appended
        appended += 1
        die_at("before")
        if appended == at and moment == "during":
            os.write(handle, data[: len(data) // 2])
        die_at("during")
        n_bytes = os.write(handle, data)
        die_at("written")
        return n_bytes

    def fsync(handle: int) -> None:
        os.fsync(handle)
        die_at("flushed")

    def ftruncate(handle: int, size: int) -> None:
        if not dead:  # a dead process takes nothing back
            os.ftruncate(handle, size)

    return SimpleNamespace(**{**vars(os), "write": write, "fsync": fsync, "ftruncate": ftruncate})


def assert_goes_on(tmp_path: Path, alone: Path, trained: list[tuple[int, int]]) -> None:
    finished = len(member_records(tmp_path / "run"))
    in_flight = len(trained) - finished
    assert in_flight in (0, 1)  # trained one at a time
    run(tmp_path / "run")
    assert_same_run(tmp_path / "run", alone)
    assert len(trained) == 2 * len(SEEDS) + in_flight
    load_run(tmp_path / "run")


@pytest.mark.parametrize("moment", ["before", "during", "written", "renamed"])
@pytest.mark.parametrize("at", range(N_WRITES))
def test_a_death_at_any_write_changes_nothing(
    at: int,
    moment: str,
    tmp_path: Path,
    alone: Path,
    trained: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", crashing_os(at, moment))
        with pytest.raises(Crash):
            run(tmp_path / "run")
    assert_goes_on(tmp_path, alone, trained)


@pytest.mark.parametrize("moment", ["before", "during", "written", "flushed"])
@pytest.mark.parametrize("at", range(N_APPENDED))
def test_a_death_at_any_record_changes_nothing(
    at: int,
    moment: str,
    tmp_path: Path,
    alone: Path,
    trained: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(packs, "os", crashing_appends(at, moment))
        with pytest.raises(Crash):
            run(tmp_path / "run")
    torn = {path: path.read_bytes() for path in tmp_path.rglob("*.pack")}
    assert_goes_on(tmp_path, alone, trained)
    for path, data in torn.items():
        assert path.read_bytes().startswith(data), "what is there is left as it is"


def test_a_coupled_run_that_goes_on_trains_its_members_in_each_others_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their gradients are of distances to one another: alone, those that are missing would be other networks."""
    changes = {"training": {**TINY["training"], "coupling": {"strength": 0.5}}, "vary": {}}
    run(tmp_path / "whole", **changes)
    with monkeypatch.context() as patched:
        patched.setattr(packs, "os", crashing_appends(1, "before"))
        with pytest.raises(Crash):
            run(tmp_path / "run", **changes)
    assert len(member_records(tmp_path / "run")) == 1
    run(tmp_path / "run", **changes)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_the_deaths_above_are_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, crashing, n, last in (
        (files, crashing_os, N_WRITES, "renamed"),
        (packs, crashing_appends, N_APPENDED, "written"),
    ):
        name = module.__name__.rpartition(".")[2]
        with monkeypatch.context() as patch:
            patch.setattr(module, "os", crashing(n, last))
            run(tmp_path / name)  # no write is left to die at
            patch.setattr(module, "os", crashing(n - 1, last))
            with pytest.raises(Crash):
                run(tmp_path / f"other {name}")


def test_a_finished_run_trains_and_measures_nothing_again(
    alone: Path, trained: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "measure_recording", lambda *_, **__: pytest.fail("measured again"))
    before = {file: file.stat().st_mtime_ns for file in alone.rglob("*.pack")}
    table = (alone / "degeneracy.csv").read_bytes()
    assert run(alone) == table
    assert trained == []
    assert {file: file.stat().st_mtime_ns for file in alone.rglob("*.pack")} == before


def test_more_seeds_train_only_the_new_ones(tmp_path: Path, trained: list[tuple[int, int]]) -> None:
    run(tmp_path / "grown")
    trained.clear()
    run(tmp_path / "grown", seeds="0:5")
    assert sorted(trained) == [(1, 3), (1, 4), (2, 3), (2, 4)]
    run(tmp_path / "at_once", seeds="0:5")
    assert_same_run(tmp_path / "grown", tmp_path / "at_once")
    # Fewer again: the table of those alone, the other members stay.
    trained.clear()
    fewer = run(tmp_path / "grown")
    assert trained == []
    assert fewer == run(tmp_path / "small")
    assert len(member_arrays(tmp_path / "grown")) == 10


def test_a_revised_measure_is_taken_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiny(probe={"n_trials": 8, "n_behavior_trials": 16})
    procrustes, change = (plan.build_measures()[name] for name in ("procrustes", "weight_change"))
    before = [keys.measured_key("m", one, SEEDS, plan.probe) for one in (procrustes, change)]
    monkeypatch.setattr(type(procrustes), "revision", 1)
    after = [keys.measured_key("m", one, SEEDS, plan.probe) for one in (procrustes, change)]
    assert before[0] != after[0]
    assert before[1] == after[1]
    states_only = keys.measured_key("m", change, SEEDS, tiny().probe)
    assert after[1] == states_only, "more trials of behavior are nothing to a measure of weights"


def test_another_level_trains_only_the_new_condition(tmp_path: Path, trained: list[tuple[int, int]]) -> None:
    run(tmp_path / "run")
    trained.clear()
    run(tmp_path / "run", vary={"task.channels": [1, 2, 3]})
    assert sorted(trained) == [(3, 0), (3, 1), (3, 2)]


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=r"run holds a run with other settings \(condition channels=1-"):
        run(tmp_path / "run", network={"hidden_size": 9})
    assert {f: f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()} == before


def test_a_pack_that_is_cut_short_is_never_half_read(
    tmp_path: Path, alone: Path, trained: list[tuple[int, int]]
) -> None:
    """It looks like what a killed process leaves: the networks that are lost are trained again."""
    run(tmp_path / "run")
    pack = next((tmp_path / "run").glob("conditions/channels=2-*/members-0001.pack"))
    whole = pack.read_bytes()
    for keep in (len(whole) - 10, len(whole) // 2, 5, 0):
        pack.write_bytes(whole[:keep])
        with pytest.raises(UserError, match=r"not finished \(channels=2: \d of 3 networks are not trained\)"):
            load_run(tmp_path / "run")
    trained.clear()
    run(tmp_path / "run")
    assert len(trained) == 3
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.parametrize("name", ["measured-0001.pack", "spec.json"])
def test_a_deleted_file_is_made_again(name: str, tmp_path: Path, alone: Path) -> None:
    run(tmp_path / "run")
    file = next((tmp_path / "run" / "conditions").glob(f"channels=2-*/{name}"))
    before = file.read_bytes()
    file.unlink()
    run(tmp_path / "run")
    assert file.read_bytes() == before
    assert_same_run(tmp_path / "run", alone)


def test_where_the_study_is_lost_what_makes_it_again_is_said(tmp_path: Path, alone: Path) -> None:
    run(tmp_path / "run")
    (tmp_path / "run" / "study.json").unlink()
    with pytest.raises(UserError, match=r"run is no run directory \(it has no study.json\); .* --repair makes"):
        run(tmp_path / "run")
    run_study(tiny(), out=tmp_path / "run", device="cpu", jobs=1, progress=False, repair=True)
    assert_same_run(tmp_path / "run", alone)


def test_a_full_disk_leaves_the_finished_members(
    tmp_path: Path, alone: Path, trained: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        if len(trained) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(packs, "os", SimpleNamespace(**{**vars(os), "fsync": full}))
        with pytest.raises(UserError, match=r"cannot write .*members-0001.pack: No space left on device"):
            run(tmp_path / "run")
    [pack] = tmp_path.rglob("*.pack")
    assert pack.stat().st_size == max(record.end for record in member_records(tmp_path).values()), (
        "nothing half-written is left to fill the disk"
    )
    assert len(member_arrays(tmp_path / "run")) == 2
    run(tmp_path / "run")
    assert_same_run(tmp_path / "run", alone)


# --- Several processes -----------------------------------------------------------------------------------------

SHARE = """
import json, sys
from degeneracy.runs import running
from degeneracy.studies.study import Study
n, real = 0, running.train_members
def counted(*args, **rest):
    global n
    for member in real(*args, **rest):
        n += 1
        yield member
running.train_members = counted
running.run_study(Study(**json.loads(sys.argv[1])), out=sys.argv[2], device="cpu", jobs=1, progress=False)
print(n)
"""
HOLD = """
import sys, time
from pathlib import Path
from degeneracy.core.files import lock
with lock(Path(sys.argv[1]), wait=True):
    print("held", flush=True)
    time.sleep(60)
"""


def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def test_two_processes_share_a_run(tmp_path: Path) -> None:
    levels = {"task.channels": [1, 2, 3, 4]}
    fields = json.dumps({**TINY, "vary": levels})
    both = [start(SHARE, fields, str(tmp_path / "shared")) for _ in range(2)]
    counts = [int(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(counts) == 4 * len(SEEDS)  # each network once, by one or the other
    run(tmp_path / "alone", vary=levels)
    assert_same_run(tmp_path / "shared", tmp_path / "alone")


def test_a_condition_that_another_holds_is_left_for_last(tmp_path: Path, alone: Path) -> None:
    out = tmp_path / "run"
    held_name = next(path.name for path in (alone / "conditions").iterdir() if path.name.startswith("channels=1"))
    held = out / "conditions" / held_name
    runner = threading.Thread(target=run, args=(out,))
    with files.lock(held / "lock", wait=True):
        # The folder holds a lock and nothing of a run yet: what a process leaves that has only just begun.
        (out / "study.json").write_bytes((alone / "study.json").read_bytes())
        runner.start()
        deadline = time.monotonic() + 60
        while not list(out.glob("conditions/channels=2-*/measured-0001.pack")):
            assert time.monotonic() < deadline
            assert runner.is_alive()
            time.sleep(0.02)
        time.sleep(0.2)
        assert not list(held.glob("*.pack"))
        assert runner.is_alive()  # it waits
    runner.join(timeout=60)
    assert_same_run(out, alone)


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path, alone: Path) -> None:
    out = tmp_path / "run"
    run(out)
    condition = next((out / "conditions").iterdir())
    without(condition / "members-0001.pack", "1")
    holder = start(HOLD, str(condition / "lock"))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with files.lock(condition / "lock", wait=False) as held:
        assert not held
    holder.kill()
    holder.wait()
    assert (condition / "lock").exists()
    run(out)
    assert_same_run(out, alone)


# --- Measuring a run again -------------------------------------------------------------------------------------


def test_other_measures_of_a_run_train_nothing(tmp_path: Path, trained: list[tuple[int, int]]) -> None:
    out = tmp_path / "run"
    first = run(out)
    trained.clear()
    plan = remeasured(out, ["procrustes", "cka"], [("options.procrustes.alpha", 0.5)])
    again = run_study(plan, out=out, device="cpu", jobs=1, progress=False)
    assert trained == []
    assert list(again.table["measure"].unique()) == ["procrustes", "cka"]
    assert files.read_json(out / "study.json")["study"]["options"] == {"procrustes": {"alpha": 0.5}}
    at_once = run(tmp_path / "at_once", measures=["procrustes", "cka"], options={"procrustes": {"alpha": 0.5}})
    assert (out / "degeneracy.csv").read_bytes() == at_once != first
    assert run(out) == first  # the study as it was brings its table back
    # Options of a measure that is no longer asked for are dropped with it.
    run_study(plan, out=out, device="cpu", jobs=1, progress=False)
    assert remeasured(out, ["cka"]).options == {}
    assert remeasured(out).options == {"procrustes": {"alpha": 0.5}}


@pytest.mark.parametrize("key", ["task.n_steps", "seeds", "vary.task.channels", "training.learning_rate"])
def test_a_trained_run_keeps_what_made_its_members(key: str, alone: Path) -> None:
    with pytest.raises(UserError, match=f"'{key}' cannot be set for a run that is trained: only options, probe"):
        remeasured(alone, [], [(key, 1)])


def test_a_run_without_all_its_members_is_not_measured_again(tmp_path: Path) -> None:
    run(tmp_path / "run")
    without(next((tmp_path / "run").glob("conditions/channels=2-*/members-0001.pack")), "0")
    with pytest.raises(
        UserError, match=r"not finished \(channels=2: 1 of 3 networks are not trained\); start it again"
    ):
        remeasured(tmp_path / "run", ["cka"])
