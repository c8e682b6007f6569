"""Distances between spectra in the complex plane, and between sets of them."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from degeneracy.analysis.recording import Array

Spectra = NDArray[np.complex128]  # (point, k), one spectrum per point


def leading(spectra: Spectra, n_leading: int) -> Spectra:
    """The first eigenvalues of each spectrum, (point, n_leading); 0 for those that it lacks."""
    some = spectra[:, :n_leading]
    return np.pad(some, ((0, 0), (0, n_leading - some.shape[1])))


def spectra_distance(a: Spectra, b: Spectra, cutoff: float) -> float:
    """How far two sets of spectra are apart: `fixed_points.spectrum_distance` of two members.

    Args:
        a: (p, k).
        b: (q, k).
        cutoff: what a spectrum without partner costs, and the most that a pair costs.

    Returns:
        0 (the same spectra, in any order) to cutoff.
    """
    n_most, n_least = max(len(a), len(b)), min(len(a), len(b))
    if n_most == 0:
        return 0.0
    cost = np.minimum(wasserstein_distances(a, b), cutoff)
    matched = cost[linear_sum_assignment(cost)].sum()
    return float((matched + cutoff * (n_most - n_least)) / n_most)


def wasserstein_distances(a: Spectra, b: Spectra) -> Array:
    """min_perm sqrt(mean_k |a_k - b_perm(k)|^2) between the spectra of a (p, k) and of b (q, k), (p, q)."""
    a, b = np.sort(a, axis=1), np.sort(b, axis=1)  # by real part, then imaginary part
    difference = a[:, None] - b[None]
    squared = (difference.real**2 + difference.imag**2).mean(axis=-1)
    # Real and imaginary parts matched on their own cost no more than any matching of both, hence where the order of the
    # real parts costs as little as that, it is the best; rounding aside, 1e-15 of it.
    imaginary = np.sort(a.imag, axis=1)[:, None] - np.sort(b.imag, axis=1)[None]
    least = (difference.real**2 + imaginary**2).mean(axis=-1)
    first, second = np.nonzero(squared > least * (1 + 1e-14))
    difference = a[first][:, :, None] - b[second][:, None]
    costs = difference.real**2 + difference.imag**2  # (pair, k, k)
    matching = np.array([linear_sum_assignment(cost)[1] for cost in costs], dtype=int).reshape(-1, a.shape[1])
    squared[first, second] = np.take_along_axis(costs, matching[..., None], axis=2)[..., 0].mean(axis=1)
    return np.sqrt(squared)
