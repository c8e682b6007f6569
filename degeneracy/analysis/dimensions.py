"""How many directions matter: effective rank of weights, participation ratio of states."""

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.activity import varies
from degeneracy.analysis.recording import Array, Weights
from degeneracy.analysis.scaling import near_one
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import real_array


def effective_rank(matrix: ArrayLike) -> float:
    """exp of the entropy of the normalised singular values: how many directions a matrix acts in, softly counted.

    exp(-sum_i p_i log p_i), p_i = s_i / sum_j s_j.

    Args:
        matrix: (row, column), finite.

    Returns:
        Between 1 (one direction alone) and the smaller side (all alike); 0 for a zero matrix. Scale and orthogonal
        changes of basis on either side make no difference.

    Raises:
        UserError: not a finite matrix.

    Source: Roy & Vetterli (2007), The effective rank: a measure of effective dimensionality, EUSIPCO, definition 1.
    """
    x = real_array(matrix, "effective_rank")
    if x.ndim != 2 or 0 in x.shape or not np.isfinite(x).all():
        raise UserError(f"effective_rank: a finite matrix (row, column) is needed, got shape {x.shape}")
    sizes = np.linalg.svd(near_one(x)[0], compute_uv=False)
    sizes = sizes[sizes > 0]
    if not len(sizes):
        return 0.0
    shares = sizes / sizes.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def recurrent_matrix(weights: Weights) -> Array:
    """The recurrent weights as one map from units to what enters them: the gates' rows one below the other."""
    return weights.recurrent.reshape(-1, weights.recurrent.shape[-1])


def participation_ratio(states: ArrayLike) -> float:
    """In how many dimensions states vary, softly counted: (sum_i l_i)^2 / sum_i l_i^2, l the covariance's eigenvalues.

    Args:
        states: (trial, time, unit) or (sample, unit), finite; the covariance is over all trials and steps.

    Returns:
        Between 1 (along one line) and the number of units (alike in all directions); 0 where the states do not vary.
        Translations, rotations and a common scale make no difference.

    Raises:
        UserError: an array of another rank, or not finite.

    Source: Gao et al. (2017), A theory of multineuronal dimensionality, dynamics and measurement, bioRxiv 214262.
    """
    x = real_array(states, "participation_ratio", ("trial", "time", "unit"), ("sample", "unit"))
    if x.ndim not in (2, 3) or 0 in x.shape or not np.isfinite(x).all():
        raise UserError(f"participation_ratio: finite states (trial, time, unit) are needed, got shape {x.shape}")
    if not varies(x):
        return 0.0
    x, _ = near_one(x.reshape(-1, x.shape[-1]))
    centred = x - x.mean(axis=0)
    centred = centred / np.linalg.norm(centred)
    gram = centred.T @ centred
    return float(np.trace(gram) ** 2 / (gram**2).sum())
