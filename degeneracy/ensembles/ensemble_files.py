"""The folders that trained networks lie in: one of an ensemble that was saved, and one of a condition of a run.

An ensemble's holds `ensemble.json`, a condition's `spec.json` (the resolved task, network and training); the members of
both are packs beside these (`member_files`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile, digest, exists
from degeneracy.core.owned_folder import OwnedFolder, Sealed
from degeneracy.core.packs import Pack
from degeneracy.core.records import Record
from degeneracy.core.registry import build, describe
from degeneracy.ensembles.member_files import (
    KIND,
    load_member,
    member_pack,
    member_records,
    save_member,
)
from degeneracy.networks import Network
from degeneracy.tasks import TASKS, Task
from degeneracy.training import Member, Training

RUN_FORMAT = 5  # of all JSON files of a run, and of what its packs hold
SPEC = Sealed(name="spec.json", kind="condition", format=RUN_FORMAT)
NOT_THE_ONE = "is not the one that the run's results were made of"
PARTS = ("network", "task", "training")  # of the spec in either file
INDEX = Sealed(
    name="ensemble.json",
    kind="ensemble",
    format=3,
    holds={"network": dict, "seeds": list, "members": dict},
    older=("network", "seeds"),
)


def of_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The network, task and training that a spec describes; where it names code, that is imported."""
    return {
        "network": Network(**spec["network"]),
        "task": None if spec["task"] is None else build("task", spec["task"], TASKS, Task),
        "training": None if spec["training"] is None else Training(**spec["training"]),
    }


def write_ensemble(
    folder: Path,
    network: Network,
    task: Task | None,
    training: Training | None,
    members: Sequence[Member],
    units: Sequence[str],
) -> None:
    """Write an ensemble to a folder of its own.

    Raises:
        UserError: the folder holds something already, be it an ensemble.
    """
    owned = OwnedFolder(root=folder, index=INDEX, ledger=INDEX)
    spec = {
        "network": network.model_dump(mode="json"),
        "task": None if task is None else describe(task, TASKS),
        "training": None if training is None else training.model_dump(mode="json"),
    }

    def check() -> None:
        if owned.begun():
            raise UserError(f"{folder} holds an ensemble already; choose another folder")

    with owned.take(check):
        pack, cell = member_pack(folder, condition="", spec=digest(spec, sort=True)), network.build_cell()
        prints = {str(member.seed): save_member(pack, member, cell).fingerprint for member in members}
        about = {"seeds": [member.seed for member in members], "units": list(units)}
        INDEX.write(folder, {**spec, **about, "members": prints})


def read_ensemble(folder: Path) -> dict[str, Any]:
    """Network, task, training, members, and classes of units, of a saved ensemble or of a condition of a run.

    Raises:
        UserError: a file is missing, damaged or not the one that was written; names it.
    """
    if exists(folder / SPEC.name) and not exists(folder / INDEX.name):
        return read_condition(folder)
    saved = INDEX.read(folder)
    try:
        spec, seeds, kept = {part: saved[part] for part in PARTS}, saved["seeds"], saved["members"]
        pack = member_pack(folder, condition="", spec=digest(spec, sort=True))
        records = member_records(pack, seeds)
        for seed in seeds:
            if seed not in records or records[seed].fingerprint != kept[str(seed)]:
                there = "is another one than was saved" if seed in records else "is not there"
                raise DamagedFile(pack.folder / f"{pack.stem}-*.pack", f"member {seed} {there}")
        units = tuple(saved.get("units", ()))  # files from before there were such have none
        return {**of_spec(spec), "members": _members(pack, records), "units": units}
    except (KeyError, TypeError) as error:
        raise DamagedFile(folder / INDEX.name, f"damaged or not an ensemble's file ({error})") from error


def read_condition(folder: Path, made: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Network, task, training and those members of a condition that are trained, in the order of their seeds.

    Args:
        folder: of the condition, in a run directory.
        made: by seed, the fingerprints of the members that are wanted; all that are there by default.

    Raises:
        UserError: a file is missing, damaged or not the one that was written; names it.
    """
    try:
        spec = SPEC.read(folder)["spec"]
        pack = member_pack(folder, condition=folder.name, spec=digest(spec, sort=True))
        there = {int(name) for kind, name, *_ in pack.records() if kind == KIND}
        records = member_records(pack, sorted(there) if made is None else [int(seed) for seed in made])
        for seed, fingerprint in (made or {}).items():
            if int(seed) not in records or records[int(seed)].fingerprint != fingerprint:
                said = NOT_THE_ONE if int(seed) in records else "is not there"
                raise DamagedFile(pack.folder / f"{pack.stem}-*.pack", f"member {seed} {said}")
        return {**of_spec(spec), "members": _members(pack, records)}
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFile(folder / SPEC.name, f"damaged or not a condition's file ({error})") from error


def _members(pack: Pack, records: Mapping[int, Record]) -> tuple[Member, ...]:
    return tuple(load_member(pack, record) for record in records.values())
