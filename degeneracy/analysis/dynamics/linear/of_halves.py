"""The base of measures of dynamics that compare what was fitted to two halves of the dynamics trials."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from degeneracy.analysis.activity import among_all, named, silent_note
from degeneracy.analysis.dynamics.linear.distances_of_halves import Corrected, corrected
from degeneracy.analysis.lag_grams import LagGrams
from degeneracy.analysis.measure import (
    PERMUTATION,
    ROTATION,
    SIGNS,
    TRANSLATION,
    Estimate,
    Finding,
    Level,
    Measure,
    Measured,
    nan_finding,
)
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name
from degeneracy.core.errors import UserError

Halves = tuple[Sequence[LagGrams], Sequence[LagGrams]]
Fitted = Sequence[Any]  # one per member
NOT_SAID = "give fully_observed: whether the states are of all units of a network"


@dataclass(frozen=True, kw_only=True)
class Squares:
    """Squared distances of pairs, and how the search for them went."""

    squares: Array  # (member, member): of the member in the first half and of that in the second
    diagnostics: Mapping[str, float]


class OfHalves(Measure):
    """Base: what is fitted to each member in each half of the trials, and squared distances between such fits.

    The value is the mean squared distance of pairs from which that of two halves of one network was taken away; see
    `distances_of_halves`. `distances` are roots of the pairs' squares with their signs: about 0 for copies.
    """

    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("lag_grams",)
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = False  # noise is taken away from it, after which it may be negative
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, TRANSLATION, PERMUTATION, SIGNS)
    floor: ClassVar[str] = (
        "the squared distance of a network from itself, of two halves of its trials; the value is what is left when it "
        "has been taken away"
    )
    reference: ClassVar[str] = "the same networks before training"

    @abstractmethod
    def fitted(self, halves: Halves, recording: Recording) -> tuple[Fitted, Fitted]:
        """What is compared, of each member in each half of the trials."""

    @abstractmethod
    def squares(self, first: Fitted, second: Fitted) -> Squares:
        """The squared distances of first[i] and second[j] for all members i and j."""

    def about(
        self,
        halves: Halves,  # noqa: ARG002
        fits: tuple[Fitted, Fitted],  # noqa: ARG002
        recording: Recording,  # noqa: ARG002
    ) -> tuple[str, list[tuple[Finding, Array]]]:
        """What the row has to say of the fits, and further findings, one per array (member,); none by default."""
        return "", []

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances of the driven dynamics, noise taken away."""
        halves, variant = recording.lag_grams, next(iter(self.variant_titles))
        assert halves is not None
        refusal, active = _refusal(halves, recording)
        if refusal:
            matrix = np.full((len(active), len(active)), np.nan)
            if len(active) >= 2:
                with suppress(UserError):  # there is no number either way, and the row has its reason
                    matrix = self._of(_chosen(halves, active), recording)[0].distances
            return Measured(
                findings=(nan_finding(variant, len(recording), refusal),),
                distances={variant: among_all(matrix, active, len(recording))},
            )
        found, fits, diagnostics = self._of(halves, recording)
        reference, lack = self._reference(recording)
        note, further = self.about(halves, fits, recording)
        finding = by_name.finding(
            variant,
            "pair_mean_square",
            found.distances,
            of=variant,
            floor=found.floor,
            reference=reference,
            unit=self.unit,
            note="; ".join(text for text in (note, lack) if text),
            corrected=True,
        )
        return Measured(
            findings=(finding, *(each for each, _ in further)),
            distances={variant: found.distances},
            arrays={each.of: values for each, values in further},
            diagnostics=diagnostics,
        )

    def _of(self, halves: Halves, recording: Recording) -> tuple[Corrected, tuple[Fitted, Fitted], Mapping[str, float]]:
        fits = self.fitted(halves, recording)
        measured = self.squares(*fits)
        return corrected(measured.squares), fits, measured.diagnostics

    def _reference(self, recording: Recording) -> tuple[Estimate | None, str]:
        """The corrected value of the untrained networks; else why there is none."""
        before = recording.untrained
        if before is None:
            return None, ""
        if before.lag_grams is None:
            reason = before.missing.get("states", "")
            return None, f"untrained networks: {reason}" if reason else ""
        refusal, _ = _refusal(before.lag_grams, before)
        if refusal:
            return None, f"untrained {refusal}"
        return self._of(before.lag_grams, recording)[0].value, ""


def _refusal(halves: Halves, recording: Recording) -> tuple[str, list[int]]:
    """Why the members have no number together, "" where they have; and those of them that would have one."""
    everyone = range(len(recording))
    if recording.fully_observed is None:
        return NOT_SAID, []
    wrong = [k for k in everyone if not all(half[k].finite for half in halves)]
    silent = [k for k in everyone if k not in wrong and not all(half[k].varies for half in halves)]
    texts = [f"{named(wrong, recording.members)}: states that are not finite"] if wrong else []
    texts += [silent_note(silent, recording.members)] if silent else []
    return "; ".join(texts), [k for k in everyone if k not in (*wrong, *silent)]


def _chosen(halves: Halves, members: Sequence[int]) -> Halves:
    first, second = ([half[k] for k in members] for half in halves)
    return first, second
