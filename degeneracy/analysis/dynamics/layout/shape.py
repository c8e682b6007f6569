"""How differently the states of two networks are shaped: Procrustes angle, SVCCA and CKA, on matching rows.

Row r of every member is the same time step of the same trial; on other trials even the same network is far
from itself. One matrix C_ij = X_i^T X_j per pair, X the centred states, serves all three; where small directions
are scaled up, U_i^T U_j does, from the thin SVD X = U S V^T. They ignore translations, rotations and (but for
0 < alpha < 1) the overall scale.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.recording import Array
from degeneracy.analysis.scaling import near_one
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.numeric import member_arrays

# Directions with a smaller share of the largest singular value are not whitened to full size: states recorded
# in float32 have rounding at about 1e-7 of it. Relative, so that the units of the states do not matter.
WHITENING_FLOOR = 1e-6
# A squared chord below this is taken from the aligned difference itself, because 2 - 2 cos cancels: at 1e-4
# the cancelled form is still right to 1e-12.
REFINE_BELOW = 1e-4


# Leading components down to this share of the largest come from X^T X, good to 1e-16 over its square; below, the SVD.
GRAM_FLOOR = 1e-3


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """The centred states of one member as some columns that span them, and what each measure makes of them.

    The factors are of length 0 for constant states.
    """

    columns: Array  # (sample, k)
    procrustes: Array  # (k,): columns * procrustes are the partly whitened states of norm 1, rotated
    cka: Array  # (k,): columns * cka have a Gram matrix of norm 1
    svcca: Array  # (k, component): columns @ svcca are the leading components, orthonormal


def procrustes_angle(x: ArrayLike, y: ArrayLike, alpha: float = 1.0) -> float:
    """Angle between the states of two networks after the best rotation of one onto the other.

    theta = arccos( max_{Q in O(n)} <A_x Q, A_y> / (||A_x||_F ||A_y||_F) ), A = (X - mean) Z,
    Z = alpha I + (1 - alpha) Cov^(-1/2), Cov = (X - mean)^T (X - mean).

    A metric. Equal to netrep's `LinearMetric(alpha)`, but for directions of nearly no variance, which netrep
    cuts at an absolute and this at a relative size. As there, for 0 < alpha < 1 the two terms of Z balance by
    the units of the states and the number of samples; alpha = 0 and 1 do not depend on them.

    Args:
        x, y: (trial, time, unit) or (sample, unit), the same rows; the numbers of units may differ (the
            smaller is padded with zeros).
        alpha: 1 for rotations only (Procrustes), 0 for any invertible linear map (CCA), or between.

    Returns:
        Radians in [0, pi/2]; 0 means the same up to rotation, translation and scale. Constant states are at 0
        from constant states and at pi/2 from all others.

    Raises:
        UserError: rows that do not match, an array that is not finite, alpha outside [0, 1].

    Source: Williams et al. (2021), Generalized shape metrics on neural representations, NeurIPS,
    section 2.
    """
    return float(procrustes_distances([x, y], alpha=alpha)[0, 1])


def svcca_distance(x: ArrayLike, y: ArrayLike, variance: float = 0.99) -> float:
    """1 - mean canonical correlation of the leading principal components of two networks' states.

    1 - sum_r rho_r / min(k_x, k_y), rho the canonical correlations of the first k components, k the fewest
    that explain the share `variance`. No metric.

    Args:
        x, y: (trial, time, unit) or (sample, unit), the same rows.
        variance: share of the variance that the kept components explain, in (0, 1].

    Returns:
        In [0, 1]; 0 means that the smaller of the two spaces lies within the other. Constant states have no
        components: they are at 0 from constant states and at 1 from all others.

    Raises:
        UserError: rows that do not match, an array that is not finite, variance outside (0, 1].

    Source: Raghu et al. (2017), SVCCA, NeurIPS, section 2.
    """
    return float(svcca_distances([x, y], variance=variance)[0, 1])


def cka_distance(x: ArrayLike, y: ArrayLike) -> float:
    """1 - linear centred kernel alignment of two networks' states.

    1 - ||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F), X and Y centred. No metric (its arccos is one).

    Args:
        x, y: (trial, time, unit) or (sample, unit), the same rows.

    Returns:
        In [0, 1]; 0 means the same up to rotation, translation and scale. Constant states are at 0 from
        constant states and at 1 from all others.

    Raises:
        UserError: rows that do not match, an array that is not finite.

    Source: Kornblith et al. (2019), Similarity of neural network representations revisited, ICML,
    section 3.
    """
    return float(cka_distances([x, y])[0, 1])


def procrustes_distances(states: Sequence[ArrayLike], *, alpha: float = 1.0) -> Array:
    """`procrustes_angle` of all pairs of members, (member, member), the diagonal exactly 0."""
    return shape_distances(states, ("procrustes",), alpha=alpha)["procrustes"]


def svcca_distances(states: Sequence[ArrayLike], *, variance: float = 0.99) -> Array:
    """`svcca_distance` of all pairs of members, (member, member), the diagonal exactly 0."""
    return shape_distances(states, ("svcca",), variance=variance)["svcca"]


def cka_distances(states: Sequence[ArrayLike]) -> Array:
    """`cka_distance` of all pairs of members, (member, member), the diagonal exactly 0."""
    return shape_distances(states, ("cka",))["cka"]


def shape_distances(
    states: Sequence[ArrayLike],
    measures: Sequence[str] = ("procrustes", "svcca", "cka"),
    *,
    alpha: float = 1.0,
    variance: float = 0.99,
) -> dict[str, Array]:
    """Several shape distances of all pairs of members at the price of the dearest.

    Args:
        states: one per member, each (trial, time, unit) or (sample, unit), the same rows in all.
        measures: any of "procrustes", "svcca", "cka".
        alpha: of `procrustes_angle`.
        variance: of `svcca_distance`.

    Returns:
        measure -> (member, member), symmetric, the diagonal exactly 0; ranges as in the two-argument
        functions.

    Raises:
        UserError: as the two-argument functions, or an unknown measure.
    """
    check_options(measures, alpha, variance)
    shapes = [_shape(x, measures, alpha, variance) for x in _rows(states)]
    pair_functions: dict[str, Callable[[_Shape, _Shape, Array], float]] = {
        "procrustes": _angle,
        "svcca": _svcca,
        "cka": _cka,
    }
    distances = {name: np.zeros((len(shapes), len(shapes))) for name in measures}
    for i, x in enumerate(shapes):
        for j in range(i):
            y = shapes[j]
            if np.array_equal(x.columns[:1], y.columns[:1]) and np.array_equal(x.columns, y.columns):
                continue  # the same states: exactly 0, where rounding would leave 1e-15
            cross = x.columns.T @ y.columns
            for name, matrix in distances.items():
                matrix[i, j] = matrix[j, i] = pair_functions[name](x, y, cross)
    return distances


def metric_distances(metric: Any, states: Sequence[ArrayLike]) -> Array:
    """Distances of all pairs of members under a metric from elsewhere, such as one of netrep's.

    Args:
        metric: any object with `fit_score(x, y)` -> float, x and y (sample, unit); taken to be symmetric.
        states: one per member, each (trial, time, unit) or (sample, unit), the same rows in all.

    Returns:
        (member, member), symmetric, in the metric's unit; the diagonal is 0 without asking.

    Raises:
        UserError: an object without `fit_score`, or rows that do not match.
    """
    score = getattr(metric, "fit_score", None)
    if not callable(score):
        raise UserError(
            f"metric: {type(metric).__name__} has no method fit_score(x, y) with x, y of shape (sample, unit)"
        )
    samples = _rows(states)
    distances = np.zeros((len(samples), len(samples)))
    for i, x in enumerate(samples):
        for j in range(i):
            distances[i, j] = distances[j, i] = float(score(x, samples[j]))
    return distances


def _angle(x: _Shape, y: _Shape, cross: Array) -> float:
    """2 asin(chord / 2) between the unit-norm, partly whitened states; exact near 0, where an arccos is coarse."""
    a, b = x.procrustes, y.procrustes
    if not (a.size and b.size):
        return 0.0 if a.size == b.size else np.pi / 2
    product = a[:, None] * cross * b
    cosine = np.linalg.svd(product, compute_uv=False).sum()
    squared_chord = 2.0 - 2.0 * cosine
    if squared_chord < REFINE_BELOW:
        left, _, right = np.linalg.svd(product, full_matrices=False)
        squared_chord = _aligned_difference(x.columns * a, y.columns * b, left, right.T)
    return float(2.0 * np.arcsin(np.sqrt(max(squared_chord, 0.0)) / 2.0))


def _aligned_difference(x: Array, y: Array, left: Array, right: Array) -> float:
    """||x Q - y||_F^2 in the basis of the alignment; what lies outside of it (other sizes) is added.

    A basis of min(k_x, k_y) columns is complete for the smaller member; the rest of the larger is x (I - L L^T).
    """
    aligned_x, aligned_y = x @ left, y @ right
    outside = 0.0
    if x.shape[1] > y.shape[1]:
        outside = np.sum((x - aligned_x @ left.T) ** 2)
    if y.shape[1] > x.shape[1]:
        outside = np.sum((y - aligned_y @ right.T) ** 2)
    return float(np.sum((aligned_x - aligned_y) ** 2) + outside)


def _svcca(x: _Shape, y: _Shape, cross: Array) -> float:
    kx, ky = x.svcca.shape[1], y.svcca.shape[1]
    if not (kx and ky):
        return 0.0 if kx == ky else 1.0
    correlations = np.linalg.svd(x.svcca.T @ cross @ y.svcca, compute_uv=False)
    return float(max(1.0 - correlations.mean(), 0.0))


def _cka(x: _Shape, y: _Shape, cross: Array) -> float:
    a, b = x.cka, y.cka
    if not (a.size and b.size):
        return 0.0 if a.size == b.size else 1.0
    return float(max(1.0 - np.sum((a[:, None] * cross * b) ** 2), 0.0))


def _shape(x: Array, measures: Sequence[str], alpha: float, variance: float) -> _Shape:
    """The columns are the states themselves where nothing scales small directions up, or their SVD."""
    x, exponent = near_one(x)  # squares of states may neither overflow nor vanish
    centred = x - x.mean(axis=0)
    rounding = np.finfo(float).eps * max(x.shape) * np.linalg.norm(x)  # left by centring, all of it if x is constant
    norm = np.linalg.norm(centred)
    nothing = np.zeros(0)
    if norm <= rounding:
        none = np.zeros((len(x), 0))
        return _Shape(columns=none, procrustes=nothing, cka=nothing, svcca=np.zeros((0, 0)))
    if "procrustes" in measures and alpha < 1:
        return _from_svd(centred, rounding, alpha, variance, exponent)
    if tuple(measures) == ("procrustes",):
        same = np.full(x.shape[1], 1 / norm)
        return _Shape(columns=centred, procrustes=same, cka=nothing, svcca=np.zeros((0, 0)))
    gram = centred.T @ centred
    same = np.ones(x.shape[1])
    svcca = np.zeros((x.shape[1], 0))
    if "svcca" in measures:
        squares, vectors = np.linalg.eigh(gram)
        sizes = np.sqrt(np.maximum(squares[::-1], 0.0))
        k = n_components(sizes, variance)
        if sizes[k - 1] < GRAM_FLOOR * sizes[0]:
            return _from_svd(centred, rounding, alpha, variance, exponent)
        svcca = vectors[:, ::-1][:, :k] / sizes[:k]
        if tuple(measures) == ("svcca",):  # few columns make a pair cheap
            return _Shape(columns=centred @ svcca, procrustes=nothing, cka=nothing, svcca=np.eye(k))
    return _Shape(columns=centred, procrustes=same / norm, cka=same / np.sqrt(np.linalg.norm(gram)), svcca=svcca)


def _from_svd(centred: Array, rounding: float, alpha: float, variance: float, exponent: int) -> _Shape:
    """The SVD up to its rank (what centring and the SVD leave beyond is rounding) of states over 2^exponent."""
    directions, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    sizes = sizes[sizes > rounding]
    return _Shape(
        columns=directions[:, : len(sizes)],
        procrustes=_whitened(sizes, alpha, exponent),
        cka=sizes / np.sqrt(np.linalg.norm(sizes**2)),
        svcca=np.eye(len(sizes), n_components(sizes, variance)),
    )


def _whitened(sizes: Array, alpha: float, exponent: int) -> Array:
    """Partly whitened singular values s (alpha + (1 - alpha)/s), s = 2^exponent sizes, as a vector of norm 1."""
    # Between alpha = 0 and 1 the terms balance by the unit of the states: by 2^exponent, shared out so that both stay
    # finite.
    rigid, white = np.ldexp(alpha, min(exponent, 0)), np.ldexp(1.0 - alpha, -max(exponent, 0))
    partly, _ = near_one(sizes * (rigid + white / np.maximum(sizes, WHITENING_FLOOR * sizes[0])))
    return partly / np.linalg.norm(partly)


def n_components(sizes: Array, variance: float) -> int:
    """The fewest components that explain the share `variance`."""
    explained = np.cumsum(sizes**2)
    # 1e-12: rounding of the sum, so that variance = 1 keeps what can be told from 0 and no more.
    return int(np.searchsorted(explained, (variance - 1e-12) * explained[-1]) + 1)


def matching(states: Sequence[ArrayLike]) -> list[Array]:
    """Every member's states in float64, (trial, time, unit) or (sample, unit), or the error of rows that differ."""
    arrays = member_arrays(states, "states", ("trial", "time", "unit"), ("sample", "unit"))
    for k, x in enumerate(arrays):
        if x.ndim < 2 or 0 in x.shape:
            raise UserError(f"states of member {k}: (trial, time, unit) or (sample, unit) is needed, got {x.shape}")
        if x.shape[:-1] != arrays[0].shape[:-1]:
            raise UserError(
                f"states of member {k} have rows {x.shape[:-1]}, those of member 0 {arrays[0].shape[:-1]}: "
                "shapes are compared on the same trials and time steps"
            )
        if not np.isfinite(x).all():
            raise UserError(f"states of member {k} are not finite")
    return arrays


def _rows(states: Sequence[ArrayLike]) -> list[Array]:
    """Every member's states as (sample, unit)."""
    return [x.reshape(-1, x.shape[-1]) for x in matching(states)]


def check_options(measures: Sequence[str], alpha: float, variance: float) -> None:
    """Refuse measures that are not known and options out of range."""
    known = ("procrustes", "svcca", "cka")
    for name in measures:
        if name not in known:
            raise unknown_name("shape measure", name, known)
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha = {alpha} is wrong: a number from 0 (CCA) to 1 (Procrustes) is needed")
    if not 0 < variance <= 1:
        raise UserError(f"variance = {variance} is wrong: a share above 0 and up to 1 is needed")
