"""The linear assignment: matching the rows of a square matrix to its columns at the greatest profit.

Shortest augmenting paths (Jonker & Volgenant 1987, Computing 38:325) with prices of columns that are carried from
one matrix to the next, much like it. Compiled on integers, whose minima are found several at a time; where they would
overflow, scipy solves the same problem.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from degeneracy.core.compiling import compiled

Single = NDArray[np.float32]
Matching = NDArray[np.int64]  # (unit,): row i is matched to column matching[i]

# Profits that differ by less than this are all alike, of networks whose weights are near 1 (`assignment.side`): 2^24
# over it is still a float32.
LEAST_SPAN = np.float32(2.0**-100)
BITS = 24  # of a profit: its rounding, 6e-8 of the range of profits, is that of their float32
SWEEPS, BIDS = 2, 4  # bidding for columns before paths are searched: sweeps, and bids per row in each
TAKEN = np.int32(2**30)  # more than any reduced cost ...
MOST = np.int32(2**29)  # ... or price: beyond it, which no matrix is known to reach, scipy takes over


def assign(profits: Single, prices: Single) -> Matching:
    """The matching of most profit, to within the rounding of profits to 24 bits of their range.

    Args:
        profits: (unit, unit), row i with column j, finite; taken as alike where all are within `LEAST_SPAN`.
        prices: (unit,), of columns, in units of profit: those left by a similar matrix make the search short, zeros
            do as well. Changed in place.

    Returns:
        The column of each row.
    """
    if len(profits) == 1:
        return np.zeros(1, np.int64)
    matching = _assign(profits, prices)
    return linear_sum_assignment(profits, maximize=True)[1] if matching[0] < 0 else matching


@compiled()
def _assign(profits: Single, prices: Single) -> Matching:
    n = len(prices)
    cost, price = np.empty((n, n), np.int32), np.empty(n, np.int32)
    unit = _quantised(profits, cost)
    top = prices[0]
    for j in range(n):
        top = max(top, prices[j])
    for j in range(n):  # only differences matter
        price[j] = np.int32(max((prices[j] - top) / unit, -np.float32(MOST // 4)))
    matching = np.full(n, -1, np.int64)
    owner = np.full(n, -1, np.int64)
    free = np.empty(n, np.int64)
    n_free = _bid(cost, price, matching, owner, free)
    if n_free and not _augment(cost, price, matching, owner, free[:n_free]):
        matching[0] = -1
    high = price[0]
    for j in range(n):
        high = max(high, price[j])
    for j in range(n):
        prices[j] = np.float32(price[j] - high) * unit
    return matching


@compiled()
def _quantised(profits: Single, cost: NDArray[np.int32]) -> np.float32:
    """Fills in costs from 0 to 2^24, greatest profit less profit; returns the unit they are in."""
    bits = profits.view(np.int32)
    high, low = np.int32(-(2**31)), np.int32(2**31 - 1)
    for i in range(len(bits)):
        for j in range(len(bits)):
            order = bits[i, j] ^ ((bits[i, j] >> 31) & np.int32(0x7FFFFFFF))  # integers in the order of the floats
            high, low = max(high, order), min(low, order)
    ends = np.empty(2, np.int32)
    ends[0] = high ^ ((high >> 31) & np.int32(0x7FFFFFFF))
    ends[1] = low ^ ((low >> 31) & np.int32(0x7FFFFFFF))
    top, bottom = ends.view(np.float32)
    span = top - bottom
    factor = np.float32(2**BITS) / span if span > LEAST_SPAN else np.float32(1)
    for i in range(len(cost)):
        for j in range(len(cost)):
            cost[i, j] = np.int32((top - profits[i, j]) * factor)
    return np.float32(1) / factor


@compiled()
def _bid(cost: NDArray[np.int32], price: NDArray[np.int32], matching: Matching, owner: Matching, free: Matching) -> int:
    """Each row takes its cheapest column, driving out another at a lower price; returns how many rows stay free."""
    n, n_free = len(price), 0
    reduced = np.empty(n, np.int32)
    for i in range(n):
        j = _place(reduced, _reduce(cost[i], price, reduced))
        if owner[j] < 0:
            owner[j], matching[i] = i, j
        else:
            free[n_free] = i
            n_free += 1
    for _ in range(SWEEPS):
        waiting, at, bids, n_free = n_free, 0, BIDS * n, 0
        while at < waiting:
            i = free[at]
            at += 1
            best = _reduce(cost[i], price, reduced)
            j = _place(reduced, best)
            reduced[j] = TAKEN
            second = _least(reduced)
            cheaper = second > best and price[j] > -MOST
            if cheaper:
                price[j] -= second - best
            elif owner[j] >= 0:
                j = _place(reduced, second)
            driven = owner[j]
            owner[j], matching[i] = i, j
            if driven >= 0:
                matching[driven] = -1
                bids -= 1
                if cheaper and bids > 0:
                    at -= 1
                    free[at] = driven
                else:
                    free[n_free] = driven
                    n_free += 1
    return n_free


@compiled()
def _augment(
    cost: NDArray[np.int32], price: NDArray[np.int32], matching: Matching, owner: Matching, free: Matching
) -> bool:
    """Matches each free row along the shortest alternating path to a column without owner; False: too long a path."""
    n = len(price)
    left, come_from, reached = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    columns, lengths = np.empty(n, np.int64), np.empty(n, np.int32)
    for start in free:
        _reduce(cost[start], price, left)
        for j in range(n):
            come_from[j], reached[j] = start, 0
        n_reached = 0
        while True:
            length = _least(left)
            j = _place(left, length)
            if length > MOST:
                return False
            if owner[j] < 0:
                break
            columns[n_reached], lengths[n_reached] = j, length
            n_reached += 1
            reached[j], left[j] = 1, TAKEN
            i = owner[j]
            _relax(cost[i], price, cost[i, j] - price[j] - length, left, reached, come_from, i)
        for k in range(n_reached):
            price[columns[k]] += lengths[k] - length
        while True:
            i = come_from[j]
            owner[j] = i
            j, matching[i] = matching[i], j
            if i == start:
                break
    return True


@compiled()
def _relax(
    row: NDArray[np.int32],
    price: NDArray[np.int32],
    base: int,
    left: NDArray[np.int32],
    reached: NDArray[np.int32],
    come_from: NDArray[np.int32],
    i: int,
) -> None:
    """Shortens the paths to columns that are cheaper to come to from row i."""
    for j in range(len(row)):
        length = np.int32(row[j] - price[j] - base)
        closer = (length < left[j]) & (reached[j] == 0)
        left[j] = length if closer else left[j]
        come_from[j] = np.int32(i) if closer else come_from[j]


@compiled()
def _reduce(row: NDArray[np.int32], price: NDArray[np.int32], reduced: NDArray[np.int32]) -> np.int32:
    """Fills in the costs less the prices, and returns the least."""
    least = np.int32(row[0] - price[0])
    for j in range(len(row)):
        reduced[j] = np.int32(row[j] - price[j])
        least = min(least, reduced[j])
    return least


@compiled()
def _least(values: NDArray[np.int32]) -> np.int32:
    least = values[0]
    for j in range(len(values)):
        least = min(least, values[j])
    return least


@compiled()
def _place(values: NDArray[np.int32], value: int) -> np.int32:
    """Where the value is; the last place, found faster than the first."""
    place = np.int32(0)
    for j in range(len(values)):
        place = max(place, np.int32(j) if values[j] == value else np.int32(0))
    return place
