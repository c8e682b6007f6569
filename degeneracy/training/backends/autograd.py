"""Gradients by automatic differentiation: any cell, loss and penalty; the reference for every other backend."""

from collections.abc import Collection
from typing import ClassVar

import torch

from degeneracy.networks import forward
from degeneracy.networks.cell import Cell
from degeneracy.tasks import Loss, task_loss
from degeneracy.training.backends.protocol import Batch, Gradients, TorchBackend, missed_counts
from degeneracy.training.regularisers import Regulariser, states_penalty


class Autograd(TorchBackend):
    """Automatic differentiation through the cell's `run`."""

    name: ClassVar[str] = "autograd"

    @classmethod
    def serves(cls, cell: Cell, loss: Loss, penalties: Collection[Regulariser], device: str) -> bool:
        """Everything."""
        del cell, loss, penalties, device
        return True

    def stacked(self, batch: Batch) -> Gradients:
        """Losses are summed over members, so that each member's gradient is that of its own loss alone."""
        leaves = {name: value.detach().requires_grad_() for name, value in batch.params.items()}
        with torch.enable_grad():
            states, outputs = forward(batch.cell, leaves, batch.trials.inputs, batch.noise, batch.start)
            of_task = task_loss(batch.loss, outputs, batch.trials)
            cost = of_task + states_penalty(batch.strengths, batch.cell.hidden(states), batch.trials.valid)
            # A user's own cell need not use all of its parameters; those have gradient 0.
            grads = torch.autograd.grad(cost.sum(), list(leaves.values()), materialize_grads=True)
        return of_task.detach(), missed_counts(batch, outputs.detach()), dict(zip(leaves, grads, strict=True))
