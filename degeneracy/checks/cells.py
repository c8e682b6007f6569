"""What every cell keeps to."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from degeneracy.analysis.recording import Weights
from degeneracy.analysis.weights.symmetry import SYMMETRIES, random_copy
from degeneracy.checks.claim import require
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.streams import Streams
from degeneracy.measuring.member_weights import parameter_blocks
from degeneracy.networks import forward, input_drive, parameters, run_states, weights_obstacle
from degeneracy.networks.cell import Cell, Params, Role
from degeneracy.tasks import Trials
from degeneracy.training.backends import BACKENDS, Batch, serves

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
    """Parameters, drive and states have the sizes that the class says."""
    named = cell.parameters(N_INPUTS, N_UNITS)
    lengths = {"unit": N_UNITS, "pre": N_UNITS, "in": N_INPUTS, "gate": cell.gates}
    for name, parameter in named.items():
        where = f"parameter '{name}' with the axes {parameter.axes}"
        require(len(parameter.axes) == len(parameter.sizes), f"{where}: one size per axis, not {parameter.sizes}")
        require(parameter.role in get_args(Role), f"{where}: role is one of {', '.join(get_args(Role))}")
        require("gate" not in parameter.axes[1:], f"{where}: 'gate' stands first")
        require(not parameter.gated or parameter.axes[1:2] == ("unit",), f"{where}: 'unit' follows 'gate'")
        for axis, size in zip(parameter.axes, parameter.sizes, strict=True):
            length = lengths.get(axis, size)
            require(size == length, f"{where}: axis '{axis}' is {length} long, not {size}")
    for axis in ("unit", "in"):
        require(any(axis in each.axes for each in named.values()), f"a parameter has an axis '{axis}'")
    require(0 <= cell.candidate < cell.gates, f"candidate is one of {cell.gates} gates, not {cell.candidate}")
    require(cell.symmetry in SYMMETRIES, f"symmetry is one of {', '.join(SYMMETRIES)}, not '{cell.symmetry}'")
    size, read = cell.state_size(N_UNITS), cell.read_size(N_UNITS)
    states, outputs = forward(cell, _params(cell, 0, 1), _inputs(2), {})
    require(states.shape == (2, 3, 7, size), f"states are {(2, 3, 7, size)}, not {tuple(states.shape)}")
    hidden, (low, high) = cell.hidden(states), cell.state_range
    require(hidden.shape == (2, 3, 7, read), f"hidden(state) is {(2, 3, 7, read)}, not {tuple(hidden.shape)}")
    least, greatest = float(hidden.min()), float(hidden.max())
    within = f"hidden(state) lies between {low:g} and {high:g} (state_range), found {least:.3g} to {greatest:.3g}"
    require(low <= least and greatest <= high, within)
    require(states.isfinite().all() and outputs.isfinite().all(), "states are finite")


def cell_run(cell: Cell) -> None:
    """`run` over a sequence is a loop of `step`."""
    params = _params(cell, 0, 1)
    drive = input_drive(cell, params, _inputs(2), {})
    found = run_states(cell, params, drive)
    state, looped = torch.zeros_like(found[0]), []
    for step_drive in drive:
        state = cell.step(params, state, step_drive)
        looped.append(state)
    # 1e-12: float64, the products may add in another order.
    difference = float((found - torch.stack(looped)).abs().max())
    require(difference <= 1e-12, f"run() is a loop of step(): states differ by {difference:.2g}, more than 1e-12")


def cell_members(cell: Cell) -> None:
    """A member's states are the same alone and beside a companion that is not finite."""
    together = {name: value.clone() for name, value in _params(cell, 0, 1).items()}
    for name in cell.parameters(N_INPUTS, N_UNITS):
        together[name][1] = torch.nan
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


def cell_fast_ways(cell: Cell) -> None:
    """Every backend that says it serves the cell gives the gradients of automatic differentiation."""
    params = {name: value.float() for name, value in _params(cell, 0).items()}
    inputs = _inputs(1).float()
    trials = Trials.of(inputs, Streams([0], "check targets").normal((*inputs.shape[1:3], N_OUTPUTS)))
    noise = {"unit": Streams([0], "check noise").normal((*inputs.shape[1:3], N_UNITS))}
    start = Streams([0], "check start").normal((inputs.shape[1], cell.state_size(N_UNITS)))
    batch = Batch(cell=cell, params=params, trials=trials, noise=noise, start=start)
    _, _, expected = BACKENDS["autograd"]().gradients(batch)
    for backend in BACKENDS:
        if backend == "autograd" or not serves(backend, cell):
            continue
        _, _, grads = BACKENDS[backend]().gradients(batch)
        for name, right in expected.items():
            # 1e-4 of the largest: float32 over 7 steps leaves 1e-6, another step some percent.
            difference, size = float((grads[name] - right).abs().max()), float(right.abs().max())
            said = f"backend '{backend}', which `kernel` says serves the cell, gives the gradient of {name}"
            require(difference <= 1e-4 * size, f"{said}: off by {difference:.2g} of {size:.2g}")


def cell_acting(cell: Cell) -> None:
    """Every parameter of every gate acts with its sign, and `summed_biases` names the gates whose biases act by sum."""
    obstacle = weights_obstacle(cell, N_INPUTS, N_UNITS)
    require(not obstacle, obstacle)
    params = _params(cell, 0)
    plain, acting = (forward(cell, p, _inputs(1), {})[1] for p in (params, cell.acting(params)))
    require(torch.equal(plain, acting), "acting() leaves the outputs as they are")


def relabelled(cell: Cell, params: Params, change: Callable[[Weights], Weights]) -> Params:
    """The parameters of one member, each with a leading axis of 1, after a change of its weights by their axes."""
    blocks = parameter_blocks(cell, params, 0)
    changed = change(Weights(blocks=blocks, candidate=cell.candidate, symmetry=cell.symmetry))
    return params | {
        name: torch.from_numpy(np.ascontiguousarray(changed[name])).reshape(params[name].shape) for name in blocks
    }


def cell_symmetry(cell: Cell) -> None:
    """Relabelling units by the axes of the parameters and the symmetry that the cell names leaves its outputs."""
    params = cell.acting(_params(cell, 0))
    copy = relabelled(cell, params, lambda weights: random_copy(weights, np.random.default_rng(0)))
    before, after = (forward(cell, p, _inputs(1), {})[1] for p in (params, copy))
    # 1e-9: rounding over 7 steps.
    difference = float((before - after).abs().max())
    said = f"'{cell.symmetry}' is a symmetry of the cell, acting on the axes of its parameters as their roles say"
    require(difference <= 1e-9, f"{said}: outputs of a relabelled copy differ by {difference:.2g}, more than 1e-9")


def cell_units(cell: Cell) -> None:
    """`units` says whose each number of the state is: silenced units' weights to units make no difference."""
    units = cell.units(N_UNITS)
    require(units.shape == (cell.state_size(N_UNITS),), "units() has one entry per number of the state")
    require(set(units.tolist()) - {-1} == set(range(N_UNITS)), f"units() names the units 0 to {N_UNITS - 1}, or -1")
    for silent in ([0], list(range(1, N_UNITS))):
        difference = _seen_of(cell, silent)
        said = f"units(): with units {silent} held at 0 their weights to units make no difference"
        # 1e-12: float64 rounding.
        require(difference <= 1e-12, f"{said}, found {difference:.2g}")


def _seen_of(cell: Cell, silent: list[int]) -> float:
    """What other outgoing weights of some units change in the states while these units' states are held at 0."""
    params, other = _params(cell, 0), _params(cell, 1)
    changed = {name: value.clone() for name, value in params.items()}
    for name, parameter in cell.parameters(N_INPUTS, N_UNITS).items():
        if "pre" in parameter.axes:
            place = 1 + parameter.axes.index("pre") - parameter.gated
            for unit in silent:
                changed[name].select(place, unit).copy_(other[name].select(place, unit))
    keep, ends = torch.isin(cell.units(N_UNITS), torch.tensor(silent), invert=True).double(), []
    for each in (params, changed):
        state = torch.zeros(1, 3, len(keep), dtype=torch.float64)
        for step_drive in input_drive(cell, each, _inputs(1), {}):
            state = keep * cell.step(each, state, step_drive)
        ends.append(state)
    return float((ends[0] - ends[1]).abs().max())


CELL_CLAIMS: dict[str, Callable[[Cell], None]] = {
    "form": cell_form,
    "run": cell_run,
    "members": cell_members,
    "gradient": cell_gradient,
    "fast_ways": cell_fast_ways,
    "acting": cell_acting,
    "symmetry": cell_symmetry,
    "units": cell_units,
}


@ordinary_state()
def check_cell(cell: Cell) -> None:
    """All claims of a cell.

    Raises:
        CheckFailed: one that does not hold, with what was expected and found.
    """
    for claim in CELL_CLAIMS.values():
        claim(cell)
