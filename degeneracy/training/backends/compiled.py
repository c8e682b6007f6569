"""Gradients by compiled functions, on a CPU in float32: members one after the other."""

from collections.abc import Callable, Collection
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.networks.cell import Cell, Kernel, Params
from degeneracy.tasks import LOSSES, Loss
from degeneracy.training.backends.compiled_driver import Data, Weights, Work, gradients, workspace
from degeneracy.training.backends.compiled_parts import Floats, Sizes
from degeneracy.training.backends.compiled_units import UNITS, kind_of, layout_of, units_of
from degeneracy.training.backends.protocol import Backend, Batch
from degeneracy.training.regularisers import COMPILED_TERMS, REGULARISERS, Regulariser, regulariser

NO_LEAKS = np.empty(0, np.float32)


class Compiled(Backend):
    """Backward through time of the pointwise cells, compiled."""

    name: ClassVar[str] = "compiled"

    def __init__(self) -> None:
        self._work: tuple[Any, Any] = ((), None)
        self._rows: dict[str, tuple[tuple[Tensor, ...], list[Weights]]] = {}

    @classmethod
    def serves(cls, cell: Cell, loss: Loss, penalties: Collection[Regulariser], device: str) -> bool:
        """Cells whose kernel is among `compiled_units`, with the losses and terms of penalties that have a case."""
        return kind_of(cell.kernel) is not None and torch.device(device).type == "cpu" and has_cases(loss, penalties)

    @classmethod
    def kept_numbers(cls, cell: Cell, n_trials: int, n_steps: int, n_units: int) -> int:
        """What the weights see, the cell's blocks beside it, and what it remembers; see `compiled_driver.Work`."""
        kind = kind_of(cell.kernel)
        assert kind is not None
        layout = UNITS[kind].layout
        blocks = 0 if layout.in_place else layout.gates + layout.separate
        return n_trials * n_steps * n_units * (1 + blocks + (layout.memories == 2))

    def write_gradients(self, batch: Batch, grads: Params) -> tuple[Tensor, Tensor]:
        """See `Backend`; losses and gradients are taken in float32, whatever the parameters are."""
        kernel, n_members = batch.cell.kernel, batch.n_members
        assert kernel is not None
        leaks = _Leaks(kernel.leaks, batch) if kernel.leaks is not None else None
        units = leaks.units(kernel) if leaks is not None else [units_of(kernel, NO_LEAKS)] * n_members
        single = {name: value.float() for name, value in grads.items()}
        params = self._by_member("params", batch.cell, {name: value.float() for name, value in batch.params.items()})
        into = self._by_member("grads", batch.cell, single)
        missed = np.zeros((n_members, batch.trials.n_trials if batch.loss.decide else 0), np.int64)
        losses = np.empty(n_members, np.float32)
        for k in range(n_members):
            data, decided = data_of(batch, k), decisions_of(batch, k, missed[k])
            losses[k] = gradients(units[k], params[k], data, decided, self._workspace(data, units[k]), into[k])
        if leaks is not None:
            single |= leaks.gradients(units)
        for name, value in grads.items():
            if single[name] is not value:
                value.copy_(single[name])
        return torch.from_numpy(losses), torch.from_numpy(missed)

    def _by_member(self, what: str, cell: Cell, tensors: Params) -> list[Weights]:
        """Each member's parameters, or their gradients, as arrays; those of the last time where they are the same."""
        held, rows = self._rows.get(what, ((), []))
        if [*map(id, held)] != [*map(id, tensors.values())]:
            arrays = {name: value.numpy() for name, value in tensors.items()}
            rows = [_weights(cell, arrays, k) for k in range(len(arrays["W_rec"]))]
            self._rows[what] = tuple(tensors.values()), rows
        return rows

    def _workspace(self, data: Data, units: Any) -> Work:
        """The arrays to work in, made anew for trials of another shape."""
        n_trials, n_steps, n_inputs = data.inputs.shape
        sizes = Sizes(
            n_trials=n_trials,
            n_steps=n_steps,
            n_units=data.noise.shape[2],
            n_inputs=n_inputs,
            n_outputs=data.targets.shape[2],
        )
        if self._work[0] != (sizes, layout_of(units)):
            self._work = ((sizes, layout_of(units)), workspace(sizes, units))
        work: Work = self._work[1]
        return work


class _Leaks:
    """The leaks of each member's units, and the gradient that goes on from them to the parameters that make them."""

    def __init__(self, leaks: Callable[[Params], Tensor], batch: Batch) -> None:
        self._leaves = {name: value.detach().requires_grad_() for name, value in batch.params.items()}
        with torch.enable_grad():
            self._leaks = leaks(self._leaves)

    def units(self, kernel: Kernel) -> list[Any]:
        """The units of each member."""
        return [units_of(kernel, leaks) for leaks in self._leaks.detach().numpy()]

    def gradients(self, units: list[Any]) -> Params:
        """By parameter that the leaks are made of, from what the units have gathered."""
        by_leak = torch.from_numpy(np.stack([each.grad[: self._leaks.shape[1]] for each in units]))
        leaves = list(self._leaves.values())
        grads = torch.autograd.grad(self._leaks, leaves, by_leak.to(self._leaks.dtype), allow_unused=True)
        return {name: grad for name, grad in zip(self._leaves, grads, strict=True) if grad is not None}


def data_of(batch: Batch, k: int) -> Data:
    """The trials of member k."""
    trials, noise, start = batch.trials, batch.noise, batch.start
    n_units = batch.cell.axis_size(batch.params, "unit")
    inputs = trials.inputs[k] + noise["input"][k] if "input" in noise else trials.inputs[k]
    valid, costs = _state_costs(batch, k, n_units)
    begin = np.empty((2, 0, n_units), np.float32)
    if start is not None:  # what is remembered stands last in the state
        begin = _floats(torch.stack([batch.cell.hidden(start[k]), start[k, :, -n_units:]]))
    return Data(
        inputs=_floats(inputs),
        targets=_floats(trials.targets[k]),
        loss_weights=_by_output(_floats(trials.loss_weights[k])),
        noise=_floats(noise["unit"][k]) if "unit" in noise else np.empty((len(valid), 0, n_units), np.float32),
        start=begin,
        valid=valid,
        costs=costs,
    )


def _floats(x: Tensor) -> Floats:
    return np.ascontiguousarray(x.numpy(), dtype=np.float32)


def _by_output(x: NDArray[Any]) -> NDArray[Any]:
    """(trial, time, 1 or out)."""
    return x[..., None] if x.ndim == 2 else x


def _weights(cell: Cell, params: dict[str, NDArray[Any]], k: int) -> Weights:
    """The parameters of member k, or their gradients."""
    return Weights(
        recurrent=params["W_rec"][k],
        inward=params["W_in"][k],
        biases=tuple(params[name][k] for name in cell.biases),
        outward=params["W_out"][k],
        bias_out=params["b_out"][k],
    )


def has_cases(loss: Loss, penalties: Collection[Regulariser]) -> bool:
    """Whether all of these costs are compiled: a listed one with other functions is another cost of the same case."""
    losses = {
        (each.kernel, each.value, each.slope, each.step, each.decide, each.called_for) for each in LOSSES.values()
    }
    terms = {(each.compiled, each.penalty, each.gradient) for each in REGULARISERS.values() if each.compiled}
    return (loss.kernel, loss.value, loss.slope, loss.step, loss.decide, loss.called_for) in losses and all(
        (penalty.compiled, penalty.penalty, penalty.gradient) in terms for penalty in penalties
    )


def decisions_of(batch: Batch, k: int, missed: NDArray[np.int64]) -> tuple[Any, ...] | None:
    """What `read_out_logits` needs of member k."""
    if not batch.loss.decide:
        return None
    return batch.loss.kernel, _by_output(batch.trials.scored[k].numpy()), missed


def _state_costs(batch: Batch, k: int, n_units: int) -> tuple[Floats, Floats]:
    """The valid steps of member k's trials and the costs of states there; no steps without such costs."""
    valid = batch.trials.valid[k].numpy()
    if not batch.strengths:
        return np.empty((len(valid), 0), np.float32), np.zeros(2, np.float32)
    counts: dict[str, int] = {
        "square": int(np.count_nonzero(valid)),
        "change": int(np.count_nonzero(valid[:, 1:] & valid[:, :-1])),
    }
    costs = dict.fromkeys(counts, 0.0)
    for name, strength in batch.strengths.items():
        term = regulariser(name).compiled
        costs[term] += 2 * float(strength[k]) / max(counts[term] * n_units, 1)
    return valid.astype(np.float32), np.array([costs[term] for term in COMPILED_TERMS], np.float32)
