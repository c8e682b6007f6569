"""A zoo: networks kept in a small form, so that any measure can be taken on them without training.

DIRECTORY/NAME/                 one folder per study
    zoo.json                    the study's settings, its conditions, and which networks of each are kept
    CONDITION/networks-0001.pack    a record per network: final weights (float32) and the losses of its epochs

Records and packs are those of a run (`core/packs.py`), under the same checksums. zoo.json holds the fingerprint of
every network, so none is exchanged or lost without a word. Initial weights are not kept: they are drawn again from the
seed, and compared by their digest.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.files import DamagedFile, advising, digest, exists
from degeneracy.core.owned_folder import LACKS, OwnedFolder, Sealed
from degeneracy.core.packs import Pack
from degeneracy.core.records import Record
from degeneracy.core.user_files import user_path
from degeneracy.core.version import __version__
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.ensembles.ensemble_files import of_spec
from degeneracy.ensembles.member_files import load_small, member_records, save_small, small_pack
from degeneracy.networks import initial_params
from degeneracy.runs.results_file import repair_advice
from degeneracy.runs.run_directory import RunDirectory
from degeneracy.studies.conditions import Condition, Place
from degeneracy.studies.study import Study
from degeneracy.training import Member

N_KEPT, N_KEPT_WIDE = 20, 8  # networks of a condition, and of one whose networks are wide: those of the first seeds
WIDE = 128  # units; wider networks are wide
SETTINGS = ("description", "scale", "seeds", "task", "network", "training", "vary")  # of a study, those that train
ZOO = Sealed(name="zoo.json", kind="zoo", format=1, holds={"name": str, "study": dict, "conditions": list})
CHECKOUT = Path(__file__).parents[2] / "figures" / "zoo"  # where the networks of this project's studies are kept


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Zoo(Mapping[str, Ensemble]):
    """The kept networks of a study: an `Ensemble` per condition, such as `zoo["channels=2"]`, with its task."""

    name: str
    study: Mapping[str, Any]  # the settings that the networks were trained with
    version: str  # of the program that kept them
    ensembles: Mapping[str, Ensemble]  # by condition, in the order of the study's levels; those with kept networks only
    factors: Mapping[str, Mapping[str, Any]]  # by condition: the varied factors' levels

    def __getitem__(self, condition: str) -> Ensemble:
        if condition not in self.ensembles:
            raise unknown_name("condition", condition, self.ensembles, where=f"zoo '{self.name}'")
        return self.ensembles[condition]

    def __contains__(self, condition: object) -> bool:
        return condition in self.ensembles

    def __iter__(self) -> Iterator[str]:
        return iter(self.ensembles)

    def __len__(self) -> int:
        return len(self.ensembles)

    def __repr__(self) -> str:
        return "\n  ".join([f"{self.name}: {self.study['description']}", *counts(self)])


def counts(ensembles: Mapping[str, Ensemble]) -> list[str]:
    """Per condition, in words, how many networks there are and how many of them converged."""
    lines = []
    for label, ensemble in ensembles.items():
        n, converged = len(ensemble), len(ensemble.converged)
        said = "all converged" if converged == n else f"{converged} of them converged"
        lines.append(f"{label}: {n} networks, {said}")
    return lines


@ordinary_state()
def load_zoo(name: str, *, directory: str | Path = "") -> Zoo:
    """The kept networks of a study, by condition, so that measures can be taken on them without training.

    Networks that did not converge are kept too, and flagged: `ensemble.converged` leaves them out, and `print(zoo)`
    says how many converged.
    Where a network names code (`module:Name`), that module is imported.

    Args:
        name: of the study, such as "gamma_flip_flop".
        directory: holds a folder per study; by default `figures/zoo` of the source checkout that the package runs from.
            An installed package does not bring the networks: copy that folder from the source and name it here.

    Raises:
        UserError: no such directory or study, or a file that is missing, damaged or another one than was kept; names
            it.
    """
    place = user_path(directory) if directory else CHECKOUT
    if not place.is_dir():
        advice = "; an installed package brings none: copy figures/zoo from the source and name it as directory="
        raise UserError(f"load_zoo: there is no folder {place}" + ("" if directory else advice))
    there = sorted(path.name for path in place.iterdir() if exists(path / ZOO.name))
    if name not in there:
        raise unknown_name("study", name, there, where=f"load_zoo: {place}")
    with _whole(place / name) as index:
        kept = [one for one in index["conditions"] if one["networks"]]
        return Zoo(
            name=index["name"],
            study=index["study"],
            version=index["version"],
            ensembles=MappingProxyType({one["label"]: _read(place / name, one) for one in kept}),
            factors=MappingProxyType({one["label"]: one["factors"] for one in kept}),
        )


def kept_members(directory: Path, study: str, condition: Condition, seeds: Sequence[int]) -> list[Member]:
    """The kept networks of a condition that are of these seeds, and were trained as the condition says.

    Raises:
        UserError: no such directory, or a file that is missing, damaged or another one than was kept; names it.
    """
    if not directory.is_dir():
        raise UserError(f"zoo: there is no folder {directory}")
    if not exists(directory / study / ZOO.name):
        return []
    with _whole(directory / study) as index:
        kept = [one for one in index["conditions"] if one["spec"] == condition.place.spec]
        return [m for one in kept for m in _read(directory / study, one).members if m.seed in seeds]


@contextmanager
def _whole(folder: Path) -> Iterator[dict[str, Any]]:
    """What zoo.json of a study holds; says what to do about damage that is met."""
    with advising("the kept networks are damaged; take this folder from the source again, or pack the run again"):
        try:
            yield ZOO.read(folder)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFile(folder / ZOO.name, f"{LACKS} ({error})") from error


def _read(folder: Path, index: Mapping[str, Any]) -> Ensemble:
    """The ensemble of a condition."""
    spec, made = index["resolved"], {one["seed"]: one["fingerprint"] for one in index["networks"]}
    if digest(spec, sort=True) != index["spec"]:
        raise DamagedFile(folder / ZOO.name, f"the settings of {index['label']} are not those that its name says")
    pack = _pack(folder, Place(name=index["name"], label=index["label"], spec=index["spec"]))
    records = member_records(pack, list(made))
    for seed, fingerprint in made.items():
        if seed not in records or records[seed].fingerprint != fingerprint:
            there = "is another one than was kept" if seed in records else "is not there"
            raise DamagedFile(pack.folder / f"{pack.stem}-*.pack", f"the network of seed {seed} {there}")
    resolved = of_spec(spec)
    task, network, training = (resolved[part] for part in ("task", "network", "training"))
    drawn = training.stream_seeds("initialisation", list(made))
    initial = initial_params(network, task.input_size, task.output_size, drawn)
    members = tuple(
        load_small(pack, records[seed], {name: value[k].clone() for name, value in initial.items()})
        for k, seed in enumerate(made)
    )
    return Ensemble(**resolved, members=members)


@ordinary_state()
def pack_zoo(run: str | Path, directory: str | Path) -> Path:
    """Keep the final weights of a run's networks in a small form; `load_zoo` gives them back.

    Per condition, the networks of the first 20 seeds are kept (8 where they have more than 128 units). A run need not
    be finished: packing it again later adds the networks that are new.

    Args:
        run: a run directory.
        directory: where the study's folder is made, or added to, under the study's name.

    Returns:
        That folder.

    Raises:
        UserError: no run directory, a damaged file, or a folder of that name with something else in it: other settings,
            or another network of the same seed.
    """
    root = user_path(run)
    with advising(repair_advice(root)):
        trained = RunDirectory.at(root)
    plan = Study(**trained.study)
    folder = user_path(directory) / plan.name
    owned = OwnedFolder(root=folder, index=ZOO, ledger=ZOO)
    study = {key: trained.study[key] for key in SETTINGS}
    with owned.take(lambda: _check_same_study(owned, plan)):
        if not exists(folder / ZOO.name):  # so that a folder which a killed process leaves is known as a zoo's
            ZOO.write(folder, _index(plan.name, study, []))
        ZOO.write(folder, _index(plan.name, study, [_keep(trained, folder, one) for one in plan.conditions()]))
    return folder


def _index(name: str, study: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"name": name, "version": __version__, "study": study, "conditions": conditions}


def _check_same_study(owned: OwnedFolder, plan: Study) -> None:
    """Refuse a folder with anything but kept networks of these conditions."""
    if not owned.begun():
        return
    known = {one["name"] for one in ZOO.read(owned.root)["conditions"]}
    strange = sorted(known - {condition.name for condition in plan.conditions()})
    if strange:
        raise UserError(
            f"{owned.root} keeps networks of other settings (condition {strange[0]} is not in this run); move it away,"
            " or choose another folder"
        )


def _keep(trained: RunDirectory, folder: Path, condition: Condition) -> dict[str, Any]:
    """Append what is new of a condition; returns what zoo.json says of it."""
    n_kept = N_KEPT if condition.network.hidden_size <= WIDE else N_KEPT_WIDE
    first = trained.study["seeds"][:n_kept]
    seeds = list(trained.member_records(condition.place, first))
    pack, cell, networks = _pack(folder, condition.place), condition.network.build_cell(), []
    for member in trained.load_members(condition.place, seeds):
        record = save_small(pack, member, cell)
        kept = load_small(pack, record, member.initial)
        if any(not np.array_equal(kept.final[name].numpy(), value.numpy()) for name, value in member.final.items()):
            raise UserError(
                f"{pack.folder} keeps another network of seed {member.seed}; move it away, or choose another folder"
            )
        networks.append(_described(member, condition, record))
    place = condition.place
    about = {"name": place.name, "label": place.label, "spec": place.spec, "factors": dict(condition.factors)}
    return {**about, "resolved": condition.spec, "networks": networks}


def _described(member: Member, condition: Condition, record: Record) -> dict[str, Any]:
    """What zoo.json says of a network."""
    losses = member.history.epoch_loss
    final = float(losses[-1]) if len(losses) else np.nan
    return {
        "seed": member.seed,
        "status": member.status,
        "updates": len(losses) * condition.training.steps_per_epoch,
        "final_loss": final if np.isfinite(final) else None,  # the mean of the last epoch
        "seconds": member.provenance.get("seconds"),
        "fingerprint": record.fingerprint,
    }


def _pack(folder: Path, place: Place) -> Pack:
    return small_pack(folder / place.name, condition=place.name, spec=place.spec)
