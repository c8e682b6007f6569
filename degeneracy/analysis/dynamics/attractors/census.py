"""Census of fixed points: how many rest states and cycles members have, of which kinds, with which spectra."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pydantic
from numpy.typing import NDArray

from degeneracy.analysis.dynamics.attractors import fixed_point_distances, fixed_points
from degeneracy.analysis.dynamics.attractors.under_inputs import UnderInputs, of_input
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.recording import Array, Recording, StepFunction
from degeneracy.analysis.statistics import by_name, jackknife

# The constant input, the fixed points of members under it, those of a second search, and the members' names.
_Searched = tuple[str, list[fixed_points.FixedPoints], list[fixed_points.FixedPoints], Sequence[str]]


class FixedPointCensus(UnderInputs):
    """How many fixed points members have, of which kinds and spectra; half of the starts are run forward too."""

    name: ClassVar[str] = "fixed_points"
    title: ClassVar[str] = "Fixed points"
    methods: ClassVar[str] = (
        "Fixed points under {inputs} were searched from {starts} visited states per network (Sussillo & Barak 2013); "
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
        search = partial(fixed_points.find_fixed_points, step, held_input=held_input, n_starts=self.starts(step))
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
