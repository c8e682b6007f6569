"""How much of the degeneracy each source of variability carries: initialisation, data, noise.

A study that varies `training.shared_streams` trains the same condition with some of the sources common to all members.
What is left of a measure's value when only some sources vary, as a share of its value when all do, says how much these
carry by themselves. Shares of single sources need not add up to 1: sources act together, and distances saturate.
"""

import numpy as np
import pandas as pd

from degeneracy.analysis.statistics.contrasts import linear_contrast
from degeneracy.analysis.statistics.jackknife import untransformed
from degeneracy.contrasts.factor_grid import value_of
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.measuring.results import Result, finding_of
from degeneracy.studies.study_result import StudyResult

FACTOR = "training.shared_streams"
SOURCES = ("initialisation", "data", "noise")
COLUMNS = ("varies", "level", "measure", "variant", "share", "ci_low", "ci_high", "n_members", "note")


@ordinary_state()
def variability_shares(study: StudyResult) -> pd.DataFrame:
    """What is left of each measure's value when only some sources of variability vary.

    share = value(only these vary) / value(all vary), of squared distances its root, with a 95% interval from the
    jackknife of its logarithm, seeds that both conditions share counted jointly (`analysis.statistics.contrasts`).

    Args:
        study: one that varies `training.shared_streams` alone, with a level [] that shares nothing.

    Returns:
        One row per set of sources, measure and variant: `varies` names the sources that vary; `share`, 0 (they carry
        nothing) to 1 (they carry all of it) and beyond; NaN with a `note` where there is none.

    Raises:
        UserError: a study that does not.
    """
    by_shared = {tuple(sorted(result.factors.get(FACTOR, ()))): result for result in study.results}
    if set(study.factors) != {FACTOR} or () not in by_shared:
        raise UserError(
            f"variability_shares: the study varies {', '.join(study.factors) or 'nothing'}; needed is one that varies"
            f" {FACTOR} alone, with a level [] that shares nothing"
        )
    all_vary = by_shared.pop(())
    rows = []
    for shared, result in by_shared.items():
        varies = ", ".join(name for name in _sources(all_vary) if name not in shared) or "nothing"
        for measure, measured in all_vary.measured.items():
            level = all_vary.levels[measure]
            if level == "learning":  # how networks learn, not how they differ
                continue
            for finding in measured.findings:
                row = {"varies": varies, "level": level, "measure": measure}
                rows.append(row | _share(result, all_vary, measure, finding.variant))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _sources(result: Result) -> tuple[str, ...]:
    """The sources there are: noise only where it is on."""
    network = result.spec.get("network") or {}
    return SOURCES if network.get("sigma_rec") or network.get("sigma_in") else SOURCES[:2]


def _power(result: Result, measure: str, variant: str) -> float:
    """By which a ratio of values is one of distances: 1/2 where they are squares."""
    finding = finding_of(result, measure, variant)
    return 0.5 if finding is not None and finding.corrected else 1.0


def _share(some: Result, all_vary: Result, measure: str, variant: str) -> dict[str, object]:
    row: dict[str, object] = {"variant": variant, "n_members": some.n_converged}
    estimates = [value_of(result, measure, variant, "log") for result in (some, all_vary)]
    if isinstance(estimates[0], str) or isinstance(estimates[1], str):
        note = next(one for one in estimates if isinstance(one, str))
        return row | {"share": float("nan"), "ci_low": float("nan"), "ci_high": float("nan"), "note": note}
    given = [one for one in estimates if not isinstance(one, str)]
    labels = [some.measured_members, all_vary.measured_members]
    change = linear_contrast(given, labels, np.array([1.0, -1.0]) * _power(all_vary, measure, variant), "log")
    share, low, high = untransformed(np.array([change.change, *change.interval()]), "log")
    return row | {"share": float(share), "ci_low": float(low), "ci_high": float(high), "note": ""}
