"""Networks: cells, and a readout on top, drawn and run for many members at once."""

from degeneracy.networks.acting import weights_obstacle
from degeneracy.networks.cells import CELLS, Cell, Params
from degeneracy.networks.network import (
    Network,
    draw_noise,
    forward,
    initial_params,
    input_drive,
    parameter_shapes,
    read_out,
    run_states,
    scales,
)
from degeneracy.networks.parametrisation import PARAMETRISATIONS, Scale

__all__ = [
    "CELLS",
    "PARAMETRISATIONS",
    "Cell",
    "Network",
    "Params",
    "Scale",
    "draw_noise",
    "forward",
    "initial_params",
    "input_drive",
    "parameter_shapes",
    "read_out",
    "run_states",
    "scales",
    "weights_obstacle",
]
