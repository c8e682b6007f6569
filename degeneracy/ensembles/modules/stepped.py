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
from degeneracy.ensembles.modules.copies import buffer_names, module_params, working_copy
from degeneracy.ensembles.modules.given import Given
from degeneracy.networks import Parameter, dtype_of, forward
from degeneracy.networks.cell import Params
from degeneracy.networks.module_cell import START, ModuleCell, Readout, Step, WholeTrialCell

N_TRIALS, N_STEPS = 5, 12
# Of the size of what is compared, in double precision: rounding, stretched by 12 steps of an ordinary network. What
# another order of axes, a start or a leak of its own make is above a thousandth.
AGREES = 1e-6


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
        buffers=buffer_names(copied),
    )
    tried = _Tried(k, params, sides)
    tried.step(cell)
    cell = cell.replace(output_size=tried.readout(cell))
    difference = None if whole is None else tried.whole(cell, whole)
    about: dict[str, Any] = {"module": cell.called}
    about |= {} if difference is None else {"largest_relative_difference": difference}
    return Given(cell=cell, params=params, provenance=about)


def _start(k: int, module: nn.Module, sides: Sides) -> Tensor:
    if sides.start is None:
        return torch.zeros(sides.state_size)
    start = sides.start(module) if callable(sides.start) else sides.start
    start = torch.as_tensor(start).detach().cpu()
    if start.shape != (sides.state_size,) or not start.is_floating_point() or not start.isfinite().all():
        raise UserError(
            f"from_modules: h0 of member {k} has shape {tuple(start.shape)}; needed are {sides.state_size} finite"
            " numbers, as state_size says"
        )
    return start


class _Tried:
    """What a module's functions do on random states and inputs."""

    def __init__(self, k: int, params: Params, sides: Sides) -> None:
        self.k, self.sides = k, sides
        streams = Streams([0], "from_modules")
        self.inputs = streams.normal((N_TRIALS, N_STEPS, sides.input_size))  # (1, trial, time, in)
        self.states = streams.normal((N_TRIALS, sides.state_size)).tanh()
        self.single = {name: value[None] for name, value in params.items()}
        self.double = {name: value.double() for name, value in self.single.items()}

    def _said(self, what: str, call: Callable[[], Tensor], shape: tuple[int | None, ...]) -> Tensor:
        """What a call gives, where it can be run and has the shape that it should."""
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = call()
        except Exception as error:  # of the user's own code
            reason = next(iter(str(error).splitlines()), "")
            raise UserError(
                f"from_modules: member {self.k}: {what} cannot be run ({type(error).__name__}: {reason})"
            ) from error
        if not isinstance(found, Tensor) or len(found.shape) != len(shape):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"from_modules: member {self.k}: {what} gives {got}; needed is a tensor {_shape(shape)}")
        if any(size is not None and size != got for size, got in zip(shape, found.shape, strict=True)):
            raise UserError(
                f"from_modules: member {self.k}: {what} gives {tuple(found.shape)}; needed is {_shape(shape)}"
            )
        return found

    def step(self, cell: ModuleCell) -> None:
        """Refuse a step that gives no state, or not the same one each time."""
        shape = (N_TRIALS, self.sides.state_size)

        def once(params: Params) -> Tensor:
            like = next(iter(params.values()))
            return cell.step(params, self.states.to(like), self.inputs[:, :, 0].to(like))[0]

        single = self._said("its step", lambda: once(self.single), shape)
        change = self._said("its step", lambda: once(self.single) - once(self.single), shape)
        if single.isfinite().all() and change.any():
            raise UserError(
                f"from_modules: member {self.k}: its step gives another state each time; noise has to be off"
            )
        self._said("its step in double precision", lambda: once(self.double), shape)

    def readout(self, cell: ModuleCell) -> int:
        """How many outputs there are."""
        hidden = self.states[0, :, : self.sides.n_hidden]

        def once(params: Params) -> Tensor:
            like = next(iter(params.values()))
            found: Tensor = cell.call(params, 0, cell.readout_of, hidden.to(like))
            return found

        found = self._said("its readout", lambda: once(self.single), (N_TRIALS, self.sides.output_size))
        self._said("its readout in double precision", lambda: once(self.double), (N_TRIALS, self.sides.output_size))
        return found.shape[1]

    def whole(self, cell: ModuleCell, run: Callable[[Any, Tensor], Any]) -> float | None:
        """How far stepping is from what the module gives for whole trials, of its size; None where it gives nothing.

        Raises:
            UserError: more than rounding.
        """
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                made = cell.call(self.double, 0, run, self.inputs[0].double())
        except Exception:  # a forward of another kind, or for single precision alone
            return None
        outputs = made[0] if isinstance(made, tuple | list) else made
        if not isinstance(outputs, Tensor) or outputs.shape != (N_TRIALS, N_STEPS, cell.output_size):
            return None
        with torch.no_grad():
            stepped_outputs = forward(cell, self.double, self.inputs.double(), {})[1][0]
        size = outputs.abs().max()
        difference = (outputs - stepped_outputs).abs().amax(-1) / size if size else outputs.abs().amax(-1)
        worst = int(difference.argmax())
        if not difference.max() <= AGREES:
            raise UserError(
                f"from_modules: member {self.k}: its forward and its step disagree: outputs of random trials differ by"
                f" up to {difference.max():.3g} of their size, the most at step {worst % N_STEPS} of {N_STEPS}"
            )
        return float(difference.max())


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def whole_trials(k: int, module: nn.Module, input_size: int, output_size: int | None, *, batch_first: bool) -> Given:
    """A member that runs whole trials: its forward gives outputs, or (outputs, states).

    Raises:
        UserError: a forward that cannot be run, or whose outputs of a trial hang on other trials.
    """
    copied = working_copy(k, module)
    params = module_params(k, copied)

    def run(of: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
        made = of(inputs if batch_first else inputs.transpose(0, 1))
        outputs, *more = made if isinstance(made, tuple | list) else (made,)
        states = more[0] if more and _over_time(more[0], outputs) else outputs[..., :0]
        return (outputs, states) if batch_first else (outputs.transpose(0, 1), states.transpose(0, 1))

    called = type(module).__name__
    cell = WholeTrialCell(module=copied, called=called, input_size=input_size, output_size=1, run_of=run, n_hidden=0)
    tried = _Tried(k, params, Sides(input_size=input_size, state_size=1, n_hidden=0))
    like = next(iter(tried.single.values()))
    inputs = tried.inputs[0].to(like)
    states: list[Tensor] = []

    def outputs(given: Tensor) -> Tensor:
        made, seen = cell.call(tried.single, 0, run, given)
        states.append(seen)
        found: Tensor = made
        return found

    shape = (N_TRIALS, N_STEPS, output_size)
    first = tried._said("its forward", lambda: outputs(inputs), shape)
    changed = inputs.clone()
    changed[0] += 1.0
    second = tried._said("its forward", lambda: outputs(changed), shape)
    if first.isfinite().all() and not torch.allclose(first[1:], second[1:], rtol=1e-4, atol=1e-5):
        raise UserError(
            f"from_modules: member {k}: its outputs of one trial change with the inputs of another; give batch_first="
            f"{not batch_first} if its forward takes {'(time, trial, in)' if batch_first else '(trial, time, in)'}"
        )
    made = cell.replace(output_size=first.shape[-1], n_hidden=states[0].shape[-1], buffers=buffer_names(copied))
    return Given(cell=made, params=params, provenance={"module": called})


def _over_time(states: object, outputs: Tensor) -> bool:
    """Whether these are states of all trials and steps."""
    return isinstance(states, Tensor) and states.ndim == 3 and states.shape[:2] == outputs.shape[:2]


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
