"""Gradients by compiled functions, on a CPU in float32: members one after the other."""

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import Loss
from degeneracy.training.backends import compiled_gru, compiled_one_gate
from degeneracy.training.backends.compiled_parts import Sizes
from degeneracy.training.backends.protocol import Backend, Batch
from degeneracy.training.flat_parameters import flatten, views
from degeneracy.training.regularisers import COMPILED_TERMS, Regulariser, regulariser


class Compiled(Backend):
    """Backward through time, compiled."""

    name: ClassVar[str] = "compiled"

    def __init__(self) -> None:
        self._work: tuple[Any, Any] = ((), None)

    @classmethod
    def serves(cls, cell: Cell, loss: Loss, penalties: Collection[Regulariser], device: str) -> bool:
        """One-gate cells and the GRU, from state 0, with the losses and terms of penalties that have a case there."""
        if cell.kernel is None or loss.kernel is None or torch.device(device).type != "cpu":
            return False
        if cell.kernel.name == "gru":
            return not penalties
        known = cell.kernel.name == "tanh" or (cell.kernel.name == "relu" and not cell.kernel.current)
        return known and all(penalty.compiled for penalty in penalties)

    def write_gradients(self, batch: Batch, grads: Params) -> tuple[Tensor, Tensor]:
        """See `Backend`."""
        assert batch.start is None
        kernel = batch.cell.kernel
        assert kernel is not None
        flat = flatten(batch.params).float()
        flat_grads = torch.empty_like(flat)
        missed = np.zeros((len(flat), batch.trials.n_trials if batch.loss.decide else 0), np.int64)
        kernels: Any = compiled_gru if kernel.name == "gru" else compiled_one_gate
        losses = [
            kernels.gradients(*self._arguments(k, flat[k].numpy(), batch, missed[k]), flat_grads[k].numpy())
            for k in range(len(flat))
        ]
        for name, grad in views(flat_grads, batch.params).items():
            grads[name].copy_(grad)
        return torch.tensor(losses, dtype=batch.params["W_out"].dtype), torch.from_numpy(missed)

    def _arguments(self, k: int, params: Any, batch: Batch, missed: NDArray[np.int64]) -> tuple[Any, ...]:
        """The arguments of `gradients` up to the gradient, for member k."""
        trials, noise = batch.trials, batch.noise
        n_units = batch.cell.axis_size(batch.params, "unit")
        inputs = trials.inputs[k] + noise["input"][k] if "input" in noise else trials.inputs[k]
        unit = noise["unit"][k] if "unit" in noise else inputs.new_empty(len(inputs), 0, n_units)
        arrays: list[Any] = [
            np.ascontiguousarray(x.numpy(), dtype=np.float32)
            for x in (inputs, trials.targets[k], _by_output(trials.loss_weights[k]), unit)
        ]
        arrays.append((batch.loss.kernel, _by_output(trials.scored[k]).numpy(), missed) if batch.loss.decide else None)
        kernel = batch.cell.kernel
        assert kernel is not None
        sizes = (*inputs.shape, n_units, trials.targets.shape[-1])
        if kernel.name == "gru":
            return (params, *arrays, self._workspace(compiled_gru, sizes))
        arrays += self._state_costs(k, batch, n_units)
        kind = compiled_one_gate.RELU if kernel.name == "relu" else compiled_one_gate.TANH
        of_units = (kind, np.float32(kernel.leak), kernel.current)
        leaky = {"leaky": kernel.leak < 1 or kernel.current}
        return (*of_units, params, *arrays, self._workspace(compiled_one_gate, sizes, **leaky))

    def _state_costs(self, k: int, batch: Batch, n_units: int) -> list[Any]:
        """The valid steps of member k's trials and the costs of states there; no steps without such costs."""
        valid = batch.trials.valid[k].numpy()
        if not batch.strengths:
            return [np.empty((len(valid), 0), np.float32), np.zeros(2, np.float32)]
        counts: dict[str, int] = {
            "square": int(np.count_nonzero(valid)),
            "change": int(np.count_nonzero(valid[:, 1:] & valid[:, :-1])),
        }
        costs = dict.fromkeys(counts, 0.0)
        for name, strength in batch.strengths.items():
            term = regulariser(name).compiled
            costs[term] += 2 * float(strength[k]) / max(counts[term] * n_units, 1)
        return [valid.astype(np.float32), np.array([costs[term] for term in COMPILED_TERMS], np.float32)]

    def _workspace(self, kernels: Any, shape: tuple[int, ...], **options: bool) -> Any:
        """The arrays to work in, made anew for trials of another shape."""
        if self._work[0] != (kernels, shape, options):
            n_trials, n_steps, n_inputs, n_units, n_outputs = shape
            sizes = Sizes(n_trials=n_trials, n_steps=n_steps, n_units=n_units, n_inputs=n_inputs, n_outputs=n_outputs)
            self._work = ((kernels, shape, options), kernels.workspace(sizes, **options))
        return self._work[1]


def _by_output(x: Tensor) -> Tensor:
    """(trial, time, 1 or out)."""
    return x.unsqueeze(-1) if x.ndim == 2 else x
