"""Ensembles: networks of one kind that differ in their seeds."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile, digest
from degeneracy.core.numeric import real_array
from degeneracy.core.owned_folder import OwnedFolder, Sealed
from degeneracy.core.registry import build, describe
from degeneracy.core.user_files import user_path
from degeneracy.ensembles.member_files import (
    load_member,
    member_pack,
    member_records,
    public_params,
    save_member,
)
from degeneracy.ensembles.modules import ReadModule, read_module
from degeneracy.networks import Network, forward
from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import TASKS, Task
from degeneracy.training import History, Member, Training, one_thread

MAX_SEEDS = 100_000  # more would be a slip of the pen; each is a network to train
CONVERGED = ("converged", "given")  # the status of members that measures look at
PARTS = ("network", "task", "training")  # of the spec in an ensemble's file
INDEX = Sealed(
    name="ensemble.json",
    kind="ensemble",
    format=3,
    holds={"network": dict, "seeds": list, "members": dict},
    older=("network", "seeds"),
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Ensemble:
    """Trained networks of one architecture: the members, and how they came to be."""

    network: Network
    members: tuple[Member, ...]
    task: Task | None = None  # None for networks trained elsewhere
    training: Training | None = None

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        n, kind = len(self), f"{self.network.cell} {self.network.hidden_size}"
        return f"Ensemble({n} members of {kind}, {len(self.converged.members)} converged or given)"

    @property
    def seeds(self) -> tuple[int, ...]:
        """One per member; positions for networks trained elsewhere."""
        return tuple(member.seed for member in self.members)

    @property
    def cell(self) -> Cell:
        """The members' cell."""
        return self.network.build_cell()

    @property
    def converged(self) -> "Ensemble":
        """The members that converged (or were given): those that measures look at."""
        kept = tuple(member for member in self.members if member.status in CONVERGED)
        return replace(self, members=kept)

    def at(self, fraction: float) -> "Ensemble":
        """The members as they were in the course of training, with the status that they had at its end.

        Args:
            fraction: of each member's own training; 0 is its start, 1 its end, others are those of
                `Training.checkpoints` (each met to within 1/64 of the member's epochs).

        Raises:
            UserError: a fraction that was not kept; names those that were.
        """
        if fraction == 1:
            return self
        kept = set.intersection(*({0.0, *member.checkpoints} for member in self.members))
        if fraction not in kept:
            known = ", ".join(f"{one:g}" for one in sorted({*kept, 1.0}))
            raise UserError(f"fraction = {fraction:g} of training was not kept (kept: {known})")
        moved = tuple(
            replace(member, final=member.checkpoints[fraction] if fraction else member.initial, map_parts={})
            for member in self.members
        )
        return replace(self, members=moved)

    @ordinary_state()
    def params(self, *, initial: bool = False) -> Params:
        """The parameters with a leading member axis, trained or (`initial`) before training.

        Raises:
            UserError: an ensemble without members, such as the converged ones of one where none converged.
        """
        if not self.members:
            raise UserError("the ensemble has no members")
        parts = [member.initial if initial else member.final for member in self.members]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def weights(self, *, initial: bool = False) -> dict[str, NDArray[Any]]:
        """The parameters as arrays: `W_rec` (member, post, pre), of gated cells (member, gate, post, pre)."""
        parts = [public_params(self.cell, member.initial if initial else member.final) for member in self.members]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    @ordinary_state()
    def rollout(self, inputs: ArrayLike | torch.Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
        """Run all members without noise.

        Args:
            inputs: (trial, time, in), common to all members, or (member, trial, time, in).

        Returns:
            Hidden states (member, trial, time, unit) and outputs (member, trial, time, out).

        Raises:
            UserError: inputs of another shape than the members take, or not finite.
        """
        params = self.params()
        layouts = ("trial", "time", "in"), ("member", "trial", "time", "in")
        numbers = real_array(inputs, "rollout: inputs", *layouts)
        given = torch.from_numpy(numbers.copy()).to(params["W_out"].dtype)
        if given.ndim == 3:
            given = given.unsqueeze(0).expand(len(self), *given.shape)
        size = self.cell.axis_size(params, "in")
        if given.ndim != 4 or given.shape[0] != len(self) or given.shape[-1] != size:
            raise UserError(
                f"rollout: inputs of shape {tuple(given.shape)}; needed are (trial, time, {size})"
                f" or ({len(self)}, trial, time, {size})"
            )
        if not torch.isfinite(given).all():
            raise UserError("rollout: the inputs hold values that are not finite")
        with torch.no_grad(), one_thread():
            states, outputs = forward(self.cell, params, given, {})
        return self.cell.hidden(states).numpy(), outputs.numpy()

    def save(self, path: str | Path) -> Path:
        """Write the ensemble to a folder of its own: `ensemble.json`, and the members in `members-0001.pack`.

        Raises:
            UserError: the folder holds something already, be it an ensemble, or two members have one seed.
        """
        folder = user_path(path)
        owned = OwnedFolder(root=folder, index=INDEX, ledger=INDEX)
        if len(set(self.seeds)) < len(self):
            raise UserError(f"save: two members have the same seed (seeds {list(self.seeds)})")
        spec = {
            "network": self.network.model_dump(mode="json"),
            "task": None if self.task is None else describe(self.task, TASKS),
            "training": None if self.training is None else self.training.model_dump(mode="json"),
        }

        def check() -> None:
            if owned.begun():
                raise UserError(f"{folder} holds an ensemble already; choose another folder")

        with owned.take(check):
            pack = member_pack(folder, condition="", spec=digest(spec, sort=True))
            prints = {str(member.seed): save_member(pack, member, self.cell).fingerprint for member in self.members}
            INDEX.write(folder, {**spec, "seeds": list(self.seeds), "members": prints})
        return folder

    @classmethod
    @ordinary_state()
    def load(cls, path: str | Path) -> "Ensemble":
        """Read an ensemble that `save` wrote; where it names code (`module:Name`), that module is imported.

        Raises:
            UserError: a file is missing, damaged or not the one that was saved; names it.
        """
        folder = user_path(path)
        saved = INDEX.read(folder)
        try:
            spec, seeds, kept = {part: saved[part] for part in PARTS}, saved["seeds"], saved["members"]
            pack = member_pack(folder, condition="", spec=digest(spec, sort=True))
            records = member_records(pack, seeds)
            for seed in seeds:
                if seed not in records or records[seed].fingerprint != kept[str(seed)]:
                    there = "is another one than was saved" if seed in records else "is not there"
                    raise DamagedFile(pack.folder / f"{pack.stem}-*.pack", f"member {seed} {there}")
            return cls(
                network=Network(**spec["network"]),
                task=None if spec["task"] is None else build("task", spec["task"], TASKS, Task),
                training=None if spec["training"] is None else Training(**spec["training"]),
                members=tuple(load_member(pack, records[seed]) for seed in seeds),
            )
        except (KeyError, TypeError) as error:
            raise DamagedFile(folder / INDEX.name, f"damaged or not an ensemble's file ({error})") from error

    @classmethod
    @ordinary_state()
    def from_modules(cls, modules: Sequence[Any]) -> "Ensemble":
        """An ensemble of PyTorch modules trained elsewhere, to be used with any task.

        What acts in a module is read (its pruned, normed, parametrised or tied weights) in evaluation mode, so that
        dropout is off. Each member is then compared with its module on random inputs; the largest difference, as a
        share of the states' size, is in its `provenance`. The modules are left as they are.

        Args:
            modules: one pair (nn.RNN, nn.GRU or nn.LSTM with one layer; its nn.Linear readout) per member; either may
                be a subclass, or wrapped by torch.compile, DataParallel or AveragedModel.

        Raises:
            UserError: a module of another kind, more than one layer, two directions or a projection, half precision,
                a module that does not run as its weights say (with the largest difference), or members that differ
                in kind or size.
        """
        if not isinstance(modules, Sequence):
            raise UserError(f"from_modules: a list of pairs is needed, got {type(modules).__name__}")
        with one_thread():
            read = [read_module(k, given) for k, given in enumerate(modules)]
        if not read:
            raise UserError("from_modules: no modules given")
        kinds = {(each.cell, *(tuple(value.shape) for value in each.params.values())) for each in read}
        if len(kinds) > 1:
            raise UserError(
                "from_modules: the modules differ in kind or size; measure such members with measure_arrays"
            )
        first = read[0]
        return cls(
            network=Network(hidden_size=first.hidden_size, cell=first.cell),
            members=tuple(_given_member(k, each) for k, each in enumerate(read)),
        )


def _given_member(k: int, read: ReadModule) -> Member:
    history = History.empty()
    return Member(seed=k, status="given", initial={}, final=read.params, history=history, provenance=read.provenance)


def check_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """The seeds as a tuple.

    Raises:
        UserError: none, more than `MAX_SEEDS`, a negative or fractional one, one twice, or no sequence.
    """
    if not isinstance(seeds, Iterable):
        raise UserError(f"seeds = {seeds!r} is wrong: one per member is needed, such as range(8)")
    checked = tuple(itertools.islice(seeds, MAX_SEEDS + 1))
    if len(checked) > MAX_SEEDS:
        said = f"{seeds!r}" if isinstance(seeds, range) else f"[{checked[0]}, {checked[1]}, ...]"
        raise UserError(f"seeds = {said} is wrong: at most {MAX_SEEDS} members")
    whole = all(isinstance(seed, int | np.integer) and not isinstance(seed, bool) for seed in checked)
    if not checked or not whole or min(checked) < 0 or len(set(checked)) < len(checked):
        said = ", ".join(map(repr, checked[:8])) + (", ..." if len(checked) > 8 else "")
        raise UserError(f"seeds = [{said}] is wrong: whole numbers from 0 on, at least one, none twice")
    return tuple(int(seed) for seed in checked)
