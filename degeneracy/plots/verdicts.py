"""Effects of factors with intervals and verdicts, one row per study or check, and one panel per level or check."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from degeneracy.core.errors import UserError
from degeneracy.plots.changes import in_percent
from degeneracy.plots.style import COLOURS, GREY, panels, styled
from degeneracy.studies.claims import SHOWN_LEVELS

LIMIT = 150.0  # percent: what lies beyond is drawn at the edge, as a triangle
ARROWS = {"up": "↑", "down": "↓", "flat": "–", "": ""}
# Colour and marker, so that neither is needed to tell them apart; "" where nothing was expected.
LOOKS = {
    "agrees": (COLOURS[0], "o"),
    "disagrees": (COLOURS[1], "s"),
    "unclear": (GREY, "D"),
    "not resolved": (GREY, "X"),
    "depends": (GREY, "^"),
    "": ("black", "o"),
}


@styled
def verdicts(table: pd.DataFrame, by: str = "study", panel: str = "level") -> Figure:
    """Each row's change from the lowest to the highest level of its factor, with its 95% interval.

    Changes are percent of the value at the lowest level (of standard deviations of log errors: of the deviation);
    on the calibrated scale, percent of the way from floor to reference. The shaded part is the margin inside which a
    change does not matter, grey strokes are the smallest changes that 80% of studies with as many networks would have
    shown, the arrow the sign expected; n is the least number of networks per level.

    Args:
        table: rows of `dg.effects`, such as `robustness_checks` and `combine_effects` give, each with the column `by`.
        by: the column that names the rows of the figure.
        panel: the column that names its panels, such as "check", to see several measures of one level side by side.

    Raises:
        UserError: a table without these columns or without rows.
    """
    missing = {by, panel, "effect", "agreement"} - set(table.columns)
    if missing or table.empty:
        raise UserError(f"verdicts: the table has no {min(missing) if missing else 'rows'}")
    names = list(dict.fromkeys(table[by]))
    there = list(dict.fromkeys(table[panel]))
    titles = [level for level in SHOWN_LEVELS if level in there] if panel == "level" else there
    figure, axes = panels(len(titles), len(titles), height=0.9 + 0.27 * len(names), extra=0.35)
    for each, title in zip(axes, titles, strict=True):
        _panel(each, table[table[panel] == title], names, by)
        each.set_title(title)
        each.set_xlabel("change (%)")
    _row_names(axes[0], table, names, by)
    for each in axes[1:]:
        each.set_yticks([])
    _legend(figure, table)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, names: list[str], by: str) -> None:
    rows = in_percent(rows)
    drawn = rows[["percent", "low", "high", "margin_low", "margin_high"]].to_numpy(dtype=np.float64)
    finite = np.abs(drawn[np.isfinite(drawn)])
    limit = min(LIMIT, 1.15 * finite.max(initial=0.0) or 1.0)
    for row in rows.to_dict("records"):
        value, low, high = row["percent"], row["low"], row["high"]
        at = names.index(row[by])
        colour, shape = LOOKS[row["agreement"]]
        if np.isfinite(row["margin_low"]):
            ends = row["margin_low"], row["margin_high"]
            axes.fill_betweenx([at - 0.4, at + 0.4], *ends, color="0.92", lw=0, zorder=0)
        visible = [x for x in (row["visible_low"], row["visible_high"]) if abs(x) <= limit]
        if visible:
            axes.plot(visible, [at] * len(visible), "|", color=GREY, ms=7, zorder=0.7)
        if np.isfinite(low):
            axes.plot(np.clip([low, high], -limit, limit), [at, at], color=colour, lw=1.4)
        if np.isfinite(value):
            shape = shape if abs(value) <= limit else ">" if value > 0 else "<"
            hollow = row["verdict"] not in ("up", "down")
            axes.plot(
                np.clip(value, -limit, limit),
                at,
                shape,
                color=colour,
                ms=5,
                mfc="white" if hollow else colour,
            )
        else:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # hides the line at 0
            axes.text(0, at, "no number", color=GREY, ha="center", va="center", fontsize="small", bbox=box)
        arrow = ARROWS[row["expected"]]
        axes.text(0.99, at, arrow, ha="right", va="center", color="0.35", transform=axes.get_yaxis_transform())
    axes.axvline(0, color="0.4", lw=0.8, zorder=0.5)
    axes.set_xlim(-1.08 * limit, 1.45 * limit)  # room for the signs
    ticks = np.array(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(-limit, limit))
    axes.set_xticks(ticks[np.abs(ticks) <= limit])
    axes.set_ylim(len(names) - 0.4, -0.6)


def _row_names(axes: Axes, table: pd.DataFrame, names: list[str], by: str) -> None:
    known = table[table["effect"].notna()]
    least = known.groupby(by)["n_members"].min().reindex(names, fill_value=0)
    axes.set_yticks(range(len(names)), [f"{name} (n={least[name]})" for name in names])


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    words = {
        "agrees": "as expected",
        "disagrees": "not as expected",
        "unclear": "unclear",
        "not resolved": "not resolved",
        "depends": "depends on a setting",
        "": "nothing expected",
    }
    known = table[table["effect"].notna()]
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=colour,
            marker=shape,
            ls="-",
            ms=5,
            mfc="white" if key not in ("agrees", "disagrees", "") else colour,
            label=words[key],
        )
        for key, (colour, shape) in LOOKS.items()
        if key in set(known["agreement"])
    ]
    if "flat" in set(known["verdict"]):
        handles.append(Line2D([], [], color=GREY, marker="s", ls="", ms=5, mfc="white", label="hollow: flat"))
    if known["margin"].notna().any():
        handles.append(Patch(color="0.92", label="margin of no change"))
    if known["smallest_visible"].notna().any():
        handles.append(Line2D([], [], color=GREY, marker="|", ls="", ms=7, label="smallest visible change"))
    if table["expected"].isin(["up", "down"]).any():
        handles.append(Line2D([], [], color="0.35", marker=_letter(ARROWS["down"]), ls="", ms=6, label="expected sign"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3))


def _letter(text: str) -> Path:
    """A letter as a marker: its outline about its middle."""
    outline = TextPath((0, 0), text)
    middle = outline.get_extents().get_points().mean(axis=0)
    return outline.transformed(Affine2D().translate(*-middle))
