"""Measures of behavior: how members err out of distribution, and how their outputs differ."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from degeneracy.analysis.behavior import differences
from degeneracy.analysis.measure import (
    PERMUTATION,
    ROTATION,
    SIGNS,
    Check,
    Estimate,
    Finding,
    Level,
    Measure,
    Measured,
    nan_finding,
)
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name, jackknife
from degeneracy.core.errors import UserError

ERRORS = "errors/"  # before the name of a variant: the array of its members' errors
OF_LOSS = "unit of the loss"  # stands on the card; in a finding stands that of the task's


class _OODError(Measure):
    """Base of the spreads of errors over members, one row per task variant."""

    level: ClassVar[Level] = "behavior"
    needs: ClassVar[tuple[str, ...]] = ("behavior",)
    reads_outputs: ClassVar[bool] = False
    unit: ClassVar[str] = OF_LOSS
    source: ClassVar[str] = "Huang et al. (2025), arXiv 2410.03972 (the standard deviation); the others are ours"
    scale: ClassVar[Literal["linear", "log"]] = "linear"
    statistic: ClassVar[str]  # of the members' errors

    def of_members(self, errors: Array) -> Array:
        """The error of each member, from errors (member, trial)."""
        return differences.member_errors(errors)

    def noise(self, errors: Array) -> Estimate | None:  # noqa: ARG002
        """What the statistic would be of equal members: what the finite trials make; None: no such floor."""
        return None

    def __call__(self, recording: Recording) -> Measured:
        """One finding per variant of the task, with each member's error."""
        findings, arrays = [], {}
        for name, variant in recording.behavior.items():
            findings.append(self._finding(name, variant.errors, recording.error_unit))
            if np.isfinite(variant.errors).all():
                arrays[ERRORS + name] = differences.member_errors(variant.errors)
        return Measured(findings=tuple(findings), arrays=arrays)

    def _finding(self, name: str, errors: Array, of_loss: str) -> Finding:
        unit = of_loss if self.unit == OF_LOSS else self.unit
        try:
            each = self.of_members(errors)
            value = by_name.finding(name, self.statistic, each, of=ERRORS + name, scale=self.scale, unit=unit)
            return replace(value, floor=self.noise(errors) if errors.shape[1] >= 2 else None)
        except UserError as error:  # exactly 0, which has no logarithm, or a network that grew without bound
            return nan_finding(name, len(errors), str(error))


class OODLogErrorSD(_OODError):
    """sd over members of the logarithm of the error."""

    name: ClassVar[str] = "ood_log_error_sd"
    statistic: ClassVar[str] = "sd_of_logarithms"
    title: ClassVar[str] = "SD of log error"
    floor: ClassVar[str] = "the spread that a finite number of trials alone would make"
    methods: ClassVar[str] = (
        "Degeneracy of behavior was the standard deviation over networks of the natural logarithm of each network's "
        "mean error on trials of a task variant."
    )
    primary: ClassVar[bool] = True
    unit: ClassVar[str] = "natural-log units"
    scale: ClassVar[Literal["linear", "log"]] = "log"
    meaning: ClassVar[str] = "how differently members err: sd over members of the natural log of their error"
    zero: ClassVar[str] = "all members err equally"

    def of_members(self, errors: Array) -> Array:
        """The error of each member, above 0."""
        return differences.positive_errors(errors)

    def noise(self, errors: Array) -> Estimate:
        """The spread that the finite trials make."""
        return differences.log_error_noise_sd(errors)


class OODErrorSD(_OODError):
    """sd over members of the error, as published."""

    name: ClassVar[str] = "ood_error_sd"
    statistic: ClassVar[str] = "sd"
    title: ClassVar[str] = "SD of error"
    floor: ClassVar[str] = "the spread that a finite number of trials alone would make"
    methods: ClassVar[str] = (
        "The standard deviation over networks of each network's mean error on trials of a task variant is given as "
        "published."
    )
    checks: ClassVar[tuple[Check, ...]] = (
        Check(name="as published", asks="sd of errors without the logarithm", differs_in="publication"),
    )
    scale: ClassVar[Literal["linear", "log"]] = "log"
    meaning: ClassVar[str] = "sd over members of their error, as published; grows with the errors themselves"
    zero: ClassVar[str] = "all members err equally"

    def noise(self, errors: Array) -> Estimate:
        """The spread that the finite trials make."""
        return differences.error_noise_sd(errors)


class OODErrorMean(_OODError):
    """Mean over members of the error."""

    name: ClassVar[str] = "ood_error_mean"
    statistic: ClassVar[str] = "mean"
    title: ClassVar[str] = "Mean error"
    methods: ClassVar[str] = "The mean over networks of each network's error is given for each task variant."
    shown: ClassVar[bool] = False
    meaning: ClassVar[str] = "mean over members of their error"
    zero: ClassVar[str] = "every member does the task exactly"


class OODErrorCV(_OODError):
    """Coefficient of variation of the error."""

    name: ClassVar[str] = "ood_error_cv"
    statistic: ClassVar[str] = "cv"
    title: ClassVar[str] = "CV of error"
    methods: ClassVar[str] = (
        "The coefficient of variation is the standard deviation over networks of each network's error, over the mean."
    )
    shown: ClassVar[bool] = False  # another scaling of what the primary measure shows
    checks: ClassVar[tuple[Check, ...]] = (
        Check(name="CV", asks="sd of errors over their mean", differs_in="statistic"),
    )
    unit: ClassVar[str] = ""
    meaning: ClassVar[str] = "sd of members' errors over their mean"
    zero: ClassVar[str] = "all members err equally"


class OODErrorIQR(_OODError):
    """Interquartile range of the error over its median."""

    name: ClassVar[str] = "ood_error_iqr"
    statistic: ClassVar[str] = "iqr_over_median"
    title: ClassVar[str] = "IQR/median of error"
    methods: ClassVar[str] = (
        "The interquartile range over networks of each network's error was divided by the median, with quantiles of "
        "Harrell & Davis (1982)."
    )
    shown: ClassVar[bool] = False  # another scaling of what the primary measure shows
    checks: ClassVar[tuple[Check, ...]] = (
        Check(name="IQR / median", asks="a spread that single networks do not move", differs_in="statistic"),
    )
    revision: ClassVar[int] = 1  # quantiles of Harrell & Davis
    scale: ClassVar[Literal["linear", "log"]] = "log"
    unit: ClassVar[str] = ""
    meaning: ClassVar[str] = "interquartile range of members' errors over their median"
    zero: ClassVar[str] = "the middle half of members err equally"


class ValidPredictionTime(Measure):
    """How long members predict a chaotic system from their own predictions."""

    name: ClassVar[str] = "valid_prediction_time"
    title: ClassVar[str] = "Valid prediction time"
    floor: ClassVar[str] = "of the sd: the spread that a finite number of trials alone would make"
    methods: ClassVar[str] = (
        "Each network was run on its own outputs; its valid prediction time is how long these stay near the truth, "
        "averaged over trials."
    )
    variant_titles: ClassVar[Mapping[str, str]] = {"mean": "mean", "sd": "sd"}
    level: ClassVar[Level] = "behavior"
    needs: ClassVar[tuple[str, ...]] = ("prediction_times",)
    unit: ClassVar[str] = "time units of the task"
    meaning: ClassVar[str] = "how long a member fed its own outputs stays near the truth: mean and sd over members"
    zero: ClassVar[str] = "mean: lost at the first step; sd: all members stay equally long"
    source: ClassVar[str] = "Pathak et al. (2018), Chaos 28:041101; the sd is ours"

    def __call__(self, recording: Recording) -> Measured:
        """The mean and the sd over members of their mean over trials; the sd with what trial noise would make it."""
        times = recording.prediction_times
        assert times is not None
        each = differences.member_errors(times)
        # Halves of the trials, as for errors.
        floor = differences.error_noise_sd(times) if times.shape[1] >= 2 else None
        mean = by_name.finding("mean", "mean", each, of="times", unit=self.unit)
        sd = by_name.finding("sd", "sd", each, of="times", floor=floor, scale="log", unit=self.unit)
        return Measured(findings=(mean, sd), arrays={"times": each})


class OutputDistance(Measure):
    """RMS difference of outputs on the scored steps."""

    name: ClassVar[str] = "output_distance"
    title: ClassVar[str] = "Output distance"
    floor: ClassVar[str] = "what trial noise alone would make"
    reference: ClassVar[str] = "the same networks before training"
    methods: ClassVar[str] = (
        "The output distance of two networks is the root mean squared difference of their outputs on the scored steps "
        "of the same trials, 256 at most."
    )
    primary: ClassVar[bool] = True  # where errors have no logarithm, and between floor and reference
    level: ClassVar[Level] = "behavior"
    needs: ClassVar[tuple[str, ...]] = ("behavior",)
    unit: ClassVar[str] = "output unit"
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)
    meaning: ClassVar[str] = (
        "RMS difference of two members' outputs on the scored steps of the same trials, 256 at most"
    )
    zero: ClassVar[str] = "the same outputs"
    source: ClassVar[str] = "ours"
    revision: ClassVar[int] = 1  # of many behavior trials, the first 256

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances, one row per task variant whose outputs are known.

        Raises:
            UserError: those of no variant are.
        """
        findings, distances = [], {}
        for name, variant in recording.behavior.items():
            if variant.outputs is None or variant.mask is None:
                continue
            try:
                matrix = differences.output_distances(variant.outputs, variant.mask)
            except UserError as error:  # a network that grew without bound
                findings.append(nan_finding(name, len(recording), str(error)))
                continue
            distances[name] = matrix
            findings.append(
                by_name.finding(
                    name,
                    "pair_mean",
                    matrix,
                    of=name,
                    floor=self._floor(recording, name),
                    reference=self._reference(recording.untrained, name),
                    unit=self.unit,
                )
            )
        if not findings:
            raise UserError("output_distance: needs outputs of the networks themselves: errors alone were given")
        return Measured(findings=tuple(findings), distances=distances)

    def _floor(self, recording: Recording, name: str) -> Estimate | None:
        if recording.noisy_outputs is None:
            return jackknife.constant(0.0, len(recording))
        first, second = (draw.get(name) for draw in recording.noisy_outputs)
        mask = recording.behavior[name].mask
        if first is None or second is None or mask is None:
            return None
        return jackknife.member_mean(differences.output_floor(first, second, mask))

    def _reference(self, untrained: Recording | None, name: str) -> Estimate | None:
        variant = untrained.behavior.get(name) if untrained is not None else None
        if variant is None or variant.outputs is None or variant.mask is None:
            return None
        if not np.isfinite(variant.outputs).all():
            return None
        return jackknife.pair_mean(differences.output_distances(variant.outputs, variant.mask))
