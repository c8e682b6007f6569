"""The N-bit flip-flop against its definition, walked through step by step."""

import numpy as np
import pytest
import torch

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.tasks import FlipFlop, flip_flop


def test_worked_by_hand() -> None:
    # One channel; nothing yet, +1, held, held, -1, held, -1 again, +1.
    pulses = torch.tensor([0, 1, 0, 0, -1, 0, -1, 1.0]).view(1, 1, -1, 1)
    held = torch.tensor([0, 1, 1, 1, -1, -1, -1, 1.0]).view(1, 1, -1, 1)
    assert torch.equal(FlipFlop(channels=1).solve(pulses), held)


def test_targets_follow_a_loop_over_time() -> None:
    trials = FlipFlop(channels=3, switch_probability=0.1).sample(Streams([0, 1], "data"), 20)
    bit = np.zeros((2, 20, 3), dtype=np.float32)
    for t in range(100):
        pulse = trials.inputs[:, :, t].numpy()
        bit = np.where(pulse != 0, pulse, bit)
        assert np.array_equal(trials.targets[:, :, t].numpy(), bit)


@pytest.mark.parametrize("p", [0.3, 1.0, 0.01])
def test_compiled_trials_are_those_of_torch(p: float) -> None:
    task = FlipFlop(channels=3, n_steps=30, switch_probability=p)
    fast = task.sample(Streams([0, 5], "data"), 40)
    draw = Streams([0, 5], "data").uniform((40, 30, 3))
    assert torch.equal(fast.inputs, flip_flop._pulses(draw, p))
    assert torch.equal(fast.targets, task.solve(fast.inputs))


def test_pulses_have_their_rate_and_balance() -> None:
    inputs = FlipFlop(channels=2, switch_probability=0.3).sample(Streams([0], "data"), 2000).inputs
    # 400,000 draws: sd of a share of 0.15 is 0.0006; 4 sd.
    assert (inputs == 1).float().mean().item() == pytest.approx(0.15, abs=0.0024)
    assert (inputs == -1).float().mean().item() == pytest.approx(0.15, abs=0.0024)
    assert set(inputs.unique().tolist()) == {-1.0, 0.0, 1.0}
    channels = inputs[0].reshape(-1, 2).T.numpy()
    assert abs(np.corrcoef(channels)[0, 1]) < 0.01  # 200,000 pairs: sd 0.002


def test_chance_loss_worked_by_hand() -> None:
    # p = 1/2, 2 steps: a pulse has come with chance 1/2 at the first, 3/4 at the second; mean 5/8.
    assert FlipFlop(n_steps=2, switch_probability=0.5).chance_loss() == pytest.approx(0.625, abs=1e-12)
    # Every step a pulse: the target is +-1 throughout.
    assert FlipFlop(switch_probability=1.0).chance_loss() == pytest.approx(1.0, abs=1e-12)


def test_variants_do_what_they_say() -> None:
    task = FlipFlop()
    variants, clean = task.variants(), task.sample(Streams([0], "data"), 50)
    halved = variants["amplitude"].sample(Streams([0], "data"), 50)
    assert torch.equal(halved.inputs, 0.5 * clean.inputs)
    assert torch.equal(halved.targets, clean.targets)
    noisy = variants["input_noise"].sample(Streams([0], "data"), 50)
    assert torch.equal(noisy.targets, clean.targets)
    # 15,000 draws: sd of an sd of 0.2 is 0.2/sqrt(30,000) = 0.0012; 4 sd.
    assert (noisy.inputs - clean.inputs).std().item() == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, "FlipFlop: channels = 0 is wrong"),
        ({"channels": 2.5}, "FlipFlop: channels = 2.5 is wrong"),
        ({"switch_probability": 0.0}, "FlipFlop: switch_probability = 0.0 is wrong"),
        ({"switch_probability": 1.5}, "FlipFlop: switch_probability = 1.5 is wrong"),
        ({"n_steps": 1}, "FlipFlop: n_steps = 1 is wrong"),
        ({"threshold": 0}, "FlipFlop: threshold = 0 is wrong"),
        ({"switch_prob": 0.3}, "did you mean 'switch_probability'"),
    ],
)
def test_impossible_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        FlipFlop(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
