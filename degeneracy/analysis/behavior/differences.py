"""How differently the members behave: spread of their errors, and distance between their outputs.

A member's error is its mean over trials. Errors of networks are spread over factors rather than sums, so the
standard deviation of their natural logarithm leads; the plain one is given as published.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.measure import Estimate
from degeneracy.analysis.recording import Array
from degeneracy.analysis.scaling import near_one
from degeneracy.analysis.statistics import jackknife
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import real_array


def member_errors(errors: ArrayLike) -> Array:
    """Mean over trials of errors (member, trial): the error of each member, (member,), in the unit of the loss.

    Raises:
        UserError: not (member, trial), negative or not finite.
    """
    return _checked(errors).mean(axis=1)


def log_error_sd(errors: ArrayLike) -> Estimate:
    """Standard deviation over members of the natural logarithm of their error.

    sd_k( ln mean_trial e_k ), with n - 1; about the relative spread where it is small.

    Args:
        errors: (member, trial), mean loss on the scored steps of each trial, above 0 in every member.

    Returns:
        In natural-log units (0.69 is a factor of 2); 0 means that all members err equally. Take its interval
        on the log scale.

    Raises:
        UserError: a member without any error (it has no logarithm), or as `member_errors`.
    """
    return jackknife.member_sd(_logarithms(errors))


def error_sd(errors: ArrayLike) -> Estimate:
    """Standard deviation over members of their error, as published; errors (member, trial), see `log_error_sd`.

    In the unit of the loss; 0 means that all members err equally. Grows with the errors themselves.

    Source: Huang et al. (2025), arXiv 2410.03972: standard deviation over networks of the error out of
    distribution.
    """
    return jackknife.member_sd(member_errors(errors))


def log_error_noise_sd(errors: ArrayLike) -> Estimate:
    """What `log_error_sd` would be of members that are the same: the spread that the finite trials make.

    sd_k( (ln A_k - ln B_k) / 2 ), A and B the member's errors on even and odd trials: half the difference of
    two independent halves has, to first order, the variance of their mean. The mean over members is taken
    off, because on common trials it holds what makes one half harder for all, which is no spread over
    members; for members with trials of their own it is 0 but for noise.

    Args:
        errors: (member, trial), 2 trials or more (with an odd number the last is left out).

    Returns:
        In natural-log units; 0 means that the trials add nothing to the spread.

    Raises:
        UserError: under 2 trials, or as `log_error_sd`.
    """
    return _noise_sd(errors, _logarithms)


def error_noise_sd(errors: ArrayLike) -> Estimate:
    """`log_error_noise_sd` for `error_sd`: of the errors themselves, in the unit of the loss."""
    return _noise_sd(errors, member_errors)


def output_distances(outputs: ArrayLike, mask: ArrayLike) -> Array:
    """Root mean squared difference of the outputs of all pairs of members on the scored steps.

    d_ij = sqrt( mean over scored (trial, time) and outputs of (y_i - y_j)^2 ). A metric.

    Args:
        outputs: (member, trial, time, out), of all members on the same trials.
        mask: (trial, time), the scored steps, or (trial, time, out), the scored outputs.

    Returns:
        (member, member), in the output's unit; 0 means the same output at every scored step.

    Raises:
        UserError: shapes that do not fit, no scored step, outputs that are not finite.
    """
    scored, exponent = near_one(_scored(outputs, mask))
    distances = np.zeros((len(scored), len(scored)))
    for i, y in enumerate(scored):  # differences, not a Gram matrix: exact for outputs that are nearly alike
        distances[i, :i] = np.sqrt(np.mean((scored[:i] - y) ** 2, axis=1))
    return np.ldexp(distances + distances.T, exponent)


def output_floor(outputs: ArrayLike, repeated: ArrayLike, mask: ArrayLike) -> Array:
    """Root mean squared difference of each member's outputs in two draws of the network's own noise, (member,).

    Args:
        outputs, repeated: (member, trial, time, out), two draws on the same trials.
        mask: (trial, time), the scored steps, or (trial, time, out), the scored outputs.

    Returns:
        In the output's unit; 0 for networks without noise: then equal outputs are at distance 0, and the
        floor is 0.

    Raises:
        UserError: shapes that do not fit, no scored step, outputs that are not finite.
    """
    first, second = _scored(outputs, mask), _scored(repeated, mask)
    if first.shape != second.shape:
        raise UserError(f"repeated outputs have shape {np.shape(repeated)}, the outputs {np.shape(outputs)}")
    difference, exponent = near_one(first - second)
    return np.ldexp(np.sqrt(np.mean(difference**2, axis=1)), exponent)


def _noise_sd(errors: ArrayLike, of_member: Callable[[ArrayLike], Array]) -> Estimate:
    trials = _checked(errors)
    n_half = trials.shape[1] // 2
    if n_half == 0:
        raise UserError("errors: 2 trials or more are needed to tell the noise of trials; got 1")
    halves = (of_member(trials[:, first : 2 * n_half : 2]) for first in (0, 1))
    return jackknife.member_sd(np.subtract(*halves) / 2)


def positive_errors(errors: ArrayLike) -> Array:
    """`member_errors`, all of which are above 0.

    Raises:
        UserError: a member without any error, or as `member_errors`.
    """
    values = member_errors(errors)
    if not (values > 0).all():
        raise UserError(
            f"errors: member {int(np.argmin(values))} has error 0 on its trials, which has no logarithm; use error_sd"
        )
    return values


def _logarithms(errors: ArrayLike) -> Array:
    return np.log(positive_errors(errors))


def _checked(errors: ArrayLike) -> Array:
    values = real_array(errors, "errors", ("member", "trial"))
    if values.ndim != 2 or 0 in values.shape:
        raise UserError(f"errors: shape (member, trial) is needed, got {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        bad = int(np.argmax(~(np.isfinite(values) & (values >= 0)).all(axis=1)))
        raise UserError(f"errors: member {bad} has an error that is negative or not finite")
    return values


def _scored(outputs: ArrayLike, mask: ArrayLike) -> Array:
    """The outputs that are scored, (member, scored output)."""
    values = real_array(outputs, "outputs", ("member", "trial", "time", "out"))
    scored = real_array(mask, "mask", ("trial", "time", "out")[: np.ndim(mask)]) != 0
    if values.ndim != 4 or scored.shape not in (values.shape[1:3], values.shape[1:]):
        raise UserError(
            f"outputs {values.shape} and mask {scored.shape}: (member, trial, time, out) and (trial, time) are needed"
        )
    chosen = values[:, scored].reshape(len(values), -1)
    if chosen.shape[1] == 0:
        raise UserError("mask: no step is scored, so outputs cannot be compared")
    if not np.isfinite(chosen).all():
        raise UserError(f"outputs of member {int(np.argmin(np.isfinite(chosen).all(axis=1)))} are not finite")
    return chosen
