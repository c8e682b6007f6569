"""Tables of all measures side by side: which rows are worth a place, and effects as percentages, on one axis."""

import numpy as np
import pandas as pd

from degeneracy.wording.names import IN_CSV_ONLY

# Variants that count or average what networks do alike.
NO_DIFFERENCE = ("n_stable", "n_total", "n_cycles", "mean")


def rows_of_spread(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table with level, measure and variant that say how networks differ, each thing once."""
    keep = (
        ~table["measure"].isin(IN_CSV_ONLY)
        & ~table["variant"].isin(NO_DIFFERENCE)
        & ~table["variant"].str.endswith("/untrained")
        & (table["level"] != "learning")
    )
    return table[keep]


def in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Effects, intervals and margins in columns percent, low, high, margin_low and margin_high.

    Percent of the value at the factor's lowest level (of standard deviations of log errors: of the deviation); on the
    calibrated scale percent of the way from floor to reference.

    Args:
        table: rows of `StudyResult.effects`.
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
