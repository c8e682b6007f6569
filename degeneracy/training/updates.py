"""How members are updated: the backends by name, the fastest that serves, and one update with each.

`BACKENDS` names the ways to take gradients: autograd (the reference, any cell), bptt (hand-written, torch, any
device), compiled (the same by numba, on a CPU). An update is the gradient, what regularisers add to it, clipping and a
step of the optimiser, each member on its own.
"""

from collections.abc import Collection, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import MSE, Loss, Trials
from degeneracy.training.backends.backpropagation import (
    Buffers,
    GradientFunction,
    Gradients,
    autograd_gradients,
    bptt_gradients,
    serves_bptt,
)
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import NORM, flatten, views
from degeneracy.training.optimisers import AdamState, OptimiserState
from degeneracy.training.regularisers import COMPILED_TERMS, Strengths, on_states, regulariser


def compiled_gradients(
    cell: Cell,
    params: Params,
    trials: Trials,
    noise: Mapping[str, Tensor],
    buffers: Buffers,
    strengths: Strengths,
    loss: Loss = MSE,
) -> Gradients:
    """Loss and gradients by the compiled backward through time, in float32; on a CPU only."""
    del buffers
    flat = flatten(params).float()
    grads = torch.empty_like(flat)
    members = _CompiledMembers(cell, cell.axis_size(params, "unit"), strengths, loss)
    missed = members.no_misses(trials)
    losses = [
        members.kernels.gradients(*members.arguments(k, flat[k].numpy(), trials, noise, missed[k]), grads[k].numpy())
        for k in range(flat.shape[0])
    ]
    dtype = params["W_out"].dtype
    return torch.tensor(losses, dtype=dtype), torch.from_numpy(missed), views(grads.to(dtype), params)


BACKENDS: dict[str, GradientFunction] = {
    "autograd": autograd_gradients,
    "bptt": bptt_gradients,
    "compiled": compiled_gradients,
}


def serves(backend: str, cell: Cell, device: str = "cpu", strengths: Collection[str] = (), loss: Loss = MSE) -> bool:
    """Whether a backend takes the gradients of a cell with these costs; a subclass of a cell may step in another way.

    Args:
        backend: a name in `BACKENDS`. "autograd" serves everything, "bptt" the one-gate cells that are here. "compiled"
            serves those and the GRU on a CPU, of regularisers on states those that are terms of its own, with
            one-gate cells alone.
        cell: the cell.
        device: a torch device.
        strengths: names of the regularisers in use.
        loss: of the task; one of the user's own has no compiled readout.
    """
    if backend == "autograd":
        return True
    if backend == "bptt":
        return serves_bptt(cell)
    if loss.kernel is None:
        return False
    penalties = [regulariser(name) for name in strengths if regulariser(name).on == "states"]
    if penalties and not (serves_bptt(cell) and all(penalty.compiled for penalty in penalties)):
        return False
    return torch.device(device).type == "cpu" and _kernels(cell) is not None


def backend_for(cell: Cell, device: str = "cpu", strengths: Collection[str] = (), loss: Loss = MSE) -> str:
    """The fastest backend that serves a cell on a device: a name in `BACKENDS`; arguments as of `serves`."""
    return next(backend for backend in reversed(BACKENDS) if serves(backend, cell, device, strengths, loss))


def checked_backend(backend: str, cell: Cell, device: str, strengths: Collection[str], loss: Loss = MSE) -> str:
    """A backend by its name, "auto" for the fastest that serves.

    Raises:
        UserError: an unknown name, or a backend that does not serve.
    """
    if backend == "auto":
        return backend_for(cell, device, strengths, loss)
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, ("auto", *BACKENDS))
    if not serves(backend, cell, device, strengths, loss):
        costs = f" with {', '.join(strengths)}" if strengths else ""
        costs += f" under the loss '{loss.name}'" if serves(backend, cell, device, strengths) else ""
        raise UserError(
            f"backend '{backend}' does not serve cell '{cell.name}'{costs} on device '{device}' (use 'auto')"
        )
    return backend


# The module among the backends that serves a cell, by the name of its kernel.
_COMPILED = {"tanh": "compiled", "relu": "compiled", "gru": "compiled_gru"}


def _kernels(cell: Cell) -> ModuleType | None:
    """The compiled functions of a cell, imported when first asked for; None without such, or without numba."""
    if cell.kernel is None or cell.kernel.name not in _COMPILED:
        return None
    try:
        import_module("numba")
    except ImportError:  # it has no release for this Python or machine
        return None
    return import_module(f"degeneracy.training.backends.{_COMPILED[cell.kernel.name]}")


class Updates:
    """Updates of stacked members by torch, in place."""

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
        self._cell, self._gradients, self._like = cell, BACKENDS[backend], like
        self._flat, self._optimiser, self._clip_norm, self._costs = flat, optimiser, clip_norm, costs
        self._states, self._loss = on_states(costs.strengths), loss
        self._params = views(flat, like)
        self._norm_factors = optimiser.groups.factors(NORM, flat)
        self._buffers: Buffers = {}

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
        loss, missed, grads = self._gradients(
            self._cell, self._params, trials, noise, self._buffers, self._states, self._loss
        )
        flat_grads = flatten({name: grads[name] for name in self._like})
        self._costs.add(self._cell, views(flat_grads, self._like), self._params)
        norms = self._optimiser.clipped_update(self._flat, flat_grads, rates, self._clip_norm, self._norm_factors)
        return loss, norms, missed


class CompiledUpdates:
    """The same updates, compiled: members one after the other."""

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
        assert backend == "compiled"
        self._cell = cell
        grads = torch.empty_like(flat)
        self._members = _CompiledMembers(cell, cell.axis_size(like, "unit"), on_states(costs.strengths), loss)
        self._optimiser, self._clip_norm, self._costs = optimiser, clip_norm, costs
        self._flat, self._flat_grads = flat, grads
        self._params, self._grads = views(flat, like), views(grads, like)
        self._norm_factors = optimiser.groups.factors(NORM, flat)
        self._rows = [(flat[k].numpy(), grads[k].numpy()) for k in range(len(flat))]

    def __call__(self, trials: Trials, noise: Mapping[str, Tensor], rates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One update; see `Updates`."""
        losses = np.empty(len(self._rows), np.float32)
        missed = self._members.no_misses(trials)
        for k, (params, grads) in enumerate(self._rows):
            arguments = self._members.arguments(k, params, trials, noise, missed[k])
            losses[k] = self._members.kernels.gradients(*arguments, grads)
        self._costs.add(self._cell, self._grads, self._params)
        if isinstance(self._optimiser, AdamState):
            return torch.from_numpy(losses), self._descend(self._optimiser, rates), torch.from_numpy(missed)
        norms = self._optimiser.clipped_update(self._flat, self._flat_grads, rates, self._clip_norm, self._norm_factors)
        return torch.from_numpy(losses), norms, torch.from_numpy(missed)

    def _descend(self, adam: AdamState, rates: Tensor) -> Tensor:
        """Clip and take Adam's step in one pass over the parameters; the norms before."""
        adam.step += 1
        adam.decay(self._flat, rates)
        norms = np.empty(len(self._rows), np.float32)
        for k, row in enumerate(self._rows):
            constants = np.array([*adam.corrected(float(rates[k])), self._clip_norm])
            means = adam.first[k].numpy(), adam.second[k].numpy()
            norms[k] = self._members.descend(*row, *means, constants, adam.groups.table)
        return torch.from_numpy(norms)


def updates_on(backend: str) -> type[Updates] | type[CompiledUpdates]:
    """What makes the updates of a backend."""
    return CompiledUpdates if backend == "compiled" else Updates


class _CompiledMembers:
    """What the compiled functions of a cell are called with."""

    def __init__(self, cell: Cell, n_units: int, strengths: Strengths, loss: Loss) -> None:
        kernels = _kernels(cell)
        assert kernels is not None
        checked_backend("compiled", cell, "cpu", strengths, loss)
        self._loss = loss
        self.kernels: Any = kernels
        self.descend: Any = import_module("degeneracy.training.backends.compiled_parts").descend
        self._unit, self._options = _unit(cell, kernels)
        self._n_units, self._strengths, self._one_gate = n_units, strengths, serves_bptt(cell)
        self._work: tuple[tuple[int, ...], Any] = ((), None)

    def no_misses(self, trials: Trials) -> NDArray[np.int64]:
        """Where the steps that each trial decides wrongly are counted, (member, trial); no trials without decisions."""
        return np.zeros((len(trials.inputs), trials.n_trials if self._loss.decide else 0), np.int64)

    def arguments(
        self, k: int, params: Any, trials: Trials, noise: Mapping[str, Tensor], missed: NDArray[np.int64]
    ) -> tuple[Any, ...]:
        """The arguments of `gradients` up to the gradient, for member k."""
        inputs = trials.inputs[k] + noise["input"][k] if "input" in noise else trials.inputs[k]
        unit = noise["unit"][k] if "unit" in noise else inputs.new_empty(len(inputs), 0, self._n_units)
        arrays: list[Any] = [
            np.ascontiguousarray(x.numpy(), dtype=np.float32)
            for x in (inputs, trials.targets[k], _by_output(trials.loss_weights[k]), unit)
        ]
        arrays.append((self._loss.kernel, _by_output(trials.scored[k]).numpy(), missed) if self._loss.decide else None)
        if self._one_gate:
            arrays += self._state_costs(k, trials.valid[k].numpy())
        return (*self._unit, params, *arrays, self._workspace((*inputs.shape, trials.targets.shape[-1])))

    def _state_costs(self, k: int, valid: Any) -> list[Any]:
        """The valid steps of member k's trials and the costs of states there; no steps without such costs."""
        if not self._strengths:
            return [np.empty((len(valid), 0), np.float32), np.zeros(2, np.float32)]
        counts: dict[str, int] = {
            "square": int(np.count_nonzero(valid)),
            "change": int(np.count_nonzero(valid[:, 1:] & valid[:, :-1])),
        }
        costs = dict.fromkeys(counts, 0.0)
        for name, strength in self._strengths.items():
            term = regulariser(name).compiled
            costs[term] += 2 * float(strength[k]) / max(counts[term] * self._n_units, 1)
        return [valid.astype(np.float32), np.array([costs[term] for term in COMPILED_TERMS], np.float32)]

    def _workspace(self, shape: tuple[int, int, int, int]) -> Any:
        """The arrays to work in, made anew for trials of another shape."""
        if self._work[0] != shape:
            n_trials, n_steps, n_inputs, n_outputs = shape
            sizes = self.kernels.Sizes(
                n_trials=n_trials,
                n_steps=n_steps,
                n_units=self._n_units,
                n_inputs=n_inputs,
                n_outputs=n_outputs,
            )
            self._work = (shape, self.kernels.workspace(sizes, **self._options))
        return self._work[1]


def _by_output(x: Tensor) -> Tensor:
    """(trial, time, 1 or out)."""
    return x.unsqueeze(-1) if x.ndim == 2 else x


def _unit(cell: Cell, kernels: Any) -> tuple[tuple[Any, ...], dict[str, bool]]:
    """The arguments that say what a one-gate cell's units are, and the options of its workspace."""
    kernel = cell.kernel
    assert kernel is not None
    if kernel.name == "gru":
        return (), {}
    kind = kernels.RELU if kernel.name == "relu" else kernels.TANH
    return (kind, np.float32(kernel.leak), kernel.current), {"leaky": kernel.leak < 1 or kernel.current}
