"""Cells that are PyTorch modules made elsewhere: a copy of each, and functions that say what it does with a state.

Parameters are the module's own, by their names after "module."; they are put into the copy for each call, so that a
cell of this kind is a function of them like any other, in any precision. Beside them stand what trials start from and
the weights that are known. Every member is a cell of its own.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pydantic
import torch
from torch import Tensor, nn
from torch.func import functional_call

from degeneracy.networks.cell import Cell, Parameter, Params

Step = Callable[[Any, Tensor, Tensor], Tensor]  # (module, state (trial, state), input (trial, in)) -> next state
Readout = Callable[[Any, Tensor], Tensor]  # (module, state (trial, state)) -> outputs (trial, out)
Whole = Callable[[Any, Tensor], tuple[Tensor, Tensor]]  # (module, inputs (trial, time, in)) -> outputs, states
OF_MODULE = "module."  # before the names of a module's parameters
START = "start"  # the parameter (state,) that trials start from
FILLED = 4  # copies with parameters that are kept: trained and untrained ones, in either precision
NOT_GIVEN = "the weights of the modules were not given (weights=)"


class _Called(nn.Module):
    """A module around a module, so that any function of it can be called with other parameters."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.module, *arguments)


class _OfModule(Cell):
    """What cells that are modules have in common."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    source: ClassVar[str] = "the user's own"

    module: nn.Module
    called: str
    input_size: int
    output_size: int
    n_hidden: int  # the first so many numbers of the state are what units do, which measures look at; 0: none are known
    named: Mapping[str, Parameter] = {}  # the weights that were given with it, among the parameters
    group: str = "permutation"  # under which these weights, relabelled, are the same network
    like: Cell | None = None  # the cell that these weights are of, where it is one of this package's
    untrained: tuple[str, ...] = ()  # the parameters that are buffers of the module, or frozen

    _called: _Called = pydantic.PrivateAttr()
    _filled: list[tuple[int, tuple[Tensor, ...], nn.Module]] = pydantic.PrivateAttr(default_factory=list)

    def __eq__(self, other: object) -> bool:
        """A module is like no other."""
        return self is other

    __hash__ = object.__hash__

    def model_post_init(self, _: Any) -> None:
        """Wrap the module."""
        self._called = _Called(self.module)

    def parameters(self, input_size: int, hidden_size: int) -> Mapping[str, Parameter]:  # noqa: ARG002
        """The weights that were given with the module; nothing is known of what else is in it."""
        return self.named

    def in_words(self) -> str:
        """What the user calls it: its class."""
        return self.called

    def readout_parameters(self, hidden_size: int, output_size: int) -> Mapping[str, Parameter]:  # noqa: ARG002
        """None beside the weights that were given."""
        return {}

    @property
    def fixed(self) -> tuple[str, ...]:  # type: ignore[override]
        """Buffers, frozen parameters, the start, and the weights, which stand beside the module that runs."""
        return (*self.untrained, *self.named, START)

    @property
    def symmetry(self) -> str:  # type: ignore[override]
        """The group under which the given weights, relabelled, are the same network."""
        return self.group if self.like is None else self.like.symmetry

    @property
    def candidate(self) -> int:  # type: ignore[override]
        """The gate of the given weights whose rows flip sign with a unit."""
        return 0 if self.like is None else self.like.candidate

    @property
    def summed_biases(self) -> tuple[int, ...]:  # type: ignore[override]
        """The gates of the given weights whose biases act through their sum."""
        return () if self.like is None else self.like.summed_biases

    def known_obstacle(self) -> str:
        """What the user said of the weights holds; where nothing was said, that is the reason."""
        return "" if self.named else NOT_GIVEN

    def axis_size(self, params: Params, axis: str) -> int:
        """How many units, inputs or outputs; others by the weights that were given."""
        known = {"unit": self.n_hidden, "in": self.input_size, "out": self.output_size}
        return known[axis] if axis in known else super().axis_size(params, axis)

    def hidden(self, state: Tensor) -> Tensor:
        """What the units do."""
        return state[..., : self.n_hidden]

    def drive(self, params: Params, inputs: Tensor) -> Tensor:  # noqa: ARG002
        """The inputs themselves, (time, member, trial, in)."""
        return inputs.permute(2, 0, 1, 3)

    def call(self, params: Params, member: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function makes of the module with the parameters of a member."""
        names = [name for name in params if name.startswith(OF_MODULE)]
        given = tuple(params[name] for name in names)
        if any(value.requires_grad for value in given):
            own = {name: value[member] for name, value in zip(names, given, strict=True)}
            return functional_call(self._called, own, (function, *arguments))
        return function(self._with(member, names, given), *arguments)

    def _with(self, member: int, names: list[str], given: tuple[Tensor, ...]) -> nn.Module:
        """A copy of the module that holds a member's parameters: to put them in for each step would take most of it."""
        for k, tensors, module in self._filled:
            if k == member and all(one is other for one, other in zip(tensors, given, strict=True)):
                return module
        filled = copy.deepcopy(self.module).to(given[0].dtype)
        places = {**dict(filled.named_parameters()), **dict(filled.named_buffers())}
        with torch.no_grad():
            for name, value in zip(names, given, strict=True):
                places[name.removeprefix(OF_MODULE)].copy_(value[member])
        self._filled[:] = [*self._filled[-FILLED + 1 :], (member, given, filled)]
        return filled


class ModuleCell(_OfModule):
    """A module that steps: next state = step(module, state, input), outputs = readout(module, state)."""

    name: ClassVar[str] = "module"
    summary: ClassVar[str] = "a PyTorch module made elsewhere, by its step and its readout"

    step_of: Step
    readout_of: Readout
    n_state: int
    units_of: tuple[int, ...]  # whose unit each number of the state is

    def state_size(self, hidden_size: int) -> int:  # noqa: ARG002
        """How many numbers the module's state is."""
        return self.n_state

    def units(self, hidden_size: int) -> Tensor:  # noqa: ARG002
        """Whose unit each number of the state is."""
        return torch.tensor(self.units_of)

    def state_0(self, params: Params, like: Tensor) -> Tensor:
        """Each member's start, on all trials."""
        return params[START].to(like).unsqueeze(1).expand(*like.shape[:2], -1)

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state of each member."""
        # Copies: a step of the user's own may write into the state that it is given.
        after = [self.call(params, k, self.step_of, state[k].clone(), drive[k]) for k in range(len(state))]
        return torch.stack(after)

    def read_out(self, params: Params, states: Tensor) -> Tensor:
        """The outputs of all steps."""
        rows = [
            self.call(params, k, self.readout_of, each.flatten(0, 1)).unflatten(0, each.shape[:2])
            for k, each in enumerate(states.unbind(1))
        ]
        return torch.stack(rows).transpose(1, 2)


class WholeTrialCell(_OfModule):
    """A module that runs whole trials, and gives outputs, and states where it does; its step is not known.

    What stands for a state is [states, outputs] at that time.
    """

    name: ClassVar[str] = "whole_trials"
    summary: ClassVar[str] = "a PyTorch module made elsewhere that gives outputs, and perhaps states, of whole trials"
    stepwise: ClassVar[bool] = False

    run_of: Whole

    def state_size(self, hidden_size: int) -> int:
        """As many numbers as there are units and outputs."""
        return hidden_size + self.output_size

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """There is none."""
        raise NotImplementedError("the module runs whole trials")

    def run(self, params: Params, drive: Tensor, start: Tensor) -> Tensor:  # noqa: ARG002
        """The module's states and outputs at all steps, from its own start."""
        trials = drive.permute(1, 2, 0, 3)
        both = [self.call(params, k, self.run_of, inputs) for k, inputs in enumerate(trials)]
        return torch.stack([torch.cat([states, outputs], -1) for outputs, states in both]).permute(2, 0, 1, 3)

    def read_out(self, params: Params, states: Tensor) -> Tensor:  # noqa: ARG002
        """The outputs that it gave."""
        return states[..., self.n_hidden :].permute(1, 2, 0, 3)
