"""The result of a study: its conditions' results side by side, and what its factors did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import unknown_name
from degeneracy.core.notebook import html_table
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.datasets import datasets
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
    # The trained networks of each condition, read from the run directory when they are asked for; empty without one.
    ensembles: Mapping[str, Ensemble] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        names = "; ".join(result.condition for result in self.results)
        return f"StudyResult({self.name}, {len(self.results)} conditions: {names})"

    def _repr_html_(self) -> str:
        rows = [(one.condition, one.n_members, one.n_converged, len(one.measured)) for one in self.results]
        title = f"Study {self.name}" + (f": {self.description}" if self.description else "")
        columns = ("condition", "networks", "measured", "measures with a number")
        return html_table(title, columns, rows, 'dg.effects(study), dg.report(study, "report.html")')

    @property
    def table(self) -> pd.DataFrame:
        """The tables of all conditions, one below the other (`degeneracy.csv`)."""
        return pd.concat([result.table for result in self.results], ignore_index=True)

    @ordinary_state()
    def to_xarray(self) -> Any:
        """The study as an `xarray.Dataset`, which has to be installed.

        Returns:
            As `Result.to_xarray`, with an axis `condition` in front, along which the factors' values stand too; NaN
            where a condition has no such finding or member. Notes are a variable, `notes` (condition, finding).

        Raises:
            UserError: xarray is not installed.
        """
        return datasets(self.results)

    @property
    def factors(self) -> tuple[str, ...]:
        """The varied factors."""
        return tuple(self.results[0].factors)

    def __getitem__(self, condition: str) -> Result:
        by_name = {result.condition: result for result in self.results}
        if condition not in by_name:
            raise unknown_name("condition", condition, by_name)
        return by_name[condition]
