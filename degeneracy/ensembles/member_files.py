"""A member's file: its parameters, initial, final and in the course of training, and its history.

Gated recurrent weights are stored as (gate, post, pre).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from degeneracy.errors import UserError
from degeneracy.files import read_arrays, write_arrays
from degeneracy.networks.cells import Cell, Params
from degeneracy.training import History, Member

GATED = {"W_rec", "W_in"}  # the parameters whose gates stand apart in files and in public arrays
CHECKPOINT = "checkpoint "  # before the fraction, in the name of a part of a member's file


def member_file(seed: int) -> str:
    """The name of a member's file."""
    return f"seed-{seed:06d}.safetensors"


def public_params(cell: Cell, params: Params) -> dict[str, NDArray[Any]]:
    """Parameters of one member as arrays; W_rec and W_in of a gated cell as (gate, post, pre)."""
    arrays = {name: value.numpy() for name, value in params.items()}
    if cell.gates > 1:
        for name in GATED & arrays.keys():  # networks trained elsewhere have no initial parameters
            arrays[name] = arrays[name].reshape(cell.gates, -1, arrays[name].shape[-1])
    return arrays


def _own_params(arrays: Mapping[str, NDArray[Any]]) -> Params:
    return {
        name: torch.from_numpy(value.reshape(-1, value.shape[-1]) if name in GATED else value)
        for name, value in arrays.items()
    }


def save_member(path: Path, member: Member, cell: Cell) -> None:
    """Write one member."""
    parts = {"initial": member.initial, "final": member.final}
    parts |= {f"{CHECKPOINT}{fraction}": params for fraction, params in member.checkpoints.items()}
    arrays = {
        f"{part}/{name}": value
        for part, params in parts.items()
        for name, value in public_params(cell, params).items()
    }
    arrays |= {f"history/{name}": value for name, value in vars(member.history).items()}
    names = {part: list(params) for part, params in parts.items()}
    metadata = {"seed": member.seed, "status": member.status, "names": names}
    write_arrays(path, arrays, metadata | {"provenance": dict(member.provenance)})


def load_member(path: Path) -> Member:
    """Read one member.

    Raises:
        UserError: the file is missing or damaged; names it.
    """
    arrays, metadata = read_arrays(path)
    try:
        parts = {
            part: _own_params({name: arrays[f"{part}/{name}"] for name in names})
            for part, names in metadata["names"].items()
        }
        history = History(**{name: arrays[f"history/{name}"] for name in History.__dataclass_fields__})
        return Member(
            seed=metadata["seed"],
            status=metadata["status"],
            initial=parts["initial"],
            final=parts["final"],
            history=history,
            checkpoints={
                float(part.removeprefix(CHECKPOINT)): params
                for part, params in parts.items()
                if part.startswith(CHECKPOINT)
            },
            provenance=metadata["provenance"],
        )
    except KeyError as error:
        raise UserError(f"cannot read {path}: it has no {error}; not a member's file") from error
