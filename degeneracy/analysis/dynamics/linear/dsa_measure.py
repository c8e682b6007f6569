"""The measure DSA: operators of the members' states compared, on halves of the trials or on all of them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from degeneracy.analysis.activity import among_all, named, silent_note, varies
from degeneracy.analysis.dynamics.linear import dsa
from degeneracy.analysis.measure import (
    PERMUTATION,
    ROTATION,
    SCALE,
    SIGNS,
    Check,
    Estimate,
    Finding,
    Level,
    Measure,
    Measured,
    fit_diagnostics,
    nan_finding,
)
from degeneracy.analysis.operator_alignment import pairs
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name, jackknife
from degeneracy.core.errors import UserError

# Where the states' mean is this many times their spread, directions of under 1e-3 of the spread fall below what the
# operator is fitted on (`dsa.RELATIVE_TOLERANCE` of the largest, which is then the mean's).
LARGEST_OFFSET = 1e-3 / dsa.RELATIVE_TOLERANCE
NOTED_OFFSET = 10.0  # from here on the mean has 99% of the power, and the table says so


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The states of an ensemble as they are compared: two halves of the trials, or all of them once."""

    parts: tuple[list[Array], ...]  # each: one (trial, time, unit) per member
    active: list[int]  # members whose states have an operator of what moves
    refusal: str  # names the others; "" where there are none
    note: str  # on those that are measured


class DSA(Measure):
    """Dynamical similarity analysis on two halves of the probe trials."""

    name: ClassVar[str] = "dsa"
    title: ClassVar[str] = "DSA"
    floor: ClassVar[str] = (
        "each network against itself, on two halves of the trials, as is an exact copy; none with halves = false"
    )
    reference: ClassVar[str] = "the same networks before training"
    methods: ClassVar[str] = (
        "Dynamics were compared by dynamical similarity analysis (Ostrow et al. 2023): operators of rank {rank} of "
        "states with {n_delays} delays, the {score} distance, the best of {n_starts} starts."
    )
    primary: ClassVar[bool] = True
    cost: ClassVar[float] = 8.2
    variant_titles: ClassVar[Mapping[str, str]] = {"driven": "driven", "autonomous": "autonomous"}
    checks: ClassVar[tuple[Check, ...]] = (
        Check(name="as published", asks="delay-embedded states of few trials", differs_in="publication"),
        Check(name="without input", asks="states that move by themselves", differs_in="input", variant="autonomous"),
    )
    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    unit: ClassVar[str] = "rad"
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = False  # a minimum found by a search, each member seen in two halves
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, SCALE, PERMUTATION, SIGNS)
    meaning: ClassVar[str] = (
        "how differently states move: angle between linear operators of delay-embedded states, after the best "
        "orthogonal change of basis; 'driven' on the task, 'autonomous' without input; states are not centred, so "
        "that their mean counts as an eigenvalue 1"
    )
    zero: ClassVar[str] = (
        "the same linear dynamics up to a change of basis; a copy of a network is at the floor, since halves of the "
        "trials are compared, and at 0 with halves = false"
    )
    source: ClassVar[str] = "Ostrow, Eisen, Kozachkov & Fiete (2023), NeurIPS, arXiv 2306.10168"
    revision: ClassVar[int] = 1  # the search goes further in a step, and is in single precision until the best are near

    rank: int = pydantic.Field(20, ge=1, description="rank of the operators")
    n_delays: int = pydantic.Field(10, ge=1, description="delays of the embedding")
    score: Literal["angular", "frobenius", "wasserstein"] = "angular"
    n_starts: int = pydantic.Field(24, ge=2, description="starts of each fit, of both determinants")
    autonomous: bool = pydantic.Field(True, description="also measure runs without input")
    halves: bool = pydantic.Field(
        True,
        description="compare halves of the trials, which gives a floor; false: all trials, as published, copies at 0 "
        "and no floor",
    )
    seed: int = pydantic.Field(0, ge=0, description="of the random starts")

    def check(self, *, n_units: int, n_steps: int, n_trials: int, held_inputs: Collection[str]) -> None:  # noqa: ARG002
        """Refuse more delays than steps, and a rank that the delayed states or the samples cannot have."""
        blocks = dsa.n_blocks(n_steps, self.n_delays) if self.halves and n_trials == 1 else 0
        n_steps, n_trials = (n_steps // blocks, blocks) if blocks else (n_steps, n_trials)
        if self.n_delays >= n_steps:
            of = f"each of the {blocks} blocks into which one trial is cut" if blocks else "a trial"
            raise UserError(
                f"dsa: n_delays = {self.n_delays} is wrong: fewer than the {n_steps} steps of {of} are needed"
            )
        n_compared = n_trials // 2 if self.halves else n_trials
        most = min(self.n_delays * n_units, n_compared * (n_steps - self.n_delays))
        if self.rank > most:
            trials = "blocks of one trial, each" if blocks else "trials"
            half = ", half of them at a time" if self.halves else ""
            raise UserError(
                f"dsa: rank = {self.rank} is wrong: at most {most} with {n_units} units, {self.n_delays} delays and"
                f" {n_trials} {trials} of {n_steps} steps{half}"
            )

    def memory(self, *, n_units: int, n_steps: int, n_trials: int) -> dict[str, int]:
        """The inner products of the delayed states, their coordinates, and the starts of a fit; float64."""
        samples = n_trials * max(n_steps - self.n_delays + 1, 0)
        return {
            f"n_delays = {self.n_delays} of {n_units} units": 8 * (self.n_delays * n_units) ** 2,
            f"rank = {self.rank} of {samples} samples": 8 * samples * self.rank,
            f"n_starts = {self.n_starts} of rank = {self.rank}": 8 * self.n_starts * self.rank**2,
        }

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances of the driven and, where recorded, the autonomous states."""
        found = {"driven": self._variant(recording, "driven", "states")}
        if self.autonomous and recording.autonomous_states is not None:
            found["autonomous"] = self._variant(recording, "autonomous", "autonomous_states")
        findings = [finding for _, finding, _ in found.values()]
        if self.autonomous and "autonomous" not in found and "autonomous_states" in recording.missing:
            findings.append(nan_finding("autonomous", len(recording), recording.missing["autonomous_states"]))
        return Measured(
            findings=tuple(findings),
            distances={name: matrix for name, (matrix, *_) in found.items()},
            diagnostics={f"{name}/{key}": number for name, (*_, fit) in found.items() for key, number in fit.items()},
        )

    def _variant(self, recording: Recording, variant: str, which: str) -> tuple[Array, Finding, dict[str, float]]:
        split, n = self._split(getattr(recording, which), recording.members), len(recording)
        if split.refusal:
            matrix = self._of_active(split)
            return among_all(matrix, split.active, n), nan_finding(variant, n, split.refusal), {}
        matrix, floor, fit = self._distances(split.parts)
        reference, note = self._reference(recording.untrained, which)
        finding = by_name.finding(
            variant,
            "pair_mean",
            matrix,
            of=variant,
            floor=floor,
            reference=reference,
            unit=self.unit,
            note="; ".join(text for text in (split.note, note) if text),
        )
        return matrix, finding, fit

    def _of_active(self, split: _Split) -> Array:
        """The distances of the members that have some; NaN where there are none."""
        if len(split.active) >= 2:
            with suppress(UserError):  # there is no number either way, and the row has its reason
                return self._distances([[part[k] for k in split.active] for part in split.parts])[0]
        return np.full((len(split.active), len(split.active)), np.nan)

    def _split(self, states: Sequence[Array], labels: Sequence[str]) -> _Split:
        """The states as they are compared, with what the table has to say of them."""
        for label, x in zip(labels, states, strict=True):
            if not np.isfinite(x).all():
                raise UserError(f"dsa: states of member {label} are not finite")
        parts, notes = self._parts(states)
        silent = [k for k in range(len(states)) if not all(varies(part[k]) for part in parts)]
        offsets = {k: max(dsa.offset(part[k]) for part in parts) for k in range(len(states)) if k not in silent}
        far = [k for k, times in offsets.items() if times > LARGEST_OFFSET]
        active = [k for k in offsets if k not in far]
        refusals = [silent_note(silent, labels), _far_note(far, labels, offsets)]
        return _Split(
            parts=parts,
            active=active,
            refusal="; ".join(text for text in refusals if text),
            note="; ".join(text for text in (*notes, _offset_note(active, labels, offsets)) if text),
        )

    def _parts(self, states: Sequence[Array]) -> tuple[tuple[list[Array], ...], list[str]]:
        """Two halves of the trials, one trial being cut for them, or all of them; and what is to be said of that."""
        if not self.halves:
            return (list(states),), ["all trials at once: copies are at 0, and no floor says what noise makes"]
        cut = [dsa.in_blocks(x, self.n_delays) if len(x) == 1 else x for x in states]
        notes = {
            f"one trial, cut into {len(x)} blocks of {x.shape[1]} steps, every other one a half"
            for x, whole in zip(cut, states, strict=True)
            if x is not whole
        }
        return tuple([x[half::2] for x in cut] for half in (0, 1)), sorted(notes)

    def _distances(self, parts: Sequence[Sequence[Array]]) -> tuple[Array, Estimate | None, dict[str, float]]:
        """The distances of all pairs, the floor, and how the fits went.

        Of two halves: ½[d(x_A, y_B) + d(x_B, y_A)] of all pairs, and d(x_A, x_B) of all members.
        """
        n = len(parts[0])
        if len(parts) == 1:
            first, second = np.triu_indices(n, k=1)
            fit = self._across(parts, first, second)
            matrix = np.zeros((n, n))
            matrix[first, second] = matrix[second, first] = fit.distance
            return matrix, None, fit_diagnostics(fit.spread, fit.converged)
        fit = self._across(parts, *np.divmod(np.arange(n * n), n))
        across = fit.distance.reshape(n, n)
        matrix = (across + across.T) / 2
        floor = np.diag(matrix).copy()
        np.fill_diagonal(matrix, 0.0)
        return matrix, jackknife.member_mean(floor), fit_diagnostics(fit.spread, fit.converged)

    def _reference(self, untrained: Recording | None, which: str) -> tuple[Estimate | None, str]:
        """The mean over pairs of d(x_A, y_B) alone: which half is whose makes no difference on average."""
        states = None if untrained is None else getattr(untrained, which)
        if untrained is None or states is None:
            return None, ""
        split = self._split(states, untrained.members)
        if split.refusal:
            return None, f"untrained {split.refusal}"
        first, second = np.triu_indices(len(states), k=1)
        matrix = np.zeros((len(states), len(states)))
        matrix[first, second] = matrix[second, first] = self._across(split.parts, first, second).distance
        return jackknife.pair_mean(matrix), ""

    def _across(
        self, parts: Sequence[Sequence[Array]], first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> pairs.ConjugationFit:
        """d(x_A, y_B) of the pairs (first, second), A the first and B the last of the parts."""
        operators = [dsa.delay_operators(states, rank=self.rank, n_delays=self.n_delays).operators for states in parts]
        return pairs.fit_among(
            operators[0],
            operators[-1],
            first,
            second,
            score=self.score,
            n_starts=self.n_starts,
            seed=self.seed,
        )


def _offset_note(active: Sequence[int], labels: Sequence[str], offsets: dict[int, float]) -> str:
    """One line on states whose mean outweighs what moves; "" where none does."""
    largest = max(active, key=offsets.__getitem__, default=-1)
    if largest < 0 or offsets[largest] < NOTED_OFFSET:
        return ""
    return (
        f"the mean of the states is up to {offsets[largest]:.3g} times their spread ({named([largest], labels)}) and "
        "acts as an eigenvalue 1"
    )


def _far_note(far: Sequence[int], labels: Sequence[str], offsets: dict[int, float]) -> str:
    """One line that names the members whose states are all mean; "" where there are none."""
    if not far:
        return ""
    times = max(offsets[k] for k in far)
    return (
        f"the mean of the states is up to {times:.3g} times their spread ({named(far, labels)}): their operator would "
        "be that of the mean, not of what moves"
    )
