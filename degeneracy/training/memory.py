"""The memory that training takes, seen before anything is trained."""

import math

import torch

from degeneracy.core.memory import check_memory
from degeneracy.networks import Network, parameters
from degeneracy.tasks import Task
from degeneracy.training.backends import BACKENDS, backend_for
from degeneracy.training.specification import Training

NUMBER = 4  # bytes: float32
MAPPED = 2  # further ones under a recurrent map: what it is trained by, and the gradient of that
COPIES = 3  # of a network's parameters: at the start, now, and their gradient, beside what the optimiser keeps


def check_training_memory(task: Task, network: Network, training: Training, n_members: int, *, device: str) -> None:
    """Refuse sizes of networks, batches or trials that no process could hold.

    Args:
        task: says how long trials are.
        network: says how many units and parameters there are.
        training: already resolved by `Training.for_task`.
        n_members: trained at one time where they are coupled or on a GPU, else one after the other in each process.
        device: "cpu" or "cuda".

    Raises:
        UserError: says how much memory they would take, and which field is to blame.
    """
    cell = network.build_cell()
    named = parameters(cell, task.input_size, network.hidden_size, task.output_size)
    n_parameters = sum(math.prod(parameter.shape) for parameter in named.values())
    sources, units = task.input_size + task.output_size, network.hidden_size
    members = f"{n_members} networks at once of " if device != "cpu" or training.coupled else ""
    copies = COPIES + training.optimiser.copies + (MAPPED if network.mapped else 0)
    strengths = [name for name, strength in training.regularisers.items() if strength]
    backend = BACKENDS[backend_for(cell, device, strengths, task.loss)]
    parts = {
        f"{members}hidden_size = {units}": copies * n_parameters,
        f"{members}batch_size = {training.batch_size} trials with n_steps = {task.n_steps} and hidden_size = {units}": (
            training.batch_size * task.n_steps * sources
            + backend.kept_numbers(cell, training.batch_size, task.n_steps, units)
        ),
        f"{members}n_fixed_trials = {training.n_fixed_trials} trials with n_steps = {task.n_steps}": (
            training.n_fixed_trials * task.n_steps * sources
        ),
    }
    at_once = n_members if members else 1
    if training.coupled:
        common = training.coupling.n_trials
        parts[f"{members}coupling.n_trials = {common} with n_steps = {task.n_steps}"] = common * task.n_steps * units
    needed = {what: NUMBER * at_once * count for what, count in parts.items()}
    memory = torch.cuda.get_device_properties(0).total_memory if device == "cuda" else 0
    check_memory(needed, "training", memory)
    kept = {
        f"the parameters of {n_members} networks of hidden_size = {units}, before and after training": (
            2 * NUMBER * n_members * n_parameters
        )
    }
    check_memory(kept, "an ensemble")
