"""How differently the states of two networks are shaped: Procrustes angle, SVCCA and CKA, on matching rows.

Row r of every member is the same time step of the same trial; on other trials even the same network is far
from itself. With the thin SVD of the centred states X_i = U_i S_i V_i^T, one matrix C_ij = U_i^T U_j a pair
serves all three, since none of them sees V: they ignore translations, rotations and (but for 0 < alpha < 1)
the overall scale.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.recording import Array
from degeneracy.errors import UserError, unknown_name

# Directions with a smaller share of the largest singular value are not whitened to full size: states recorded
# in float32 have rounding at about 1e-7 of it. Relative, so that the units of the states do not matter.
WHITENING_FLOOR = 1e-6
# A squared chord below this is taken from the aligned difference itself, because 2 - 2 cos cancels: at 1e-4
# the cancelled form is still right to 1e-12.
REFINE_BELOW = 1e-4


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """The centred states of one member as U S V^T, without V."""

    directions: Array  # (sample, k), orthonormal columns
    sizes: Array  # (k,), descending; empty for constant states


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
        states: one a member, each (trial, time, unit) or (sample, unit), the same rows in all.
        measures: any of "procrustes", "svcca", "cka".
        alpha: of `procrustes_angle`.
        variance: of `svcca_distance`.

    Returns:
        measure -> (member, member), symmetric, the diagonal exactly 0; ranges as in the two-argument
        functions.

    Raises:
        UserError: as the two-argument functions, or an unknown measure.
    """
    _check_options(measures, alpha, variance)
    shapes = [_shape(x) for x in _matching(states)]
    pair_functions: dict[str, Callable[[_Shape, _Shape, Array], float]] = {
        "procrustes": lambda x, y, cross: _angle(x, y, cross, alpha),
        "svcca": lambda x, y, cross: _svcca(x, y, cross, variance),
        "cka": lambda x, y, cross: _cka(x, y, cross),
    }
    distances = {name: np.zeros((len(shapes), len(shapes))) for name in measures}
    for i, x in enumerate(shapes):
        for j in range(i):
            y = shapes[j]
            if np.array_equal(x.sizes, y.sizes) and np.array_equal(x.directions, y.directions):
                continue  # the same states: exactly 0, where rounding would leave 1e-15
            cross = x.directions.T @ y.directions
            for name, matrix in distances.items():
                matrix[i, j] = matrix[j, i] = pair_functions[name](x, y, cross)
    return distances


def metric_distances(metric: Any, states: Sequence[ArrayLike]) -> Array:
    """Distances of all pairs of members under a metric from elsewhere, such as one of netrep's.

    Args:
        metric: any object with `fit_score(x, y)` -> float, x and y (sample, unit); taken to be symmetric.
        states: one a member, each (trial, time, unit) or (sample, unit), the same rows in all.

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
    samples = _matching(states)
    distances = np.zeros((len(samples), len(samples)))
    for i, x in enumerate(samples):
        for j in range(i):
            distances[i, j] = distances[j, i] = float(score(x, samples[j]))
    return distances


def member_distances(
    distance: Callable[[ArrayLike, ArrayLike], float],
    states: Sequence[ArrayLike],
    repeated: Sequence[ArrayLike],
) -> Array:
    """How far each member is from itself in a second recording, (member,): the floor of a distance with noise.

    Args:
        distance: one of the two-argument functions here, e.g. `procrustes_angle`.
        states, repeated: one a member, in the same order, each (trial, time, unit).

    Raises:
        UserError: different numbers of members, or rows that do not match.
    """
    if len(states) != len(repeated):
        raise UserError(f"states of {len(states)} members but repeated states of {len(repeated)}")
    return np.array([distance(x, y) for x, y in zip(states, repeated, strict=True)])


def _angle(x: _Shape, y: _Shape, cross: Array, alpha: float) -> float:
    """2 asin(chord / 2) between the unit-norm, partly whitened states; exact near 0, where an arccos is coarse."""
    if not (x.sizes.size and y.sizes.size):
        return 0.0 if x.sizes.size == y.sizes.size else np.pi / 2
    a, b = _whitened(x.sizes, alpha), _whitened(y.sizes, alpha)
    product = a[:, None] * cross * b
    cosine = np.linalg.svd(product, compute_uv=False).sum()
    squared_chord = 2.0 - 2.0 * cosine
    if squared_chord < REFINE_BELOW:
        left, _, right = np.linalg.svd(product, full_matrices=False)
        squared_chord = _aligned_difference(
            x.directions * a @ left, y.directions * b @ right.T, a, b, left, right
        )
    return float(2.0 * np.arcsin(np.sqrt(max(squared_chord, 0.0)) / 2.0))


def _aligned_difference(ax: Array, ay: Array, a: Array, b: Array, left: Array, right: Array) -> float:
    """||A_x Q - A_y||_F^2 in the basis of the alignment; what lies outside of it (other sizes) is added.

    A basis of min(k_x, k_y) columns is complete for the smaller member; the rest of the larger has squared
    norm ||diag(a) (I - L L^T)||_F^2.
    """
    outside = np.sum((a[:, None] * (np.eye(len(a)) - left @ left.T)) ** 2) if len(a) > len(b) else 0.0
    if len(b) > len(a):
        outside = np.sum((b[:, None] * (np.eye(len(b)) - right.T @ right)) ** 2)
    return float(np.sum((ax - ay) ** 2) + outside)


def _svcca(x: _Shape, y: _Shape, cross: Array, variance: float) -> float:
    kx, ky = _components(x.sizes, variance), _components(y.sizes, variance)
    if not (kx and ky):
        return 0.0 if kx == ky else 1.0
    correlations = np.linalg.svd(cross[:kx, :ky], compute_uv=False)
    return float(max(1.0 - correlations.mean(), 0.0))


def _cka(x: _Shape, y: _Shape, cross: Array) -> float:
    if not (x.sizes.size and y.sizes.size):
        return 0.0 if x.sizes.size == y.sizes.size else 1.0
    a, b = x.sizes / np.linalg.norm(x.sizes**2) ** 0.5, y.sizes / np.linalg.norm(y.sizes**2) ** 0.5
    return float(max(1.0 - np.sum((a[:, None] * cross * b) ** 2), 0.0))


def _whitened(sizes: Array, alpha: float) -> Array:
    """Singular values of the partly whitened states, s (alpha + (1 - alpha)/s), as a vector of norm 1."""
    partly = sizes * (alpha + (1.0 - alpha) / np.maximum(sizes, WHITENING_FLOOR * sizes[0]))
    return partly / np.linalg.norm(partly)


def _components(sizes: Array, variance: float) -> int:
    """The fewest components that explain the share `variance`."""
    explained = np.cumsum(sizes**2)
    # 1e-12: rounding of the sum, so that variance = 1 keeps what can be told from 0 and no more.
    return int(np.searchsorted(explained, (variance - 1e-12) * explained[-1]) + 1) if sizes.size else 0


def _shape(x: Array) -> _Shape:
    """The SVD up to its rank; what centring and the SVD leave beyond is rounding (all of it if x is constant)."""
    directions, sizes, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    rank = int(np.sum(sizes > np.finfo(float).eps * max(x.shape) * np.linalg.norm(x)))
    return _Shape(directions=directions[:, :rank], sizes=sizes[:rank])


def _matching(states: Sequence[ArrayLike]) -> list[Array]:
    """Every member's states as (sample, unit), float64."""
    arrays = [np.asarray(x, dtype=np.float64) for x in states]
    for k, x in enumerate(arrays):
        if x.ndim < 2 or 0 in x.shape:
            raise UserError(
                f"states of member {k}: (trial, time, unit) or (sample, unit) is needed, got {x.shape}"
            )
        if x.shape[:-1] != arrays[0].shape[:-1]:
            raise UserError(
                f"states of member {k} have rows {x.shape[:-1]}, those of member 0 {arrays[0].shape[:-1]}: "
                "shapes are compared on the same trials and time steps"
            )
        if not np.isfinite(x).all():
            raise UserError(f"states of member {k} are not finite")
    return [x.reshape(-1, x.shape[-1]) for x in arrays]


def _check_options(measures: Sequence[str], alpha: float, variance: float) -> None:
    known = ("procrustes", "svcca", "cka")
    for name in measures:
        if name not in known:
            raise unknown_name("shape measure", name, known)
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha = {alpha} is wrong: a number from 0 (CCA) to 1 (Procrustes) is needed")
    if not 0 < variance <= 1:
        raise UserError(f"variance = {variance} is wrong: a share above 0 and up to 1 is needed")
