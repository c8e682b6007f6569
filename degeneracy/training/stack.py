"""Members in training, stacked: their parameters, optimiser, streams and history, and one epoch of all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.networks import Network, draw_noise, scales
from degeneracy.networks.cell import Params
from degeneracy.tasks import Task, Trials
from degeneracy.tasks.losses import share_wrong
from degeneracy.training.backends.graphs import Replayed
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import Groups, flatten, views
from degeneracy.training.mapped import MappedState
from degeneracy.training.optimisers import OptimiserState
from degeneracy.training.snapshots import Snapshots, nearest_kept
from degeneracy.training.specification import Training
from degeneracy.training.updates import Updates

Status = Literal["converged", "not converged", "diverged", "given"]  # given: trained elsewhere


@dataclass(frozen=True, kw_only=True)
class History:
    """What was seen while one member trained."""

    loss: NDArray[np.float32]  # (update,): training loss of each batch
    gradient_norm: NDArray[np.float32]  # (update,): before clipping
    learning_rate: NDArray[np.float64]  # (epoch,)
    epoch_loss: NDArray[np.float64]  # (epoch,): mean loss of the epoch's batches
    # (epoch,): their share of wrong decisions; empty where outputs are no decisions
    epoch_wrong: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def empty(cls) -> "History":
        """The history of a member that was not trained here."""
        batches, epochs = np.empty(0, np.float32), np.empty(0)
        return cls(loss=batches, gradient_norm=batches, learning_rate=epochs, epoch_loss=epochs)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One trained network: parameters without a member axis, on the CPU."""

    seed: int
    status: Status
    initial: Params
    final: Params
    history: History
    provenance: Mapping[str, Any] = field(default_factory=dict)  # device, numeric backend, seconds
    # Parameters in the course of training, by the fraction asked for; see `Training.checkpoints`.
    checkpoints: Mapping[float, Params] = field(default_factory=dict)
    # What a recurrent map was trained by, at the end ("W_rec.left", ...); nothing without one.
    map_parts: Params = field(default_factory=dict)


@dataclass(kw_only=True)
class Stack:
    """The members still in training, with everything of theirs that moves."""

    seeds: tuple[int, ...]
    places: tuple[int, ...]  # of the members among those that were started
    like: Params  # names and shapes, for views into `flat`
    flat: Tensor  # (member, parameter)
    optimiser: OptimiserState
    costs: Costs
    data: Streams
    noise: Streams
    fixed: Trials | None
    losses: list[NDArray[np.float32]]  # per epoch (update, member)
    means: list[NDArray[np.float64]]  # per epoch (member,): the mean loss
    wrong: list[NDArray[np.float64]]  # per epoch (member,): the mean share of wrong decisions
    norms: list[NDArray[np.float32]]
    rates: list[NDArray[np.float64]]  # per epoch (member,)
    current_rates: Tensor  # (member,), on the device
    fractions: tuple[float, ...]  # of a member's training, to be kept
    snapshots: Snapshots
    update: Callable[[], tuple[Tensor, ...]] | None = None  # made at the first epoch

    @classmethod
    def start(
        cls,
        task: Task,
        network: Network,
        training: Training,
        seeds: Sequence[int],
        params: Params,
        costs: Costs,
        device: str,
    ) -> "Stack":
        """The members before their first update; `params` has a leading member axis, one per seed."""
        flat = flatten(params).to(device)
        optimiser: OptimiserState
        if network.mapped:
            optimiser = MappedState.start(task, network, training, seeds, flat)
        else:
            groups = Groups.of(scales(network, task.input_size, task.output_size), params)
            optimiser = training.optimiser.start(flat, groups)
        data = Streams(training.stream_seeds("data", seeds), "data", device)
        return cls(
            seeds=tuple(seeds),
            places=tuple(range(len(seeds))),
            like=params,
            flat=flat,
            optimiser=optimiser,
            costs=costs,
            data=data,
            noise=Streams(training.stream_seeds("noise", seeds), "noise", device),
            fixed=task.sample(data, training.n_fixed_trials) if training.n_fixed_trials else None,
            losses=[],
            means=[],
            wrong=[],
            norms=[],
            rates=[],
            current_rates=flat.new_empty(len(flat)),
            fractions=training.checkpoints,
            snapshots=Snapshots(),
        )

    @property
    def device_name(self) -> str:
        """What it is trained on, in words."""
        return torch.cuda.get_device_name(self.flat.device) if self.flat.is_cuda else "cpu"

    def epoch_losses(self) -> NDArray[np.float64]:
        """(member, epoch)."""
        if not self.means:
            return np.empty((len(self.seeds), 0))
        return np.stack(self.means, axis=1)

    def run_epoch(self, task: Task, network: Network, training: Training, backend: str) -> None:
        """All updates of one epoch; the losses reach the host only at its end."""
        rates = training.schedule.rates(training.learning_rate, self.epoch_losses())
        self.current_rates.copy_(torch.from_numpy(rates))
        if self.update is None:
            self.update = self._updates(task, network, training, backend)
        found = [self.update() for _ in range(training.steps_per_epoch)]
        losses, norms, wrong = zip(*found, strict=True)
        self.losses.append(torch.stack(losses).cpu().numpy())
        self.means.append(self.losses[-1].mean(0, dtype=np.float64))
        if task.loss.decide is not None:
            self.wrong.append(torch.stack(wrong).cpu().numpy().mean(0, dtype=np.float64))
        self.norms.append(torch.stack(norms).cpu().numpy())
        self.rates.append(rates)
        if self.fractions:
            self.snapshots.see(len(self.means), self.flat)

    def _updates(
        self, task: Task, network: Network, training: Training, backend: str
    ) -> Callable[[], tuple[Tensor, ...]]:
        """One update on fresh trials: losses, norms of the gradients and shares of wrong decisions, (member,) each."""
        cell = network.build_cell()
        update = Updates(cell, backend, self.flat, self.like, self.optimiser, training.clip_norm, self.costs, task.loss)

        def once() -> tuple[Tensor, ...]:
            trials = self._batch(task, training)
            shape = (trials.n_trials, trials.inputs.shape[2])
            noise = draw_noise(network, self.noise, shape, task.input_size)
            loss, norms, missed = update(trials, noise, self.current_rates)
            return loss, norms, share_wrong(task.judged, missed, trials).mean(1)

        if not self.flat.is_cuda:
            return once
        return Replayed(once, [self.data, self.noise])

    def _batch(self, task: Task, training: Training) -> Trials:
        if self.fixed is None:
            return task.sample(self.data, training.batch_size)
        chosen = self.data.integers((training.batch_size,), 0, training.n_fixed_trials)
        rows = torch.arange(len(self.seeds), device=chosen.device).unsqueeze(1)
        return self.fixed.select(rows, chosen)

    def statuses(
        self,
        goal: float,
        patience: int,
        *,
        last: bool,
        together: bool = False,
        by: Literal["loss", "wrong"] = "loss",
    ) -> list[Status | None]:
        """How each member has ended, None for those that go on; `together`, none converges before all have.

        Members converge where the mean loss, or the share of wrong decisions (`by`), is under the goal in
        1 + `patience` epochs running.
        """
        epochs = self.epoch_losses()
        finite = torch.isfinite(self.flat).all(1).cpu().numpy() & np.isfinite(epochs[:, -1])
        judged = np.stack(self.wrong, axis=1) if by == "wrong" else epochs
        window = judged[:, -(1 + patience) :]
        under = (window < goal).all(1) & (window.shape[1] == 1 + patience)
        if together and not last and not under[finite].all():
            under[:] = False
        return [
            "diverged" if not ok else "converged" if low else "not converged" if last else None
            for ok, low in zip(finite, under, strict=True)
        ]

    def member(self, k: int, status: Status, initial: Params, provenance: Mapping[str, Any]) -> Member:
        """The k-th member of the stack, taken out with its history; `initial` is of all that were started."""
        final = views(self.flat[k : k + 1].detach().cpu().clone(), self.like)
        history = History(
            loss=np.concatenate([loss[:, k] for loss in self.losses]),
            gradient_norm=np.concatenate([norm[:, k] for norm in self.norms]),
            learning_rate=np.array([rate[k] for rate in self.rates]),
            epoch_loss=self.epoch_losses()[k],
            epoch_wrong=np.array([wrong[k] for wrong in self.wrong], np.float64),
        )
        return Member(
            seed=self.seeds[k],
            status=status,
            initial={name: value[self.places[k]].clone() for name, value in initial.items()},
            final={name: value[0].clone() for name, value in final.items()},
            history=history,
            provenance=provenance,
            checkpoints={fraction: self._checkpoint(k, fraction) for fraction in self.fractions},
            map_parts={name: value[k].detach().cpu().clone() for name, value in self.optimiser.map_parts().items()},
        )

    def _checkpoint(self, k: int, fraction: float) -> Params:
        """The k-th member after that fraction of its epochs so far, to the nearest that is kept."""
        flat = self.snapshots.after(nearest_kept(fraction, len(self.means)), k)
        return {name: value[0].clone() for name, value in views(flat, self.like).items()}

    def only(self, stay: Sequence[int]) -> "Stack":
        """The stack of some members, going on where they are; this one's updates end here."""
        self.update = None
        index = torch.tensor(stay, dtype=torch.long, device=self.flat.device)
        return Stack(
            seeds=tuple(self.seeds[k] for k in stay),
            places=tuple(self.places[k] for k in stay),
            like=self.like,
            flat=self.flat[index],
            optimiser=self.optimiser.select(index),
            costs=self.costs.select(index),
            data=self.data.select(stay),
            noise=self.noise.select(stay),
            fixed=self.fixed.select(index) if self.fixed else None,
            losses=[loss[:, stay] for loss in self.losses],
            means=[mean[stay] for mean in self.means],
            wrong=[wrong[stay] for wrong in self.wrong],
            norms=[norm[:, stay] for norm in self.norms],
            rates=[rate[stay] for rate in self.rates],
            current_rates=self.current_rates[index],
            fractions=self.fractions,
            snapshots=self.snapshots.select(stay),
        )
