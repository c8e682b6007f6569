"""What a report is made of, computed once: the study, its factors' effects and who converged."""

from dataclasses import dataclass

import pandas as pd

from degeneracy.contrasts.convergence import convergence
from degeneracy.contrasts.effects import effects, robustness
from degeneracy.measuring.results import Result
from degeneracy.studies.study_result import StudyResult


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The source of all sentences, tables and figures of one report."""

    study: StudyResult
    effects: pd.DataFrame
    convergence: pd.DataFrame
    robustness: pd.DataFrame

    @classmethod
    def of(cls, study: StudyResult | Result) -> "ReportData":
        """The data of a study, or of one condition as a study of its own."""
        if isinstance(study, Result):
            study = StudyResult(name=study.condition, results=(study,))
        return cls(study=study, effects=effects(study), convergence=convergence(study), robustness=robustness(study))
