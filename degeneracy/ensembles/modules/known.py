"""PyTorch modules trained elsewhere: what acts in them is read, and proved by running them.

What a module stores need not be what acts. Pruned, normed and parametrised weights are made from others while it runs,
tied ones are one tensor under two names, a subclass may do anything. So a module is run on random inputs, in evaluation
mode; then its weights are read as attributes, as they have just acted; and a network of this package with these
weights has to do what the module did, up to rounding. The module itself is left as it was.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.ensembles.modules.copies import PRECISIONS
from degeneracy.ensembles.modules.given import Given
from degeneracy.networks import forward
from degeneracy.networks.cell import Params
from degeneracy.networks.cells import CELLS

KINDS = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "GRU": "gru", "LSTM": "lstm"}  # the cell, by torch's `mode`
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
N_STEPS = 12
INPUT_SIZES = (0.0, 0.1, 1.0, 10.0) * 2  # sd of the inputs of each trial: at rest, linear, saturated
# The module and the network add in another order, so that they differ by a few roundings, which the dynamics then
# stretch. What one rounding of each weight does is found by trying, and this many times that is allowed.
ROUNDINGS = 100
TELLING = 0.01  # of the size of the states: steps where more than this would be allowed prove nothing


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What a module did on the inputs; all (trial, time, ...), on the CPU."""

    inputs: Tensor
    states: Tensor
    outputs: Tensor


def kind_of(core: nn.Module) -> str | None:
    """The cell that a module of one layer and one direction is, as a name in `CELLS`; None where it is none."""
    if isinstance(core, nn.RNNBase):
        plain = core.num_layers == 1 and not core.bidirectional and not core.proj_size
        return KINDS.get(core.mode) if plain else None
    if isinstance(core, nn.RNNCell):
        return {"tanh": "tanh", "relu": "relu"}.get(core.nonlinearity)
    return "gru" if isinstance(core, nn.GRUCell) else "lstm" if isinstance(core, nn.LSTMCell) else None


def read_known(k: int, core: Any, readout: Any) -> Given:
    """What acts in one pair of modules.

    Args:
        k: the member's position, for messages.
        core: of which `kind_of` knows the cell: plain, pruned, normed, parametrised, tied or subclassed.
        readout: its nn.Linear.

    Raises:
        UserError: half precision, sizes that do not fit, or a module that does not run as its weights say.
    """
    _check(k, core, readout)
    with _left_as_they_are(core, readout):
        run = _run(k, core, readout)
        params = _acting(k, core, readout)
    cell = str(kind_of(core))
    difference = max(_difference_of_states(k, cell, params, run), _difference_of_outputs(k, params, run))
    rates = [part.p for part in core.modules() if isinstance(part, DROPOUTS) and part.p > 0]
    provenance: dict[str, Any] = {"module": type(core).__name__, "largest_relative_difference": difference}
    return Given(cell=CELLS[cell](), params=params, provenance=provenance | ({"dropout_off": rates} if rates else {}))


def _check(k: int, core: Any, readout: Any) -> None:
    """Refuse modules without numbers, or whose sizes do not fit."""
    if not _tensors(core) or not _tensors(readout):
        raise UserError(f"from_modules: member {k} has a module without parameters")
    if readout.in_features != core.hidden_size:
        raise UserError(f"from_modules: member {k}'s readout takes {readout.in_features} units of {core.hidden_size}")
    for value in (*_tensors(core), *_tensors(readout)):
        if value.dtype not in PRECISIONS or value.is_meta:
            raise UserError(
                f"from_modules: member {k} has parameters in {value.dtype} on {value.device.type}; needed are"
                " float32 or float64 with values (module.float())"
            )


def _tensors(module: nn.Module) -> list[Tensor]:
    """What a module is made of: its parameters, or what stands in their place in a frozen one."""
    return list(module.parameters()) or [value for value in module.buffers() if value.is_floating_point()]


@contextmanager
def _left_as_they_are(*modules: nn.Module) -> Iterator[None]:
    """Meanwhile in evaluation mode and without gradients; afterwards all that hooks and forwards have set is undone."""
    parts = [part for module in modules for part in module.modules()]
    attributes = [_attributes(part) for part in parts]
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    devices = {value.device.index for module in modules for value in module.parameters() if value.is_cuda}
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.random.fork_rng(devices=sorted(devices)))  # a forward may draw
            stack.enter_context(torch.backends.cudnn.flags(enabled=not devices))  # it rounds to TF32
            # Where `module.compile()` was called, which torch says nowhere else. Always setting the stance would
            # import the compiler, which takes seconds.
            if any(getattr(part, "_compiled_call_impl", None) is not None for part in parts):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            for module in modules:
                module.eval()
            yield
    finally:
        with torch.no_grad():
            for buffer, content in buffers:
                if not torch.equal(buffer, content):
                    buffer.copy_(content)
        for part, before in zip(parts, attributes, strict=True):
            _put_back(part, before)


def _attributes(part: nn.Module) -> dict[str, tuple[Any, Any]]:
    """The attributes of one module, and what lists and dicts among them hold."""
    return {
        name: (value, value.copy() if isinstance(value, list | dict) else None) for name, value in vars(part).items()
    }


def _put_back(part: nn.Module, attributes: dict[str, tuple[Any, Any]]) -> None:
    for value, content in attributes.values():
        if isinstance(value, list):
            value[:] = content
        elif isinstance(value, dict):
            value.clear()
            value.update(content)
    vars(part).clear()
    vars(part).update({name: value for name, (value, _) in attributes.items()})


def random_trials(input_size: int) -> Tensor:
    """Inputs of several sizes, (trial, time, in), from a stream of their own."""
    drawn = Streams([0], "from_modules").normal((len(INPUT_SIZES), N_STEPS, input_size))[0]
    return drawn * torch.tensor(INPUT_SIZES)[:, None, None]


def _run(k: int, core: Any, readout: Any) -> _Run:
    """Run a module and its readout on random inputs of several sizes, from a stream of their own."""
    inputs = random_trials(core.input_size).to(_tensors(core)[0])
    try:
        states = _states_of(core, inputs)
        outputs = readout(states.to(_tensors(readout)[0]))
    except Exception as error:  # of the user's own forward
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"from_modules: member {k} cannot be run on inputs of {core.input_size} numbers"
            f" ({type(error).__name__}: {reason})"
        ) from error
    for what, value, size in (
        ("states", states, core.hidden_size),
        ("outputs", outputs, readout.out_features),
    ):
        if not isinstance(value, Tensor) or value.shape != (*inputs.shape[:2], size):
            raise UserError(
                f"from_modules: member {k} gives {what} of shape {tuple(getattr(value, 'shape', ()))} for"
                f" {tuple(inputs.shape[:2])} trials and steps of {size} numbers"
            )
    return _Run(inputs=inputs.cpu(), states=states.detach().cpu(), outputs=outputs.detach().cpu())


def _states_of(core: Any, inputs: Tensor) -> Any:
    """What the module does on trials, (trial, time, unit), from the start that it takes where none is given."""
    if isinstance(core, nn.RNNCellBase):
        state, states = None, []
        for x in inputs.unbind(1):
            state = core(x, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(states, 1)
    made = core(inputs if core.batch_first else inputs.transpose(0, 1))
    states = made[0] if isinstance(made, tuple | list) else made
    return states if core.batch_first else states.transpose(0, 1)


def _acting(k: int, core: Any, readout: Any) -> Params:
    """The weights as attributes: those that a module has just run with."""
    out = _weight(k, readout, "weight")
    params = {
        **acting_weights(k, core),
        "W_out": out,
        "b_out": out.new_zeros(len(out)) if readout.bias is None else _weight(k, readout, "bias"),
    }
    double = any(value.dtype == torch.float64 for value in params.values())
    return {name: value.to(torch.float64 if double else torch.float32) for name, value in params.items()}


def acting_weights(k: int, core: Any) -> Params:
    """The weights of the recurrent module, by the names that the cell gives them."""
    end = "" if isinstance(core, nn.RNNCellBase) else "_l0"
    into, recurrent = _weight(k, core, f"weight_ih{end}"), _weight(k, core, f"weight_hh{end}")
    zeros = into.new_zeros(len(into))
    biases = [_weight(k, core, f"{name}{end}") if core.bias else zeros for name in ("bias_ih", "bias_hh")]
    known = CELLS[str(kind_of(core))].biases
    acting = dict(zip(known, biases, strict=True)) if len(known) == 2 else {known[0]: biases[0] + biases[1]}
    return {"W_rec": recurrent, "W_in": into, **acting}


def _weight(k: int, module: nn.Module, name: str) -> Tensor:
    value = getattr(module, name, None)
    if not isinstance(value, Tensor):
        raise UserError(f"from_modules: member {k}'s {type(module).__name__} has no {name}")
    return value.detach().cpu().clone()


def _difference_of_states(k: int, cell: str, params: Params, run: _Run) -> float:
    """The largest difference between a module's states and those of the network that it is read as, over their size.

    Raises:
        UserError: it is more than rounding explains.
    """
    eps = torch.finfo(run.states.dtype).eps
    exact = _states(cell, params, run.inputs, 0.0)
    moved = _states(cell, params, run.inputs, eps)
    size, change = exact.abs().amax(-1), (moved - exact).abs().amax(-1)
    allowed = ROUNDINGS * torch.maximum(change, eps * size)
    # Not what overflows in single precision, and not what is not finite, which a network that diverged may be.
    counted = (allowed <= TELLING * size) & (size < torch.finfo(torch.float32).max ** 0.5)
    return _proved(k, f"states, read as {cell},", run.states.double() - exact, allowed, size, counted)


def _states(cell: str, params: Params, inputs: Tensor, rounding: float) -> Tensor:
    """The hidden states in double precision, (trial, time, unit), each parameter changed by so large a share."""
    streams = Streams([0], "rounding")
    own = {
        name: (value * (1 + rounding * streams.normal(value.shape, dtype=torch.float64)[0].sign())).double()[None]
        for name, value in params.items()
    }
    built = CELLS[cell]()
    return built.hidden(forward(built, own, inputs.double()[None], {})[0])[0]


def _difference_of_outputs(k: int, params: Params, run: _Run) -> float:
    """Likewise for the readout of the module's own states."""
    weight, bias, states = params["W_out"].double(), params["b_out"].double(), run.states.double()
    exact = states @ weight.T + bias
    size = (states.abs() @ weight.abs().T + bias.abs()).amax(-1)
    eps = torch.finfo(run.outputs.dtype).eps
    return _proved(k, "outputs", run.outputs.double() - exact, ROUNDINGS * eps * size, size, size.isfinite())


def _proved(k: int, what: str, difference: Tensor, allowed: Tensor, size: Tensor, counted: Tensor) -> float:
    """The largest of the counted differences (trial, time, ...) as a share of the size, where all are allowed."""
    largest = difference.abs().amax(-1).nan_to_num(torch.inf)
    wrong = counted & (largest > allowed)
    if wrong.any():
        worst = torch.where(wrong, largest, -1.0).argmax()
        raise UserError(
            f"from_modules: member {k} does not run as its weights say: the largest difference of its {what} is"
            f" {largest.flatten()[worst]:.3g}, where rounding explains {allowed.flatten()[worst]:.1g}; a forward, a"
            " hook or a start of its own acts, which weights do not say (give step= and readout=)"
        )
    shares = (largest / size)[counted & (size > 0)]
    return shares.max().item() if len(shares) else 0.0
