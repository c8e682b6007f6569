"""Cells: equal to torch.nn where torch has them, worked by hand where it has not, and true to their symmetry."""

import numpy as np
import pydantic
import pytest
import torch
from torch import nn

from degeneracy.analysis.weights.symmetry import SYMMETRIES, Weights, random_copy, transform
from degeneracy.checks import CELL_CLAIMS
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.measuring.member_weights import member_weights
from degeneracy.networks import Network, draw_noise, forward, initial_params
from degeneracy.networks.cell import Cell, Params
from degeneracy.networks.cells import CELLS
from degeneracy.networks.gated import GRUCell, LSTMCell
from degeneracy.networks.pointwise import LeakyTanhCell, ReluCell, TanhCell

N, IN, OUT = 7, 3, 2
TORCH = {
    "tanh": lambda: nn.RNN(IN, N, batch_first=True, dtype=torch.float64),
    "relu": lambda: nn.RNN(IN, N, nonlinearity="relu", batch_first=True, dtype=torch.float64),
    "gru": lambda: nn.GRU(IN, N, batch_first=True, dtype=torch.float64),
    "lstm": lambda: nn.LSTM(IN, N, batch_first=True, dtype=torch.float64),
}
ALL = {name: kind() for name, kind in CELLS.items()} | {"leaky_tanh-current": LeakyTanhCell(form="current")}


def params_of(cell: str, seeds=(0, 1, 2), **options) -> Params:
    """Float64 parameters, twice the usual size, so that units saturate a little; no two units alike."""
    network = Network(hidden_size=N, cell=cell, **options)
    drawn = initial_params(network, IN, OUT, seeds)
    apart = Streams(seeds, "apart")
    return {
        name: 2 * value.double() if value.any() else apart.normal(value.shape[1:], dtype=torch.float64)
        for name, value in drawn.items()
    }


def some_inputs(n_members: int = 3) -> torch.Tensor:
    return Streams(range(n_members), "data").normal((4, 11, IN), dtype=torch.float64)


@pytest.mark.parametrize("name", TORCH)
def test_equal_to_torch(name: str) -> None:
    cell, params, inputs = CELLS[name](), params_of(name), some_inputs()
    states, outputs = forward(cell, params, inputs, {})
    for k in range(3):
        core = TORCH[name]()
        biases = [params[b][k] for b in cell.biases]
        if len(biases) == 1:  # torch has two biases that only add up
            biases = [0.25 * biases[0], 0.75 * biases[0]]
        own = (params["W_in"][k], params["W_rec"][k], *biases)
        with torch.no_grad():
            for parameter, value in zip(core.parameters(), own, strict=True):
                parameter.copy_(value)
            expected, _ = core(inputs[k])
        # float64, 11 steps: rounding is under 1e-14.
        torch.testing.assert_close(cell.hidden(states)[k], expected, rtol=1e-10, atol=1e-10)
        read = expected @ params["W_out"][k].T + params["b_out"][k]
        torch.testing.assert_close(outputs[k], read, rtol=1e-10, atol=1e-10)


def test_the_lstm_state_is_hidden_and_memory() -> None:
    params, inputs = params_of("lstm", seeds=[0]), some_inputs(1)
    states, _ = forward(LSTMCell(), params, inputs, {})
    core = TORCH["lstm"]()
    with torch.no_grad():
        own = (params["W_in"], params["W_rec"], params["bias"], params["bias_rec"])
        for parameter, value in zip(core.parameters(), own, strict=True):
            parameter.copy_(value[0])
        _, (hidden, memory) = core(inputs[0])
    torch.testing.assert_close(states[0, :, -1], torch.cat([hidden[0], memory[0]], -1), rtol=1e-10, atol=1e-10)


def test_leaky_units_without_a_leak_are_tanh_units() -> None:
    params, inputs = params_of("tanh"), some_inputs()
    leaky = LeakyTanhCell(dt_ms=50.0, tau_ms=50.0)
    assert leaky.alpha == 1
    torch.testing.assert_close(forward(leaky, params, inputs, {}), forward(TanhCell(), params, inputs, {}))


@pytest.mark.parametrize(
    ("form", "state", "rate"),
    [
        # alpha = 20 / 80 = 1/4; W_rec = 2, W_in x + b = 0.1, h = 0.4.
        # rate: 3/4 * 0.4 + 1/4 tanh(2 * 0.4 + 0.1) = 0.3 + tanh(0.9) / 4 = 0.3 + 0.7162979 / 4 = 0.4790745
        ("rate", 0.4790745, 0.4790745),
        # current: 3/4 * 0.4 + 1/4 (2 tanh(0.4) + 0.1) = 0.3 + (2 * 0.3799490 + 0.1) / 4 = 0.5149745,
        # whose tanh is (2.8009233 - 1) / (2.8009233 + 1) = 0.4738120 (e^(2 * 0.5149745) = 2.8009233)
        ("current", 0.5149745, 0.4738120),
    ],
)
def test_one_leaky_step_by_hand(form: str, state: float, rate: float) -> None:
    cell = LeakyTanhCell(dt_ms=20.0, tau_ms=80.0, form=form)
    params = {"W_rec": torch.full((1, 1, 1), 2.0, dtype=torch.float64)}
    start, drive = (torch.full((1, 1, 1), value, dtype=torch.float64) for value in (0.4, 0.1))
    found = cell.step(params, start, drive)
    assert found.item() == pytest.approx(state, abs=1e-7)  # seven digits are written above
    assert cell.hidden(found).item() == pytest.approx(rate, abs=1e-7)


def test_a_step_longer_than_tau_is_refused() -> None:
    with pytest.raises(UserError, match="dt_ms = 30 must not exceed tau_ms = 20"):
        LeakyTanhCell(dt_ms=30.0, tau_ms=20.0)
    with pytest.raises(UserError, match="dt_ms = 30 must not exceed tau_ms = 20"):
        Network(cell="leaky_tanh", cell_options={"dt_ms": 30.0, "tau_ms": 20.0})


def test_noise_is_scaled_for_the_leak() -> None:
    # alpha = 20 / 100 = 0.2, gain = sqrt(2 / 0.2) = sqrt(10); tanh units have no leak and gain 1.
    assert LeakyTanhCell().noise_gain == pytest.approx(10**0.5, rel=1e-12)
    assert TanhCell().noise_gain == 1
    plain = Network(hidden_size=N, sigma_rec=0.3, sigma_in=0.2)
    leaky = plain.replace(cell="leaky_tanh")
    drawn, scaled = (draw_noise(one, Streams([0], "noise"), (4, 500), IN) for one in (plain, leaky))
    assert drawn["unit"].shape == (1, 4, 500, N)
    assert drawn["input"].shape == (1, 4, 500, IN)
    torch.testing.assert_close(scaled["unit"], 10**0.5 * drawn["unit"])
    # sd of an sd of 6,000 numbers: 0.2 / sqrt(12000) = 0.002.
    assert drawn["input"].std().item() == pytest.approx(0.2, abs=0.01)
    assert drawn["unit"].std().item() == pytest.approx(0.3, abs=0.01)


def test_noise_in_the_stationary_state_does_not_depend_on_the_time_step() -> None:
    # h' = (1 - a) h + a sqrt(2 / a) s xi (small h, no weights): var = 2 a s^2 / (1 - (1 - a)^2) = s^2 / (1 - a / 2).
    params = {
        "W_rec": torch.zeros(1, 1, 1, dtype=torch.float64),
        "W_in": torch.zeros(1, 1, 1, dtype=torch.float64),
    }
    params |= {"bias": torch.zeros(1, 1, dtype=torch.float64)}
    params |= {
        "W_out": torch.ones(1, 1, 1, dtype=torch.float64),
        "b_out": torch.zeros(1, 1, dtype=torch.float64),
    }
    for dt in (5.0, 20.0):
        network = Network(hidden_size=1, cell="leaky_tanh", cell_options={"dt_ms": dt}, sigma_rec=0.01)
        noise = draw_noise(network, Streams([0], "noise"), (400, 400), 1)
        inputs = torch.zeros(1, 400, 400, 1, dtype=torch.float64)
        states, _ = forward(network.build_cell(), params, inputs, {"unit": noise["unit"].double()})
        found = states[:, :, -1].std().item()
        assert found == pytest.approx(0.01 / (1 - dt / 200) ** 0.5, rel=0.12)  # sd of the sd: 1 / sqrt(800) = 3.5%


@pytest.mark.parametrize("name", CELLS)
def test_unit_noise_enters_the_candidate(name: str) -> None:
    """Noise on a unit is the same as a bias on the candidate gate's row that changes from step to step."""
    cell, params = CELLS[name](), params_of(name)
    inputs = some_inputs()[:, :, :1]
    unit = Streams(range(3), "noise").normal((4, 1, N), dtype=torch.float64)
    noisy, _ = forward(cell, params, inputs, {"unit": unit})
    for k in range(4):
        bias = params["bias"].clone()
        bias[:, cell.candidate * N : (cell.candidate + 1) * N] += unit[:, k, 0]
        shifted, _ = forward(cell, params | {"bias": bias}, inputs[:, k : k + 1], {})
        torch.testing.assert_close(noisy[:, k], shifted[:, 0], rtol=1e-12, atol=1e-12)


def back(cell: Cell, weights: list[Weights]) -> Params:
    """Parameters from the weights that the measures take: the inverse of `member_weights`."""
    params = {"W_out": np.stack([w["readout"] for w in weights]), "b_out": np.zeros((len(weights), OUT))}
    for name, parameter in cell.parameters(IN, N).items():
        block = name if name in weights[0].blocks else parameter.role
        arrays = [w["bias"][:, cell.biases.index(name)] if block == "bias" else w[block] for w in weights]
        params[name] = np.stack([array.reshape(parameter.shape) for array in arrays])
    return {name: torch.from_numpy(value) for name, value in params.items()}


@pytest.mark.parametrize("name", ALL)
def test_a_copy_under_the_cells_symmetry_is_the_same_network(name: str) -> None:
    cell, inputs, rng = ALL[name], some_inputs(), np.random.default_rng(0)
    params = params_of(cell.name)
    weights = member_weights(cell, params)
    _, outputs = forward(cell, params | {"b_out": torch.zeros_like(params["b_out"])}, inputs, {})
    _, copied = forward(cell, back(cell, [random_copy(w, rng) for w in weights]), inputs, {})
    # float64; ReLU states grow to about 1e3 here, hence relative.
    torch.testing.assert_close(copied, outputs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_what_the_cells_symmetry_leaves_out_is_another_network(name: str) -> None:
    cell, inputs, order = ALL[name], some_inputs(), np.arange(N)
    claimed = SYMMETRIES[cell.symmetry]
    weights = member_weights(cell, params_of(cell.name))
    _, outputs = forward(cell, back(cell, weights), inputs, {})
    flipped = np.where(order < 3, -1.0, 1.0)
    changes = [] if claimed.signs else [{"signs": flipped}]
    changes += [] if claimed.scaling else [{"scales": np.where(order < 3, 1.5, 1.0)}]
    for change in changes:
        _, changed = forward(cell, back(cell, [transform(w, order, **change) for w in weights]), inputs, {})
        assert (changed - outputs).abs().max() > 1e-2
    shuffled = [transform(w, np.roll(order, 1)) for w in weights]
    half = back(cell, shuffled) | {"W_out": torch.from_numpy(np.stack([w["readout"] for w in weights]))}
    assert (forward(cell, half, inputs, {})[1] - outputs).abs().max() > 1e-2, "the readout goes along"


@pytest.mark.parametrize("claim", CELL_CLAIMS)
@pytest.mark.parametrize("name", ALL)
def test_every_cell_keeps_its_claims(name: str, claim: str) -> None:
    CELL_CLAIMS[claim](ALL[name])


def test_parameters_are_drawn_in_their_shapes() -> None:
    def shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
        return {name: each.shape for name, each in cell.parameters(3, 5).items()}

    for cell in (TanhCell(), ReluCell(), LeakyTanhCell()):
        assert shapes(cell) == {"W_rec": (5, 5), "W_in": (5, 3), "bias": (5,)}
    assert shapes(GRUCell()) == {"W_rec": (15, 5), "W_in": (15, 3), "bias": (15,), "bias_rec": (15,)}
    assert shapes(LSTMCell())["W_rec"] == (20, 5)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UserError, match="form = 'rates' is wrong"):
        LeakyTanhCell(form="rates")
    assert issubclass(UserError, ValueError)
    assert not issubclass(UserError, pydantic.ValidationError)
