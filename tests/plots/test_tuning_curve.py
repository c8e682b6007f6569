"""The figure of a tuned knob: what was seen, the target, and what was reached."""

from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from degeneracy import plots
from degeneracy.tuning.tune import Tuning


def tuning(**changes: Any) -> Tuning:
    """A tune of three strengths, of which the largest left no value."""
    rows = {"knob": [0.1, 10.0, 1.0], "value": [0.2, np.nan, 0.5], "ci_low": [0.1, np.nan, 0.35]}
    rows |= {"ci_high": [0.3, np.nan, 0.65], "n_members": [8, 8, 8], "n_converged": [8, 1, 7]}
    asked = {"knob": "network.gamma", "measure": "linear_flow", "variant": "driven", "calibrated": False, "log": True}
    found = {"at": 1.0, "value": 0.5, "ci_low": 0.35, "ci_high": 0.65, "target": 0.4, "status": "reached"}
    return Tuning(**{**asked, **found, "message": "", "evaluations": pd.DataFrame(rows), **changes})


def test_it_is_readable_whatever_the_callers_settings() -> None:
    with mpl.rc_context({"font.size": 31}):
        figure = plots.tuning_curve(tuning())
        assert mpl.rcParams["font.size"] == 31
    texts = [t for t in figure.findobj(Text) if t.get_text().strip()]
    assert figure.get_figwidth() <= 6.7
    assert {t.get_fontsize() for t in texts} == {9.0}
    [axes] = figure.axes
    assert (axes.get_title("left"), axes.get_ylabel()) == ("Linear flow, driven", "value (squared distance)")


def test_a_tuned_curve_shows_all_that_was_seen() -> None:
    figure = plots.tuning_curve(tuning())
    [axes] = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["value, 95% interval"].get_xydata().tolist() == [[0.1, 0.2], [1.0, 0.5]]
    intervals = {tuple(map(tuple, s)) for c in axes.collections for s in c.get_segments()}
    assert intervals == {((0.1, 0.1), (0.1, 0.3)), ((1.0, 0.35), (1.0, 0.65))}
    assert lines["reached at 1"].get_xydata().tolist() == [[1.0, 0.5]]
    assert list(lines["no value"].get_xdata()) == [10.0]
    assert list(lines["target"].get_ydata()) == [0.4, 0.4]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "gamma (n = 1–8)"
    assert "reached at 1" not in [
        line.get_label() for line in plots.tuning_curve(tuning(status="not reached")).axes[0].lines
    ]
    assert plots.tuning_curve(tuning(calibrated=True, log=False)).axes[0].get_ylabel() == "calibrated"


@pytest.mark.parametrize(
    ("knobs", "shown"),
    [
        ([1e-4, 1e-2, 1e-3], "10⁻³"),
        ([0.1, 3.0, 0.7], "0.5"),
        ([1e-4, 3e-4, 2e-4], "0.0002"),
    ],
)
def test_numbers_under_a_logarithmic_axis_are_round_and_apart(knobs: list[float], shown: str) -> None:
    figure = plots.tuning_curve(tuning(evaluations=tuning().evaluations.assign(knob=knobs), at=knobs[2]))
    FigureCanvasAgg(figure).draw()
    [axes] = figure.axes
    low, high = axes.get_xlim()
    labels = [label for label in axes.get_xticklabels(which="both") if low <= label.get_position()[0] <= high]
    labels = [label for label in labels if label.get_text()]
    assert shown in [label.get_text() for label in labels]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert len(boxes) >= 3
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
