"""A run stopped at any moment and started again ends as one never stopped, and trains nothing twice."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_runs import SEEDS, TINY, assert_same_run, run, tiny
from stored import member_arrays, member_records

from degeneracy import UserError, load_run, run_study
from degeneracy.core import files, packs
from degeneracy.runs import running
from degeneracy.studies import keys

# study.json; per condition: spec; results, table, effects, convergence, provenance.
N_WRITES = 1 + 2 * 1 + 5
# Per condition: members, examples, measures.
N_APPENDED = 2 * (len(SEEDS) + 1 + 2)


class Crash(BaseException):
    """The process ends here: nothing catches it, and nothing is tidied up."""


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
