"""Measures of how often members decide rightly: the mean over members, and how far they spread."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.measure import Estimate, Finding, Level, Measure, Measured
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import real_array


def accuracies(wrong: ArrayLike) -> Array:
    """The share of right decisions of each member, 1 - mean_trial w, (member,), in [0, 1].

    Args:
        wrong: (member, trial) in [0, 1]: the share of a trial's decisions that are wrong, or whether the trial is.

    Raises:
        UserError: not (member, trial), or not in [0, 1].
    """
    return 1 - _checked(wrong).mean(axis=1)


def logits(wrong: ArrayLike) -> Array:
    """The logit of each member's accuracy, (member,), finite also where all decisions are right or all are wrong.

    ln( (k + 1/2) / (n - k + 1/2) ), the logit of (k + 1/2)/(n + 1); n is the number of trials, which are independent
    of one another as the steps of a trial are not, and k the sum over trials of the share that is right. At most
    ln(2 n + 1) in size: of 64 trials 4.9, of 1,024 trials 7.6.

    Args:
        wrong: as for `accuracies`.

    Source: the empirical logit of Haldane (1956), Annals of Human Genetics 20:309, and Anscombe (1956), Biometrika
    43:461.
    """
    w = _checked(wrong)
    right, n = (1 - w).sum(axis=1), w.shape[1]
    return np.log((right + 0.5) / (n - right + 0.5))


def logit_noise_sd(wrong: ArrayLike) -> Estimate:
    """What the sd over members of `logits` would be of members that are equally accurate: the noise of finite trials.

    Members answer the same trials. What makes a trial hard for all is no spread over members, so that the noise of a
    share is that of the residuals r_kt = w_kt - mean_k - mean_t + mean, and, n trials and m members given,

        s^2 = sum_kt r_kt^2 / ((m - 1) (n - 1)),   floor = sqrt(s^2 / n) / (p (1 - p)),

    p = (K + 1/2)/(n + 1) by the mean K over members of the trials decided rightly. The last factor is the slope of the
    logit. Where each trial is right or wrong and members decide independently of one another, s^2 is the binomial
    p (1 - p).

    Args:
        wrong: as for `accuracies`; 2 members and 2 trials or more.

    Returns:
        In natural-log units; 0 where all members are wrong on the same trials. With 2 members the leave-one-out values
        are NaN.

    Source: the variance of matched percentages of Cochran (1950), Biometrika 37:256; the step to logits is the delta
    method.
    """
    w = _checked(wrong)
    n_members = len(w)
    without = [np.delete(w, k, axis=0) for k in range(n_members)] if n_members > 2 else []
    leave_one_out = np.array([_noise(rest) for rest in without]) if without else np.full(n_members, np.nan)
    return Estimate(value=_noise(w), leave_one_out=leave_one_out)


def _noise(w: Array) -> float:
    n_members, n = w.shape
    residual = w - w.mean(axis=1, keepdims=True) - w.mean(axis=0) + w.mean()
    variance = (residual**2).sum() / ((n_members - 1) * (n - 1))
    p = (n * (1 - w.mean()) + 0.5) / (n + 1)
    return float(np.sqrt(variance / n) / (p * (1 - p)))


def _checked(wrong: ArrayLike) -> Array:
    w = real_array(wrong, "wrong", ("member", "trial"))
    if w.ndim != 2 or 0 in w.shape:
        raise UserError(f"wrong: shape (member, trial) is needed, got {w.shape}")
    if not ((w >= 0) & (w <= 1)).all():
        raise UserError("wrong: shares between 0 and 1 are needed")
    return w


class _OfDecisions(Measure):
    """Base of both: a row per task variant, of one number per member."""

    level: ClassVar[Level] = "behavior"
    needs: ClassVar[tuple[str, ...]] = ("behavior", "decisions")
    reads_outputs: ClassVar[bool] = False
    kept: ClassVar[str]  # before the name of a variant: the array of its members' numbers

    @abstractmethod
    def finding(self, variant: str, wrong: Array) -> tuple[Finding, Array]:
        """The row of a variant, and the numbers that it is a statistic of."""

    def __call__(self, recording: Recording) -> Measured:
        """One finding per task variant whose decisions are known."""
        rows = {name: self.finding(name, wrong) for name, wrong in recording.decisions.items()}
        return Measured(
            findings=tuple(finding for finding, _ in rows.values()),
            arrays={self.kept + name: numbers for name, (_, numbers) in rows.items()},
        )


class Accuracy(_OfDecisions):
    """Mean over members of their share of right decisions."""

    name: ClassVar[str] = "accuracy"
    title: ClassVar[str] = "Accuracy"
    methods: ClassVar[str] = (
        "Accuracy is the share of right decisions on trials of a task variant, averaged over networks."
    )
    meaning: ClassVar[str] = "mean over members of their share of right decisions"
    zero: ClassVar[str] = "every decision of every member is wrong; 1: every one is right"
    source: ClassVar[str] = "the proportion correct of psychophysics"
    kept: ClassVar[str] = "accuracy/"

    @classmethod
    def is_average(cls, variant: str) -> bool:  # noqa: ARG003
        """Every one is."""
        return True

    def finding(self, variant: str, wrong: Array) -> tuple[Finding, Array]:
        """The mean accuracy."""
        each = accuracies(wrong)
        return by_name.finding(variant, "mean", each, of=self.kept + variant, scale="share"), each


class AccuracySpread(_OfDecisions):
    """sd over members of the logit of their accuracy."""

    name: ClassVar[str] = "accuracy_logit_sd"
    title: ClassVar[str] = "SD of logit accuracy"
    floor: ClassVar[str] = "the spread that a finite number of trials alone would make: binomial noise of the shares"
    methods: ClassVar[str] = (
        "The spread of accuracy is the standard deviation over networks of ln((k + 1/2)/(n - k + 1/2)), k of n trials "
        "being decided rightly."
    )
    unit: ClassVar[str] = "natural-log units"
    meaning: ClassVar[str] = "how differently accurate members are: sd over members of the logit of their accuracy"
    zero: ClassVar[str] = "all members are equally accurate"
    source: ClassVar[str] = "ours; logits of Haldane (1956) and Anscombe (1956), floor by Cochran (1950)"
    kept: ClassVar[str] = "logits/"

    def finding(self, variant: str, wrong: Array) -> tuple[Finding, Array]:
        """The sd of the logits; with 2 trials or more, what trial noise would make it."""
        each = logits(wrong)
        floor = logit_noise_sd(wrong) if wrong.shape[1] >= 2 else None
        return by_name.finding(variant, "sd", each, of=self.kept + variant, floor=floor, unit=self.unit), each
