"""Checks of an effect by other measures, and effects of several studies in one table and figure."""

from pathlib import Path

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.effects.scrutiny import CHECKS, criticisms, gather
from degeneracy.errors import UserError

STUDY = {
    "seeds": range(5),
    "task": {"name": "flip_flop", "n_steps": 10, "threshold": 100.0},
    "network": {"hidden_size": 6},
    "training": {"batch_size": 8, "steps_per_epoch": 4, "max_epochs": 4},
    "vary": {"task.channels": [1, 2]},
    "probe": {"n_trials": 10},
    "options": {"dsa": {"rank": 4, "n_delays": 2, "n_starts": 4}},
    "claims": {
        "dynamics": {"measure": "dsa", "variant": "driven", "expected": {"task.channels": "down"}},
        "weights": {
            "measure": "signed_pif",
            "variant": "recurrent",
            "margin": 0.1,
            "expected": {"task.channels": "up"},
        },
        "behavior": {"measure": "ood_log_error_sd", "variant": "amplitude", "margin": 0.2},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs and something else."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        plan = dg.Study(name=name, **STUDY)
        dg.run_study(plan, out=place / name, jobs=1, progress=False)
    (place / "else").mkdir()
    (place / "note.txt").write_text("no run")
    return place


def test_runs_are_found_by_name_and_scale(folder: Path) -> None:
    assert list(dg.load_runs(folder)) == ["one", "two"]
    assert list(dg.load_runs(folder, ["two", "three", "one"])) == ["two", "one"]
    for given, message in (
        ((folder, ["three"]), "no finished run of three"),
        ((folder / "else", []), "no finished run of a study"),
        ((folder / "nowhere", []), "no folder with run directories"),
    ):
        with pytest.raises(UserError, match=message):
            dg.load_runs(*given)
    with pytest.raises(UserError, match="at scale laptop"):
        dg.load_runs(folder, scale="laptop")


def test_checks_are_rows_of_the_effects_against_the_levels_expectation(folder: Path) -> None:
    study = dg.load_run(folder / "one")
    table, effects = criticisms(study), study.effects()
    assert list(dict.fromkeys(table["check"])) == [name for name in CHECKS if name in set(table["check"])]
    assert set(table["check"]) == set(CHECKS), "all measures were taken"
    for row in table.itertuples():
        same = effects[
            (effects["measure"] == row.measure)
            & (effects["variant"] == row.variant)
            & (effects["scale"] == row.scale)
        ]
        np.testing.assert_equal(same["effect"].item(), row.effect)
        assert row.expected == {"dynamics": "down", "weights": "up", "behavior": ""}[row.level]
        if not row.expected or not row.verdict:
            assert row.agreement == ""
        elif row.verdict == "unclear":
            assert row.agreement == "unclear"
        else:
            assert row.agreement == ("agrees" if row.verdict == row.expected else "disagrees")
    # The variant of the level's claim stands where a check names none.
    assert set(table[table["level"] == "behavior"]["variant"]) == {"amplitude"}


def test_gathered_are_the_primary_effects(folder: Path) -> None:
    table = gather(dg.load_runs(folder))
    for name in ("one", "two"):
        assert set(table[table["study"] == name]["level"]) == {"dynamics", "weights", "behavior"}
    assert table["primary"].all()
    assert set(table["scale"]) == {"value"}
    # The same study twice: the same numbers.
    one, two = (table[table["study"] == name]["effect"].to_numpy() for name in ("one", "two"))
    assert np.array_equal(one, two)


def test_the_figure_shows_every_row_where_it_is(folder: Path) -> None:
    table = gather(dg.load_runs(folder))
    figure = dg.plots.verdicts(table)
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == [
        "dynamics",
        "weights",
        "behavior",
    ]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["one (n=5)", "two (n=5)"]
    row = table[(table["study"] == "two") & (table["level"] == "weights")].iloc[0]
    percent = 100 * row["effect"] / row["at_lowest"]
    points = [line.get_xydata()[0] for line in figure.axes[1].lines if len(line.get_xdata()) == 1]
    assert any(abs(x - percent) < 1e-9 and y == 1 for x, y in points)


def test_the_matrix_says_what_each_check_said_of_each_study(folder: Path) -> None:
    runs = dg.load_runs(folder)
    table = gather(runs, checks=True)
    one = criticisms(runs["two"])
    assert table[table["study"] == "two"]["effect"].reset_index(drop=True).equals(one["effect"])
    figure = dg.plots.agreement(table)
    signs = {"agrees": "+", "disagrees": "\N{MINUS SIGN}", "unclear": "?", "": ""}
    weights = figure.axes[1]
    checks = [label.get_text() for label in weights.get_xticklabels()]
    assert checks == list(dict.fromkeys(one[one["level"] == "weights"]["check"]))
    drawn = {text.get_position(): text.get_text() for text in weights.texts}
    for row in table[table["level"] == "weights"].itertuples():
        assert drawn[checks.index(row.check), ["one", "two"].index(row.study)] == signs[row.agreement]


def test_a_table_that_cannot_be_drawn_is_refused(folder: Path) -> None:
    table = gather(dg.load_runs(folder))
    with pytest.raises(UserError, match="agreement: the table has no check"):
        dg.plots.agreement(table)
    with pytest.raises(UserError, match="no check"):
        dg.plots.verdicts(table, by="check")
    with pytest.raises(UserError, match="no rows"):
        dg.plots.verdicts(table.iloc[:0])
