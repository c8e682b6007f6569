"""Learning-rate schedules: how a member's rate moves from epoch to epoch, by its own losses alone."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import pydantic
from numpy.typing import NDArray

from degeneracy.core.specs import Spec

Rates = NDArray[np.float64]


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
