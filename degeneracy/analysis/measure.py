"""What a measure is: a spec with options that turns a recording into findings.

Each finding carries its value with the delete-one-member values of it, its floor and its reference, so that
intervals and calibration are computed in one place (`statistics`) for all measures.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from degeneracy.analysis.recording import Array, Recording
from degeneracy.specs import Spec

Level = Literal["behavior", "dynamics", "weights", "learning"]


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


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All that one measure found."""

    findings: tuple[Finding, ...]
    distances: Mapping[str, Array] = field(default_factory=dict)  # variant -> (member, member)
    arrays: Mapping[str, Array] = field(default_factory=dict)  # exported, e.g. fixed points
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

    @abstractmethod
    def __call__(self, recording: Recording) -> Measured:
        """Measure one ensemble (2 members or more)."""
