"""Parameters of stacked members as one matrix: groups that are trained by the same factors, and clipped norms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.networks import Scale


class Groups:
    """Runs of the flat parameters that are trained by the same factors on rate, eps and norm.

    `table` has one row per group: where it ends in the flat order, and its factors on the learning rate, on Adam's eps
    and on its gradient where the norm to be clipped is taken (see `networks.parametrisation`).
    """

    def __init__(self, rows: Sequence[tuple[int, float, float, float]]) -> None:
        self.table: NDArray[np.float64] = np.array(rows, dtype=np.float64).reshape(-1, 4)

    @classmethod
    def of(cls, scales: Mapping[str, Scale], like: Mapping[str, Tensor]) -> "Groups":
        """The groups of parameters with a leading member axis, neighbours with the same factors as one."""
        rows: list[tuple[int, float, float, float]] = []
        end = 0
        for name, value in like.items():
            end += value[0].numel()
            factors = (scales[name].rate, scales[name].eps, scales[name].norm)
            if rows and rows[-1][1:] == factors:
                rows.pop()
            rows.append((end, *factors))
        return cls(rows)

    @classmethod
    def plain(cls, n_parameters: int) -> "Groups":
        """One group of all parameters, factors 1."""
        return cls([(n_parameters, 1.0, 1.0, 1.0)])

    def factors(self, column: int, like: Tensor) -> Tensor:
        """One column of the table for each flat parameter, (parameter,); (1,) where all are one group."""
        if len(self.table) == 1:
            return like.new_tensor(self.table[:, column])
        sizes = np.diff(self.table[:, 0], prepend=0).astype(np.int64)
        return like.new_tensor(np.repeat(self.table[:, column], sizes))


RATE, EPS, NORM = 1, 2, 3  # columns of a table of groups


def clip_norms(grads: Tensor, max_norm: float, factors: Tensor) -> Tensor:
    """Scale each member's gradient in place to norm `max_norm` at most.

    Args:
        grads: (member, parameter).
        max_norm: the largest norm left.
        factors: on the gradient where its norm is taken, (parameter,) or (1,).

    Returns:
        The norms before, (member,).
    """
    norms = torch.linalg.vector_norm(grads * factors, dim=1)
    # The same 1e-6 as torch.nn.utils.clip_grad_norm_, so that trainings compare.
    grads.mul_((max_norm / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1))
    return norms


def flatten(params: dict[str, Tensor]) -> Tensor:
    """Parameters as one matrix (member, parameter), in the dict's order."""
    return torch.cat([value.flatten(1) for value in params.values()], dim=1)


def views(flat: Tensor, like: dict[str, Any]) -> dict[str, Tensor]:
    """Views into `flat` (member, parameter) with the names and shapes of `like`; the inverse of `flatten`."""
    parts = flat.split([value[0].numel() for value in like.values()], dim=1)
    return {name: part.view(-1, *like[name].shape[1:]) for name, part in zip(like, parts, strict=True)}
