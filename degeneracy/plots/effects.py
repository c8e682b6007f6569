"""The figure of what a study's factors do to each measure."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from degeneracy.analysis.measure import LEVELS
from degeneracy.contrasts.effects import effects as effects_of
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.plots.changes import finding_names, in_percent, rows_of_spread
from degeneracy.plots.style import COLOURS, GREY, PALE, legend_below, marker, row_panels, styled
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.conditions import n_text
from degeneracy.wording.factors import factor_name
from degeneracy.wording.names import full_name

ROW_HEIGHT = 0.21  # inches


@styled
def effects(study: StudyResult | pd.DataFrame, scale: str = "value") -> Figure:
    """What each factor does to each measure from its lowest to its highest level, with 95% intervals, by level.

    Filled: the measure that the level is judged by; its verdict stands beside it. Open: exploratory, each by itself.
    A grey bar is the margin within which a change is none, where the study wrote one; grey strokes are the smallest
    changes that 80% of studies with as many networks would have shown. See `dg.effects`.

    Args:
        study: two conditions or more with a varied factor, or what `dg.effects` says of them.
        scale: "value" or "value, matched loss", in percent of the value at the factor's lowest level, so that all
            measures have one axis; or "calibrated", in percent of the way from floor to reference.

    Raises:
        UserError: nothing is varied, an unknown scale, or no effect on it.
    """
    table = study if isinstance(study, pd.DataFrame) else effects_of(study)
    if table.empty:
        raise UserError("effects: this study varies nothing")
    if scale not in set(table["scale"]):
        raise unknown_name("scale", scale, table["scale"].unique(), where="effects")
    shown = in_percent(_shown(table[table["scale"] == scale]))
    shown = shown[np.isfinite(shown["percent"])]  # of 0 at the lowest level nothing is a percentage
    levels = [level for level in LEVELS if level in set(shown["level"])]
    if not levels:
        raise UserError(f"effects: no measure has an effect on the scale '{scale}' (the table says why)")
    rows = {level: list(dict.fromkeys(finding_names(shown[shown["level"] == level]))) for level in levels}
    figure, axes = row_panels([len(rows[level]) for level in levels], ROW_HEIGHT)
    for ax, level in zip(axes, levels, strict=True):
        _panel(ax, shown[shown["level"] == level], rows[level], tuple(table["factor"].unique()))
        ax.set_title(level)
    n = n_text(shown["n_members"])
    whole = "floor to reference" if scale == "calibrated" else "the value at the lowest level"
    axes[-1].set_xlabel(f"change, % of {whole} ({n})")
    legend_below(figure, axes)
    return figure


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows worth a place: of behavior, the task variant that it is judged by."""
    judged = set(table.loc[table["primary"] & (table["level"] == "behavior"), "variant"])
    other_variant = (table["level"] == "behavior") & ~table["variant"].isin(judged or set(table["variant"]))
    return rows_of_spread(table[table["effect"].notna() & ~(other_variant & ~table["primary"])])


def _panel(axes: Axes, table: pd.DataFrame, rows: list[tuple[str, str]], factors: tuple[str, ...]) -> None:
    """Effects of one level, one row per measure; several factors side by side in it."""
    for k, factor in enumerate(factors):
        shift = 0.7 * ((k + 0.5) / len(factors) - 0.5)
        own = table[table["factor"] == factor]
        for name, row in zip(finding_names(own), own.to_dict("records"), strict=True):
            at, colour = rows.index(name) + shift, COLOURS[k % len(COLOURS)]
            label = f"{factor_name(factor)}, {row['lowest']} → {row['highest']}"
            if row["margin"] > 0:
                ends = [row["margin_low"], row["margin_high"]]
                axes.plot(ends, [at, at], color=PALE, lw=5, solid_capstyle="butt", label="margin")
            axes.plot([row["low"], row["high"]], [at, at], color=colour, lw=1.4)
            visible = [row["visible_low"], row["visible_high"]]
            axes.plot(visible, [at, at], "|", color=GREY, ms=7, label="smallest visible change")
            axes.plot(
                row["percent"], at, marker(k), color=colour, label=label,
                markerfacecolor=colour if row["primary"] else "white",
            )  # fmt: skip
    axes.axvline(0, color=GREY, ls=":", lw=1.2)
    axes.set_yticks(range(len(rows)), [_label(table, name) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _label(table: pd.DataFrame, name: tuple[str, str]) -> str:
    """A measure's name, with the verdicts on it where it is judged."""
    own = table[(table["measure"] == name[0]) & (table["variant"] == name[1]) & table["primary"]]
    return f"{full_name(*name)}: {' / '.join(own['verdict'])}" if len(own) else full_name(*name)
