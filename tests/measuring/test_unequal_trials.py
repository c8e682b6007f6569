"""Behavior on trials that end at different steps."""

import numpy as np
import torch
from torch import nn

import degeneracy as dg
from degeneracy.core.streams import Streams
from degeneracy.measuring.probe import Probe
from degeneracy.measuring.record import record


class Unequal(dg.tasks.FlipFlop):
    """Trials that end at different steps; only the last step of each is scored."""

    def sample(self, streams: Streams, n_trials: int) -> dg.Trials:
        trials = super().sample(streams, n_trials)
        ends = streams.integers((n_trials, 1), 6, self.n_steps)
        steps = torch.arange(self.n_steps)
        last = (steps == ends).expand(len(streams), n_trials, -1)
        return trials.replace(valid=steps <= ends, scored=last, loss_weights=last.float())

    def probe(self, streams: Streams, n_trials: int) -> dg.Trials:
        return super().sample(streams, n_trials)


def test_every_trial_is_scored_after_the_kick_where_they_end_at_different_steps() -> None:
    given = [(nn.RNN(2, 5), nn.Linear(5, 2)) for _ in range(2)]
    task = Unequal(channels=2, n_steps=16)
    found = record(dg.Ensemble.from_modules(given), task, Probe(n_trials=32))
    assert np.isfinite(found.behavior["state_kick"].errors).all()
    # The shortest of the trials is over before the middle of the longest.
    assert Unequal(channels=2, n_steps=16).sample(Streams([0], "probe"), 32).valid.sum(2).min() <= 8
