"""Dynamical Similarity Analysis: how far apart two networks' dynamics are, whatever their coordinates.

The states of each network are delay-embedded, a reduced-rank linear operator is fitted to one time step of
them, and two operators are compared after the best orthogonal change of coordinates:

    d(x, y) = min_{C in O(rank)} || A_x - C A_y C^T ||_F

Source: Ostrow, Eisen, Kozachkov & Fiete, "Beyond Geometry" (NeurIPS 2023), sections 3.1-3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError, eigsh

from degeneracy.analysis.recording import Array
from degeneracy.analysis.scaling import near_one
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import member_arrays, real_array

# Directions of the embedded states under this share of the largest singular value are rounding: the Gram matrix
# squares singular values, so float64 resolves them to about 1e-8, and float32 states to about 1e-7.
RELATIVE_TOLERANCE = 1e-6
# Ridge on the (orthonormal) delay coordinates, as in dsa-metric: damps directions seen at the last step alone.
RIDGE = 1e-8
AXES = ("trial", "time", "unit")
# Into how many blocks one long trial is cut, where each still has twice the steps that an operator takes at least.
MOST_BLOCKS = 8


@dataclass(frozen=True, kw_only=True)
class DelayOperators:
    """The linear operators of several networks' delay-embedded states."""

    operators: Array  # (member, rank, rank)
    ranks: NDArray[np.int64]  # (member,): directions the data has; the rest of the operator is 0


def delay_operator(states: ArrayLike, *, rank: int, n_delays: int) -> Array:
    """The linear operator that carries a network's delay-embedded states one step on.

    With H (sample, n_delays * unit) the embedded states, H = V S U^T, and v_t the first `rank` coordinates of V:

        A = argmin_A sum_t || v_{t+1} - A v_t ||^2 + ridge ||A||_F^2     (t, t+1 in one trial)

    Args:
        states: (trial, time, unit), finite. The embedding of step t is [h_t, h_{t-1}, ..., h_{t-n_delays+1}].
        rank: number of delay coordinates. Where the states span fewer directions (singular values above 1e-6 of
            the largest), the operator is fitted on those and padded with zeros.
        n_delays: number of lagged copies, 1 to time - 1.

    Returns:
        (rank, rank), no unit; defined up to the signs of the coordinates.

    Raises:
        UserError: an impossible rank or number of delays, a wrong shape or non-finite states.

    Source: Ostrow et al. 2023, section 3.1; the HAVOK form of dsa-metric's `DMD`.
    """
    return _fit_operator(states, rank, n_delays, "states")[0]


def delay_operators(states: Sequence[ArrayLike], *, rank: int, n_delays: int) -> DelayOperators:
    """The operators of several networks, each as `delay_operator`; `ranks` says whose states span too little."""
    arrays = member_arrays(states, "states", AXES)
    fitted = [_fit_operator(each, rank, n_delays, f"states of member {k}") for k, each in enumerate(arrays)]
    return DelayOperators(
        operators=np.array([operator for operator, _ in fitted]).reshape(-1, rank, rank),
        ranks=np.array([effective for _, effective in fitted], dtype=np.int64),
    )


def n_blocks(n_steps: int, n_delays: int) -> int:
    """Into how many blocks a trial is cut to have halves: an even number up to `MOST_BLOCKS`, and 2 at least."""
    return max(2, min(MOST_BLOCKS, n_steps // (2 * (n_delays + 1))) // 2 * 2)


def in_blocks(states: Array, n_delays: int) -> Array:
    """One trial (1, time, unit) as consecutive blocks (block, time, unit) of equal length; the last steps may be left.

    Raises:
        UserError: blocks would have no more steps than delays.
    """
    time, units = states.shape[1:]
    blocks = n_blocks(time, n_delays)
    length = time // blocks
    if length <= n_delays:
        raise UserError(
            f"dsa: one trial of {time} steps gives no halves of more than {n_delays} steps each (n_delays): give more "
            "trials, fewer delays, or halves = false"
        )
    return states[0, : blocks * length].reshape(blocks, length, units)


def offset(states: Array) -> float:
    """How many times their spread the states' mean is: ||mean|| over the root mean squared distance from it.

    Args:
        states: (trial, time, unit), not all the same.
    """
    x, _ = near_one(states.reshape(-1, states.shape[-1]))
    mean = x.mean(axis=0)
    return float(np.linalg.norm(mean) / np.sqrt(np.mean(np.sum((x - mean) ** 2, axis=1))))


def _fit_operator(states: ArrayLike, rank: int, n_delays: int, where: str) -> tuple[Array, int]:
    """The operator and the number of directions it was fitted on."""
    states = real_array(states, where, AXES)
    _check_states(states, rank, n_delays, where)
    operator = np.zeros((rank, rank))
    coordinates = _delay_coordinates(states, rank, n_delays)  # (trial, sample, effective rank)
    effective = coordinates.shape[2]
    if effective == 0:  # a silent network
        return operator, 0
    now, following = (part.reshape(-1, effective) for part in (coordinates[:, :-1], coordinates[:, 1:]))
    gram = now.T @ now + RIDGE * np.eye(effective)
    operator[:effective, :effective] = np.linalg.solve(gram, now.T @ following).T
    return operator, effective


def _check_states(states: Array, rank: int, n_delays: int, where: str) -> None:
    if states.ndim != 3 or 0 in states.shape:
        raise UserError(f"DSA: {where} have shape {states.shape}; expected (trial, time, unit), none of them 0")
    trials, time, units = states.shape
    if not np.isfinite(states).all():
        raise UserError(f"DSA: {where} have non-finite values")
    if not 1 <= n_delays < time:
        raise UserError(f"DSA: n_delays = {n_delays} is impossible: {where} have {time} steps, so 1 to {time - 1}")
    largest = min(n_delays * units, trials * (time - n_delays))
    if not 1 <= rank <= largest:
        raise UserError(
            f"DSA: rank = {rank} is impossible: {where} have n_delays x units = {n_delays * units} and "
            f"{trials * (time - n_delays)} embedded steps, so 1 to {largest}"
        )


def _delay_coordinates(states: Array, rank: int, n_delays: int) -> Array:
    """The leading right singular vectors V of the embedded states, (trial, sample, effective rank)."""
    trials, time, units = states.shape
    samples = time - n_delays + 1
    scale = np.abs(states).max()
    if scale == 0.0:
        return np.zeros((trials, samples, 0))
    lagged = [states[:, n_delays - 1 - d : time - d] / scale for d in range(n_delays)]
    power, vectors = _leading_eigenvectors(_lag_gram(states / scale, n_delays), rank)
    kept = power > RELATIVE_TOLERANCE**2 * power[0]
    weights = (vectors[:, kept] / np.sqrt(power[kept])).reshape(n_delays, units, -1)
    return sum((lag @ weight for lag, weight in zip(lagged, weights, strict=True)), start=np.zeros(()))


def _lag_gram(states: Array, n_delays: int) -> Array:
    """H^T H without building H: block (i, j) is sum_t h_{t-i} h_{t-j}^T over the embedded steps t.

    Block (i+1, j+1) is block (i, j) with the window one step earlier, so a lag costs one product and the rest
    are updates by one step at either end.
    """
    time, units = states.shape[1:]
    steps = np.ascontiguousarray(states.transpose(1, 0, 2))  # so that a window of steps is one block of memory
    gram = np.empty((n_delays, units, n_delays, units))
    last = time - 1
    late = steps[n_delays - 1 :].reshape(-1, units)
    for lag in range(n_delays):
        block = late.T @ steps[n_delays - 1 - lag : time - lag].reshape(-1, units)
        for i in range(n_delays - lag):
            gram[i, :, i + lag], gram[i + lag, :, i] = block, block.T
            if i + lag + 1 < n_delays:
                entering, leaving = n_delays - 2 - i, last - i
                block = block + steps[entering].T @ steps[entering - lag]
                block -= steps[leaving].T @ steps[leaving - lag]
    return gram.reshape(n_delays * units, n_delays * units)


def _leading_eigenvectors(gram: Array, rank: int) -> tuple[Array, Array]:
    """The `rank` largest eigenvalues, falling, and their eigenvectors; Lanczos where few of many are wanted."""
    size = len(gram)
    if 4 * rank < size:
        try:
            values, vectors = eigsh(gram, k=rank, v0=np.ones(size))
            order = np.argsort(values)[::-1]
            return values[order], vectors[:, order]
        except ArpackError:
            pass  # slow convergence: the full decomposition always works
    values, vectors = eigh(gram, subset_by_index=(size - rank, size - 1))
    return values[::-1], vectors[:, ::-1]
