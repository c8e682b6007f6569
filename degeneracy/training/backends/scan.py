"""Gradients of cells that run by a scan, compiled, on a CPU in float32: members one after the other."""

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import Loss
from degeneracy.training.backends.compiled import data_of, decisions_of, has_cases
from degeneracy.training.backends.compiled_scan import ScanWeights, ScanWork, gradients, workspace
from degeneracy.training.backends.protocol import Backend, Batch
from degeneracy.training.regularisers import Regulariser


class CompiledScan(Backend):
    """A scan and its gradient, trial by trial, compiled."""

    name: ClassVar[str] = "scan"

    def __init__(self) -> None:
        self._work: tuple[Any, Any] = ((), None)

    @classmethod
    def serves(cls, cell: Cell, loss: Loss, penalties: Collection[Regulariser], device: str) -> bool:
        """The minGRU, with the losses and terms of penalties that have a compiled case.

        A cell of one's own that scans has no compiled coefficients: automatic differentiation goes through those, and
        meets the compiled scan.
        """
        known = cell.kernel is not None and cell.kernel.name == "min_gru" and torch.device(device).type == "cpu"
        return known and has_cases(loss, penalties)

    @classmethod
    def kept_numbers(cls, cell: Cell, n_trials: int, n_steps: int, n_units: int) -> int:
        """State, update and candidate of one trial, whatever the number of trials; see `compiled_scan.ScanWork`."""
        del cell, n_trials
        return 3 * n_steps * n_units

    def write_gradients(self, batch: Batch, grads: Params) -> tuple[Tensor, Tensor]:
        """See `Backend`; losses and gradients are taken in float32, whatever the parameters are."""
        single = {name: value.float() for name, value in grads.items()}
        params = {name: value.float().numpy() for name, value in batch.params.items()}
        into = {name: value.numpy() for name, value in single.items()}
        missed = np.zeros((batch.n_members, batch.trials.n_trials if batch.loss.decide else 0), np.int64)
        losses = np.empty(batch.n_members, np.float32)
        for k in range(batch.n_members):
            data, decided = data_of(batch, k), decisions_of(batch, k, missed[k])
            sizes = (*data.inputs.shape[1:], data.noise.shape[2], data.targets.shape[2])
            losses[k] = gradients(_weights(params, k), data, decided, self._workspace(*sizes), _weights(into, k))
        for name, value in grads.items():
            if single[name] is not value:
                value.copy_(single[name])
        return torch.from_numpy(losses), torch.from_numpy(missed)

    def _workspace(self, n_steps: int, n_inputs: int, n_units: int, n_outputs: int) -> ScanWork:
        """The arrays to work in, made anew for trials of another shape."""
        sizes = (n_steps, n_units, n_inputs, n_outputs)
        if self._work[0] != sizes:
            self._work = (sizes, workspace(*sizes))
        work: ScanWork = self._work[1]
        return work


def _weights(params: dict[str, Any], k: int) -> ScanWeights:
    """The parameters of member k, or their gradients."""
    return ScanWeights(
        inward=params["W_in"][k], bias=params["bias"][k], outward=params["W_out"][k], bias_out=params["b_out"][k]
    )
