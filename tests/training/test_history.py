"""The history of a member, or nothing in the same form; the time that its training took."""

import numpy as np
import pytest

from degeneracy.networks import Network
from degeneracy.tasks import FlipFlop
from degeneracy.training import History, Training, members, train_members


def test_an_empty_history_has_the_form_of_a_real_one() -> None:
    task = FlipFlop(n_steps=5)
    training = Training(batch_size=2, steps_per_epoch=2, max_epochs=1, patience=0).for_task(task)
    [member] = train_members(task, Network(hidden_size=3), training, [0], device="cpu", jobs=1)
    empty = History.empty()
    for name, seen in vars(member.history).items():
        nothing = getattr(empty, name)
        assert (nothing.dtype, nothing.ndim, nothing.size) == (seen.dtype, seen.ndim, 0), name
    assert np.isfinite(member.history.loss).all()


@pytest.mark.parametrize("leave", [1.0, 0.0])  # ended members leave the stack at once, or stay in it to its end
def test_members_side_by_side_share_the_time(leave: float, monkeypatch: pytest.MonkeyPatch) -> None:
    task = FlipFlop(channels=2, n_steps=12, threshold=0.62)
    training = Training(batch_size=8, steps_per_epoch=4, max_epochs=6, patience=0, learning_rate=0.01).for_task(task)
    ticks = iter(range(1000))
    monkeypatch.setattr(members.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setitem(members.LEAVE, "cpu", leave)
    trained = members.train_stack(task, Network(hidden_size=10), training, range(4))
    lengths = [len(member.history.epoch_loss) for member in trained]
    assert min(lengths) < max(lengths), "some ended before others"
    # Each epoch takes one tick here, which is divided among those that it trains.
    shares = [sum(1 / sum(n > epoch for n in lengths) for epoch in range(length)) for length in lengths]
    seconds = [member.provenance["seconds"] for member in trained]
    assert seconds == pytest.approx(shares, abs=1e-3)  # kept to the millisecond
    assert sum(seconds) == pytest.approx(max(lengths), abs=4e-3)
