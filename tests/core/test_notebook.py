"""What a notebook shows: a small table and what to do next, of what is there, and nothing that a page could run."""

import html
import re
from typing import Any

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.core.notebook import MOST_ROWS, html_table


@pytest.fixture(scope="module")
def ensemble() -> dg.Ensemble:
    training = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=4)
    task = dg.tasks.FlipFlop(channels=1, n_steps=6, threshold=100.0)
    return dg.train(task, dg.Network(hidden_size=4), training, seeds=range(3), progress=False)


def cells(shown: str) -> list[list[str]]:
    """The rows of the table, heads first."""
    return [
        [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", shown)
    ]


def test_many_rows_are_cut_and_text_is_escaped() -> None:
    shown = html_table("<b>", ("n", "x"), [(k, float("nan")) for k in range(MOST_ROWS + 3)], "f(<x>)")
    assert len(cells(shown)) == 1 + MOST_ROWS
    assert "and 3 more" in shown
    assert "&lt;b&gt;" in shown
    assert "f(&lt;x&gt;)" in shown
    assert cells(shown)[1] == ["0", "\N{EM DASH}"]


def test_an_ensemble_shows_its_members(ensemble: dg.Ensemble) -> None:
    shown = cells(ensemble._repr_html_())
    assert shown[0][:2] == ["member", "status"]
    assert [row[0] for row in shown[1:]] == ["0", "1", "2"]
    assert float(shown[1][2]) == pytest.approx(ensemble.members[0].history.epoch_loss[-1], rel=0.01)


def test_a_result_and_its_distances_show_their_numbers(ensemble: dg.Ensemble) -> None:
    assert ensemble.task is not None
    result = dg.measure(ensemble, ensemble.task, measures=["procrustes", "pif"], probe=dg.Probe(n_trials=8))
    rows = {row[1]: row for row in cells(result._repr_html_())[1:]}
    value = result.table.set_index("measure")["value"]["procrustes"]
    assert float(rows["procrustes"][3]) == pytest.approx(value, rel=0.01)
    shown = {row[0]: row for row in cells(result.distances._repr_html_())[1:]}
    matrix = result.distances["procrustes"]
    assert float(shown["procrustes"][3]) == pytest.approx(matrix[np.triu_indices(3, 1)].min(), rel=0.01)
    assert repr(result.distances).startswith("Distances(procrustes")


def test_a_study_shows_its_conditions(tmp_path: Any) -> None:
    study = dg.Study(
        name="small",
        seeds=range(3),
        task={"name": "flip_flop", "n_steps": 6, "threshold": 100.0},
        network={"hidden_size": 4},
        training={"batch_size": 4, "steps_per_epoch": 2, "max_epochs": 4},
        vary={"task.channels": [1, 2]},
        probe={"n_trials": 8},
        measures=["procrustes"],
    )
    assert cells(study._repr_html_())[1:] == [["channels=1", "3"], ["channels=2", "3"]]
    found = dg.run_study(study, out=tmp_path / "run", jobs=1, progress=False)
    assert cells(found._repr_html_())[1:] == [["channels=1", "3", "3", "1"], ["channels=2", "3", "3", "1"]]


@pytest.mark.parametrize("room", ["plots", "tasks", "checks", "analysis"])
def test_completion_of_a_room_lists_what_it_offers(room: str) -> None:
    offered = getattr(dg, room)
    assert dir(offered) == sorted(offered.__all__)
