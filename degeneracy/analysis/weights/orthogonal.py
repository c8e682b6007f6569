"""How far apart two networks' recurrent weights are as linear maps, whatever basis they are written in.

    d(A, B) = min over Q in O(units) of || A - Q B Q^T ||_F

It ignores more than a network does: a rotation of the units of a tanh network makes another network, so that this is
at most the distance after the best permutation and signs (`pif`). What is left are differences that no choice of units
could explain, of spectra above all. The search is DSA's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.measure import Estimate
from degeneracy.analysis.operator_alignment.pairs import ConjugationFit, fit_among
from degeneracy.analysis.recording import Array, Weights
from degeneracy.analysis.scaling import norm
from degeneracy.analysis.weights.pif import root_mean_square, shuffled_entries
from degeneracy.analysis.weights.restated import PairDistances
from degeneracy.analysis.weights.symmetry import normalise_scaling, symmetry_of
from degeneracy.core.numeric import real_array

# The gradient of the normalised problem at which a search ends: with 2 starts 3% above the best of 48 on trained
# networks of 64 units, in a tenth of the time that 1e-7 takes, which ends 1% above it.
TOLERANCE, STEPS = 1.5e-3, 60
# Pairs nearer than this share of their norms are searched to the end: copies have to come out at 0.
NEAR, TOLERANCE_NEAR, STEPS_NEAR = 0.1, 1e-9, 500


def compared_matrix(weights: Weights) -> Array:
    """The recurrent weights that are compared, (post, pre): the candidate's in a gated cell.

    Gates multiply unit by unit, so that no rotation leaves their meaning; the candidate alone maps states to states.
    Where the cell allows scaling, the weights are those at canonical scales, as for `pif`.
    """
    if symmetry_of(weights).scaling:
        weights = normalise_scaling(weights)
    return weights.recurrent[weights.candidate]


def shuffled_matrix(matrix: Array, classes: Sequence[str], rng: np.random.Generator) -> Array:
    """The entries (post, pre) in random order, within classes of `pre`; units without any stay so."""
    units = np.flatnonzero(matrix.any(axis=0) | matrix.any(axis=1))
    among, mixed = np.ix_(units, units), np.zeros_like(matrix)
    mixed[among] = shuffled_entries(matrix[among], [classes[int(k)] for k in units] if classes else (), rng)
    return mixed


def rotated_copy(matrix: Array, rng: np.random.Generator) -> Array:
    """Q A Q^T, Q uniform in O(n)."""
    q, r = np.linalg.qr(rng.normal(size=matrix.shape))
    q *= np.sign(np.diag(r))
    return q @ matrix @ q.T


def orthogonal_fit(
    first: Sequence[Array], second: Sequence[Array], *, n_starts: int = 2, seed: int = 0
) -> ConjugationFit:
    """The distance of first[k] and second[k] for each k: an upper bound, from a search.

    Args:
        first, second: each (unit, unit), all of one size, finite.
        n_starts: searches per pair, 2 or more; the first two match eigenvectors, one of either determinant.
        seed: of the further starts.

    Returns:
        Distances in the unit of the weights; 0: the same map in another basis. d(x, y) = d(y, x) exactly.

    Raises:
        UserError: matrices of different sizes or not finite, too few starts.

    Source: Ostrow et al. (2023), equation 5, on weights in place of fitted operators.
    """
    x, y = real_array(first, "first"), real_array(second, "second")
    k = np.arange(len(x))
    found = _fit(x, y, k, n_starts, seed, TOLERANCE, STEPS)
    sizes = np.array([norm(a) + norm(b) for a, b in zip(x, y, strict=True)])
    near = np.flatnonzero(found.distance < NEAR * sizes)
    if len(near):
        closer = _fit(x, y, near, n_starts, seed, TOLERANCE_NEAR, STEPS_NEAR)
        for name in ("distance", "spread", "converged"):
            getattr(found, name)[near] = getattr(closer, name)
    return found


def _fit(
    x: Array, y: Array, k: NDArray[np.int64], n_starts: int, seed: int, tolerance: float, max_iter: int
) -> ConjugationFit:
    return fit_among(
        x, y, k, k, score="frobenius", n_starts=n_starts, max_iter=max_iter, tolerance=tolerance, seed=seed
    )


def pair_distances(first: Sequence[Array], second: Sequence[Array], distance: Array) -> PairDistances:
    """The distances of first[k] and second[k], with their norms and numbers of weights, units without any left out."""
    pairs = list(zip(first, second, strict=True))
    return PairDistances(
        distance=distance,
        norm=np.array([root_mean_square(norm(a), norm(b)) for a, b in pairs]),
        n_parameters=np.array([max(_n_weights(a), _n_weights(b)) for a, b in pairs]),
    )


def _n_weights(matrix: Array) -> int:
    return int((matrix.any(axis=0) | matrix.any(axis=1)).sum()) ** 2


def ring_mean(distances: Array) -> Estimate:
    """Mean distance of neighbours on a ring of members, d_k = d(k, k + 1): an estimate of the mean over all pairs.

    Without member k: the mean without d_{k-1} and d_k. A standard error from these is too large, by the square root of
    2 where distances are independent, and never too small on that account.

    Args:
        distances: (member,), 3 or more; 2 members have the one distance twice.
    """
    n = len(distances)
    if n < 3:
        return Estimate(value=float(distances.mean()), leave_one_out=np.full(n, np.nan))
    without = distances.sum() - distances - np.roll(distances, 1)
    return Estimate(value=float(distances.mean()), leave_one_out=without / (n - 2))
