"""Adam, clipping and learning-rate schedules, each per member: no member's numbers reach another's update."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.core.specs import Spec
from degeneracy.networks import Scale

Rates = NDArray[np.float64]


class Groups:
    """Runs of the flat parameters that are trained by the same factors on rate, eps and norm.

    `table` has a row a group: where it ends in the flat order, and its factors on the learning rate, on Adam's eps
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


@dataclass(kw_only=True)
class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) on the flat parameters of stacked members, each with its own rate."""

    first: Tensor  # (member, parameter)
    second: Tensor  # (member, parameter)
    step: Tensor  # (), float64: updates so far; on the device, so that an update can be recorded there
    groups: Groups
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    @classmethod
    def start(cls, params: Tensor, groups: Groups) -> "Adam":
        """Moments 0 for parameters (member, parameter)."""
        step = torch.zeros((), dtype=torch.float64, device=params.device)
        return cls(first=torch.zeros_like(params), second=torch.zeros_like(params), step=step, groups=groups)

    def __post_init__(self) -> None:
        self._rate, self._eps = (self.groups.factors(column, self.first) for column in (RATE, EPS))

    def update(self, params: Tensor, grads: Tensor, rates: Tensor) -> None:
        """One update of `params` in place.

        Args:
            params: (member, parameter).
            grads: (member, parameter).
            rates: (member,), the learning rates.
        """
        self.step += 1
        self.first.lerp_(grads, 1 - self.beta1)
        self.second.mul_(self.beta2).addcmul_(grads, grads, value=1 - self.beta2)
        scale = (1 - self.beta2**self.step) ** 0.5
        spread = (self.second.sqrt() / scale).add_(self.eps * self._eps)
        steps = (rates / (1 - self.beta1**self.step)).unsqueeze(1) * self._rate
        params.sub_(self.first / spread * steps)

    def corrected(self, rate: float) -> tuple[float, float, float, float, float]:
        """What the current step multiplies by: rate / (1 - beta1^t), sqrt(1 - beta2^t), beta1, beta2, eps."""
        step = self.step.item()
        first, second = 1 - self.beta1**step, 1 - self.beta2**step
        return rate / first, second**0.5, self.beta1, self.beta2, self.eps

    def select(self, members: Tensor) -> "Adam":
        """The optimiser of some members, by position."""
        return Adam(
            first=self.first[members],
            second=self.second[members],
            step=self.step.clone(),
            groups=self.groups,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
        )


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


class Schedule(Spec):
    """How the learning rate moves from epoch to epoch, each member on its own."""

    name: ClassVar[str]

    @abstractmethod
    def rates(self, base: float, losses: Rates) -> Rates:
        """The rates of the epoch after those seen.

        Args:
            base: the initial learning rate.
            losses: (member, epoch): the epoch means so far.

        Returns:
            (member,): the learning rates.
        """


class Constant(Schedule):
    """The same rate throughout."""

    name: ClassVar[str] = "constant"

    def rates(self, base: float, losses: Rates) -> Rates:
        """The initial rate."""
        return np.full(len(losses), base)


class CosineWarmRestarts(Schedule):
    """Falls as half a cosine over `period` epochs, restarts, each period `multiplier` times the last.

    Source: Loshchilov & Hutter (2017), SGDR, eq. 5; equal to torch's CosineAnnealingWarmRestarts.
    """

    name: ClassVar[str] = "cosine_warm_restarts"

    period: int = pydantic.Field(50, ge=1, description="epochs until the first restart")
    multiplier: int = pydantic.Field(2, ge=1, description="factor on the period at each restart")
    minimum: float = pydantic.Field(0.0, ge=0, description="lowest rate")

    def rates(self, base: float, losses: Rates) -> Rates:
        """The rate by the epoch's place in its period."""
        place, period = losses.shape[1], self.period
        while place >= period:
            place, period = place - period, period * self.multiplier
        rate = self.minimum + (base - self.minimum) * (1 + np.cos(np.pi * place / period)) / 2
        return np.full(len(losses), rate)


class ReduceOnPlateau(Schedule):
    """Multiplies the rate by `factor` when the epoch-mean loss has not fallen for more than `patience` epochs.

    "Fallen" means below (1 - `threshold`) times the best so far, as in torch's ReduceLROnPlateau.
    """

    name: ClassVar[str] = "reduce_on_plateau"

    factor: float = pydantic.Field(0.5, gt=0, lt=1)
    patience: int = pydantic.Field(40, ge=0, description="epochs without progress that are let pass")
    threshold: float = pydantic.Field(1e-4, ge=0, description="relative progress that counts")
    minimum: float = pydantic.Field(0.0, ge=0, description="lowest rate")

    def rates(self, base: float, losses: Rates) -> Rates:
        """The rate after all epochs so far, each member by its own losses."""
        rates = np.full(len(losses), base)
        best, waited = np.full(len(losses), np.inf), np.zeros(len(losses))
        for loss in losses.T:
            better = loss < best * (1 - self.threshold)
            best = np.where(better, loss, best)
            waited = np.where(better, 0, waited + 1)
            spent = waited > self.patience
            rates = np.where(spent, np.maximum(rates * self.factor, self.minimum), rates)
            waited = np.where(spent, 0, waited)
        return rates


SCHEDULES: dict[str, type[Schedule]] = {
    Constant.name: Constant,
    CosineWarmRestarts.name: CosineWarmRestarts,
    ReduceOnPlateau.name: ReduceOnPlateau,
}


def flatten(params: dict[str, Tensor]) -> Tensor:
    """Parameters as one matrix (member, parameter), in the dict's order."""
    return torch.cat([value.flatten(1) for value in params.values()], dim=1)


def views(flat: Tensor, like: dict[str, Any]) -> dict[str, Tensor]:
    """Views into `flat` (member, parameter) with the names and shapes of `like`; the inverse of `flatten`."""
    parts = flat.split([value[0].numel() for value in like.values()], dim=1)
    return {name: part.view(-1, *like[name].shape[1:]) for name, part in zip(like, parts, strict=True)}
