"""Networks: cells, and a readout on top, drawn and run for many members at once."""

from degeneracy.networks.acting import weights_obstacle
from degeneracy.networks.cell import Cell, Parameter, Params
from degeneracy.networks.cells import CELLS
from degeneracy.networks.network import (
    Network,
    draw_noise,
    forward,
    initial_params,
    input_drive,
    parameters,
    read_out,
    run_states,
    scales,
    state_0,
)
from degeneracy.networks.parametrisation import PARAMETRISATIONS, Scale
from degeneracy.networks.scan import ScanCell

__all__ = [
    "CELLS",
    "PARAMETRISATIONS",
    "Cell",
    "Network",
    "Parameter",
    "Params",
    "Scale",
    "ScanCell",
    "draw_noise",
    "forward",
    "initial_params",
    "input_drive",
    "parameters",
    "read_out",
    "run_states",
    "scales",
    "state_0",
    "weights_obstacle",
]
