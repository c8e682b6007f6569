"""What a measure is: a spec with options that turns a recording into findings.

Each finding carries its value with the delete-one-member values of it, its floor and its reference, so that
intervals and calibration are computed in one place (`statistics`) for all measures.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.recording import Array, Recording
from degeneracy.core.specs import Spec

Level = Literal["behavior", "dynamics", "weights", "learning"]

# What a pairwise measure may ignore.
ROTATION, TRANSLATION, SCALE = "rotation of the states", "translation of the states", "scaling of the states"
PERMUTATION, SIGNS = "permutation of units", "sign flips of units"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A statistic of the ensemble, and what it is when each member in turn is left out."""

    value: float
    leave_one_out: Array  # (member,)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the table before intervals: a value with its floor and reference, all on one scale."""

    variant: str
    value: Estimate
    floor: Estimate | None = None  # None: has no meaning or could not be had; `note` says which
    reference: Estimate | None = None
    scale: Literal["linear", "log"] = "linear"  # log: intervals by the jackknife of the logarithm
    unit: str = ""
    note: str = ""


def nan_finding(variant: str, n_members: int, note: str) -> Finding:
    """A row that says why there is no number."""
    nan = Estimate(value=float("nan"), leave_one_out=np.full(n_members, np.nan))
    return Finding(variant=variant, value=nan, note=note)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All that one measure found."""

    findings: tuple[Finding, ...]
    distances: Mapping[str, Array] = field(default_factory=dict)  # variant -> (member, member)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # exported, e.g. fixed points
    diagnostics: Mapping[str, float] = field(default_factory=dict)  # restarts, spread, converged share


class Measure(Spec):
    """Base of all measures: the fields are its options, the class variables say what it claims.

    `needs` names the fields of a `Recording` without which it says nothing; `ignores` names the transformations
    of a network under which a pairwise measure stays 0, `is_metric` whether the triangle inequality holds.
    """

    name: ClassVar[str]
    level: ClassVar[Level]
    needs: ClassVar[tuple[str, ...]]
    meaning: ClassVar[str]  # one line: what the number says
    zero: ClassVar[str]  # one line: what 0 means
    source: ClassVar[str]
    unit: ClassVar[str] = ""
    pairwise: ClassVar[bool] = False
    is_metric: ClassVar[bool] = False
    ignores: ClassVar[tuple[str, ...]] = ()
    reads_outputs: ClassVar[bool] = True  # of behavior, beside the errors
    revision: ClassVar[int] = 0  # raised where the same options give another number: what is stored is taken anew

    def check(self, *, n_units: int, n_steps: int, n_trials: int) -> None:
        """Refuse options that recordings of this size cannot serve, before anything is trained.

        Raises:
            UserError: such an option.
        """

    def memory(self, *, n_units: int, n_steps: int, n_trials: int) -> dict[str, int]:  # noqa: ARG002
        """The least bytes that it needs beside a recording of this size, by the options that ask for them."""
        return {}

    @abstractmethod
    def __call__(self, recording: Recording) -> Measured:
        """Measure one ensemble (2 members or more)."""


class MeasureInParts(Measure):
    """A measure whose work is of independent parts, which may be done in any order, in other processes too."""

    @abstractmethod
    def parts(self, recording: Recording) -> Sequence[Callable[[], Any]]:
        """The parts of the work."""

    @abstractmethod
    def whole(self, done: Sequence[Any]) -> Measured:
        """What the parts, in their order, come to."""

    def __call__(self, recording: Recording) -> Measured:
        """Do one part after the other, then put them together."""
        return self.whole([part() for part in self.parts(recording)])


def fit_diagnostics(spread: Array, converged: NDArray[np.bool_]) -> dict[str, float]:
    """How well a search over many pairs went: median disagreement of its starts, share that converged."""
    return {"median_spread": float(np.median(spread)), "converged_share": float(np.mean(converged))}
