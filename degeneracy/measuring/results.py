"""What measuring gives: findings as a tidy table, distances, and differences between conditions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from degeneracy.analysis import MEASURES
from degeneracy.analysis.dynamics.attractors.census import FixedPointCensus
from degeneracy.analysis.dynamics.attractors.graph_measure import FixedPointGraph, transition_rows
from degeneracy.analysis.dynamics.attractors.under_inputs import inputs_of
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics.contrasts import linear_contrast
from degeneracy.analysis.statistics.jackknife import calibrate, interval
from degeneracy.analysis.statistics.resolution import floor_share, upper_share
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.notebook import html_table
from degeneracy.measuring.datasets import dataset

COLUMNS_AFTER_FACTORS = (
    "level",
    "measure",
    "variant",
    "value",
    "ci_low",
    "ci_high",
    "floor",
    "reference",
    "calibrated",
    "calibrated_low",
    "calibrated_high",
    "floor_share",
    "upper_share",
    "n_members",
    "n_converged",
    "note",
)


@dataclass(frozen=True, kw_only=True)
class MemberSummary:
    """How one member's training went."""

    label: str
    status: str  # "converged", "not converged", "diverged", or "given" for networks trained elsewhere
    n_updates: int
    seconds: float  # of training; members that were trained side by side share its time
    epoch_loss: NDArray[np.float64]  # (epoch,): mean training loss
    learning_rate: NDArray[np.float64]  # (epoch,)
    steps_per_epoch: int  # updates per epoch
    # (epoch,): share of wrong decisions; empty where outputs are no decisions
    epoch_wrong: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A few probe trials and what the first measured members did on them, for figures."""

    inputs: Array  # (trial, time, in)
    targets: Array  # (trial, time, out); NaN where they do not count in the loss
    scored: NDArray[np.bool_]  # (trial, time)
    outputs: Array  # (member, trial, time, out): what they say of the targets, a logit as a chance
    states: Array  # (member, trial, time, unit): hidden states
    members: tuple[str, ...]  # labels of those members


@dataclass(frozen=True, kw_only=True)
class GridPoint:
    """What a measure found with some of its options set otherwise, or why it has no number."""

    options: Mapping[str, Any]
    outcome: Measured | str


class Distances(Mapping[str, Array]):
    """The pairwise distances of a result, each (member, member) in the order of `Result.measured_members`.

    `distances["dsa"]` is the measure's first variant, `distances["dsa/autonomous"]` a named one.

    Raises:
        UserError: on look-up of a name that is no pairwise distance here; names those that are.
    """

    def __init__(self, measured: Mapping[str, Measured]) -> None:
        self._matrices: dict[str, Array] = {}
        for name, found in measured.items():
            for k, (variant, matrix) in enumerate(found.distances.items()):
                if k == 0:
                    self._matrices[name] = matrix
                self._matrices[f"{name}/{variant}"] = matrix

    def __repr__(self) -> str:
        return f"Distances({', '.join(self)})"

    def _repr_html_(self) -> str:
        rows = []
        for name, matrix in self.items():
            pairs = matrix[np.triu_indices(len(matrix), 1)]
            rows.append((name, len(matrix), np.mean(pairs), np.min(pairs), np.max(pairs)))
        columns = ("distance", "networks", "mean over pairs", "smallest", "largest")
        return html_table("Pairwise distances", columns, rows, f'distances["{next(iter(self), "")}"]')

    def __getitem__(self, name: str) -> Array:
        if name not in self._matrices:
            raise unknown_name("pairwise distance", name, self._matrices)
        return self._matrices[name]

    def __contains__(self, name: object) -> bool:
        return name in self._matrices

    def __iter__(self) -> Iterator[str]:
        return iter(self._matrices)

    def __len__(self) -> int:
        return len(self._matrices)


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """All that was measured of one condition."""

    condition: str
    factors: Mapping[str, Any] = field(default_factory=dict)  # the varied factors' values here
    spec: Mapping[str, Any] = field(default_factory=dict)  # resolved: task, network, training, probe, measures
    members: tuple[MemberSummary, ...]  # all members, converged or not
    measured_members: tuple[str, ...]  # labels of those measured, in the order of all arrays
    levels: Mapping[str, str]  # measure -> level
    measured: Mapping[str, Measured]
    missing: Mapping[str, str] = field(default_factory=dict)  # measure -> why it says nothing here
    grids: Mapping[str, tuple[GridPoint, ...]] = field(default_factory=dict)  # level -> its measure, set otherwise
    examples: Examples | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Result({self.condition}, {self.n_converged} of {self.n_members} members, {', '.join(self.measured)})"

    def _repr_html_(self) -> str:
        rows = [
            (row.level, row.measure, row.variant, row.value, row.ci_low, row.ci_high, row.calibrated)
            for row in self.table.drop_duplicates("measure").itertuples()
        ]
        columns = ("level", "measure", "variant", "value", "from", "to", "calibrated")
        title = f"{self.condition}: {self.n_converged} of {self.n_members} networks measured"
        return html_table(title, columns, rows, 'result.table, dg.report(result, "report.html")')

    @property
    def n_members(self) -> int:
        """Members trained or given."""
        return len(self.members)

    @property
    def n_converged(self) -> int:
        """Members measured."""
        return len(self.measured_members)

    @property
    def distances(self) -> Distances:
        """The pairwise distances by measure."""
        return Distances(self.measured)

    @property
    def fixed_points(self) -> Mapping[str, NDArray[Any]]:
        """The fixed points of all measured members, one below the other.

        Returns:
            `position` (point, state), `speed` (point,), `eigenvalues` (point, state) complex, `index` (point,), the
            number of unstable directions, and `member` (point,), a position in `measured_members`. Of the cycles that
            forward runs end in, `cycle_position` (point, state), `cycle_member` (point,) and `cycle` (point,), which
            numbers each member's cycles; the points of a cycle follow in the order of the steps. `n_stable`, `n_total`
            and `n_cycles` (member,) are their numbers, NaN for a member that could not be searched. Under a constant
            input of the task other than none, all names end in its name: `position/token_0`.

        Raises:
            UserError: fixed points were not searched, or members of different sizes have no common array.
        """
        name = FixedPointCensus.name
        if name not in self.measured or not inputs_of(self.measured[name].arrays):
            raise UserError(f"fixed points were not exported: measure '{name}' on members of one size")
        return self.measured[name].arrays

    @property
    @ordinary_state()
    def transitions(self) -> pd.DataFrame:
        """Which pulse leads each network from which attractor to which, with attractors labelled by the readout.

        Returns:
            One row per transition: `member`, the constant `input`, the `pulse` in its place, `from` and `to` (the sign
            of each output, such as "+-"; "(+ -)" of a cycle; "elsewhere" where nothing that was found is reached), and
            the `share` of a cycle's phases from which it leads there, 1 of a point.

        Raises:
            UserError: the graph was not measured, or members of different sizes have no common array.
        """
        name = FixedPointGraph.name
        if name not in self.measured or not inputs_of(self.measured[name].arrays, "node_readout"):
            raise UserError(f"transitions were not exported: measure '{name}' on members of one size")
        table = pd.DataFrame(
            transition_rows(self.measured[name].arrays), columns=["member", "input", "pulse", "from", "to", "share"]
        )
        return table.assign(member=[self.measured_members[k] for k in table["member"]])

    @property
    @ordinary_state()
    def table(self) -> pd.DataFrame:
        """One row per finding, tidy; a measure that says nothing here has one row with its reason in `note`.

        Returns:
            Columns condition; one per varied factor; level (behavior, dynamics, weights, learning), measure, variant;
            value with its 95% interval over networks, ci_low and ci_high, in the measure's unit; floor, what networks
            score against themselves, and reference, what unrelated ones score; calibrated = (value - floor) /
            (reference - floor), with calibrated_low and calibrated_high; floor_share, the floor over the value, where
            over 0.6 is not resolved, and upper_share, how much of the reference the value without its floor is at most;
            n_members trained or given and n_converged of them measured; note.
        """
        rows = [self._row(name, finding) for name, found in self.measured.items() for finding in found.findings]
        empty = dict.fromkeys(COLUMNS_AFTER_FACTORS[3:13], np.nan)
        for name, reason in self.missing.items():
            rows.append(self._base(name, "") | empty | {"note": reason})
        columns = ["condition", *self.factors, *COLUMNS_AFTER_FACTORS]
        return pd.DataFrame(rows, columns=columns)

    @ordinary_state()
    def to_xarray(self) -> Any:
        """The result as an `xarray.Dataset`, which has to be installed.

        Returns:
            Along `finding` ("dsa/driven") the numbers of `table`, with `level`, `measure`, `variant`, `unit` and `note`
            as coordinates; `distance` (distance_of, member, other_member), the matrices of `distances`. Members are
            labelled as in `measured_members`.

        Raises:
            UserError: xarray is not installed.
        """
        return dataset(self)

    def _base(self, measure: str, variant: str) -> dict[str, Any]:
        return {
            "condition": self.condition,
            **self.factors,
            "level": self.levels[measure],
            "measure": measure,
            "variant": variant,
            "n_members": self.n_members,
            "n_converged": self.n_converged,
        }

    def _row(self, measure: str, finding: Finding) -> dict[str, Any]:
        low, high = interval(finding.value, finding.scale)
        calibrated = calibrate(finding)
        notes = [note for note in (finding.note, calibrated.note) if note]
        return self._base(measure, finding.variant) | {
            "value": finding.value.value,
            "ci_low": low,
            "ci_high": high,
            "floor": finding.floor.value if finding.floor else np.nan,
            "reference": finding.reference.value if finding.reference else np.nan,
            "calibrated": calibrated.value,
            "calibrated_low": calibrated.low,
            "calibrated_high": calibrated.high,
            "floor_share": floor_share(finding),
            "upper_share": upper_share(finding),
            "note": "; ".join(notes),
        }


def finding_of(result: Result, measure: str, variant: str) -> Finding | None:
    """A finding by its measure and variant; None where the condition lacks it."""
    found = result.measured.get(measure)
    return next((f for f in found.findings if f.variant == variant), None) if found else None


@ordinary_state()
def compare(result: Result, other: Result) -> pd.DataFrame:
    """Differences of two conditions, `other` minus `result`, one row per finding that both have.

    Members that both conditions share by seed are counted jointly, as in `dg.effects`, which gives the same two
    conditions the same interval; see `analysis.statistics.contrasts.linear_contrast`.

    Returns:
        Columns level, measure, variant, value, other_value, difference, ci_low, ci_high, scale ("log" where the
        difference is one of logarithms, "share" where it is one of shares), n, n_other.

    Raises:
        UserError: the two have no finding in common, were measured with other options or probe trials, or are no
            conditions.
    """
    for one in (result, other):
        if not isinstance(one, Result):
            raise UserError(f"compare: two conditions are needed, not a {type(one).__name__} (a study has `results`)")
    _same_options(result, other)
    rows = []
    for name in result.measured:
        theirs = {f.variant: f for f in other.measured[name].findings} if name in other.measured else {}
        for mine in result.measured[name].findings:
            if mine.variant in theirs:
                rows.append(_difference(result, other, name, mine, theirs[mine.variant]))
    if not rows:
        raise UserError(
            f"nothing to compare: '{result.condition}' and '{other.condition}' share no measure"
            f" (known: {', '.join(MEASURES)})"
        )
    return pd.DataFrame(rows)


def _same_options(result: Result, other: Result) -> None:
    """Refuse to compare what was measured in different ways."""
    for name in result.measured.keys() & other.measured.keys():
        mine, theirs = (one.spec.get("measures", {}).get(name) for one in (result, other))
        if mine != theirs:
            raise UserError(f"compare: '{name}' was measured with other options: {mine} and {theirs}")
    mine, theirs = (one.spec.get("probe") for one in (result, other))
    if mine != theirs:
        raise UserError(f"compare: the probe trials differ: {mine} and {theirs}")


def _difference(result: Result, other: Result, name: str, mine: Finding, theirs: Finding) -> dict[str, Any]:
    labels = [result.measured_members, other.measured_members]
    difference = linear_contrast([mine.value, theirs.value], labels, [-1, 1], mine.scale)
    low, high = difference.interval()
    return {
        "level": result.levels[name],
        "measure": name,
        "variant": mine.variant,
        "value": mine.value.value,
        "other_value": theirs.value.value,
        "difference": difference.change,
        "ci_low": low,
        "ci_high": high,
        "scale": mine.scale,
        "n": result.n_converged,
        "n_other": other.n_converged,
    }
