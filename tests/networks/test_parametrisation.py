"""muP: its table by hand, the coordinate check over widths, and what gamma does."""

import numpy as np
import pytest
import torch

from degeneracy.checks import CheckFailed, check_widths, state_changes
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import PARAMETRISATIONS, Network, Parameter, Scale, initial_params, scales
from degeneracy.networks.parametrisation import mup
from degeneracy.tasks import FlipFlop
from degeneracy.training import Training, train_stack
from degeneracy.training.backends import BACKENDS, Batch
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import NORM, Groups, clip_norms, flatten, views
from degeneracy.training.optimisers import Adam
from degeneracy.training.updates import Updates

TASK = FlipFlop(channels=2, n_steps=20)
BRIEF = Training(learning_rate=0.05, batch_size=32)
WIDTHS = (32, 128, 512)


def test_the_table_by_hand() -> None:
    # N = 100, 4 inputs, gamma = 2. In the table's own parameters: J ~ N(0, N), so J / N has sd 1/10; its rate is
    # gamma eta, so that of J / N is 2/100 eta; W_out / (gamma N) starts with sd 1/200 and moves with eta / 100.
    found = scales(Network(hidden_size=100, parametrisation="mup", gamma=2.0), 4, 3)
    assert found == {
        "W_rec": Scale(start=0.1, rate=0.02, eps=0.005, norm=2.0),
        "W_in": Scale(start=0.5, rate=2.0, eps=0.005, norm=20.0),
        "bias": Scale(start=0.0, rate=2.0, eps=0.005, norm=20.0),
        "W_out": Scale(start=0.005, rate=0.01, eps=1.0, norm=0.1),
        "b_out": Scale(start=0.0, rate=1.0, eps=1.0, norm=1.0),
    }


def test_what_is_drawn_has_the_tables_sizes() -> None:
    network = Network(hidden_size=400, parametrisation="mup", gamma=2.0, init_gain=1.5)
    params = initial_params(network, 4, 3, [0])
    # 160,000, 1,600 and 1,200 numbers: sd of an sd is sd / sqrt(2 n); 4 of them.
    assert params["W_rec"].std().item() == pytest.approx(1.5 * 400**-0.5, rel=0.0071)
    assert params["W_in"].std().item() == pytest.approx(0.5, rel=0.071)
    assert params["W_out"].std().item() == pytest.approx(1 / 800, rel=0.082)
    assert not params["bias"].any()
    assert not params["b_out"].any()


def test_the_update_is_adams_in_the_tables_own_parameters() -> None:
    """Adam on J, U, b, W_out and c with the table's rates and eps moves J / N and W_out / (gamma N) the same way."""
    n, gamma, rate = 6, 3.0, 0.01
    network = Network(hidden_size=n, parametrisation="mup", gamma=gamma)
    params = {name: value.double() for name, value in initial_params(network, 2, 2, [0]).items()}
    to_table = {"W_rec": n, "W_in": 1.0, "bias": 1.0, "W_out": gamma * n, "b_out": 1.0}
    rates = {"W_rec": gamma, "W_in": gamma, "bias": gamma, "W_out": gamma, "b_out": 1.0}
    sizes = {"W_rec": 1 / (gamma * n**2), "W_in": 1 / (gamma * n), "bias": 1 / (gamma * n)}
    sizes |= {"W_out": 1 / (gamma * n), "b_out": 1.0}
    eps = 0.1  # large, so that its scale shows
    flat = flatten(params)
    adam = Adam(eps=eps).start(flat, Groups.of(scales(network, 2, 2), params))
    table = {name: (to_table[name] * value).requires_grad_() for name, value in params.items()}
    peer = torch.optim.Adam(
        [{"params": [table[name]], "lr": rate * rates[name], "eps": eps * sizes[name]} for name in table]
    )
    for step in range(3):
        grads = {name: Streams([step], name).normal(v.shape[1:], torch.float64) for name, v in params.items()}
        adam.update(flat, flatten(grads), torch.tensor([rate], dtype=torch.float64))
        for name, value in table.items():
            value.grad = grads[name] / to_table[name]
        peer.step()
    expected = flatten({name: value.detach() / to_table[name] for name, value in table.items()})
    torch.testing.assert_close(flat, expected, rtol=1e-12, atol=0)


def test_compiled_and_torch_updates_agree() -> None:
    network = Network(hidden_size=20, parametrisation="mup", gamma=0.3)
    params = initial_params(network, 2, 2, [0, 1])
    trials = TASK.sample(Streams([0, 1], "data"), 8)
    flat, there = flatten(params).clone(), flatten(params).clone()
    groups, rates = Groups.of(scales(network, 2, 2), params), torch.tensor([0.02, 0.05])
    adam, reference = (Adam().start(each, groups) for each in (flat, there))
    update = Updates(network.build_cell(), "compiled", flat, params, adam, 0.05, Costs())
    for _ in range(3):
        batch = Batch(cell=network.build_cell(), params=views(there, params), trials=trials)
        flat_grads = flatten(BACKENDS["bptt"]().gradients(batch)[2])
        norms = clip_norms(flat_grads, 0.05, groups.factors(NORM, flat))
        reference.update(there, flat_grads, rates)
        torch.testing.assert_close(update(trials, {}, rates)[1], norms, rtol=1e-4, atol=1e-6)  # as in test_compiled
        torch.testing.assert_close(flat, there, rtol=1e-4, atol=1e-6)


def test_the_clipped_norm_weighs_groups() -> None:
    # Gradients 3 and 4; the second counts half: sqrt(9 + 4). Clipped to 1, both shrink alike.
    grads = torch.tensor([[3.0, 4.0]])
    norms = clip_norms(grads, 1.0, torch.tensor([1.0, 0.5]))
    assert norms.item() == pytest.approx(13**0.5)
    assert grads[0].tolist() == pytest.approx([3 / 13**0.5, 4 / 13**0.5], rel=1e-5)


@pytest.mark.parametrize("cell", ["tanh", "leaky_tanh", "current"])
def test_states_change_alike_at_every_width(cell: str) -> None:
    options = {"cell": "leaky_tanh", "cell_options": {"form": "current"}} if cell == "current" else {"cell": cell}
    network = Network(hidden_size=1, parametrisation="mup", **options)
    check_widths(state_changes(TASK, network, BRIEF, widths=WIDTHS, seeds=(0, 1), n_updates=5))


@pytest.mark.parametrize(("groups", "power"), [(("recurrent",), 1.0), (("recurrent", "input", "bias"), -0.5)])
def test_a_wrong_scaling_fails(groups: tuple[str, ...], power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate of J / N not divided by N; all rates divided by sqrt N once more."""

    def mistaken(parameter: Parameter, n_units: int, n_inputs: int, gamma: float) -> Scale:
        right = mup(parameter, n_units, n_inputs, gamma)
        if parameter.role not in groups:
            return right
        return Scale(**{**vars(right), "rate": right.rate * (n_units / 32) ** power})

    monkeypatch.setitem(PARAMETRISATIONS, "mup", mistaken)
    network = Network(hidden_size=1, parametrisation="mup")
    changes = state_changes(TASK, network, BRIEF, widths=WIDTHS, seeds=(0, 1), n_updates=5)
    with pytest.raises(CheckFailed, match="fold over widths 32 to 512"):
        check_widths(changes)


def test_the_standard_outputs_change_more_at_larger_width() -> None:
    changes = state_changes(
        TASK, Network(hidden_size=1), Training(learning_rate=3e-3, batch_size=32), widths=WIDTHS, seeds=(0, 1)
    )
    means = changes.groupby("hidden_size")["output_change"].mean()
    assert means[512] > 1.5 * means[32]


def test_gamma_moves_states_and_weights_and_not_the_outputs() -> None:
    moved = []
    for gamma in (0.2, 1.0, 5.0):
        network = Network(hidden_size=64, parametrisation="mup", gamma=gamma)
        change = state_changes(TASK, network, BRIEF, widths=(63, 64), seeds=(0, 1), n_updates=3)
        brief = BRIEF.replace(steps_per_epoch=3, max_epochs=1, patience=0).for_task(TASK)
        (member,) = train_stack(TASK, network, brief, [0])
        weights = (member.final["W_rec"] - member.initial["W_rec"]).norm().item()
        moved.append((change["state_change"].mean(), weights, change["output_change"].mean()))
    states, weights, outputs = np.array(moved).T
    assert (states[1:] > 2 * states[:-1]).all()
    assert (weights[1:] > 2 * weights[:-1]).all()
    # The readout learns at the same rate; states that move more add to it, up to their saturation.
    assert outputs.max() < 4 * outputs.min()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parametrisation": "muP"}, "did you mean 'mup'"),
        ({"parametrisation": "mup", "cell": "gru"}, "not for 'gru'"),
        ({"gamma": 2.0}, "parametrisation 'mup' only"),
        ({"parametrisation": "mup", "gamma": 0.0}, "gamma = 0.0 is wrong"),
    ],
)
def test_impossible_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Network(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
