"""Panels of a run: DSA at several ranks and numbers of delays, and measures in the course of training."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from degeneracy.analysis import MEASURES
from degeneracy.analysis.dynamics.linear.dsa_measure import DSA
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.plots.style import condition_colours, label_outer, legend_below, marker, panels, styled
from degeneracy.studies.claims import SHOWN_LEVELS, first_measure
from degeneracy.wording.names import full_name, joined, split, with_unit

# Measure and variant of the levels whose first measure has variants that do not depend on the task.
KNOWN_BEFOREHAND = tuple(
    (name, next(iter(MEASURES[name].variant_titles)))
    for name in map(first_measure, SHOWN_LEVELS)
    if MEASURES[name].variant_titles
)
AXES = {"fraction": "fraction of training", "training_loss": "training loss"}


@styled
def dsa_sensitivity(table: pd.DataFrame, variant: str = "driven", *, calibrated: bool = False) -> Figure:
    """DSA in each condition, one panel per number of delays and one line per rank, with 95% intervals.

    Args:
        table: what `dg.dsa_sensitivity` gave.
        variant: "driven" or "autonomous".
        calibrated: the values between floor and reference in place of those measured.

    Raises:
        UserError: a table without rows of that variant.
    """
    rows = table[table["variant"] == variant]
    if rows.empty:
        raise UserError(f"dsa sensitivity: the table has no rows of variant '{variant}'")
    names = ("calibrated", "calibrated_low", "calibrated_high") if calibrated else ("value", "ci_low", "ci_high")
    conditions = list(dict.fromkeys(rows["condition"]))
    delays, ranks = sorted(rows["n_delays"].unique()), sorted(rows["rank"].unique())
    figure, axes = panels(len(delays), 3, extra=0.7, share=True)
    for panel, n_delays in zip(axes, delays, strict=True):
        for k, rank in enumerate(ranks):
            one = rows[(rows["n_delays"] == n_delays) & (rows["rank"] == rank)].set_index("condition")
            value, low, high = (one[name].reindex(conditions).to_numpy() for name in names)
            at = [place + 0.12 * (k - (len(ranks) - 1) / 2) for place in range(len(conditions))]
            colour = condition_colours(len(ranks))[k]
            panel.errorbar(
                at,
                value,
                [value - low, high - value],
                fmt=marker(k) + "-",
                color=colour,
                label=f"rank {rank}",
                ms=4,
                lw=1,
            )
        panel.set_title(f"{n_delays} delays (n={int(rows['n_converged'].min())})")
        panel.set_xticks(range(len(conditions)), conditions, rotation=30, ha="right")
    name = full_name(DSA.name, variant)
    axes[0].set_ylabel(f"{name}, calibrated" if calibrated else with_unit(name, DSA.unit))
    label_outer(axes, 3, same_y=True)
    legend_below(figure, axes)
    return figure


@styled
def during_training(
    table: pd.DataFrame,
    names: Sequence[str] = tuple(joined(*name) for name in KNOWN_BEFOREHAND),
    *,
    against: str = "fraction",
) -> Figure:
    """Measures in the course of training, one panel per measure and one line per condition, with 95% intervals.

    Args:
        table: what `dg.during_training` gave.
        names: of measures with their variants, such as "dsa/driven"; by default those that levels are judged by whose
            variants do not depend on the task.
        against: "fraction" of each network's training, or "training_loss", so that conditions can be compared where
            their networks are equally good.

    Raises:
        UserError: a measure that the table does not hold, or an unknown axis.
    """
    if against not in AXES:
        raise unknown_name("axis", against, AXES, where="during training")
    if against not in table:
        raise UserError(f"during training: the table has no column '{against}'")
    figure, axes = panels(len(names), 3, extra=0.4)
    conditions = list(dict.fromkeys(table["condition"]))
    for panel, name in zip(axes, names, strict=True):
        measure, variant = split(name)
        rows = table[(table["measure"] == measure) & (table["variant"] == variant)]
        if rows.empty:
            raise UserError(f"during training: the table has no rows of '{name}'")
        for k, condition in enumerate(conditions):
            one = rows[rows["condition"] == condition].sort_values("fraction")
            bars = [one["value"] - one["ci_low"], one["ci_high"] - one["value"]]
            n = int(one["n_converged"].min())
            panel.errorbar(
                one[against],
                one["value"],
                bars,
                fmt=marker(k) + "-",
                color=condition_colours(len(conditions))[k],
                label=f"{condition} (n={n})",
                ms=4,
                lw=1,
            )
        panel.set_title(full_name(measure, variant))
        panel.set_ylabel(with_unit("value", MEASURES[measure].unit if measure in MEASURES else ""))
        panel.set_xlabel(AXES[against])
        if against == "training_loss":
            panel.set_xscale("log")
            panel.invert_xaxis()  # training goes on to the right in both
    legend_below(figure, axes)
    return figure
