"""Linear CKA as a U-statistic over distinct trials.

With A_r = mean_t x_rt y_rt^T in trial r, and the trial means x_r, y_r, the Hilbert-Schmidt independence criterion
||Cov(x, y)||_F^2 has the unbiased estimate

    HSIC = mean over distinct trials r, s, u, v of <A_r, A_s> - 2 x_s^T A_r y_u + (x_r . x_s)(y_u . y_v),
    CKA = HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)).

No product of a trial with itself enters, so neither noise nor what steps of one trial have in common counts as
likeness. All terms come from sums per trial: with means over all trials at 0, the sums over distinct trials are

    sum <A_r, A_s>      = ||C||_F^2 - sum_r ||A_r||_F^2,                           C = sum_r A_r
    sum x_s^T A_r y_u   = 2 sum_r x_r^T A_r y_r - <C, sum_r x_r y_r^T>
    sum (x.x)(y.y)      = 1^T K 1 1^T L 1 - 4 1^T K L 1 + 2 tr(K L),               K_rs = x_r . x_s, K_rr = 0

and ||A_r||_F^2 = <X_r X_r^T, Y_r Y_r^T> where trials have fewer steps than there are units.

Source: Song, Smola, Gretton, Bedo & Borgwardt (2012), J. Machine Learning Research 13:1393, theorem 2, for trials of
one step; debiased CKA, Murphy, Zylberberg & Fyshe (2024), arXiv 2405.01012.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from degeneracy.analysis.recording import Array
from degeneracy.core.errors import UserError

# A member of total variance 1 in n units has ||Cov(x, x)||_F^2 >= 1/n; an estimate this much below is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class _Trials:
    """One member's states by trials, with what all its pairs need."""

    rows: Array  # (trial, time, unit), over the square root of the number of steps: A_r = X_r^T Y_r
    means: Array  # (trial, unit)
    along: Array  # (trial, time): x_r . x_rt, over the same root
    inner: Array  # (trial, trial): K, its diagonal 0
    blocks: Array | None  # (trial, time, time): X_r X_r^T, where that is less than A_r

    def shifted(self, by: int) -> "_Trials":
        """The trials in another order, moved round by some places."""
        if by == 0:
            return self
        return _Trials(
            rows=np.roll(self.rows, by, axis=0),
            means=np.roll(self.means, by, axis=0),
            along=np.roll(self.along, by, axis=0),
            inner=np.roll(self.inner, (by, by), axis=(0, 1)),
            blocks=None if self.blocks is None else np.roll(self.blocks, by, axis=0),
        )


def prepare(trials: Sequence[Array]) -> Callable[[int, int, int], float]:
    """1 - CKA of members i and j, j's trials shifted by some places.

    Args:
        trials: one per member, (trial, time, unit), 4 trials or more, centred, of total variance 1; all 0 for no
            activity.

    Raises:
        UserError: a member whose trials do not resolve its own variance.
    """
    by_blocks = trials[0].shape[1] <= max(x.shape[2] for x in trials)
    members = [_member(x, by_blocks) if x.any() else None for x in trials]
    norms = [0.0 if x is None else hsic(x, x) for x in members]
    for k, (x, norm) in enumerate(zip(members, norms, strict=True)):
        if x is not None and not norm * x.means.shape[1] > ROUNDING:
            raise UserError(
                f"cka: member {k}: {len(x.rows)} trials do not tell its variance from chance: more trials are needed"
            )

    def distance(i: int, j: int, shift: int) -> float:
        x, y = members[i], members[j]
        if x is None or y is None:
            return 0.0 if x is y else 1.0
        return max(1.0 - hsic(x, y.shifted(shift)) / np.sqrt(norms[i] * norms[j]), 0.0)

    return distance


def hsic(x: _Trials, y: _Trials) -> float:
    """The U-statistic of ||Cov(x, y)||_F^2, in the squared units of both; by chance below 0 where that is 0."""
    n = len(x.rows)
    cross = x.rows.reshape(-1, x.rows.shape[2]).T @ y.rows.reshape(-1, y.rows.shape[2])
    if x.blocks is not None and y.blocks is not None:
        within = np.vdot(x.blocks, y.blocks)
    else:
        within = np.sum((x.rows.transpose(0, 2, 1) @ y.rows) ** 2)
    two = np.sum(cross**2) - within
    three = 2.0 * np.vdot(x.along, y.along) - np.vdot(cross, x.means.T @ y.means)
    k, m = x.inner.sum(axis=1), y.inner.sum(axis=1)
    four = k.sum() * m.sum() - 4.0 * k @ m + 2.0 * np.vdot(x.inner, y.inner)
    return float((two - (2.0 * three - four / (n - 3)) / (n - 2)) / (n * (n - 1)))


def _member(x: Array, by_blocks: bool) -> _Trials:
    rows, means = x / np.sqrt(x.shape[1]), x.mean(axis=1)
    inner = means @ means.T
    np.fill_diagonal(inner, 0.0)
    return _Trials(
        rows=rows,
        means=means,
        along=np.einsum("rtu,ru->rt", rows, means),
        inner=inner,
        blocks=rows @ rows.transpose(0, 2, 1) if by_blocks else None,
    )
