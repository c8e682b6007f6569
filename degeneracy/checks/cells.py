"""What every cell keeps to."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from degeneracy.analysis.weights.symmetry import SYMMETRIES, random_copy
from degeneracy.checks.claim import require
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.streams import Streams
from degeneracy.measuring.record import member_weights
from degeneracy.networks import forward, parameters, weights_obstacle
from degeneracy.networks.cells import Cell, Params

N_UNITS, N_INPUTS, N_OUTPUTS = 6, 2, 2


def _params(cell: Cell, *seeds: int) -> Params:
    """Random float64 parameters of a cell with a readout."""
    streams = Streams(seeds, "check")
    shapes = parameters(cell, N_INPUTS, N_UNITS, N_OUTPUTS)
    return {name: 0.5 * streams.normal(each.shape, dtype=torch.float64) for name, each in shapes.items()}


def _inputs(n_members: int) -> Tensor:
    trials = Streams([0], "check inputs").normal((3, 7, N_INPUTS), dtype=torch.float64)
    return trials.expand(n_members, *trials.shape[1:])


def cell_form(cell: Cell) -> None:
    """Parameters and states have the shapes that the class says."""
    rows = cell.gates * N_UNITS
    shapes = {name: each.shape for name, each in cell.parameters(N_INPUTS, N_UNITS).items()}
    wanted = {"W_rec": (rows, N_UNITS), "W_in": (rows, N_INPUTS), **dict.fromkeys(cell.biases, (rows,))}
    require(shapes == wanted, f"shapes() gives {wanted}")
    require(cell.biases[0] == "bias", "the bias of the inputs' drive is called 'bias'")
    require(0 <= cell.candidate < cell.gates, "the candidate is one of the gates")
    require(cell.symmetry in SYMMETRIES, f"symmetry is one of {', '.join(SYMMETRIES)}")
    states, outputs = forward(cell, _params(cell, 0, 1), _inputs(2), {})
    require(states.shape == (2, 3, 7, cell.states * N_UNITS), "states are (member, trial, time, states * unit)")
    hidden, (low, high) = cell.hidden(states), cell.state_range
    require(hidden.shape == (2, 3, 7, N_UNITS), "hidden(state) is (..., unit)")
    require(bool(((low <= hidden) & (hidden <= high)).all()), "hidden(state) lies within state_range")
    require(states.isfinite().all() and outputs.isfinite().all(), "states are finite")


def cell_members(cell: Cell) -> None:
    """A member's states are the same alone and beside a companion that is not finite."""
    together = _params(cell, 0, 1)
    together["W_rec"][1] = torch.nan
    alone = forward(cell, _params(cell, 0), _inputs(1), {})[0][0]
    among = forward(cell, together, _inputs(2), {})[0][0]
    # 1e-12: batched products may add in another order.
    require(torch.allclose(alone, among, rtol=0, atol=1e-12), "a member does not depend on its companions")


def cell_gradient(cell: Cell) -> None:
    """Every parameter has a finite gradient that is not 0 throughout, and none reaches another member."""
    leaves = {name: value.requires_grad_() for name, value in _params(cell, 0, 1).items()}
    forward(cell, leaves, _inputs(2), {})[1][0].square().sum().backward()
    for name, leaf in leaves.items():
        grad = leaf.grad
        require(grad is not None and grad.isfinite().all() and grad[0].any(), f"{name} has a gradient")
        require(grad is not None and not grad[1].any(), f"{name}: one member's loss does not reach another")


def cell_acting(cell: Cell) -> None:
    """Every parameter of every gate acts, and `summed_biases` names the gates whose biases act through their sum."""
    obstacle = weights_obstacle(cell, N_INPUTS, N_UNITS)
    require(not obstacle, obstacle)


def cell_symmetry(cell: Cell) -> None:
    """Relabelling units by the symmetry that the cell names leaves its outputs as they are."""
    params = _params(cell, 0)
    copy = random_copy(member_weights(cell, params)[0], np.random.default_rng(0))
    require(copy.input is not None and copy.bias is not None and copy.readout is not None, "all blocks are there")
    bias = torch.from_numpy(np.asarray(copy.bias))  # (gate, k, unit)
    relabelled = {
        "W_rec": torch.from_numpy(copy.recurrent).reshape(1, -1, N_UNITS),
        "W_in": torch.from_numpy(np.asarray(copy.input)).reshape(1, -1, N_INPUTS),
        **{name: bias[:, k].reshape(1, -1) for k, name in enumerate(cell.biases)},
        "W_out": torch.from_numpy(np.asarray(copy.readout))[None],
        "b_out": params["b_out"],
    }
    before, after = (forward(cell, p, _inputs(1), {})[1] for p in (params, relabelled))
    # 1e-9: rounding over 7 steps.
    require(torch.allclose(before, after, rtol=0, atol=1e-9), f"'{cell.symmetry}' is a symmetry of the cell")


CELL_CLAIMS: dict[str, Callable[[Cell], None]] = {
    "form": cell_form,
    "members": cell_members,
    "gradient": cell_gradient,
    "acting": cell_acting,
    "symmetry": cell_symmetry,
}


@ordinary_state()
def check_cell(cell: Cell) -> None:
    """All claims of a cell.

    Raises:
        CheckFailed: one that does not hold.
    """
    for claim in CELL_CLAIMS.values():
        claim(cell)
