"""How far the sets of fixed points of two networks are apart: by their counts, and by the spectra at the points."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from degeneracy.analysis.dynamics.attractors.fixed_points import FixedPoints, at_least
from degeneracy.analysis.dynamics.spectra import leading, spectra_distance
from degeneracy.analysis.recording import Array
from degeneracy.core.errors import UserError


def census(points: FixedPoints) -> Mapping[int, int]:
    """How many fixed points there are of each index, e.g. {0: 8, 1: 12, 2: 6, 3: 1}; empty for none."""
    return dict(sorted(Counter(points.index.tolist()).items()))


def census_distance(points: Sequence[FixedPoints]) -> Array:
    """Whether two members' numbers of fixed points differ at any index.

    Args:
        points: the fixed points of each member.

    Returns:
        (member, member): 0 where the counts by index are equal, 1 where not, NaN for pairs with a member that
        could not be searched. The diagonal is 0. The triangle inequality holds.
    """
    distance = np.zeros((len(points), len(points)))
    for i, j in combinations(range(len(points)), 2):
        distance[i, j] = distance[j, i] = _census_differs(points[i], points[j])
    return distance


def repeat_census_distance(points: Sequence[FixedPoints], repeated: Sequence[FixedPoints]) -> Array:
    """The census distance of each member to itself, searched with another seed: the floor of the measure.

    Args:
        points: the fixed points of each member.
        repeated: those of the same members, in the same order, found with another seed.

    Returns:
        (member,): 0 where both searches found the same counts by index, 1 where not, NaN where not searched.

    Raises:
        UserError: the two are not of equally many members.
    """
    if len(points) != len(repeated):
        raise UserError(f"fixed points: {len(points)} members searched and {len(repeated)} searched again")
    return np.array([_census_differs(a, b) for a, b in zip(points, repeated, strict=True)], dtype=np.float64)


def _census_differs(a: FixedPoints, b: FixedPoints) -> float:
    return float(census(a) != census(b)) if a.n_starts and b.n_starts else float("nan")


def spectrum_distance(points: Sequence[FixedPoints], *, n_eigenvalues: int = 8, cutoff: float = 1.0) -> Array:
    """How far apart the fixed points of two members are, by the spectra of their Jacobians.

    Between two points with leading eigenvalues a and b, d = min_perm sqrt(mean_k |a_k - b_perm(k)|^2), and between
    two members with n >= m points,

        D = (min_assignment sum_{m pairs} min(d, c) + c (n - m)) / n,

    so that a point without a partner costs the cutoff c, as much as one with an entirely different spectrum.

    Args:
        points: the fixed points of each member.
        n_eigenvalues: compared per point, the largest in modulus; 0 stands for those a smaller network lacks.
        cutoff: c, in units of eigenvalues (1 is the distance from a marginal to a dead direction).

    Returns:
        (member, member) in [0, cutoff]; 0: equally many points with equal leading spectra. NaN for pairs with a
        member that could not be searched. The diagonal is 0. The triangle inequality holds.

    Raises:
        UserError: an option out of range.

    Source:
        The optimal-subpattern-assignment metric of order 1, Schuhmacher, Vo & Vo (2008), IEEE Transactions on
        Signal Processing 56(8), eq. 3, on the Wasserstein-2 distance of spectra.
    """
    at_least("n_eigenvalues", n_eigenvalues, 1)
    if not cutoff > 0:
        raise UserError(f"fixed points: cutoff = {cutoff} is wrong: greater than 0")
    spectra = [leading(p.eigenvalues, n_eigenvalues) for p in points]
    distance = np.zeros((len(points), len(points)))
    for i, j in combinations(range(len(points)), 2):
        searched = points[i].n_starts and points[j].n_starts
        value = spectra_distance(spectra[i], spectra[j], cutoff) if searched else np.nan
        distance[i, j] = distance[j, i] = value
    return distance
