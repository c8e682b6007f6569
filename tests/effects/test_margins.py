"""Margins: a change is held against the share of the value at the lowest level, not at another."""

import numpy as np
import pytest

from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics.jackknife import member_mean
from degeneracy.measuring.results import MemberSummary, Result
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult

LABELS = tuple(map(str, range(8)))
NOISE = 0.01 * np.cos(np.arange(8))  # members differ a little


def condition(level: int, value: float) -> Result:
    """A condition whose DSA is that value, and well known."""
    members = tuple(
        MemberSummary(
            label=label, status="converged", n_updates=8, seconds=0.1, epoch_loss=np.full(2, 0.01),
            learning_rate=np.ones(2), steps_per_epoch=4,
        )
        for label in LABELS
    )  # fmt: skip
    finding = Finding(variant="driven", value=member_mean(value + level * NOISE))
    return Result(
        condition=f"a={level}",
        factors={"a": level},
        members=members,
        measured_members=LABELS,
        levels={"dsa": "dynamics"},
        measured={"dsa": Measured(findings=(finding,))},
    )


@pytest.mark.parametrize(
    ("lowest", "highest", "share", "says"),
    [
        (1.0, 1.9, 0.5, "up"),  # 0.9 is more than half of 1, and less than half of 1.9
        (1.9, 1.0, 0.6, "flat"),  # 0.9 is less than 60% of 1.9, and more than 60% of 1
        (-1.0, -1.9, 0.5, "down"),
        (-1.9, -1.0, 0.6, "flat"),
    ],
)
def test_a_margin_is_a_share_of_the_value_at_the_lowest_level(
    lowest: float, highest: float, share: float, says: str
) -> None:
    claims = Claims(dynamics={"margin": share})
    study = StudyResult(name="s", results=(condition(1, lowest), condition(2, highest)), claims=claims)
    row = study.effects().iloc[0]
    assert row.effect == pytest.approx(highest - lowest, abs=0.01)
    assert row.margin == pytest.approx(share * abs(lowest), abs=0.01)
    assert row.verdict == says
