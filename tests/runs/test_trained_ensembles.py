"""The networks of a finished run are one line away, and are those that were measured."""

import shutil
from pathlib import Path
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
    "measures": ["procrustes", "pif"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dg.StudyResult]:
    out = tmp_path_factory.mktemp("runs") / "small"
    return out, dg.run_study(dg.Study(**STUDY), out=out, jobs=1, progress=False)


def conditions(out: Path) -> list[Path]:
    return sorted((out / "conditions").iterdir())


def test_a_run_has_its_networks(made: tuple[Path, dg.StudyResult]) -> None:
    out, finished = made
    for run in (finished, dg.load_run(out)):
        assert list(run.ensembles) == ["channels=1", "channels=2"]
        assert repr(run.ensembles) == "TrainedEnsembles(channels=1: 3 networks, channels=2: 3 networks)"
        ensemble = run.ensembles["channels=2"]
        assert ensemble.seeds == (0, 1, 2)
        assert isinstance(ensemble.task, dg.tasks.FlipFlop)
        assert ensemble.task.channels == 2
        again = dg.measure(ensemble, ensemble.task, measures=["procrustes", "pif"], probe=dg.Probe(n_trials=8))
        for name in ("procrustes", "pif"):
            np.testing.assert_array_equal(again.distances[name], run["channels=2"].distances[name])


def test_the_folder_of_a_condition_is_an_ensemble(made: tuple[Path, dg.StudyResult]) -> None:
    out, run = made
    loaded = dg.Ensemble.load(conditions(out)[1])
    for name, value in run.ensembles["channels=2"].weights().items():
        np.testing.assert_array_equal(loaded.weights()[name], value)
    assert loaded.task == run.ensembles["channels=2"].task


def test_an_unknown_condition_is_said_with_the_closest(made: tuple[Path, dg.StudyResult]) -> None:
    with pytest.raises(dg.UserError, match=r"channels=3.*channels=1"):
        made[1].ensembles["channels=3"]


def test_networks_taken_out_changed_and_put_back(made: tuple[Path, dg.StudyResult]) -> None:
    ensemble = made[1].ensembles["channels=1"]
    modules = ensemble.to_modules()
    for core, _ in modules:
        core.weight_hh_l0.data *= 0.5
    changed = dg.Ensemble.from_modules(modules, initial=ensemble.to_modules(initial=True))
    np.testing.assert_array_equal(changed.weights()["W_rec"], 0.5 * ensemble.weights()["W_rec"])
    assert ensemble.task is not None
    before, after = (
        dg.measure(each, ensemble.task, measures=["pif"], probe=dg.Probe(n_trials=8)) for each in (ensemble, changed)
    )
    recurrent = [each.table.set_index("variant")["value"]["recurrent"] for each in (before, after)]
    assert recurrent[1] == pytest.approx(0.5 * recurrent[0], rel=1e-5)
    assert not dg.compare(before, after).empty


def test_a_network_that_is_not_the_one_that_was_measured_is_refused(
    made: tuple[Path, dg.StudyResult], tmp_path: Path
) -> None:
    out = shutil.copytree(made[0], tmp_path / "run")
    run = dg.load_run(out)
    [pack] = conditions(out)[0].glob("members-*.pack")
    other = dg.run_study(dg.Study(**{**STUDY, "seeds": range(1, 4)}), out=tmp_path / "other", jobs=1, progress=False)
    assert other.name == "small"
    [strange] = conditions(tmp_path / "other")[0].glob("members-*.pack")
    shutil.copy(strange, pack)
    with pytest.raises(dg.UserError, match=r"member 0 is not there.*--repair") as caught:
        run.ensembles["channels=1"]
    assert "\n" not in str(caught.value)


def test_a_damaged_spec_is_named(made: tuple[Path, dg.StudyResult], tmp_path: Path) -> None:
    out = shutil.copytree(made[0], tmp_path / "run")
    folder = conditions(out)[0]
    (folder / "spec.json").write_text("{}", encoding="utf-8")
    with pytest.raises(dg.UserError, match=r"spec\.json"):
        dg.Ensemble.load(folder)
