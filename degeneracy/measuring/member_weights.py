"""The weights of members as the measures take them: blocks with named axes, as they act."""

from collections.abc import Mapping
from typing import get_args

import numpy as np

from degeneracy.analysis.recording import Block, Weights
from degeneracy.networks import Cell, Params, RecurrentMap, member_count, parameters
from degeneracy.networks.cell import Role
from degeneracy.networks.recurrent_maps import Dense


def parameter_blocks(cell: Cell, params: Params, member: int) -> dict[str, Block]:
    """Each parameter of one member that makes its states, and the readout's weights, as a block with named axes."""
    named = parameters(cell, 1, 1, 1)
    blocks = {}
    for name, parameter in named.items():
        if parameter.axes == ("out",):  # the readout's bias shifts outputs alone
            continue
        value = params[name][member]
        array = value.unflatten(0, (parameter.sizes[0], -1)) if parameter.gated else value
        blocks[name] = Block(array=array.numpy().astype(np.float64), axes=parameter.axes, role=parameter.role)
    return blocks


DENSE = Dense()


def member_weights(
    cell: Cell, params: Params, recurrent: RecurrentMap = DENSE, classes: tuple[str, ...] = ()
) -> list[Weights]:
    """The weights of each member as the measures take them, as they act, float64; with what a map leaves of symmetry.

    Units are of the `classes` that are given, else of those of the map.

    The blocks come in the order of their roles. Biases make one block, (gate, bias, unit); the only other block of a
    role bears the role's name, and properties of units, and blocks that share a role, their parameters' names.
    """
    acting = cell.acting(params)
    return [
        Weights(
            blocks=_by_role(parameter_blocks(cell, acting, member)),
            candidate=cell.candidate,
            symmetry=recurrent.symmetry(cell.symmetry),
            summed_biases=cell.summed_biases,
            classes=classes or recurrent.classes(cell.axis_size(params, "unit")),
        )
        for member in range(member_count(params))
    ]


def _by_role(blocks: Mapping[str, Block]) -> dict[str, Block]:
    named: dict[str, Block] = {}
    for role in get_args(Role):
        alike = {name: block for name, block in blocks.items() if block.role == role}
        if role == "bias" and alike and all(block.axes == ("gate", "unit") for block in alike.values()):
            rows = np.stack([block.array for block in alike.values()], axis=1)
            alike = {role: Block(array=rows, axes=("gate", "bias", "unit"), role=role)}
        elif role != "unit" and len(alike) == 1:
            alike = {role: next(iter(alike.values()))}
        named |= alike
    return named
