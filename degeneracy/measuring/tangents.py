"""Empirical tangent kernels of members: how alike the outputs' gradients by all parameters are.

    K[s, s'] = sum_p  dy_s / dp  dy_s' / dp,   s = (trial, step, output), p all parameters as they act

The recurrent weights have units^2 of them, so their gradients are made in blocks of rows and only K is kept. For the
cells that say so (`Cell.signals`) they follow from what each step's input to the units does to the outputs (one
backward pass); for any other cell they are taken by automatic differentiation of the whole network, which is slower.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vjp, vmap

from degeneracy.analysis.recording import TangentKernel
from degeneracy.networks import forward, input_drive, linear_readout, member_count
from degeneracy.networks.cell import Cell, Params
from degeneracy.networks.pointwise import PointwiseCell

SIGNALS = 2**22  # numbers of signals held at once: (sample, time, input to the units) of some members
ROWS = 2**23  # numbers of gradients held at once: (sample, row of recurrent weights, unit)


def tangent_kernel(cell: Cell, params: Params, inputs: Tensor) -> TangentKernel:
    """The kernel of all members on some of their probe trials, as a function.

    Args:
        cell: the cell.
        params: parameters with a leading member axis.
        inputs: (trial, time, in), common to all members.
    """

    def kernel(trials: Sequence[int], steps: Sequence[int]) -> NDArray[np.float64]:
        chosen = inputs[list(trials), : max(steps) + 1]
        found = [_kernel(cell, own, chosen, list(steps)) for own in _parts(cell, params, chosen, len(steps))]
        return torch.cat(found).double().numpy()

    def select(members: Sequence[int]) -> TangentKernel:
        return tangent_kernel(cell, {name: value[list(members)] for name, value in params.items()}, inputs)

    return TangentKernel(kernel=kernel, select=select, n_trials=inputs.shape[0], n_steps=inputs.shape[1])


def _drives(cell: Cell, params: Params) -> int:
    """How many numbers enter the units at each step."""
    return cell.gates * cell.axis_size(params, "unit")


def _parts(cell: Cell, params: Params, inputs: Tensor, n_steps: int) -> Iterator[Params]:
    """The members, as many at a time as `SIGNALS` allows."""
    samples = len(inputs) * n_steps * cell.axis_size(params, "out")
    size = max(1, SIGNALS // (samples * inputs.shape[1] * _drives(cell, params)))
    for start in range(0, member_count(params), size):
        yield {name: value[start : start + size] for name, value in params.items()}


def _kernel(cell: Cell, params: Params, inputs: Tensor, steps: list[int]) -> Tensor:
    """(member, sample, sample), samples in the order (trial, step, output)."""
    if not serves_signals(cell, params):
        return torch.cat(
            [
                automatic(cell, {name: value[k : k + 1] for name, value in params.items()}, inputs, steps)
                for k in range(member_count(params))
            ]
        )
    return _by_signals(cell, params, inputs, steps)


def serves_signals(cell: Cell, params: Params) -> TypeGuard[PointwiseCell]:
    """Whether `_by_signals` serves a cell with these parameters: those that it says it has, and no other."""
    return cell.signals and params.keys() == {*cell.parameters(1, 1), "W_out", "b_out"}


def automatic(cell: Cell, params: Params, inputs: Tensor, steps: list[int]) -> Tensor:
    """The kernel by automatic differentiation of the network, whatever its cell is made of."""
    # A copy of a member for each of its trials, so that each has a gradient of its own.
    every = {name: value.repeat_interleave(len(inputs), 0) for name, value in params.items()}
    own = {name: value for name, value in every.items() if name not in cell.fixed}
    x = inputs.repeat(member_count(params), 1, 1).unsqueeze(1)

    def outputs(given: Params) -> Tensor:
        return forward(cell, {**every, **given}, x, {})[1][:, 0, steps]  # (member * trial, step, out)

    made: Any = vjp(outputs, own)
    y, back = made
    gradients = vmap(back)(_each(y))[0]  # of each parameter, (sample of a trial, member * trial, ...)
    found = y.new_zeros(())
    for value in gradients.values():
        found = found + _alike(value.flatten(2).transpose(0, 1), member_count(params))
    return found


def _each(y: Tensor) -> Tensor:
    """One direction for each step and output, in all trials at once, (step * out, *y.shape)."""
    n = y[0].numel()
    return torch.eye(n, dtype=y.dtype).view(n, 1, *y.shape[1:]).expand(n, *y.shape)


def _by_signals(cell: PointwiseCell, params: Params, inputs: Tensor, steps: list[int]) -> Tensor:
    """The kernel from what each step's input to the units does to the outputs.

    In a cell with `signals` that input is the drive, W_in x + bias, and the recurrent product, with the second bias
    where there is one; so a weight's gradient is a sum over steps of products.
    """
    n_members = member_count(params)
    x = inputs.expand(n_members, -1, -1, -1)
    drive = input_drive(cell, params, x, {})  # (time, member, trial, G * N)
    start = cell.state_0(params, drive[0])

    def outputs(drive: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        state, hidden = start, []
        for step_drive, step_offset in zip(drive, offset, strict=True):
            recurrent = cell.product(params, state) + step_offset
            state = cell.update(params, state, step_drive, recurrent)
            hidden.append(cell.hidden(state))
        seen = torch.stack(hidden)
        return linear_readout(params, seen[steps]).flatten(0, 1), seen  # (member * trial, step, out)

    made: Any = vjp(outputs, drive, torch.zeros_like(drive), has_aux=True)
    y, back, hidden = made
    # (sample of a trial, time, member * trial, G * N)
    into, after = (signals.flatten(2, 3) for signals in vmap(back)(_each(y)))
    before = torch.cat([cell.hidden(start)[None], hidden[:-1]]).flatten(1, 2)
    given = x.flatten(0, 1).transpose(0, 1)
    found = _of_weights(after, before, n_members) + _of_weights(into, given, n_members)
    for bias in (into, after)[: len(cell.biases)]:
        found += _alike(bias.sum(1).transpose(0, 1), n_members)
    return found + _of_readout(hidden[steps].flatten(1, 2), n_members, y.shape[-1])


def _alike(gradients: Tensor, n_members: int) -> Tensor:
    """Inner products of gradients (member * trial, sample of the trial, number), (member, sample, sample)."""
    flat = gradients.reshape(n_members, -1, gradients.shape[-1])
    return flat @ flat.mT


def _of_weights(signals: Tensor, seen: Tensor, n_members: int) -> Tensor:
    """The part of weights, whose gradient is sum_t signal_t seen_t^T, in blocks of rows.

    Args:
        signals: (sample of a trial, time, member * trial, row).
        seen: (time, member * trial, column).
        n_members: how many members there are.
    """
    n_samples, _, n_runs, _ = signals.shape
    columns, found = seen.transpose(0, 1), signals.new_zeros(())
    for some in signals.split(max(1, ROWS // (n_samples * n_runs * seen.shape[-1])), dim=3):
        rows = some.permute(2, 0, 3, 1).reshape(n_runs, n_samples * some.shape[3], -1)
        gradients = (rows @ columns).view(n_runs, n_samples, -1)
        found = found + _alike(gradients, n_members)
    return found


def _of_readout(hidden: Tensor, n_members: int, n_out: int) -> Tensor:
    """The part of the readout: an output's weights see the hidden state, its bias 1, other outputs' nothing.

    Args:
        hidden: (step, member * trial, unit).
    """
    seen = hidden.transpose(0, 1).reshape(n_members, -1, hidden.shape[-1])  # (member, trial * step, unit)
    alike = seen @ seen.mT + 1
    return torch.kron(alike, torch.eye(n_out, dtype=alike.dtype).unsqueeze(0))
