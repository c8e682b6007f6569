"""The recurrent cells, written for stacked members: every parameter has a leading member axis.

A cell says which parameters it has, each by the meaning of its axes and its role (`Cell.parameters`). Those of
the dense cells with G gates and N units: `W_rec` (member, G*N, N), `W_in` (member, G*N, in) and one or two biases
(member, G*N); the gates' rows stand one below the other, in `torch.nn`'s order. `CELLS` is the table of what is here;
one's own cell is one subclass of `Cell` in one's own file.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pydantic
import torch
from torch import Tensor

from degeneracy.core.specs import Spec

Params = dict[str, Tensor]
Role = Literal["recurrent", "input", "bias", "readout", "unit"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of one member: what its axes mean, how long they are, and what it is for.

    Axes named "unit" and "pre" go along with the hidden units when these are relabelled: "unit" is the unit that a
    number belongs to, "pre" the one that it looks at. "gate" may stand first, before "unit": in the tensor the gates'
    rows then stand one below the other. Other names ("in", "out", "rank", ...) are left alone by relabelling.

    `role` says what a change of a unit's sign or scale does: rows (of the candidate gate) of "recurrent", "input" and
    "bias" are multiplied by it, axes "pre" are divided by it; "unit", a property of each unit such as its time
    constant or gain, keeps its sign and size.
    """

    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    role: Role
    start: tuple[float, float] | None = None  # uniform between these; None: as the network's parametrisation draws it

    @property
    def gated(self) -> bool:
        """Whether the gates' rows stand one below the other in the tensor."""
        return self.axes[:1] == ("gate",)

    @property
    def between_units(self) -> bool:
        """Whether these are recurrent weights, of each unit to each: (gate, unit, pre) or (unit, pre)."""
        return self.role == "recurrent" and self.axes[self.gated :] == ("unit", "pre")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one member's tensor."""
        return (self.sizes[0] * self.sizes[1], *self.sizes[2:]) if self.gated else self.sizes


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """The hand-written gradients that serve a cell: h_t = (1 - leak) h_{t-1} + leak f(...), by the name of f.

    `name` is "tanh" or "relu" of a one-gate cell, or "gru"; `current` says that f stands inside the product with the
    recurrent weights, and the readout sees f(h).
    """

    name: str
    leak: float = 1.0
    current: bool = False


class Cell(Spec):
    """Base of all cells: how a state moves by one step, given what the inputs drive.

    `candidate` is the gate that noise enters and whose rows a unit's sign flip acts on; `symmetry` names the
    group under which relabelled weights are the same network (`analysis.weights.symmetry.SYMMETRIES`).
    `summed_biases` names the gates, by position, whose biases act through their sum alone: what one has more the other
    may have less, and it is the same network.
    `state_range` is the least and the greatest value that the readout can see, from state 0 and without noise.

    What the fast ways of training and measuring rely on (`kernel`, `signals`, `maximal_update`) holds for the class
    that states it, and never for a subclass, which may step in another way.
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
    signals: ClassVar[bool] = False  # a `PointwiseCell` whose parameters are W_rec, W_in and biases alone
    maximal_update: ClassVar[bool] = False  # the parametrisation "mup" is derived for it

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Takes back what a subclass has inherited but not stated."""
        super().__pydantic_init_subclass__(**options)
        for trait in ("kernel", "signals", "maximal_update"):
            if trait not in vars(cls):
                setattr(cls, trait, vars(Cell)[trait])

    @property
    def kernel(self) -> Kernel | None:
        """The hand-written gradients that serve this cell; None where automatic differentiation has to."""
        return None

    @property
    def noise_gain(self) -> float:
        """Factor on `sigma_rec` and `sigma_in`."""
        return 1.0

    def parameters(self, input_size: int, hidden_size: int) -> Mapping[str, Parameter]:
        """The parameters of one member, in the order in which they are drawn: W_rec, W_in and biases by default."""
        rows = {"gate": self.gates, "unit": hidden_size}
        named: dict[str, tuple[Role, dict[str, int]]] = {
            "W_rec": ("recurrent", rows | {"pre": hidden_size}),
            "W_in": ("input", rows | {"in": input_size}),
            **dict.fromkeys(self.biases, ("bias", rows)),
        }
        return {
            name: Parameter(axes=tuple(axes), sizes=tuple(axes.values()), role=role)
            for name, (role, axes) in named.items()
        }

    @property
    def between_units(self) -> list[str]:
        """The names of the recurrent weights, of each unit to each."""
        return [name for name, parameter in self.parameters(1, 1).items() if parameter.between_units]

    def axis_size(self, params: Params, axis: str) -> int:
        """How long an axis is in parameters with a leading member axis, by the first that has it.

        Raises:
            KeyError: none has it.
        """
        for name, parameter in self.parameters(1, 1).items():
            if axis in parameter.axes and name in params:
                place = parameter.axes.index(axis) - parameter.gated
                return params[name].shape[1 + place] // (parameter.sizes[0] if parameter.gated and not place else 1)
        raise KeyError(axis)

    def state_size(self, hidden_size: int) -> int:
        """How many numbers the state is."""
        return self.states * hidden_size

    def read_size(self, hidden_size: int) -> int:
        """How many numbers the readout sees."""
        return hidden_size

    def units(self, hidden_size: int) -> Tensor:
        """Whose unit each number of the state is, (state,); -1: nobody's. A lesion of a unit silences all of its."""
        return torch.arange(hidden_size).repeat(self.states)

    def acting(self, params: Params) -> Params:
        """The parameters as they act, in the same shapes: |W| where a step makes nothing of the signs of W."""
        return params

    def drive(self, params: Params, inputs: Tensor) -> Tensor:
        """What the inputs drive at all steps: `W_in x + bias` by default.

        Args:
            params: the parameters, each with a leading member axis.
            inputs: (member, trial, time, in).

        Returns:
            (time, member, trial, G * N).
        """
        n_members, n_trials, n_steps, input_size = inputs.shape
        rows = inputs.permute(0, 2, 1, 3).reshape(n_members, n_steps * n_trials, input_size)
        drive = torch.baddbmm(params["bias"].unsqueeze(1), rows, params["W_in"].mT)
        return drive.view(n_members, n_steps, n_trials, drive.shape[-1]).transpose(0, 1)

    @abstractmethod
    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state.

        Args:
            params: the parameters, each with a leading member axis.
            state: (member, trial, state), `state_size` numbers.
            drive: (member, trial, G * N): what `drive` gave for the step, noise included.

        Returns:
            (member, trial, state).
        """

    def run(self, params: Params, drive: Tensor, start: Tensor) -> Tensor:
        """The states at all steps, (time, member, trial, state), from `start` (member, trial, state)."""
        state, states = start, []
        for step_drive in drive:
            state = self.step(params, state, step_drive)
            states.append(state)
        return torch.stack(states)

    def hidden(self, state: Tensor) -> Tensor:
        """The part of the state that the readout sees, (..., N)."""
        return state


class PointwiseCell(Cell):
    """Cells whose units meet in one product, W_rec hidden(state); all else each unit does by itself."""

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state."""
        return self.update(params, state, drive, self.product(params, state))

    def product(self, params: Params, state: Tensor) -> Tensor:
        """What the recurrent weights make of a state, (member, trial, G * N)."""
        return torch.matmul(self.hidden(state), params["W_rec"].mT)

    @abstractmethod
    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:
        """The next state, given what the recurrent weights make of the present one, (member, trial, G * N)."""


class TanhCell(PointwiseCell):
    """h_t = tanh(W_rec h_{t-1} + W_in x_t + b)."""

    name: ClassVar[str] = "tanh"
    summary: ClassVar[str] = "vanilla RNN: h_t = tanh(W_rec h_{t-1} + W_in x_t + b)"
    source: ClassVar[str] = "Elman (1990); the cell of Huang et al. (2025), arXiv 2410.03972"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signals: ClassVar[bool] = True
    maximal_update: ClassVar[bool] = True

    @property
    def kernel(self) -> Kernel:
        """That of one gate with tanh."""
        return Kernel(name="tanh")

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:  # noqa: ARG002
        """The next state."""
        return torch.tanh(drive + recurrent)


class ReluCell(PointwiseCell):
    """h_t = max(0, W_rec h_{t-1} + W_in x_t + b)."""

    name: ClassVar[str] = "relu"
    summary: ClassVar[str] = "vanilla RNN with rectified units: h_t = max(0, W_rec h_{t-1} + W_in x_t + b)"
    source: ClassVar[str] = "Le, Jaitly & Hinton (2015), arXiv 1504.00941 (here with the common initialisation)"
    symmetry: ClassVar[str] = "scaled_permutation"
    state_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    signals: ClassVar[bool] = True

    @property
    def kernel(self) -> Kernel:
        """That of one gate with rectified units."""
        return Kernel(name="relu")

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:  # noqa: ARG002
        """The next state."""
        return torch.relu(drive + recurrent)


class LeakyTanhCell(PointwiseCell):
    """Leaky units with alpha = dt / tau, in two forms.

    rate:    h_t = (1 - alpha) h_{t-1} + alpha tanh(W_rec h_{t-1} + W_in x_t + b), readout of h
    current: h_t = (1 - alpha) h_{t-1} + alpha (W_rec tanh(h_{t-1}) + W_in x_t + b), readout of tanh(h)
    """

    name: ClassVar[str] = "leaky_tanh"
    summary: ClassVar[str] = "leaky tanh units with time constant tau (rate or current form)"
    source: ClassVar[str] = "Song, Yang & Wang (2016), PLoS Comput Biol 12:e1004792, eqs. 1-5"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signals: ClassVar[bool] = True
    maximal_update: ClassVar[bool] = True

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

    @property
    def kernel(self) -> Kernel:
        """That of one gate with tanh, with this leak and form."""
        return Kernel(name="tanh", leak=self.alpha, current=self.form == "current")

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:  # noqa: ARG002
        """The next state."""
        target = torch.tanh(drive + recurrent) if self.form == "rate" else drive + recurrent
        return (1 - self.alpha) * state + self.alpha * target

    def hidden(self, state: Tensor) -> Tensor:
        """The rates: h itself in the rate form, tanh(h) in the current form."""
        return state if self.form == "rate" else torch.tanh(state)


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


CELLS: dict[str, type[Cell]] = {
    TanhCell.name: TanhCell,
    LeakyTanhCell.name: LeakyTanhCell,
    GRUCell.name: GRUCell,
    LSTMCell.name: LSTMCell,
    ReluCell.name: ReluCell,
}
