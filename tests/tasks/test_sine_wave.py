"""Sine-wave generation: its frequencies, its phase, its limits."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.tasks import MSE, SineWave, task_loss


def test_inputs_are_the_100_frequencies_in_raw_hz_and_static() -> None:
    trials = SineWave(channels=2).sample(Streams([0], "data"), 3000)
    assert torch.equal(trials.inputs, trials.inputs[:, :, :1].expand_as(trials.inputs))
    frequency = trials.inputs[0, :, 0].numpy()
    found, counts = np.unique(frequency, return_counts=True)
    # float32 of numbers up to 30: 2e-6
    assert np.allclose(found, np.linspace(1, 30, 100), atol=4e-6)
    assert stats.chisquare(counts).pvalue > 1e-4  # uniform; a fixed seed, so this fails never or always
    assert abs(np.corrcoef(frequency.T)[0, 1]) < 0.07, "channels are independent: 3000 pairs, sd 0.018"


def test_phase_worked_by_hand() -> None:
    # 25 Hz in steps of 0.01 s: a quarter period per step, beginning at 0 and rising.
    wave = SineWave(channels=1).solve(torch.full((1, 1, 9, 1), 25.0)).flatten()
    expected = torch.tensor([0, 1, 0, -1, 0, 1, 0, -1, 0.0])
    assert torch.allclose(wave, expected, atol=1e-5)  # float32 phase up to 4 pi


def test_targets_agree_with_float64() -> None:
    trials = SineWave(input_scale=0.1).sample(Streams([0], "data"), 200)
    frequency = trials.inputs[0].double().numpy() / 0.1
    time = 0.01 * np.arange(100)[:, None]
    # The float32 input is known to 6e-8 of itself; times a phase of up to 2 pi 30 = 190 that is 1.2e-5, and again as
    # much for each of two float32 products.
    assert np.allclose(trials.targets[0].numpy(), np.sin(2 * math.pi * frequency * time), atol=5e-5)


def test_chance_loss_near_one_half() -> None:
    # A sine's variance over many whole periods is 1/2; the exact sum over a brute-force loop:
    values = [math.sin(2 * math.pi * f * k * 0.01) for f in np.linspace(1, 30, 100) for k in range(100)]
    assert SineWave().chance_loss() == pytest.approx(np.var(values), abs=1e-12)
    assert SineWave().chance_loss() == pytest.approx(0.5, abs=0.01)


def test_variants_do_what_they_say() -> None:
    task = SineWave(input_scale=0.5)
    clean, variants = task.sample(Streams([0], "data"), 300), task.variants()
    longer = variants["length_2x"].sample(Streams([0], "data"), 300)
    assert torch.equal(longer.inputs[:, :, :100], clean.inputs)
    assert torch.equal(longer.targets[:, :, :100], clean.targets), "the wave goes on"
    faster = variants["amplitude"].sample(Streams([0], "data"), 300)
    assert torch.allclose(faster.inputs, 1.2 * clean.inputs, rtol=1e-6)
    assert faster.inputs.max() > task.input_scale * 30
    assert task_loss(MSE, task.solve(faster.inputs), faster).item() == 0
    noisy = variants["input_noise"].sample(Streams([0], "data"), 300)
    assert torch.equal(noisy.targets, clean.targets)
    # 30,000 draws: sd of an sd of 0.5 is 0.002; 4 sd.
    assert (noisy.inputs - clean.inputs).std().item() == pytest.approx(0.5, abs=0.008)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frequency_max": 50}, "frequency_max = 50 Hz cannot be drawn in steps of dt = 0.01 s"),
        ({"dt": 0.02}, "so frequency_max must be under 25 Hz"),
        ({"frequency_min": 30}, "frequency_min = 30 Hz must be under frequency_max = 30 Hz"),
        ({"frequency_min": 0}, "frequency_min = 0 is wrong"),
        ({"n_frequencies": 1}, "n_frequencies = 1 is wrong"),
        ({"dt": 0}, "dt = 0 is wrong"),
        ({"dt": "fast"}, "dt = 'fast' is wrong"),
        ({"input_scale": -1}, "input_scale = -1 is wrong"),
        ({"channels": 65}, "channels = 65 is wrong"),
    ],
)
def test_impossible_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        SineWave(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
