"""Measures of weights: how units are wired, past what only relabels them, and how far training moved them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import pydantic

from degeneracy.analysis.measure import (
    PER_PARAMETER,
    PERMUTATION,
    RELATIVE,
    RESTATED,
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
from degeneracy.analysis.weights.dead_units import ComparedWeights, compared_weights
from degeneracy.analysis.weights.restated import ACROSS_SIZES, NOTES, TITLES, UNITS, PairDistances, all_pairs
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
        "best of {n_restarts} starts; units that never move on the probe trials, or that nothing reads, are left out."
    )
    primary: ClassVar[bool] = True
    cost: ClassVar[float] = 4.5
    variant_titles: ClassVar[Mapping[str, str]] = {
        **TITLES,
        "joint": "joint",
        f"joint{UNTRAINED}": "joint, against untrained",
    }
    across_sizes: ClassVar[Mapping[str, str]] = ACROSS_SIZES
    checks: ClassVar[tuple[Check, ...]] = (
        Check(
            name="as published",
            asks="permutations without signs, over the number of weights",
            differs_in="publication",
            variant=f"recurrent{PER_PARAMETER}",
        ),
    )
    level: ClassVar[Level] = "weights"
    needs: ClassVar[tuple[str, ...]] = ("weights",)
    looks_at: ClassVar[tuple[str, ...]] = ("states",)
    pairwise: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (PERMUTATION,)
    signed: ClassVar[bool] = False
    revision: ClassVar[int] = 2  # units that do nothing are left out; distances per parameter and relative
    meaning: ClassVar[str] = (
        "how differently units are wired: Frobenius distance of weights after the best permutation of units; "
        "'recurrent' weights alone, 'joint' with input, bias and readout weights and all else that the cell has, each "
        "block over its mean norm; 'per parameter' over the number of weights, as published, which falls with the "
        "number of units for shuffled weights too; 'relative' over the norm of the weights"
    )
    zero: ClassVar[str] = "the same wiring up to the order of the units"
    source: ClassVar[str] = (
        "Huang et al. (2025), arXiv 2410.03972; solver after FAQ, Vogelstein et al. (2015), PLoS ONE 10:e0121002"
    )

    variants: tuple[Literal["recurrent", "joint"], ...] = pydantic.Field(("recurrent", "joint"), min_length=1)
    n_restarts: int = pydantic.Field(8, ge=1, description="starts of each alignment")
    by_class: bool = pydantic.Field(
        False, description="where units are of classes: rows of the recurrent weights from each class to each, too"
    )
    seed: int = pydantic.Field(0, ge=0, description="of the random starts, copies and shuffles")

    def memory(self, *, n_units: int, n_steps: int, n_trials: int) -> dict[str, int]:  # noqa: ARG002
        """The first half of the starts, a matrix of units by units each; float32."""
        return {f"n_restarts = {self.n_restarts} with {n_units} units": 4 * (self.n_restarts // 2) * n_units**2}

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances, floor from random copies, references shuffled and untrained."""
        compared = compared_weights(recording)
        reason = _incomparable(compared.weights, signed=self.signed)
        if reason:
            return Measured(findings=(nan_finding("recurrent", len(recording), reason),))
        findings: list[Finding] = []
        distances: dict[str, Array] = {}
        diagnostics: dict[str, float] = {}
        for variant in self.variants:
            if variant == "recurrent" and not recording.recurrent_weights:
                findings.append(nan_finding(variant, len(recording), NO_RECURRENT))
                continue
            scales = pif.block_scales(compared.weights, variant)
            if not scales:
                findings.append(nan_finding(variant, len(recording), "all weights are 0"))
                continue
            rows, matrices, fit = self._variant(variant, scales, compared, recording.untrained)
            findings += rows
            distances |= matrices
            diagnostics |= {f"{variant}/{key}": number for key, number in fit.items()}
        found = Measured(findings=tuple(findings), distances=distances, diagnostics=diagnostics)
        return compared.found(found)

    def _variant(
        self, variant: str, scales: Mapping[str, float], compared: ComparedWeights, untrained: Recording | None
    ) -> tuple[list[Finding], dict[str, Array], dict[str, float]]:
        weights, n = compared.weights, len(compared.weights)
        rng = np.random.default_rng(self.seed)
        pairs = self._pairs(weights, scales)
        copies = [(w, random_copy(w, rng) if self.signed else permuted_copy(w, rng)) for w in weights]
        of_copies = self._align(copies, scales)
        floors = _distances_of(of_copies)
        shuffled, reason = self._reference("shuffled", [pif.shuffled(w, rng) for w in weights], scales)
        rows, matrices = [], {}
        for ending in ("", *RESTATED) if variant == "recurrent" else ("",):
            name = f"{variant}{ending}"
            matrices[name] = all_pairs(n, _distances_of(pairs).over(ending))
            reference = None if shuffled is None else jackknife.pair_mean(all_pairs(n, shuffled.over(ending)))
            floor, note = jackknife.member_mean(floors.over(ending)), _notes(NOTES[ending], reason, compared.note)
            of_pairs = partial(by_name.finding, statistic="pair_mean", x=matrices[name], of=name, floor=floor)
            rows.append(of_pairs(name, reference=reference, note=note, unit=UNITS[ending]))
            if not ending and untrained is not None and untrained.weights is not None:
                before, note = self._untrained(untrained, scales)
                note = _notes(note, compared.note)
                rows.append(of_pairs(f"{variant}{UNTRAINED}", reference=before, note=note))
        if self.by_class and variant == "recurrent":
            first, second = np.triu_indices(n, k=1)
            of_classes = pif.class_distances(
                [(weights[i], weights[j]) for i, j in zip(first, second, strict=True)], pairs
            )
            left = pif.class_distances(copies, of_copies)
            for name, distances in of_classes.items():
                matrices[name] = all_pairs(n, distances)
                floor = jackknife.member_mean(left[name])
                rows.append(by_name.finding(name, statistic="pair_mean", x=matrices[name], of=name, floor=floor))
        spread, converged = np.array([f.spread for f in pairs]), np.array([f.converged for f in pairs])
        return rows, matrices, fit_diagnostics(spread, converged)

    def _untrained(self, untrained: Recording, scales: Mapping[str, float]) -> tuple[jackknife.Estimate | None, str]:
        """The mean distance of untrained members, with what is to be said of it."""
        compared = compared_weights(untrained)
        if compared.silent:
            return None, f"untrained members: {compared.silent_note}"
        before, reason = self._reference("untrained", compared.weights, scales)
        if before is None:
            return None, reason
        note = _notes("reference: untrained members", _of_untrained(compared))
        return jackknife.pair_mean(all_pairs(len(untrained), before.distance)), note

    def _reference(
        self, kind: str, weights: Sequence[Weights], scales: Mapping[str, float]
    ) -> tuple[PairDistances | None, str]:
        """The same over other members; none, and why, where they lack a block that counts or cannot be aligned."""
        lacking = [block for block in scales if any(block not in w.blocks for w in weights)]
        if lacking:
            return None, f"{kind} members without their {', '.join(lacking)} weights"
        reason = _incomparable(weights, signed=self.signed)
        if reason:
            return None, f"{kind} members: {reason}"
        return _distances_of(self._pairs(weights, scales)), ""

    def _align(self, pairs: list[tuple[Weights, Weights]], scales: Mapping[str, float]) -> list[pif.Alignment]:
        return pif.pif_pairs(pairs, signed=self.signed, block_scales=scales, n_restarts=self.n_restarts, seed=self.seed)

    def _pairs(self, weights: Sequence[Weights], scales: Mapping[str, float]) -> list[pif.Alignment]:
        first, second = np.triu_indices(len(weights), k=1)
        return self._align([(weights[int(i)], weights[int(j)]) for i, j in zip(first, second, strict=True)], scales)


def _distances_of(aligned: Sequence[pif.Alignment]) -> PairDistances:
    return PairDistances(
        distance=np.array([each.distance for each in aligned]),
        norm=np.array([each.norm for each in aligned]),
        n_parameters=np.array([each.n_parameters for each in aligned]),
    )


def _notes(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _of_untrained(compared: ComparedWeights) -> str:
    return f"untrained: {compared.note}" if compared.note else ""


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
        "units, the best of {n_restarts} starts; units that never move on the probe trials, or that nothing reads, are "
        "left out."
    )
    cost: ClassVar[float] = 6.4
    checks: ClassVar[tuple[Check, ...]] = (
        Check(
            name="relative weights",
            asks="weights over their norm, which training changes too",
            differs_in="quantity",
            variant=f"recurrent{RELATIVE}",
        ),
    )
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
        "of basis, the best of {n_starts} starts; units that never move on the probe trials, or that nothing reads, "
        "are left out."
    )
    cost: ClassVar[float] = 1.9
    variant_titles: ClassVar[Mapping[str, str]] = TITLES
    across_sizes: ClassVar[Mapping[str, str]] = ACROSS_SIZES
    checks: ClassVar[tuple[Check, ...]] = (
        Check(name="orthogonal", asks="weights up to any rotation of the units' space", differs_in="symmetry"),
    )
    level: ClassVar[Level] = "weights"
    needs: ClassVar[tuple[str, ...]] = ("weights", "recurrent_weights", "symmetry")
    looks_at: ClassVar[tuple[str, ...]] = ("states",)
    pairwise: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)
    revision: ClassVar[int] = (
        2  # units that do nothing are left out; distances per parameter; a search that goes further
    )
    meaning: ClassVar[str] = (
        "how differently recurrent weights act as linear maps: Frobenius distance after the best orthogonal change of "
        "basis, at most that of pif; of gated cells the candidate's weights; 'per parameter' and 'relative' as for pif"
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
        compared = compared_weights(recording)
        reason = _incomparable(compared.weights)
        if reason:
            return Measured(findings=(nan_finding("recurrent", len(recording), reason),))
        matrices, n = [orthogonal.compared_matrix(w) for w in compared.weights], len(recording)
        first, second = np.triu_indices(n, k=1)
        pairs, fit = self._fit([matrices[i] for i in first], [matrices[j] for j in second])
        rng = np.random.default_rng(self.seed)
        copies, _ = self._fit(matrices, [orthogonal.rotated_copy(m, rng) for m in matrices])
        mixed = [orthogonal.shuffled_matrix(m, w.classes, rng) for m, w in zip(matrices, compared.weights, strict=True)]
        shuffled = self._ring(mixed)
        findings, distances = [], {}
        for ending in ("", *RESTATED):
            name = f"recurrent{ending}"
            distances[name] = all_pairs(n, pairs.over(ending))
            floor, note = jackknife.member_mean(copies.over(ending)), _notes(NOTES[ending], compared.note)
            of_pairs = partial(by_name.finding, statistic="pair_mean", x=distances[name], of=name, floor=floor)
            reference = orthogonal.ring_mean(shuffled.over(ending))
            findings.append(of_pairs(name, reference=reference, note=note, unit=UNITS[ending]))
            if not ending and recording.untrained is not None and recording.untrained.weights is not None:
                before, note = self._untrained(recording.untrained)
                note = _notes(note, compared.note)
                findings.append(of_pairs(f"recurrent{UNTRAINED}", reference=before, note=note))
        diagnostics = fit_diagnostics(fit.spread, fit.converged)
        return compared.found(Measured(findings=tuple(findings), distances=distances, diagnostics=diagnostics))

    def _untrained(self, untrained: Recording) -> tuple[jackknife.Estimate | None, str]:
        """The mean distance of untrained members, with what is to be said of it."""
        compared = compared_weights(untrained)
        reason = compared.silent_note or _incomparable(compared.weights)
        if reason:
            return None, f"untrained members: {reason}"
        ring = self._ring([orthogonal.compared_matrix(w) for w in compared.weights])
        return orthogonal.ring_mean(ring.distance), _notes("reference: untrained members", _of_untrained(compared))

    def _fit(self, first: Sequence[Array], second: Sequence[Array]) -> tuple[PairDistances, ConjugationFit]:
        fit = orthogonal.orthogonal_fit(first, second, n_starts=self.n_starts, seed=self.seed)
        return orthogonal.pair_distances(first, second, fit.distance), fit

    def _ring(self, matrices: Sequence[Array]) -> PairDistances:
        """The distances of each member and the next: a reference need not know all pairs."""
        return self._fit(matrices, [*matrices[1:], matrices[0]])[0]


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
