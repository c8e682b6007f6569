"""Measures that are one number per member: its mean and its spread over members.

The number of untrained members stands beside as reference where it can differ; a floor has no meaning.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pydantic

from degeneracy.analysis.activity import NO_ACTIVITY, named, varies
from degeneracy.analysis.dimensions import effective_rank, participation_ratio, recurrent_matrix
from degeneracy.analysis.learning.alignment import kernel_alignment, representation_alignment
from degeneracy.analysis.measure import Level, Measure, Measured
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name
from degeneracy.core.errors import UserError

VARIANTS: tuple[tuple[str, Literal["linear", "log"]], ...] = (("mean", "linear"), ("sd", "log"))  # each a statistic


class OfMembers(Measure):
    """Base: mean and sd over members of the number that `numbers` gives for each.

    Members for which that is NaN are named, and leave mean and sd without a value: `undefined` says why.
    """

    undefined: ClassVar[str] = "no such number"
    variant_titles: ClassVar[Mapping[str, str]] = {"mean": "mean", "sd": "sd"}

    @abstractmethod
    def numbers(self, recording: Recording) -> Array | None:
        """(member,); None where the recording lacks what it takes, which for untrained members may be."""

    def __call__(self, recording: Recording) -> Measured:
        """Mean and sd, with those of untrained members as reference."""
        values = self.numbers(recording)
        assert values is not None
        before = None if recording.untrained is None else self.numbers(recording.untrained)
        note = self._named(values, recording)
        before_note = "" if before is None else self._named(before, recording)
        if before_note:
            before, note = None, "; ".join(text for text in (note, f"untrained {before_note}") if text)
        findings = [
            by_name.finding(
                variant,
                variant,
                values,
                of="values",
                reference=None if before is None else by_name.STATISTICS[variant](before),
                scale=scale,
                note=note,
            )
            for variant, scale in VARIANTS
        ]
        return Measured(findings=tuple(findings), arrays={"values": values})

    def _named(self, values: Array, recording: Recording) -> str:
        """The members without a number, and why; "" where all have one."""
        without = np.flatnonzero(~np.isfinite(values)).tolist()
        return f"{named(without, recording.members)}: {self.undefined}" if without else ""


class EffectiveRank(OfMembers):
    """Effective rank of the recurrent weights."""

    name: ClassVar[str] = "effective_rank"
    title: ClassVar[str] = "Effective rank"
    reference: ClassVar[str] = "the same networks before training"
    methods: ClassVar[str] = (
        "The effective rank of a network's recurrent weights is the exponential of the entropy of their normalised "
        "singular values (Roy & Vetterli 2007)."
    )
    level: ClassVar[Level] = "weights"
    needs: ClassVar[tuple[str, ...]] = ("weights", "recurrent_weights")
    meaning: ClassVar[str] = (
        "in how many directions the recurrent weights act (exp of the entropy of their normalised singular values; "
        "all gates together): mean and sd over members"
    )
    zero: ClassVar[str] = "mean: no weights (1: one direction alone); sd: all members alike"
    source: ClassVar[str] = "Roy & Vetterli (2007), EUSIPCO"

    def numbers(self, recording: Recording) -> Array | None:
        """The effective rank of each member's recurrent weights."""
        if recording.weights is None:
            return None
        return np.array([effective_rank(recurrent_matrix(w)) for w in recording.weights])


class ParticipationRatio(OfMembers):
    """Dimension of the hidden states on probe trials."""

    name: ClassVar[str] = "participation_ratio"
    title: ClassVar[str] = "Participation ratio"
    reference: ClassVar[str] = "the same networks before training"
    methods: ClassVar[str] = (
        "The dimension of a network's hidden states on probe trials is the participation ratio of their covariance "
        "(Gao et al. 2017)."
    )
    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    meaning: ClassVar[str] = (
        "in how many dimensions hidden states vary on probe trials, (sum l)^2 / sum l^2 of the covariance's "
        "eigenvalues l: mean and sd over members"
    )
    zero: ClassVar[str] = "mean: never (1: along one line); sd: all members alike"
    undefined: ClassVar[str] = NO_ACTIVITY
    revision: ClassVar[int] = 1  # a member without activity has no dimension, where it had 0
    source: ClassVar[str] = "Gao et al. (2017), bioRxiv 214262"

    def numbers(self, recording: Recording) -> Array | None:
        """The participation ratio of each member's states."""
        if recording.states is None:
            return None
        return np.array([participation_ratio(x) if varies(x) else np.nan for x in recording.states])


class RepresentationAlignment(OfMembers):
    """Alignment of the hidden states' kernel before and after training."""

    name: ClassVar[str] = "representation_alignment"
    title: ClassVar[str] = "Representation alignment"
    methods: ClassVar[str] = (
        "How lazily a network learned is the cosine of the inner products of its states on the same trials before and "
        "after training (Liu et al. 2024)."
    )
    level: ClassVar[Level] = "learning"
    needs: ClassVar[tuple[str, ...]] = ("states", "untrained")
    meaning: ClassVar[str] = (
        "how much of what states have in common was there before training: cosine of the states' inner products on "
        "the same trials at start and end, 0 (rich) to 1 (lazy), mean and sd over members"
    )
    zero: ClassVar[str] = "mean: nothing is left of it (1: the same up to rotation and scale); sd: all alike"
    undefined: ClassVar[str] = f"{NO_ACTIVITY} before or after training"
    revision: ClassVar[int] = 1  # a member whose states do not vary has none, where its mean had one
    source: ClassVar[str] = "Liu et al. (2024), ICLR, arXiv 2310.08513"

    def numbers(self, recording: Recording) -> Array | None:
        """The alignment of each member's states with those before training."""
        before = recording.untrained
        if before is None:
            return None
        if before.states is None:
            raise UserError("needs the states before training: not given, or not finite")
        assert recording.states is not None
        pairs = zip(before.states, recording.states, strict=True)
        return np.array([representation_alignment(x, y) if varies(x) and varies(y) else np.nan for x, y in pairs])


class KernelAlignment(OfMembers):
    """Alignment of the empirical tangent kernel before and after training."""

    name: ClassVar[str] = "kernel_alignment"
    title: ClassVar[str] = "Kernel alignment"
    methods: ClassVar[str] = (
        "How lazily a network learned is the cosine of its tangent kernels before and after training, on {n_trials} "
        "probe trials and {n_steps} steps of each (Liu et al. 2024)."
    )
    cost: ClassVar[float] = 0.4
    level: ClassVar[Level] = "learning"
    needs: ClassVar[tuple[str, ...]] = ("tangent_kernel", "untrained")
    meaning: ClassVar[str] = (
        "how much of what a step of learning would change together was so before training: cosine of the inner "
        "products of the outputs' gradients by all parameters at start and end, 0 (rich) to 1 (lazy), mean and sd"
    )
    zero: ClassVar[str] = "mean: nothing is left of it (1: the same kernel up to scale); sd: all alike"
    undefined: ClassVar[str] = "no parameter changes the outputs, or by a number that is not finite"
    source: ClassVar[str] = (
        "Liu et al. (2024), ICLR, arXiv 2310.08513; Huang et al. (2025), arXiv 2410.03972; kernel: Jacot, Gabriel & "
        "Hongler (2018), NeurIPS"
    )

    n_trials: int = pydantic.Field(
        16, ge=1, description="probe trials of the kernel, fewer where there are not so many"
    )
    n_steps: int = pydantic.Field(2, ge=1, description="steps of each, evenly spaced, the last one included")
    seed: int = pydantic.Field(0, ge=0, description="of the choice of trials")

    def memory(self, *, n_units: int, n_steps: int, n_trials: int) -> dict[str, int]:  # noqa: ARG002
        """The kernel of one member with one output; float64."""
        samples = min(self.n_trials, n_trials) * min(self.n_steps, n_steps)
        return {f"n_trials = {self.n_trials} with n_steps = {self.n_steps}": 8 * samples**2}

    def numbers(self, recording: Recording) -> Array | None:
        """The alignment of each member's kernel with that before training, on the same trials and steps."""
        if recording.untrained is None:
            return None
        now, before = recording.tangent_kernel, recording.untrained.tangent_kernel
        if now is None or before is None:
            raise UserError("needs the networks before training")
        n_trials, n_steps = min(self.n_trials, now.n_trials), min(self.n_steps, now.n_steps)
        drawn = np.random.default_rng(self.seed).permutation(now.n_trials)[:n_trials]
        trials, steps = np.sort(drawn).tolist(), evenly(now.n_steps, n_steps)
        pairs = zip(before.kernel(trials, steps), now.kernel(trials, steps), strict=True)
        return np.array([kernel_alignment(x, y) for x, y in pairs])


def evenly(n_steps: int, n_chosen: int) -> list[int]:
    """Positions of evenly spaced steps, the last one included."""
    return [(k + 1) * n_steps // n_chosen - 1 for k in range(n_chosen)]
