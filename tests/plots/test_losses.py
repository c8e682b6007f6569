"""Figures name the loss by its own label and unit, and draw what training was judged by with what stopped it."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from synthetic import study

from degeneracy import plots
from degeneracy.wording.losses import course_name, loss_axis, loss_in_unit, loss_name, stop

STUDY = study(6)
BCE = {"label": "binary cross-entropy", "unit": "nats"}


def judged_by_decisions(result, under=0.05):
    """The same condition, as if its task stopped by wrong decisions: half of the loss, and none in the last epoch."""
    members = tuple(replace(m, epoch_wrong=np.append(np.asarray(m.epoch_loss)[:-1] / 2, 0.0)) for m in result.members)
    spec = {**result.spec, "loss": BCE, "stop": {"by": "wrong", "under": under}}
    return replace(result, spec=spec, members=members)


def first_heights(axes):
    return [line.get_ydata()[0] for line in axes.lines if len(line.get_ydata())]


DECISIONS = replace(STUDY, results=tuple(judged_by_decisions(r) for r in STUDY.results))


def test_a_loss_is_named_by_its_label_and_unit() -> None:
    assert plots.ood_errors(STUDY).axes[0].get_ylabel() == "mean squared error\n(output²)"
    assert plots.ood_errors(DECISIONS).axes[0].get_ylabel() == "binary cross-entropy\n(nats)"
    assert plots.ood_errors(DECISIONS.results[0]).axes[0].get_ylabel() == "binary cross-entropy\n(nats)"
    assert plots.training_curves(STUDY).axes[0].get_ylabel() == "mean squared error"


def test_conditions_of_several_losses_are_all_named_and_given_arrays_claim_none() -> None:
    both = (STUDY.results[0], DECISIONS.results[1])
    assert loss_name(both) == "mean squared error or binary cross-entropy"
    assert loss_axis(both) == "mean squared error or\nbinary cross-entropy", "units that differ are not said"
    assert loss_in_unit(both) == loss_name(both), "units that differ are not said"
    assert loss_in_unit(both[1:]) == "binary cross-entropy, in nats"
    assert course_name(both) == "mean squared error or share of wrong decisions"
    unknown = replace(STUDY.results[0], spec={})
    assert (loss_name([unknown]), loss_axis([unknown]), stop(unknown)) == ("loss", "loss", None)


def test_the_stop_line_is_that_of_the_goal_and_the_curve_what_is_judged() -> None:
    by_loss = plots.training_curves(STUDY.results[1]).axes[0]
    assert 0.001 in first_heights(by_loss), "the flip-flop's threshold"
    panel = plots.training_curves(judged_by_decisions(STUDY.results[1], under=0.0878)).axes[0]
    assert panel.get_ylabel() == "share of wrong decisions"
    assert 0.0878 in first_heights(panel)
    member = STUDY.results[1].members[0]
    drawn = panel.lines[0].get_ydata()
    np.testing.assert_array_equal(drawn[:-1], np.asarray(member.epoch_loss)[:-1] / 2)
    assert np.isnan(drawn[-1]), "0 has no place on a logarithmic axis"


@pytest.mark.parametrize("draw", [plots.ood_errors, plots.training_curves], ids=lambda f: f.__name__)
def test_long_names_of_own_losses_stay_in_the_figure(draw) -> None:
    long = {"label": "absolute difference of logarithms of durations", "unit": "log seconds"}
    named = replace(STUDY, results=tuple(replace(r, spec={**r.spec, "loss": long}) for r in STUDY.results))
    figure = draw(named)
    FigureCanvasAgg(figure).draw()
    box = figure.axes[0].yaxis.label.get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
