"""Training: stacked members on fresh trials, each with its own streams, clipping, schedule and end.

`train_stack` trains members side by side in one process, on any device; `train_members` spreads members over the
cores of a CPU, or gives the whole ensemble to a GPU, and hands each member back as it finishes.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.errors import UserError, unknown_name
from degeneracy.networks import Network, draw_noise, initial_params
from degeneracy.networks.cells import Params
from degeneracy.specs import Spec
from degeneracy.streams import Streams
from degeneracy.tasks import Task, Trials
from degeneracy.training.graphs import Replayed
from degeneracy.training.optimisation import SCHEDULES, Adam, Constant, Schedule, flatten, views
from degeneracy.training.updates import path_for, updates_on
from degeneracy.workers import spread

Status = Literal["converged", "not converged", "diverged", "given"]  # given: trained elsewhere


class Training(Spec):
    """How members are trained: Adam on fresh trials until the task's threshold.

    What is not set is taken from the task's `recipe` (see `for_task`), then from the defaults here. A member has
    converged when its epoch-mean loss was under the task's threshold in 1 + `patience` epochs running.
    """

    learning_rate: float = pydantic.Field(1e-3, gt=0)
    batch_size: int = pydantic.Field(256, ge=1, description="trials an update")
    steps_per_epoch: int = pydantic.Field(128, ge=1, description="updates an epoch")
    max_epochs: int = pydantic.Field(300, ge=1)
    patience: int = pydantic.Field(
        3, ge=0, description="epochs more under the threshold before a member stops"
    )
    clip_norm: float = pydantic.Field(1.0, gt=0, description="largest norm of a member's gradient")
    schedule: pydantic.SerializeAsAny[Schedule] = Constant()
    pool: int = pydantic.Field(0, ge=0, description="size of a fixed set of trials; 0 draws fresh ones")

    @pydantic.field_validator("schedule", mode="before")
    @classmethod
    def _named_schedule(cls, value: Any) -> Any:
        if isinstance(value, Schedule):
            return value
        if not isinstance(value, str | Mapping):
            raise ValueError("a name, or a table with a name and fields, is needed")
        fields = {"name": value} if isinstance(value, str) else dict(value)
        name = fields.pop("name", None)
        if not isinstance(name, str) or name not in SCHEDULES:
            raise unknown_name("schedule", name, SCHEDULES)
        return SCHEDULES[name](**fields)

    @pydantic.field_serializer("schedule")
    def _with_name(self, schedule: Schedule) -> dict[str, Any]:
        return {"name": schedule.name, **dict(schedule)}

    def for_task(self, task: Task) -> "Training":
        """The same training with what was not set taken from the task's recipe.

        Raises:
            UserError: epochs so few that no member can have converged by the last.
        """
        own = {name: getattr(self, name) for name in self.model_fields_set}
        resolved = Training(**{**task.recipe, **own})
        if resolved.max_epochs <= resolved.patience:
            raise UserError(
                f"Training: max_epochs = {resolved.max_epochs} is wrong: with patience = {resolved.patience} a member"
                f" converges after {resolved.patience + 1} epochs or more"
            )
        return resolved


@dataclass(frozen=True, kw_only=True)
class History:
    """What was seen while one member trained."""

    loss: NDArray[np.float32]  # (update,): training loss of each batch
    gradient_norm: NDArray[np.float32]  # (update,): before clipping
    learning_rate: NDArray[np.float64]  # (epoch,)
    epoch_loss: NDArray[np.float64]  # (epoch,): mean loss of the epoch's batches


@dataclass(frozen=True, kw_only=True)
class Member:
    """One trained network: parameters without a member axis, on the CPU."""

    seed: int
    status: Status
    initial: Params
    final: Params
    history: History
    provenance: Mapping[str, Any] = field(default_factory=dict)  # device, numeric path, seconds


def train_stack(
    task: Task,
    network: Network,
    training: Training,
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    path: str = "auto",
) -> list[Member]:
    """Train members side by side on one device.

    Args:
        task: draws the trials and sets the threshold.
        network: what a member is.
        training: already resolved by `Training.for_task`.
        seeds: one a member.
        device: a torch device.
        path: how gradients are taken, a name in `PATHS`, or "auto" for the fastest that serves the cell.

    Returns:
        The members in the order of `seeds`.
    """
    started = time.perf_counter()
    name = path_for(network.build_cell(), device) if path == "auto" else path
    initial = initial_params(network, task.input_size, task.output_size, seeds)
    stack = _Stack.start(task, training, seeds, initial, device)
    done: dict[int, Member] = {}
    for epoch in range(training.max_epochs):
        stack.run_epoch(task, network, training, name)
        statuses = stack.statuses(task.threshold, training.patience, last=epoch + 1 == training.max_epochs)
        for k, status in enumerate(statuses):
            if status is not None and stack.seeds[k] not in done:
                seconds = time.perf_counter() - started
                provenance = {"device": stack.device_name, "path": name, "seconds": round(seconds, 3)}
                done[stack.seeds[k]] = stack.member(k, status, initial, seeds, provenance)
        going_on = [k for k, seed in enumerate(stack.seeds) if seed not in done]
        if not going_on:
            break
        if len(going_on) < LEAVE[torch.device(device).type] * len(stack.seeds):
            stack = stack.only(going_on)
    return [done[seed] for seed in seeds]


# Ended members leave once less than this share of the stack goes on. On a GPU the others' update must then be
# recorded anew, for a few members fewer.
LEAVE = {"cpu": 1.0, "cuda": 0.75}


@dataclass(kw_only=True)
class _Stack:
    """The members still in training, with everything of theirs that moves."""

    seeds: tuple[int, ...]
    like: Params  # names and shapes, for views into `flat`
    flat: Tensor  # (member, parameter)
    adam: Adam
    data: Streams
    noise: Streams
    pool: Trials | None
    losses: list[NDArray[np.float32]]  # per epoch (update, member)
    means: list[NDArray[np.float64]]  # per epoch (member,): the mean loss
    norms: list[NDArray[np.float32]]
    rates: list[NDArray[np.float64]]  # per epoch (member,)
    current_rates: Tensor  # (member,), on the device
    update: Callable[[], tuple[Tensor, ...]] | None = None  # made at the first epoch

    @classmethod
    def start(
        cls,
        task: Task,
        training: Training,
        seeds: Sequence[int],
        params: Params,
        device: str,
    ) -> "_Stack":
        flat = flatten(params).to(device)
        data = Streams(seeds, "data", device)
        return cls(
            seeds=tuple(seeds),
            like=params,
            flat=flat,
            adam=Adam.start(flat),
            data=data,
            noise=Streams(seeds, "noise", device),
            pool=task.sample(data, training.pool) if training.pool else None,
            losses=[],
            means=[],
            norms=[],
            rates=[],
            current_rates=flat.new_empty(len(flat)),
        )

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.flat.device) if self.flat.is_cuda else "cpu"

    def epoch_losses(self) -> NDArray[np.float64]:
        """(member, epoch)."""
        if not self.means:
            return np.empty((len(self.seeds), 0))
        return np.stack(self.means, axis=1)

    def run_epoch(self, task: Task, network: Network, training: Training, path: str) -> None:
        """All updates of one epoch; the losses reach the host only at its end."""
        rates = training.schedule.rates(training.learning_rate, self.epoch_losses())
        self.current_rates.copy_(torch.from_numpy(rates))
        if self.update is None:
            self.update = self._updates(task, network, training, path)
        found = [self.update() for _ in range(training.steps_per_epoch)]
        losses, norms = zip(*found, strict=True)
        self.losses.append(torch.stack(losses).cpu().numpy())
        self.means.append(self.losses[-1].mean(0, dtype=np.float64))
        self.norms.append(torch.stack(norms).cpu().numpy())
        self.rates.append(rates)

    def _updates(
        self, task: Task, network: Network, training: Training, path: str
    ) -> Callable[[], tuple[Tensor, ...]]:
        """One update on fresh trials: the losses and the norms of the gradients, (member,) each."""
        make = updates_on(path)
        update = make(network.build_cell(), path, self.flat, self.like, self.adam, training.clip_norm)

        def once() -> tuple[Tensor, ...]:
            trials = self._batch(task, training)
            shape = (trials.n_trials, trials.inputs.shape[2])
            noise = draw_noise(network, self.noise, shape, task.input_size)
            return update(trials, noise, self.current_rates)

        if not self.flat.is_cuda:
            return once
        return Replayed(once, [*self.data.generators, *self.noise.generators])

    def _batch(self, task: Task, training: Training) -> Trials:
        if self.pool is None:
            return task.sample(self.data, training.batch_size)
        chosen = self.data.integers((training.batch_size,), 0, training.pool)
        rows = torch.arange(len(self.seeds), device=chosen.device).unsqueeze(1)
        return Trials(**{name: value[rows, chosen] for name, value in vars(self.pool).items()})

    def statuses(self, threshold: float, patience: int, *, last: bool) -> list[Status | None]:
        """How each member has ended, None for those that go on."""
        epochs = self.epoch_losses()
        finite = torch.isfinite(self.flat).all(1).cpu().numpy() & np.isfinite(epochs[:, -1])
        window = epochs[:, -(1 + patience) :]
        under = (window < threshold).all(1) & (window.shape[1] == 1 + patience)
        return [
            "diverged" if not ok else "converged" if low else "not converged" if last else None
            for ok, low in zip(finite, under, strict=True)
        ]

    def member(
        self, k: int, status: Status, initial: Params, seeds: Sequence[int], provenance: Mapping[str, Any]
    ) -> Member:
        """The k-th member of the stack, taken out with its history."""
        at_start = list(seeds).index(self.seeds[k])
        final = views(self.flat[k : k + 1].detach().cpu().clone(), self.like)
        history = History(
            loss=np.concatenate([loss[:, k] for loss in self.losses]),
            gradient_norm=np.concatenate([norm[:, k] for norm in self.norms]),
            learning_rate=np.array([rate[k] for rate in self.rates]),
            epoch_loss=self.epoch_losses()[k],
        )
        return Member(
            seed=self.seeds[k],
            status=status,
            initial={name: value[at_start].clone() for name, value in initial.items()},
            final={name: value[0].clone() for name, value in final.items()},
            history=history,
            provenance=provenance,
        )

    def only(self, stay: Sequence[int]) -> "_Stack":
        """The stack of some members, going on where they are; this one's updates end here."""
        self.update = None
        index = torch.tensor(stay, dtype=torch.long, device=self.flat.device)
        pool = self.pool
        if pool is not None:
            pool = Trials(**{name: value[index] for name, value in vars(pool).items()})
        return _Stack(
            seeds=tuple(self.seeds[k] for k in stay),
            like=self.like,
            flat=self.flat[index],
            adam=self.adam.select(index),
            data=self.data.select(stay),
            noise=self.noise.select(stay),
            pool=pool,
            losses=[loss[:, stay] for loss in self.losses],
            means=[mean[stay] for mean in self.means],
            norms=[norm[:, stay] for norm in self.norms],
            rates=[rate[stay] for rate in self.rates],
            current_rates=self.current_rates[index],
        )


def resolve_device(device: str) -> str:
    """`auto` as "cuda" where there is one and "cpu" elsewhere; other names checked.

    Raises:
        UserError: an unknown name, or "cuda" on a machine without it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise unknown_name("device", device, ("auto", "cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': no CUDA device is available here (use 'auto' or 'cpu')")
    return device


def resolve_jobs(jobs: int) -> int:
    """Number of processes for `jobs` (-1: one a core this process may use).

    Raises:
        UserError: 0 or less than -1.
    """
    if jobs == -1:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs < 1:
        raise UserError(f"jobs = {jobs} is wrong: a number of processes, 1 or more, or -1 for one a core")
    return jobs


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: processes that share the cores are many times slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_members(
    task: Task, network: Network, training: Training, seeds: Sequence[int], *, device: str, jobs: int
) -> Iterator[Member]:
    """Train an ensemble and yield each member as it finishes, in no fixed order.

    On a CPU members are spread over `jobs` processes, one thread each; on a GPU all are trained side by side.
    """
    resolved = training.for_task(task)
    if device != "cpu":
        yield from train_stack(task, network, resolved, seeds, device=device)
        return
    if min(jobs, len(seeds)) <= 1:
        for seed in seeds:
            yield _train_one(task, network, resolved, seed)
        return
    yield from spread(((_train_one, (task, network, resolved, seed)) for seed in seeds), jobs=jobs)


def _train_one(task: Task, network: Network, training: Training, seed: int) -> Member:
    with one_thread():
        return train_stack(task, network, training, [seed])[0]
