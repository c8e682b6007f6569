"""Coupled members: gradients by hand and by differentiation; attraction makes members alike, repulsion unlike."""

import numpy as np
import pytest
import torch

from degeneracy.analysis.dynamics.layout.shape import cka_distances, procrustes_distances
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import Network, forward, initial_params
from degeneracy.tasks import FlipFlop
from degeneracy.training import Coupling, Training, train_members, train_stack
from degeneracy.training.coupling import DISTANCES, Coupled

TASK = FlipFlop(channels=2, n_steps=15)
NETWORK = Network(hidden_size=16)
BRIEF = Training(learning_rate=3e-3, batch_size=32, steps_per_epoch=50, max_epochs=6, patience=5)


def test_distances_are_those_of_the_measures() -> None:
    x = Streams([0, 1, 2], "test").normal((30, 5), torch.float64)
    upper = np.triu_indices(3, 1)
    cka = DISTANCES["cka"](x).numpy()[upper]
    np.testing.assert_allclose(cka, cka_distances(list(x.numpy()))[upper], rtol=1e-10)
    cos = DISTANCES["procrustes"](x).numpy()[upper]
    np.testing.assert_allclose(cos, 1 - np.cos(procrustes_distances(list(x.numpy())))[upper], rtol=1e-9)
    # Outputs 0, 1 and 3 everywhere: squared differences 1, 9 and 4.
    levels = torch.tensor([0.0, 1.0, 3.0])[:, None, None].expand(3, 4, 2)
    assert DISTANCES["outputs"](levels).numpy()[upper].tolist() == [1.0, 9.0, 4.0]


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_members_gradient_is_that_of_its_distance_to_the_others_held_still(distance: str) -> None:
    rule = Coupling(strength=-2.5, distance=distance, n_trials=3, n_samples=20)
    drawn = initial_params(NETWORK, 2, 2, [0, 1, 2])
    params = {name: value.double() for name, value in drawn.items()}
    task = FlipFlop(channels=2, n_steps=7)
    cell = NETWORK.build_cell()

    class Doubled(FlipFlop):
        """The same trials in float64, for finite differences."""

        def sample(self, streams, n_trials):
            trials = super().sample(streams, n_trials)
            return trials.replace(inputs=trials.inputs.double(), targets=trials.targets.double())

    task = Doubled(channels=2, n_steps=7)
    grads = Coupled(rule, task, cell, "cpu")(params)

    def cost(moved: dict[str, torch.Tensor]) -> float:
        """Member 1's: strength x mean distance to members 0 and 2, on the trials and steps of the call above."""
        streams = Streams([0], "coupling")
        trials = task.sample(streams, 3)
        states, outputs = forward(cell, moved, trials.inputs.expand(3, -1, -1, -1), {})
        seen = (outputs if distance == "outputs" else states).flatten(1, 2)
        rows = seen[:, streams.uniform((21,))[0].argsort()[:20]]
        found = DISTANCES[distance](rows).triu(1)
        return -2.5 * (found[0, 1] + found[1, 2]).item() / 2

    for name, value in params.items():
        if distance != "outputs" and name in ("W_out", "b_out"):
            assert not grads[name].any()
            continue
        step = Streams([5], name).normal(value.shape[1:], torch.float64)[0]
        ends = []
        for sign in (1, -1):
            moved = {key: x.clone() for key, x in params.items()}
            moved[name][1] += sign * 1e-6 * step
            ends.append(cost(moved))
        slope = (ends[0] - ends[1]) / 2e-6
        assert (grads[name][1] * step).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-9), name


def test_a_diverged_member_leaves_the_others_alone() -> None:
    coupled = Coupled(Coupling(strength=1.0), TASK, NETWORK.build_cell(), "cpu")
    params = initial_params(NETWORK, 2, 2, [0, 1, 2])
    params["W_rec"][1, 0, 0] = float("nan")
    beside = coupled(params)
    pair = {name: value[[0, 2]] for name, value in params.items()}
    alone = Coupled(Coupling(strength=1.0), TASK, NETWORK.build_cell(), "cpu")(pair)
    for name, value in alone.items():
        torch.testing.assert_close(beside[name][[0, 2]], value, rtol=1e-5, atol=1e-8)
        assert not beside[name][1].any()


def test_common_trials_are_fresh_at_every_update() -> None:
    # All steps are compared, so that nothing but the trials can differ.
    rule = Coupling(strength=1.0, distance="outputs", n_trials=2, n_samples=30)
    coupled = Coupled(rule, TASK, NETWORK.build_cell(), "cpu")
    params = initial_params(NETWORK, 2, 2, [0, 1])
    first, second = coupled(params), coupled(params)
    assert not torch.allclose(first["W_in"], second["W_in"], rtol=1e-2)


@pytest.mark.parametrize("distance", DISTANCES)
def test_steps_that_are_no_part_of_a_trial_count_nothing(distance: str) -> None:
    class Ending(FlipFlop):
        """Trials of 10 steps; the inputs after them are no part of the trial."""

        after: float

        def sample(self, streams, n_trials):
            trials = super().sample(streams, n_trials)
            valid, inputs = trials.valid.clone(), trials.inputs.clone()
            valid[:, :, 10:], inputs[:, :, 10:] = False, self.after
            return trials.replace(valid=valid, inputs=inputs)

    rule = Coupling(strength=1.0, distance=distance, n_trials=4, n_samples=25)
    params = initial_params(NETWORK, 2, 2, [0, 1, 2])
    quiet, loud = (
        Coupled(rule, Ending(channels=2, n_steps=15, after=after), NETWORK.build_cell(), "cpu")(params)
        for after in (0.0, 2.0)
    )
    for name, value in quiet.items():
        assert torch.equal(value, loud[name]), name
    assert quiet["W_rec"].any()


def distance_after(strength: float, distance: str, variant: str = "trained") -> float:
    """Mean distance of four members trained with a coupling, on the trials it acts on."""
    training = BRIEF.replace(coupling=Coupling(strength=strength, distance=distance, variant=variant))
    members = train_stack(TASK, NETWORK, training.for_task(TASK), range(4))
    params = {name: torch.stack([m.final[name] for m in members]) for name in members[0].final}
    sample = TASK.sample if variant == "trained" else TASK.variants()[variant].sample
    trials = sample(Streams([77], "probe"), 40)
    states, outputs = forward(NETWORK.build_cell(), params, trials.inputs.expand(4, -1, -1, -1), {})
    seen = outputs if distance == "outputs" else states
    return DISTANCES[distance](seen.flatten(1, 2)).triu(1).sum().item() / 6


@pytest.mark.parametrize(
    ("distance", "variant", "strength"),
    [("cka", "trained", 0.5), ("procrustes", "trained", 0.5), ("outputs", "amplitude", 0.5)],
)
def test_attraction_lowers_and_repulsion_raises_the_distance(distance: str, variant: str, strength: float) -> None:
    less, free, more = (distance_after(s, distance, variant) for s in (strength, 0.0, -strength))
    assert less < 0.8 * free
    assert more > 1.1 * free


def test_coupled_members_still_learn_and_end_together() -> None:
    easy = FlipFlop(channels=1, n_steps=10, threshold=0.1)
    training = Training(
        learning_rate=1e-2,
        batch_size=32,
        steps_per_epoch=10,
        max_epochs=200,
        coupling=Coupling(strength=0.1),
    )
    members = list(train_members(easy, NETWORK, training, [0, 1, 2], device="cpu", jobs=2))
    assert [member.status for member in members] == ["converged"] * 3
    assert len({len(member.history.loss) for member in members}) == 1
    for member in members:
        assert (member.history.epoch_loss[-4:] < easy.threshold).all()


def test_a_members_company_counts_only_where_it_is_coupled() -> None:
    free = train_stack(TASK, NETWORK, BRIEF.for_task(TASK), [0, 1, 2])[0]
    alone = train_stack(TASK, NETWORK, BRIEF.for_task(TASK), [0])[0]
    assert torch.equal(free.final["W_rec"], alone.final["W_rec"])
    coupling = BRIEF.replace(coupling=Coupling(strength=0.5)).for_task(TASK)
    one, other = (train_stack(TASK, NETWORK, coupling, seeds)[0] for seeds in ([0, 1, 2], [0, 1]))
    assert not torch.equal(one.final["W_rec"], other.final["W_rec"])


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UserError, match="length_2x"):
        Coupled(Coupling(strength=1.0, variant="length"), TASK, NETWORK.build_cell(), "cpu")


def test_a_variant_is_checked_before_training_whatever_the_strength() -> None:
    """In a study whose first condition has strength 0, the mistake would show after that one is trained."""
    for strength in (0.0, 0.1):
        rule = Coupling(strength=strength, variant="longer")
        with pytest.raises(UserError, match=r"^Coupling: unknown variant 'longer' \(known: .*length_2x"):
            Training(coupling=rule).for_task(TASK)
