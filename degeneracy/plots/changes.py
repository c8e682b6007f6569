"""Tables of all measures side by side: which rows are worth a place, and effects as percentages, on one axis."""

import numpy as np
import pandas as pd

from degeneracy.analysis.measure import RESTATED, UNTRAINED
from degeneracy.analysis.statistics.resolution import share_of_distance
from degeneracy.wording.names import card


def rows_of_spread(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table with level, measure and variant that say how networks differ, each thing once."""
    says = [card(measure).shown and not card(measure).is_average(variant) for measure, variant in finding_names(table)]
    return table[
        np.array(says, dtype=bool)
        & ~table["variant"].str.endswith((UNTRAINED, *RESTATED))
        & (table["level"] != "learning")
    ]


def in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Effects, intervals, margins and smallest visible changes in percent, as columns.

    These are percent, low, high, margin_low, margin_high, visible_low and visible_high.

    Percent of the value at the factor's lowest level (of standard deviations of log errors: of the deviation; of
    squared distances: of the distance); on the calibrated scale percent of the way from floor to reference.

    Args:
        table: rows of `dg.effects`.
    """
    ends = {"percent": table["effect"], "low": table["ci_low"], "high": table["ci_high"]}
    percent = {name: _percent(table, x) for name, x in ends.items()}
    visible = table["smallest_visible"]
    margin = _percent(table, table["margin"])
    below = (-margin).where(table["corrected"], _percent(table, -table["margin"]))  # of the distance, alike either way
    ends = {"visible_low": _percent(table, -visible), "visible_high": _percent(table, visible)}
    return table.assign(**percent, **ends, margin_low=below, margin_high=margin)


def _percent(table: pd.DataFrame, x: pd.Series) -> pd.Series:
    """Changes in the unit of each row's effect as percentages."""
    ratio, calibrated = table["unit"] == "log ratio", table["scale"] == "calibrated"
    whole = table["at_lowest"].abs().where(~calibrated, 1.0)
    of_value = (x / whole).where(~table["corrected"], share_of_distance(x, whole))
    return 100 * np.expm1(x.where(ratio, 0.0)).where(ratio, of_value)


def finding_names(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The measure and variant of each row."""
    return list(zip(table["measure"], table["variant"], strict=True))
