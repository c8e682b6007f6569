"""Distances between members that were each seen in two halves of the trials: noise is measured, and taken away.

With chi^2(x_A, y_B) the squared distance of what was fitted to member x in the first half of the trials and to member y
in the second:

    D^2 = mean over pairs of chi^2(x_A, y_B) - mean over members of chi^2(x_A, x_B)

Its expectation is 0 for copies of one network, however few the trials: the floor, what a network is from itself, passed
through all that the value passed through. Its root would not be: half of all draws are negative then. So the square is
what is reported, with its interval by the jackknife of both means, and roots bear its sign.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.measure import Estimate
from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics import jackknife


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """The distances of all pairs of members, noise taken away."""

    distances: Array  # (member, member): the root of each pair's corrected square, with its sign; the diagonal is 0
    floors: Array  # (member,): squared distance of each member from itself, of two halves

    @property
    def floor(self) -> Estimate:
        """The mean square that noise makes."""
        return jackknife.member_mean(self.floors)

    @property
    def value(self) -> Estimate:
        """The corrected mean square over pairs."""
        return jackknife.pair_mean_square(self.distances)


def corrected(squares: Array) -> Corrected:
    """The distances of all pairs of members from squares of halves.

    Args:
        squares: (member, member), chi^2 of the first half of one and the second half of the other.
    """
    floors = np.diag(squares).copy()
    left = (squares + squares.T) / 2 - (floors[:, None] + floors[None, :]) / 2
    np.fill_diagonal(left, 0.0)
    return Corrected(distances=np.sign(left) * np.sqrt(np.abs(left)), floors=floors)


def ordered_pairs(n_members: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All ordered pairs of members, each with itself too, row by row of `corrected`'s matrix."""
    first, second = np.divmod(np.arange(n_members * n_members), n_members)
    return first, second


def squared_chords(angles: Array) -> Array:
    """4 sin^2(angle / 2): the squared distances of matrices of norm 1 that are these angles apart."""
    return np.asarray(4 * np.sin(angles / 2) ** 2)
