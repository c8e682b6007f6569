"""The distances of members that were each seen in two halves of the trials: one search for each two of them.

    d(x_A, y_B) and d(y_A, x_B) of all members x and y, d as in `pairs`

The halves A and B of a member are one operator in other noise and other coordinates. Once they are in common
coordinates, by the search that says how far they are apart, the best C of (x_A, y_B) and that of (x_B, y_A) differ by
noise alone. So one search of all starts aligns the means of the halves, and its best few C go on in each of the two.
Where noise is much of what separates the two members, each pair of halves has a search of its own beside that.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from degeneracy.analysis.operator_alignment import curvature, search
from degeneracy.analysis.operator_alignment.descent import COPY
from degeneracy.analysis.operator_alignment.pairs import (
    ConjugationFit,
    Score,
    check_operators,
    identities,
    judge,
    normalised,
)
from degeneracy.analysis.operator_alignment.starts import Starts
from degeneracy.analysis.recording import Array
from degeneracy.core.numeric import real_array

# The alignments of the means that go on, since noise may make another than their best the best of two halves: those
# that are two by more than this share of the least squared distance. (In an example of 2% noise 4 in place of 8 ended
# 0.03% higher, those of the last round alone, which are mostly one, 0.4%.)
CANDIDATES, DISTINCT = 8, 1e-3
# Square of the halves of a member over that of two members' means from which on noise is much. One search alone leaves
# as little out as two up to a share of 0.13, from 0.18 on two to seven times as much (planted; ranks 12 and 20).
NOISY = 0.1

Half = tuple[int, int]  # member, and 0 or 1
# The end of a search: two halves, the second in the first one's coordinates, (finalist, rank, rank), and the gradient's
# norm there, (finalist,).
End = tuple[Half, Half, Array, Array]


def fit_halves(
    first: Array,
    second: Array,
    *,
    score: Score = "angular",
    n_starts: int = 24,
    max_iter: int = 500,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> ConjugationFit:
    """The distance of first[i] and second[j] for all members i and j, under the best orthogonal change of coordinates.

    It depends on the operators of these two members and the seed alone. Where the halves are exchanged, so are
    d(x_A, y_B) and d(y_A, x_B), to the bit.

    Args:
        first, second: (member, rank, rank), finite: the same members in either half of the trials.
        score: "angular" or "frobenius".
        n_starts, max_iter, seed: as of `pairs.fit_among`.
        tolerance: of pairs, as there; a tenth of it for the halves of one member, and for members as near as these.

    Returns:
        Arrays (member, member), by the member of the first half and that of the second.

    Raises:
        UserError: as `pairs.fit_among`.
    """
    a, b = (real_array(each, "operators") for each in (first, second))
    check_operators(a, b, score, n_starts, max_iter)
    halves = _Halves(a, b, n_starts, seed, max_iter, tolerance)
    found = np.zeros((3, len(a), len(a)))
    for ends in halves.ends():
        x, y = (tuple(np.array([end[side] for end in ends]).T) for side in (0, 1))
        aligned, slope = (np.array([end[part] for end in ends]) for part in (2, 3))
        row, column = np.where(x[1] == 0, (x[0], y[0]), (y[0], x[0]))
        found[:, row, column] = judge(halves.unit[x], aligned, halves.size[x], halves.size[y], slope, score, tolerance)
    distance, spread, converged = found
    return ConjugationFit(
        distance=distance, spread=spread, converged=converged.astype(bool), n_starts=n_starts, score=score
    )


class _Halves:
    """The operators of all members in both halves."""

    def __init__(self, first: Array, second: Array, n_starts: int, seed: int, max_iter: int, tolerance: float) -> None:
        both = np.stack([first, second], axis=1)
        self.unit, self.size = np.empty_like(both), np.empty(both.shape[:2])  # (member, half, ...), at norm 1 (or 0)
        for half in (0, 1):
            self.unit[:, half], self.size[:, half] = normalised(both[:, half])
        # Orders that depend on the operators alone, not on their places.
        self._earlier = [int(b.tobytes() < a.tobytes()) for a, b in self.unit]
        self._order = sorted(range(len(both)), key=lambda i: sorted(half.tobytes() for half in self.unit[i]))
        self._models = [curvature.model(pair[k]) for pair, k in zip(self.unit, self._earlier, strict=True)]
        self._n_starts, self._seed = n_starts, seed
        self._floors = np.zeros(len(both))  # of the halves of each member, once these are in common coordinates
        self._until: Any = {"max_iter": max_iter, "tolerance": tolerance}
        self._strict: Any = {"max_iter": max_iter, "tolerance": tolerance / 10}

    def ends(self) -> Iterator[list[End]]:
        """The halves of each member, which are in common coordinates from then on; then the pairs of each."""
        yield [self._member(i, starts) for i, starts in enumerate(self._starts_of_members())]
        means = normalised(self.unit.sum(axis=1))[0]
        starts_of = Starts(means, self._n_starts, self._seed)
        for place, i in enumerate(self._order[:-1]):
            yield [end for j in self._order[place + 1 :] for end in self._pair(i, j, means, starts_of)]

    def _starts_of_members(self) -> Iterator[Array]:
        """The starts that carry the later half of each member onto the earlier one."""
        n = len(self.unit)
        starts_of = Starts(np.concatenate([self.unit[:, 0], self.unit[:, 1]]), self._n_starts, self._seed)
        for i, k in enumerate(self._earlier):
            yield starts_of.of(k * n + i, (1 - k) * n + i)

    def _member(self, i: int, starts: Array) -> End:
        """The halves of one member; turns the later one into the coordinates of the earlier one."""
        k = self._earlier[i]
        x, y = self.unit[i, k], self.unit[i, 1 - k]
        starts = identities(x) if np.array_equal(x, y) else starts
        aligned, slope = search.align(x, y, starts, self._models[i], **self._strict)
        squares = np.sum((x - aligned) ** 2, axis=(1, 2))
        self.unit[i, 1 - k], self._floors[i] = aligned[squares.argmin()], squares.min()
        return (i, k), (i, 1 - k), aligned, slope

    def _pair(self, i: int, j: int, means: Array, starts_of: Starts) -> Iterator[End]:
        """Both pairs of halves of two members, from the best alignments of their means."""
        x, y, inverse, tolerance = means[i], means[j], self._models[i], self._until["tolerance"]
        starts = identities(x) if np.array_equal(x, y) else starts_of.of(i, j)
        candidates = search.explore(search.alignment(x, y), starts, inverse, tolerance=tolerance)
        squares = np.sum((x - candidates @ y @ candidates.transpose(0, 2, 1)) ** 2, axis=(1, 2))
        order = squares.argsort(kind="stable")
        candidates = candidates[order[np.diff(squares[order], prepend=-1.0) > DISTINCT * squares.min()]][:CANDIDATES]
        near = self._floors[[i, j]].mean() + COPY > NOISY * squares.min()
        until = self._strict if near else self._until
        for one, other in (((i, 0), (j, 1)), ((i, 1), (j, 0))):
            x, y = self.unit[one], self.unit[other]
            objective, leading = search.alignment(x, y), candidates
            if near and not np.array_equal(x, y):
                starts = self._starts_of_halves.of(*(2 * member + half for member, half in (one, other)))
                best = search.explore(objective, starts, inverse, tolerance=tolerance)[:CANDIDATES]
                leading = np.concatenate([best, leading])
            c, slope = search.polish(objective, leading, inverse, **until)
            yield one, other, c @ y @ c.transpose(0, 2, 1), slope

    @cached_property
    def _starts_of_halves(self) -> Starts:
        """The starts of single halves, once those of each member are in common coordinates."""
        return Starts(self.unit.reshape(-1, *self.unit.shape[2:]), self._n_starts, self._seed)
