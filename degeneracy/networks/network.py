"""Networks: a cell with a linear readout, drawn and run for many members at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import torch
from torch import Tensor

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.registry import look_up
from degeneracy.core.specs import Spec
from degeneracy.core.streams import Streams
from degeneracy.networks.cells import CELLS, Cell, Params
from degeneracy.networks.parametrisation import MUP_CELLS, PARAMETRISATIONS, Scale


class Network(Spec):
    """A recurrent network: `hidden_size` units of one cell and a linear readout, starting from state 0.

    By the standard parametrisation all parameters are drawn from U(-1/sqrt(n), 1/sqrt(n)), n the number of units;
    "mup" scales start and training so that `gamma` says how much the states move in training, at any width
    (`networks.parametrisation`). `init_gain` multiplies the recurrent weights only. Noise is Gaussian, fresh at every
    step, on during training and off on probe trials.
    """

    hidden_size: int = pydantic.Field(128, ge=1, description="units")
    cell: str = pydantic.Field("tanh", description="a name in CELLS, or one's own as module:Name")
    cell_options: Mapping[str, Any] = pydantic.Field(default_factory=dict, description="fields of the cell")
    init_gain: float = pydantic.Field(1.0, gt=0, description="factor on the initial recurrent weights")
    parametrisation: str = pydantic.Field("standard", description='"standard", or "mup" (tanh and leaky_tanh)')
    gamma: float = pydantic.Field(
        1.0, gt=0, description="feature-learning strength under mup: larger is richer, smaller lazier"
    )
    sigma_rec: float = pydantic.Field(0.0, ge=0, description="sd of the noise on the units' input")
    sigma_in: float = pydantic.Field(0.0, ge=0, description="sd of the noise on the network's inputs")

    @pydantic.model_validator(mode="after")
    def _cell_exists(self) -> "Network":
        self.build_cell()
        if self.parametrisation not in PARAMETRISATIONS:
            raise unknown_name("parametrisation", self.parametrisation, PARAMETRISATIONS)
        if self.parametrisation == "mup" and self.cell not in MUP_CELLS:
            raise UserError(
                f"Network: parametrisation 'mup' is for the cells {' and '.join(MUP_CELLS)}, not for '{self.cell}'"
            )
        if self.parametrisation != "mup" and self.gamma != 1:
            raise UserError(
                f"Network: gamma = {self.gamma:g} has a meaning under parametrisation 'mup' only, which is not set"
            )
        return self

    def build_cell(self) -> Cell:
        """The cell with its options checked."""
        cell: Cell = look_up("cell", self.cell, CELLS, Cell)(**self.cell_options)
        return cell


def scales(network: Network, input_size: int, output_size: int) -> dict[str, Scale]:
    """How each parameter starts and is trained, in the order in which they are drawn."""
    found = PARAMETRISATIONS[network.parametrisation]
    names = parameter_shapes(network, input_size, output_size)
    return {name: found(name, network.hidden_size, input_size, network.gamma) for name in names}


def parameter_shapes(network: Network, input_size: int, output_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a network, in the order in which they are drawn."""
    n = network.hidden_size
    return network.build_cell().shapes(input_size, n) | {"W_out": (output_size, n), "b_out": (output_size,)}


def initial_params(network: Network, input_size: int, output_size: int, seeds: Sequence[int]) -> Params:
    """The members' parameters before training: each drawn on the CPU from its own "initialisation" stream.

    Returns:
        Parameters with a leading member axis, float32: the cell's, then `W_out` (member, out, N) and `b_out`.
    """
    streams = Streams(seeds, "initialisation")
    by_name = scales(network, input_size, output_size)
    params = {
        name: _drawn(streams, shape, by_name[name])
        for name, shape in parameter_shapes(network, input_size, output_size).items()
    }
    params["W_rec"] *= network.init_gain
    return params


def _drawn(streams: Streams, shape: tuple[int, ...], scale: Scale) -> Tensor:
    if scale.normal:
        return scale.start * streams.normal(shape)
    return streams.uniform(shape, -scale.start, scale.start)


def draw_noise(network: Network, streams: Streams, shape: tuple[int, int], input_size: int) -> Params:
    """The noise of one batch: `input` (member, trial, time, in) and `unit` (member, trial, time, N), as asked for.

    Args:
        network: says how strong the noise is; noise of strength 0 is not drawn.
        streams: the members' "noise" streams.
        shape: (trial, time).
        input_size: number of inputs.
    """
    gain = network.build_cell().noise_gain
    noise = {}
    if network.sigma_in > 0:
        noise["input"] = gain * network.sigma_in * streams.normal((*shape, input_size))
    if network.sigma_rec > 0:
        noise["unit"] = gain * network.sigma_rec * streams.normal((*shape, network.hidden_size))
    return noise


def input_drive(cell: Cell, params: Params, inputs: Tensor, noise: Mapping[str, Tensor]) -> Tensor:
    """What the inputs drive at all steps: `W_in x + b` with noise, shape (time, member, trial, G*N).

    Args:
        cell: the cell.
        params: its parameters.
        inputs: (member, trial, time, in).
        noise: what `draw_noise` gave, or nothing.
    """
    if "input" in noise:
        inputs = inputs + noise["input"]
    n_members, n_trials, n_steps, input_size = inputs.shape
    rows = inputs.permute(0, 2, 1, 3).reshape(n_members, n_steps * n_trials, input_size)
    drive = torch.baddbmm(params["bias"].unsqueeze(1), rows, params["W_in"].mT)
    drive = drive.view(n_members, n_steps, n_trials, -1).transpose(0, 1)
    if "unit" in noise:
        n = noise["unit"].shape[-1]
        unit = noise["unit"].permute(2, 0, 1, 3)
        pad = (cell.candidate * n, (cell.gates - 1 - cell.candidate) * n)
        drive = drive + torch.nn.functional.pad(unit, pad)
    return drive


def run_states(cell: Cell, params: Params, drive: Tensor, start: Tensor | None = None) -> Tensor:
    """The states at all steps, (time, member, trial, states * N), from `start` (state 0 by default)."""
    n_steps, n_members, n_trials, _ = drive.shape
    if start is None:
        start = drive.new_zeros(n_members, n_trials, cell.states * params["W_rec"].shape[-1])
    state, states = start, []
    for step in range(n_steps):
        state = cell.step(params, state, drive[step])
        states.append(state)
    return torch.stack(states)


def read_out(params: Params, hidden: Tensor) -> Tensor:
    """The outputs `W_out h + b_out`, (member, trial, time, out), from hidden states (time, member, trial, N)."""
    return torch.einsum("tmbn,mon->mbto", hidden, params["W_out"]) + params["b_out"][:, None, None]


def forward(
    cell: Cell, params: Params, inputs: Tensor, noise: Mapping[str, Tensor], start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run members on their inputs.

    Args:
        cell: the cell.
        params: parameters with a leading member axis.
        inputs: (member, trial, time, in).
        noise: what `draw_noise` gave, or nothing.
        start: (member, trial, states * N); state 0 by default.

    Returns:
        states (member, trial, time, states * N) and outputs (member, trial, time, out).
    """
    states = run_states(cell, params, input_drive(cell, params, inputs, noise), start)
    return states.permute(1, 2, 0, 3), read_out(params, cell.hidden(states))
