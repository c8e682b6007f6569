"""The settings at which a verdict has to hold are measured, kept, and read back."""

from pathlib import Path

import pandas as pd
import pytest
from small_runs import run, tiny

import degeneracy as dg
from degeneracy.core.packs import Pack
from degeneracy.measuring import measure as measuring

CLAIMS = {"dynamics": {"measure": "procrustes", "robust_over": {"alpha": [1.0, 0.5], "estimator": ["plain"]}}}


def test_a_grid_is_measured_once_kept_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "run", claims=CLAIMS)
    loaded = dg.load_run(tmp_path / "run")
    points = loaded.results[0].grids["dynamics"]
    assert [dict(point.options) for point in points] == [
        {"alpha": 1.0, "estimator": "plain"},
        {"alpha": 0.5, "estimator": "plain"},
    ]
    values = [point.outcome.findings[0].value.value for point in points]
    assert values[0] != values[1]
    plan = tiny(options={"procrustes": {"alpha": 0.5, "estimator": "plain"}})
    direct = dg.run_study(plan, out=tmp_path / "other", jobs=1, progress=False)
    assert values[1] == direct.results[0].measured["procrustes"].findings[0].value.value
    written = pd.read_csv(tmp_path / "run" / "robustness.csv")
    assert written.setting.unique().tolist() == ["alpha = 1.0, estimator = plain", "alpha = 0.5, estimator = plain"]
    pd.testing.assert_frame_equal(written, pd.read_csv(_csv(dg.robustness(loaded), tmp_path)), check_exact=True)
    monkeypatch.setattr(measuring, "_apply", None)  # nothing is measured again
    run(tmp_path / "run", claims=CLAIMS)


def _csv(table: pd.DataFrame, folder: Path) -> Path:
    table.to_csv(folder / "made.csv", index=False)
    return folder / "made.csv"


def test_a_setting_that_is_the_measures_own_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    append = Pack.append

    def counted(self, kind, name, *args, **fields):
        kept.append(name)
        return append(self, kind, name, *args, **fields)

    monkeypatch.setattr(Pack, "append", counted)
    claims = {"dynamics": {"measure": "procrustes", "robust_over": {"alpha": [1.0, 0.5]}}}
    run(tmp_path / "run", claims=claims, measures=["procrustes"])
    assert kept.count("procrustes") == 2 * 2  # two conditions, its own setting and one more
    run(tmp_path / "run", claims={"dynamics": {"measure": "procrustes"}}, measures=["procrustes"])
    assert len(pd.read_csv(tmp_path / "run" / "robustness.csv")) == 0, "the grid is no longer asked for"
