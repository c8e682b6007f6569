"""The table of the built-in cells: a cell is a class that says all about itself, and one line here."""

from degeneracy.networks.cell import Cell
from degeneracy.networks.gated import GRUCell, LSTMCell
from degeneracy.networks.leaky_tau import LeakyTauCell
from degeneracy.networks.min_gru import MinGRUCell
from degeneracy.networks.pointwise import LeakyTanhCell, ReluCell, TanhCell

CELLS: dict[str, type[Cell]] = {
    TanhCell.name: TanhCell,
    LeakyTanhCell.name: LeakyTanhCell,
    LeakyTauCell.name: LeakyTauCell,
    GRUCell.name: GRUCell,
    LSTMCell.name: LSTMCell,
    ReluCell.name: ReluCell,
    MinGRUCell.name: MinGRUCell,
}
