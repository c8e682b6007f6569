"""Results as xarray has them: the same numbers under named axes."""

import sys
from typing import Any

import numpy as np
import pytest

import degeneracy as dg

STUDY: dict[str, Any] = {
    "name": "small",
    "seeds": range(3),
    "task": {"name": "flip_flop", "n_steps": 6, "threshold": 100.0},
    "network": {"hidden_size": 4},
    "training": {"batch_size": 4, "steps_per_epoch": 2, "max_epochs": 4},
    "vary": {"task.channels": [1, 2]},
    "probe": {"n_trials": 8},
    "measures": ["procrustes", "pif", "ood_error_mean", "fixed_points"],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dg.StudyResult:
    out = tmp_path_factory.mktemp("runs") / "small"
    return dg.run_study(dg.Study(**STUDY), out=out, jobs=1, progress=False)


def test_a_result_has_the_numbers_of_its_table(study: dg.StudyResult) -> None:
    result = study.results[0]
    data, table = result.to_xarray(), result.table
    for name in ("value", "ci_low", "ci_high", "floor", "reference", "calibrated"):
        np.testing.assert_array_equal(data[name].values, table[name].astype(float))
    row = data.sel(finding="pif/recurrent")
    assert float(row["value"]) == table.set_index(["measure", "variant"])["value"]["pif", "recurrent"]
    assert (str(row["level"].values), str(row["measure"].values)) == ("weights", "pif")
    assert str(data.sel(finding="ood_error_mean/in_distribution")["unit"].values) == "squared output unit"
    assert data.attrs["condition"] == "channels=1"


def test_distances_are_found_by_name_and_member(study: dg.StudyResult) -> None:
    result = study.results[0]
    found = result.to_xarray()["distance"].sel(distance_of="procrustes/driven", member="0", other_member="2")
    assert float(found) == result.distances["procrustes"][0, 2]


def test_a_study_has_its_conditions_and_factors(study: dg.StudyResult) -> None:
    data = study.to_xarray()
    assert list(data["condition"].values) == ["channels=1", "channels=2"]
    assert list(data["task.channels"].values) == [1, 2]
    value = data["value"].sel(condition="channels=2", finding="procrustes/driven")
    table = study.results[1].table.set_index(["measure", "variant"])
    assert float(value) == table["value"]["procrustes", "driven"]
    matrix = data["distance"].sel(condition="channels=2", distance_of="procrustes/driven")
    np.testing.assert_array_equal(matrix, study.results[1].distances["procrustes"])
    assert str(data["notes"].sel(condition="channels=1", finding="procrustes/driven").values) == str(
        study.results[0].table.set_index(["measure", "variant"])["note"]["procrustes", "driven"]
    )


def test_without_xarray_that_is_said(study: dg.StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(dg.UserError, match="to_xarray needs xarray: pip install xarray"):
        study.results[0].to_xarray()
    with pytest.raises(dg.UserError, match="to_xarray needs xarray: pip install xarray"):
        study.to_xarray()
