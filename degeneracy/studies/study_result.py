"""The result of a study: its conditions' results side by side, and what its factors did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from degeneracy.core.errors import unknown_name
from degeneracy.measuring.results import Result
from degeneracy.studies.claims import Claims


@dataclass(frozen=True, kw_only=True, repr=False)
class StudyResult:
    """The conditions of a study, measured with the same options."""

    name: str
    results: tuple[Result, ...]
    description: str = ""
    scale: str = ""  # which of the study file's scales it was run at
    claims: Claims = field(default_factory=Claims)
    # What the study's pilot chose, as study.json keeps it: under "choices" those that a measure takes, and under
    # "measures" which do; empty: it had none.
    pilot: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        names = "; ".join(result.condition for result in self.results)
        return f"StudyResult({self.name}, {len(self.results)} conditions: {names})"

    @property
    def table(self) -> pd.DataFrame:
        """The tables of all conditions, one below the other (`degeneracy.csv`)."""
        return pd.concat([result.table for result in self.results], ignore_index=True)

    @property
    def factors(self) -> tuple[str, ...]:
        """The varied factors."""
        return tuple(self.results[0].factors)

    def __getitem__(self, condition: str) -> Result:
        by_name = {result.condition: result for result in self.results}
        if condition not in by_name:
            raise unknown_name("condition", condition, by_name)
        return by_name[condition]
