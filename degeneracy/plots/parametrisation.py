"""The coordinate check: how far training moves states at every width."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from degeneracy.core.errors import UserError
from degeneracy.plots.style import condition_colours, legend_below, marker, panels, styled

PANELS = {"state_change": "hidden states", "output_change": "outputs"}


@styled
def coordinate_check(changes: Mapping[str, pd.DataFrame]) -> Figure:
    """Change of hidden states and outputs in training against width, every network and the mean of each width.

    Args:
        changes: what `checks.state_changes` gave, by the name of the parametrisation.

    Raises:
        UserError: no changes.
    """
    if not changes:
        raise UserError("coordinate check: there are no changes to draw")
    figure, axes = panels(2, 2, extra=0.4)
    n_seeds = min(int(table.groupby("hidden_size").size().min()) for table in changes.values())
    for panel, (column, what) in zip(axes, PANELS.items(), strict=True):
        for k, (name, table) in enumerate(changes.items()):
            colour = condition_colours(len(changes))[k]
            means = table.groupby("hidden_size")[column].mean()
            panel.plot(table["hidden_size"], table[column], marker(k), color=colour, ms=3, alpha=0.5)
            panel.plot(means.index, means, marker(k) + "-", color=colour, label=name)
        widths = sorted({int(n) for table in changes.values() for n in table["hidden_size"]})
        panel.set_xscale("log")
        panel.set_xticks(widths, [str(n) for n in widths])
        panel.set_xticks([], minor=True)
        panel.set_ylim(0, None)
        panel.set_xlabel("units")
        panel.set_title(f"{what} (n={n_seeds} networks per width)")
    axes[0].set_ylabel("change in training, RMS")
    legend_below(figure, axes)
    return figure
