"""Updates of stacked members: the gradient, what regularisers add to it, clipping and a step of the optimiser."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import MSE, Loss, Trials
from degeneracy.training.backends import BACKENDS, Batch, checked_backend
from degeneracy.training.backends.compiled_parts import descend
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import NORM, views
from degeneracy.training.optimisers import AdamState, OptimiserState
from degeneracy.training.regularisers import on_states


class Updates:
    """Updates of stacked members in place, each member on its own."""

    def __init__(
        self,
        cell: Cell,
        backend: str,
        flat: Tensor,
        like: Params,
        optimiser: OptimiserState,
        clip_norm: float,
        costs: Costs,
        loss: Loss = MSE,
    ) -> None:
        name = checked_backend(backend, cell, flat.device.type, costs.strengths, loss)
        self._cell, self._backend, self._loss = cell, BACKENDS[name](), loss
        self._optimiser, self._clip_norm, self._costs = optimiser, clip_norm, costs
        self._states = on_states(costs.strengths)
        self._flat, self._flat_grads = flat, torch.empty_like(flat)
        self._params, self._grads = views(flat, like), views(self._flat_grads, like)
        self._norm_factors = optimiser.groups.factors(NORM, flat)

    def __call__(self, trials: Trials, noise: Mapping[str, Tensor], rates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One update.

        Args:
            trials: each member's batch.
            noise: what `draw_noise` gave.
            rates: (member,), the learning rates.

        Returns:
            (member,) losses of the task and norms of the gradients before clipping, and the number of scored steps
            that each trial decides wrongly (member, trial), no trials where outputs are no decisions.
        """
        batch = Batch(
            cell=self._cell,
            params=self._params,
            trials=trials,
            noise=dict(noise),
            strengths=self._states,
            loss=self._loss,
        )
        losses, missed = self._backend.write_gradients(batch, self._grads)
        self._costs.add(self._cell, self._grads, self._params)
        if type(self._optimiser) is AdamState and not self._flat.is_cuda:
            return losses, self._descend(self._optimiser, rates), missed
        norms = self._optimiser.clipped_update(self._flat, self._flat_grads, rates, self._clip_norm, self._norm_factors)
        return losses, norms, missed

    def _descend(self, adam: AdamState, rates: Tensor) -> Tensor:
        """Clip and take Adam's step in one compiled pass over the parameters; the norms before."""
        adam.step += 1
        adam.decay(self._flat, rates)
        arrays = [each.numpy() for each in (self._flat, self._flat_grads, adam.first, adam.second)]
        norms = np.empty(len(self._flat), np.float32)
        for k, rate in enumerate(rates.tolist()):
            constants = np.array([*adam.corrected(rate), self._clip_norm])
            norms[k] = descend(*(array[k] for array in arrays), constants, adam.groups.table)
        return torch.from_numpy(norms)
