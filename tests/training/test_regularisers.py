"""Regularisers: values by hand, gradients by differentiation, and what each does to networks that are trained."""

import numpy as np
import pytest
import torch
from torch import Tensor

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import CELLS, Network
from degeneracy.tasks import DelayedDiscrimination, FlipFlop
from degeneracy.training import REGULARISERS, Training, train_stack
from degeneracy.training.backends import backend_for
from degeneracy.training.members import train_members
from degeneracy.training.regularisers import on_states, weights_gradient

TASK = FlipFlop(channels=2, n_steps=15)
BRIEF = Training(learning_rate=3e-3, batch_size=32, steps_per_epoch=50, max_epochs=8, patience=7)


def test_values_by_hand() -> None:
    # W = diag(3, -4): singular values 3 and 4.
    w = torch.tensor([[3.0, 0.0], [0.0, -4.0]]).view(1, 1, 2, 2)
    found = {name: REGULARISERS[name].penalty(w).item() for name in ("nuclear", "l1", "l2")}
    assert found == pytest.approx({"nuclear": 7.0, "l1": 7.0, "l2": 25.0}, rel=1e-6)
    # One trial of one unit: states 1, 3, 6; the third step is no part of the trial.
    hidden, valid = torch.tensor([1.0, 3.0, 6.0]).view(1, 1, 3, 1), torch.tensor([1.0, 1, 0]).view(1, 1, 3)
    assert REGULARISERS["l2_activity"].penalty(hidden, valid).item() == pytest.approx((1 + 9) / 2)
    assert REGULARISERS["temporal_consistency"].penalty(hidden, valid).item() == pytest.approx(4.0)
    # All three steps: changes 2 and 3, mean square 6.5.
    whole = REGULARISERS["temporal_consistency"].penalty(hidden, torch.ones(1, 1, 3))
    assert whole.item() == pytest.approx(6.5)


@pytest.mark.parametrize("way", ["closed form", "autograd"])
@pytest.mark.parametrize("name", ["l2_activity", "temporal_consistency"])
def test_where_no_step_counts_nothing_is_added(name: str, way: str) -> None:
    """Such as changes where no two steps in a row are part of a trial; the compiled gradients add nothing there."""
    rule = REGULARISERS[name]
    hidden, valid = torch.ones(1, 2, 3, 4, requires_grad=True), torch.tensor([[[1.0, 0, 1], [0, 1, 0]]])
    valid = valid if name == "temporal_consistency" else torch.zeros(1, 2, 3)
    penalty = rule.penalty(hidden, valid)
    assert penalty.item() == 0
    gradient = torch.autograd.grad(penalty.sum(), hidden)[0] if way == "autograd" else rule.gradient(hidden, valid)
    assert not gradient.any(), "NaN is not 0 either"


@pytest.mark.parametrize("name", REGULARISERS)
def test_gradients_are_those_of_autograd(name: str) -> None:
    rule, draws = REGULARISERS[name], Streams([0, 1, 2], "test")
    if rule.on == "weights":
        given: tuple[Tensor, ...] = (draws.normal((2, 7, 7), dtype=torch.float64),)
    else:
        valid = torch.ones(3, 5, 9, dtype=torch.float64)
        valid[1, 2:, 6:] = 0
        given = (draws.normal((5, 9, 4), dtype=torch.float64), valid)
    leaf = given[0].clone().requires_grad_()
    value = rule.penalty(leaf, *given[1:])
    assert value.shape == (3,)
    (expected,) = torch.autograd.grad(value.sum(), leaf)
    found = rule.gradient(*given)
    # Rounding of float64; the singular vectors of the nuclear norm lose a few digits more.
    assert (found - expected).norm() <= 1e-10 * expected.norm()
    assert found.abs().sum() > 0


def test_each_member_has_its_strength() -> None:
    w = Streams([0, 0, 0], "test").normal((6, 3))  # two gates, the same in all members
    grads = weights_gradient({"l2": torch.tensor([0.0, 1.0, 3.0])}, w)
    assert torch.equal(grads, torch.tensor([0.0, 1.0, 3.0])[:, None, None] * 2 * w)


def test_the_nuclear_norm_is_that_of_each_gate() -> None:
    # Polar factors: orthogonal in each gate by itself, and along the gate its sum of singular values.
    w = Streams([0], "test").normal((6, 3), dtype=torch.float64)
    grads = weights_gradient({"nuclear": torch.ones(1, dtype=torch.float64)}, w)[0]
    for gate, grad in zip(w[0].split(3), grads.split(3), strict=True):
        torch.testing.assert_close(grad @ grad.T, torch.eye(3, dtype=torch.float64))
        torch.testing.assert_close((grad * gate).sum(), torch.linalg.svdvals(gate).sum())


def test_a_diverged_member_leaves_the_others_nuclear_norm() -> None:
    w = Streams([0, 1], "test").normal((4, 4))
    alone = weights_gradient({"nuclear": torch.ones(2)}, w)[0]
    w[1, 2, 2] = float("nan")
    beside = weights_gradient({"nuclear": torch.ones(2)}, w)
    assert torch.equal(beside[0], alone)
    assert beside[1].isnan().any()


def trained(strengths: dict[str, list[float]], network: Network, backend: str = "auto"):
    """Members from one seed, alike in all but the strengths: a sweep in one batch."""
    n = len(next(iter(strengths.values())))
    training = BRIEF.replace(shared_streams=("initialisation", "data")).for_task(TASK)
    return train_stack(TASK, network, training, range(n), strengths=strengths, backend=backend)


def spectrum_entropy_rank(w: Tensor) -> float:
    """exp of the entropy of the normalised singular values."""
    sizes = np.linalg.svd(w.double().numpy(), compute_uv=False)
    shares = sizes / sizes.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def held_activity(member, what: str, cell: str) -> float:
    """A penalty on the states of a trained member, by the definition, on trials of its own task."""
    from degeneracy.networks import forward

    kind = CELLS[cell]()
    trials = TASK.sample(Streams([99], "probe"), 50)
    params = {name: value.unsqueeze(0) for name, value in member.final.items()}
    states, _ = forward(kind, params, trials.inputs, {})
    return REGULARISERS[what].penalty(kind.hidden(states), trials.valid.float()).item()


@pytest.mark.parametrize(("cell", "backend"), [("tanh", "auto"), ("tanh", "bptt"), ("gru", "auto")])
def test_what_each_does(cell: str, backend: str) -> None:
    network = Network(hidden_size=16, cell=cell)
    ends = {
        name: [m.final["W_rec"] for m in trained({name: [0.0, strength]}, network, backend)]
        for name, strength in {"nuclear": 3e-3, "l1": 3e-3, "l2": 3e-3}.items()
    }
    free, low_rank = ends["nuclear"]
    # Of the last gate, the candidate of a GRU; the penalty is taken gate by gate.
    assert spectrum_entropy_rank(low_rank[-16:]) < 0.9 * spectrum_entropy_rank(free[-16:])
    free, sparse = ends["l1"]
    assert (sparse.abs() < 0.01).float().mean() > 2 * (free.abs() < 0.01).float().mean() + 0.1
    free, small = ends["l2"]
    assert small.norm() < 0.8 * free.norm()


@pytest.mark.parametrize(("cell", "backend"), [("tanh", "compiled"), ("tanh", "bptt"), ("gru", "compiled")])
@pytest.mark.parametrize("name", ["l2_activity", "temporal_consistency"])
def test_states_become_small_or_smooth(name: str, cell: str, backend: str) -> None:
    network = Network(hidden_size=16, cell=cell)
    assert backend in (backend_for(CELLS[cell](), strengths=[name]), "bptt")
    free, held = trained({name: [0.0, 0.3]}, network, backend)
    assert held_activity(held, name, cell) < 0.7 * held_activity(free, name, cell)


def test_a_sweep_in_one_batch_is_its_members_alone() -> None:
    network = Network(hidden_size=8)
    sweep = trained({"l1": [0.0, 1e-3, 1e-2], "l2_activity": [0.1, 0.0, 0.2]}, network)
    training = BRIEF.replace(shared_streams=("initialisation", "data"), regularisers={"l1": 1e-2, "l2_activity": 0.2})
    (alone,) = train_stack(TASK, network, training.for_task(TASK), [2])
    for name, value in alone.final.items():
        assert torch.equal(sweep[2].final[name], value), name
    assert not torch.equal(sweep[0].final["W_rec"], sweep[1].final["W_rec"])


def test_a_strength_of_zero_is_no_regulariser() -> None:
    network = Network(hidden_size=8)
    zero, none = (
        train_stack(TASK, network, BRIEF.replace(regularisers=given).for_task(TASK), [0])[0]
        for given in ({"nuclear": 0.0, "temporal_consistency": 0.0}, {})
    )
    assert torch.equal(zero.final["W_rec"], none.final["W_rec"])


def test_the_recorded_loss_is_the_tasks() -> None:
    # One update from the same start on the same trials: the first loss does not know of the penalty.
    once = BRIEF.replace(steps_per_epoch=1, max_epochs=1, patience=0).for_task(TASK)
    losses = [
        train_stack(TASK, Network(hidden_size=8), once.replace(regularisers=given), [0])[0].history.loss[0]
        for given in ({}, {"l2": 10.0, "l2_activity": 10.0})
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("shared", [("initialisation",), ("data",), ("noise",), ()])
def test_shared_streams_are_common_and_the_others_are_not(shared: tuple[str, ...]) -> None:
    network = Network(hidden_size=6, sigma_rec=0.1)
    once = Training(batch_size=4, steps_per_epoch=1, max_epochs=1, patience=0, shared_streams=shared, shared_seed=7)
    a, b = sorted(train_members(TASK, network, once, [1, 2], device="cpu", jobs=1), key=lambda m: m.seed)
    assert torch.equal(a.initial["W_rec"], b.initial["W_rec"]) == ("initialisation" in shared)
    both = once.replace(shared_streams=(*shared, "initialisation"))
    a, b = train_stack(TASK, network, both.for_task(TASK), [1, 2])
    same = {"data", "noise"} <= set(shared)
    assert (a.history.loss[0] == b.history.loss[0]) == same
    quiet = Network(hidden_size=6)
    a, b = train_stack(TASK, quiet, both.for_task(TASK), [1, 2])
    assert (a.history.loss[0] == b.history.loss[0]) == ("data" in shared)
    # The common seed is the one that is given.
    (own,) = train_stack(TASK, network, once.replace(shared_streams=()).for_task(TASK), [7])
    if "initialisation" in shared:
        assert torch.equal(a.initial["W_rec"], own.initial["W_rec"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"regularisers": {"nuklear": 1.0}}, "did you mean 'nuclear'"),
        ({"regularisers": {"l1": -1.0}}, "strength of l1 is -1"),
        ({"regularisers": {"l1": "much"}}, "regularisers"),
        ({"shared_streams": ["weights"]}, "shared_streams"),
        ({"coupling": {"distance": "dsa"}}, "distance"),
        ({"coupling": {"strenght": 1.0}}, "did you mean 'strength'"),
    ],
)
def test_impossible_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Training(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_with_steps_that_are_no_part_of_the_trial() -> None:
    # Only that it runs and is finite on the compiled backend: values are those of autograd by another test.
    task = DelayedDiscrimination(channels=1)
    training = Training(batch_size=4, steps_per_epoch=2, max_epochs=1, patience=0).replace(
        regularisers={"l2_activity": 1.0, "temporal_consistency": 1.0}
    )
    (member,) = train_stack(task, Network(hidden_size=6), training.for_task(task), [0])
    assert np.isfinite(member.history.gradient_norm).all()
    assert set(on_states({name: torch.ones(1) for name in REGULARISERS})) == {
        "l2_activity",
        "temporal_consistency",
    }


def test_a_penalty_of_weights_that_a_cell_lacks_is_refused_before_anything_is_trained() -> None:
    says = "regularisers: nuclear is of recurrent weights, and cell 'min_gru' has none"
    network = {"hidden_size": 4, "cell": "min_gru"}
    with pytest.raises(UserError, match=says):
        dg.train(TASK, Network(**network), Training(regularisers={"nuclear": 0.1}), seeds=[0], progress=False)
    study = {"name": "a", "seeds": "0:2", "task": {"name": "flip_flop", "n_steps": 8}, "network": network}
    with pytest.raises(UserError, match=says):
        dg.Study(**study, vary={"training.regularisers.nuclear": [0.0, 0.1]})
    dg.Study(**study, training={"regularisers": {"nuclear": 0.0, "l2_activity": 0.1}})  # neither acts on such weights
