"""What a tune has found: the strength of a knob at which a measure has the value that was asked for."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

Status = Literal["reached", "out of reach", "not reached"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Tuning:
    """What a tune has found: the knob's strength at which the measure has the target's value, or why there is none.

    `at` is the strength whose value is nearest to the target, among those whose interval holds it where there are any
    (`status` "reached"); NaN where no strength left 2 converged members. `evaluations` is the curve that was seen, one
    row per evaluation, in their order: `knob`, `value`, `ci_low`, `ci_high` (95%), `n_members`, `n_converged`, `run`
    (its run directory, below `out`), and in `note` why there is no value.
    """

    status: Status
    message: str  # the same in a sentence, with numbers
    knob: str
    measure: str
    variant: str
    calibrated: bool  # whether values are calibrated ones
    target: float
    log: bool  # whether the knob was searched on its logarithm
    at: float
    value: float
    ci_low: float
    ci_high: float
    evaluations: pd.DataFrame

    def __repr__(self) -> str:
        return f"Tuning({self.message})"
