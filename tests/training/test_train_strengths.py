"""A sweep of strengths in one stack, as on a GPU."""

import torch

import degeneracy as dg
from degeneracy.training import train_sweep
from degeneracy.training.members import _stacked

TASK = dg.tasks.FlipFlop(channels=2, n_steps=10)
NETWORK = dg.Network(hidden_size=6)
TRAINING = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=4, patience=1)


def test_one_stack_holds_the_sweep() -> None:
    """As on a GPU: every seed once a strength, each with its own start, strength and end."""
    task = TASK.replace(threshold=0.62)  # some members end before others
    trainings = [
        TRAINING.replace(learning_rate=0.02, max_epochs=12, regularisers={"l2": s}).for_task(task) for s in (0.0, 0.3)
    ]
    together = list(_stacked(task, NETWORK, trainings, [0, 1], [0, 1, 2], "cpu"))
    alone = {(k, m.seed): m for k, m in train_sweep(task, NETWORK, trainings, [0, 1, 2], device="cpu", jobs=1)}
    assert [(k, member.seed) for k, member in together] == [(k, seed) for k in (0, 1) for seed in (0, 1, 2)]
    assert len({len(member.history.epoch_loss) for _, member in together}) > 1
    for k, member in together:
        assert member.status == alone[k, member.seed].status
        for part in ("initial", "final"):
            for name, value in getattr(alone[k, member.seed], part).items():
                assert torch.equal(getattr(member, part)[name], value), name
