"""Perceptual decision: what is shown when, what counts, and what the best observer reaches, by other routes."""

import numpy as np
import pytest
import torch
from scipy import integrate
from scipy.stats import norm

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.tasks import PerceptualDecision, Trials, trial_errors, wrong_decisions


def drawn(task: PerceptualDecision, n_trials: int = 200) -> Trials:
    return task.sample(Streams([0, 1], "data"), n_trials)


def test_evidence_comes_between_fixation_and_response() -> None:
    task = PerceptualDecision(n_steps=30, fixation_steps=4, stimulus_min=6, stimulus_max=9)
    trials = drawn(task)
    cue, evidence = trials.inputs[..., 0], trials.inputs[..., 1:]
    lengths = cue.sum(-1)
    assert set(lengths.unique().tolist()) == {10.0, 11.0, 12.0, 13.0}, "4 of fixation and 6 to 9 of the stimulus"
    assert (cue.diff(dim=-1) <= 0).all(), "fixation ends once"
    assert (evidence[:, :, :4] == 0).all()
    assert (evidence[cue == 0] == 0).all()
    assert ((evidence[:, :, 4:10] != 0).all(-1)).all()
    assert torch.equal(trials.targets[..., 0], cue)


def test_the_choice_counts_in_the_response_alone_and_as_much_as_fixation() -> None:
    task = PerceptualDecision(n_steps=30, fixation_steps=4, stimulus_min=6, stimulus_max=9)
    trials = drawn(task)
    response = trials.inputs[..., 0] == 0
    weights = trials.loss_weights
    assert (weights[..., 0] == 1).all()
    assert (weights[..., 1][~response] == 0).all()
    torch.testing.assert_close(weights.sum(2)[..., 1], torch.full((2, 200), 30.0))  # as many as fixation has steps
    assert not trials.scored[..., 0].any()
    assert torch.equal(trials.scored[..., 1], response)


def test_evidence_has_the_means_and_noise_that_are_said() -> None:
    task = PerceptualDecision(n_coherences=1, coherence_max=0.4, noise=0.25, stimulus_min=20, stimulus_max=20)
    trials = drawn(task, 500)
    evidence = trials.inputs[:, :, 5:25, 1:]
    for right, means in ((0, (0.7, 0.3)), (1, (0.3, 0.7))):  # (1 + c)/2 on the side to choose
        some = evidence[trials.targets[:, :, -1, 1] == right]
        # About 500 trials of 20 steps: sd .25 / sqrt(10000) = .0025, of which 5 are allowed.
        assert some.mean((0, 1)).tolist() == pytest.approx(means, abs=0.0125)
        assert some.std((0, 1)).tolist() == pytest.approx([0.25, 0.25], abs=0.01)


def test_coherences_are_halved_and_equally_likely() -> None:
    task = PerceptualDecision(n_coherences=3, coherence_max=0.8, noise=1e-6)
    assert task.coherences == (0.8, 0.4, 0.2)
    shown = drawn(task, 900).inputs[:, :, 5]
    signed = (10 * (shown[..., 2] - shown[..., 1])).round().int()
    values, counts = signed.unique(return_counts=True)
    assert values.tolist() == [-8, -4, -2, 2, 4, 8]
    # 1800 trials, 300 of each, sd sqrt(1800 * 1/6 * 5/6) = 16, of which 5 are allowed.
    assert abs(counts - 300).max() < 80


def test_the_best_share_of_wrong_decisions_worked_by_hand() -> None:
    one = {"n_coherences": 1, "stimulus_min": 8, "stimulus_max": 8}
    task = PerceptualDecision(**one, coherence_max=0.3, noise=0.6)
    # c sqrt(n) / (sqrt(2) noise) = .3 * 2.828 / (1.414 * .6) = 1: Phi(-1) = .158655.
    assert task.ideal_wrong() == pytest.approx(0.158655, abs=1e-6)
    assert task.goal() == pytest.approx(1.1 * 0.158655 + 0.005, abs=1e-6)
    two = task.replace(n_coherences=2)  # .15 as well: Phi(-.5) = .308538
    assert two.ideal_wrong() == pytest.approx((0.158655 + 0.308538) / 2, abs=1e-6)


def test_the_best_error_is_that_of_an_adaptive_integral() -> None:
    """-ln P(right | S) under S ~ N(n c, 2 n noise^2), with densities of S written out and no log odds."""
    task = PerceptualDecision(n_coherences=2, stimulus_min=5, stimulus_max=6, coherence_max=0.5, noise=0.4)
    expected = []
    for n in (5, 6):
        sd = np.sqrt(2 * n) * task.noise
        for c in task.coherences:

            def cost(s: float, n: int = n, c: float = c, sd: float = sd) -> float:
                right, left = (sum(norm.pdf(s, sign * n * k, sd) for k in task.coherences) for sign in (1, -1))
                return -np.log(right / (right + left)) * norm.pdf(s, n * c, sd)

            expected.append(integrate.quad(cost, n * c - 8 * sd, n * c + 8 * sd, epsabs=1e-12)[0])
    # 8 sd leave out a share of 1e-15 of a cost under 100 nats.
    assert task.ideal_error() == pytest.approx(np.mean(expected), abs=1e-10)
    assert task.ideal_loss() == pytest.approx(np.mean(expected) / 2, abs=1e-10)


def test_the_solver_reaches_what_is_said_on_many_trials() -> None:
    task = PerceptualDecision()
    trials = drawn(task, 20_000)
    outputs = task.solve(trials.inputs)
    wrong = wrong_decisions(task.loss, task.judged, outputs, trials).mean().item()
    error = trial_errors(task.loss, outputs, trials).mean().item()
    # 40,000 trials: sd sqrt(.075 * .925 / 40000) = .0013 and, costs having an sd of .32, .0016; 4 of them.
    assert wrong == pytest.approx(task.ideal_wrong(), abs=0.0053)
    assert error == pytest.approx(task.ideal_error(), abs=0.0064)


def test_no_decision_by_the_sum_of_evidence_is_better() -> None:
    """Leaving out steps, or weighing late ones more, errs more often."""
    task = PerceptualDecision()
    trials = drawn(task, 20_000)
    right = trials.targets[:, :, -1, 1] > 0
    difference = trials.inputs[..., 2] - trials.inputs[..., 1]
    late = torch.arange(task.n_steps) / task.n_steps
    best, worse, half = ((x.sum(2) > 0) != right for x in (difference, difference * late**2, difference[:, :, :20]))
    # As above .0013, 4 of them.
    assert best.float().mean().item() == pytest.approx(task.ideal_wrong(), abs=0.0053)
    assert worse.float().mean() > best.float().mean() + 0.005
    assert half.float().mean() > best.float().mean() + 0.02


def test_periods_that_leave_no_response_are_refused() -> None:
    with pytest.raises(UserError, match=r"n_steps = 40 leaves no response.*must be at least 41"):
        PerceptualDecision(n_steps=40)
    with pytest.raises(UserError, match="stimulus_min = 36 exceeds stimulus_max = 35"):
        PerceptualDecision(stimulus_min=36)
