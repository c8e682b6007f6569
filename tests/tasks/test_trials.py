"""Trials taken out of others: every field alike."""

import torch

from degeneracy.core.streams import Streams
from degeneracy.tasks import FlipFlop, Trials


def drawn() -> Trials:
    trials = FlipFlop(channels=2, n_steps=6).sample(Streams([0, 1, 2], "data"), 5)
    return trials.replace(loss_weights=torch.rand(3, 5, 6, 2, generator=torch.Generator().manual_seed(0)))


def test_some_members_and_some_trials_of_each_are_taken_in_every_field() -> None:
    trials, n_seen = drawn(), 0
    rows, chosen = torch.tensor([[0], [2]]), torch.tensor([[4, 4, 1], [0, 3, 2]])
    for name, value in vars(trials).items():
        members = getattr(trials.select([2, 0]), name)
        block = getattr(trials.select(slice(None), slice(1, 4)), name)
        each = getattr(trials.select(rows, chosen), name)
        assert torch.equal(members, torch.stack([value[2], value[0]]))
        assert torch.equal(block, value[:, 1:4])
        assert torch.equal(each, torch.stack([value[0][[4, 4, 1]], value[2][[0, 3, 2]]]))
        n_seen += 1
    assert n_seen == len(Trials.__dataclass_fields__) == 5


def test_a_change_reaches_every_field() -> None:
    trials = drawn().select([1])
    wide = trials.each(lambda value: value.expand(4, *value.shape[1:]))
    assert {value.shape[:3] for value in vars(wide).values()} == {(4, 5, 6)}
    assert all(torch.equal(value[3], getattr(trials, name)[0]) for name, value in vars(wide).items())
