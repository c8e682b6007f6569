"""What numbers of networks could show, as judged by a pilot: the smallest visible change, the narrowest margin."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from degeneracy.analysis.statistics.verdicts import ALPHA
from degeneracy.contrasts.cells import MATCHED, Cell, of_factor
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.resolution import not_resolved

COLUMNS = (
    *("factor", "level", "measure", "variant", "scale", "n_pilot", "value", "margin"),
    *("n_members", "smallest_visible", "flat_margin", "note"),
)
NETWORKS = (16, 20, 50, 100)


@ordinary_state()
def plan(pilot: StudyResult, networks: Sequence[int] = NETWORKS) -> pd.DataFrame:
    """Which changes of the measures that are judged a number of networks per level can show.

    The standard errors of a pilot, a run of the study with few networks, are scaled by one over the root of their
    number. They are estimates themselves: of 8 networks, to within about a quarter.

    Args:
        pilot: a run of the study.
        networks: numbers per level, 3 or more each.

    Returns:
        One row per factor, judged measure, scale ("value", "calibrated") and number of networks: `smallest_visible`,
        the change that 80% of studies would show at 5%, divided by how many measures and factors are judged, upwards;
        and `flat_margin`, the smallest margin in which no change is called flat in 80%. Both are as a study file writes
        margins: shares of the value at the lowest level (of squared distances, of the distance), or of the way from
        floor to reference. `value` is that at the lowest level, of `n_pilot` networks; `margin` is the study's.
        A measure that is mostly floor has NaN and a note: it needs trials, not networks.

    Raises:
        UserError: a study that varies nothing or judges nothing, or fewer than 3 networks.
    """
    wrong = [n for n in networks if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 3]
    if wrong or not networks:
        raise UserError(f"plan: networks = {list(networks)} is wrong: numbers per level are needed, 3 or more each")
    if not pilot.factors:
        raise UserError("plan: the pilot varies nothing; what a factor does can be planned from a study that varies it")
    cells = [cell for factor in pilot.factors for cell in of_factor(pilot, factor) if cell.primary]
    cells = [cell for cell in cells if cell.scale != MATCHED and np.isfinite(cell.contrast.effect.change)]
    if not cells:
        raise UserError("plan: no measure that is judged has a number in two levels of the pilot")
    rows = []
    for cell in cells:
        asked = sum(other.scale == cell.scale for other in cells)
        rows += [_row(cell, n, ALPHA / asked) for n in networks]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(cell: Cell, n_members: int, alpha: float) -> dict[str, object]:
    contrast, visible, margin = cell.contrast, float("nan"), float("nan")
    note = not_resolved(cell.findings)
    if not note and not np.isfinite(contrast.effect.standard_error):
        note = "the pilot gives no interval: 3 networks per level or more are needed, which differ"
    if not note:
        visible = contrast.as_share(contrast.visible(n_members, alpha))
        margin = contrast.flat_margin(n_members)
    return {
        "factor": cell.grid.factor,
        "level": cell.level,
        "measure": cell.measure,
        "variant": cell.variant,
        "scale": cell.scale,
        "n_pilot": contrast.effect.df + 1,
        "value": contrast.at_lowest,
        "margin": cell.margin,
        "n_members": n_members,
        "smallest_visible": visible,
        "flat_margin": margin,
        "note": note,
    }
