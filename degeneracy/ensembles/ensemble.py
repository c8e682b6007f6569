"""Ensembles: networks of one kind that differ in their seeds."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from degeneracy.ensembles.member_files import (
    load_member,
    member_pack,
    member_records,
    public_params,
    save_member,
)
from degeneracy.errors import UserError
from degeneracy.files import DamagedFile, digest, read_json, write_json
from degeneracy.named import build, describe
from degeneracy.networks import Network, forward
from degeneracy.networks.cells import CELLS, Cell, Params
from degeneracy.tasks import TASKS, Task
from degeneracy.training import History, Member, Training, one_thread
from degeneracy.user_files import user_path

MAX_SEEDS = 100_000  # more would be a slip of the pen; each is a network to train
CONVERGED = ("converged", "given")  # the status of members that measures look at
FORMAT = 2
PARTS = ("network", "task", "training")  # of the spec in an ensemble's file
Module = tuple[nn.RNN | nn.GRU | nn.LSTM, nn.Linear]


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
        """One a member; positions for networks trained elsewhere."""
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
            replace(member, final=member.checkpoints[fraction] if fraction else member.initial)
            for member in self.members
        )
        return replace(self, members=moved)

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
        parts = [
            public_params(self.cell, member.initial if initial else member.final) for member in self.members
        ]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

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
        given = torch.as_tensor(inputs, dtype=params["W_in"].dtype)
        if given.ndim == 3:
            given = given.unsqueeze(0).expand(len(self), *given.shape)
        size = params["W_in"].shape[-1]
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
            UserError: the folder holds something already, or two members have one seed.
        """
        folder = user_path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} holds something already; save an ensemble to a new or empty folder")
        if len(set(self.seeds)) < len(self):
            raise UserError(f"save: two members have the same seed (seeds {list(self.seeds)})")
        spec = {
            "network": self.network.model_dump(mode="json"),
            "task": None if self.task is None else describe(self.task, TASKS),
            "training": None if self.training is None else self.training.model_dump(mode="json"),
        }
        pack = member_pack(folder, condition="", spec=digest(spec, sort=True))
        kept = {str(member.seed): save_member(pack, member, self.cell).fingerprint for member in self.members}
        write_json(
            folder / "ensemble.json",
            {"kind": "ensemble", "format": FORMAT, **spec, "seeds": list(self.seeds), "members": kept},
        )
        return folder

    @classmethod
    def load(cls, path: str | Path) -> "Ensemble":
        """Read an ensemble that `save` wrote; where it names code (`module:Name`), that module is imported.

        Raises:
            UserError: a file is missing, damaged or not the one that was saved; names it.
        """
        folder = user_path(path)
        file = folder / "ensemble.json"
        saved = read_json(file, kind="ensemble", format=FORMAT, older=("network", "seeds"))
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
            raise DamagedFile(file, f"damaged or not an ensemble's file ({error})") from error

    @classmethod
    def from_modules(cls, modules: Sequence[Module]) -> "Ensemble":
        """An ensemble of PyTorch modules trained elsewhere, to be used with any task.

        Args:
            modules: one pair (nn.RNN, nn.GRU or nn.LSTM with one layer; its nn.Linear readout) a member.

        Raises:
            UserError: a module of another kind, more than one layer, two directions or a projection, or members
                that differ in kind or size.
        """
        read = [_read_module(k, *_pair(k, given)) for k, given in enumerate(modules)]
        if not read:
            raise UserError("from_modules: no modules given")
        kinds = {(kind, *(tuple(value.shape) for value in params.values())) for kind, params in read}
        if len(kinds) > 1:
            raise UserError(
                "from_modules: the modules differ in kind or size; measure such members with measure_arrays"
            )
        kind, params = read[0]
        members = tuple(_given_member(k, params) for k, (_, params) in enumerate(read))
        return cls(network=Network(hidden_size=params["W_rec"].shape[-1], cell=kind), members=members)


def _given_member(k: int, params: Params) -> Member:
    empty = np.empty(0)
    history = History(
        loss=empty.astype(np.float32),
        gradient_norm=empty.astype(np.float32),
        learning_rate=empty,
        epoch_loss=empty,
    )
    return Member(seed=k, status="given", initial={}, final=params, history=history)


def _pair(k: int, given: object) -> tuple[Any, Any]:
    """A recurrent module and its readout."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(
            f"from_modules: member {k} is a {type(given).__name__}; needed is a pair"
            " (nn.RNN, nn.GRU or nn.LSTM, nn.Linear)"
        )
    return given[0], given[1]


def _read_module(k: int, core: nn.Module, readout: nn.Module) -> tuple[str, Params]:
    """The kind and parameters of one PyTorch module and its readout."""
    kinds = {nn.RNN: "", nn.GRU: "gru", nn.LSTM: "lstm"}
    if type(core) not in kinds or not isinstance(core, nn.RNNBase) or not isinstance(readout, nn.Linear):
        raise UserError(
            f"from_modules: member {k} is ({type(core).__name__}, {type(readout).__name__});"
            " needed is (nn.RNN, nn.GRU or nn.LSTM, nn.Linear)"
        )
    if core.num_layers != 1 or core.bidirectional or core.proj_size:
        raise UserError(f"from_modules: member {k} must have one layer, one direction and no projection")
    if readout.in_features != core.hidden_size:
        raise UserError(
            f"from_modules: member {k}'s readout takes {readout.in_features} units of {core.hidden_size}"
        )
    kind = kinds[type(core)] or str(getattr(core, "nonlinearity", "tanh"))
    own = {name: value.detach().cpu().clone() for name, value in core.named_parameters()}
    into, out = own["weight_ih_l0"], readout.weight.detach().cpu().clone()
    zeros = into.new_zeros(len(into))
    biases = [own.get("bias_ih_l0", zeros), own.get("bias_hh_l0", zeros)]
    names = CELLS[kind].biases
    out_bias = out.new_zeros(len(out)) if readout.bias is None else readout.bias.detach().cpu().clone()
    params = {
        "W_rec": own["weight_hh_l0"],
        "W_in": into,
        **(dict(zip(names, biases, strict=True)) if len(names) == 2 else {names[0]: biases[0] + biases[1]}),
        "W_out": out,
        "b_out": out_bias,
    }
    return kind, params


def check_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """The seeds as a tuple.

    Raises:
        UserError: none, more than `MAX_SEEDS`, a negative or fractional one, one twice, or no sequence.
    """
    if not isinstance(seeds, Iterable):
        raise UserError(f"seeds = {seeds!r} is wrong: one a member is needed, such as range(8)")
    checked = tuple(itertools.islice(seeds, MAX_SEEDS + 1))
    if len(checked) > MAX_SEEDS:
        said = f"{seeds!r}" if isinstance(seeds, range) else f"[{checked[0]}, {checked[1]}, ...]"
        raise UserError(f"seeds = {said} is wrong: at most {MAX_SEEDS} members")
    whole = all(isinstance(seed, int | np.integer) and not isinstance(seed, bool) for seed in checked)
    if not checked or not whole or min(checked) < 0 or len(set(checked)) < len(checked):
        said = ", ".join(map(repr, checked[:8])) + (", ..." if len(checked) > 8 else "")
        raise UserError(f"seeds = [{said}] is wrong: whole numbers from 0 on, at least one, none twice")
    return tuple(int(seed) for seed in checked)
