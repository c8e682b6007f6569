"""A member's record in a pack: its parameters, initial, final and in the course of training, and its history.

Weights of a cell with several gates are stored as (gate, post, pre). Seed, status and provenance stand in the
record's header.

A member's record in small holds its final parameters and the means of its epochs alone: what it began with is drawn
again from its seed, and compared by its digest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from degeneracy.core.files import DamagedFile, sha256
from degeneracy.core.packs import Pack
from degeneracy.core.records import Record
from degeneracy.networks.cell import Cell, Params
from degeneracy.training import History, Member

CHECKPOINT = "checkpoint "  # before the fraction, in the name of a part of a member's record
MAP_PARTS = "map parts"  # the part of a member's record that holds what a recurrent map was trained by
STEM, KIND = "members", "member"
SMALL_STEM, SMALL_KIND = "networks", "network"
OF_EPOCHS = ("learning_rate", "epoch_loss", "epoch_wrong")  # of a history, what a small record keeps


def member_pack(folder: Path, *, condition: str, spec: str) -> Pack:
    """The members that lie in a folder.

    Args:
        folder: where.
        condition: the name of their condition; "" for an ensemble of its own.
        spec: the digest of what they were made by.
    """
    return Pack(folder=folder, stem=STEM, condition=condition, spec=spec, kinds=(KIND,))


def small_pack(folder: Path, *, condition: str, spec: str) -> Pack:
    """The small records of members that lie in a folder; arguments as of `member_pack`."""
    return Pack(folder=folder, stem=SMALL_STEM, condition=condition, spec=spec, kinds=(SMALL_KIND,))


def public_params(cell: Cell, params: Params) -> dict[str, NDArray[Any]]:
    """Parameters of one member as arrays; weights of a cell with several gates as (gate, post, pre)."""
    gates = _gates_apart(cell)
    arrays = {name: value.numpy() for name, value in params.items()}
    return {
        name: value.reshape(gates[name], -1, *value.shape[1:]) if name in gates else value
        for name, value in arrays.items()
    }


def array_names(cell: Cell, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Public parameters with a leading member axis by the names under which arrays of networks are measured.

    What a cell has beside the weights between its units and from its inputs, its biases and its readout has no such
    name, and is left out.
    """
    named = cell.parameters(1, 1)
    apart = {
        "weights": [name for name, parameter in named.items() if parameter.between_units],
        "input_weights": [name for name, parameter in named.items() if parameter.role == "input"],
        "readout": [name for name in ("W_out",) if name in weights],
    }
    arrays = {name: weights[of[0]] for name, of in apart.items() if len(of) == 1}
    biases = [weights[name] for name in cell.biases if name in weights]
    if biases:
        gates = biases[0].shape[:1] + ((cell.gates, -1) if cell.gates > 1 else (-1,))
        rows = [bias.reshape(gates) for bias in biases]
        arrays["bias"] = rows[0] if len(rows) == 1 else np.stack(rows, axis=-2)
    return arrays


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
    """The records of those members that are there, in the order of `seeds`; `pack` is of either form."""
    records, [kind] = pack.records(), pack.kinds
    there = {seed: records.get((kind, str(seed), "", "")) for seed in seeds}
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


def save_small(pack: Pack, member: Member, cell: Cell) -> Record:
    """Append a member's small record; one of the seed that is there already is left as it is."""
    parts = {"final": member.final, **({MAP_PARTS: member.map_parts} if member.map_parts else {})}
    arrays = {
        f"{part}/{name}": value for part, params in parts.items() for name, value in public_params(cell, params).items()
    }
    arrays |= {f"history/{name}": getattr(member.history, name) for name in OF_EPOCHS}
    about = {
        "seed": member.seed,
        "status": member.status,
        "names": {part: list(params) for part, params in parts.items()},
        "gated": sorted(_gates_apart(cell)),
        "initial": _digest(member.initial),
    }
    return pack.append(SMALL_KIND, str(member.seed), arrays, about | {"provenance": dict(member.provenance)})


def load_small(pack: Pack, record: Record, initial: Params) -> Member:
    """A member from its small record.

    Args:
        pack: that the record is of.
        record: of the member.
        initial: its parameters before training, drawn again.

    Raises:
        DamagedFile: it is not what was written, or the member did not begin with these parameters.
    """
    arrays, about = pack.read(record), record.about
    try:
        if about["initial"] != _digest(initial):
            reason = f"its {record.title} did not begin with the weights that its seed draws here"
            raise DamagedFile(record.path, reason)
        parts = {
            part: _own_params({name: arrays[f"{part}/{name}"] for name in names}, about["gated"])
            for part, names in about["names"].items()
        }
        history = {name: arrays[f"history/{name}"] for name in OF_EPOCHS}
        return Member(
            seed=about["seed"],
            status=about["status"],
            initial=initial,
            final=parts["final"],
            history=replace(History.empty(), **history),
            map_parts=parts.get(MAP_PARTS, {}),
            provenance=about["provenance"],
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise DamagedFile(record.path, f"its {record.title} lacks what a network has ({error})") from error


def _digest(params: Params) -> str:
    """The SHA-256 of parameters: of their names, types, shapes and numbers."""
    arrays = {name: value.numpy() for name, value in params.items()}
    return sha256(b"".join(f"{name} {a.dtype.str} {a.shape} ".encode() + a.tobytes() for name, a in arrays.items()))
