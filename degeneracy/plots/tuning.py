"""The figure of a tuned knob: the curve that was seen, and the target."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from degeneracy.analysis import MEASURES
from degeneracy.plots.style import COLOURS, GREY, LogNumbers, legend_below, panels, styled
from degeneracy.studies.tuning import Tuning
from degeneracy.wording.conditions import n_text
from degeneracy.wording.factors import factor_name
from degeneracy.wording.names import full_name, with_unit


@styled
def tuning_curve(tuning: Tuning) -> Figure:
    """The measure's value with its 95% interval at every strength of the knob that was tried, and the target.

    The strength that reached the target, if any did, is set off; a cross at the foot is one that left no value.
    """
    figure, (ax,) = panels(1, 1, height=2.6, extra=0.35)
    curve = tuning.evaluations.sort_values("knob")
    there = curve[np.isfinite(curve["value"])]
    ax.axhline(tuning.target, color=GREY, ls="--", lw=1.2, label="target")
    ax.plot(there["knob"], there["value"], "-o", color=COLOURS[0], lw=0.8, label="value, 95% interval")
    ax.vlines(there["knob"], there["ci_low"], there["ci_high"], color=COLOURS[0], lw=1.2)
    if tuning.status == "reached":
        ax.plot(tuning.at, tuning.value, "D", color=COLOURS[1], ms=7, label=f"reached at {tuning.at:g}")
    lost = curve.loc[~np.isfinite(curve["value"]), "knob"]
    if len(lost):
        foot = ax.get_xaxis_transform()  # across in data, upwards in shares of the panel
        ax.plot(lost, [0.03] * len(lost), "x", color=GREY, transform=foot, clip_on=False, label="no value")
    _knob_axis(ax, tuning)
    ax.set_xlabel(f"{factor_name(tuning.knob)} ({n_text(curve['n_converged'])})")
    unit = MEASURES[tuning.measure].unit if tuning.measure in MEASURES else ""
    ax.set_ylabel("calibrated" if tuning.calibrated else with_unit("value", unit))
    ax.set_title(full_name(tuning.measure, tuning.variant))
    legend_below(figure, [ax])
    return figure


def _knob_axis(axes: Axes, tuning: Tuning) -> None:
    """A logarithmic axis with powers of ten over decades, and round numbers over less."""
    if not tuning.log:
        return
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    knobs = tuning.evaluations["knob"]
    decades = math.log10(knobs.max() / knobs.min())
    if decades >= 2:
        axes.xaxis.set_major_formatter(LogNumbers())
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if decades > 0.7 else MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
