"""Shares of the sources of variability: by hand from two conditions' values, and refused where they make no sense."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import condition

import degeneracy as dg
from degeneracy.core.errors import UserError

TASK = {"name": "flip_flop", "channels": 1, "n_steps": 6, "threshold": 100.0}
BRIEF = {"batch_size": 4, "steps_per_epoch": 2, "max_epochs": 4}


def run(folder: Path, shared: list[list[str]], **network) -> dg.StudyResult:
    plan = dg.Study(
        name="sources",
        seeds=range(4),
        task=TASK,
        network={"hidden_size": 5, **network},
        training=BRIEF,
        vary={"training.shared_streams": shared},
        probe={"n_trials": 8},
        measures=["procrustes", "output_distance", "weight_change"],
    )
    return dg.run_study(plan, out=folder, jobs=1, progress=False)


def test_a_share_is_the_ratio_of_two_values(tmp_path: Path) -> None:
    study = run(tmp_path / "run", [["initialisation"], [], ["data"]])
    shares = dg.variability_shares(study)
    assert set(shares["varies"]) == {"data", "initialisation"}, "there is no noise"
    assert "weight_change" not in set(shares["measure"]), "no measure of differences"
    values = {
        tuple(result.factors["training.shared_streams"]): result.table.set_index(["measure", "variant"])["value"]
        for result in study.results
    }
    for row in shares.itertuples():
        shared = {"data": ("initialisation",), "initialisation": ("data",)}[row.varies]
        key = (row.measure, row.variant)
        assert row.share == pytest.approx(values[shared][key] / values[()][key])
        assert row.ci_low < row.share < row.ci_high
    # After 8 small updates the start is nearly all that differs.
    driven = shares.query("measure == 'procrustes'").set_index("varies")["share"]
    assert driven["initialisation"] > 0.8
    assert driven["data"] < 0.3
    dynamics = dg.plots.variability_shares(shares).axes[1]
    assert [text.get_text() for text in dynamics.get_yticklabels()] == ["Procrustes, driven"]
    drawn = {bars.get_label(): bars.lines[0].get_xdata()[0] for bars in dynamics.containers}
    assert drawn == {f"{varies} (n=4)": share for varies, share in driven.items()}
    with pytest.raises(UserError, match="no column 'share'"):
        dg.plots.variability_shares(shares.drop(columns="share"))
    with pytest.raises(UserError, match="holds no share"):
        dg.plots.variability_shares(shares.assign(share=np.nan))


def test_what_varies_nothing_leaves_nothing(tmp_path: Path) -> None:
    study = run(tmp_path / "run", [[], ["data", "initialisation", "noise"]], sigma_rec=0.1)
    shares = dg.variability_shares(study)
    assert set(shares["varies"]) == {"nothing"}
    assert not (shares["share"] > 1e-6).any(), "networks without any source of variability are one network"
    assert np.all(shares["share"].notna() | (shares["note"] != ""))


@pytest.mark.parametrize("shared", [[["data"], ["initialisation"]]])
def test_without_a_condition_that_shares_nothing_there_is_no_share(shared, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="with a level \\[\\] that shares nothing"):
        dg.variability_shares(run(tmp_path / "run", shared))


@pytest.mark.parametrize(
    ("noise", "varies"),
    [
        ({"sigma_rec": 0.0, "sigma_in": 0.0}, "initialisation"),
        ({"sigma_rec": 0.0, "sigma_in": 0.1}, "initialisation, noise"),
        ({"sigma_rec": 0.1, "sigma_in": 0.0}, "initialisation, noise"),
    ],
)
def test_noise_is_a_source_where_it_is_on_and_members_are_those_of_the_condition(noise, varies) -> None:
    # 8 of 8 networks converged where all vary, 5 of 8 where the trials are shared.
    results = tuple(
        replace(condition(8, n_failed=failed), factors={"training.shared_streams": shared}, spec={"network": noise})
        for shared, failed in (((), 0), (("data",), 3))
    )
    shares = dg.variability_shares(dg.StudyResult(name="sources", results=results))
    assert set(shares["varies"]) == {varies}
    assert set(shares["n_members"]) == {5}
