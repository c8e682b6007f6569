"""Training: stacked members on fresh trials, each with its own streams, clipping, schedule and end.

`train_stack` trains members side by side in one process, on any device; `train_members` spreads members over the
cores of a CPU, or gives the whole ensemble to a GPU, and hands each member back as it finishes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from threadpoolctl import threadpool_limits

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.workers import Call, spread
from degeneracy.networks import Network, initial_params
from degeneracy.tasks import Task
from degeneracy.training.backends import checked_backend
from degeneracy.training.costs import Costs
from degeneracy.training.coupling import Coupled
from degeneracy.training.specification import Training, check_regularisers
from degeneracy.training.stack import Member, Stack


@ordinary_state()
def train_stack(
    task: Task,
    network: Network,
    training: Training,
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    backend: str = "auto",
    strengths: Mapping[str, Sequence[float]] | None = None,
) -> list[Member]:
    """Train members side by side on one device.

    Args:
        task: draws the trials and sets the threshold.
        network: what a member is.
        training: already resolved by `Training.for_task`.
        seeds: one per member; one may come several times, with several strengths.
        device: a torch device.
        backend: how gradients are taken, a name in `BACKENDS`, or "auto" for the fastest that serves the cell.
        strengths: of regularisers, one per member, in place of `training.regularisers`: a sweep in one batch.

    Returns:
        The members in the order of `seeds`. Coupled members end together: once all are under the threshold. The
        seconds in a member's provenance are its share: each epoch's time is divided among those that it trains.

    Raises:
        UserError: a backend that does not serve the cell with these regularisers on the device.
    """
    seconds, before = dict.fromkeys(range(len(seeds)), 0.0), time.perf_counter()
    costs = _costs(task, network, training, len(seeds), device, strengths)
    name = checked_backend(backend, network.build_cell(), device, costs.strengths, task.loss)
    drawn = training.stream_seeds("initialisation", seeds)
    initial = initial_params(network, task.input_size, task.output_size, drawn)
    stack = Stack.start(task, network, training, seeds, initial, costs, device)
    done: dict[int, Member] = {}
    for epoch in range(training.max_epochs):
        stack.run_epoch(task, network, training, name)
        last = epoch + 1 == training.max_epochs
        statuses = stack.statuses(task.goal(), training.patience, last=last, together=training.coupled, by=task.stop)
        in_training = [place for place in stack.places if place not in done]
        now = time.perf_counter()
        for place in in_training:
            seconds[place] += (now - before) / len(in_training)
        before = now
        for k, (place, status) in enumerate(zip(stack.places, statuses, strict=True)):
            if status is not None and place not in done:
                provenance = {"device": stack.device_name, "backend": name, "seconds": round(seconds[place], 3)}
                done[place] = stack.member(k, status, initial, provenance)
        going_on = [k for k, place in enumerate(stack.places) if place not in done]
        if not going_on:
            break
        if len(going_on) < LEAVE[torch.device(device).type] * len(stack.seeds):
            stack = stack.only(going_on)
    return [done[place] for place in range(len(seeds))]


# Ended members leave once less than this share of the stack goes on. On a GPU the others' update must then be
# recorded anew, for a few members fewer.
LEAVE = {"cpu": 1.0, "cuda": 0.75}


def _costs(
    task: Task,
    network: Network,
    training: Training,
    n_members: int,
    device: str,
    strengths: Mapping[str, Sequence[float]] | None,
) -> Costs:
    """The costs beside the task's, of members on a device."""
    given = (
        {name: [value] * n_members for name, value in training.regularisers.items() if value}
        if strengths is None
        else strengths
    )
    found = {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in given.items()}
    cell = network.build_cell()
    check_regularisers(network, found)
    costs = Costs(strengths=found)
    return replace(costs, coupling=Coupled(training.coupling, task, cell, device)) if training.coupled else costs


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


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and BLAS on one thread: processes that share the cores are many times slower with more.

    Nor do numbers then depend on the number of processes: BLAS rounds by its number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def train_members(
    task: Task, network: Network, training: Training, seeds: Sequence[int], *, device: str, jobs: int
) -> Iterator[Member]:
    """Train an ensemble and yield each member as it finishes, in no fixed order.

    On a CPU members are spread over `jobs` processes, one thread each; on a GPU, and where members are coupled, all
    are trained side by side.
    """
    for _, member in train_sweep(task, network, [training], seeds, device=device, jobs=jobs):
        yield member


def train_sweep(
    task: Task,
    network: Network,
    trainings: Sequence[Training],
    seeds: Sequence[int],
    *,
    device: str,
    jobs: int,
) -> Iterator[tuple[int, Member]]:
    """Train one ensemble per training and yield each member as it finishes, with its training's position.

    As `train_members`, which trains one; on a GPU the members of all ensembles make one stack, those of coupled
    members one each.

    Args:
        task: draws the trials and sets the threshold.
        network: what a member is.
        trainings: alike in all but the strengths of their regularisers.
        seeds: one per member of each ensemble.
        device: "cpu" or "cuda".
        jobs: processes on a CPU.
    """
    resolved = [training.for_task(task) for training in trainings]
    if device != "cpu" or resolved[0].coupled:
        together = [[k] for k in range(len(resolved))] if resolved[0].coupled else [list(range(len(resolved)))]
        for part in together:
            yield from _stacked(task, network, resolved, part, seeds, device)
        return
    calls = (
        Call(_train_one, (task, network, training, seed, k), _what(trainings, k, seed))
        for k, training in enumerate(resolved)
        for seed in seeds
    )
    yield from spread(calls, jobs=min(jobs, len(seeds) * len(resolved)))


def _what(trainings: Sequence[Training], k: int, seed: int) -> str:
    """A network in words, by what tells it from the others."""
    of = ", ".join(f"{name} = {strength:g}" for name, strength in trainings[k].regularisers.items())
    return f"the network of seed {seed}" + (f" ({of})" if len(trainings) > 1 and of else "")


def _stacked(
    task: Task,
    network: Network,
    trainings: Sequence[Training],
    part: Sequence[int],
    seeds: Sequence[int],
    device: str,
) -> Iterator[tuple[int, Member]]:
    """The members of some of the trainings, trained side by side."""
    names = {name for k in part for name, strength in trainings[k].regularisers.items() if strength}
    strengths = {
        name: [trainings[k].regularisers.get(name, 0.0) for k in part for _ in seeds] for name in sorted(names)
    }
    with one_thread():
        members = train_stack(
            task, network, trainings[part[0]], [*seeds] * len(part), device=device, strengths=strengths
        )
    yield from zip((k for k in part for _ in seeds), members, strict=True)


def _train_one(task: Task, network: Network, training: Training, seed: int, position: int) -> tuple[int, Member]:
    with one_thread():
        return position, train_stack(task, network, training, [seed])[0]
