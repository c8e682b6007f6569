"""Checks of measures: a sound one passes, and each claim fails on a measure that is broken in that way."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from degeneracy.analysis import Estimate, Finding, Measure, Measured, Recording
from degeneracy.analysis.activity import of_active_members
from degeneracy.analysis.measure import PERMUTATION, ROTATION, SIGNS, TRANSLATION
from degeneracy.analysis.statistics import jackknife
from degeneracy.checks import CheckFailed, check_measure


class Sound(Measure):
    """Distance of the mean state's norm: a measure that keeps all claims."""

    name: ClassVar[str] = "sound"
    level: ClassVar[Any] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    meaning: ClassVar[str] = "difference of the rms state"
    zero: ClassVar[str] = "equal rms states"
    source: ClassVar[str] = "this test"
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)

    def matrix(self, recording: Recording) -> np.ndarray:
        assert recording.states is not None
        size = np.array([np.sqrt((x**2).sum(-1).mean()) for x in recording.states])
        return np.abs(size[:, None] - size)

    @of_active_members("own")
    def __call__(self, recording: Recording) -> Measured:
        matrix = self.matrix(recording)
        return Measured(
            findings=(Finding(variant="own", value=jackknife.pair_mean(matrix)),), distances={"own": matrix}
        )


class CountsSilence(Sound):
    def __call__(self, recording: Recording) -> Measured:
        matrix = self.matrix(recording)
        return replace(
            super().__call__(recording), findings=(Finding(variant="own", value=jackknife.pair_mean(matrix)),)
        )


class SaysNotWhoIsSilent(Sound):
    def __call__(self, recording: Recording) -> Measured:
        found = super().__call__(recording)
        return replace(found, findings=tuple(replace(finding, note="") for finding in found.findings))


class Asymmetric(Sound):
    def __call__(self, recording: Recording) -> Measured:
        return replace(super().__call__(recording), distances={"own": np.triu(self.matrix(recording))})


class FarFromItself(Sound):
    def __call__(self, recording: Recording) -> Measured:
        return replace(super().__call__(recording), distances={"own": self.matrix(recording) + 1})


class Squared(Sound):
    def matrix(self, recording: Recording) -> np.ndarray:
        return super().matrix(recording) ** 2


class NoLeaveOneOut(Sound):
    def __call__(self, recording: Recording) -> Measured:
        one = Estimate(value=1.0, leave_one_out=np.array(1.0))
        return replace(super().__call__(recording), findings=(Finding(variant="own", value=one),))


class TwoRows(Sound):
    def __call__(self, recording: Recording) -> Measured:
        found = super().__call__(recording)
        return replace(found, findings=found.findings * 2)


class NoDistances(Sound):
    def __call__(self, recording: Recording) -> Measured:
        return replace(super().__call__(recording), distances={})


class ClaimsTranslation(Sound):
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, TRANSLATION)


class ClaimsSigns(Sound):
    ignores: ClassVar[tuple[str, ...]] = (SIGNS,)

    def matrix(self, recording: Recording) -> np.ndarray:
        assert recording.states is not None
        size = np.array([x.sum(-1).mean() for x in recording.states])
        return np.abs(size[:, None] - size)


class Unrepeatable(Sound):
    calls: ClassVar[list[int]] = []

    def matrix(self, recording: Recording) -> np.ndarray:
        self.calls.append(1)
        return len(self.calls) * super().matrix(recording)


def test_a_sound_measure_passes() -> None:
    check_measure(Sound())


@pytest.mark.parametrize(
    ("broken", "claim"),
    [
        (Asymmetric, "symmetric"),
        (FarFromItself, "distance 0 from itself"),
        (Squared, "triangle"),
        (NoLeaveOneOut, "one leave-one-out value per member"),
        (TwoRows, "each variant has one row"),
        (NoDistances, "if, and only if, it says it is pairwise"),
        (ClaimsTranslation, "ignores translation"),
        (ClaimsSigns, "ignores sign flips"),
        (Unrepeatable, "the same number twice"),
        (CountsSilence, "has no number where a member's states do not vary"),
        (SaysNotWhoIsSilent, "its note names the member whose states do not vary, 'member 3'"),
    ],
)
def test_each_claim_fails_on_a_measure_broken_in_that_way(broken: type[Measure], claim: str) -> None:
    with pytest.raises(CheckFailed, match=claim):
        check_measure(broken())
