"""Pictures and groups of members: an embedding of their distances, and how many families of solutions they form."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics.jackknife import checked_distances
from degeneracy.core.errors import UserError

# Share of the smallest squared distance that is taken off all squared distances before groups are looked for.
# Under 1, so that the nearest pair does not become identical and with it a perfect group.
COMMON_SHARE = 0.9
MIN_MEMBERS = 6  # two families of three: with fewer, the best split of a cloud is as good as any


@dataclass(frozen=True, kw_only=True)
class MDS:
    """Members as points whose distances resemble the measured ones."""

    coordinates: Array  # (member, component), in the unit of the distances, centred, along their principal axes
    stress: float  # in [0, 1]: 0 means that the picture shows the distances exactly
    converged: bool


@dataclass(frozen=True, kw_only=True)
class Families:
    """Groups of members with alike solutions; one group unless more are told from a cloud without groups."""

    labels: NDArray[np.int64]  # (member,): 0 is the largest family, -1 a member alone
    n_families: int
    separation: float  # mean silhouette of the best split, in [-1, 1]: 1 means tight groups far apart
    null_95: float  # 95% of clouds without groups have a best split of at most this
    note: str


def mds(distances: ArrayLike, n_components: int = 2, *, tolerance: float = 1e-9, max_iter: int = 3000) -> MDS:
    """Metric multidimensional scaling: coordinates that minimise sum_{i<j} (||z_i - z_j|| - d_ij)^2.

    SMACOF from classical scaling, so nothing is random: the same distances give the same picture. Not the
    classical solution itself, because that minimises the error of inner products, and shrinks distances.

    Args:
        distances: (member, member), symmetric, finite.
        n_components: dimensions of the picture.
        tolerance: stop where an iteration lowers the stress by less than this share.
        max_iter: iterations at most; `converged` says whether they were enough.

    Returns:
        Coordinates and the normalised stress sqrt( sum (||z_i - z_j|| - d_ij)^2 / sum d_ij^2 ).

    Raises:
        UserError: no symmetric, finite matrix of 2 members or more.

    Source: Borg & Groenen (2005), Modern multidimensional scaling, chapters 8 and 12.
    """
    d = _finite(distances)
    z = _classical(d, n_components)
    shown = _euclidean(z)
    total = float(np.sum(d**2)) or 1.0
    stress, converged = _squared(shown - d), False
    for _ in range(max_iter):
        z = _guttman(z, shown, d)
        shown = _euclidean(z)
        before, stress = stress, _squared(shown - d)
        # 1e-24 of the total: an exact picture, where a share of the stress would be a share of rounding.
        if before - stress <= tolerance * stress + 1e-24 * total:
            converged = True
            break
    return MDS(coordinates=_principal_axes(z), stress=float(np.sqrt(min(stress / total, 1.0))), converged=converged)


def solution_families(distances: ArrayLike, *, seed: int = 0, n_null: int = 199, max_families: int = 8) -> Families:
    """How many families of solutions the members form, and who belongs to which.

    Average-linkage clustering; of the cuts into 2 to `max_families` groups (n/2 at most) the one with the
    highest mean silhouette. A member alone is no family: it counts 0 and gets the label -1. Variation that
    every member has in directions of its own adds the same to every squared distance and hides groups, so 0.9
    times the smallest squared distance is taken off all of them first.

    That best split counts only if its silhouette is above 95% of those that the same procedure finds in
    clouds without groups: n points with the variances of the members' classical-scaling coordinates, Gaussian
    and, as a second null, uniform along each coordinate (the stricter of the two counts). Such clouds are as
    elongated and as many-dimensional as the members are, which is what makes a split of a single cloud look
    good; only grouping beyond shape is left to find.

    Measured at 16 and 30 members (80-150 ensembles each): more than one family in 0-3% of Gaussian and 3-5%
    of flat clouds, but in 1% and 28% of clouds with heavy tails (Student t, 3 degrees of freedom, 5
    dimensions).

    Args:
        distances: (member, member), symmetric, finite; what is not Euclidean in them is not in the clouds.
        seed: of the clouds.
        n_null: clouds drawn.
        max_families: most families looked for.

    Returns:
        The families; a single one where no split beats the null, and under 6 members (with a note; no null
        then).

    Raises:
        UserError: no symmetric, finite matrix of 2 members or more, or options out of range.

    Source: Rousseeuw (1987), Silhouettes, J. Comput. Appl. Math. 20; the test against a null reference
    follows Tibshirani, Walther & Hastie (2001), the gap statistic, JRSS B 63 (their null: uniform along
    components).
    """
    if n_null < 19 or max_families < 2:
        raise UserError(f"n_null = {n_null} and max_families = {max_families}: 19 and 2 or more are needed")
    d = _finite(distances)
    n = len(d)
    if n < MIN_MEMBERS:
        return _one_family(n, f"{n} members are too few to look for families ({MIN_MEMBERS} are needed)")
    spread = np.sqrt(_classical(d, n - 1).var(axis=0, ddof=1))
    if not spread.any():
        return _one_family(n, "all members are at distance 0")
    most = min(max_families, n // 2)
    splits, separations = best_splits(_without_common(d[None]), most)
    labels, separation = _by_size(splits[0]), float(separations[0])
    null_95 = _null_95(spread, n, most, n_null, np.random.default_rng(seed))
    method = f"average linkage, silhouette over 2 to {most} families, {n_null} clouds without groups"
    if separation <= null_95:
        labels = np.zeros(n, dtype=np.int64)
    return Families(
        labels=labels, n_families=int(labels.max()) + 1, separation=separation, null_95=null_95, note=method
    )


def combined(distances: Mapping[str, ArrayLike]) -> Array:
    """One distance of several features of the same members, each of which counts as much.

        d_ij = sqrt(max(mean_f d^f_ij |d^f_ij| / mean_{k != l} d^f_kl |d^f_kl|, 0))

    over the features f in which members differ at all: those whose mean square is above 0. A distance below 0 stands
    for a negative square, of which noise was taken away.

    Args:
        distances: (member, member) each, symmetric, finite, by the feature's name.

    Returns:
        (member, member) with a mean square of about 1; all 0 where members differ in no feature.

    Raises:
        UserError: none given, of different members, or no symmetric finite matrices of 2 members or more.
    """
    if not distances:
        raise UserError("distances: one feature or more is needed")
    squares = {}
    for name, value in distances.items():
        d = checked_distances(value)
        if not np.isfinite(d).all():
            raise UserError(f"distances '{name}': an entry is not finite")
        squares[name] = np.sign(d + d.T) * ((d + d.T) / 2) ** 2
    counts = {name: len(square) for name, square in squares.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(f"distances: the numbers of members differ: {listed}")
    n = next(iter(counts.values()))
    means = {name: square.sum() / (n * (n - 1)) for name, square in squares.items()}
    scaled = [squares[name] / mean for name, mean in means.items() if mean > 0]
    return np.sqrt(np.maximum(np.mean(scaled, axis=0), 0.0)) if scaled else np.zeros((n, n))


def _null_95(spread: Array, n: int, most: int, n_null: int, rng: np.random.Generator) -> float:
    """The silhouette that 95% of clouds without groups stay under or at; the larger of Gaussian and uniform ones."""
    shape = (n_null, n, len(spread))
    clouds = (rng.normal(size=shape), rng.uniform(-(3**0.5), 3**0.5, size=shape))  # both of variance 1
    scores = (best_splits(_without_common(_euclidean_by_products(points * spread)), most)[1] for points in clouds)
    return max(float(np.quantile(score, 0.95, method="higher")) for score in scores)


def _without_common(distances: Array) -> Array:
    """sqrt(d_ij^2 - 0.9 min d^2) off the diagonal: without what all pairs of a cloud have in common."""
    squares = distances**2
    diagonal = np.eye(distances.shape[-1], dtype=bool)
    smallest = np.where(diagonal, np.inf, squares).min(axis=(-1, -2), keepdims=True)
    return np.sqrt(np.where(diagonal, 0.0, squares - COMMON_SHARE * smallest))


def best_splits(distances: Array, most: int) -> tuple[NDArray[np.int64], Array]:
    """The cut of each average-linkage tree into 2 to `most` groups that has the highest mean silhouette.

    Starting from single members, the two groups of the smallest mean distance merge; the mean distance to the
    union is the mean of the two, weighted by size. All clouds at once: one tree is too little work for a call
    of its own.

    Args:
        distances: (cloud, member, member), symmetric.
        most: groups at most, 2 or more, under the number of members.

    Returns:
        Labels (cloud, member), equal within a group, and silhouettes (cloud,).
    """
    clouds, n = np.arange(len(distances)), distances.shape[-1]
    between = np.where(np.eye(n, dtype=bool), np.inf, distances)  # (cloud, group, group)
    sizes = np.ones((len(clouds), n))
    groups = np.tile(np.arange(n), (len(clouds), 1))
    labels, separation = groups, np.full(len(clouds), -np.inf)
    for n_groups in range(n - 1, 1, -1):
        i, j = np.divmod(between.reshape(len(clouds), -1).argmin(axis=1), n)
        weights = np.stack([sizes[clouds, i], sizes[clouds, j]])[..., None]
        union = (weights[0] * between[clouds, i] + weights[1] * between[clouds, j]) / weights.sum(axis=0)
        between[clouds, i] = between[clouds, :, i] = union
        between[clouds, j] = between[clouds, :, j] = np.inf
        sizes[clouds, i] += sizes[clouds, j]
        groups = np.where(groups == j[:, None], i[:, None], groups)
        if n_groups <= most:
            score = silhouettes(distances, groups)
            labels = np.where((score > separation)[:, None], groups, labels)
            separation = np.maximum(score, separation)
    return labels, separation


def silhouettes(distances: Array, labels: NDArray[np.int64]) -> Array:
    """Mean over members of (b - a) / max(a, b): how much nearer its own group is than the next one.

    a: mean distance to the others of its group; b: the smallest mean distance to another group.

    Args:
        distances: (cloud, member, member).
        labels: (cloud, member), groups named by numbers under the number of members, two or more a cloud.

    Returns:
        (cloud,), in [-1, 1]; 0 means no grouping. A member alone counts 0 and is no group to be near to; -1
        where fewer than two groups have two members or more.
    """
    belongs = (labels[..., None] == np.arange(labels.shape[-1])).astype(np.float64)  # (cloud, member, group)
    sizes = belongs.sum(axis=1)
    sums = distances @ belongs
    own_sizes = np.take_along_axis(sizes, labels, axis=1)
    own = np.take_along_axis(sums, labels[..., None], axis=2)[..., 0] / np.maximum(own_sizes - 1, 1)
    families = sizes > 1
    elsewhere = np.where(families[:, None] & (belongs == 0), sums / np.maximum(sizes, 1)[:, None], np.inf)
    other = elsewhere.min(axis=2)
    larger = np.maximum(own, other)
    score = np.divide(other - own, larger, out=np.zeros_like(own), where=(larger > 0) & np.isfinite(larger))
    mean = np.where(own_sizes > 1, score, 0.0).mean(axis=1)
    return np.where(families.sum(axis=1) > 1, mean, -1.0)


def _by_size(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbered from 0 by falling size, equal sizes by their first member; -1 for members alone."""
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return np.where(sizes[inverse] > 1, rank[inverse], -1)


def _one_family(n: int, note: str) -> Families:
    return Families(
        labels=np.zeros(n, dtype=np.int64),
        n_families=1,
        separation=float("nan"),
        null_95=float("nan"),
        note=note,
    )


def _classical(d: Array, n_components: int) -> Array:
    """Classical scaling: coordinates whose inner products are nearest to -1/2 J d^2 J; (member, component)."""
    squares = d**2
    inner = -0.5 * (squares - squares.mean(0) - squares.mean(1)[:, None] + squares.mean())
    values, vectors = np.linalg.eigh(inner)
    leading = np.argsort(values)[::-1][:n_components]
    coordinates = vectors[:, leading] * np.sqrt(np.maximum(values[leading], 0.0))
    missing = n_components - coordinates.shape[1]  # more components than members
    return np.pad(coordinates, ((0, 0), (0, max(missing, 0))))


def _guttman(z: Array, shown: Array, d: Array) -> Array:
    """One SMACOF step, z <- B(z) z / n with B_ij = -d_ij / ||z_i - z_j||, rows summing to 0; shown: ||z_i - z_j||."""
    ratio = np.divide(d, shown, out=np.zeros_like(d), where=shown > 0)
    return (ratio.sum(axis=1)[:, None] * z - ratio @ z) / len(z)


def _squared(x: Array) -> float:
    return float(np.vdot(x, x))


def _principal_axes(z: Array) -> Array:
    """Centred and turned so that variance falls along the components; the largest coordinate of each is positive."""
    centred = z - z.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    turned = centred @ axes.T
    signs = np.sign(turned[np.abs(turned).argmax(axis=0), np.arange(turned.shape[1])])
    return turned * np.where(signs == 0, 1.0, signs)


def _euclidean(z: Array) -> Array:
    """Distances of points (member, component) by differences, (member, member)."""
    squares = np.zeros((len(z), len(z)))
    for component in z.T:
        squares += np.subtract.outer(component, component) ** 2
    return np.sqrt(squares)


def _euclidean_by_products(clouds: Array) -> Array:
    """Distances of points (cloud, member, component) from their inner products, (cloud, member, member).

    Many times faster than differences; of points much nearer to each other than to the origin it loses digits.
    """
    inner = clouds @ clouds.swapaxes(-1, -2)
    lengths = np.einsum("...ii->...i", inner)
    squares = np.maximum(lengths[..., :, None] + lengths[..., None, :] - 2 * inner, 0.0)
    return np.sqrt(squares)


def _finite(distances: ArrayLike) -> Array:
    d = checked_distances(distances)
    if not np.isfinite(d).all() or (d < 0).any():
        raise UserError("distances: an entry is negative or not finite")
    return (d + d.T) / 2
