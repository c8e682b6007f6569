"""Shape measures: how states are laid out, compared trial by trial and step by step."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import pydantic

from degeneracy.analysis.activity import of_active_members
from degeneracy.analysis.dynamics.layout import shape_by_trials
from degeneracy.analysis.measure import (
    PERMUTATION,
    ROTATION,
    SCALE,
    SIGNS,
    TRANSLATION,
    Check,
    Estimate,
    Level,
    Measure,
    Measured,
)
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name, jackknife
from degeneracy.core.errors import UserError


class _Shape(Measure):
    """Base of the measures that compare states row by row: the same trials, the same steps."""

    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = False  # estimates across trials break the triangle inequality by chance
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, TRANSLATION, SCALE, PERMUTATION, SIGNS)
    floor: ClassVar[str] = "0, or two noisy draws of the same network"
    reference: ClassVar[str] = (
        "the same networks before training; where they were not given, the trained ones with their trials shuffled"
    )
    variant_titles: ClassVar[Mapping[str, str]] = {"driven": "driven"}

    estimator: Literal["cross_validated", "plain"] = pydantic.Field(
        "cross_validated",
        description="cross_validated: across trials, not set by the number of samples; plain: as published, "
        "finds few samples of noise alike",
    )

    def _options(self) -> dict[str, float]:
        return {name: value for name, value in self if name != "estimator"}

    def _prepared(self, states: Sequence[Array]) -> shape_by_trials.Pairs:
        prepare = shape_by_trials.prepare if self.estimator == "cross_validated" else shape_by_trials.plain
        return prepare(states, self.name, **self._options())

    @of_active_members("driven")
    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances of the driven states."""
        assert recording.states is not None
        prepared = self._prepared(recording.states)
        matrix = shape_by_trials.distances(prepared)
        floor, without = self._floor(recording)
        reference, note = self._reference(recording, prepared)
        notes = [shape_by_trials.scatter_note(prepared), without, note]
        finding = by_name.finding(
            "driven",
            "pair_mean",
            matrix,
            of="driven",
            floor=floor,
            reference=reference,
            unit=self.unit,
            note="; ".join(each for each in notes if each),
        )
        return Measured(findings=(finding,), distances={"driven": matrix})

    def _floor(self, recording: Recording) -> tuple[Estimate | None, str]:
        """Of two draws of each member's own noise; 0 where it has none."""
        if recording.noisy_states is None:
            return jackknife.constant(0.0, len(recording)), ""
        try:
            draws = zip(*recording.noisy_states, strict=True)
            apart = [shape_by_trials.distances(self._prepared(pair))[0, 1] for pair in draws]
        except UserError as error:  # no reason to have no value
            return None, f"no floor, of the networks' noise: {error}"
        return jackknife.member_mean(np.array(apart)), ""

    def _reference(self, recording: Recording, prepared: shape_by_trials.Pairs) -> tuple[Estimate | None, str]:
        """Of the untrained networks; where none were given, of trials that do not match."""
        untrained = recording.untrained
        if untrained is not None and untrained.states is not None:
            try:
                return jackknife.pair_mean(shape_by_trials.distances(self._prepared(untrained.states))), ""
            except UserError as error:  # no reason to have no value
                return None, f"untrained networks: {error}"
        if untrained is not None and "states" in untrained.missing:
            return None, f"untrained networks: {untrained.missing['states']}"
        if not prepared.shifts:
            return None, ""
        shuffled = shape_by_trials.shuffled_distances(prepared)
        return jackknife.pair_mean(shuffled), "reference: the same networks, their trials shuffled"


class Procrustes(_Shape):
    """Angle between states after the best rotation (alpha = 1) or linear map (alpha = 0)."""

    name: ClassVar[str] = "procrustes"
    title: ClassVar[str] = "Procrustes"
    aspect: ClassVar[str] = "geometry"
    cost: ClassVar[float] = 0.9
    primary: ClassVar[bool] = True
    methods: ClassVar[str] = (
        "The layout of states was compared by the Procrustes angle (Williams et al. 2021), alpha = {alpha:g}, by the "
        "{estimator} estimator."
    )
    checks: ClassVar[tuple[Check, ...]] = (
        Check(name="Procrustes", asks="shape of states instead of their dynamics", differs_in="quantity"),
    )
    unit: ClassVar[str] = "rad"
    meaning: ClassVar[str] = (
        "how differently states are laid out: angle after the best rotation; unrelated: pi/2 on average"
    )
    zero: ClassVar[str] = "the same trajectories up to rotation, translation and scale"
    source: ClassVar[str] = "Williams, Kunz, Kornblith & Linderman (2021), NeurIPS, arXiv 2110.14739, eqs. 3-7"

    alpha: float = pydantic.Field(1.0, ge=0, le=1, description="1: rotations; 0: all linear maps")


class SVCCA(_Shape):
    """1 - mean canonical correlation of the leading principal components."""

    name: ClassVar[str] = "svcca"
    title: ClassVar[str] = "SVCCA"
    cost: ClassVar[float] = 0.4
    methods: ClassVar[str] = (
        "States were compared by SVCCA (Raghu et al. 2017) on the principal components with {variance:g} of the "
        "variance, by the {estimator} estimator."
    )
    checks: ClassVar[tuple[Check, ...]] = (Check(name="SVCCA", asks="as Procrustes", differs_in="quantity"),)
    meaning: ClassVar[str] = (
        "1 - mean canonical correlation of the states' leading principal components; unrelated: 1 on average"
    )
    zero: ClassVar[str] = "the leading subspaces are linear maps of one another"
    source: ClassVar[str] = "Raghu, Gilmer, Yosinski & Sohl-Dickstein (2017), NeurIPS, arXiv 1706.05806"

    variance: float = pydantic.Field(0.99, gt=0, le=1, description="share of variance the components explain")


class CKA(_Shape):
    """1 - linear centred kernel alignment."""

    name: ClassVar[str] = "cka"
    title: ClassVar[str] = "CKA"
    cost: ClassVar[float] = 0.4
    methods: ClassVar[str] = (
        "States were compared by linear centred kernel alignment (Kornblith et al. 2019), by the {estimator} estimator."
    )
    checks: ClassVar[tuple[Check, ...]] = (Check(name="CKA", asks="as Procrustes", differs_in="quantity"),)
    meaning: ClassVar[str] = "1 - linear centred kernel alignment of the states; unrelated: 1 on average"
    zero: ClassVar[str] = "the same trajectories up to rotation, translation and scale"
    source: ClassVar[str] = "Kornblith, Norouzi, Lee & Hinton (2019), ICML, arXiv 1905.00414"
