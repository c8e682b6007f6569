"""The recurrent cells, written for stacked members: every parameter has a leading member axis.

Parameters of a cell with G gates and N units: `W_rec` (member, G*N, N), `W_in` (member, G*N, in) and one or two
biases (member, G*N); the gates' rows stand one below the other, in `torch.nn`'s order. `CELLS` is the table of
what is here; one's own cell is one subclass of `Cell` in one's own file.
"""

import math
from abc import abstractmethod
from typing import ClassVar, Literal

import pydantic
import torch
from torch import Tensor

from degeneracy.core.specs import Spec

Params = dict[str, Tensor]


class Cell(Spec):
    """Base of all cells: how a state moves by one step, given what the inputs drive.

    `candidate` is the gate that noise enters and whose rows a unit's sign flip acts on; `symmetry` names the
    group under which relabelled weights are the same network (`analysis.weights.symmetry.SYMMETRIES`).
    `summed_biases` names the gates, by position, whose biases act through their sum alone: what one has more the other
    may have less, and it is the same network.
    `state_range` is the least and the greatest value that the readout can see, from state 0 and without noise.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    symmetry: ClassVar[str] = "permutation"
    gates: ClassVar[int] = 1
    candidate: ClassVar[int] = 0
    biases: ClassVar[tuple[str, ...]] = ("bias",)
    summed_biases: ClassVar[tuple[int, ...]] = ()
    state_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    states: ClassVar[int] = 1  # the state is this many blocks of N units; the readout sees `hidden(state)`

    @property
    def noise_gain(self) -> float:
        """Factor on `sigma_rec` and `sigma_in`."""
        return 1.0

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter of one member, in the order in which they are drawn."""
        rows = self.gates * hidden_size
        return {
            "W_rec": (rows, hidden_size),
            "W_in": (rows, input_size),
            **dict.fromkeys(self.biases, (rows,)),
        }

    @abstractmethod
    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state.

        Args:
            params: the parameters, each with a leading member axis.
            state: (member, trial, states * N).
            drive: (member, trial, G * N): `W_in x + bias`, noise included.

        Returns:
            (member, trial, states * N).
        """

    def hidden(self, state: Tensor) -> Tensor:
        """The part of the state that the readout sees, (..., N)."""
        return state


def _recurrent(params: Params, hidden: Tensor) -> Tensor:
    """W_rec h, and what `recurrent_offset` (member, trial, G * N) adds to it where it is among the parameters.

    An offset is for gradients: what it does to the outputs is what the recurrent weights do at one step.
    """
    found = torch.matmul(hidden, params["W_rec"].mT)
    return found + params["recurrent_offset"] if "recurrent_offset" in params else found


class TanhCell(Cell):
    """h_t = tanh(W_rec h_{t-1} + W_in x_t + b)."""

    name: ClassVar[str] = "tanh"
    summary: ClassVar[str] = "vanilla RNN: h_t = tanh(W_rec h_{t-1} + W_in x_t + b)"
    source: ClassVar[str] = "Elman (1990); the cell of Huang et al. (2025), arXiv 2410.03972"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state."""
        return torch.tanh(drive + _recurrent(params, state))


class ReluCell(Cell):
    """h_t = max(0, W_rec h_{t-1} + W_in x_t + b)."""

    name: ClassVar[str] = "relu"
    summary: ClassVar[str] = "vanilla RNN with rectified units: h_t = max(0, W_rec h_{t-1} + W_in x_t + b)"
    source: ClassVar[str] = "Le, Jaitly & Hinton (2015), arXiv 1504.00941 (here with the common initialisation)"
    symmetry: ClassVar[str] = "scaled_permutation"
    state_range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state."""
        return torch.relu(drive + _recurrent(params, state))


class LeakyTanhCell(Cell):
    """Leaky units with alpha = dt / tau, in two forms.

    rate:    h_t = (1 - alpha) h_{t-1} + alpha tanh(W_rec h_{t-1} + W_in x_t + b), readout of h
    current: h_t = (1 - alpha) h_{t-1} + alpha (W_rec tanh(h_{t-1}) + W_in x_t + b), readout of tanh(h)
    """

    name: ClassVar[str] = "leaky_tanh"
    summary: ClassVar[str] = "leaky tanh units with time constant tau (rate or current form)"
    source: ClassVar[str] = "Song, Yang & Wang (2016), PLoS Comput Biol 12:e1004792, eqs. 1-5"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    dt_ms: float = pydantic.Field(20.0, gt=0, description="time step, ms")
    tau_ms: float = pydantic.Field(100.0, gt=0, description="time constant of the units, ms")
    form: Literal["rate", "current"] = "rate"

    @pydantic.model_validator(mode="after")
    def _step_within_tau(self) -> "LeakyTanhCell":
        if self.dt_ms > self.tau_ms:
            raise ValueError(f"dt_ms = {self.dt_ms:g} must not exceed tau_ms = {self.tau_ms:g}")
        return self

    @property
    def alpha(self) -> float:
        """The leak, dt / tau, in (0, 1]."""
        return self.dt_ms / self.tau_ms

    @property
    def noise_gain(self) -> float:
        """sqrt(2 / alpha), so that the noise's effect on h does not depend on the time step."""
        return (2 / self.alpha) ** 0.5

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state."""
        if self.form == "rate":
            target = torch.tanh(drive + _recurrent(params, state))
        else:
            target = drive + _recurrent(params, torch.tanh(state))
        return (1 - self.alpha) * state + self.alpha * target

    def hidden(self, state: Tensor) -> Tensor:
        """The rates: h itself in the rate form, tanh(h) in the current form."""
        return state if self.form == "rate" else torch.tanh(state)


class GRUCell(Cell):
    """Gated recurrent unit in `torch.nn.GRU`'s form: reset, update and candidate gates, two biases.

    r = sigmoid(W_r x + b_r + U_r h + c_r), z likewise, n = tanh(W_n x + b_n + r (U_n h + c_n)): of the reset and update
    gates only b + c acts; the candidate's c_n stands inside the product with r, so that both of its biases act.
    """

    name: ClassVar[str] = "gru"
    summary: ClassVar[str] = "gated recurrent unit, equal to torch.nn.GRU"
    source: ClassVar[str] = "Cho et al. (2014), arXiv 1406.1078, in the form of torch.nn.GRU"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    gates: ClassVar[int] = 3
    candidate: ClassVar[int] = 2
    biases: ClassVar[tuple[str, ...]] = ("bias", "bias_rec")
    summed_biases: ClassVar[tuple[int, ...]] = (0, 1)

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state."""
        recurrent = _recurrent(params, state) + params["bias_rec"].unsqueeze(1)
        drive_r, drive_z, drive_n = drive.chunk(3, dim=-1)
        rec_r, rec_z, rec_n = recurrent.chunk(3, dim=-1)
        reset = torch.sigmoid(drive_r + rec_r)
        update = torch.sigmoid(drive_z + rec_z)
        candidate = torch.tanh(drive_n + reset * rec_n)
        return candidate + update * (state - candidate)


class LSTMCell(Cell):
    """Long short-term memory in `torch.nn.LSTM`'s form: input, forget, candidate and output gates, two biases.

    The state is [h, c]; the readout sees h. Of every gate's two biases only the sum acts.
    """

    name: ClassVar[str] = "lstm"
    summary: ClassVar[str] = "long short-term memory, equal to torch.nn.LSTM"
    source: ClassVar[str] = "Hochreiter & Schmidhuber (1997), in the form of torch.nn.LSTM"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    gates: ClassVar[int] = 4
    candidate: ClassVar[int] = 2
    biases: ClassVar[tuple[str, ...]] = ("bias", "bias_rec")
    summed_biases: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)
    states: ClassVar[int] = 2

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state."""
        hidden, memory = state.chunk(2, dim=-1)
        gates = drive + _recurrent(params, hidden) + params["bias_rec"].unsqueeze(1)
        into, forget, candidate, out = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(into) * torch.tanh(candidate)
        return torch.cat([torch.sigmoid(out) * torch.tanh(memory), memory], dim=-1)

    def hidden(self, state: Tensor) -> Tensor:
        """h of [h, c]."""
        return state[..., : state.shape[-1] // 2]


CELLS: dict[str, type[Cell]] = {
    TanhCell.name: TanhCell,
    LeakyTanhCell.name: LeakyTanhCell,
    GRUCell.name: GRUCell,
    LSTMCell.name: LSTMCell,
    ReluCell.name: ReluCell,
}
