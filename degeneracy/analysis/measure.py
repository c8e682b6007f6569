"""What a measure is: a spec with options that turns a recording into findings, and its card: all that is said of it.

Each finding carries its value with the delete-one-member values of it, its floor and its reference, so that
intervals and calibration are computed in one place (`statistics`) for all measures.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.recording import Array, Recording
from degeneracy.core.errors import one_line
from degeneracy.core.specs import Spec

Level = Literal["behavior", "dynamics", "weights", "learning"]
LEVELS: tuple[Level, ...] = get_args(Level)

# What measures of dynamics may look at: which states lead to which; how they move; how they are laid out.
ASPECTS = ("topology", "flow", "geometry")

# What a pairwise measure may ignore.
ROTATION, TRANSLATION, SCALE = "rotation of the states", "translation of the states", "scaling of the states"
PERMUTATION, SIGNS = "permutation of units", "sign flips of units"

IN_DISTRIBUTION = "in_distribution"  # the variant of measures of behavior on the trained trials
HELD = "/"  # parts the name of a variant from that of the constant input that it is of
UNTRAINED = "/untrained"  # ends the name of a variant that sets the value of another against untrained members
# End the names of variants that say the distances of another over again, over the number of weights or their norm.
PER_PARAMETER, RELATIVE = RESTATED = ("/per_parameter", "/relative")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A statistic of the ensemble, and what it is when each member in turn is left out."""

    value: float
    leave_one_out: Array  # (member,)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the table before intervals: a value with its floor and reference, all on one scale.

    `statistic` names what the value is (`statistics.by_name.STATISTICS`) and `of` the distances or the array of
    `Measured` that it is a statistic of, so that it can be taken again for some members; both are "" where the measure
    keeps no such array. A `corrected` value is a mean squared distance of which the floor has been taken away already:
    value, floor and reference are squares, the value may be negative, and calibration is the root of a ratio.
    """

    variant: str
    value: Estimate
    floor: Estimate | None = None  # None: has no meaning or could not be had; `note` says which
    reference: Estimate | None = None
    # log: intervals by the jackknife of the logarithm; share: of a share of a whole, which stay between 0 and 1
    scale: Literal["linear", "log", "share"] = "linear"
    unit: str = ""
    note: str = ""
    statistic: str = ""
    of: str = ""
    corrected: bool = False


def in_words(name: str) -> str:
    """A name in words, on one line: `length_2x` is "length ×2"."""
    return one_line(re.sub(r"_(\d+)x\b", r" ×\1", name).replace("_", " "))


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


# In what a check of robustness differs from the primary measure of its level.
Difference = Literal["publication", "symmetry", "input", "statistic", "quantity"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A question that a measure answers of an effect on the primary measure of its level (`contrasts`)."""

    name: str  # of the check; measures of several levels may share one
    asks: str
    differs_in: Difference
    variant: str = ""  # "": the first one that is known beforehand, or the one that the level is judged by


class Measure(Spec):
    """Base of all measures: the fields are its options, the class variables are its card.

    The card says all that tables, figures and reports say of the measure; nothing else knows it by name. Of its
    first lines, `needs` names the fields of a `Recording` without which it says nothing; `ignores` names the
    transformations of a network under which a pairwise measure stays 0, `is_metric` whether the triangle inequality
    holds.
    """

    name: ClassVar[str]
    level: ClassVar[Level]
    needs: ClassVar[tuple[str, ...]]
    meaning: ClassVar[str]  # one line: what the number says
    zero: ClassVar[str]  # one line: what 0 means
    source: ClassVar[str]
    unit: ClassVar[str] = ""
    looks_at: ClassVar[tuple[str, ...]] = ()  # further fields that change what it says where they are there
    pairwise: ClassVar[bool] = False
    is_metric: ClassVar[bool] = False
    ignores: ClassVar[tuple[str, ...]] = ()
    reads_outputs: ClassVar[bool] = True  # of behavior, beside the errors
    revision: ClassVar[int] = 0  # raised where the same options give another number: what is stored is taken anew

    title: ClassVar[str] = ""  # what readers call it; made of the name where empty
    floor: ClassVar[str] = ""  # one line: what its floor is; "" where it has none
    reference: ClassVar[str] = ""  # one line: what its reference is; "" where it has none
    methods: ClassVar[str] = ""  # a sentence for a methods section; options stand in it as {field}
    primary: ClassVar[bool] = False  # may stand for its level: of several, the first in the table of measures
    aspect: ClassVar[str] = ""  # one of `ASPECTS`, of the measure that stands for it in sentences; "" for all others
    shown: ClassVar[bool] = True  # drawn and printed; if not, it is in degeneracy.csv alone
    # CPU seconds for 16 trained networks of 64 units, 64 trials of 50 steps (one core of an AMD EPYC, compiled parts at
    # hand; 0: under 0.1). The longest measure is started first, so only their order counts.
    cost: ClassVar[float] = 0
    # The variants that do not depend on the task, with their titles, the one that stands for the measure first.
    variant_titles: ClassVar[Mapping[str, str]] = {}
    # By variant, what a number does with the number of units by itself: said of effects between sizes of networks.
    across_sizes: ClassVar[Mapping[str, str]] = {}
    # Of variants that are the task's, those that stand for the measure, in order of preference.
    preferred: ClassVar[tuple[str, ...]] = ("length_2x", "delay_2x")
    averages: ClassVar[tuple[str, ...]] = ("mean",)  # variants that do not say how members differ
    checks: ClassVar[tuple[Check, ...]] = ()  # the questions of robustness that it answers

    @classmethod
    def readable_name(cls) -> str:
        """Its title, or its name in words."""
        return cls.title or in_words(cls.name)

    @classmethod
    def variant_title(cls, variant: str) -> str:
        """A variant's title: that of the card, or its name in words."""
        return cls.variant_titles.get(variant) or in_words(variant)

    @classmethod
    def is_average(cls, variant: str) -> bool:
        """Whether a variant is a mean over members, which does not say how they differ."""
        return variant in cls.averages

    @classmethod
    def known_variants(cls, of_task: Iterable[str], held_inputs: Iterable[str]) -> tuple[str, ...]:  # noqa: ARG003
        """The variants known before anything is measured; () where none are.

        Args:
            of_task: those of behavior.
            held_inputs: the task's constant inputs, by name.
        """
        return tuple(of_task if "behavior" in cls.needs else cls.variant_titles)

    @classmethod
    def chosen_variant(cls, variants: Iterable[str]) -> str:
        """The variant that stands for the measure, among those that it has, in their order; "" where it has none.

        The first that is preferred, else the first of the card, else the first that is not of the training
        distribution, else the first; never by what was found.
        """
        there = list(variants)
        by_card = [name for name in (*cls.preferred, *cls.variant_titles) if name in there]
        elsewhere = [name for name in there if name != IN_DISTRIBUTION]
        return next(iter([*by_card, *elsewhere, *there]), "")

    def methods_sentence(self) -> str:
        """The card's sentence with the measure's options; "" where it has none."""
        return self.methods.format_map(self.model_dump(mode="json"))

    def check(self, *, n_units: int, n_steps: int, n_trials: int, held_inputs: Collection[str]) -> None:
        """Refuse options that recordings of this size, with these held inputs, cannot serve, before training.

        Raises:
            UserError: such an option.
        """

    def memory(self, *, n_units: int, n_steps: int, n_trials: int) -> dict[str, int]:  # noqa: ARG002
        """The least bytes that it needs beside a recording of this size, by the options that ask for them."""
        return {}

    @property
    def n_lags(self) -> int:
        """How many steps apart the states and inputs are whose products it needs (`lag_grams`); 0: it needs none."""
        return 0

    @property
    def n_input_lags(self) -> int:
        """How many steps before a state the inputs go back whose products with it are needed (`lag_grams`)."""
        return 0

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
