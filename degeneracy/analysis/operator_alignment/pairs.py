"""The distance of two operators (square matrices) in the best common coordinates, for many pairs.

    d(x, y) = min_{C in O(rank)} || A_x - C A_y C^T ||_F

Of delay operators it is that of DSA, of recurrent weights the orthogonal distance. The search is compiled (`search`).

Source: Ostrow, Eisen, Kozachkov & Fiete, "Beyond Geometry" (NeurIPS 2023), section 3.2.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from degeneracy.analysis.operator_alignment import curvature, search
from degeneracy.analysis.operator_alignment.starts import Starts
from degeneracy.analysis.recording import Array
from degeneracy.analysis.scaling import common_exponent, near_one
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.numeric import real_array

Score = Literal["angular", "frobenius", "wasserstein"]


@dataclass(frozen=True, kw_only=True)
class ConjugationFit:
    """The distances of pairs of operators, and how far the search can be trusted."""

    distance: Array  # (pair,), of halves (member, member), in the unit of the score; 0: the same dynamics
    spread: Array  # (pair,), same unit: range of the best restarts' distances; 0: they agree
    converged: NDArray[np.bool_]  # (pair,): the best restart reached the tolerance
    n_starts: int  # 1 where the distance is exact ("wasserstein")
    score: Score


def fit_pairs(
    operators_x: Array,
    operators_y: Array,
    *,
    score: Score = "angular",
    n_starts: int = 32,
    max_iter: int = 500,
    tolerance: float = 1e-7,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> ConjugationFit:
    """The distance of each pair of operators under the best orthogonal change of coordinates.

    As `fit_among`, with operators_x[k] and operators_y[k] the two of pair k, each (pair, rank, rank).
    """
    pairs = np.arange(len(operators_x)), np.arange(len(operators_y))
    return fit_among(
        operators_x, operators_y, *pairs, score=score, n_starts=n_starts, max_iter=max_iter,
        tolerance=tolerance, seed=seed, progress=progress,
    )  # fmt: skip


def fit_among(
    operators_x: Array,
    operators_y: Array,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    score: Score = "angular",
    n_starts: int = 32,
    max_iter: int = 500,
    tolerance: float = 1e-7,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> ConjugationFit:
    """The distance of operators_x[first[k]] and operators_y[second[k]] for each pair k.

    With d = min_C ||A_x - C A_y C^T||_F over rotations and reflections C:

        frobenius:   d
        angular:     2 asin(d / 2) with A_x and A_y divided by their Frobenius norms
        wasserstein: sqrt(min over matchings of mean |lambda_x - lambda_y|^2), eigenvalues only

    The first two are not convex: the least of several searches is taken, an upper bound. Each pair's search
    depends on its two operators and the seed alone, and d(x, y) = d(y, x) exactly.

    Args:
        operators_x, operators_y: (operator, rank, rank), finite. Each is prepared once, however many pairs it is in.
        first, second: (pair,), positions in operators_x and operators_y.
        n_starts: searches per pair, 2 or more, of both determinants: matched eigenvectors, from 4 on signs of axes that
            agree, then alignments of leading axes and random.
        max_iter: iterations of the last round.
        tolerance: a search has converged when the gradient's norm on the normalised problem is under this.
        seed: of the random starts.
        progress: called with the number of pairs just finished.

    Returns:
        Distances >= 0; angular in [0, pi] radians. 0: one operator is the other in rotated coordinates. Two zero
        operators are 0 apart; the angle of a zero operator to another is pi/2 (no common direction).

    Raises:
        UserError: shapes that differ or are no operators, non-finite values, an unknown score, too few starts.

    Source: Ostrow et al. 2023, equation 5 (angular form, section 3.2); eigenvalue form: Redman et al. 2023.
    """
    x, y = (real_array(each, "operators") for each in (operators_x, operators_y))
    check_operators(x, y, score, n_starts, max_iter)
    assert len(first) == len(second), "positions of pairs"
    operators, order_x, order_y = _distinct(x, y)
    one, other = order_x[first], order_y[second]
    one, other = np.minimum(one, other), np.maximum(one, other)
    if score == "wasserstein":
        spectra = [_spectrum(operator) for operator in operators]
        distance = np.array([_spectral_distance(spectra[i], spectra[j]) for i, j in zip(one, other, strict=True)])
        zeros = np.zeros(len(one))
        return ConjugationFit(distance=distance, spread=zeros, converged=zeros == 0, n_starts=1, score=score)
    found = np.zeros((3, len(one)))
    for chunk, *fitted in _search(operators, one, other, score, n_starts, max_iter, tolerance, seed):
        found[:, chunk] = fitted
        if progress is not None:
            progress(len(chunk))
    distance, spread, converged = found
    return ConjugationFit(
        distance=distance, spread=spread, converged=converged.astype(bool), n_starts=n_starts, score=score
    )


def check_operators(x: Array, y: Array, score: str, n_starts: int, max_iter: int) -> None:
    """Refuse what is no operators, and too small a search."""
    if score not in get_args(Score):
        raise unknown_name("score", score, get_args(Score), where="DSA")
    if x.ndim != 3 or x.shape[1] != x.shape[2] or x.shape[1] == 0 or x.shape[1:] != y.shape[1:]:
        raise UserError(f"DSA: operators have shapes {x.shape} and {y.shape}; expected two alike (pair, rank, rank)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("DSA: operators have non-finite values")
    if n_starts < 2:
        raise UserError(f"DSA: n_starts = {n_starts} is too few; 2 or more (one of either determinant)")
    if max_iter < 1:
        raise UserError(f"DSA: max_iter = {max_iter} is too few; 1 or more")


def _distinct(x: Array, y: Array) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """The distinct operators in an order of their own, and where those of x and y are among them.

    A pair is searched from the earlier to the later, so that d(x, y) and d(y, x) are one computation.
    """
    keys = [each.tobytes() for each in (*x, *y)]
    place = {key: k for k, key in enumerate(sorted(set(keys)))}
    where = np.array([place[key] for key in keys], dtype=np.int64)
    operators = np.empty((len(place), *x.shape[1:]))
    operators[where[: len(x)]], operators[where[len(x) :]] = x, y
    return operators, where[: len(x)], where[len(x) :]


def _spectrum(operator: Array) -> NDArray[np.complex128]:
    scaled, exponent = near_one(operator)
    return _resized(np.linalg.eigvals(scaled).astype(np.complex128), exponent)


def _resized(z: NDArray[np.complex128], exponent: int) -> NDArray[np.complex128]:
    """z * 2^exponent, exactly."""
    return np.ldexp(z.real, exponent) + 1j * np.ldexp(z.imag, exponent)


def _spectral_distance(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> float:
    """W2 between two operators' eigenvalues, each of weight 1/rank; 0: the same spectrum."""
    exponent = common_exponent([a.real, a.imag, b.real, b.imag])
    a, b = _resized(a, -exponent), _resized(b, -exponent)
    cost = np.abs(a[:, None] - b[None, :]) ** 2
    return float(np.ldexp(np.sqrt(cost[linear_sum_assignment(cost)].mean()), exponent))


Chunk = tuple[NDArray[np.int64], Array, Array, Array]  # pairs, and their distance, spread and convergence


def normalised(operators: Array) -> tuple[Array, Array]:
    """The operators at norm 1 (0 stays 0), and their norms; of any size, however much smaller than others."""
    scaled, exponents = np.empty_like(operators), np.empty(len(operators), np.int64)
    for k, operator in enumerate(operators):
        scaled[k], exponents[k] = near_one(operator)
    size = np.linalg.norm(scaled, axis=(1, 2))
    return scaled / np.where(size == 0, 1, size)[:, None, None], np.ldexp(size, exponents)


def _search(
    operators: Array,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    score: Score,
    n_starts: int,
    max_iter: int,
    tolerance: float,
    seed: int,
) -> Iterator[Chunk]:
    """The pairs of one first operator after those of another: what is prepared for it is let go again."""
    unit, size = normalised(operators)
    starts_of = Starts(unit, n_starts, seed)
    for i in np.unique(one):
        chunk = np.flatnonzero(one == i)
        inverse = curvature.model(unit[i])
        aligned, slope = [], []
        for j in other[chunk]:
            starts = identities(unit[i]) if i == j else starts_of.of(i, j)
            found = search.align(unit[i], unit[j], starts, inverse, max_iter=max_iter, tolerance=tolerance)
            aligned.append(found[0])
            slope.append(found[1])
        sizes = size[np.full(len(chunk), i)], size[other[chunk]]
        yield chunk, *judge(unit[i][None], np.array(aligned), *sizes, np.array(slope), score, tolerance)


def identities(operator: Array) -> Array:
    """The starts that carry an operator onto itself, (2, rank, rank)."""
    return np.stack([np.eye(len(operator))] * 2)


def judge(
    a: Array, aligned: Array, size_x: Array, size_y: Array, slope: Array, score: Score, tolerance: float
) -> tuple[Array, Array, Array]:
    """Distance, spread and convergence of some pairs, from the searches that came furthest.

    Args:
        a: (pair, rank, rank), of norm 1 (or 0), or (1, rank, rank).
        aligned: (pair, finalist, rank, rank), the other operator in a's coordinates, of norm 1 (or 0).
        size_x, size_y: (pair,), the norms that were divided out.
        slope: (pair, finalist), the gradient's norm.
    """
    if score == "angular":
        distances = 2 * np.arcsin(np.clip(np.linalg.norm(a[:, None] - aligned, axis=(2, 3)) / 2, 0, 1))
        distances[(size_x == 0) ^ (size_y == 0)] = np.pi / 2
    else:
        exponent = np.array([[near_one(pair)[1]] for pair in np.stack([size_x, size_y], axis=1)])
        scale_x, scale_y = (np.ldexp(size[:, None], -exponent)[..., None, None] for size in (size_x, size_y))
        distances = np.linalg.norm(scale_x * a[:, None] - scale_y * aligned, axis=(2, 3))
        distances = np.ldexp(distances, exponent)
    best = distances.argmin(axis=1)
    rows = np.arange(len(best))
    return distances[rows, best], np.ptp(distances, axis=1), (slope < tolerance)[rows, best]
