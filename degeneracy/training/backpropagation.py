"""Loss and gradients of stacked members: by autograd (the reference), or by a hand-written backward through time.

The hand-written path serves the one-gate cells. It stores one state a step, multiplies each weight's gradient
once for all steps. On the CPU both go member after member: the work of one member fits the cache, and a member's
numbers are then the same bits beside any companions.

Shape suffixes: T time, M member, B trial, N unit, I in, O out.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from degeneracy.networks import forward, input_drive
from degeneracy.networks.cells import Cell, LeakyTanhCell, Params, ReluCell, TanhCell
from degeneracy.tasks import Trials, mean_squared_error

Gradients = tuple[Tensor, Params]  # the loss of each member (member,), and its gradient by parameter
Path = Callable[[Cell, Params, Trials, Mapping[str, Tensor]], Gradients]


def autograd_gradients(cell: Cell, params: Params, trials: Trials, noise: Mapping[str, Tensor]) -> Gradients:
    """Loss and gradients by automatic differentiation: any cell, the reference for every other path."""
    return _each_member(_stacked_autograd, cell, params, trials, noise)


def bptt_gradients(cell: Cell, params: Params, trials: Trials, noise: Mapping[str, Tensor]) -> Gradients:
    """Loss and gradients by the hand-written backward through time; one-gate cells only."""
    return _each_member(_stacked_gradients, cell, params, trials, noise)


def _each_member(
    stacked: Path, cell: Cell, params: Params, trials: Trials, noise: Mapping[str, Tensor]
) -> Gradients:
    """All members in one pass on a GPU; member after member on a CPU.

    Batched kernels round by the number of members (measured: GRU gradients differ in the last bit between 1 and 3
    members), so on a CPU a member would otherwise not be the same bits in any company.
    """
    if trials.inputs.is_cuda or trials.inputs.shape[0] == 1:
        return stacked(cell, params, trials, noise)
    losses, grads = [], []
    for k in range(trials.inputs.shape[0]):
        loss, grad = stacked(
            cell,
            {name: value[k : k + 1] for name, value in params.items()},
            Trials(**{name: value[k : k + 1] for name, value in vars(trials).items()}),
            {name: value[k : k + 1] for name, value in noise.items()},
        )
        losses.append(loss)
        grads.append(grad)
    return torch.cat(losses), {name: torch.cat([grad[name] for grad in grads]) for name in params}


def _stacked_autograd(cell: Cell, params: Params, trials: Trials, noise: Mapping[str, Tensor]) -> Gradients:
    """Losses are summed over members, so that each member's gradient is that of its own loss alone."""
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    with torch.enable_grad():
        _, outputs = forward(cell, leaves, trials.inputs, noise)
        loss = mean_squared_error(outputs, trials)
        grads = torch.autograd.grad(loss.sum(), list(leaves.values()))
    return loss.detach(), dict(zip(leaves, grads, strict=True))


@torch.no_grad()
def _stacked_gradients(cell: Cell, params: Params, trials: Trials, noise: Mapping[str, Tensor]) -> Gradients:
    """Loss and gradients of all members in one pass of batched products."""
    inputs, targets = trials.inputs, trials.targets
    n_members, n_trials, n_steps, _ = inputs.shape
    run, run_back = _recurrence(cell)
    drive_TMBN = input_drive(cell, params, inputs, noise).contiguous()
    active_TMBN, rates_TMBN = run(cell, params["W_rec"], drive_TMBN)

    rates_MRN = _rows(rates_TMBN[1:])
    outputs_MRO = torch.baddbmm(params["b_out"].unsqueeze(1), rates_MRN, params["W_out"].mT)
    error_MRO = outputs_MRO - _rows(targets.permute(2, 0, 1, 3))
    weights_MR1 = _rows(trials.loss_weights.permute(2, 0, 1).unsqueeze(-1))
    scale = 1 / (weights_MR1.sum((1, 2), keepdim=True) * error_MRO.shape[-1])
    weighted_MRO = error_MRO * weights_MR1 * scale
    loss = (weighted_MRO * error_MRO).sum((1, 2))

    weighted_MRO *= 2
    out_grad = torch.bmm(weighted_MRO, params["W_out"])
    out_grad_TMBN = out_grad.view(n_members, n_steps, n_trials, -1).transpose(0, 1).contiguous()
    drive_grad_MRN = _rows(run_back(cell, params["W_rec"], out_grad_TMBN, active_TMBN))
    noisy = inputs + noise["input"] if "input" in noise else inputs
    inputs_MRI = _rows(noisy.permute(2, 0, 1, 3))
    return loss, {
        "W_rec": torch.bmm(drive_grad_MRN.mT, _rows(rates_TMBN[:-1])),
        # (x^T Z)^T: the transposed product runs several times faster for a narrow x.
        "W_in": torch.bmm(inputs_MRI.mT, drive_grad_MRN).mT,
        "bias": drive_grad_MRN.sum(1),
        "W_out": torch.bmm(weighted_MRO.mT, rates_MRN),
        "b_out": weighted_MRO.sum(1),
    }


def _rows(x_TMB: Tensor) -> Tensor:
    """(time, member, trial, k) as (member, time * trial, k)."""
    return x_TMB.transpose(0, 1).flatten(1, 2)


def _product(x: Tensor, w: Tensor, add: Tensor, out: Tensor, *, alpha: float = 1.0) -> None:
    """out = add + alpha x w for stacked matrices; one member goes through the two-dimensional kernel."""
    if x.shape[0] == 1:
        torch.addmm(add[0], x[0], w[0], alpha=alpha, out=out[0])
    else:
        torch.baddbmm(add, x, w, alpha=alpha, out=out)


def _forward_rate(cell: Cell, w_rec: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
    """Run h_t = (1 - alpha) h_{t-1} + alpha phi(W h_{t-1} + drive_t); overwrites `drive`.

    Returns:
        phi at steps 1 ... T, and what W and the readout see at steps 0 ... T, here h itself.
    """
    alpha, activate = _alpha(cell), _ACTIVATIONS[type(cell)][0]
    states = drive.new_zeros(drive.shape[0] + 1, *drive.shape[1:])
    transposed = w_rec.mT.contiguous()
    for step in range(drive.shape[0]):
        active = drive[step] if alpha < 1 else states[step + 1]
        _product(states[step], transposed, drive[step], active)
        activate(active)
        if alpha < 1:
            torch.lerp(states[step], active, alpha, out=states[step + 1])
    return (drive if alpha < 1 else states[1:]), states


def _backward_rate(cell: Cell, w_rec: Tensor, out_grad: Tensor, active: Tensor) -> Tensor:
    """d loss / d drive at all steps from `out_grad`, d loss / d h_t through the readout; overwrites `out_grad`."""
    alpha = _alpha(cell)
    slope = _ACTIVATIONS[type(cell)][1](active).mul_(alpha)
    drive_grad = torch.empty_like(out_grad)
    for step in reversed(range(out_grad.shape[0])):
        torch.mul(out_grad[step], slope[step], out=drive_grad[step])
        if step > 0:
            if alpha < 1:
                out_grad[step - 1].add_(out_grad[step], alpha=1 - alpha)
            _product(drive_grad[step], w_rec, out_grad[step - 1], out_grad[step - 1])
    return drive_grad


def _forward_current(cell: Cell, w_rec: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
    """Run h_t = (1 - alpha) h_{t-1} + alpha (W tanh(h_{t-1}) + drive_t).

    Returns:
        tanh(h) at steps 1 ... T, and what W and the readout see at steps 0 ... T, here tanh(h) too.
    """
    alpha = _alpha(cell)
    rates = drive.new_zeros(drive.shape[0] + 1, *drive.shape[1:])
    transposed = w_rec.mT.contiguous()
    state, target = torch.zeros_like(drive[0]), torch.empty_like(drive[0])
    for step in range(drive.shape[0]):
        _product(rates[step], transposed, drive[step], target)
        state.lerp_(target, alpha)
        torch.tanh(state, out=rates[step + 1])
    return rates[1:], rates


def _backward_current(cell: Cell, w_rec: Tensor, out_grad: Tensor, active: Tensor) -> Tensor:
    """d loss / d drive at all steps from `out_grad`, d loss / d tanh(h_t) through the readout; overwrites it."""
    alpha = _alpha(cell)
    slope = _tanh_slope(active)
    drive_grad = torch.empty_like(out_grad)
    state_grad = torch.zeros_like(out_grad[0])
    for step in reversed(range(out_grad.shape[0])):
        state_grad.mul_(1 - alpha).addcmul_(out_grad[step], slope[step])
        torch.mul(state_grad, alpha, out=drive_grad[step])
        if step > 0:
            _product(drive_grad[step], w_rec, out_grad[step - 1], out_grad[step - 1])
    return drive_grad


def _recurrence(cell: Cell) -> tuple[Callable[..., tuple[Tensor, Tensor]], Callable[..., Tensor]]:
    """The forward and backward recurrences of a one-gate cell."""
    if isinstance(cell, LeakyTanhCell) and cell.form == "current":
        return _forward_current, _backward_current
    return _forward_rate, _backward_rate


def _alpha(cell: Cell) -> float:
    return cell.alpha if isinstance(cell, LeakyTanhCell) else 1.0


def _tanh_slope(active: Tensor) -> Tensor:
    """tanh' from tanh: 1 - tanh^2."""
    return torch.square(active).neg_().add_(1)


_ACTIVATIONS: dict[type[Cell], tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    TanhCell: (torch.Tensor.tanh_, _tanh_slope),
    LeakyTanhCell: (torch.Tensor.tanh_, _tanh_slope),
    ReluCell: (torch.Tensor.relu_, lambda active: (active > 0).to(active.dtype)),
}


PATHS: dict[str, Path] = {"autograd": autograd_gradients, "bptt": bptt_gradients}


def path_for(cell: Cell) -> str:
    """The fastest path that serves a cell: a name in `PATHS`. A subclass has its own step, hence autograd."""
    return "bptt" if type(cell) in _ACTIVATIONS else "autograd"
