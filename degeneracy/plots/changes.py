"""Tables of all measures side by side: which rows are worth a place, and effects as percentages, on one axis."""

import numpy as np
import pandas as pd

from degeneracy.analysis.measure import RESTATED, UNTRAINED
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
    """Effects, intervals and margins in columns percent, low, high, margin_low and margin_high.

    Percent of the value at the factor's lowest level (of standard deviations of log errors: of the deviation); on the
    calibrated scale percent of the way from floor to reference.

    Args:
        table: rows of `dg.effects`.
    """
    ends = {
        "percent": table["effect"],
        "low": table["ci_low"],
        "high": table["ci_high"],
        "margin_low": -table["margin"],
        "margin_high": table["margin"],
    }
    ratio, calibrated = table["unit"] == "log ratio", table["scale"] == "calibrated"
    whole = table["at_lowest"].abs().where(~calibrated, 1.0)
    return table.assign(
        **{name: 100 * np.expm1(x.where(ratio, 0.0)).where(ratio, x / whole) for name, x in ends.items()}
    )


def finding_names(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The measure and variant of each row."""
    return list(zip(table["measure"], table["variant"], strict=True))
