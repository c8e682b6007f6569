"""The result of a study: its conditions' results side by side, and what its factors did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from degeneracy.errors import unknown_name
from degeneracy.measuring.results import Result
from degeneracy.studies.claims import Claims
from degeneracy.user_files import user_path


@dataclass(frozen=True, kw_only=True, repr=False)
class StudyResult:
    """The conditions of a study, measured with the same options."""

    name: str
    results: tuple[Result, ...]
    description: str = ""
    scale: str = ""  # which of the study file's scales it was run at
    claims: Claims = field(default_factory=Claims)
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

    def effects(self) -> pd.DataFrame:
        """What each varied factor does to each measure, with verdicts (`effects.csv`).

        A row a factor, finding and `scale`: "value", "calibrated", and "value, matched loss", which is the value
        among the members whose final training loss lies in the range that all levels have in common (NaN where
        under 4 a condition do, or the measure keeps nothing to take it again from).

        `effect` is the change from the lowest to the highest level of the factor (`lowest`, `highest`) along the
        least-squares line over the levels' ranks, averaged over the levels of the other factors; levels that are no
        numbers come in the study's order. Ranks are logarithms where levels grow by a constant factor. Its `unit` is
        the measure's; "log ratio", a difference of natural logarithms, for standard deviations; or
        "share of floor to reference". `ci_low` and `ci_high` are the 95% interval, `p` that of no change, seeds
        counted jointly over all conditions (`linear_contrast` in `analysis.statistics.contrasts`). `at_lowest` is the
        value at the lowest level, `p_bend` that of the levels lying on a line (NaN for two levels or such without an
        order), `margin` the smallest change that matters, in the unit of the effect (0: none was written),
        `n_members` the members of the smallest condition.

        `verdict` is up, down, flat or unclear (see `analysis.statistics.verdicts`), "" where there is no effect to
        judge. Where `primary`, it goes by `p_holm`, Holm's correction over the primary cells of that scale, and
        `agreement` says whether it is what the claims expected.
        """
        from degeneracy.effects.table import effects  # it stands on results

        return effects(self)

    def convergence(self) -> pd.DataFrame:
        """Each level's primary value beside how many networks converged, a row a condition and level.

        Columns: the condition and its factors, `n_members`, `n_converged`, `converged_share`, `final_loss` (mean over
        measured members of the last epoch's mean training loss, with `final_loss_min` and `_max`), then level,
        measure, variant, value, ci_low and ci_high (`convergence.csv`).
        """
        from degeneracy.effects.table import convergence  # likewise

        return convergence(self)

    def report(self, path: str | Path, *, jobs: int = 1) -> Path:
        """Write a self-contained HTML report, its figures beside it, drawn by `jobs` processes; returns its path."""
        from degeneracy.report import write_report

        return write_report(self, user_path(path), jobs=jobs)
