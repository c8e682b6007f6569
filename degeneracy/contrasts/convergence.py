"""Who converged, and how well, beside the values that levels are judged by."""

import numpy as np
import pandas as pd

from degeneracy.contrasts.cells import judged
from degeneracy.contrasts.factor_grid import final_losses
from degeneracy.core.ambient import ordinary_state
from degeneracy.studies.study_result import StudyResult

CONVERGENCE_COLUMNS = (
    "n_members",
    "n_converged",
    "converged_share",
    "final_loss",
    "final_loss_min",
    "final_loss_max",
    "level",
    "measure",
    "variant",
    "value",
    "ci_low",
    "ci_high",
)


@ordinary_state()
def convergence(study: StudyResult) -> pd.DataFrame:
    """Each level's primary value beside how many networks converged, one row per condition and level.

    Columns: the condition and its factors, `n_members`, `n_converged`, `converged_share`, `final_loss` (mean over
    measured members of the last epoch's mean training loss, with `final_loss_min` and `_max`), then level,
    measure, variant, value, ci_low and ci_high (`convergence.csv`).

    A condition in which few networks converge is one of survivors: a value that follows the share may be theirs
    rather than the factor's.
    """
    rows = []
    for result in study.results:
        table, losses = result.table, np.array(list(final_losses(result).values()))
        known = losses if len(losses) else np.array([np.nan])
        for level, (measure, variant) in judged(study).items():
            found = table[(table["measure"] == measure) & (table["variant"] == variant)].head(1)
            value = found[["value", "ci_low", "ci_high"]].to_numpy().ravel()
            rows.append(
                {
                    "condition": result.condition,
                    **result.factors,
                    "n_members": result.n_members,
                    "n_converged": result.n_converged,
                    "converged_share": result.n_converged / result.n_members,
                    "final_loss": known.mean(),
                    "final_loss_min": known.min(),
                    "final_loss_max": known.max(),
                    "level": level,
                    "measure": measure,
                    "variant": variant,
                    **dict(zip(CONVERGENCE_COLUMNS[-3:], [*value, *[np.nan] * 3], strict=False)),
                }
            )
    return pd.DataFrame(rows, columns=["condition", *study.factors, *CONVERGENCE_COLUMNS])
