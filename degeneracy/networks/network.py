"""Networks: a cell with a linear readout, drawn and run for many members at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import torch
from torch import Tensor

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.registry import describe, look_up, named
from degeneracy.core.specs import Spec
from degeneracy.core.streams import Streams
from degeneracy.networks.cell import Cell, Parameter, Params
from degeneracy.networks.cells import CELLS
from degeneracy.networks.parametrisation import PARAMETRISATIONS, Scale
from degeneracy.networks.recurrent_maps import RECURRENT_MAPS, Dense, RecurrentMap


class Network(Spec):
    """A recurrent network: `hidden_size` units of one cell and a linear readout, starting from state 0.

    By the standard parametrisation all parameters are drawn from U(-1/sqrt(n), 1/sqrt(n)), n the number of units;
    "mup" scales start and training so that `gamma` says how much the states move in training, at any width
    (`networks.parametrisation`). `init_gain` multiplies the recurrent weights only. `recurrent` says what is trained in
    their place (dense, low_rank, dale): a name in RECURRENT_MAPS, a table with a name and its fields, or your own as
    module:Name. Noise is Gaussian, fresh at every step, on during training and off on probe trials.
    """

    hidden_size: int = pydantic.Field(128, ge=1, description="units")
    cell: str = pydantic.Field("tanh", description="a name in CELLS, or one's own as module:Name")
    cell_options: Mapping[str, Any] = pydantic.Field(default_factory=dict, description="fields of the cell")
    init_gain: float = pydantic.Field(1.0, gt=0, description="factor on the initial recurrent weights")
    recurrent: pydantic.SerializeAsAny[RecurrentMap] = Dense()
    parametrisation: str = pydantic.Field("standard", description='"standard", or "mup" (tanh and leaky_tanh)')
    gamma: float = pydantic.Field(
        1.0, gt=0, description="feature-learning strength under mup: larger is richer, smaller lazier"
    )
    sigma_rec: float = pydantic.Field(0.0, ge=0, description="sd of the noise on the units' input")
    sigma_in: float = pydantic.Field(0.0, ge=0, description="sd of the noise on the network's inputs")

    @pydantic.field_validator("recurrent", mode="before")
    @classmethod
    def _named_map(cls, value: Any) -> Any:
        return named("recurrent map", value, RECURRENT_MAPS, RecurrentMap)

    @pydantic.field_serializer("recurrent")
    def _map_with_name(self, recurrent: RecurrentMap) -> dict[str, Any]:
        return describe(recurrent, RECURRENT_MAPS)

    @pydantic.model_validator(mode="after")
    def _cell_exists(self) -> "Network":
        cell = self.build_cell()
        if self.parametrisation not in PARAMETRISATIONS:
            raise unknown_name("parametrisation", self.parametrisation, PARAMETRISATIONS)
        if self.parametrisation == "mup" and not cell.maximal_update:
            served = " and ".join(name for name, kind in CELLS.items() if kind.maximal_update)
            raise UserError(f"Network: parametrisation 'mup' is for the cells {served}, not for '{self.cell}'")
        if self.parametrisation != "mup" and self.gamma != 1:
            raise UserError(
                f"Network: gamma = {self.gamma:g} has a meaning under parametrisation 'mup' only, which is not set"
            )
        self._check_map(cell)
        return self

    def _check_map(self, cell: Cell) -> None:
        if not self.mapped:
            return
        name = describe(self.recurrent, RECURRENT_MAPS)["name"]
        if not cell.between_units:
            raise UserError(f"Network: recurrent = '{name}' is of recurrent weights, and cell '{self.cell}' has none")
        if self.parametrisation == "mup":
            raise UserError(f"Network: parametrisation 'mup' is for the recurrent map dense, not for '{name}'")
        self.recurrent.check(self.hidden_size)

    @property
    def mapped(self) -> bool:
        """Whether something else is trained than the recurrent weights themselves."""
        return type(self.recurrent) is not Dense

    def build_cell(self) -> Cell:
        """The cell with its options checked."""
        cell: Cell = look_up("cell", self.cell, CELLS, Cell)(**self.cell_options)
        return cell


def scales(network: Network, input_size: int, output_size: int) -> dict[str, Scale]:
    """How each parameter starts and is trained, in the order in which they are drawn."""
    scale = PARAMETRISATIONS[network.parametrisation]
    named = parameters(network.build_cell(), input_size, network.hidden_size, output_size)
    return {name: scale(each, network.hidden_size, input_size, network.gamma) for name, each in named.items()}


def parameters(cell: Cell, input_size: int, hidden_size: int, output_size: int) -> dict[str, Parameter]:
    """The parameters of a cell and of its readout, in the order in which they are drawn."""
    return {**cell.parameters(input_size, hidden_size), **cell.readout_parameters(hidden_size, output_size)}


def initial_params(network: Network, input_size: int, output_size: int, seeds: Sequence[int]) -> Params:
    """The members' parameters before training: each drawn on the CPU from its own "initialisation" stream.

    Returns:
        Parameters as they act, with a leading member axis, float32: the cell's, then `W_out` (member, out, N), `b_out`.
    """
    if network.mapped:
        trained = trained_params(network, input_size, output_size, seeds)
        return acting_params(network.recurrent, made_by_map(network), trained)
    return _drawn_params(network, input_size, output_size, seeds)


def trained_params(network: Network, input_size: int, output_size: int, seeds: Sequence[int]) -> Params:
    """What is trained, before training: `initial_params` but for recurrent weights that a map makes.

    In their place stand the map's parts, as "W_rec.part". All other parameters are those of the dense network of the
    same seed.
    """
    params = _drawn_params(network, input_size, output_size, seeds)
    if not network.mapped:
        return params
    streams, by_name = Streams(seeds, "recurrent map"), scales(network, input_size, output_size)
    trained: Params = {}
    for name, parameter in parameters(network.build_cell(), 1, 1, 1).items():
        if parameter.between_units:
            low, high = parameter.start or (0.0, 12**0.5 * by_name[name].sd)
            sd = network.init_gain * (high - low) / 12**0.5
            parts = network.recurrent.free(params[name], sd, streams)
            trained |= {f"{name}.{part}": value for part, value in parts.items()}
        else:
            trained[name] = params[name]
    return trained


def acting_params(recurrent: RecurrentMap, made: Mapping[str, bool], trained: Params) -> Params:
    """The parameters as they act.

    Args:
        recurrent: the map.
        made: what `made_by_map` gave.
        trained: what is trained, each with a leading member axis.
    """
    return {
        name: acting_weights(recurrent, parts_of(trained, name)) if by_map else trained[name]
        for name, by_map in made.items()
    }


def made_by_map(network: Network) -> Mapping[str, bool]:
    """The parameters that act, in their order: whether the network's map makes each."""
    named = parameters(network.build_cell(), 1, 1, 1)
    return {name: network.mapped and parameter.between_units for name, parameter in named.items()}


def parts_of(trained: Params, name: str) -> Params:
    """The parts that the map of one parameter is trained by."""
    return {key.removeprefix(f"{name}."): value for key, value in trained.items() if key.startswith(f"{name}.")}


def acting_weights(recurrent: RecurrentMap, parts: Params) -> Tensor:
    """The weights that a map makes; on a CPU member after member, since batched products round by their number."""
    n_members = len(next(iter(parts.values())))
    if n_members == 1 or next(iter(parts.values())).is_cuda:
        return recurrent.acting(parts)
    rows = [{part: value[k : k + 1] for part, value in parts.items()} for k in range(n_members)]
    return torch.cat([recurrent.acting(row) for row in rows])


def _drawn_params(network: Network, input_size: int, output_size: int, seeds: Sequence[int]) -> Params:
    streams = Streams(seeds, "initialisation")
    by_name = scales(network, input_size, output_size)
    named = parameters(network.build_cell(), input_size, network.hidden_size, output_size)
    params = {name: _drawn(streams, parameter, by_name[name]) for name, parameter in named.items()}
    for name, parameter in named.items():
        if parameter.role == "recurrent":
            params[name] *= network.init_gain
    return params


def _drawn(streams: Streams, parameter: Parameter, scale: Scale) -> Tensor:
    if parameter.start is not None:
        low, high = parameter.start
        if low == high:  # without a draw: the other parameters are those of the cell without this one
            return torch.full((len(streams), *parameter.shape), low, dtype=torch.float32)
        return streams.uniform(parameter.shape, low, high)
    if scale.normal:
        return scale.start * streams.normal(parameter.shape)
    return streams.uniform(parameter.shape, -scale.start, scale.start)


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
    """What the inputs drive at all steps (`Cell.drive`) with noise, shape (time, member, trial, G*N).

    Args:
        cell: the cell.
        params: its parameters.
        inputs: (member, trial, time, in).
        noise: what `draw_noise` gave, or nothing.
    """
    if "input" in noise:
        inputs = inputs + noise["input"]
    drive = cell.drive(params, inputs)
    if "unit" in noise:
        n = noise["unit"].shape[-1]
        unit = noise["unit"].permute(2, 0, 1, 3)
        pad = (cell.candidate * n, drive.shape[-1] - (cell.candidate + 1) * n)
        drive = drive + torch.nn.functional.pad(unit, pad)
    return drive


def run_states(cell: Cell, params: Params, drive: Tensor, start: Tensor | None = None) -> Tensor:
    """The states at all steps, (time, member, trial, state), from `start` (the cell's own by default)."""
    if start is None:
        start = cell.state_0(params, drive[0])
    return cell.run(params, drive, start)


def forward(
    cell: Cell, params: Params, inputs: Tensor, noise: Mapping[str, Tensor], start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run members on their inputs.

    Args:
        cell: the cell.
        params: parameters with a leading member axis.
        inputs: (member, trial, time, in).
        noise: what `draw_noise` gave, or nothing.
        start: (member, trial, state); the cell's own (`Cell.state_0`) by default.

    Returns:
        states (member, trial, time, state) and outputs (member, trial, time, out).
    """
    states = run_states(cell, params, input_drive(cell, params, inputs, noise), start)
    return states.permute(1, 2, 0, 3), cell.read_out(params, states)
