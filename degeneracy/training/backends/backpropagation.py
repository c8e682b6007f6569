"""Loss and gradients of stacked members: by autograd (the reference), or by a hand-written backward through time.

The hand-written backend serves the one-gate cells. It stores one state per step, multiplies each weight's gradient
once for all steps, and works in arrays that are kept from one update to the next. On the CPU both backends go member
after member: the work of one member fits the cache, and a member's numbers are then the same bits beside any
companions.

Shape suffixes: T time, M member, B trial, N unit, I in, O out.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from degeneracy.networks import forward, input_drive
from degeneracy.networks.cell import Cell, Kernel, Params
from degeneracy.tasks import MSE, Loss, Trials, task_loss, task_slope
from degeneracy.tasks.losses import missed_steps
from degeneracy.training.regularisers import Strengths, states_gradient, states_penalty

# The loss of each member (member,), the number of scored steps that each trial decides wrongly (member, trial; no
# trials where outputs are no decisions), and the gradient by parameter.
Gradients = tuple[Tensor, Tensor, Params]
Buffers = dict[str, Tensor]  # arrays kept from one update to the next, filled at the first
# The last two: strengths (member,) of regularisers on states, by name, and what outputs cost.
GradientFunction = Callable[[Cell, Params, Trials, Mapping[str, Tensor], Buffers, Strengths, Loss], Gradients]


def autograd_gradients(
    cell: Cell,
    params: Params,
    trials: Trials,
    noise: Mapping[str, Tensor],
    buffers: Buffers,
    strengths: Strengths,
    loss: Loss = MSE,
) -> Gradients:
    """Loss and gradients by automatic differentiation: any cell, the reference for every other backend."""
    return _each_member(_stacked_autograd, cell, params, trials, noise, buffers, strengths, loss)


def bptt_gradients(
    cell: Cell,
    params: Params,
    trials: Trials,
    noise: Mapping[str, Tensor],
    buffers: Buffers,
    strengths: Strengths,
    loss: Loss = MSE,
) -> Gradients:
    """Loss and gradients by the hand-written backward through time; one-gate cells only."""
    return _each_member(_stacked_gradients, cell, params, trials, noise, buffers, strengths, loss)


def _each_member(
    stacked: GradientFunction,
    cell: Cell,
    params: Params,
    trials: Trials,
    noise: Mapping[str, Tensor],
    buffers: Buffers,
    strengths: Strengths,
    loss: Loss,
) -> Gradients:
    """All members in one pass on a GPU; member after member on a CPU.

    Batched kernels round by the number of members (measured: GRU gradients differ in the last bit between 1 and 3
    members), so on a CPU a member would otherwise not be the same bits in any company.
    """
    if trials.inputs.is_cuda or trials.inputs.shape[0] == 1:
        return stacked(cell, params, trials, noise, buffers, strengths, loss)
    losses, missed, grads = [], [], []
    for k in range(trials.inputs.shape[0]):
        cost, misses, grad = stacked(
            cell,
            {name: value[k : k + 1] for name, value in params.items()},
            trials.select(slice(k, k + 1)),
            {name: value[k : k + 1] for name, value in noise.items()},
            buffers,
            {name: value[k : k + 1] for name, value in strengths.items()},
            loss,
        )
        losses.append(cost)
        missed.append(misses)
        grads.append(grad)
    return torch.cat(losses), torch.cat(missed), {name: torch.cat([grad[name] for grad in grads]) for name in params}


def _stacked_autograd(
    cell: Cell,
    params: Params,
    trials: Trials,
    noise: Mapping[str, Tensor],
    buffers: Buffers,
    strengths: Strengths,
    loss: Loss,
) -> Gradients:
    """Losses are summed over members, so that each member's gradient is that of its own loss alone."""
    del buffers
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    with torch.enable_grad():
        states, outputs = forward(cell, leaves, trials.inputs, noise)
        of_task = task_loss(loss, outputs, trials)
        cost = of_task + states_penalty(strengths, cell.hidden(states), trials.valid)
        # A user's own cell need not use all of its parameters; those have gradient 0.
        grads = torch.autograd.grad(cost.sum(), list(leaves.values()), materialize_grads=True)
    missed = missed_counts(loss, outputs.detach(), trials)
    return of_task.detach(), missed, dict(zip(leaves, grads, strict=True))


def missed_counts(loss: Loss, outputs: Tensor, trials: Trials) -> Tensor:
    """How many scored steps of each trial are decided wrongly: (member, trial), no trials without decisions."""
    if loss.decide is None:
        return outputs.new_empty(len(outputs), 0)
    return missed_steps(loss, outputs, trials).sum(2)


@torch.no_grad()
def _stacked_gradients(
    cell: Cell,
    params: Params,
    trials: Trials,
    noise: Mapping[str, Tensor],
    buffers: Buffers,
    strengths: Strengths,
    loss: Loss,
) -> Gradients:
    """Loss and gradients of all members in one pass of batched products."""
    inputs = trials.inputs + noise["input"] if "input" in noise else trials.inputs
    n_members, n_trials, n_steps, _ = inputs.shape
    n = params["W_rec"].shape[-1]
    inputs_MRI = _rows(inputs.permute(2, 0, 1, 3))
    # Activations phi and what W and the readout see at steps 0 ... T; first they hold what the inputs drive.
    rates = _buffer(buffers, "rates", (n_steps + 1, n_members, n_trials, n), inputs)
    _drive(cell, params, inputs, inputs_MRI, noise, rates[1:])
    run, run_back = _recurrence(cell)
    active_TMBN = run(cell, params["W_rec"], rates, buffers)

    rates_MRN = _rows(rates[1:])
    outputs_MRO = torch.baddbmm(params["b_out"].unsqueeze(1), rates_MRN, params["W_out"].mT)
    outputs = outputs_MRO.unflatten(1, (n_steps, -1)).transpose(1, 2)
    slope_MRO = _rows(task_slope(loss, outputs, trials).permute(2, 0, 1, 3))
    grad = _buffer(buffers, "grad", (n_steps, n_members, n_trials, n), inputs)
    if n_members == 1:
        torch.mm(slope_MRO[0], params["W_out"][0], out=grad.view(-1, n))
    else:
        grad.copy_(torch.bmm(slope_MRO, params["W_out"]).unflatten(1, (n_steps, -1)).transpose(0, 1))
    if strengths:
        costs = states_gradient(strengths, rates[1:].permute(1, 2, 0, 3), trials.valid)
        grad += costs.permute(2, 0, 1, 3)
    run_back(cell, params["W_rec"], grad, active_TMBN)
    grad_MRN = _rows(grad)
    return (
        task_loss(loss, outputs, trials),
        missed_counts(loss, outputs, trials),
        {
            "W_rec": torch.bmm(grad_MRN.mT, _rows(rates[:-1])),
            # (x^T Z)^T: the transposed product runs several times faster for a narrow x.
            "W_in": torch.bmm(inputs_MRI.mT, grad_MRN).mT,
            "bias": grad_MRN.sum(1),
            "W_out": torch.bmm(slope_MRO.mT, rates_MRN),
            "b_out": slope_MRO.sum(1),
        },
    )


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


def _forward_rate(cell: Cell, w_rec: Tensor, rates: Tensor, buffers: Buffers) -> Tensor:
    """Run h_t = (1 - alpha) h_{t-1} + alpha phi(W h_{t-1} + drive_t); `rates` goes from drive to h.

    Returns:
        phi at steps 1 ... T.
    """
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


def _forward_current(cell: Cell, w_rec: Tensor, rates: Tensor, buffers: Buffers) -> Tensor:
    """Run h_t = (1 - alpha) h_{t-1} + alpha (W tanh(h_{t-1}) + drive_t); `rates` goes from drive to tanh(h).

    Returns:
        tanh(h) at steps 1 ... T.
    """
    del buffers
    alpha, transposed = _kernel(cell).leak, _matrix(w_rec).mT.contiguous()
    states = _steps(rates)
    current = torch.zeros_like(states[0])
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


def _recurrence(cell: Cell) -> tuple[Callable[..., Tensor], Callable[..., None]]:
    """The forward and backward recurrences of a one-gate cell."""
    if _kernel(cell).current:
        return _forward_current, _backward_current
    return _forward_rate, _backward_rate


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


def serves_bptt(cell: Cell) -> bool:
    """Whether the hand-written backward serves a cell."""
    return cell.kernel is not None and cell.kernel.name in _ACTIVATIONS
