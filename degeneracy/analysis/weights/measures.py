"""Measures of weights: how units are wired, past what only relabels them, and how far training moved them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import pydantic

from degeneracy.analysis.measure import (
    PERMUTATION,
    ROTATION,
    SIGNS,
    UNTRAINED,
    Check,
    Finding,
    Level,
    Measure,
    Measured,
    fit_diagnostics,
    nan_finding,
)
from degeneracy.analysis.operator_alignment.pairs import ConjugationFit
from degeneracy.analysis.recording import Array, Recording, Weights
from degeneracy.analysis.statistics import by_name, jackknife
from degeneracy.analysis.weights import orthogonal, pif
from degeneracy.analysis.weights.symmetry import random_copy, transform

NO_RECURRENT = "the networks have no weights between units"


class PIF(Measure):
    """Frobenius distance of weights after the best permutation of units."""

    name: ClassVar[str] = "pif"
    title: ClassVar[str] = "PIF"
    floor: ClassVar[str] = "what the alignment leaves of a copy with its units reordered"
    reference: ClassVar[str] = "the trained weights, entries shuffled"
    methods: ClassVar[str] = (
        "The distance of two networks' weights is their Frobenius distance after the best permutation of units, the "
        "best of {n_restarts} starts."
    )
    primary: ClassVar[bool] = True
    cost: ClassVar[float] = 4.5
    variant_titles: ClassVar[Mapping[str, str]] = {
        "recurrent": "recurrent",
        "joint": "joint",
        f"recurrent{UNTRAINED}": "recurrent, against untrained",
        f"joint{UNTRAINED}": "joint, against untrained",
    }
    checks: ClassVar[tuple[Check, ...]] = (
        Check(name="as published", asks="permutations without signs", differs_in="publication"),
    )
    level: ClassVar[Level] = "weights"
    needs: ClassVar[tuple[str, ...]] = ("weights",)
    pairwise: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (PERMUTATION,)
    signed: ClassVar[bool] = False
    revision: ClassVar[int] = 1  # biases that act through their sum alone are summed
    meaning: ClassVar[str] = (
        "how differently units are wired: Frobenius distance of weights after the best permutation of units; "
        "'recurrent' weights alone, 'joint' with input, bias and readout weights and all else that the cell has, each "
        "block over its mean norm"
    )
    zero: ClassVar[str] = "the same wiring up to the order of the units"
    source: ClassVar[str] = (
        "Huang et al. (2025), arXiv 2410.03972; solver after FAQ, Vogelstein et al. (2015), PLoS ONE 10:e0121002"
    )

    variants: tuple[Literal["recurrent", "joint"], ...] = pydantic.Field(("recurrent", "joint"), min_length=1)
    n_restarts: int = pydantic.Field(8, ge=1, description="starts of each alignment")
    seed: int = pydantic.Field(0, ge=0, description="of the random starts, copies and shuffles")

    def memory(self, *, n_units: int, n_steps: int, n_trials: int) -> dict[str, int]:  # noqa: ARG002
        """The first half of the starts, a matrix of units by units each; float32."""
        return {f"n_restarts = {self.n_restarts} with {n_units} units": 4 * (self.n_restarts // 2) * n_units**2}

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances, floor from random copies, references shuffled and untrained."""
        weights = list(recording.weights or ())
        reason = self._cannot(weights)
        if reason:
            return Measured(findings=(nan_finding("recurrent", len(weights), reason),))
        findings: list[Finding] = []
        distances: dict[str, Array] = {}
        diagnostics: dict[str, float] = {}
        for variant in self.variants:
            if variant == "recurrent" and not recording.recurrent_weights:
                findings.append(nan_finding(variant, len(weights), NO_RECURRENT))
                continue
            rows, matrix, fit = self._variant(variant, weights, recording.untrained)
            findings += rows
            distances[variant] = matrix
            diagnostics |= {f"{variant}/{key}": number for key, number in fit.items()}
        return Measured(findings=tuple(findings), distances=distances, diagnostics=diagnostics)

    def _cannot(self, weights: Sequence[Weights]) -> str:
        """Why members cannot be aligned, "" where they can."""
        return _incomparable(weights, signed=self.signed)

    def _variant(
        self, variant: Literal["recurrent", "joint"], weights: list[Weights], untrained: Recording | None
    ) -> tuple[list[Finding], Array, dict[str, float]]:
        scales = pif.block_scales(weights, variant)
        rng = np.random.default_rng(self.seed)
        matrix, fit = self._pairs(weights, scales)
        copies = [(w, random_copy(w, rng) if self.signed else permuted_copy(w, rng)) for w in weights]
        floor = jackknife.member_mean(np.array([found.distance for found in self._align(copies, scales)]))
        shuffled, note = self._reference("shuffled", [pif.shuffled(w, rng) for w in weights], scales)
        of_pairs = partial(by_name.finding, statistic="pair_mean", x=matrix, of=variant, floor=floor)
        findings = [of_pairs(variant, reference=shuffled, note=note)]
        if untrained is not None and untrained.weights is not None:
            before, note = self._reference("untrained", list(untrained.weights), scales)
            note = note or "reference: untrained members"
            findings.append(of_pairs(f"{variant}{UNTRAINED}", reference=before, note=note))
        return findings, matrix, fit

    def _reference(
        self, kind: str, weights: list[Weights], scales: dict[str, float]
    ) -> tuple[jackknife.Estimate | None, str]:
        """The same over other members; none, and why, where they lack a block that counts or cannot be aligned."""
        lacking = [block for block in scales if any(block not in w.blocks for w in weights)]
        if lacking:
            return None, f"{kind} members without their {', '.join(lacking)} weights"
        reason = self._cannot(weights)
        if reason:
            return None, f"{kind} members: {reason}"
        return jackknife.pair_mean(self._pairs(weights, scales)[0]), ""

    def _align(self, pairs: list[tuple[Weights, Weights]], scales: dict[str, float]) -> list[pif.Alignment]:
        return pif.pif_pairs(pairs, signed=self.signed, block_scales=scales, n_restarts=self.n_restarts, seed=self.seed)

    def _pairs(self, weights: list[Weights], scales: dict[str, float]) -> tuple[Array, dict[str, float]]:
        first, second = np.triu_indices(len(weights), k=1)
        found = self._align([(weights[i], weights[j]) for i, j in zip(first, second, strict=True)], scales)
        matrix = np.zeros((len(weights), len(weights)))
        matrix[first, second] = matrix[second, first] = [one.distance for one in found]
        spread, converged = np.array([f.spread for f in found]), np.array([f.converged for f in found])
        return matrix, fit_diagnostics(spread, converged)


def permuted_copy(weights: Weights, rng: np.random.Generator) -> Weights:
    """The same network with its units in random order."""
    return transform(weights, rng.permutation(weights.n_units))


class SignedPIF(PIF):
    """Frobenius distance of weights after the best permutation and sign flips of units."""

    name: ClassVar[str] = "signed_pif"
    title: ClassVar[str] = "Signed PIF"
    floor: ClassVar[str] = "what the alignment leaves of a copy with its units reordered and flipped"
    methods: ClassVar[str] = (
        "The distance of two networks' weights is their Frobenius distance after the best permutation and signs of "
        "units, the best of {n_restarts} starts."
    )
    cost: ClassVar[float] = 6.4
    checks: ClassVar[tuple[Check, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ("weights", "symmetry")
    ignores: ClassVar[tuple[str, ...]] = (PERMUTATION, SIGNS)
    signed: ClassVar[bool] = True
    meaning: ClassVar[str] = (
        "how differently units are wired: Frobenius distance of weights after the best permutation and signs of "
        "units, the symmetries of tanh networks; variants as for pif"
    )
    zero: ClassVar[str] = "the same network: wiring equal up to the order and signs of units"


class Orthogonal(Measure):
    """Frobenius distance of recurrent weights after the best orthogonal change of basis."""

    name: ClassVar[str] = "orthogonal"
    title: ClassVar[str] = "Orthogonal distance"
    floor: ClassVar[str] = "what the search leaves of a copy in another basis"
    reference: ClassVar[str] = "the trained weights, entries shuffled"
    methods: ClassVar[str] = (
        "Recurrent weights were compared as linear maps by their Frobenius distance after the best orthogonal change "
        "of basis, the best of {n_starts} starts."
    )
    cost: ClassVar[float] = 1.9
    variant_titles: ClassVar[Mapping[str, str]] = {
        "recurrent": "recurrent",
        f"recurrent{UNTRAINED}": "recurrent, against untrained",
    }
    checks: ClassVar[tuple[Check, ...]] = (
        Check(name="orthogonal", asks="weights up to any rotation of the units' space", differs_in="symmetry"),
    )
    level: ClassVar[Level] = "weights"
    needs: ClassVar[tuple[str, ...]] = ("weights", "recurrent_weights", "symmetry")
    pairwise: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)
    meaning: ClassVar[str] = (
        "how differently recurrent weights act as linear maps: Frobenius distance after the best orthogonal change of "
        "basis, at most that of pif; of gated cells the candidate's weights"
    )
    zero: ClassVar[str] = "the same map in another basis, which need not be the same network"
    source: ClassVar[str] = "after Ostrow, Eisen, Kozachkov & Fiete (2023), NeurIPS, arXiv 2306.10168, on weights; ours"

    n_starts: int = pydantic.Field(2, ge=2, description="starts of each fit, of both determinants")
    seed: int = pydantic.Field(0, ge=0, description="of further starts, copies and shuffles")

    def memory(self, *, n_units: int, n_steps: int, n_trials: int) -> dict[str, int]:  # noqa: ARG002
        """The starts of a fit, a matrix of units by units each; float64."""
        return {f"n_starts = {self.n_starts} with {n_units} units": 8 * self.n_starts * n_units**2}

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances, floor from rotated copies, references shuffled and untrained (neighbours on a ring)."""
        weights = list(recording.weights or ())
        reason = _incomparable(weights)
        if reason:
            return Measured(findings=(nan_finding("recurrent", len(weights), reason),))
        matrices = [orthogonal.compared_matrix(w) for w in weights]
        first, second = np.triu_indices(len(matrices), k=1)
        fit = self._fit([matrices[i] for i in first], [matrices[j] for j in second])
        distances = np.zeros((len(matrices), len(matrices)))
        distances[first, second] = distances[second, first] = fit.distance
        rng = np.random.default_rng(self.seed)
        floor = jackknife.member_mean(self._fit(matrices, [orthogonal.rotated_copy(m, rng) for m in matrices]).distance)
        mixed = [pif.shuffled_entries(m, w.classes, rng) for m, w in zip(matrices, weights, strict=True)]
        shuffled = self._ring(mixed)
        of_pairs = partial(by_name.finding, statistic="pair_mean", x=distances, of="recurrent", floor=floor)
        findings = [of_pairs("recurrent", reference=shuffled)]
        before = None if recording.untrained is None else recording.untrained.weights
        if before is not None:
            reason = _incomparable(before)
            untrained = None if reason else self._ring([orthogonal.compared_matrix(w) for w in before])
            note = f"untrained members: {reason}" if reason else "reference: untrained members"
            findings.append(of_pairs(f"recurrent{UNTRAINED}", reference=untrained, note=note))
        diagnostics = fit_diagnostics(fit.spread, fit.converged)
        return Measured(findings=tuple(findings), distances={"recurrent": distances}, diagnostics=diagnostics)

    def _fit(self, first: Sequence[Array], second: Sequence[Array]) -> ConjugationFit:
        return orthogonal.orthogonal_fit(first, second, n_starts=self.n_starts, seed=self.seed)

    def _ring(self, matrices: Sequence[Array]) -> jackknife.Estimate:
        """The mean distance of members, from that of each and the next: a reference need not know all pairs."""
        return orthogonal.ring_mean(self._fit(matrices, [*matrices[1:], matrices[0]]).distance)


def _incomparable(weights: Sequence[Weights], *, signed: bool = False) -> str:
    """Why members cannot be aligned, "" where they can."""
    for other in weights[1:]:
        reason = pif.comparable(weights[0], other, signed=signed)
        if reason:
            return reason
    return ""


class WeightChange(Measure):
    """How far training moved the recurrent weights."""

    name: ClassVar[str] = "weight_change"
    title: ClassVar[str] = "Weight change"
    methods: ClassVar[str] = (
        "How far training moved a network is the Frobenius norm of the change of its recurrent weights, averaged over "
        "networks."
    )
    primary: ClassVar[bool] = True
    variant_titles: ClassVar[Mapping[str, str]] = {"absolute": "absolute", "relative": "relative"}
    averages: ClassVar[tuple[str, ...]] = ("absolute", "relative")
    level: ClassVar[Level] = "learning"
    needs: ClassVar[tuple[str, ...]] = ("weights", "recurrent_weights", "initial_weights")
    meaning: ClassVar[str] = "Frobenius norm of the change of the recurrent weights, also over the initial norm"
    zero: ClassVar[str] = "training left the recurrent weights as they were"
    source: ClassVar[str] = "Huang et al. (2025), arXiv 2410.03972"

    def __call__(self, recording: Recording) -> Measured:
        """Absolute and relative change."""
        before, after = recording.initial_weights or (), recording.weights or ()
        changes = np.array([pif.weight_change(a, b) for a, b in zip(before, after, strict=True)])
        return Measured(
            findings=(
                by_name.finding("absolute", "mean", changes[:, 0], of="absolute"),
                by_name.finding("relative", "mean", changes[:, 1], of="relative"),
            ),
            arrays={"absolute": changes[:, 0], "relative": changes[:, 1]},
        )
