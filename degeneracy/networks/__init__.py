"""Networks: cells, and a readout on top, drawn and run for many members at once."""

from degeneracy.networks.cells import CELLS, Cell, Params
from degeneracy.networks.network import (
    Network,
    draw_noise,
    forward,
    initial_params,
    input_drive,
    read_out,
    run_states,
)

__all__ = [
    "CELLS",
    "Cell",
    "Network",
    "Params",
    "draw_noise",
    "forward",
    "initial_params",
    "input_drive",
    "read_out",
    "run_states",
]
