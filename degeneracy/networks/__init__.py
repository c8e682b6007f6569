"""Networks: cells, and a readout on top, drawn and run for many members at once."""

from degeneracy.networks.acting import weights_obstacle
from degeneracy.networks.cell import Cell, Parameter, Params, dtype_of, linear_readout, member_count
from degeneracy.networks.cells import CELLS
from degeneracy.networks.network import (
    Network,
    acting_params,
    acting_weights,
    draw_noise,
    forward,
    initial_params,
    input_drive,
    made_by_map,
    parameters,
    parts_of,
    run_states,
    scales,
    trained_params,
)
from degeneracy.networks.parametrisation import PARAMETRISATIONS, Scale
from degeneracy.networks.recurrent_maps import RECURRENT_MAPS, RecurrentMap
from degeneracy.networks.scan import ScanCell

__all__ = [
    "CELLS",
    "PARAMETRISATIONS",
    "RECURRENT_MAPS",
    "Cell",
    "Network",
    "Parameter",
    "Params",
    "RecurrentMap",
    "Scale",
    "ScanCell",
    "acting_params",
    "acting_weights",
    "draw_noise",
    "dtype_of",
    "forward",
    "initial_params",
    "input_drive",
    "linear_readout",
    "made_by_map",
    "member_count",
    "parameters",
    "parts_of",
    "run_states",
    "scales",
    "trained_params",
    "weights_obstacle",
]
