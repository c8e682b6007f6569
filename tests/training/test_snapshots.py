"""Members in the course of training: kept at the fractions asked for, to the nearest epoch that memory allows."""

from pathlib import Path

import pytest
import torch

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.training.snapshots import KEPT, Snapshots, nearest_kept

TASK = dg.tasks.FlipFlop(channels=1, n_steps=6)
BRIEF = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=8, patience=3, learning_rate=0.01)
NETWORK = dg.Network(hidden_size=5)


def trained(**fields) -> dg.Ensemble:
    return dg.train(TASK, NETWORK, BRIEF.replace(**fields), seeds=[0, 1], jobs=1, progress=False)


def test_a_checkpoint_is_where_a_shorter_training_ends() -> None:
    ensemble = trained(checkpoints=[0.5, 0.25])
    for fraction, epochs in ((0.25, 2), (0.5, 4)):
        there = ensemble.at(fraction).params()
        for name, value in trained(max_epochs=epochs, patience=1).params().items():
            assert torch.equal(there[name], value), (fraction, name)
    for name, value in ensemble.params(initial=True).items():
        assert torch.equal(ensemble.at(0).params()[name], value)
    assert ensemble.at(1) is ensemble
    assert [member.status for member in ensemble.at(0.5).members] == [m.status for m in ensemble.members]
    for name, value in trained().params().items():
        assert torch.equal(ensemble.params()[name], value), "keeping checkpoints changes nothing"


def test_checkpoints_come_back_from_files(tmp_path: Path) -> None:
    ensemble = trained(checkpoints=[0.5])
    back = dg.Ensemble.load(ensemble.save(tmp_path / "kept"))
    for name, value in ensemble.at(0.5).params().items():
        assert torch.equal(back.at(0.5).params()[name], value)


def test_a_fraction_that_was_not_kept_is_named() -> None:
    with pytest.raises(UserError, match=r"fraction = 0\.3 of training was not kept \(kept: 0, 0\.5, 1\)"):
        trained(checkpoints=[0.5]).at(0.3)
    with pytest.raises(UserError, match="fractions between 0 and 1"):
        dg.Training(checkpoints=[0.5, 1.0])


@pytest.mark.parametrize("n_epochs", [10, 64, 65, 200, 1000])
def test_memory_is_bounded_and_every_epoch_is_near(n_epochs: int) -> None:
    snapshots = Snapshots()
    for epoch in range(1, n_epochs + 1):
        snapshots.see(epoch, torch.tensor([[float(epoch)], [-float(epoch)]]))
        assert len(snapshots.epochs) <= KEPT
    for wanted in range(1, n_epochs + 1):
        epoch = nearest_kept(wanted / n_epochs, n_epochs)
        assert snapshots.after(epoch, 1).item() == -epoch
        # Half a stride within, up to a whole one at either end; a stride is at most 2/64 of the epochs.
        assert abs(epoch - wanted) <= max(2 * n_epochs / KEPT, 0)
        assert all(abs(epoch - wanted) <= abs(other - wanted) for other in snapshots.epochs)
    half, last = snapshots.select([1]), snapshots.epochs[-1]
    assert half.after(last, 0).item() == snapshots.after(last, 1).item()
