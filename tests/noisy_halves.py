"""Members seen in two noisy halves, whose squared distances are known: for tests of what is corrected for noise."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def corrected_squares(rng: np.random.Generator, x: Array, noise: float) -> tuple[Array, Array]:
    """Squared distances of members x (member, axis) less their noise, and the floor of each member.

    Each half is x with noise of this standard deviation on every axis; entries are
    1/2 [|x_A - y_B|^2 + |x_B - y_A|^2] - 1/2 [|x_A - x_B|^2 + |y_A - y_B|^2].
    """
    a, b = (x + noise * rng.normal(size=x.shape) for _ in range(2))
    across = np.square(a[:, None] - b[None]).sum(-1)
    floor = np.diag(across).copy()
    matrix = (across + across.T) / 2 - (floor[:, None] + floor) / 2
    np.fill_diagonal(matrix, 0.0)
    return matrix, floor
