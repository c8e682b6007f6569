"""The figure of how much of the degeneracy each source of variability carries."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from degeneracy.analysis.measure import LEVELS
from degeneracy.core.errors import UserError
from degeneracy.plots.changes import finding_names, rows_of_spread
from degeneracy.plots.style import COLOURS, GREY, legend_below, marker, row_panels, styled
from degeneracy.wording.names import full_name

ROW_HEIGHT = 0.26  # inches


@styled
def variability_shares(table: pd.DataFrame) -> Figure:
    """What is left of each measure where only some sources vary, with 95% intervals; one panel per level.

    Args:
        table: what `dg.variability_shares` gave.

    Raises:
        UserError: a table without a share.
    """
    if "share" not in table:
        raise UserError("source shares: the table has no column 'share'")
    shown = rows_of_spread(table[table["share"].notna()])
    levels = [level for level in LEVELS if level in set(shown["level"])]
    if not levels:
        raise UserError("source shares: the table holds no share (its notes say why)")
    varies = list(dict.fromkeys(shown["varies"]))
    rows = {level: list(dict.fromkeys(finding_names(shown[shown["level"] == level]))) for level in levels}
    figure, axes = row_panels([len(rows[level]) for level in levels], ROW_HEIGHT)
    for ax, level in zip(axes, levels, strict=True):
        _panel(ax, shown[shown["level"] == level], rows[level], varies)
        ax.set_title(level)
    axes[-1].set_xlabel("value where only these vary / value where all vary")
    legend_below(figure, axes)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, rows: list[tuple[str, str]], varies: list[str]) -> None:
    """Shares of one level, one row per measure, the sources side by side in it."""
    for k, sources in enumerate(varies):
        own = table[table["varies"] == sources]
        at = [rows.index(name) + 0.7 * ((k + 0.5) / len(varies) - 0.5) for name in finding_names(own)]
        axes.errorbar(
            own["share"],
            at,
            xerr=[own["share"] - own["ci_low"], own["ci_high"] - own["share"]],
            fmt=marker(k),
            color=COLOURS[k % len(COLOURS)],
            label=f"{sources} (n={own['n_members'].min()})",
            ms=4,
            lw=1.2,
        )
    axes.axvline(1, color=GREY, ls=":", lw=1.2)
    axes.set_xlim(left=0)
    axes.set_yticks(range(len(rows)), [full_name(*name) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
