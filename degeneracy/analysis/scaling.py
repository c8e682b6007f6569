"""Arrays of any size, brought near 1 by powers of two: then no square overflows, and none vanishes."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.recording import Array


def near_one(x: ArrayLike) -> tuple[Array, int]:
    """An array divided by the power of two that brings its largest entry into [1, 4), and that power's exponent.

    x = scaled * 2^exponent. Both steps are exact (entries 1e-300 times the largest aside), so that what ignores the
    scale of x keeps every bit of its value. The exponent is even: square roots of products stay exact as well.

    Args:
        x: of any shape.

    Returns:
        (scaled, exponent), scaled in float64; x itself and 0 where all of it is 0, or some of it is not finite.
    """
    array = np.asarray(x, dtype=np.float64)
    largest = float(np.abs(array).max(initial=0.0))
    if largest == 0.0 or not np.isfinite(largest):
        return array, 0
    exponent = 2 * ((int(np.frexp(largest)[1]) - 1) // 2)
    return (np.ldexp(array, -exponent) if exponent else array), exponent


def common_exponent(arrays: Iterable[ArrayLike]) -> int:
    """The exponent by which `near_one` would divide arrays that are in one unit; 0 where all of them are 0."""
    return near_one([float(np.abs(x).max(initial=0.0)) for x in arrays])[1]


def norm(x: ArrayLike) -> float:
    """The root of the sum of squares (Frobenius norm), of entries from 1e-320 to 1e300."""
    scaled, exponent = near_one(x)
    return float(np.ldexp(np.linalg.norm(scaled), exponent))
