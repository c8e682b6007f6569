"""Measures of dynamics: how states move (DSA), how they are laid out (shape), where they rest (fixed points)."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from degeneracy.analysis.conjugation import pairs
from degeneracy.analysis.dynamics import dsa, fixed_points, shape
from degeneracy.analysis.measure import (
    PERMUTATION,
    ROTATION,
    SCALE,
    SIGNS,
    TRANSLATION,
    Estimate,
    Finding,
    Level,
    Measure,
    Measured,
    MeasureInParts,
    fit_diagnostics,
)
from degeneracy.analysis.recording import Array, Recording, StepFunction
from degeneracy.analysis.statistics import jackknife
from degeneracy.errors import UserError


class DSA(Measure):
    """Dynamical similarity analysis on two halves of the probe trials."""

    name: ClassVar[str] = "dsa"
    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    unit: ClassVar[str] = "rad"
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = False  # a minimum found by a search, each member seen in two halves
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, SCALE, PERMUTATION, SIGNS)
    meaning: ClassVar[str] = (
        "how differently states move: angle between linear operators of delay-embedded states, after the best "
        "orthogonal change of basis; 'driven' on the task, 'autonomous' without input"
    )
    zero: ClassVar[str] = "the same linear dynamics up to a change of basis"
    source: ClassVar[str] = "Ostrow, Eisen, Kozachkov & Fiete (2023), NeurIPS, arXiv 2306.10168"

    rank: int = pydantic.Field(20, ge=1, description="rank of the operators")
    n_delays: int = pydantic.Field(10, ge=1, description="delays of the embedding")
    score: Literal["angular", "frobenius", "wasserstein"] = "angular"
    n_starts: int = pydantic.Field(32, ge=2, description="starts of each fit, of both determinants")
    autonomous: bool = pydantic.Field(True, description="also measure runs without input")
    seed: int = pydantic.Field(0, ge=0, description="of the random starts")

    def check(self, *, n_units: int, n_steps: int, n_trials: int) -> None:
        """Refuse more delays than steps, and a rank that the delayed states or the samples cannot have."""
        if self.n_delays >= n_steps:
            raise UserError(
                f"dsa: n_delays = {self.n_delays} is wrong: fewer than the {n_steps} steps of a trial"
            )
        most = min(self.n_delays * n_units, (n_trials // 2) * (n_steps - self.n_delays))
        if self.rank > most:
            raise UserError(
                f"dsa: rank = {self.rank} is wrong: at most {most} with {n_units} units, {self.n_delays} delays and"
                f" {n_trials} trials of {n_steps} steps, half of them at a time"
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
        found = {"driven": self._variant(recording, "states")}
        if self.autonomous and recording.autonomous_states is not None:
            found["autonomous"] = self._variant(recording, "autonomous_states")
        return Measured(
            findings=tuple(
                Finding(variant=name, value=value, floor=floor, reference=reference, unit=self.unit)
                for name, (_, value, floor, reference, _) in found.items()
            ),
            distances={name: matrix for name, (matrix, *_) in found.items()},
            diagnostics={
                f"{name}/{key}": number for name, (*_, fit) in found.items() for key, number in fit.items()
            },
        )

    def _variant(
        self, recording: Recording, which: str
    ) -> tuple[Array, Estimate, Estimate, Estimate | None, dict[str, float]]:
        matrix, floor, fit = self._distances(getattr(recording, which))
        untrained = getattr(recording.untrained, which) if recording.untrained is not None else None
        reference = None if untrained is None else self._reference(untrained)
        return matrix, jackknife.pair_mean(matrix), jackknife.member_mean(floor), reference, fit

    def _distances(self, states: Sequence[Array]) -> tuple[Array, Array, dict[str, float]]:
        """½[d(x_A, y_B) + d(x_B, y_A)] of all pairs, d(x_A, x_B) of all members, and how the fits went."""
        n = len(states)
        fit = self._across(states, *np.divmod(np.arange(n * n), n))
        across = fit.distance.reshape(n, n)
        matrix = (across + across.T) / 2
        floor = np.diag(matrix).copy()
        np.fill_diagonal(matrix, 0.0)
        return matrix, floor, fit_diagnostics(fit.spread, fit.converged)

    def _reference(self, states: Sequence[Array]) -> Estimate:
        """The mean over pairs of d(x_A, y_B) alone: which half is whose makes no difference on average."""
        first, second = np.triu_indices(len(states), k=1)
        matrix = np.zeros((len(states), len(states)))
        matrix[first, second] = matrix[second, first] = self._across(states, first, second).distance
        return jackknife.pair_mean(matrix)

    def _across(
        self, states: Sequence[Array], first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> pairs.ConjugationFit:
        """d(x_A, y_B) of the pairs (first, second), A and B halves of the trials."""
        if min(len(x) for x in states) < 2:
            raise UserError("dsa: 2 trials or more are needed, to compare halves")
        halves = [
            dsa.delay_operators([x[half::2] for x in states], rank=self.rank, n_delays=self.n_delays)
            for half in (0, 1)
        ]
        return pairs.fit_among(
            halves[0].operators,
            halves[1].operators,
            first,
            second,
            score=self.score,
            n_starts=self.n_starts,
            seed=self.seed,
        )


class _Shape(Measure):
    """Base of the measures that compare states row by row: the same trials, the same steps."""

    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    pairwise: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, TRANSLATION, SCALE, PERMUTATION, SIGNS)

    def _options(self) -> dict[str, float]:
        return dict(self)

    def _distances(self, states: Sequence[Array]) -> Array:
        return shape.shape_distances(states, (self.name,), **self._options())[self.name]

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances of the driven states."""
        assert recording.states is not None
        matrix = self._distances(recording.states)
        floor = jackknife.constant(0.0, len(recording))
        if recording.noisy_states is not None:
            draws = zip(*recording.noisy_states, strict=True)
            floor = jackknife.member_mean(np.array([self._distances(pair)[0, 1] for pair in draws]))
        untrained = recording.untrained
        reference = None
        if untrained is not None and untrained.states is not None:
            reference = jackknife.pair_mean(self._distances(untrained.states))
        finding = Finding(
            variant="driven",
            value=jackknife.pair_mean(matrix),
            floor=floor,
            reference=reference,
            unit=self.unit,
        )
        return Measured(findings=(finding,), distances={"driven": matrix})


class Procrustes(_Shape):
    """Angle between states after the best rotation (alpha = 1) or linear map (alpha = 0)."""

    name: ClassVar[str] = "procrustes"
    unit: ClassVar[str] = "rad"
    is_metric: ClassVar[bool] = True
    meaning: ClassVar[str] = "how differently states are laid out: angle after the best rotation, 0 to pi/2"
    zero: ClassVar[str] = "the same trajectories up to rotation, translation and scale"
    source: ClassVar[str] = (
        "Williams, Kunz, Kornblith & Linderman (2021), NeurIPS, arXiv 2110.14739, eqs. 3-7"
    )

    alpha: float = pydantic.Field(1.0, ge=0, le=1, description="1: rotations; 0: all linear maps")


class SVCCA(_Shape):
    """1 - mean canonical correlation of the leading principal components."""

    name: ClassVar[str] = "svcca"
    meaning: ClassVar[str] = (
        "1 - mean canonical correlation of the states' leading principal components, 0 to 1"
    )
    zero: ClassVar[str] = "the leading subspaces are linear maps of one another"
    source: ClassVar[str] = "Raghu, Gilmer, Yosinski & Sohl-Dickstein (2017), NeurIPS, arXiv 1706.05806"

    variance: float = pydantic.Field(0.99, gt=0, le=1, description="share of variance the components explain")


class CKA(_Shape):
    """1 - linear centred kernel alignment."""

    name: ClassVar[str] = "cka"
    meaning: ClassVar[str] = "1 - linear centred kernel alignment of the states, 0 to 1"
    zero: ClassVar[str] = "the same trajectories up to rotation, translation and scale"
    source: ClassVar[str] = "Kornblith, Norouzi, Lee & Hinton (2019), ICML, arXiv 1905.00414"


# The fixed points of members, and those of a second search.
_Searched = tuple[list[fixed_points.FixedPoints], list[fixed_points.FixedPoints]]


class FixedPointCensus(MeasureInParts):
    """How many fixed points members have, of which kinds, and with which spectra."""

    name: ClassVar[str] = "fixed_points"
    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("step",)
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)
    meaning: ClassVar[str] = (
        "fixed points under constant input: how many (stable, in all), share of pairs of members whose counts by "
        "number of unstable directions differ, distance of the Jacobians' spectra"
    )
    zero: ClassVar[str] = "distances: as many points of each kind; the same spectra"
    source: ClassVar[str] = "Sussillo & Barak (2013), Neural Computation 25:626; distances ours"

    input: Literal["zero", "mean"] = pydantic.Field("zero", description="the constant input searched under")
    n_starts: int = pydantic.Field(256, ge=1, description="starts a member, from visited states")
    n_eigenvalues: int = pydantic.Field(8, ge=1, description="eigenvalues a point that are compared")
    seed: int = pydantic.Field(0, ge=0, description="of the starts; the repeat search takes the next")

    def parts(self, recording: Recording) -> list[Callable[[], _Searched]]:
        """The search of every member, and its repetition from other starts; on an accelerator all members at once."""
        step = recording.step
        assert step is not None
        if self.input == "mean" and len(step.inputs) < 2:
            raise UserError("fixed_points: input = 'mean' needs the inputs of the task, which were not given")
        members = range(len(step.visited))
        steps = [step.select([k]) for k in members] if step.visited.device.type == "cpu" else [step]
        return [partial(self._search_twice, some) for some in steps]

    def whole(self, done: Sequence[_Searched]) -> Measured:
        """Counts and distances, with the points themselves."""
        points, repeated = (list(chain(*each)) for each in zip(*done, strict=True))
        stable = np.array([float((p.index == 0).sum()) for p in points])
        total = np.array([float(len(p)) for p in points])
        census = fixed_points.census_distance(points)
        spectrum = fixed_points.spectrum_distance(points, n_eigenvalues=self.n_eigenvalues)
        again = jackknife.member_mean(fixed_points.repeat_census_distance(points, repeated))
        apart = [
            fixed_points.spectrum_distance([a, b], n_eigenvalues=self.n_eigenvalues)[0, 1]
            for a, b in zip(points, repeated, strict=True)
        ]
        notes = sorted({p.note for p in points if p.note})
        note = "; ".join(notes)
        findings = (
            Finding(variant="n_stable", value=jackknife.member_mean(stable), note=note),
            Finding(variant="n_stable_sd", value=jackknife.member_sd(stable)),
            Finding(variant="n_total", value=jackknife.member_mean(total), note=note),
            Finding(variant="n_total_sd", value=jackknife.member_sd(total)),
            Finding(variant="census_distance", value=_pair_mean(census), floor=again),
            Finding(
                variant="spectrum_distance",
                value=_pair_mean(spectrum),
                floor=jackknife.member_mean(np.array(apart)),
            ),
        )
        return Measured(
            findings=findings,
            distances={"census_distance": census, "spectrum_distance": spectrum},
            arrays=_point_arrays(points),
            diagnostics={"rejected": float(np.mean([p.n_rejected for p in points]))},
        )

    def _search_twice(self, step: StepFunction) -> _Searched:
        search = partial(
            fixed_points.find_fixed_points,
            step,
            input_index={"zero": 0, "mean": 1}[self.input],
            n_starts=self.n_starts,
        )
        points = search(seed=self.seed)
        return points, search(seed=self.seed + 1, found_before=points)


def _pair_mean(distances: Array) -> Estimate:
    """Mean over pairs, NaN where a member could not be searched."""
    if np.isfinite(distances).all():
        return jackknife.pair_mean(distances)
    return Estimate(value=float("nan"), leave_one_out=np.full(len(distances), np.nan))


def _point_arrays(points: Sequence[fixed_points.FixedPoints]) -> dict[str, NDArray[Any]]:
    """The points of all members one below the other, `member` saying whose each is (its position)."""
    sizes = {p.position.shape[1] for p in points}
    if len(sizes) > 1:  # members of different sizes have no common array
        return {}
    return {
        "position": np.concatenate([p.position for p in points]),
        "speed": np.concatenate([p.speed for p in points]),
        "eigenvalues": np.concatenate([p.eigenvalues for p in points]),
        "index": np.concatenate([p.index for p in points]),
        "member": np.repeat(np.arange(len(points)), [len(p) for p in points]),
    }
