"""The coordinate check: does training move the states by as much at every width?

Networks of several widths train for a few updates on the same trials; the root mean square change of their hidden
states on common probe trials says how far each moved. Under a parametrisation that scales as `networks.parametrisation`
says it is flat over width; a learning rate or start that scales otherwise makes it grow or vanish.

Source: the check of Yang et al. (2022), Tensor Programs V, arXiv 2203.03466, appendix D.1, on the states of an RNN.
"""

from collections.abc import Sequence

import pandas as pd
import torch

from degeneracy.checks.claim import CheckFailed
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import Network, forward
from degeneracy.tasks import Task
from degeneracy.training import Training, one_thread, train_stack

N_PROBE = 32  # trials


@ordinary_state()
def state_changes(
    task: Task,
    network: Network,
    training: Training,
    *,
    widths: Sequence[int] = (32, 64, 128, 256, 512, 1024),
    seeds: Sequence[int] = (0, 1, 2),
    n_updates: int = 10,
) -> pd.DataFrame:
    """How far a few updates move the states and outputs of networks of several widths.

    Args:
        task: draws the trials.
        network: all but the width.
        training: learning rate, batch size and clipping; what is not set is taken from the task's training defaults.
        widths: numbers of units.
        seeds: networks per width.
        n_updates: updates before states are compared with those at the start.

    Returns:
        One row per width and seed: `hidden_size`, `seed`, `state_change` and `output_change`, root mean squares over
        trials, steps and units (outputs); 0 means that training moved nothing.

    Raises:
        UserError: fewer than two widths.
    """
    if len(set(widths)) < 2:
        raise UserError(f"state_changes: widths = {list(widths)} is wrong: two or more are compared")
    brief = training.replace(steps_per_epoch=n_updates, max_epochs=1, patience=0).for_task(task)
    trials = task.sample(Streams([0], "probe"), N_PROBE)
    rows = []
    for width in widths:
        sized = network.replace(hidden_size=width)
        cell = sized.build_cell()
        for seed in seeds:
            with one_thread(), torch.no_grad():
                (member,) = train_stack(task, sized, brief, [seed])
                ends = [
                    forward(cell, {name: value[None] for name, value in params.items()}, trials.inputs, {})
                    for params in (member.initial, member.final)
                ]
            change = [(after - before).square().mean().sqrt().item() for before, after in zip(*ends, strict=True)]
            rows.append({"hidden_size": width, "seed": seed, "state_change": change[0], "output_change": change[1]})
    return pd.DataFrame(rows)


def check_widths(changes: pd.DataFrame, *, factor: float = 1.5) -> None:
    """Check that the change of the states is flat over width.

    Args:
        changes: what `state_changes` gave.
        factor: the largest mean change of a width may be this many times the smallest.

    Raises:
        CheckFailed: it is more, or is not finite.
    """
    means = changes.groupby("hidden_size")["state_change"].mean()
    ratio = means.max() / means.min()
    if not ratio <= factor:
        raise CheckFailed(
            f"the change of the states in training differs {ratio:.3g}-fold over widths {means.index.min()} to"
            f" {means.index.max()} (from {means.min():.3g} at {means.idxmin()} to {means.max():.3g} at"
            f" {means.idxmax()}); {factor:g}-fold is allowed"
        )
