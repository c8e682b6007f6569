"""The figure of effects draws the rows of the table, in percent, with margins and verdicts."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from synthetic import study

import degeneracy as dg
from degeneracy import plots
from degeneracy.analysis.statistics.jackknife import pair_mean
from degeneracy.core.errors import UserError
from degeneracy.studies.claims import Claims

STUDY = replace(
    study(12),
    claims=Claims(
        behavior={"margin": 0.2}, dynamics={"margin": 0.1}, weights={"margin": 0.6, "calibrated_margin": 0.3}
    ),
)
TABLE = dg.effects(STUDY).set_index(["scale", "measure", "variant"]).sort_index()


def lines(axes, n_points: int) -> list[np.ndarray]:
    """The x of all lines of so many points, without the line at 0."""
    return [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == n_points and line.get_ls() != ":"]


def panel(figure, level: str):
    return next(ax for ax in figure.axes if ax.get_title("left") == level)


def test_a_panel_a_level_with_the_tables_numbers_in_percent() -> None:
    figure = plots.effects(STUDY)
    assert [ax.get_title("left") for ax in figure.axes] == ["behavior", "dynamics", "weights"]
    row = TABLE.loc[("value", "linear_flow", "driven")]
    drawn = panel(figure, "dynamics")
    assert [row.effect / row.at_lowest * 100] in [pytest.approx(x) for x in lines(drawn, 1)]
    ends = np.array([row.ci_low, row.ci_high]) / row.at_lowest * 100
    assert any(np.allclose(x, ends) for x in lines(drawn, 2))
    assert any(np.allclose(x, [-10, 10]) for x in lines(drawn, 2)), "the margin"
    visible = np.array([-1, 1]) * row.smallest_visible / row.at_lowest * 100
    assert any(np.allclose(x, visible) for x in lines(drawn, 2)), "the smallest change that would have been seen"


def test_ratios_are_percentages_of_themselves() -> None:
    row = TABLE.loc[("value", "ood_log_error_sd", "length_2x")]
    drawn = panel(plots.effects(STUDY), "behavior")
    assert any(np.allclose(x, 100 * (np.exp(row.effect) - 1)) for x in lines(drawn, 1))
    assert any(np.allclose(x, [100 / 1.2 - 100, 20]) for x in lines(drawn, 2)), "the margin, as ratios"
    labels = [label.get_text() for label in drawn.get_yticklabels()]
    assert labels == [f"SD of log error, length ×2: {row.verdict}", "Output distance, length ×2"]


def test_what_is_judged_is_filled_and_bears_its_verdict() -> None:
    drawn = panel(plots.effects(STUDY), "weights")
    (label,) = [label.get_text() for label in drawn.get_yticklabels()]
    assert label == "Signed PIF, recurrent: flat"
    dynamics = panel(plots.effects(STUDY), "dynamics")
    fills = [line.get_markerfacecolor() for line in dynamics.lines if len(line.get_xdata()) == 1]
    assert [fill == "white" for fill in fills] == [False] + [True] * (len(fills) - 1)
    said = " ".join(text.get_text() for text in plots.effects(STUDY).findobj(Text))
    assert "channels, 2 → 4" in said
    assert "n = 10" in said


def test_the_calibrated_scale_is_in_percent_of_floor_to_reference() -> None:
    row = TABLE.loc[("calibrated", "signed_pif", "recurrent")]
    drawn = panel(plots.effects(STUDY, "calibrated"), "weights")
    assert any(np.allclose(x, 100 * row.effect) for x in lines(drawn, 1))
    assert any(np.allclose(x, [-30, 30]) for x in lines(drawn, 2))
    assert "floor to reference" in plots.effects(STUDY, "calibrated").axes[-1].get_xlabel()


def test_what_is_0_at_the_lowest_level_has_no_percentage_and_no_row() -> None:
    first = STUDY.results[0]
    found = first.measured["procrustes"]
    n = first.n_converged
    none = tuple(replace(f, value=pair_mean(np.zeros((n, n)))) for f in found.findings)
    start = replace(first, measured={**first.measured, "procrustes": replace(found, findings=none)})
    drawn = panel(plots.effects(replace(STUDY, results=(start, *STUDY.results[1:]))), "dynamics")
    names = [label.get_text() for label in drawn.get_yticklabels()]
    full = [label.get_text() for label in panel(plots.effects(STUDY), "dynamics").get_yticklabels()]
    assert names == [name for name in full if not name.startswith("Procrustes")] != full


def test_two_factors_stand_side_by_side() -> None:
    twice = tuple(
        replace(
            r,
            condition=f"{r.condition}/{cell}",
            factors={**r.factors, "network.cell": cell},
            measured={"linear_flow": r.measured["linear_flow"]},
        )
        for r in STUDY.results
        for cell in ("tanh", "gru")
    )
    (axes,) = plots.effects(replace(STUDY, results=twice)).axes
    assert len(lines(axes, 1)) == 4, "driven and autonomous, by two factors"
    assert axes.get_yticklabels()[0].get_text().startswith("Linear flow, driven: unclear / ")


def test_no_effect_is_one_line() -> None:
    with pytest.raises(UserError, match="varies nothing"):
        plots.effects(study(4, channels=(3,)))
    with pytest.raises(UserError, match="unknown scale 'values'; did you mean 'value'"):
        plots.effects(STUDY, "values")
    bare = replace(
        STUDY,
        results=tuple(replace(r, measured={"weight_change": r.measured["weight_change"]}) for r in STUDY.results),
    )
    for scale in ("value", "calibrated"):
        with pytest.raises(UserError, match=f"no measure has an effect on the scale '{scale}'"):
            plots.effects(bare, scale)
