"""Ensembles, trained: one of them, or one per strength of a regulariser."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from tqdm import tqdm

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.workers import resolve_jobs
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.ensembles.seeds import check_seeds
from degeneracy.networks import Network
from degeneracy.tasks import Task
from degeneracy.training import Member, Training, check_training, check_training_memory, resolve_device, train_sweep
from degeneracy.training.advice import ADVICE, stuck

log = logging.getLogger("degeneracy")


@ordinary_state()
def train(
    task: Task,
    network: Network,
    training: Training,
    *,
    seeds: Iterable[int],
    device: str = "auto",
    jobs: int = -1,
    progress: bool = True,
) -> Ensemble:
    """Train an ensemble: one network per seed, all on the same task.

    Args:
        task: the task.
        network: what a member is.
        training: how it is trained; what is not set is taken from the task's training defaults.
        seeds: one per member; a member is its seed, alone or in company.
        device: "auto", "cpu" or "cuda".
        jobs: processes on a CPU, -1 for one per core.
        progress: show a progress bar on standard error.

    Returns:
        The members in the order of `seeds`, those that did not converge included and flagged.

    Raises:
        UserError: impossible seeds, jobs or device, or sizes that the memory cannot hold.
    """
    (ensemble,) = _trained(task, network, [training], seeds, device, jobs, progress)
    return ensemble


@ordinary_state()
def train_strengths(
    task: Task,
    network: Network,
    training: Training,
    *,
    strengths: Mapping[str, Sequence[float]],
    seeds: Iterable[int],
    device: str = "auto",
    jobs: int = -1,
    progress: bool = True,
) -> list[Ensemble]:
    """Train one ensemble per strength of one or more regularisers: each is what `train` makes of that strength alone.

    On a GPU the members of all of them are trained in one batch (in one per ensemble where they are coupled), on a CPU
    they share the processes.

    Args:
        task: the task.
        network: what a member is.
        training: how it is trained; its other regularisers stay.
        strengths: by name in `REGULARISERS`, a list each; of several, the first of each go together, and so on.
        seeds: one per member of each ensemble.
        device: "auto", "cpu" or "cuda".
        jobs: processes on a CPU, -1 for one per core.
        progress: show a progress bar on standard error.

    Returns:
        The ensembles in the order of the strengths.

    Raises:
        UserError: lists that are empty or of different lengths, an unknown regulariser, and what `train` refuses.
    """
    if not isinstance(strengths, Mapping):
        raise UserError("train_strengths: strengths are needed as lists by regulariser, such as {'l1': [0, 1e-4]}")
    lists = {
        name: list(each) if isinstance(each, Iterable) and not isinstance(each, str) else []
        for name, each in strengths.items()
    }
    counts = {len(each) for each in lists.values()}
    if len(counts) != 1 or 0 in counts:
        said = ", ".join(f"{len(each)} of {name}" for name, each in lists.items()) or "none"
        raise UserError(f"train_strengths: strengths must be lists of one length, 1 or more; given are {said}")
    trainings = [
        training.replace(regularisers={**training.regularisers, **dict(zip(lists, values, strict=True))})
        for values in zip(*lists.values(), strict=True)
    ]
    return _trained(task, network, trainings, seeds, device, jobs, progress)


def _trained(
    task: Task,
    network: Network,
    trainings: Sequence[Training],
    seeds: Iterable[int],
    device: str,
    jobs: int,
    progress: bool,
) -> list[Ensemble]:
    """One ensemble per training, of trainings that differ in their regularisers alone."""
    if not isinstance(task, Task):
        raise UserError(f"training takes a Task such as dg.tasks.FlipFlop(), got {type(task).__name__}")
    wanted, place, n_jobs = check_seeds(seeds), resolve_device(device), resolve_jobs(jobs)
    together = len(trainings) if place != "cpu" and not trainings[0].coupled else 1
    for training in trainings:
        check_training(network, training.for_task(task))
    check_training_memory(task, network, trainings[0].for_task(task), together * len(wanted), device=place)
    found: dict[tuple[int, int], Member] = {}
    stream = train_sweep(task, network, trainings, wanted, device=place, jobs=n_jobs)
    total = len(wanted) * len(trainings)
    for k, member in tqdm(stream, total=total, desc="training", unit="network", disable=not progress):
        found[k, member.seed] = member
    if stuck(member.status for member in found.values()):
        log.warning("no network converged: %s", ADVICE)
    return [
        Ensemble(
            task=task,
            network=network,
            training=training.for_task(task),
            members=tuple(found[k, seed] for seed in wanted),
        )
        for k, training in enumerate(trainings)
    ]
