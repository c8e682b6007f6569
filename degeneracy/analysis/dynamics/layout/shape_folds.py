"""Procrustes and SVCCA, cross-validated over folds of trials.

Both add up singular values of a cross-covariance C: of the states (Procrustes, alpha = 1), of the states whitened
(alpha = 0) or partly so, or of their whitened leading components (SVCCA). Whitening, components and directions
C = U diag(s) V^T come from all folds but one; in the fold left out the same directions have o_r = u_r^T C' v_r, and

    cos = sum sign(o_r) sqrt(s_r |o_r|) / sqrt( sum sqrt(p_r p'_r) sum sqrt(q_r q'_r) ),    sums over folds and r,

p_r = u_r^T Cov(x) u_r and q_r = v_r^T Cov(y) v_r in the training folds, p'_r and q'_r in the one left out. s_r is too
large by what the directions take from noise, and o_r too small because they did: their product is right to first order
in units per sample (sum_r s_r o_r is an unbiased estimate of ||C||_F^2), and between unrelated networks as often
negative as positive. Neither alone is: fitted and judged on one sample, noise is alike; fitted on some trials and
judged on others, all likeness is shrunk, and a network is away from its rotated copy where samples are fewer than
units. Norms along the directions of the pair put every copy at exactly 0, at any number of samples, and cos in [-1, 1].

What remains is of second order: at 100 independent samples of 10 units, planted likeness came out within 0.05 rad, for
SVCCA within 0.04; with a quarter as many independent samples per unit it can be off by a third of the way to either
end, while unrelated networks and copies stay where they belong.

Source: cross-validated distances, Walther et al. (2016), NeuroImage 137:188; singular values in and out of the sample,
Benaych-Georges & Nadakuditi (2012), J. Multivariate Analysis 111:120, theorems 2.8 and 2.9; their product is ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.dynamics.layout import shape
from degeneracy.analysis.recording import Array
from degeneracy.core.errors import UserError

# More folds train on more trials, at one SVD per fold and pair: 3 leaves half the bias of 2.
N_FOLDS = 3
# Which trials make a fold is drawn, so that no order of conditions among the trials coincides with it.
SEED = 0
# Procrustes: share of the variance in trials left out that lies where the training trials vary. Less, and the rotation
# is not determined by them.
SPANNED = 0.99
# A singular value or variance below this share of the largest is rounding: with what the other folds have along such a
# direction it would count as much as its square root.
ROUNDING = 1e-13


@dataclass(frozen=True, kw_only=True)
class _Folded:
    """One member's states by folds, and what the training on all folds but one makes of them."""

    rows: tuple[Array, ...]  # per fold (trial, time, column), centred; rows^T rows is the fold's covariance
    maps: Array | None  # (fold left out, column, direction): what is compared; None: the columns as such
    training: Array  # (fold left out, direction, direction): covariance in the others
    held: Array  # the same in the fold left out
    n_directions: int  # in which the states vary


def trial_order(n_trials: int) -> NDArray[np.int64]:
    """The order of the trials in which folds are blocks."""
    return np.random.default_rng(SEED).permutation(n_trials)


def prepare(
    trials: Sequence[Array], measure: str, *, alpha: float, variance: float
) -> Callable[[int, int, int], float]:
    """The distance of members i and j, j's trials shifted by some places within their folds.

    Args:
        trials: one per member, (trial, time, unit), in `trial_order`, centred and of norm 1; all 0 for no activity.
        measure: "procrustes" or "svcca".
        alpha, variance: as in `shape_by_trials.prepare`.

    Raises:
        UserError: training trials whose directions do not reach the share `variance` (Procrustes: `SPANNED`) of the
            variance in the trials left out; two members with as many directions as there are training samples,
            where all likeness within the sample is by count (SVCCA, and Procrustes with alpha < 1); a member that
            varies in too few trials.
    """
    svcca = measure == "svcca"
    members = []
    for k, x in enumerate(trials):
        try:
            members.append(_folded(x, svcca, alpha, variance) if x.any() else None)
        except UserError as error:
            raise UserError(f"{measure}: member {k}: {error}") from None
    if svcca or alpha < 1:
        _check_count(measure, [m for m in members if m is not None], trials[0])
    farthest = 1.0 if svcca else np.pi / 2

    def distance(i: int, j: int, shift: int) -> float:
        x, y = members[i], members[j]
        if x is None or y is None:
            return 0.0 if x is y else farthest
        cosine = _cosine(x, y, shift, per_direction=svcca)
        return max(1.0 - cosine, 0.0) if svcca else float(np.arccos(np.clip(cosine, -1.0, 1.0)))

    return distance


def _cosine(x: _Folded, y: _Folded, shift: int, *, per_direction: bool) -> float:
    """The cosine above; per direction, its norms are along as many directions as the smaller member has."""
    others = [np.roll(rows, shift, axis=0) for rows in y.rows] if shift else y.rows
    held = np.stack([_flat(a).T @ _flat(b) for a, b in zip(x.rows, others, strict=True)])
    training = _training(held)
    if x.maps is not None and y.maps is not None:
        held, training = (x.maps.mT @ each @ y.maps for each in (held, training))
    left, s, right = np.linalg.svd(training, full_matrices=not per_direction)
    s = np.where(s > ROUNDING * s[:, :1], s, 0.0)
    n = s.shape[1]
    o = np.sum((left[:, :, :n].mT @ held) * right[:, :n], axis=2)
    overlap = np.sum(np.sign(o) * np.sqrt(s * np.abs(o)))
    return float(overlap / np.sqrt(_norm(x, left) * _norm(y, right.mT)))


def _norm(x: _Folded, directions: Array) -> float:
    """sum sqrt(p_r p'_r) along the directions of all folds, (fold, direction, r)."""
    training, held = (_variance_along(directions, each) for each in (x.training, x.held))
    training = np.where(training > ROUNDING * training.max(axis=1, keepdims=True), training, 0.0)
    return float(np.sum(np.sqrt(training * held)))


def _training(held: Array) -> Array:
    """The mean over all folds but one of what each fold has, for each fold left out."""
    return (held.sum(axis=0) - held) / (N_FOLDS - 1)


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """Principal axes of the states in all folds but one."""

    sizes: Array  # (axis,): singular values, falling
    vectors: Array  # (column, axis): columns @ vectors are the states along the axes
    held: Array  # (axis,): variance along each in the fold left out
    rank: int  # axes that are more than rounding


def _folded(x: Array, svcca: bool, alpha: float, variance: float) -> _Folded:
    rows = tuple(_centred(fold) for fold in np.array_split(x, N_FOLDS))
    if not all(fold.any() for fold in rows):
        raise UserError("its states vary in too few trials")
    by_svd = alpha < 1 and not svcca
    columns, axes, sizes = _axes_by_svd(rows) if by_svd else _axes_by_gram(rows)
    n = shape.n_components(sizes, variance)
    if svcca and sizes[n - 1] < shape.GRAM_FLOOR * sizes[0]:  # too small for a Gram matrix
        columns, axes, sizes = _axes_by_svd(rows)
        n = shape.n_components(sizes, variance)
    for each in axes:
        _check_span(each, n if svcca else 1, variance if svcca else SPANNED)
    maps = None
    if svcca:
        columns, maps = _fewer_columns(columns, np.stack([a.vectors[:, :n] / a.sizes[:n] for a in axes]))
    elif by_svd:
        n = max(a.rank for a in axes)
        maps = np.stack([a.vectors * _gain(a.sizes, alpha) for a in axes])
    held = np.stack([_flat(fold).T @ _flat(fold) for fold in columns])
    training = _training(held)
    if maps is not None:
        held, training = (maps.mT @ each @ maps for each in (held, training))
    return _Folded(rows=columns, maps=maps, training=training, held=held, n_directions=n)


# The columns, the axes of each fold left out, and the singular values of all trials.
_Principal = tuple[tuple[Array, ...], list[_Axes], Array]


def _axes_by_gram(rows: tuple[Array, ...]) -> _Principal:
    """The columns are the units; rounding is 1e-16 over the square of an axis' share of the largest."""
    covariances = np.stack([_flat(fold).T @ _flat(fold) for fold in rows])
    axes = []
    for training, held in zip(_training(covariances), covariances, strict=True):
        squares, vectors = np.linalg.eigh(training)
        squares, vectors = np.maximum(squares[::-1], 0.0), vectors[:, ::-1]
        rank = int(np.sum(squares > ROUNDING * squares[0]))
        axes.append(_Axes(sizes=np.sqrt(squares), vectors=vectors, held=_variance_along(vectors, held), rank=rank))
    return rows, axes, np.sqrt(np.maximum(np.linalg.eigvalsh(covariances.sum(axis=0))[::-1], 0.0))


def _axes_by_svd(rows: tuple[Array, ...]) -> _Principal:
    """The columns are the left singular vectors of all trials, in which small directions are as precise as large."""
    flat = np.concatenate([_flat(fold) for fold in rows])
    left, sizes, _ = np.linalg.svd(flat, full_matrices=False)
    rounding = np.finfo(float).eps * max(flat.shape)
    left, sizes = left[:, sizes > rounding * sizes[0]], sizes[sizes > rounding * sizes[0]]
    parts = np.split(left, np.cumsum([len(_flat(fold)) for fold in rows])[:-1])
    axes = []
    for k, part in enumerate(parts):
        training = np.concatenate([other for j, other in enumerate(parts) if j != k]) * sizes
        _, s, right = np.linalg.svd(training / np.sqrt(N_FOLDS - 1), full_matrices=False)
        vectors = sizes[:, None] * right.T
        held = _variance_along(vectors, part.T @ part)
        axes.append(_Axes(sizes=s, vectors=vectors, held=held, rank=int(np.sum(s > rounding * s[0]))))
    columns = tuple(p.reshape(*fold.shape[:2], -1) for p, fold in zip(parts, rows, strict=True))
    return columns, axes, sizes


def _variance_along(vectors: Array, covariance: Array) -> Array:
    """Per column of the vectors; both may be stacks."""
    return np.maximum(np.sum(vectors * (covariance @ vectors), axis=-2), 0.0)


def _gain(sizes: Array, alpha: float) -> Array:
    """alpha + (1 - alpha)/s, directions of nearly no variance not whitened to full size."""
    return alpha + (1.0 - alpha) / np.maximum(sizes, shape.WHITENING_FLOOR * sizes[0])


def _check_span(axes: _Axes, n: int, share: float) -> None:
    """Refuse training trials that do not vary along n axes, or where the trials left out vary."""
    lost = 1.0 - axes.held[: axes.rank].sum() / axes.held.sum()
    # 1e-12: rounding of the sums.
    if n > axes.rank or lost > 1.0 - share + 1e-12:
        raise UserError(
            f"two thirds of the trials do not vary in the directions of {lost:.2g} of the variance in the others,"
            f" {1.0 - share:.2g} at most is possible: more trials are needed"
        )


def _check_count(measure: str, members: Sequence[_Folded], x: Array) -> None:
    """Refuse two members with more directions than training samples, whose likeness is 1 by count alone."""
    n_samples = (len(x) - -(-len(x) // N_FOLDS)) * x.shape[1] - (N_FOLDS - 1)  # less one mean per fold
    largest = sorted(m.n_directions for m in members)[-2:]
    if sum(largest) > n_samples:
        raise UserError(
            f"{measure}: members of {' and '.join(map(str, largest))} directions are alike by count alone in the"
            f" {n_samples} samples of two thirds of the trials: more trials are needed"
        )


def _fewer_columns(rows: tuple[Array, ...], maps: Array) -> tuple[tuple[Array, ...], Array]:
    """The same directions from an orthonormal basis of all of them, where that has fewer columns."""
    n_folds, n_columns, n = maps.shape
    if n_folds * n >= n_columns:
        return rows, maps
    basis, coordinates = np.linalg.qr(np.concatenate(list(maps), axis=1))
    return tuple(fold @ basis for fold in rows), np.stack(np.split(coordinates, n_folds, axis=1))


def _centred(fold: Array) -> Array:
    """Rows whose rows^T rows is the covariance, without bias though the mean is that of a few trials.

    The mean of R trials takes 1/R of the variance between trials with it; the trials' means are stretched for it.
    """
    n_trials, n_steps = fold.shape[:2]
    means = fold.mean(axis=1, keepdims=True)
    between = means - means.mean(axis=0)
    return (fold - means + np.sqrt(n_trials / (n_trials - 1)) * between) / np.sqrt(n_trials * n_steps)


def _flat(rows: Array) -> Array:
    return rows.reshape(-1, rows.shape[-1])
