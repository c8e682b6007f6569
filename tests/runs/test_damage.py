"""A damaged run says so in one line that names the file, and `repair` brings it back, the same to the last bit."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import DAMAGES, MEASURED, MEMBERS, flip, text, the
from stored import member_arrays, records

from degeneracy import UserError, dsa_sensitivity, load_run, run_study
from degeneracy.core import owned_folder
from degeneracy.core.files import DamagedFile, read_json, write_json
from degeneracy.core.records import read_arrays
from degeneracy.ensembles.ensemble_files import RUN_FORMAT
from degeneracy.ensembles.member_files import member_pack
from degeneracy.runs import running
from degeneracy.runs.loading import remeasured
from degeneracy.runs.measured_records import measured_pack
from degeneracy.studies.conditions import Place
from degeneracy.studies.study import Study
from degeneracy.studies.study_result import StudyResult

TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1, 2],
    "task": {"name": "flip_flop", "n_steps": 10, "threshold": 2.0},  # converges at once
    "network": {"hidden_size": 8},
    "training": {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 5, "patience": 1},
    "vary": {"task.channels": [1, 2]},
    "probe": {"n_trials": 8},
    "measures": ["procrustes", "weight_change"],
}
TABLES = ("degeneracy.csv", "effects.csv", "convergence.csv")


def run(out: Path, *, repair: bool = False, **changes: Any) -> StudyResult:
    plan = Study(**{**TINY, **changes})
    return run_study(plan, out=out, device="cpu", jobs=1, progress=False, repair=repair)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("alone") / "run"
    run(out)
    return out


@pytest.fixture
def out(alone: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(alone, tmp_path / "run")


def snapshot(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def assert_same_results(out: Path, alone: Path) -> None:
    for name in TABLES:
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name
    ours, theirs = member_arrays(alone), member_arrays(out)
    assert theirs.keys() >= ours.keys()
    for name, arrays in ours.items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(theirs[name][key], value)
    mine, other = load_run(out), load_run(alone)
    for result, same in zip(mine.results, other.results, strict=True):
        assert result.distances.keys() == same.distances.keys()
        for name, matrix in same.distances.items():
            np.testing.assert_array_equal(result.distances[name], matrix)
        assert result.examples is not None
        assert same.examples is not None
        np.testing.assert_array_equal(result.examples.states, same.examples.states)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named_in_one_line_and_repaired(
    damage: Callable[[Path], Path], out: Path, alone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = damage(out)
    for attempt in (lambda: load_run(out), lambda: run(out)):
        with pytest.raises(DamagedFile) as caught:
            attempt()
        said = str(caught.value)
        assert caught.value.path == file
        assert said.startswith(f"cannot read {file}: ")
        assert "--repair" in said
        assert "\n" not in said
        assert "delete" not in said
    damaged = file.read_bytes() if file.is_file() and file.stat().st_size < 1 << 30 else b""
    caplog.set_level(logging.INFO, "degeneracy")
    run(out, repair=True)
    aside = file.with_name(f"{file.name}.damaged-1")
    assert f"set {file} aside as {aside.name}: " in caplog.text
    assert not damaged or aside.read_bytes() == damaged
    assert_same_results(out, alone)
    caplog.clear()
    run(out, repair=True)
    assert caplog.text == "", "nothing is left to repair"
    assert_same_results(out, alone)


def test_repair_keeps_what_is_whole(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(MEMBERS, -5)(out)
    trained = []
    real = running.train_members

    def watched(*given: Any, **options: Any) -> Any:
        for member in real(*given, **options):
            trained.append(member.seed)
            yield member

    monkeypatch.setattr(running, "train_members", watched)
    monkeypatch.setattr(running, "measure_recording", lambda *_, **__: pytest.fail("measured again"))
    run(out, repair=True)
    assert trained == [2], "the last of the file, and no other"


def test_a_second_damage_is_set_aside_beside_the_first(out: Path, alone: Path) -> None:
    for content in ("first", "second"):
        text("study.json", content)(out)
        run(out, repair=True)
    assert [(out / f"study.json.damaged-{k}").read_text(encoding="utf-8") for k in (1, 2)] == [
        "first",
        "second",
    ]
    assert_same_results(out, alone)


def test_repair_of_a_run_that_is_whole_changes_nothing(out: Path) -> None:
    before = snapshot(out)
    run(out, repair=True)
    changed = {name for name, data in snapshot(out).items() if before.get(name) != data}
    assert changed <= {"provenance.json", "results.json"}, "which hold the seconds that the start took"


def test_repair_takes_no_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(UserError, match="holds something else"):
        run(tmp_path, repair=True)
    assert snapshot(tmp_path) == {"thesis.txt": b"dear"}


def test_repair_takes_no_run_of_another_study(out: Path) -> None:
    text("study.json", "")(out)
    before = snapshot(out)
    with pytest.raises(UserError, match="holds a run with other settings"):
        run(out, repair=True, network={"hidden_size": 9})
    assert snapshot(out) == before


def test_networks_of_another_machine_are_not_those_of_the_results(out: Path, alone: Path) -> None:
    """The same condition and seed, and other weights, all checksums right: the table is of others."""
    file = the(out, MEMBERS)
    place = next(one for one in read_json(out / "study.json")["conditions"] if one["label"] == "channels=1")
    forged = member_pack(out / "forged", condition=place["name"], spec=place["spec"])
    for record in records(file):
        arrays = {name: 2 * value for name, value in read_arrays(record).items()}
        forged.append("member", record.header["name"], arrays, record.about)
    shutil.move(out / "forged" / "members-0001.pack", file)
    (out / "forged").rmdir()
    for attempt in (lambda: load_run(out), lambda: run(out)):
        with pytest.raises(DamagedFile, match="member 0 is not the one that the run's results were made of"):
            attempt()
    run(out, repair=True)
    assert_same_results(out, alone)


@pytest.mark.parametrize("kind", ["measure", "example"])
def test_what_was_measured_elsewhere_is_not_that_of_the_results(kind: str, out: Path) -> None:
    """Of the same networks with the same options, all checksums right, but other numbers than the table's."""
    file = the(out, MEASURED)
    place = next(one for one in read_json(out / "study.json")["conditions"] if one["label"] == "channels=1")
    forged = measured_pack(out / "forged", Place(**place))
    for record in records(file):
        _, name, key, made_from = record.identity
        arrays = read_arrays(record)
        if record.identity[0] == kind:
            arrays = {each: value + 1 for each, value in arrays.items()}
        forged.append(record.identity[0], name, arrays, record.about, key=key, made_from=made_from)
    shutil.move(out / "forged" / "measured-0001.pack", file)
    (out / "forged").rmdir()
    with pytest.raises(DamagedFile, match=rf"its {kind} \w+ is not the one that the run's results were made of"):
        load_run(out)


def test_measures_of_other_networks_are_not_used(out: Path, alone: Path, tmp_path: Path) -> None:
    """Those of a run with other seeds: condition, measure and options are the same."""
    run(tmp_path / "other", seeds=[3, 4, 5])
    file, other = the(out, MEASURED), the(tmp_path / "other", MEASURED)
    file.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match=r"the run is not finished \(channels=1: 'procrustes' is not measured\)"):
        load_run(out)
    run(out)
    assert_same_results(out, alone)


def test_results_of_another_run_are_named(out: Path, alone: Path, tmp_path: Path) -> None:
    run(tmp_path / "other", seeds=[0, 1, 2, 3])
    for name in ("results.json", "study.json"):
        (out / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(DamagedFile, match=r"results.json: it is another run's") as caught:
        load_run(out)
    assert "(degeneracy.csv and provenance.json are not what it says)" in str(caught.value)
    run(out, repair=True)
    assert_same_results(out, alone)
    assert (out / "results.json.damaged-1").exists()


def test_a_study_of_another_run_is_named(out: Path, alone: Path, tmp_path: Path) -> None:
    run(tmp_path / "other", network={"hidden_size": 5})
    (out / "study.json").write_bytes((tmp_path / "other" / "study.json").read_bytes())
    with pytest.raises(DamagedFile, match=r"study.json: it is another run's: channels=1-\w+ is none of its"):
        load_run(out)
    run(out, repair=True)
    assert_same_results(out, alone)
    # One of the same conditions: nothing but the run's name tells.
    run(tmp_path / "alike", seeds=[0, 1, 2, 3])
    foreign = (tmp_path / "alike" / "study.json").read_bytes()
    (out / "study.json").write_bytes(foreign)
    for attempt in (lambda: load_run(out), lambda: run(out)):
        with pytest.raises(DamagedFile, match=r"study.json: it is another run's \(results.json names another\)"):
            attempt()
    assert (out / "study.json").read_bytes() == foreign
    run(out, repair=True)
    assert_same_results(out, alone)


@pytest.mark.parametrize("name", TABLES)
def test_an_altered_table_is_refused_before_anything_is_trained(
    name: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / name).write_text("mine", encoding="utf-8")
    monkeypatch.setattr(running, "train_members", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(DamagedFile, match=rf"{name}: it is not what degeneracy has written"):
        run(out, seeds=[0, 1, 2, 3])


def test_a_lost_study_gets_the_identity_that_its_results_name(out: Path, alone: Path) -> None:
    identity = read_json(out / "study.json")["run"]
    (out / "study.json").unlink()
    run(out, repair=True)
    assert read_json(out / "study.json")["run"] == identity == read_json(out / "results.json")["run"]
    assert_same_results(out, alone)
    text("study.json", "")(out)
    run(out, repair=True)
    assert read_json(out / "study.json")["run"] == identity
    for name in ("study.json", "results.json"):
        (out / name).unlink()
    run(out, repair=True)
    assert read_json(out / "study.json")["run"] not in ("", identity), "nothing names it any more"


def test_an_altered_table_is_not_overwritten(out: Path) -> None:
    """It may hold what somebody has written into it."""
    file = out / "degeneracy.csv"
    file.write_text(file.read_text(encoding="utf-8") + "my,own,row\n", encoding="utf-8")
    mine = file.read_bytes()
    with pytest.raises(DamagedFile, match="is not what degeneracy has written"):
        run(out, seeds=[0, 1, 2, 3])
    assert file.read_bytes() == mine
    run(out, repair=True, seeds=[0, 1, 2, 3])
    assert (out / "degeneracy.csv.damaged-1").read_bytes() == mine


@pytest.mark.parametrize("written", [0, 1])
def test_a_run_measured_again_and_killed_among_its_tables_goes_on(
    written: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the tables some are still those that were there before, which are the run's own."""
    options = {"procrustes": {"estimator": "plain"}}
    write, left = owned_folder.write_bytes, [None] * written

    def killed(path: Path, data: bytes) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        write(path, data)

    monkeypatch.setattr(owned_folder, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        run(out, options=options)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"the run is not finished .* start it again to go on"):
        load_run(out)
    result = run(out, options=options)
    assert load_run(out).table.equals(result.table)


def test_claims_at_training_outlive_a_lost_study(out: Path) -> None:
    claims = {"dynamics": {"measure": "procrustes", "margin": 0.3}}
    assert run(out, claims=claims).provenance["claims_changed_since_training"]
    text("study.json", "")(out)
    assert run(out, repair=True, claims=claims).provenance["claims_changed_since_training"]
    assert not run(out).provenance["claims_changed_since_training"]
    for name in ("study.json", "results.json"):
        text(name, "")(out)
    assert run(out, repair=True).provenance["claims_changed_since_training"], "it is not known, so it is not denied"


def test_a_run_of_an_earlier_version_is_named_as_such(out: Path) -> None:
    (out / "study.json").write_text(
        json.dumps({"format": 1, "study": TINY, "conditions": ["x"], "claims_at_training": {}}),
        encoding="utf-8",
    )
    before = snapshot(out)
    for attempt in (
        lambda: load_run(out),
        lambda: run(out),
        lambda: run(out, repair=True),
        lambda: remeasured(out),
    ):
        with pytest.raises(UserError, match=r"written by an earlier version of degeneracy .* in another folder"):
            attempt()
    assert snapshot(out) == before


def test_a_run_whose_findings_did_not_say_what_they_are_of_is_named_as_such(out: Path) -> None:
    """The format before this one, whole and with its checksums: not a row of it is read."""
    about = read_json(out / "study.json")
    write_json(out / "study.json", {**about, "format": RUN_FORMAT - 1})
    before = snapshot(out)
    older = rf"\(format {RUN_FORMAT - 1}, this one has format {RUN_FORMAT}\)"
    said = rf"study\.json was written by an earlier version of degeneracy {older}"
    for attempt in (lambda: load_run(out), lambda: run(out), lambda: run(out, repair=True)):
        with pytest.raises(UserError, match=said):
            attempt()
    assert snapshot(out) == before


@pytest.mark.parametrize("name", ["study.json", "results.json"])
def test_what_may_not_be_read_is_not_called_damaged(name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything
    before = sorted(path.name for path in out.iterdir())
    for attempt in (lambda: load_run(out), lambda: run(out), lambda: run(out, repair=True)):
        with pytest.raises(UserError, match=rf"cannot read .*{name}: Permission denied; its permissions") as caught:
            attempt()
        assert not isinstance(caught.value, DamagedFile)
    assert sorted(path.name for path in out.iterdir()) == before


def test_measuring_again_names_damage_too(out: Path) -> None:
    flip(MEMBERS, -5)(out)
    plan = remeasured(out, ["cka"])
    for attempt in (
        lambda: dsa_sensitivity(out, ranks=[3], n_delays=[2], jobs=1, progress=False),
        lambda: run_study(plan, out=out, jobs=1, progress=False),
    ):
        with pytest.raises(DamagedFile, match=r"members-0001.pack: its member 2 .* is not what was written"):
            attempt()


def test_a_folder_called_like_a_temporary_file_is_left_alone(out: Path) -> None:
    odd = the(out, "conditions/channels=1-*") / ".measured-0001.pack.abc.part"
    odd.mkdir()
    run(out)
    assert odd.is_dir()


def test_packs_are_few_files(out: Path) -> None:
    run(out, seeds=range(40))
    assert len([path for path in out.rglob("*.pack") if path.is_file()]) == 4
    assert len(records(the(out, "conditions/channels=1-*/members-*"))) == 40
