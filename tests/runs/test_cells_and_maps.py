"""Every kind of cell and of recurrent map through a whole run: trained, measured, reported and taken up again."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.runs import running

TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1, 2],
    "task": {"name": "flip_flop", "channels": 1, "n_steps": 10, "threshold": 2.0},  # converges at once
    "training": {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 3, "patience": 1, "checkpoints": [0.5]},
    "probe": {"n_trials": 8},
    "measures": ["pif", "signed_pif", "effective_rank", "weight_change", "kernel_alignment", "procrustes"],
}
OWN = (Path(__file__).parents[2] / "examples" / "own_cell.py").read_text(encoding="utf-8")
NETWORKS: dict[str, dict[str, Any]] = {
    "leaky_tau": {"cell": "leaky_tau"},
    "low_rank": {"recurrent": {"name": "low_rank", "rank": 2}},
    "dale": {"cell": "relu", "recurrent": "dale"},
    "own": {"cell": "own_cell:Signed"},
}


def run(out: Path, name: str) -> dg.StudyResult:
    study = dg.Study(**TINY, network={"hidden_size": 10, **NETWORKS[name]})
    return dg.run_study(study, out=out, device="cpu", jobs=1, progress=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_cell.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_run(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = run(here / "run", name)
    table = study.table
    assert set(table["n_converged"]) == {3}
    weights = table[(table["measure"] == "pif") & (table["variant"] == "joint")]
    assert weights["value"].item() > 0.1
    assert weights["floor"].item() < 1e-6  # copies within the network's own group; float64 rounding of a search
    assert (table["measure"] == "procrustes").any()
    dg.report(study, here / "report.html")
    page = (here / "report.html").read_text(encoding="utf-8")
    assert str(NETWORKS[name].get("cell", "tanh")) in page
    # Started again nothing is trained, and loaded it is the same.
    monkeypatch.setattr(running, "train_members", lambda *_, **__: pytest.fail("trained"))
    before = (here / "run" / "degeneracy.csv").read_bytes()
    run(here / "run", name)
    assert (here / "run" / "degeneracy.csv").read_bytes() == before
    assert dg.load_run(here / "run").table["value"].to_numpy() == pytest.approx(table["value"].to_numpy(), nan_ok=True)


def trained(name: str) -> dg.Ensemble:
    network = dg.Network(hidden_size=10, **NETWORKS[name])
    task = dg.tasks.FlipFlop(**{key: value for key, value in TINY["task"].items() if key != "name"})
    training = dg.Training(**TINY["training"])
    return dg.train(task, network, training, seeds=range(3), jobs=1, progress=False)


@pytest.mark.parametrize(("name", "parts"), [("low_rank", {"W_rec.left", "W_rec.right"}), ("dale", {"W_rec.size"})])
def test_an_ensemble_keeps_what_acts_and_what_is_trained(name: str, parts: set[str], here: Path) -> None:
    ensemble = trained(name)
    ensemble.save(here / "nets")
    loaded = dg.Ensemble.load(here / "nets")
    assert loaded.network == ensemble.network
    for mine, theirs in zip(ensemble.members, loaded.members, strict=True):
        assert set(theirs.map_parts) == parts
        for kept, right in ((theirs.final, mine.final), (theirs.map_parts, mine.map_parts)):
            assert all(np.array_equal(kept[key].numpy(), value.numpy()) for key, value in right.items())
    assert loaded.weights()["W_rec"].shape == (3, 10, 10)
    assert not loaded.at(0.5).members[0].map_parts, "what was trained is known at the end alone"
    result = dg.measure(loaded, ensemble.task, measures=("effective_rank",), jobs=1)
    ranks = result.table.set_index("variant")["value"]
    assert ranks["mean"] <= (2 if name == "low_rank" else 10) + 1e-5  # singular values beyond are float32 rounding


def test_excitatory_and_inhibitory_units_are_never_exchanged_nor_flipped(here: Path) -> None:
    ensemble = trained("dale")
    result = dg.measure(ensemble, ensemble.task, measures=("signed_pif", "pif"), jobs=1)
    rows = result.table.set_index(["measure", "variant"])
    assert math.isnan(rows.loc[("signed_pif", "recurrent"), "value"])
    assert (
        "units may not change sign where they are excitatory or inhibitory"
        in rows.loc[("signed_pif", "recurrent"), "note"]
    )
    dense = dg.Ensemble(network=ensemble.network.replace(recurrent="dense"), members=ensemble.members)
    mixed = dg.measure(dense, ensemble.task, measures=("pif",), jobs=1).table.set_index("variant")
    # The same weights without classes: matchings that mix them are allowed, so that distances are no longer; 1% for
    # searches that end in another local optimum.
    assert mixed.loc["recurrent", "value"] < 1.01 * rows.loc[("pif", "recurrent"), "value"]


def test_a_study_over_maps_names_its_conditions(here: Path) -> None:
    vary = {"network.recurrent": ["dense", {"name": "low_rank", "rank": 1}, "dale"]}
    study = dg.Study(**{**TINY, "measures": ["effective_rank"]}, network={"hidden_size": 10}, vary=vary)
    result = dg.run_study(study, out=here / "maps", device="cpu", jobs=1, progress=False)
    labels = [each.condition for each in result.results]
    assert labels == ["recurrent=dense", "recurrent=low_rank", "recurrent=dale"]
    with pytest.raises(UserError, match=r"unknown recurrent map 'dael'.*dale"):
        dg.Study(**TINY, network={"recurrent": "dael"})
