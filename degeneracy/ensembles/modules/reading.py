"""What kind of module each of the given ones is, and so how it is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, get_args

import torch
from torch import Tensor, nn

from degeneracy.core.errors import UserError
from degeneracy.ensembles.modules.copies import module_params, unwrapped, working_copy
from degeneracy.ensembles.modules.exported import RecurrentModule
from degeneracy.ensembles.modules.given import Given
from degeneracy.ensembles.modules.known import kind_of, random_trials, read_known
from degeneracy.ensembles.modules.recurrent_parts import read_pair
from degeneracy.ensembles.modules.stepped import Sides, stepped, with_weights
from degeneracy.ensembles.modules.whole import check_sequence, whole_trials
from degeneracy.networks import Cell, Parameter
from degeneracy.networks.cell import Role
from degeneracy.networks.cells import CELLS

Size = int | Callable[[Any], int] | None
ORDINARY = {"recurrent": ("unit", "pre"), "input": ("unit", "in"), "bias": ("unit",), "readout": ("out", "pre")}
NEEDED = (
    "needed is a pair (nn.RNN, nn.GRU, nn.LSTM or a cell; its readout or None), or a module with step= and readout="
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user says of all modules; see `Ensemble.from_modules`."""

    step: Callable[..., Any] | None = None
    readout: Callable[..., Any] | None = None
    state_size: Size = None
    input_size: Size = None
    output_size: Size = None
    h0: Any = None
    weights: Callable[[Any], Mapping[str, Any]] | None = None
    symmetry: str = "permutation"
    hidden_size: Size = None
    batch_first: bool = True
    compare: bool = True
    whole: bool = False  # take what runs whole trials as it is

    def size(self, k: int, module: Any, name: str) -> int | None:
        """One of the sizes, of one module."""
        asked = getattr(self, name)
        size = asked(module) if callable(asked) else asked
        if isinstance(size, Integral) and not isinstance(size, bool):
            size = int(size)
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise UserError(f"from_modules: {name} of member {k} is {size!r}; needed is a whole number from 1 on")
        return size


def read_module(k: int, given: object, asked: Asked) -> Given:
    """One of the given modules, or pairs of them.

    Raises:
        UserError: one that cannot be read; says what is needed.
    """
    if asked.step is not None or asked.readout is not None:
        return _by_functions(k, given, asked)
    for name in ("state_size", "hidden_size", "h0", "weights"):
        if getattr(asked, name) is not None:
            raise UserError(f"from_modules: {name}= has a meaning beside step= and readout= alone, which are not given")
    if isinstance(given, tuple | list):
        if len(given) != 2:
            raise UserError(f"from_modules: member {k} is a {type(given).__name__} of {len(given)}; {NEEDED}")
        core, readout = (unwrapped(each) for each in given)
        return _pair(k, core, readout)
    module = unwrapped(given)
    if not isinstance(module, nn.Module):
        raise UserError(f"from_modules: member {k} is a {type(given).__name__}; {NEEDED}")
    if isinstance(module, RecurrentModule):
        params = {name: value.detach().cpu().clone() for name, value in module.named_parameters()}
        return Given(cell=module.cell, params=params, provenance={"module": type(module).__name__})
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return _pair(k, module, None)
    if isinstance(module, nn.Sequential) and len(module) and isinstance(module[0], nn.RNNBase | nn.RNNCellBase):
        return _sequence(k, module)
    return _whole(k, module, asked)


def _pair(k: int, core: Any, readout: Any) -> Given:
    if not isinstance(core, nn.Module) or not (readout is None or isinstance(readout, nn.Module)):
        kinds = f"({type(core).__name__}, {type(readout).__name__})"
        raise UserError(f"from_modules: member {k} is {kinds}; {NEEDED}")
    kind = kind_of(core)
    if kind is None:
        return read_pair(k, core, readout)
    if isinstance(readout, nn.Linear):
        return read_known(k, core, readout)
    return _with_known_weights(k, read_pair(k, core, readout), core, CELLS[kind]())


def _with_known_weights(k: int, given: Given, core: Any, like: Cell) -> Given:
    """The weights between units and from the inputs, where they are those of a cell of this package and act as such."""
    own = next(core.parameters(), None)
    if own is None:
        return given
    try:
        read = read_known(k, core, nn.Linear(core.hidden_size, 1).to(own))  # the readout does not matter here
    except UserError:
        return given
    named = like.parameters(core.input_size, core.hidden_size)
    return with_weights(k, given, {name: (named[name], read.params[name]) for name in named}, like=like)


def _sequence(k: int, module: nn.Sequential) -> Given:
    """A recurrent module and what follows: what takes the states out of the tuple that it gives is left out."""
    core, *rest = module
    while rest and not list(rest[0].parameters()) and not _takes(rest[0], core):
        rest = rest[1:]
    read = _pair(k, core, rest[0] if len(rest) == 1 else nn.Sequential(*rest) if rest else None)
    check_sequence(k, module, read)
    return read


def _takes(part: nn.Module, core: Any) -> bool:
    """Whether a part of a readout takes states, and gives numbers of theirs."""
    size = getattr(core, "proj_size", 0) or core.hidden_size
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = part(torch.zeros(2, 3, size))
    except Exception:  # of the user's own module
        return False
    return isinstance(found, Tensor) and found.ndim == 3 and found.shape[:2] == (2, 3)


def _whole(k: int, module: nn.Module, asked: Asked) -> Given:
    """A module that runs whole trials; as its recurrent part and its readout where it has one of each, and is both."""
    cores = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
    input_size = asked.size(k, module, "input_size")
    if len(cores) == 1:
        readouts = [part for part in module.modules() if isinstance(part, nn.Linear)]
        input_size = input_size or cores[0].input_size
        apart = len(readouts) == 1 and not asked.whole
        if apart and _does_the_same(k, module, cores[0], readouts[0], asked.batch_first):
            return _pair(k, cores[0], readouts[0])
    if input_size is None:
        raise UserError(
            f"from_modules: member {k} is a {type(module).__name__}: give input_size= to run its forward on whole"
            " trials, or step=, readout=, state_size= and input_size="
        )
    return whole_trials(k, module, input_size, asked.size(k, module, "output_size"), batch_first=asked.batch_first)


def _does_the_same(k: int, module: nn.Module, core: nn.RNNBase, readout: nn.Linear, batch_first: bool) -> bool:
    """Whether a module does on random trials what its recurrent part, read out, does: exactly, in one precision."""
    copied = working_copy(k, module)
    places = dict(copied.named_modules())
    names = {part: name for name, part in module.named_modules()}
    own_core, own_readout = places[names[core]], places[names[readout]]
    inputs = random_trials(core.input_size).to(next(iter(module_params(k, copied).values())))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            made: Any = copied(inputs if batch_first else inputs.transpose(0, 1))
            states = own_core(inputs if core.batch_first else inputs.transpose(0, 1))[0]
            expected = own_readout(states if core.batch_first else states.transpose(0, 1))
    except Exception:  # of the user's own module: then it is run as a whole, and that says what is wrong
        return False
    outputs = made[0] if isinstance(made, tuple | list) else made
    outputs = outputs if batch_first or not isinstance(outputs, Tensor) else outputs.transpose(0, 1)
    if not isinstance(outputs, Tensor) or outputs.shape != expected.shape:
        return False
    return bool(torch.allclose(outputs, expected, rtol=1e-5, atol=1e-6))  # rounding of single precision


def _by_functions(k: int, given: object, asked: Asked) -> Given:
    """A module of the user's own, by two functions of it."""
    module = unwrapped(given)
    if asked.step is None or asked.readout is None:
        raise UserError("from_modules: step= and readout= are given together")
    if not isinstance(module, nn.Module):
        raise UserError(f"from_modules: member {k} is a {type(given).__name__}; beside step= it has to be a module")
    names = ("state_size", "input_size", "hidden_size")
    state_size, input_size, hidden_size = (asked.size(k, module, name) for name in names)
    if state_size is None or input_size is None:
        raise UserError("from_modules: step= needs state_size= and input_size=")
    n = state_size if hidden_size is None else hidden_size
    if n > state_size:
        raise UserError(f"from_modules: hidden_size = {n} of member {k} is more than its state_size = {state_size}")
    blocks, rest = divmod(state_size, n)
    sides = Sides(
        input_size=input_size,
        state_size=state_size,
        n_hidden=n,
        output_size=asked.size(k, module, "output_size"),
        start=asked.h0,
        units=tuple(range(n)) * blocks if not rest else tuple(range(n)) + (-1,) * (state_size - n),
    )

    def whole(of: Any, inputs: Tensor) -> Any:
        made = of(inputs if asked.batch_first else inputs.transpose(0, 1))
        outputs = made[0] if isinstance(made, tuple | list) else made
        return outputs if asked.batch_first else outputs.transpose(0, 1)

    read = stepped(k, module, asked.step, asked.readout, sides, whole if asked.compare else None)
    if asked.weights is None:
        return read
    with torch.no_grad():
        named = _named_weights(k, asked.weights(module))
    return with_weights(k, read, named, group=asked.symmetry)


def _named_weights(k: int, given: object) -> dict[str, tuple[Parameter, Tensor]]:
    """The weights that the user's function gives, each with its axes and its role."""
    if not isinstance(given, Mapping):
        raise UserError(f"from_modules: weights= gives {type(given).__name__} of member {k}; needed is a dictionary")
    named = {}
    for name, value in given.items():
        whole = isinstance(value, tuple | list) and len(value) == 3
        if not whole and name not in ORDINARY:
            raise UserError(
                f"from_modules: weights= gives '{name}' of member {k}; known by name are {', '.join(ORDINARY)}, any"
                " other is given as (array, axes, role)"
            )
        array = torch.as_tensor(value[0] if whole else value)
        axes, role = (tuple(value[1]), value[2]) if whole else (_axes(name, array), name)
        if role not in get_args(Role):
            raise UserError(
                f"from_modules: weights= gives '{name}' the role {role!r} (known: {', '.join(get_args(Role))})"
            )
        if array.ndim != len(axes) or not array.is_floating_point():
            raise UserError(
                f"from_modules: weights= gives '{name}' of member {k} with shape {tuple(array.shape)}; needed are real"
                f" numbers with the axes {axes}"
            )
        parameter = Parameter(axes=axes, sizes=tuple(array.shape), role=role)
        named[name] = parameter, array.reshape(parameter.shape).detach().clone()
    return named


def _axes(name: str, array: Tensor) -> tuple[str, ...]:
    """The axes of an ordinary block, which may have one of gates before them."""
    axes = ORDINARY[name]
    return ("gate", *axes) if array.ndim == len(axes) + 1 and name != "readout" else axes
