"""Gradients by a hand-written backward through time, in torch on any device, for the one-gate cells.

It stores one state per step, multiplies each weight's gradient once for all steps, and works in arrays that are kept
from one update to the next.

Shape suffixes: T time, M member, B trial, N unit, I in, O out.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from degeneracy.networks import input_drive
from degeneracy.networks.cell import Cell, Kernel, Params
from degeneracy.tasks import Loss, task_loss, task_slope
from degeneracy.training.backends.protocol import Batch, Gradients, TorchBackend, missed_counts
from degeneracy.training.regularisers import Regulariser, states_gradient

Buffers = dict[str, Tensor]  # arrays kept from one update to the next, filled at the first


class BackpropagationThroughTime(TorchBackend):
    """The hand-written backward through time of the one-gate cells."""

    name: ClassVar[str] = "bptt"

    def __init__(self) -> None:
        self._buffers: Buffers = {}

    @classmethod
    def serves(cls, cell: Cell, loss: Loss, penalties: Collection[Regulariser], device: str) -> bool:
        """One-gate cells, with every loss and penalty: of these it needs the gradients alone."""
        del loss, penalties, device
        kernel = cell.kernel
        if kernel is None or kernel.leaks is not None or kernel.name not in _ACTIVATIONS:
            return False
        return not kernel.current or kernel.name == "tanh"

    @torch.no_grad()
    def stacked(self, batch: Batch) -> Gradients:
        """Loss and gradients of all members in one pass of batched products."""
        params, trials, noise = batch.params, batch.trials, batch.noise
        inputs = trials.inputs + noise["input"] if "input" in noise else trials.inputs
        n_steps, inputs_MRI = inputs.shape[2], _rows(inputs.permute(2, 0, 1, 3))
        rates, active_TMBN = self._run(batch, inputs, inputs_MRI)
        rates_MRN = _rows(rates[1:])
        outputs_MRO = torch.baddbmm(params["b_out"].unsqueeze(1), rates_MRN, params["W_out"].mT)
        outputs = outputs_MRO.unflatten(1, (n_steps, -1)).transpose(1, 2)
        slope_MRO = _rows(task_slope(batch.loss, outputs, trials).permute(2, 0, 1, 3))
        grad_MRN = _rows(self._run_back(batch, rates, active_TMBN, slope_MRO))
        return (
            task_loss(batch.loss, outputs, trials),
            missed_counts(batch, outputs),
            {
                "W_rec": torch.bmm(grad_MRN.mT, _rows(rates[:-1])),
                # (x^T Z)^T: the transposed product runs several times faster for a narrow x.
                "W_in": torch.bmm(inputs_MRI.mT, grad_MRN).mT,
                "bias": grad_MRN.sum(1),
                "W_out": torch.bmm(slope_MRO.mT, rates_MRN),
                "b_out": slope_MRO.sum(1),
            },
        )

    def _run(self, batch: Batch, inputs: Tensor, inputs_MRI: Tensor) -> tuple[Tensor, Tensor]:
        """What W and the readout see at steps 0 ... T, and the activations at steps 1 ... T."""
        n_members, n_trials, n_steps, _ = inputs.shape
        n = batch.params["W_rec"].shape[-1]
        rates = _buffer(self._buffers, "rates", (n_steps + 1, n_members, n_trials, n), inputs)
        # First they hold what the inputs drive.
        _drive(batch.cell, batch.params, inputs, inputs_MRI, batch.noise, rates[1:])
        start = torch.zeros_like(rates[0]) if batch.start is None else batch.start
        rates[0] = batch.cell.hidden(start)
        forward = _forward_current if _kernel(batch.cell).current else _forward_rate
        return rates, forward(batch.cell, batch.params["W_rec"], rates, start, self._buffers)

    def _run_back(self, batch: Batch, rates: Tensor, active_TMBN: Tensor, slope_MRO: Tensor) -> Tensor:
        """d loss / d drive at all steps, (time, member, trial, N)."""
        grad = _buffer(self._buffers, "grad", tuple(rates[1:].shape), rates)
        w_out, (n_steps, n_members, _, n) = batch.params["W_out"], grad.shape
        if n_members == 1:
            torch.mm(slope_MRO[0], w_out[0], out=grad.view(-1, n))
        else:
            grad.copy_(torch.bmm(slope_MRO, w_out).unflatten(1, (n_steps, -1)).transpose(0, 1))
        if batch.strengths:
            costs = states_gradient(batch.strengths, rates[1:].permute(1, 2, 0, 3), batch.trials.valid)
            grad += costs.permute(2, 0, 1, 3)
        back = _backward_current if _kernel(batch.cell).current else _backward_rate
        back(batch.cell, batch.params["W_rec"], grad, active_TMBN)
        return grad


def _buffer(buffers: Buffers, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An array that is used again at the next update: fresh memory costs more than the arithmetic done in it."""
    kept = buffers.get(name)
    if kept is None or kept.shape != shape or kept.dtype != like.dtype or kept.device != like.device:
        kept = buffers[name] = like.new_zeros(shape)
    return kept


def _drive(
    cell: Cell,
    params: Params,
    inputs: Tensor,
    inputs_MRI: Tensor,
    noise: Mapping[str, Tensor],
    out_TMBN: Tensor,
) -> None:
    """Write what the (already noisy) inputs drive, `W_in x + b` and the units' noise, to `out_TMBN`."""
    if "unit" in noise or len(inputs) > 1:
        out_TMBN.copy_(input_drive(cell, params, inputs, {k: v for k, v in noise.items() if k == "unit"}))
    else:
        flat = out_TMBN.view(-1, out_TMBN.shape[-1])
        torch.addmm(params["bias"][0], inputs_MRI[0], params["W_in"][0].mT, out=flat)


def _rows(x_TMB: Tensor) -> Tensor:
    """(time, member, trial, k) as (member, time * trial, k)."""
    return x_TMB.transpose(0, 1).flatten(1, 2)


def _steps(x: Tensor) -> list[Tensor]:
    """The matrices of all steps; of one member two-dimensional, for the faster kernel."""
    return list((x.squeeze(1) if x.shape[1] == 1 else x).unbind(0))


def _matrix(w_rec: Tensor) -> Tensor:
    return w_rec[0] if w_rec.shape[0] == 1 else w_rec


def _add_product(to: Tensor, x: Tensor, w: Tensor, alpha: float = 1.0) -> None:
    """to += alpha x w, of stacked matrices or of one."""
    if to.ndim == 2:
        to.addmm_(x, w, alpha=alpha)
    else:
        to.baddbmm_(x, w, alpha=alpha)


def _forward_rate(cell: Cell, w_rec: Tensor, rates: Tensor, start: Tensor, buffers: Buffers) -> Tensor:
    """Run h_t = (1 - alpha) h_{t-1} + alpha phi(W h_{t-1} + drive_t); `rates` goes from drive to h.

    Returns:
        phi at steps 1 ... T.
    """
    del start  # it is the first of the rates
    kernel = _kernel(cell)
    alpha, activate = kernel.leak, _ACTIVATIONS[kernel.name][0]
    states, transposed = _steps(rates), _matrix(w_rec).mT.contiguous()
    if alpha == 1:
        for before, state in pairwise(states):
            _add_product(state, before, transposed)
            activate(state)
        return rates[1:]
    active = _buffer(buffers, "active", tuple(rates[1:].shape), rates)
    for (before, state), phi in zip(pairwise(states), _steps(active), strict=True):
        _add_product(state, before, transposed)
        phi.copy_(state)
        activate(phi)
        torch.lerp(before, phi, alpha, out=state)
    return active


def _backward_rate(cell: Cell, w_rec: Tensor, grad: Tensor, active: Tensor) -> None:
    """Turn `grad` from d loss / d h_t through the readout into d loss / d drive_t, all steps."""
    kernel = _kernel(cell)
    alpha, back = kernel.leak, _ACTIVATIONS[kernel.name][1]
    grads, phis, w = _steps(grad), _steps(active), _matrix(w_rec)
    for step in reversed(range(len(grads))):
        if alpha < 1 and step > 0:
            grads[step - 1].add_(grads[step], alpha=1 - alpha)
        back(grads[step], phis[step])
        if alpha < 1:
            grads[step].mul_(alpha)
        if step > 0:
            _add_product(grads[step - 1], grads[step], w)


def _forward_current(cell: Cell, w_rec: Tensor, rates: Tensor, start: Tensor, buffers: Buffers) -> Tensor:
    """Run h_t = (1 - alpha) h_{t-1} + alpha (W tanh(h_{t-1}) + drive_t); `rates` goes from drive to tanh(h).

    Returns:
        tanh(h) at steps 1 ... T.
    """
    del buffers
    alpha, transposed = _kernel(cell).leak, _matrix(w_rec).mT.contiguous()
    states = _steps(rates)
    current = start.view_as(states[0]).clone()
    for before, state in pairwise(states):
        _add_product(state, before, transposed)
        current.lerp_(state, alpha)
        _tanh(state.copy_(current))
    return rates[1:]


def _backward_current(cell: Cell, w_rec: Tensor, grad: Tensor, active: Tensor) -> None:
    """Turn `grad` from d loss / d tanh(h_t) through the readout into d loss / d drive_t, all steps."""
    alpha = _kernel(cell).leak
    grads, rates, w = _steps(grad), _steps(active), _matrix(w_rec)
    carried = torch.zeros_like(grads[0])
    for step in reversed(range(len(grads))):
        _tanh_back(grads[step], rates[step])
        carried.mul_(1 - alpha).add_(grads[step])
        torch.mul(carried, alpha, out=grads[step])
        if step > 0:
            _add_product(grads[step - 1], grads[step], w)


def _kernel(cell: Cell) -> Kernel:
    assert cell.kernel is not None
    return cell.kernel


def _tanh(x: Tensor) -> None:
    """tanh in place as 2 sigmoid(2x) - 1: torch's sigmoid takes a fifth of the time of its tanh on a CPU.

    Measured on 64 x 64 numbers, one thread: 7 against 12 microseconds in all. Absolute error 1e-7 in float32.
    """
    x.mul_(2).sigmoid_().mul_(2).sub_(1)


def _tanh_back(grad: Tensor, active: Tensor) -> None:
    """grad *= tanh' from tanh: 1 - tanh^2, one pass."""
    torch.ops.aten.tanh_backward.grad_input(grad, active, grad_input=grad)


def _relu_back(grad: Tensor, active: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(grad, active, 0, grad_input=grad)


# In place: the activation, and the gradient through it from the activation's value.
_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], object], Callable[[Tensor, Tensor], None]]] = {
    "tanh": (_tanh, _tanh_back),
    "relu": (torch.Tensor.relu_, _relu_back),
}
