"""Which signs survive which checks: studies by checks, one panel per level."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from degeneracy.contrasts.cells import VALUE
from degeneracy.core.errors import UserError
from degeneracy.plots.style import COLOURS, GREY, PALE, panels, styled
from degeneracy.studies.claims import SHOWN_LEVELS

# Colour and letter, so that neither is needed to tell them apart.
LOOKS = {
    "agrees": (COLOURS[0], "white", "+", "as expected"),
    "disagrees": (COLOURS[1], "white", "\N{MINUS SIGN}", "not as expected"),
    "unclear": (PALE, "black", "?", "unclear"),
    "not resolved": (PALE, "black", "~", "not resolved"),
    "depends": (PALE, "black", "*", "depends on a setting"),
    "": ("white", GREY, "", "no number"),
}


@styled
def agreement(table: pd.DataFrame) -> Figure:
    """Whether each study's effect is the one expected, one row per study and one column per check, one panel per level.

    n is the number of networks of the level that has the fewest (fewer yet at matched loss).

    Args:
        table: what `dg.combine_effects(studies, checks=True)` gave.

    Raises:
        UserError: a table without its columns or without rows.
    """
    missing = {"study", "check", "level", "scale", "agreement", "n_members"} - set(table.columns)
    if missing or table.empty:
        raise UserError(f"agreement: the table has no {min(missing) if missing else 'rows'}")
    studies = list(dict.fromkeys(table["study"]))
    levels = [level for level in SHOWN_LEVELS if level in set(table["level"])]
    measured = table[(table["scale"] == VALUE) & table["effect"].notna()]
    least = measured.groupby("study")["n_members"].min().reindex(studies, fill_value=0)
    names = [f"{study} (n={least[study]})" for study in studies]
    figure, axes = panels(len(levels), len(levels), height=1.5 + 0.2 * len(studies), extra=0.35)
    for k, (panel, level) in enumerate(zip(axes, levels, strict=True)):
        _panel(panel, table[table["level"] == level], studies)
        panel.set_title(level)
        panel.set_yticks(range(len(studies)), names if k == 0 else [""] * len(studies))
    seen = {*table["agreement"], "agrees", "disagrees", "unclear", ""}
    handles = [
        Patch(facecolor=face, edgecolor=GREY, label=f"{sign} {said}".strip())
        for key, (face, _, sign, said) in LOOKS.items()
        if key in seen
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, studies: list[str]) -> None:
    """One level: the checks that it has, in the table's order."""
    checks = list(dict.fromkeys(rows["check"]))
    said = {(row["study"], row["check"]): row["agreement"] for row in rows.to_dict("records")}
    for y, study in enumerate(studies):
        for x, check in enumerate(checks):
            face, ink, sign, _ = LOOKS[said.get((study, check), "")]
            axes.fill_between([x - 0.46, x + 0.46], y - 0.44, y + 0.44, color=face, lw=0)
            axes.text(x, y, sign, ha="center", va="center", color=ink)
    axes.set_xticks(range(len(checks)), checks, rotation=90)
    axes.set_xlim(-0.6, len(checks) - 0.4)
    axes.set_ylim(len(studies) - 0.4, -0.6)
    axes.tick_params(length=0)
