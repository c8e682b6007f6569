"""A measure of how often two members decide differently on the same trials, whether rightly or wrongly."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.measure import (
    PERMUTATION,
    ROTATION,
    SIGNS,
    Estimate,
    Level,
    Measure,
    Measured,
)
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name, jackknife
from degeneracy.core.errors import UserError

Bools = NDArray[np.bool_]
# Of shares summed over all scored steps, 1e5 or so: what is less than this below 1 is 1.
ROUNDING = 1e-11


def disagreements(decisions: Bools, scored: Bools) -> Array:
    """The share of scored steps on which each pair of members decides differently, (member, member).

    d_ij = mean over trials of the share of their scored steps at which any scored output is decided differently. A
    metric. Two members that err independently of one another, each at a share p of two answers, are at 2 p (1 - p).

    Args:
        decisions: (member, trial, time, out), of all members on the same trials.
        scored: (trial, time), the scored steps, or (trial, time, out), the scored outputs.

    Returns:
        In [0, 1]; 0: the same decision at every scored step.

    Raises:
        UserError: shapes that do not fit, or a trial without a scored step.
    """
    answers, weights = _answers(decisions, scored)
    d = np.zeros((len(answers), len(answers)))
    for i, mine in enumerate(answers):
        d[i, :i] = (answers[:i] != mine) @ weights
    return d + d.T


def own_disagreements(decisions: Bools, repeated: Bools, scored: Bools) -> Array:
    """The share of scored steps that each member decides differently in two draws of its own noise, (member,).

    Args:
        decisions, repeated: (member, trial, time, out), two draws on the same trials.
        scored: as for `disagreements`.
    """
    answers, weights = _answers(np.concatenate([decisions, repeated]), scored)
    n = len(decisions)
    return np.asarray((answers[:n] != answers[n:]) @ weights, dtype=np.float64)


def independent_disagreements(decisions: Bools, called_for: Bools, scored: Bools) -> Array:
    """The disagreement of pairs that erred as often, in the same ways, but independently of one another.

    With P_i(a | c) the share of member i's answers a where c is called for, and P(c) the share of c,

        r_ij = 1 - sum_c P(c) sum_a P_i(a | c) P_j(a | c),

    for two answers sum_c P(c) [p_i (1 - p_j) + p_j (1 - p_i)], p the shares of wrong ones where c is called for.

    Args:
        decisions: as for `disagreements`.
        called_for: (trial, time, out), the decisions that are right.
        scored: as for `disagreements`.

    Returns:
        (member, member) in [0, 1]; the diagonal is that of a member and an independent one like it.
    """
    (right, *rest), weights = _answers(np.concatenate([called_for[None], decisions]), scored)
    answers = np.array(rest)
    agreed = np.zeros((len(decisions),) * 2)
    for c in np.unique(right):
        some = right == c
        of_right, share = answers[:, some], weights[some]
        values, positions = np.unique(of_right, return_inverse=True)
        positions = positions.reshape(of_right.shape)
        chance = np.array([np.bincount(row, share, len(values)) for row in positions]) / share.sum()
        agreed += share.sum() * chance @ chance.T
    apart = 1 - agreed
    return np.where(apart > ROUNDING, apart, 0.0)


def _answers(decisions: Bools, scored: Bools) -> tuple[NDArray[Any], Array]:
    """What is answered at each scored step, as a number, (member, step), and the steps' weights, which add up to 1."""
    if scored.shape not in (decisions.shape[1:3], decisions.shape[1:]):
        raise UserError(f"decisions: a mask of shape {scored.shape} does not fit decisions {decisions.shape}")
    of_outputs = scored.ndim == 3
    steps = scored.any(-1) if of_outputs else scored
    n_scored = steps.sum(axis=1)
    if not n_scored.all():
        raise UserError(f"decisions: trial {int(np.argmin(n_scored))} has no scored step")
    made = (decisions & scored if of_outputs else decisions)[:, steps]  # (member, step, out)
    packed = np.packbits(made, axis=-1)  # up to 8 outputs are one number as they are
    answers: NDArray[Any] = packed[..., 0]
    if packed.shape[-1] > 1:
        answers = np.unique(packed.reshape(-1, packed.shape[-1]), axis=0, return_inverse=True)[1].reshape(
            made.shape[:2]
        )
    return answers, np.repeat(1 / (n_scored * len(n_scored)), n_scored)


class DecisionDisagreement(Measure):
    """Share of scored steps on which two members decide differently."""

    name: ClassVar[str] = "decision_disagreement"
    title: ClassVar[str] = "Decision disagreement"
    floor: ClassVar[str] = "0, or two noisy draws of the same network"
    reference: ClassVar[str] = "networks that err as often, in the same ways, but independently of one another"
    methods: ClassVar[str] = (
        "The decision disagreement of two networks is the share of scored steps of the same trials, 256 at most, on "
        "which they decide differently."
    )
    level: ClassVar[Level] = "behavior"
    needs: ClassVar[tuple[str, ...]] = ("behavior", "decisions")
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)
    meaning: ClassVar[str] = (
        "share of scored steps of the same trials, 256 at most, on which two members decide differently"
    )
    zero: ClassVar[str] = "the same decision at every step"
    source: ClassVar[str] = "ours; the classifiers' disagreement of Kuncheva & Whitaker (2003), Machine Learning 51:181"
    revision: ClassVar[int] = 1  # of many behavior trials, the first 256

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances, a row per task variant in which decisions can be compared."""
        findings, distances = [], {}
        for name in recording.decisions:
            variant = recording.behavior[name]
            if variant.decisions is None or variant.mask is None:
                continue
            matrix = disagreements(variant.decisions, variant.mask)
            reference = None
            if variant.called_for is not None:
                apart = independent_disagreements(variant.decisions, variant.called_for, variant.mask)
                reference = jackknife.pair_mean(apart)
            distances[name] = matrix
            floor = self._floor(recording, name)
            findings.append(
                by_name.finding(name, "pair_mean", matrix, of=name, floor=floor, reference=reference, scale="share")
            )
        return Measured(findings=tuple(findings), distances=distances)

    def _floor(self, recording: Recording, name: str) -> Estimate | None:
        """Of two draws of each member's own noise; 0 where it has none."""
        if recording.noisy_decisions is None:
            return jackknife.constant(0.0, len(recording))
        first, second = (draw.get(name) for draw in recording.noisy_decisions)
        mask = recording.behavior[name].mask
        if first is None or second is None or mask is None:
            return None
        return jackknife.member_mean(own_disagreements(first, second, mask))
