"""Delayed cue discrimination: when what is shown and called for, by hand, and what follows a trial."""

import pytest
import torch

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.tasks import DelayedCue, Trials


def drawn(task: DelayedCue, variant: str = "", n_trials: int = 50) -> Trials:
    sample = task.variants()[variant].sample if variant else task.sample
    return sample(Streams([0, 1], "data"), n_trials)


def test_a_trial_is_cue_delay_reaction_and_silence() -> None:
    """By hand: cue at steps 0 and 1, three of delay, reaction at 5 and 6, and 6 steps after it."""
    task = DelayedCue(cue_steps=2, delay_steps=3, reaction_steps=2)
    assert task.n_steps == 13
    trials = drawn(task)
    for member, trial in ((0, 0), (0, 1), (1, 7)):
        cue = trials.inputs[member, trial, 0].argmax().item()
        inputs, targets = torch.zeros(13, 2), torch.zeros(13, 2)
        inputs[0:2, cue], targets[5:7, cue] = 1, 1
        assert torch.equal(trials.inputs[member, trial], inputs)
        assert torch.equal(trials.targets[member, trial], targets)
    # 100 trials: the share of cue 1 has sd .05, of which 4 are allowed.
    assert abs(trials.inputs[:, :, 0, 0].mean().item() - 0.5) < 0.2


def test_the_defaults_are_the_timing_of_the_source() -> None:
    """30 ms of cue, 100 ms of delay, 50 ms of reaction and 30 ms after it, in steps of 5 ms."""
    task = DelayedCue()
    steps = (task.cue_steps, task.delay_steps, task.reaction_steps, task.n_steps)
    assert [5 * n for n in steps] == [30, 100, 50, 210]


def test_a_delay_alone_makes_the_trial_longer() -> None:
    assert DelayedCue(delay_steps=80).n_steps == 102
    assert DelayedCue(delay_steps=0, n_steps=16).n_steps == 16, "without post-reaction"
    with pytest.raises(UserError, match=r"n_steps = 20 must be 36 or more: cue, delay and reaction"):
        DelayedCue(n_steps=20)
    with pytest.raises(UserError, match="delay_steps"):
        DelayedCue(delay_steps="long")


@pytest.mark.parametrize("times", [2, 5])
def test_what_follows_a_trial_is_silence(times: int) -> None:
    trials = drawn(DelayedCue(), f"length_{times}x")
    assert trials.inputs.shape[2] == 42 * times
    assert not trials.inputs[:, :, 6:].any()
    assert not trials.targets[:, :, 36:].any()
    assert (trials.targets.sum((2, 3)) == 10).all()
    assert trials.scored.all()


def test_the_solver_names_the_cue_in_noise() -> None:
    """0.2 of noise on a mean of 26 steps: the cue's mean over them leads by 6/26, 4 sd of the difference's .055."""
    task = DelayedCue()
    trials = drawn(task, "input_noise", n_trials=500)
    wrong = (task.solve(trials.inputs) != trials.targets).any(-1).any(-1).float().mean()
    assert wrong < 0.01


def test_the_chance_loss_by_hand() -> None:
    """Of 42 steps a channel is 1 on 10 of half of the trials: mean 5/42, variance 5/42 * 37/42."""
    assert DelayedCue().chance_loss() == pytest.approx(5 / 42 * 37 / 42)


def test_networks_learn_it() -> None:
    task = DelayedCue(delay_steps=5)
    network = dg.Network(hidden_size=32, cell="leaky_tanh", cell_options={"dt_ms": 5, "tau_ms": 10})
    training = dg.Training(learning_rate=5e-3, batch_size=16, steps_per_epoch=25, max_epochs=60)
    assert all(member.status == "converged" for member in dg.train(task, network, training, seeds=range(2)).members)


def test_either_cue_is_a_pulse_as_long_as_a_cue() -> None:
    task = DelayedCue(cue_steps=3)
    assert ([list(cue) for cue in task.pulses()], task.pulse_steps) == ([[1, 0], [0, 1]], 3)
