"""Runs of a folder, found by name and scale."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.analysis import Estimate, Finding, Measured
from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile
from degeneracy.runs.loading import remeasured
from degeneracy.runs.measured_records import load_measured, measured_pack, save_measured
from degeneracy.runs.results_file import STUDY as STUDY_FILE
from degeneracy.runs.run_directory import RunDirectory
from degeneracy.studies.conditions import Place

STUDY = {
    "seeds": range(2),
    "task": {"name": "flip_flop", "n_steps": 5, "threshold": 100.0},
    "network": {"hidden_size": 4},
    "training": {"batch_size": 4, "steps_per_epoch": 2, "max_epochs": 4},
    "probe": {"n_trials": 4},
    "measures": ["weight_change"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs and something else."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        dg.run_study(dg.Study(name=name, **STUDY), out=place / name, jobs=1, progress=False)
    (place / "else").mkdir()
    (place / "note.txt").write_text("no run", encoding="utf-8")
    return place


def test_runs_are_found_by_name_in_the_order_asked_for(folder: Path) -> None:
    assert list(dg.load_runs(folder)) == ["one", "two"]
    found = dg.load_runs(folder, ["two", "three", "one"])
    assert [(name, run.name) for name, run in found.items()] == [("two", "two"), ("one", "one")]


def test_what_is_not_there_is_said(folder: Path) -> None:
    for given, message in (
        ((folder, ["three"]), "no finished run of three"),
        ((folder / "else", []), "no finished run of a study"),
        ((folder / "nowhere", []), "no folder with run directories"),
    ):
        with pytest.raises(UserError, match=message):
            dg.load_runs(*given)
    with pytest.raises(UserError, match="at scale laptop"):
        dg.load_runs(folder, scale="laptop")


def test_results_of_another_study_in_the_same_folder_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    """study.json is of a study with more seeds that was begun, and results.json of the one before."""
    out = shutil.copytree(folder / "one", tmp_path / "run")
    dg.load_run(out)
    index = STUDY_FILE.read(out)
    STUDY_FILE.write(out, index | {"study": index["study"] | {"probe": {**index["study"]["probe"], "n_trials": 5}}})
    with pytest.raises(UserError, match=r"the run is not finished \(its results are not written\); start it again"):
        dg.load_run(out)


def test_claims_about_factors_are_kept_where_others_go_with_their_measures(tmp_path: Path) -> None:
    claims = {
        "factors": ["task.channels"],
        "weights": {"measure": "effective_rank"},
        "dynamics": {"measure": "procrustes"},
        "secondary": [{"measure": "effective_rank", "variant": "sd"}, {"measure": "cka", "variant": "driven"}],
    }
    fields: dict[str, Any] = {**STUDY, "measures": ["effective_rank", "procrustes", "cka"], "claims": claims}
    plan = dg.Study(name="claims", vary={"task.channels": [1, 2]}, **fields)
    dg.run_study(plan, out=tmp_path / "run", jobs=1, progress=False)
    again = remeasured(tmp_path / "run", ["effective_rank"]).model_dump(mode="json")["claims"]
    assert again["factors"] == ["task.channels"]
    assert again["weights"]["measure"] == "effective_rank"
    assert again["dynamics"]["measure"] != "procrustes", "it was not taken: the level's own stands"
    assert [claim["measure"] for claim in again["secondary"]] == ["effective_rank"]


def test_a_run_of_which_nothing_is_trained_is_not_measured_again(tmp_path: Path) -> None:
    out, plan = tmp_path / "run", dg.Study(name="one", **STUDY)
    RunDirectory.open(out, plan.model_dump(mode="json"), plan.conditions())
    with pytest.raises(UserError, match="2 of 2 networks are not trained"):
        remeasured(out, ["procrustes"])


def test_what_a_measure_found_comes_back(tmp_path: Path) -> None:
    estimate = Estimate(value=7.0, leave_one_out=np.array([1.0, np.nan, 3.0]))
    found = Measured(
        findings=(
            Finding(
                variant="a",
                value=estimate,
                floor=Estimate(value=0.5, leave_one_out=np.arange(3.0)),
                unit="rad",
            ),
            Finding(variant="b", value=estimate, reference=estimate, note="few", statistic="mean", of="index"),
        ),
        distances={"a": np.arange(9.0).reshape(3, 3)},
        arrays={"eigenvalues": np.array([1 + 2j, -3j]), "index": np.array([1, 2])},
        diagnostics={"converged": 0.25},
    )
    pack = measured_pack(tmp_path, Place(name="c", label="c", spec="s"))
    save_measured(pack, "m", found, "k", "f")
    record = pack.find("measure", "m", "k", "f")
    assert record is not None
    again = load_measured(pack, record)
    assert isinstance(again, Measured)
    for mine, given in zip(again.findings, found.findings, strict=True):
        for which in ("variant", "unit", "note", "scale", "statistic", "of"):
            assert getattr(mine, which) == getattr(given, which)
        for which in ("value", "floor", "reference"):
            one, other = getattr(mine, which), getattr(given, which)
            assert (one is None) == (other is None)
            if one is not None:
                assert one.value == other.value
                np.testing.assert_array_equal(one.leave_one_out, other.leave_one_out)
    for kind in ("distances", "arrays"):
        assert getattr(again, kind).keys() == getattr(found, kind).keys()
        for name, value in getattr(found, kind).items():
            np.testing.assert_array_equal(getattr(again, kind)[name], value)
    assert again.diagnostics == found.diagnostics


def test_a_finding_that_lacks_a_field_is_not_half_read(tmp_path: Path) -> None:
    found = Measured(findings=(Finding(variant="a", value=Estimate(value=7.0, leave_one_out=np.arange(3.0))),))
    pack = measured_pack(tmp_path, Place(name="c", label="c", spec="s"))
    save_measured(pack, "m", found, "k", "f")
    record = pack.find("measure", "m", "k", "f")
    assert record is not None
    [kept] = record.about["findings"]
    for field in ("statistic", "of", "scale", "variant"):
        lacking = {name: value for name, value in kept.items() if name != field}
        header = {**record.header, "about": {**record.about, "findings": [lacking]}}
        with pytest.raises(DamagedFile, match=f"lacks what a measurement has \\('{field}'\\)"):
            load_measured(pack, replace(record, header=header))
