"""Ensembles: networks that differ in their seeds; those made elsewhere may differ in kind and size too."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.notebook import html_table
from degeneracy.core.numeric import real_array
from degeneracy.core.user_files import user_path
from degeneracy.ensembles.ensemble_files import read_ensemble, write_ensemble
from degeneracy.ensembles.from_parameters import FromParameters
from degeneracy.ensembles.layouts.members import network_of
from degeneracy.ensembles.member_files import array_names, public_params
from degeneracy.ensembles.modules.exported import exported
from degeneracy.ensembles.modules.members import read_members
from degeneracy.ensembles.modules.reading import Asked
from degeneracy.networks import Network, RecurrentMap, dtype_of, forward
from degeneracy.networks.cell import Cell, Params
from degeneracy.networks.recurrent_maps import Dense
from degeneracy.networks.unit_classes import unit_classes
from degeneracy.tasks import Task
from degeneracy.training import Member, Training, one_thread

CONVERGED = ("converged", "given")  # the status of members that measures look at


@dataclass(frozen=True, kw_only=True, repr=False)
class Ensemble(FromParameters):
    """Trained networks: the members, and how they came to be.

    Those that are trained here are of one architecture, `network`. Where networks made elsewhere are not, or are
    modules of the user's own, it is None and each has its own cell.
    """

    network: Network | None
    members: tuple[Member, ...]
    task: Task | None = None  # None for networks trained elsewhere
    training: Training | None = None
    cells: tuple[Cell, ...] = ()  # one per member where `network` is None
    units: tuple[str, ...] = ()  # the class of each unit, in all members; () where they are all alike

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        return f"Ensemble({len(self)} members of {self.kind}, {len(self.converged.members)} converged or given)"

    def _repr_html_(self) -> str:
        rows = [
            (member.seed, member.status, member.history.epoch_loss[-1] if len(member.history.epoch_loss) else np.nan)
            for member in self.members
        ]
        title = f"Ensemble of {len(self)} networks: {self.kind}"
        return html_table(title, ("member", "status", "training loss at the end"), rows, "dg.measure(ensemble, task)")

    @property
    def kind(self) -> str:
        """What the members are, in a few words: "tanh 64"; of several kinds with how many of each."""
        if self.network is not None:
            return f"{self.network.cell} {self.network.hidden_size}"
        kinds: dict[str, int] = {}
        for part in self.parts().values():
            name = f"{part.cell.in_words()} {part.n_units}"
            kinds[name] = kinds.get(name, 0) + len(part)
        return next(iter(kinds)) if len(kinds) == 1 else ", ".join(f"{n} of {name}" for name, n in kinds.items())

    @property
    def seeds(self) -> tuple[int, ...]:
        """One per member; positions for networks trained elsewhere."""
        return tuple(member.seed for member in self.members)

    @property
    def cell(self) -> Cell:
        """The members' cell.

        Raises:
            UserError: the members have cells of their own (`cells`).
        """
        if self.network is not None:
            return self.network.build_cell()
        if len(self.parts()) != 1:
            raise UserError(f"each member has a cell of its own ({self.kind}): see `cells`, and `parts`")
        return self.cells[0]

    @property
    def n_units(self) -> int:
        """How many hidden units each member has.

        Raises:
            UserError: the members have cells of their own.
        """
        return self.cell.axis_size(self.params(), "unit") if self.network is None else self.network.hidden_size

    @property
    def recurrent(self) -> RecurrentMap:
        """What was trained in place of recurrent weights."""
        return Dense() if self.network is None else self.network.recurrent

    def with_units(self, units: Mapping[str, Iterable[Any]]) -> "Ensemble":
        """The ensemble with its units in classes, which distances of weights never exchange.

        Args:
            units: the same in all members: by class or area, such as {"E": range(40), "I": range(40, 50)}, the
                positions of its units, or one True or False for every unit.

        Raises:
            UserError: a unit in no class or in two, one that there is not, or members of several sizes.
        """
        sizes = {part.n_units for part in self.parts().values()}
        if len(sizes) != 1:
            raise UserError(f"with_units: the members differ in their number of units ({self.kind})")
        return replace(self, units=unit_classes(units, sizes.pop(), "with_units"))

    def parts(self) -> dict[tuple[int, ...], "Ensemble"]:
        """The members that can run side by side, of one cell and size, by their positions in this ensemble."""
        if self.network is not None:
            return {tuple(range(len(self))): self}
        alike: list[tuple[Cell, Any, list[int]]] = []
        for k, (cell, member) in enumerate(zip(self.cells, self.members, strict=True)):
            shapes = {name: value.shape for name, value in member.final.items()}, bool(member.initial)
            same = next((places for other, sizes, places in alike if other == cell and sizes == shapes), None)
            if same is None:
                alike.append((cell, shapes, [k]))
            else:
                same.append(k)
        return {tuple(places): self._some(places) for *_, places in alike}

    def _some(self, places: Sequence[int]) -> "Ensemble":
        """The members at these positions."""
        cells = tuple(self.cells[k] for k in places) if self.cells else ()
        return replace(self, members=tuple(self.members[k] for k in places), cells=cells)

    @property
    def converged(self) -> "Ensemble":
        """The members that converged (or were given): those that measures look at."""
        return self._some([k for k, member in enumerate(self.members) if member.status in CONVERGED])

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
        if any(not member.initial for member in self.members):
            raise UserError("the members before training were not given")
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
            UserError: an ensemble without members, such as the converged ones of one where none converged; or members
                of several kinds or sizes, which `parts` gives apart.
        """
        if not self.members:
            raise UserError("the ensemble has no members")
        if self.network is None:
            _ = self.cell
        parts = [member.initial if initial else member.final for member in self.members]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def weights(self, *, initial: bool = False) -> dict[str, NDArray[Any]]:
        """The parameters as arrays: `W_rec` (member, post, pre), of gated cells (member, gate, post, pre).

        Of modules of one's own: each parameter and buffer by its name after "module.", and the weights that were given.

        Raises:
            UserError: members with other parameters than the first, which `parts` gives apart.
        """
        cells = self.cells or (self.cell,) * len(self)
        parts = [
            public_params(cell, member.initial if initial else member.final)
            for cell, member in zip(cells, self.members, strict=True)
        ]
        shapes = [{name: value.shape for name, value in part.items()} for part in parts]
        if any(each != shapes[0] for each in shapes):
            raise UserError(f"the members have other parameters ({self.kind}): see `parts`")
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    @ordinary_state()
    def to_modules(self, *, initial: bool = False) -> list[Any]:
        """The members as PyTorch modules of their own, trained or (`initial`) before training, with the same outputs.

        Returns:
            One per member, as `from_modules` takes them: a pair (nn.RNN, nn.GRU or nn.LSTM with `batch_first`,
            nn.Linear) of the cells that are such; a copy of the user's own module; of other cells one
            `RecurrentModule`, which gives outputs (trial, time, out) for inputs (trial, time, in) and has `step` and
            `readout`.
        """
        cells = self.cells or (self.cell,) * len(self)
        return [
            exported(cell, member.initial if initial else member.final)
            for cell, member in zip(cells, self.members, strict=True)
        ]

    def to_arrays(self, inputs: ArrayLike | torch.Tensor | None = None) -> dict[str, NDArray[Any]]:
        """The members' weights, and what they do on inputs, as the arrays that `measure_arrays` takes.

        Args:
            inputs: (trial, time, in), common to all members; without them there are no states.

        Returns:
            What a cell that all members have in common has of `weights` (member, post, pre), `input_weights` (member,
            post, in), `bias` (member, post) and `readout` (member, out, unit), those of cells with several gates as
            (member, gate, ...) and two biases of each gate as (member, gate, 2, post); with inputs also these, and
            `states` (member, trial, time, unit).

        Raises:
            UserError: inputs that the members do not take.
        """
        arrays = array_names(self.cell, self.weights()) if len(self.parts()) == 1 else {}
        if inputs is not None:
            arrays["states"] = self.rollout(inputs)[0]
            arrays["inputs"] = real_array(inputs, "to_arrays: inputs", ("trial", "time", "in"))
        return arrays

    @ordinary_state()
    def rollout(self, inputs: ArrayLike | torch.Tensor) -> tuple[Any, NDArray[Any]]:
        """Run all members without noise.

        Args:
            inputs: (trial, time, in), common to all members, or (member, trial, time, in).

        Returns:
            Hidden states (member, trial, time, unit) and outputs (member, trial, time, out). Where members differ in
            size, the states are a list of one array per member.

        Raises:
            UserError: inputs of another shape than the members take, or not finite.
        """
        parts = {places: (part.cell, part.params()) for places, part in self.parts().items()}
        layouts = ("trial", "time", "in"), ("member", "trial", "time", "in")
        numbers = real_array(inputs, "rollout: inputs", *layouts)
        given = torch.from_numpy(numbers.copy())
        if given.ndim == 3:
            given = given.unsqueeze(0).expand(len(self), *given.shape)
        for cell, params in parts.values():
            size = cell.axis_size(params, "in")
            if given.ndim != 4 or given.shape[0] != len(self) or given.shape[-1] != size:
                raise UserError(
                    f"rollout: inputs of shape {tuple(given.shape)}; needed are (trial, time, {size})"
                    f" or ({len(self)}, trial, time, {size})"
                )
        if not torch.isfinite(given).all():
            raise UserError("rollout: the inputs hold values that are not finite")
        hidden: dict[int, NDArray[Any]] = {}
        outputs: dict[int, NDArray[Any]] = {}
        with torch.no_grad(), one_thread():
            for places, (cell, params) in parts.items():
                states, made = forward(cell, params, given[list(places)].to(dtype_of(params)), {})
                hidden |= dict(zip(places, cell.hidden(states).numpy(), strict=True))
                outputs |= dict(zip(places, made.numpy(), strict=True))
        each = [hidden[k] for k in range(len(self))]
        alike = len({one.shape for one in each}) == 1
        return np.stack(each) if alike else each, np.stack([outputs[k] for k in range(len(self))])

    def save(self, path: str | Path) -> Path:
        """Write the ensemble to a folder of its own: `ensemble.json`, and the members in `members-0001.pack`.

        Raises:
            UserError: the folder holds something already, be it an ensemble, two members have one seed, or the members
                are modules of one's own or of several kinds.
        """
        if self.network is None:
            raise UserError(
                f"save: these networks ({self.kind}) are not one cell of this package; save each of `parts` that is,"
                " and keep the state_dicts of modules, to be given to from_modules again"
            )
        folder = user_path(path)
        if len(set(self.seeds)) < len(self):
            raise UserError(f"save: two members have the same seed (seeds {list(self.seeds)})")
        write_ensemble(folder, self.network, self.task, self.training, self.members, self.units)
        return folder

    @classmethod
    @ordinary_state()
    def load(cls, path: str | Path) -> "Ensemble":
        """Read an ensemble that `save` wrote, or the networks of a condition of a run (`RUN/conditions/NAME`).

        Where it names code (`module:Name`), that module is imported.

        Raises:
            UserError: a file is missing, damaged or not the one that was written; names it.
        """
        return cls(**read_ensemble(user_path(path)))

    @classmethod
    @ordinary_state()
    def from_modules(
        cls,
        modules: Sequence[Any],
        *,
        step: Callable[..., Any] | None = None,
        readout: Callable[..., Any] | None = None,
        state_size: int | Callable[[Any], int] | None = None,
        input_size: int | Callable[[Any], int] | None = None,
        output_size: int | Callable[[Any], int] | None = None,
        hidden_size: int | Callable[[Any], int] | None = None,
        h0: Any = None,
        weights: Callable[[Any], Mapping[str, Any]] | None = None,
        symmetry: str = "permutation",
        initial: Sequence[Any] | None = None,
        batch_first: bool = True,
        compare: bool = True,
    ) -> "Ensemble":
        """An ensemble of PyTorch modules trained elsewhere, to be used with any task.

        Each member is one of these, in evaluation mode, so that dropout is off:

        - a pair (core, readout): the core nn.RNN, nn.GRU or nn.LSTM, nn.RNNCell, nn.GRUCell or nn.LSTMCell, or a module
          of one's own with `input_size` and `hidden_size` that is called as nn.RNNCell is; the readout any module from
          its units to the outputs, or None. With one layer and an nn.Linear readout what acts in it is read (pruned,
          normed, parametrised or tied weights) and it is taken as a network of this package; else it runs as it is.
        - such a core alone, or an nn.Sequential that begins with one.
        - with `step` and `readout`, any module.
        - any module whose forward gives outputs, or (outputs, states), for whole trials: what needs a step is then a
          row with that reason.

        Members may differ in class and size; measures that compare such have numbers, others a row with the reason.
        What is read is compared with what the module does on random inputs, wherever its forward runs on whole trials;
        the largest difference, as a share of its size, or why there is none, is in the member's `provenance`. The
        modules are left as they are, and later changes of them do not reach the ensemble.

        Args:
            modules: one per member.
            step: of modules of one's own, function (module, state (trial, state_size), input (trial, input_size)) that
                gives the next state.
            readout: beside `step`, function (module, state) that gives the outputs (trial, output_size).
            state_size, input_size, output_size: beside `step`, numbers or functions of a module; the number of outputs
                may be left out.
            hidden_size: beside `step`, of a state of several variables such as [h, c], how many of its first numbers
                are units, which measures look at and lesions silence (with what follows, where it is as long again).
            h0: beside `step`, what trials start from, (state_size,), or a function of a module; zeros by default.
            weights: beside `step`, function of a module that gives its weights, so that they can be measured: a
                dictionary of "recurrent" (unit, pre), "input" (unit, in), "bias" (unit,) and "readout" (out, pre), each
                but the last with an axis of gates before these where there are several; anything else as
                (array, axes, role), the role one of recurrent, input, bias, readout, unit.
            symmetry: what may be done to the units of these weights without changing the network, a name in
                `SYMMETRIES`; by default "permutation", which holds for any.
            initial: the same modules before training, one per member, which then are the reference of what is measured.
            batch_first: whether a forward of whole trials takes and gives (trial, time, ...), or (time, trial, ...).
                Recurrent modules of PyTorch say so themselves.
            compare: beside `step`, compare with the modules' own forward; False where that is not of whole trials.

        Raises:
            UserError: a module that cannot be read or run, or that does not do what was said of it (with the largest
                difference).
        """
        if not isinstance(modules, Sequence):
            raise UserError(f"from_modules: a list of modules is needed, got {type(modules).__name__}")
        if not modules:
            raise UserError("from_modules: no modules given")
        said = Asked(
            step=step,
            readout=readout,
            state_size=state_size,
            input_size=input_size,
            output_size=output_size,
            hidden_size=hidden_size,
            h0=h0,
            weights=weights,
            symmetry=symmetry,
            batch_first=batch_first,
            compare=compare,
        )
        with one_thread():
            members, cells = read_members(modules, initial, said)
        # Cells that are modules are like no other, and have no name by which a `Network` finds them again.
        ordinary = cells[0].known_obstacle() is None and all(cell == cells[0] for cell in cells)
        network = network_of(cells[0], None, cells[0], members) if ordinary else None
        return cls(network=network, members=members, cells=() if network else cells)
