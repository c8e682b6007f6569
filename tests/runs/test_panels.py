"""Panels: rows are those of a study with these settings, and nothing is measured twice."""

from pathlib import Path

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.runs import panels

TRAINING = {  # 8 epochs
    "batch_size": 8, "steps_per_epoch": 5, "max_epochs": 8, "patience": 7, "checkpoints": [0.1, 0.5],
}  # fmt: skip
STUDY = {
    "name": "panel",
    "seeds": range(3),
    "task": {"name": "flip_flop", "n_steps": 12, "threshold": 100.0},
    "network": {"hidden_size": 6},
    "training": TRAINING,
    "vary": {"task.channels": [1, 2]},
    "probe": {"n_trials": 10},
    "measures": ["dsa"],
    "options": {"dsa": {"rank": 4, "n_delays": 2, "n_starts": 4}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("panel") / "run"
    dg.run_study(dg.Study(**STUDY), out=folder, jobs=1, progress=False)
    return folder


def test_its_rows_are_those_of_the_study(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    measure = panels.measure_recording

    def counted(*given, **options):
        calls.append(given)
        return measure(*given, **options)

    monkeypatch.setattr(panels, "measure_recording", counted)
    table = dg.dsa_sensitivity(run, ranks=[3, 4], n_delays=[2], jobs=1, progress=False)
    assert len(calls) == 2  # two conditions; the study's own rank was measured with the run
    assert set(zip(table["condition"], table["rank"], strict=True)) == {
        (name, rank) for name in ("channels=1", "channels=2") for rank in (3, 4)
    }
    columns = ["condition", "variant", "value", "ci_low", "ci_high", "calibrated"]
    same = table[table["rank"] == 4][columns].sort_values(["condition", "variant"]).reset_index(drop=True)
    own = dg.load_run(run).table[columns].sort_values(["condition", "variant"]).reset_index(drop=True)
    assert same[["condition", "variant"]].equals(own[["condition", "variant"]])
    np.testing.assert_allclose(same[columns[2:]], own[columns[2:]], rtol=1e-9)
    other = table[table["rank"] == 3]["value"].to_numpy()
    assert not np.allclose(other, table[table["rank"] == 4]["value"].to_numpy())
    again = dg.dsa_sensitivity(run, ranks=[3, 4, 5], n_delays=[2], jobs=1, progress=False)
    assert len(calls) == 4  # the third rank alone
    assert set(again["rank"]) == {3, 4, 5}


def test_the_figure_has_a_panel_a_number_of_delays(run: Path) -> None:
    table = dg.dsa_sensitivity(run, ranks=[3, 4], n_delays=[1, 2], jobs=1, progress=False)
    figure = dg.plots.dsa_sensitivity(table)
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == [
        "1 delays (n=3)",
        "2 delays (n=3)",
    ]
    with pytest.raises(UserError, match="variant 'drive'"):
        dg.plots.dsa_sensitivity(table, "drive")


def test_settings_that_the_recordings_cannot_serve_are_refused(run: Path) -> None:
    with pytest.raises(UserError):
        dg.dsa_sensitivity(run, ranks=[500], n_delays=[2], jobs=1, progress=False)
    with pytest.raises(UserError, match="is no run directory"):
        dg.dsa_sensitivity(run / "conditions", jobs=1, progress=False)


def test_networks_are_measured_where_they_were_in_training(run: Path) -> None:
    names = ["procrustes", "signed_pif"]
    table = dg.during_training(run, names, jobs=1, progress=False)
    seen = {
        0.0: slice(0, 1),
        0.1: slice(0, 5),
        0.5: slice(4, 20),
        1.0: slice(24, 40),
    }  # 16 batches, or all so far
    assert set(table["fraction"]) == set(seen)
    task = dg.tasks.FlipFlop(channels=2, n_steps=12, threshold=100.0)
    ensemble = dg.train(
        task, dg.Network(hidden_size=6), dg.Training(**TRAINING), seeds=range(3), jobs=1, progress=False
    )
    for fraction, batches in seen.items():
        own = dg.measure(ensemble.at(fraction), task, measures=names, probe=dg.Probe(n_trials=10)).table
        rows = table[(table["fraction"] == fraction) & (table["condition"] == "channels=2")]
        np.testing.assert_allclose(rows["value"], own["value"], rtol=1e-6)
        losses = [np.log(member.history.loss[batches].mean()) for member in ensemble.members]
        np.testing.assert_allclose(rows["training_loss"], np.exp(np.mean(losses)), rtol=1e-5)
    values = table[(table["measure"] == "procrustes") & (table["condition"] == "channels=1")]["value"]
    assert values.nunique() == 4


def test_the_course_of_training_is_drawn(run: Path) -> None:
    table = dg.during_training(run, ["procrustes", "signed_pif"], jobs=1, progress=False)
    figure = dg.plots.during_training(table, ["procrustes/driven", "signed_pif/recurrent"])
    assert len(figure.axes) == 2
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
    driven = table[(table["measure"] == "procrustes") & (table["condition"] == "channels=1")]
    assert any(np.allclose(line.get_ydata(), driven["value"]) for line in lines)
    by_loss = dg.plots.during_training(table, ["procrustes/driven"], against="training_loss").axes[0]
    assert any(np.allclose(line.get_xdata(), driven["training_loss"]) for line in by_loss.lines)
    assert by_loss.get_xlim()[0] > by_loss.get_xlim()[1]
    with pytest.raises(UserError, match="unknown axis 'loss'"):
        dg.plots.during_training(table, ["procrustes/driven"], against="loss")
    with pytest.raises(UserError, match="no column 'training_loss'"):
        dg.plots.during_training(table.drop(columns="training_loss"), against="training_loss")


def test_a_run_without_checkpoints_is_refused(tmp_path: Path) -> None:
    training = {name: value for name, value in STUDY["training"].items() if name != "checkpoints"}
    plan = dg.Study(**{**STUDY, "training": training, "measures": ["weight_change"], "options": {}})
    dg.run_study(plan, out=tmp_path / "run", jobs=1, progress=False)
    with pytest.raises(UserError, match="kept at no fraction of training"):
        dg.during_training(tmp_path / "run", progress=False)


def test_a_table_that_somebody_has_altered_is_not_replaced(run: Path) -> None:
    dg.during_training(run, ["weight_change"], jobs=1, progress=False)
    table = run / "during_training.csv"
    dg.during_training(run, ["signed_pif"], jobs=1, progress=False)  # its own is
    table.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"during_training.csv: it is not what degeneracy has written; move it away"):
        dg.during_training(run, ["weight_change"], jobs=1, progress=False)
    assert table.read_bytes() == b"mine"
    table.unlink()
    dg.during_training(run, ["weight_change"], jobs=1, progress=False)
    assert table.exists()
