"""Members of an ensemble from the modules that the user gives, and from the same ones before training."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.ensembles.modules.given import Given
from degeneracy.ensembles.modules.reading import Asked, read_module
from degeneracy.networks import forward
from degeneracy.networks.cell import Cell, Params
from degeneracy.training import History, Member

SAME = 1e-6  # of the size of outputs, in double precision: rounding stretched by the dynamics of a few steps


def read_members(
    modules: Sequence[Any], initial: Sequence[Any] | None, asked: Asked
) -> tuple[tuple[Member, ...], tuple[Cell, ...]]:
    """The members, and the cell of each.

    Raises:
        UserError: a module that cannot be read, or one before training that is not of the same make.
    """
    if initial is not None and (not isinstance(initial, Sequence) or len(initial) != len(modules)):
        got = len(initial) if isinstance(initial, Sequence) else type(initial).__name__
        raise UserError(f"from_modules: initial= needs one module per member, {len(modules)} of them, got {got}")
    read = [read_module(k, given, asked) for k, given in enumerate(modules)]
    before: list[Params] = [{} for _ in read]
    if initial is not None:
        # What is run as a whole after training was perhaps nothing more than its parts before, as with a learned start.
        whole = replace(asked, whole=True)
        before = [
            _before(k, read[k], read_module(k, given, asked if read[k].cell.stepwise else whole))
            for k, given in enumerate(initial)
        ]
    members = tuple(
        Member(
            seed=k,
            status="given",
            initial=before[k],
            final=each.params,
            history=History.empty(),
            provenance=dict(each.provenance),
        )
        for k, each in enumerate(read)
    )
    return members, tuple(each.cell for each in read)


def _before(k: int, trained: Given, initial: Given) -> Params:
    """The parameters before training, which run in the trained member's own cell as they do in theirs."""
    shapes = [{name: tuple(value.shape) for name, value in each.params.items()} for each in (trained, initial)]
    if type(trained.cell) is not type(initial.cell) or shapes[0] != shapes[1]:
        raise UserError(f"from_modules: initial= gives member {k} a module of another kind or size than modules does")
    inputs = Streams([0], "from_modules").normal((5, 12, trained.cell.axis_size(_alone(trained.params), "in")))
    with torch.no_grad():
        runs = [forward(cell, _alone(initial.params), inputs.double(), {})[1] for cell in (trained.cell, initial.cell)]
    if not (runs[0] - runs[1]).abs().max() <= SAME * runs[1].abs().max():
        raise UserError(
            f"from_modules: the modules of member {k} before and after training differ in more than their parameters"
            " and buffers: with the same ones they do not run alike"
        )
    return initial.params


def _alone(params: Params) -> Params:
    """With a member axis, in double precision."""
    return {name: value[None].double() for name, value in params.items()}
