"""How far a kernel turned in training: its cosine with itself before.

    <K_0, K_T>_F / (||K_0||_F ||K_T||_F)

A kernel says how alike a network takes any two inputs to be. Where it keeps its direction, training was lazy: it made
use of what the network took to be alike from the start.
"""

import numpy as np
from numpy.typing import ArrayLike

from degeneracy.analysis.scaling import near_one
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import real_array


def kernel_alignment(before: ArrayLike, after: ArrayLike) -> float:
    """Cosine between two kernels, as above; they are not centred.

    Args:
        before, after: (sample, sample), symmetric, over the same samples.

    Returns:
        In [0, 1] for kernels (positive semi-definite): 1 where one is a multiple of the other, 0 where nothing is
        alike to both. NaN where one is zero or not finite.

    Raises:
        UserError: shapes that differ or are not square.

    Source: Liu et al. (2024), How connectivity structure shapes rich and lazy learning in neural circuits, ICLR,
    arXiv 2310.08513.
    """
    x, y = (near_one(real_array(each, "kernel_alignment"))[0] for each in (before, after))
    if x.ndim != 2 or x.shape[0] != x.shape[1] or x.shape != y.shape:
        raise UserError(f"kernel_alignment: two kernels alike are needed, got shapes {x.shape} and {y.shape}")
    # Not by BLAS, whose dot product rounds by its number of threads.
    return _cosine(*(float(np.einsum("ij,ij->", a, b)) for a, b in ((x, y), (x, x), (y, y))))


def representation_alignment(before: ArrayLike, after: ArrayLike) -> float:
    """`kernel_alignment` of K = H H^T, H the hidden states (sample, unit) of a network before and after training.

    <H_0 H_0^T, H_T H_T^T> = ||H_0^T H_T||_F^2, so that no kernel is made: samples may be many.

    Args:
        before, after: (trial, time, unit) or (sample, unit), on the same trials; the numbers of units may differ.

    Returns:
        In [0, 1]; 1: the same states up to rotation and scale. NaN where one is all zero, or not finite.

    Raises:
        UserError: rows that do not match.

    Source: as `kernel_alignment`.
    """
    layouts = ("trial", "time", "unit"), ("sample", "unit")
    x, y = (near_one(real_array(each, "representation_alignment", *layouts))[0] for each in (before, after))
    if x.ndim < 2 or x.shape[:-1] != y.shape[:-1]:
        raise UserError(
            f"representation_alignment: states before and after training of shapes {x.shape} and {y.shape}; the same "
            "trials and time steps are needed"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    x, y = (each.reshape(-1, each.shape[-1]) for each in (x, y))
    return _cosine(*(float(np.sum((a.T @ b) ** 2)) for a, b in ((x, y), (x, x), (y, y))))


def _cosine(product: float, square: float, other_square: float) -> float:
    """The cosine from three inner products; rounding may leave 1e-16 above 1."""
    size = np.sqrt(square) * np.sqrt(other_square)
    return float(min(product / size, 1.0)) if np.isfinite(size) and size > 0 else float("nan")
