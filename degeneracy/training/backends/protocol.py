"""What a backend is: it takes the gradients of stacked members, and says for which of them it can.

A backend of your own kind of cell is one subclass of `Backend` in one file, and one line in `BACKENDS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import MSE, Loss, Trials
from degeneracy.tasks.losses import missed_steps
from degeneracy.training.regularisers import Regulariser, Strengths

# The loss of each member (member,), the number of scored steps that each trial decides wrongly (member, trial; no
# trials where outputs are no decisions), and the gradient by parameter.
Gradients = tuple[Tensor, Tensor, Params]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a gradient is taken of: members, the trials of each, and what their outputs and states cost.

    All tensors have a leading member axis.
    """

    cell: Cell
    params: Params
    trials: Trials
    noise: Params = field(default_factory=dict)  # what `draw_noise` gave
    start: Tensor | None = None  # (member, trial, state), the states before the first step; state 0 where None
    strengths: Strengths = field(default_factory=dict)  # (member,) by name, of regularisers on states
    loss: Loss = MSE

    @property
    def n_members(self) -> int:
        """Number of members."""
        return self.trials.inputs.shape[0]

    def member(self, k: int) -> "Batch":
        """The k-th member alone; its axis stays."""
        row = slice(k, k + 1)
        return replace(
            self,
            params={name: value[row] for name, value in self.params.items()},
            trials=self.trials.select(row),
            noise={name: value[row] for name, value in self.noise.items()},
            start=None if self.start is None else self.start[row],
            strengths={name: value[row] for name, value in self.strengths.items()},
        )


class Backend(ABC):
    """A way to take gradients. An instance belongs to one stack of members: it may keep arrays between updates."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def serves(cls, cell: Cell, loss: Loss, penalties: Collection[Regulariser], device: str) -> bool:
        """Whether it takes these gradients, all of them: a penalty left out would be left out in silence.

        Args:
            cell: the cell; a subclass of one that is served may step in another way (see `Cell.kernel`).
            loss: of the task.
            penalties: the regularisers on states in use.
            device: a torch device.
        """

    @abstractmethod
    def write_gradients(self, batch: Batch, grads: Params) -> tuple[Tensor, Tensor]:
        """Write the gradient of each member's loss and penalties.

        Args:
            batch: the members and their trials.
            grads: by parameter, of the parameters' shapes; written to.

        Returns:
            The first two of `Gradients`; the losses are those of the task alone.
        """

    @classmethod
    def kept_numbers(cls, cell: Cell, n_trials: int, n_steps: int, n_units: int) -> int:
        """How many numbers of the units it keeps at least for the way back through one member's trials.

        Args:
            cell: one that it serves.
            n_trials, n_steps, n_units: of the trials and the network.
        """
        return n_trials * n_steps * cell.state_size(n_units)

    def gradients(self, batch: Batch) -> Gradients:
        """The losses, wrong decisions and gradients of a batch, in new tensors."""
        grads = {name: torch.empty_like(value) for name, value in batch.params.items()}
        return (*self.write_gradients(batch, grads), grads)


class TorchBackend(Backend):
    """A backend in torch: all members in one pass on a GPU, one member after the other on a CPU.

    Batched kernels round by the number of members (measured: GRU gradients differ in the last bit between 1 and 3
    members), so on a CPU a member would otherwise not be the same bits in any company. The work of one member fits
    the cache, too.
    """

    @abstractmethod
    def stacked(self, batch: Batch) -> Gradients:
        """The losses, wrong decisions and gradients of a batch, all its members in one pass."""

    def write_gradients(self, batch: Batch, grads: Params) -> tuple[Tensor, Tensor]:
        """See `Backend`."""
        alone = not batch.trials.inputs.is_cuda and batch.n_members > 1
        parts = [batch.member(k) for k in range(batch.n_members)] if alone else [batch]
        losses, missed = [], []
        for k, part in enumerate(parts):
            loss, misses, by_name = self.stacked(part)
            for name, to in grads.items():
                (to[k : k + 1] if alone else to).copy_(by_name[name])
            losses.append(loss)
            missed.append(misses)
        return torch.cat(losses), torch.cat(missed)


def missed_counts(batch: Batch, outputs: Tensor) -> Tensor:
    """How many scored steps of each trial are decided wrongly: (member, trial), no trials without decisions."""
    if batch.loss.decide is None:
        return outputs.new_empty(len(outputs), 0)
    return missed_steps(batch.loss, outputs, batch.trials).sum(2)
