"""A member's record in a pack: its parameters, initial, final and in the course of training, and its history.

Weights of a cell with several gates are stored as (gate, post, pre). Seed, status and provenance stand in the
record's header.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from degeneracy.core.files import DamagedFile
from degeneracy.core.packs import Pack
from degeneracy.core.records import Record
from degeneracy.networks.cell import Cell, Params
from degeneracy.training import History, Member

CHECKPOINT = "checkpoint "  # before the fraction, in the name of a part of a member's record
MAP_PARTS = "map parts"  # the part of a member's record that holds what a recurrent map was trained by
STEM, KIND = "members", "member"


def member_pack(folder: Path, *, condition: str, spec: str) -> Pack:
    """The members that lie in a folder.

    Args:
        folder: where.
        condition: the name of their condition; "" for an ensemble of its own.
        spec: the digest of what they were made by.
    """
    return Pack(folder=folder, stem=STEM, condition=condition, spec=spec, kinds=(KIND,))


def public_params(cell: Cell, params: Params) -> dict[str, NDArray[Any]]:
    """Parameters of one member as arrays; weights of a cell with several gates as (gate, post, pre)."""
    gates = _gates_apart(cell)
    arrays = {name: value.numpy() for name, value in params.items()}
    return {
        name: value.reshape(gates[name], -1, *value.shape[1:]) if name in gates else value
        for name, value in arrays.items()
    }


def _gates_apart(cell: Cell) -> dict[str, int]:
    """The weights whose gates stand apart in files and in public arrays, and how many gates there are."""
    return {
        name: parameter.sizes[0]
        for name, parameter in cell.parameters(1, 1).items()
        if parameter.gated and parameter.sizes[0] > 1 and len(parameter.axes) > 2
    }


def _own_params(arrays: Mapping[str, NDArray[Any]], gated: Collection[str]) -> Params:
    return {
        name: torch.from_numpy(value.reshape(-1, *value.shape[2:]) if name in gated else value)
        for name, value in arrays.items()
    }


def save_member(pack: Pack, member: Member, cell: Cell) -> Record:
    """Append one member; once this returns, no crash loses it."""
    parts = {"initial": member.initial, "final": member.final}
    parts |= {MAP_PARTS: member.map_parts} if member.map_parts else {}
    parts |= {f"{CHECKPOINT}{fraction}": params for fraction, params in member.checkpoints.items()}
    arrays = {
        f"{part}/{name}": value for part, params in parts.items() for name, value in public_params(cell, params).items()
    }
    arrays |= {f"history/{name}": value for name, value in vars(member.history).items()}
    names = {part: list(params) for part, params in parts.items()}
    about = {"seed": member.seed, "status": member.status, "names": names, "gated": sorted(_gates_apart(cell))}
    return pack.append(KIND, str(member.seed), arrays, about | {"provenance": dict(member.provenance)})


def member_records(pack: Pack, seeds: Sequence[int]) -> dict[int, Record]:
    """The records of those members that are there, in the order of `seeds`."""
    records = pack.records()
    there = {seed: records.get((KIND, str(seed), "", "")) for seed in seeds}
    return {seed: record for seed, record in there.items() if record is not None}


def load_member(pack: Pack, record: Record) -> Member:
    """Read one member.

    Raises:
        DamagedFile: it is not what was written.
    """
    arrays, about = pack.read(record), record.about
    try:
        if about["seed"] != int(record.header["name"]):
            raise DamagedFile(record.path, f"its {record.title} says that it is member {about['seed']}")
        parts = {
            part: _own_params({name: arrays[f"{part}/{name}"] for name in names}, about["gated"])
            for part, names in about["names"].items()
        }
        history = History(**{name: arrays[f"history/{name}"] for name in History.__dataclass_fields__})
        return Member(
            seed=about["seed"],
            status=about["status"],
            initial=parts["initial"],
            final=parts["final"],
            history=history,
            checkpoints={
                float(part.removeprefix(CHECKPOINT)): params
                for part, params in parts.items()
                if part.startswith(CHECKPOINT)
            },
            map_parts=parts.get(MAP_PARTS, {}),
            provenance=about["provenance"],
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise DamagedFile(record.path, f"its {record.title} lacks what a member has ({error})") from error
