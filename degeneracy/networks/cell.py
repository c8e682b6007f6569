"""What a recurrent cell is, written for stacked members: every parameter has a leading member axis.

A cell says which parameters it has, each by the meaning of its axes and its role (`Cell.parameters`). Those of
the dense cells with G gates and N units: `W_rec` (member, G*N, N), `W_in` (member, G*N, in) and one or two biases
(member, G*N); the gates' rows stand one below the other, in `torch.nn`'s order. The built-in cells are one subclass
each in the files that `cells.py` lists; one's own cell is one subclass of `Cell` in one's own file.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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

    `name` is "tanh" or "relu" of a one-gate cell, "gru", "lstm" or "min_gru"; `current` says that f stands inside the
    product with the recurrent weights, and the readout sees f(h). With `leaks`, each unit has a trained leak of its own
    in place of `leak`: this function makes them (member, unit) of further parameters, and is differentiated.
    """

    name: str
    leak: float = 1.0
    current: bool = False
    leaks: Callable[[Params], Tensor] | None = None


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
    scans: ClassVar[bool] = False  # a `ScanCell` that steps by its coefficients alone
    fixed: ClassVar[
        tuple[str, ...]
    ] = ()  # parameters that no training has moved: how outputs hang on them is no matter
    stepwise: ClassVar[bool] = True  # False: runs whole trials alone; there is no `step`, and no start but its own

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

    def readout_parameters(self, hidden_size: int, output_size: int) -> Mapping[str, Parameter]:
        """Those of the readout, drawn after the cell's: of a linear one by default."""
        return {
            "W_out": Parameter(axes=("out", "pre"), sizes=(output_size, self.read_size(hidden_size)), role="readout"),
            "b_out": Parameter(axes=("out",), sizes=(output_size,), role="readout"),
        }

    @property
    def between_units(self) -> list[str]:
        """The names of the recurrent weights, of each unit to each."""
        return [name for name, parameter in self.parameters(1, 1).items() if parameter.between_units]

    def axis_size(self, params: Params, axis: str) -> int:
        """How long an axis is in parameters with a leading member axis, by the first that has it.

        Args:
            params: the cell's, and the readout's.
            axis: "unit", "in", another that the cell names, or "out".

        Raises:
            KeyError: none has it.
        """
        if axis == "out":
            return params["b_out"].shape[-1]
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

    def in_words(self) -> str:
        """What to call it."""
        return self.name

    def known_obstacle(self) -> str | None:
        """Why its parameters are not what acts, in one line, "" where they are; None where that is found by trying."""
        return None

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

    def state_0(self, params: Params, like: Tensor) -> Tensor:
        """What members start from: 0 by default, (member, trial, state).

        Args:
            params: the parameters, each with a leading member axis.
            like: (member, trial, ...): how many of both, and the dtype and device.
        """
        return like.new_zeros(*like.shape[:2], self.state_size(self.axis_size(params, "unit")))

    def hidden(self, state: Tensor) -> Tensor:
        """The part of the state that the readout sees, (..., N)."""
        return state

    def read_out(self, params: Params, states: Tensor) -> Tensor:
        """The outputs: `W_out hidden(state) + b_out` by default.

        Args:
            params: the cell's parameters and the readout's, each with a leading member axis.
            states: (time, member, trial, state).

        Returns:
            (member, trial, time, out).
        """
        return linear_readout(params, self.hidden(states))


def member_count(params: Params) -> int:
    """How many members parameters with a leading member axis are of."""
    return len(next(iter(params.values())))


def dtype_of(params: Params) -> torch.dtype:
    """The precision that members run in."""
    return next(iter(params.values())).dtype


def linear_readout(params: Params, hidden: Tensor) -> Tensor:
    """`W_out h + b_out`, (member, trial, time, out), of what the readout sees, (time, member, trial, N)."""
    return torch.einsum("tmbn,mon->mbto", hidden, params["W_out"]) + params["b_out"][:, None, None]
