"""Modules by their step, and modules that run whole trials alone: made cells, and tried before they are taken.

A step is run on random states and inputs: it has to give states of the size that was said, the same ones each time, in
both precisions. Where the module also runs whole trials, stepping through them has to give what that gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.ensembles.modules.copies import module_params, untrained_names, working_copy
from degeneracy.ensembles.modules.given import Given
from degeneracy.networks import Parameter, dtype_of, forward
from degeneracy.networks.cell import Params
from degeneracy.networks.module_cell import START, ModuleCell, Readout, Step

N_TRIALS, N_STEPS = 5, 12
# Of the size of what is compared, in double precision: rounding, stretched by 12 steps of an ordinary network. What
# another order of axes, a start or a leak of its own make is above a thousandth.
AGREES = 1e-6
AGREES_SINGLE = 1e-3  # likewise in single precision, for a forward that runs in no other
QUIET = "what it draws at random has to be off (functions of torch take training=self.training)"
DOUBLE = "; tensors that it makes have to be like the state: state.new_zeros(...), not torch.zeros(...)"


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is known of a module's two sides and of its start."""

    input_size: int
    state_size: int
    n_hidden: int
    output_size: int | None = None  # None: found by running the readout
    start: Any = None  # (state,) numbers, or a function of the module; None: zeros
    units: tuple[int, ...] | None = None  # whose unit each number of the state is; None: each is a unit


def stepped(
    k: int,
    module: nn.Module,
    step: Step,
    readout: Readout,
    sides: Sides,
    whole: Callable[[Any, Tensor], Any] | None,
    called: str = "",
) -> Given:
    """A member by its step and its readout.

    Args:
        k: its position, for messages.
        module: of which a copy is kept.
        step, readout: functions of the module; see `ModuleCell`.
        sides: its sizes and its start.
        whole: what the module gives for whole trials (trial, time, in): outputs, or a tuple that begins with them;
            None where that is not known.
        called: what to call it; the name of its class by default.

    Raises:
        UserError: a step or a readout that cannot be run, gives another size than was said, draws at random, or does
            not do what the module does.
    """
    copied = working_copy(k, module)
    params = module_params(k, copied)
    params[START] = _start(k, copied, sides).to(dtype_of(params))
    cell = ModuleCell(
        module=copied,
        called=called or type(module).__name__,
        input_size=sides.input_size,
        output_size=sides.output_size or 1,
        step_of=step,
        readout_of=readout,
        n_state=sides.state_size,
        n_hidden=sides.n_hidden,
        units_of=tuple(range(sides.n_hidden)) if sides.units is None else sides.units,
        untrained=untrained_names(module, copied),
    )
    tried = Tried(k, params, sides)
    tried.step(cell)
    cell = cell.replace(output_size=tried.readout(cell))
    compared = {"not_compared": "it has no forward of whole trials"} if whole is None else tried.whole(cell, whole)
    return Given(cell=cell, params=params, provenance={"module": cell.called, **compared})


def _start(k: int, module: nn.Module, sides: Sides) -> Tensor:
    if sides.start is None:
        return torch.zeros(sides.state_size)
    start = sides.start(module) if callable(sides.start) else sides.start
    start = torch.as_tensor(start).detach().cpu()
    start = start if start.is_floating_point() or start.is_complex() else start.float()
    if start.shape != (sides.state_size,) or start.is_complex() or not start.isfinite().all():
        raise UserError(
            f"from_modules: h0 of member {k} has shape {tuple(start.shape)}; needed are {sides.state_size} finite"
            " numbers, as state_size says"
        )
    return start


class Tried:
    """What a module's functions do on random states and inputs."""

    def __init__(self, k: int, params: Params, sides: Sides) -> None:
        self.k, self.sides = k, sides
        streams = Streams([0], "from_modules")
        self.inputs = streams.normal((N_TRIALS, N_STEPS, sides.input_size))  # (1, trial, time, in)
        self.states = streams.normal((N_TRIALS, sides.state_size)).tanh()
        self.single = {name: value[None] for name, value in params.items()}
        self.double = {name: value.double() for name, value in self.single.items()}

    def said(self, what: str, call: Callable[[], Tensor], shape: tuple[int | None, ...], advice: str = "") -> Tensor:
        """What a call gives, where it can be run and has the shape that it should."""
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = call()
        except Exception as error:  # of the user's own code
            reason = next(iter(str(error).splitlines()), "")
            raise UserError(
                f"from_modules: member {self.k}: {what} cannot be run ({type(error).__name__}: {reason}){advice}"
            ) from error
        if not isinstance(found, Tensor) or len(found.shape) != len(shape):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"from_modules: member {self.k}: {what} gives {got}; needed is a tensor {_shape(shape)}")
        if any(size is not None and size != got for size, got in zip(shape, found.shape, strict=True)):
            raise UserError(
                f"from_modules: member {self.k}: {what} gives {tuple(found.shape)}; needed is {_shape(shape)}"
            )
        return found

    def twice(self, what: str, call: Callable[[], Tensor], shape: tuple[int | None, ...]) -> Tensor:
        """What a call gives, the same one each time."""
        runs: list[Tensor] = []

        def both() -> Tensor:
            runs[:] = [call(), call()]
            return runs[0]

        found = self.said(what, both, shape)
        if found.isfinite().all() and not torch.equal(found, runs[1]):
            raise UserError(f"from_modules: member {self.k}: {what} gives something else each time; {QUIET}")
        return found

    def step(self, cell: ModuleCell) -> None:
        """Refuse a step that gives no state, not the same one each time, or one that hangs on no parameter."""
        shape = (N_TRIALS, self.sides.state_size)

        def once(params: Params) -> Tensor:
            like = next(iter(params.values()))
            return cell.step(params, self.states.to(like), self.inputs[:, :, 0].to(like))[0]

        single = self.twice("its step", lambda: once(self.single), shape)
        changed = {name: 0.5 * value + 0.1 for name, value in self.single.items()}
        other = self.said("its step", lambda: once(changed), shape)
        if single.isfinite().all() and torch.equal(single, other):
            raise UserError(
                f"from_modules: member {self.k}: its step does not hang on the parameters of the module that it is"
                " given; it has to use its first argument"
            )
        self.said("its step in double precision", lambda: once(self.double), shape, DOUBLE)

    def readout(self, cell: ModuleCell) -> int:
        """How many outputs there are."""

        def once(params: Params) -> Tensor:
            found: Tensor = cell.call(params, 0, cell.readout_of, self.states[0].to(next(iter(params.values()))))
            return found

        shape = (N_TRIALS, self.sides.output_size)
        found = self.twice("its readout", lambda: once(self.single), shape)
        self.said("its readout in double precision", lambda: once(self.double), shape, DOUBLE)
        return found.shape[1]

    def whole(self, cell: ModuleCell, run: Callable[[Any, Tensor], Any]) -> dict[str, Any]:
        """How far stepping is from what the module gives for whole trials, of its size, or why that is not known.

        In double precision where its forward runs in that, which tells more.

        Raises:
            UserError: more than rounding.
        """
        reason = ""
        for params, allowed in ((self.double, AGREES), (self.single, AGREES_SINGLE)):
            inputs = self.inputs.to(next(iter(params.values())))
            try:
                with torch.no_grad(), torch.random.fork_rng(devices=[]):
                    runs = [cell.call(params, 0, run, inputs[0].clone()) for _ in range(2)]
            except Exception as error:  # a forward of another kind, or for single precision alone
                reason = reason or f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
                continue
            outputs, again = (made[0] if isinstance(made, tuple | list) and made else made for made in runs)
            if not isinstance(outputs, Tensor) or outputs.shape != (N_TRIALS, N_STEPS, cell.output_size):
                return {"not_compared": "its forward gives no outputs (trial, time, out)"}
            if outputs.isfinite().all() and not torch.equal(outputs, again):
                raise UserError(f"from_modules: member {self.k}: its forward gives other outputs each time; {QUIET}")
            with torch.no_grad():
                by_steps = forward(cell, params, inputs, {})[1][0]
            return {"largest_relative_difference": self.agree(outputs, by_steps, allowed)}
        return {"not_compared": f"its forward cannot be run ({reason})"}

    def agree(self, outputs: Tensor, by_steps: Tensor, allowed: float) -> float:
        """How far two runs differ, of their size, where that is no more than is allowed."""
        size = outputs.abs().max()
        difference = (outputs - by_steps).abs().amax(-1) / (size if size > 0 else 1.0)
        if not difference.max() <= allowed:
            worst = int(difference.argmax()) % N_STEPS
            raise UserError(
                f"from_modules: member {self.k}: its forward and its step disagree: outputs of random trials differ by"
                f" up to {difference.max():.3g} of their size, the most at step {worst} of {N_STEPS} (batch_first=False"
                " where its forward takes time first, compare=False where it is not of whole trials)"
            )
        return float(difference.max())


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def with_weights(k: int, given: Given, named: Mapping[str, tuple[Parameter, Tensor]], **about: Any) -> Given:
    """A member with the weights that are known of it, as parameters beside those of its module.

    Args:
        k: its position, for messages.
        given: the member.
        named: each weight's axes, sizes and role, and its numbers.
        about: further fields of its cell: `group`, `like`.
    """
    for name, (parameter, value) in named.items():
        if not value.isfinite().all():
            raise UserError(f"from_modules: member {k}: the weights '{name}' hold values that are not finite")
        n_units = [size for axis, size in zip(parameter.axes, parameter.sizes, strict=True) if axis in ("unit", "pre")]
        expected = given.cell.axis_size({}, "unit")
        if any(size != expected for size in n_units):
            raise UserError(
                f"from_modules: member {k}: the weights '{name}' have the sizes {parameter.sizes} of the axes"
                f" {parameter.axes}; the module has {expected} units"
            )
    cell = given.cell.replace(named={name: parameter for name, (parameter, _) in named.items()}, **about)
    dtype = next(iter(given.params.values())).dtype
    weights = {name: value.detach().cpu().to(dtype) for name, (_, value) in named.items()}
    return Given(cell=cell, params={**given.params, **weights}, provenance=given.provenance)
