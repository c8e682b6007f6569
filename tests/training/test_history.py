"""The history of a member: what was seen of it, or nothing in the same form."""

import numpy as np

from degeneracy.networks import Network
from degeneracy.tasks import FlipFlop
from degeneracy.training import History, Training, train_members


def test_an_empty_history_has_the_form_of_a_real_one() -> None:
    task = FlipFlop(n_steps=5)
    training = Training(batch_size=2, steps_per_epoch=2, max_epochs=1, patience=0).for_task(task)
    [member] = train_members(task, Network(hidden_size=3), training, [0], device="cpu", jobs=1)
    empty = History.empty()
    for name, seen in vars(member.history).items():
        nothing = getattr(empty, name)
        assert (nothing.dtype, nothing.ndim, nothing.size) == (seen.dtype, seen.ndim, 0), name
    assert np.isfinite(member.history.loss).all()
