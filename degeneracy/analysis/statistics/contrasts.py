"""A factor's effect: a linear contrast over its levels, with its standard error from jackknife influences.

Conditions of a study share their seeds, and a seed that makes a network unusual in one condition may make it
unusual in the next: what is independent is the seed, in all conditions at once. Each condition's statistic is
therefore taken apart into what every member adds, what one seed adds anywhere is put together, and only then
squared.

Source: Efron (1982), The Jackknife, the Bootstrap and Other Resampling Plans, ch. 3; Efron & Tibshirani (1993),
An Introduction to the Bootstrap, ch. 11 (jackknife standard error; influence values).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import null_space
from scipy.optimize import brentq
from scipy.special import fdtrc, stdtr

from degeneracy.analysis.measure import Estimate
from degeneracy.analysis.recording import Array
from degeneracy.analysis.scaling import near_one, norm
from degeneracy.analysis.statistics.jackknife import Scale, influence, rounding, share_ends, t_quantile, transformed
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import real_array

SINGULAR = 1e12  # condition number from which a covariance counts as singular


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A contrast of conditions; on the log scale all is in natural logarithms."""

    change: float  # sum of weights times values
    standard_error: float  # NaN where it has no meaning
    df: int  # of Student's t: members of the smallest condition less one
    scale: Scale = "linear"

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """change ± t(df) SE, in the unit of the change; (NaN, NaN) without a standard error."""
        half = t_quantile(confidence, self.df) * self.standard_error
        return self.change - half, self.change + half

    def shifted(self, by: float) -> "Effect":
        """The same effect and so much more, a number that is known."""
        return replace(self, change=self.change + by)

    @property
    def p(self) -> float:
        """Two-sided p value of "no change": 2 P(t(df) > |change| / SE), 0 to 1; NaN without a standard error."""
        return float(2 * stdtr(self.df, -abs(self.change) / self.standard_error))


@dataclass(frozen=True, kw_only=True)
class EffectOnShares(Effect):
    """A contrast of shares, whose interval reaches no farther than shares between 0 and 1 let it.

    low = change - sqrt(b' R b), b_l = c_l (p_l - the end of the interval of p_l that makes the contrast smaller),
    R the correlations of the shares over seeds, and likewise upwards: the intervals of the shares put together
    (`share_ends`), which for a difference of two independent ones is Newcombe's. As sqrt(b' R b) <= sum |b_l|, low is
    no less than the contrast of these ends. p is 1 less the confidence of the interval that ends at 0. Where a share is
    0 or 1 there is no logit, and its own standard error is 0: then the shares' intervals are p_l ± t SE_l, cut at 0
    and 1, and p is that of a plain contrast.

    Source: Newcombe (1998), Statistics in Medicine 17:873, method 10; of any contrast, and of correlated ones, Zou,
    Huang & Zhang (2009), Statistics in Medicine 28:2911.
    """

    weights: Array  # (condition,)
    shares: Array  # (condition,)
    errors: Array  # (condition,): standard error of each share
    correlations: Array  # (condition, condition)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The interval, in the unit of the change; (NaN, NaN) without a standard error."""
        below, above = self._reach(t_quantile(confidence, self.df))
        return self.change - below, self.change + above

    @property
    def p(self) -> float:
        """Two-sided p value of "no change", 0 to 1; NaN without a standard error."""
        if np.isnan(self.standard_error) or self._at_an_end:
            return super().p
        side = 0 if self.change > 0 else 1

        def beyond(t: float) -> float:
            return self._reach(t)[side] - abs(self.change)

        if beyond(LARGEST_T) < 0:
            return 0.0
        t = brentq(beyond, 0.0, LARGEST_T) if self.change else 0.0
        return float(2 * stdtr(self.df, -t))

    @property
    def _at_an_end(self) -> bool:
        return not bool(np.all((self.shares > 0) & (self.shares < 1)))

    def _reach(self, t: float) -> tuple[float, float]:
        """How far the interval of t standard errors reaches down and up."""
        if np.isnan(self.standard_error):
            return float("nan"), float("nan")
        half = t * self.errors
        low, high = np.clip([self.shares - half, self.shares + half], 0, 1)
        if not self._at_an_end:
            low, high = share_ends(self.shares, half)
        down, up = self.weights * (self.shares - low), self.weights * (high - self.shares)
        rising = self.weights > 0
        return self._together(np.where(rising, down, up)), self._together(np.where(rising, up, down))

    def _together(self, b: Array) -> float:
        """sqrt(b' R b); rounding may leave -1e-17 of correlations that are all but 1."""
        return float(np.sqrt(max(float(b @ self.correlations @ b), 0.0)))


LARGEST_T = 1e3  # with one degree of freedom p is 6e-4 there, with 4 1e-11


def trend_weights(scores: ArrayLike) -> Array:
    """Weights whose contrast is the change from the lowest to the highest level along the fitted line.

    c_l = (s_l - mean s) (max s - min s) / sum_j (s_j - mean s)^2: the slope of the least-squares line through
    (s_l, value_l), times the range of the scores. With ranks as scores (0, 1, 2, ...) levels count as equally
    far apart; of levels that grow by a constant factor, that is the line over their logarithm.

    Args:
        scores: (level,), 2 different ones or more. Two levels: (-1, 1), the plain difference; three equally
            spaced ones: (-1, 0, 1).

    Returns:
        (level,), summing to 0; adding to the scores or multiplying them by a positive number changes nothing.

    Raises:
        UserError: fewer than 2 different scores.
    """
    s = real_array(scores, "scores")
    if s.ndim != 1 or not np.isfinite(s).all() or len(np.unique(s)) < 2:
        raise UserError(f"contrast: 2 levels or more with different scores are needed; got {s.tolist()}")
    centred = s - s.mean()
    return centred * np.ptp(s) / np.sum(centred**2)


def linear_contrast(
    estimates: Sequence[Estimate],
    labels: Sequence[Sequence[str]],
    weights: ArrayLike,
    scale: Scale = "linear",
) -> Effect:
    """The weighted sum of several conditions' values, members with one label counted jointly.

    change = sum_l c_l f(value_l),  f the identity, or the natural logarithm on the log scale;
    SE^2 = sum_s ( sum_{l that have s} c_l u_ls )^2,  u_lk = sqrt((n_l - 1)/n_l) (mean_j f(v_l(j)) - f(v_l(k))),

    v_l(k) the value of condition l without member k, n_l its members. A seed that a condition lacks (its network
    did not converge there) just adds nothing there. Student's t has min_l n_l - 1 degrees of freedom, over the
    conditions whose weight is not 0: exact for means of members that all conditions share, and fewer than
    Welch's approximation gives where they share none.

    Args:
        estimates: one per condition.
        labels: the members' labels, by condition; unique within one. Equal labels mean a common source of
            variability (a seed); give disjoint ones to treat conditions as independent.
        weights: (condition,).
        scale: "log" for positive statistics such as a standard deviation, "share" for shares of a whole, whose effect
            is a difference of shares (`EffectOnShares`).

    Returns:
        The change in the unit of the estimates (log: a difference of natural logarithms). Its standard error is
        NaN where a condition has under 3 members or a leave-one-out value is not finite, and where no member
        makes a difference.

    Raises:
        UserError: labels that are not unique or not one per member, or not as many weights as conditions.
    """
    c = real_array(weights, "weights")
    _check(estimates, labels, c)
    terms = [weight * transformed(np.array(e.value), scale) for weight, e in zip(c, estimates, strict=True)]
    used = [(e, names, weight) for e, names, weight in zip(estimates, labels, c, strict=True) if weight]
    error = norm(_by_seed(estimates, labels, c[None], scale))
    smallest = sum(abs(weight) * rounding(estimate, scale) for estimate, _, weight in used)
    effect = Effect(
        change=float(np.sum(terms)),
        standard_error=error if error > smallest else float("nan"),
        df=max(min(len(names) for _, names, _ in used) - 1, 1),
        scale=scale,
    )
    return _on_shares(effect, estimates, labels, c) if scale == "share" else effect


def _on_shares(
    effect: Effect, estimates: Sequence[Estimate], labels: Sequence[Sequence[str]], weights: Array
) -> EffectOnShares:
    """The same effect with each share's standard error and their correlations over seeds."""
    counted = [k for k, weight in enumerate(weights) if weight]
    own = np.eye(len(counted))
    added = _by_seed([estimates[k] for k in counted], [labels[k] for k in counted], own, "share")  # (seed, share)
    errors = np.sqrt((added**2).sum(axis=0))
    size = np.where(errors > 0, errors, 1.0)
    return EffectOnShares(
        **vars(effect),
        weights=weights[counted],
        shares=np.array([estimates[k].value for k in counted]),
        errors=errors,
        correlations=(added.T @ added) / np.outer(size, size),
    )


def bends(scores: ArrayLike) -> Array:
    """Contrasts that are 0 on any straight line over scores (level,), orthonormal: (level - 2, level)."""
    s = real_array(scores, "scores")
    return null_space(np.stack([np.ones(len(s)), s - s.mean()])).T


def joint_p(
    estimates: Sequence[Estimate],
    labels: Sequence[Sequence[str]],
    weights: ArrayLike,
    scale: Scale = "linear",
) -> float:
    """p value of "all of several contrasts are 0", members with one label counted jointly as in `linear_contrast`.

    T^2 = d' S^-1 d with the contrasts d (q,) and their jackknife covariance S, sums over seeds of products of what
    each adds; T^2 (n - q) / (q (n - 1)) is taken for F(q, n - q), n the members of the smallest condition: Hotelling's
    test for means of members that all conditions share.

    Args:
        estimates, labels, scale: as of `linear_contrast`.
        weights: (contrast, condition), linearly independent.

    Returns:
        0 to 1; NaN where n is no larger than q, where a leave-one-out value is not finite, or where the covariance
        is singular.

    Raises:
        UserError: as `linear_contrast`.

    Source: Hotelling (1931), Ann Math Stat 2:360.
    """
    c = np.atleast_2d(real_array(weights, "weights"))
    for row in c:
        _check(estimates, labels, row)
    values = np.array([transformed(np.array(e.value), scale) for e in estimates])
    added, exponent = near_one(_by_seed(estimates, labels, c, scale))
    covariance, q, n = added.T @ added, len(c), min(map(len, labels))
    smallest = np.abs(c) @ [rounding(estimate, scale) for estimate in estimates]
    if (
        n <= q
        or not np.isfinite(covariance).all()
        or not (np.ldexp(np.sqrt(np.diag(covariance)), exponent) > smallest).all()
    ):
        return float("nan")
    if np.linalg.cond(covariance) > SINGULAR:
        return float("nan")
    d = c @ np.ldexp(values, -exponent)
    t_squared = float(d @ np.linalg.solve(covariance, d))
    return float(fdtrc(q, n - q, t_squared * (n - q) / (q * (n - 1))))


def _by_seed(estimates: Sequence[Estimate], labels: Sequence[Sequence[str]], weights: Array, scale: Scale) -> Array:
    """What each seed adds to each contrast, (seed, contrast), over the conditions whose weights are not all 0."""
    found: dict[str, Array] = {}
    for estimate, names, weight in zip(estimates, labels, weights.T, strict=True):
        if weight.any():
            for name, u in zip(names, influence(estimate, scale), strict=True):
                found[name] = found.get(name, np.zeros(len(weights))) + weight * float(u)
    return np.stack(list(found.values()))


def _check(estimates: Sequence[Estimate], labels: Sequence[Sequence[str]], weights: Array) -> None:
    if not len(estimates) == len(labels) == len(weights) or not np.any(weights):
        raise UserError(
            f"contrast: {len(estimates)} estimates, {len(labels)} lists of labels and weights "
            f"{weights.tolist()}; one per condition is needed, with a weight that is not 0"
        )
    for estimate, names in zip(estimates, labels, strict=True):
        if len(set(names)) != len(names) or len(names) != len(estimate.leave_one_out):
            raise UserError(
                f"contrast: {len(names)} labels ({len(set(names))} different) for "
                f"{len(estimate.leave_one_out)} members; one unique label per member is needed"
            )
