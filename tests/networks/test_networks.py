"""Networks: drawn alike on every occasion, run for many members at once as for each alone."""

import pytest
import torch

from degeneracy.core.streams import Streams
from degeneracy.networks import Network, draw_noise, forward, initial_params, input_drive, linear_readout
from degeneracy.networks.cells import CELLS

IN, OUT = 3, 2


@pytest.mark.parametrize("cell", CELLS)
def test_initial_parameters_are_uniform_in_the_published_range(cell: str) -> None:
    params = initial_params(Network(hidden_size=100, cell=cell), IN, OUT, [0, 1])
    assert list(params)[-2:] == ["W_out", "b_out"]
    named = CELLS[cell]().parameters(IN, 100)
    for name, value in params.items():
        assert value.dtype == torch.float32, name
        if name in named and named[name].start:  # a start of its own
            low, high = named[name].start
            assert low <= value.min() <= value.max() <= high, name
            continue
        assert value.abs().max() < 0.1, name  # 1 / sqrt(100)
        assert not torch.equal(value[0], value[1]), name
    for name in CELLS[cell]().between_units:
        assert params[name].shape == (2, CELLS[cell].gates * 100, 100)
        # sd of a uniform on (-0.1, 0.1): 0.1 / sqrt(3) = 0.05774, of 20,000 numbers known to 0.0003.
        assert params[name].std().item() == pytest.approx(0.05774, abs=0.001)
        assert params[name].mean().item() == pytest.approx(0, abs=0.002)


def test_the_gain_multiplies_the_recurrent_weights_only() -> None:
    plain = initial_params(Network(hidden_size=9), IN, OUT, [3])
    gained = initial_params(Network(hidden_size=9, init_gain=1.5), IN, OUT, [3])
    torch.testing.assert_close(gained["W_rec"], 1.5 * plain["W_rec"])
    assert all(torch.equal(gained[name], plain[name]) for name in plain if name != "W_rec")


def test_a_members_initial_weights_do_not_depend_on_its_companions() -> None:
    network = Network(hidden_size=9)
    many, alone = (initial_params(network, IN, OUT, seeds) for seeds in ([2, 0, 1], [1]))
    assert all(torch.equal(many[name][2], alone[name][0]) for name in alone)


@pytest.mark.parametrize("cell", CELLS)
def test_members_run_together_as_alone(cell: str) -> None:
    network = Network(hidden_size=6, cell=cell)
    params = {k: v.double() for k, v in initial_params(network, IN, OUT, [0, 1]).items()}
    inputs = Streams([0, 1], "data").normal((4, 9, IN), dtype=torch.float64)
    states, outputs = forward(network.build_cell(), params, inputs, {})
    assert states.shape == (2, 4, 9, 6 * network.build_cell().states)
    assert outputs.shape == (2, 4, 9, OUT)
    for k in range(2):
        own = {name: value[k : k + 1] for name, value in params.items()}
        alone = forward(network.build_cell(), own, inputs[k : k + 1], {})
        torch.testing.assert_close(states[k], alone[0][0], rtol=1e-12, atol=1e-14)  # order of sums only
        torch.testing.assert_close(outputs[k], alone[1][0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_a_run_can_be_taken_up_where_it_was_left(cell: str) -> None:
    network = Network(hidden_size=6, cell=cell)
    params = {k: v.double() for k, v in initial_params(network, IN, OUT, [0]).items()}
    inputs = Streams([0], "data").normal((4, 9, IN), dtype=torch.float64)
    whole, _ = forward(network.build_cell(), params, inputs, {})
    rest, _ = forward(network.build_cell(), params, inputs[:, :, 5:], {}, start=whole[:, :, 4])
    torch.testing.assert_close(rest, whole[:, :, 5:], rtol=1e-12, atol=1e-14)


def test_drive_and_readout_by_hand() -> None:
    # W_in = [[1, 2]], x = (3, 4), b = 0.5, noise on the inputs (0.1, 0.2): 1 * 3.1 + 2 * 4.2 + 0.5 = 12.0.
    params = {
        "W_rec": torch.zeros(1, 1, 1),
        "W_in": torch.tensor([[[1.0, 2.0]]]),
        "bias": torch.tensor([[0.5]]),
        "W_out": torch.tensor([[[2.0], [3.0]]]),
        "b_out": torch.tensor([[1.0, -1.0]]),
    }
    cell = CELLS["tanh"]()
    inputs, noise = torch.tensor([[[[3.0, 4.0]]]]), {"input": torch.tensor([[[[0.1, 0.2]]]])}
    assert input_drive(cell, params, inputs, noise).item() == pytest.approx(12.0, rel=1e-6)  # float32
    both = noise | {"unit": torch.tensor([[[[0.25]]]])}
    assert input_drive(cell, params, inputs, both).item() == pytest.approx(12.25, rel=1e-6)
    # (2 h + 1, 3 h - 1) at h = 0.5.
    assert linear_readout(params, torch.full((1, 1, 1, 1), 0.5)).flatten().tolist() == [2.0, 0.5]


def test_noise_of_strength_zero_is_not_drawn() -> None:
    streams = Streams([0], "noise")
    before = streams.generators[0].get_state()
    assert draw_noise(Network(hidden_size=4), streams, (2, 3), IN) == {}
    assert torch.equal(streams.generators[0].get_state(), before)
    assert set(draw_noise(Network(hidden_size=4, sigma_in=0.1), streams, (2, 3), IN)) == {"input"}
