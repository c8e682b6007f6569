"""Measures of dynamics: how states are laid out (shape), where they rest (fixed points); for DSA see `dsa_measure`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from degeneracy.analysis.activity import of_active_members
from degeneracy.analysis.dynamics import fixed_point_distances, fixed_points, shape_by_trials
from degeneracy.analysis.dynamics.under_inputs import UnderInputs, of_input
from degeneracy.analysis.measure import (
    PERMUTATION,
    ROTATION,
    SCALE,
    SIGNS,
    TRANSLATION,
    Check,
    Estimate,
    Finding,
    Level,
    Measure,
    Measured,
)
from degeneracy.analysis.recording import Array, Recording, StepFunction
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


# The constant input, the fixed points of members under it, those of a second search, and the members' names.
_Searched = tuple[str, list[fixed_points.FixedPoints], list[fixed_points.FixedPoints], Sequence[str]]


class FixedPointCensus(UnderInputs):
    """How many fixed points members have, of which kinds, and with which spectra."""

    name: ClassVar[str] = "fixed_points"
    title: ClassVar[str] = "Fixed points"
    methods: ClassVar[str] = (
        "Fixed points under {inputs} were searched from {n_starts} visited states per network (Sussillo & Barak 2013); "
        "their Jacobians were compared by {n_eigenvalues} eigenvalues each."
    )
    cost: ClassVar[float] = 2.5
    variant_titles: ClassVar[Mapping[str, str]] = {
        "n_stable": "number stable",
        "n_stable_sd": "number stable, SD",
        "n_total": "number",
        "n_total_sd": "number, SD",
        "n_cycles": "number of cycles",
        "census_distance": "census",
        "spectrum_distance": "spectrum",
    }
    averages: ClassVar[tuple[str, ...]] = ("n_stable", "n_total", "n_cycles")
    is_metric: ClassVar[bool] = True
    meaning: ClassVar[str] = (
        "fixed points under constant input: how many (stable, in all), how many cycles of a period from 2 to 12 "
        "forward runs end in instead, share of pairs of members whose counts of points by number of unstable "
        "directions differ, distance of the Jacobians' spectra; where there is an input, variants end in its name"
    )
    zero: ClassVar[str] = "distances: as many points of each kind; the same spectra"
    source: ClassVar[str] = "Sussillo & Barak (2013), Neural Computation 25:626; distances ours"
    revision: ClassVar[int] = 1  # what forward runs end in is searched and counted

    n_starts: int = pydantic.Field(
        256, ge=1, description="starts per member, from visited states; half are also run forward"
    )
    n_eigenvalues: int = pydantic.Field(8, ge=1, description="eigenvalues per point that are compared")
    seed: int = pydantic.Field(0, ge=0, description="of the starts; the repeat search takes the next")

    def parts(self, recording: Recording) -> list[Callable[[], _Searched]]:
        """The search of every member, and its repetition from other starts; on an accelerator all members at once."""
        step = recording.step
        assert step is not None
        n_members = len(step.visited)
        together = n_members if step.visited.device.type != "cpu" else 1
        batches = [range(k, k + together) for k in range(0, n_members, together)]
        return [
            partial(self._search_twice, step.select(some), held_input, [recording.members[k] for k in some])
            for held_input in self.searched_inputs(step.inputs)
            for some in batches
        ]

    def under(self, held_input: str, done: Sequence[_Searched]) -> Measured:
        """What the searches under one constant input come to."""
        points = [p for part in done for p in part[1]]
        repeated = [p for part in done for p in part[2]]
        searched = np.where([p.n_starts > 0 for p in points], 1.0, np.nan)
        stable = searched * [(p.index == 0).sum() for p in points]
        total = searched * [len(p) for p in points]
        cycles = searched * [len(p.cycles) for p in points]
        census = fixed_point_distances.census_distance(points)
        spectrum = fixed_point_distances.spectrum_distance(points, n_eigenvalues=self.n_eigenvalues)
        again = fixed_point_distances.repeat_census_distance(points, repeated)
        apart = [
            fixed_point_distances.spectrum_distance([a, b], n_eigenvalues=self.n_eigenvalues)[0, 1]
            for a, b in zip(points, repeated, strict=True)
        ]
        note = fixed_points.notes(points, [name for part in done for name in part[3]])
        if np.isnan(searched).any():
            note = f"no number, as not every network has one; {note}"
        name = partial(of_input, held_input=held_input)

        def finding(
            variant: str, statistic: str, x: Array, of: str, floor: Array | None = None, scale: str = "linear"
        ) -> Finding:
            estimate = None if floor is None else jackknife.member_mean(floor)
            return by_name.finding(name(variant), statistic, x, of=name(of), floor=estimate, note=note, scale=scale)

        arrays = {"n_stable": stable, "n_total": total, "n_cycles": cycles, **_point_arrays(points)}
        return Measured(
            findings=(
                finding("n_stable", "mean", stable, "n_stable"),
                finding("n_stable_sd", "sd", stable, "n_stable"),
                finding("n_total", "mean", total, "n_total"),
                finding("n_total_sd", "sd", total, "n_total"),
                finding("n_cycles", "mean", cycles, "n_cycles"),
                finding("census_distance", "pair_mean", census, "census_distance", again, "share"),
                finding("spectrum_distance", "pair_mean", spectrum, "spectrum_distance", np.array(apart)),
            ),
            distances={name("census_distance"): census, name("spectrum_distance"): spectrum},
            arrays={name(key): array for key, array in arrays.items()},
            diagnostics={name("rejected"): float(np.mean([p.n_rejected for p in points]))},
        )

    def _search_twice(self, step: StepFunction, held_input: str, members: Sequence[str]) -> _Searched:
        search = partial(fixed_points.find_fixed_points, step, held_input=held_input, n_starts=self.n_starts)
        points = search(seed=self.seed)
        return held_input, points, search(seed=self.seed + 1, found_before=points), members


def _point_arrays(points: Sequence[fixed_points.FixedPoints]) -> dict[str, NDArray[Any]]:
    """The points of all members one below the other, `member` saying whose each is (its position).

    The points of cycles likewise: `cycle` numbers a member's cycles, and its points follow in the order of the steps.
    """
    sizes = {p.position.shape[1] for p in points}
    if len(sizes) > 1:  # members of different sizes have no common array
        return {}
    none = np.zeros((0, *sizes))
    cycles = [(k, c, cycle) for k, p in enumerate(points) for c, cycle in enumerate(p.cycles)]
    lengths = [len(cycle.position) for *_, cycle in cycles]
    return {
        "position": np.concatenate([p.position for p in points]),
        "speed": np.concatenate([p.speed for p in points]),
        "eigenvalues": np.concatenate([p.eigenvalues for p in points]),
        "index": np.concatenate([p.index for p in points]),
        "member": np.repeat(np.arange(len(points)), [len(p) for p in points]),
        "cycle_position": np.concatenate([none, *(cycle.position for *_, cycle in cycles)]),
        "cycle_member": np.repeat(np.array([k for k, *_ in cycles], dtype=np.int64), lengths),
        "cycle": np.repeat(np.array([c for _, c, _ in cycles], dtype=np.int64), lengths),
    }
