"""Delayed discrimination: the periods, the pairs, the answers, and trials too short for them."""

import numpy as np
import pytest
import torch
from scipy import stats

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.tasks import MSE, DelayedDiscrimination, Trials, task_loss


def trials_of(task: DelayedDiscrimination, n_trials: int = 2000) -> Trials:
    return task.sample(Streams([0], "data"), n_trials)


def periods(trials: Trials) -> np.ndarray:
    """Lengths of the successive stretches with and without stimulus, (trial, 5)."""
    shown = (trials.inputs[0] > 0).any(-1).numpy()
    lengths = []
    for row in shown:
        edges = np.flatnonzero(np.diff(row.astype(int))) + 1
        lengths.append(np.diff([0, *edges, row.size]))
    return np.array(lengths)


def test_periods_have_their_lengths() -> None:
    lengths = periods(trials_of(DelayedDiscrimination(channels=2)))
    assert lengths.shape[1] == 5, "fixation, f1, delay, f2, response"
    assert set(lengths[:, 0]) == set(lengths[:, 1]) == set(lengths[:, 3]) == {5}
    assert set(lengths[:, 2]) == set(range(5, 21)), "both ends included"
    assert (lengths.sum(1) == 60).all()
    counts = np.bincount(lengths[:, 2])[5:]
    assert stats.chisquare(counts).pvalue > 1e-4  # uniform; a fixed seed, so this fails never or always


def test_own_periods_are_kept() -> None:
    task = DelayedDiscrimination(fixation_steps=1, stimulus_steps=2, delay_min=3, delay_max=3, n_steps=9)
    assert np.array_equal(np.unique(periods(trials_of(task, 50)), axis=0), [[1, 2, 3, 2, 1]])


def test_all_pairs_are_equally_likely_and_never_equal() -> None:
    trials = trials_of(DelayedDiscrimination(channels=2), 4000)
    inputs = trials.inputs[0].numpy()
    f1 = inputs[:, 5]
    f2 = inputs.sum(1) / 5 - f1
    assert (f1 != f2).all()
    pairs, counts = np.unique(np.stack([f1, f2], -1).reshape(-1, 2), axis=0, return_counts=True)
    assert len(pairs) == 72, "9 * 8 ordered pairs"
    assert pairs.min() == 2
    assert pairs.max() == 10
    assert stats.chisquare(counts).pvalue > 1e-4
    assert abs(np.corrcoef(f1.T)[0, 1]) < 0.06, "channels are independent: 4000 pairs, sd 0.016"


def test_target_is_plus_one_where_the_second_is_larger_and_zero_before_the_response() -> None:
    trials = trials_of(DelayedDiscrimination(channels=3), 200)
    inputs, targets, scored = (x[0].numpy() for x in (trials.inputs, trials.targets, trials.scored))
    for x, y, response in zip(inputs, targets, scored, strict=True):
        f1 = x[5]
        begin = int(np.flatnonzero(response)[0])
        f2 = x[begin - 1]
        assert (f2 > 0).all()
        assert response[begin:].all()
        assert (y[:begin] == 0).all()
        assert (y[begin:] == np.where(f2 > f1, 1, -1)).all()


def test_solver_worked_by_hand() -> None:
    task = DelayedDiscrimination(auxiliary=True)
    #            fix  f1 = 3   delay  f2 = 7   response
    x = torch.tensor([0, 3, 3, 0, 0, 7, 7, 0, 0.0]).view(1, 1, -1, 1)
    decision = [0, 0, 0, 0, 0, 0, 0, 1, 1]
    difference = [0, 0, 0, 0, 0, 0, 0, 0.5, 0.5]  # (7 - 3)/(10 - 2)
    expected = torch.tensor([decision, difference]).T.view(1, 1, -1, 2)
    assert torch.allclose(task.solve(x), expected, atol=1e-6)  # float32 means


def test_auxiliary_outputs_report_the_scaled_difference() -> None:
    plain = trials_of(DelayedDiscrimination(channels=2), 100)
    both = trials_of(DelayedDiscrimination(channels=2, auxiliary=True), 100)
    assert torch.equal(both.inputs, plain.inputs)
    assert torch.equal(both.targets[..., :2], plain.targets)
    last = both.inputs[0].sum(1) / 5 - 2 * both.inputs[0, :, 5]  # f1 + f2 - 2 f1
    assert torch.allclose(both.targets[0, :, -1, 2:], last / 8, atol=1e-6)  # float32 sums of numbers up to 100
    assert both.targets[..., 2:].abs().max() <= 1


def test_chance_loss_worked_by_hand() -> None:
    # Mean delay 12.5, so the response lasts 60 - 15 - 12.5 = 32.5 of 60 steps.
    assert DelayedDiscrimination().chance_loss() == pytest.approx(32.5 / 60, abs=1e-12)
    # Stimuli 2 and 3 alone: the difference is +-1 of a range of 1, as large as the decision.
    two = DelayedDiscrimination(auxiliary=True, stimulus_max=3)
    assert two.chance_loss() == pytest.approx(32.5 / 60, abs=1e-12)
    # All 72 pairs counted one by one.
    values = range(2, 11)
    square = np.mean([(b - a) ** 2 / 64 for a in values for b in values if a != b])
    aux = DelayedDiscrimination(auxiliary=True).chance_loss()
    assert aux == pytest.approx(32.5 / 60 * (1 + square) / 2, abs=1e-12)


def test_delay_2x_holds_longer_than_trained_and_leaves_five_steps() -> None:
    task = DelayedDiscrimination()
    trials = task.variants()["delay_2x"].sample(Streams([0], "data"), 2000)
    lengths = periods(trials)
    assert trials.inputs.shape[2] == 60
    assert set(lengths[:, 2]) == set(range(21, 41))
    assert lengths[:, 4].min() == 5
    assert task_loss(MSE, task.solve(trials.inputs), trials).item() == 0
    # Where 60 steps are too few for the doubled delay, the trial is as long as it takes to leave 5.
    long_delay = DelayedDiscrimination(delay_max=30).variants()["delay_2x"]
    lengths = periods(long_delay.sample(Streams([0], "data"), 2000))
    assert lengths[:, 2].max() == 60
    assert lengths[:, 4].min() == 5
    assert "in trials of 80 steps" in long_delay.description


def test_input_scale_acts_on_inputs_alone() -> None:
    raw, scaled = (
        trials_of(DelayedDiscrimination(), 50),
        trials_of(DelayedDiscrimination(input_scale=0.25), 50),
    )
    assert torch.equal(scaled.inputs, 0.25 * raw.inputs)
    assert torch.equal(scaled.targets, raw.targets)


def test_other_variants_do_what_they_say() -> None:
    task = DelayedDiscrimination(input_scale=0.5)
    clean, variants = trials_of(task, 200), task.variants()
    amplified = variants["amplitude"].sample(Streams([0], "data"), 200)
    assert torch.equal(amplified.inputs, 1.5 * clean.inputs)
    assert torch.equal(amplified.targets, clean.targets)
    noisy = variants["input_noise"].sample(Streams([0], "data"), 200)
    assert torch.equal(noisy.targets, clean.targets)
    # 12,000 draws: sd of an sd of 0.1 is 0.00065; 4 sd.
    assert (noisy.inputs - clean.inputs).std().item() == pytest.approx(0.1, abs=0.003)
    assert (task.solve(noisy.inputs) == noisy.targets).all(), "the solver averages the noise away"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"n_steps": 35},
            "n_steps = 35 leaves no response: fixation 5 + stimulus 5 + delay up to 20 + stimulus 5 ",
        ),
        ({"n_steps": 35}, "take 35 steps, so n_steps must be at least 36"),
        ({"delay_max": 45}, "delay up to 45"),
        ({"delay_min": 21}, "delay_min = 21 exceeds delay_max = 20"),
        ({"delay_min": 0}, "delay_min = 0 is wrong"),
        ({"fixation_steps": 0}, "fixation_steps = 0 is wrong"),
        ({"stimulus_steps": 0.4}, "stimulus_steps = 0.4 is wrong"),
        ({"stimulus_min": 10}, "stimulus_min = 10 must be under stimulus_max = 10"),
        ({"stimulus_min": 0}, "stimulus_min = 0 is wrong"),
        ({"input_scale": 0}, "input_scale = 0 is wrong"),
        ({"input_scale": float("nan")}, "input_scale = nan is wrong"),
        ({"delay": 5}, "unknown key 'delay'"),
    ],
)
def test_impossible_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        DelayedDiscrimination(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shortest_possible_trial_is_accepted() -> None:
    assert periods(trials_of(DelayedDiscrimination(n_steps=36), 500))[:, 4].min() == 1
