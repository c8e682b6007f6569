"""Gated cells in the form of `torch.nn`: GRU and LSTM."""

from typing import ClassVar

import torch
from torch import Tensor

from degeneracy.networks.cell import Kernel, Params
from degeneracy.networks.pointwise import PointwiseCell


class GRUCell(PointwiseCell):
    """Gated recurrent unit in `torch.nn.GRU`'s form: reset, update and candidate gates, two biases.

    r = sigmoid(W_r x + b_r + U_r h + c_r), z likewise, n = tanh(W_n x + b_n + r (U_n h + c_n)): of the reset and update
    gates only b + c acts; the candidate's c_n stands inside the product with r, so that both of its biases act.
    """

    name: ClassVar[str] = "gru"
    summary: ClassVar[str] = "gated recurrent unit, equal to torch.nn.GRU"
    source: ClassVar[str] = "Cho et al. (2014), arXiv 1406.1078, in the form of torch.nn.GRU"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signals: ClassVar[bool] = True
    gates: ClassVar[int] = 3
    candidate: ClassVar[int] = 2
    biases: ClassVar[tuple[str, ...]] = ("bias", "bias_rec")
    summed_biases: ClassVar[tuple[int, ...]] = (0, 1)

    @property
    def kernel(self) -> Kernel:
        """Its own."""
        return Kernel(name="gru")

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:
        """The next state."""
        recurrent = recurrent + params["bias_rec"].unsqueeze(1)
        drive_r, drive_z, drive_n = drive.chunk(3, dim=-1)
        rec_r, rec_z, rec_n = recurrent.chunk(3, dim=-1)
        reset = torch.sigmoid(drive_r + rec_r)
        update = torch.sigmoid(drive_z + rec_z)
        candidate = torch.tanh(drive_n + reset * rec_n)
        return candidate + update * (state - candidate)


class LSTMCell(PointwiseCell):
    """Long short-term memory in `torch.nn.LSTM`'s form: input, forget, candidate and output gates, two biases.

    The state is [h, c]; the readout sees h. Of every gate's two biases only the sum acts.
    """

    name: ClassVar[str] = "lstm"
    summary: ClassVar[str] = "long short-term memory, equal to torch.nn.LSTM"
    source: ClassVar[str] = "Hochreiter & Schmidhuber (1997), in the form of torch.nn.LSTM"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signals: ClassVar[bool] = True
    gates: ClassVar[int] = 4
    candidate: ClassVar[int] = 2
    biases: ClassVar[tuple[str, ...]] = ("bias", "bias_rec")
    summed_biases: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)
    states: ClassVar[int] = 2

    @property
    def kernel(self) -> Kernel:
        """Its own."""
        return Kernel(name="lstm")

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:
        """The next state."""
        memory = state.chunk(2, dim=-1)[1]
        gates = drive + recurrent + params["bias_rec"].unsqueeze(1)
        into, forget, candidate, out = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(into) * torch.tanh(candidate)
        return torch.cat([torch.sigmoid(out) * torch.tanh(memory), memory], dim=-1)

    def hidden(self, state: Tensor) -> Tensor:
        """h of [h, c]."""
        return state[..., : state.shape[-1] // 2]
