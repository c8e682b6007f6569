"""Training: a member is its seed, in any company; its end, its trials and its numbers are its own."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest
import torch

import degeneracy.training.members as training_module
import degeneracy.training.stack as stack_module
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams, generator
from degeneracy.networks import Network, draw_noise, initial_params
from degeneracy.networks.cells import CELLS
from degeneracy.tasks import DelayedDiscrimination, FlipFlop, PathIntegration, Task, Trials
from degeneracy.training.costs import Costs
from degeneracy.training.members import resolve_device, train_members, train_stack
from degeneracy.training.schedules import CosineWarmRestarts, ReduceOnPlateau
from degeneracy.training.specification import Training
from degeneracy.training.stack import Member, Stack

TASK = FlipFlop(channels=2, n_steps=12)
SHORT = Training(batch_size=8, steps_per_epoch=4, max_epochs=3, patience=2, learning_rate=0.01)
NETWORK = Network(hidden_size=10)


def assert_same(a: Member, b: Member) -> None:
    """Bit for bit, NaN at the same places."""
    assert (a.seed, a.status) == (b.seed, b.status)
    for part in ("initial", "final"):
        mine, theirs = getattr(a, part), getattr(b, part)
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert np.array_equal(mine[name].numpy(), theirs[name].numpy(), equal_nan=True), (part, name)
    for field in fields(a.history):
        x, y = getattr(a.history, field.name), getattr(b.history, field.name)
        assert np.array_equal(x, y, equal_nan=True), field.name
    assert a.checkpoints.keys() == b.checkpoints.keys()
    for fraction, kept in a.checkpoints.items():
        for name, value in kept.items():
            assert torch.equal(value, b.checkpoints[fraction][name]), (fraction, name)


def poison(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """One member starts with a weight that is not a number."""

    def poisoned(network: Network, inputs: int, outputs: int, seeds: Sequence[int]) -> dict:
        params = initial_params(network, inputs, outputs, seeds)
        if seed in seeds:
            next(iter(params.values()))[list(seeds).index(seed), 0, 0] = float("nan")
        return params

    monkeypatch.setattr(training_module, "initial_params", poisoned)


@pytest.mark.parametrize("options", [{}, {"sigma_rec": 0.1, "sigma_in": 0.1}], ids=["clean", "noisy"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_member_is_the_same_alone_and_in_company(cell: str, options: dict) -> None:
    network = NETWORK.replace(cell=cell, **options)
    together = train_stack(TASK, network, SHORT, [0, 1, 2])
    for k in (0, 1, 2):
        assert_same(together[k], train_stack(TASK, network, SHORT, [k])[0])


@pytest.mark.parametrize("cell", CELLS)
def test_a_nan_member_poisons_no_other(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORK.replace(cell=cell)
    alone = [train_stack(TASK, network, SHORT, [k])[0] for k in (0, 2)]
    poison(monkeypatch, 1)
    together = train_stack(TASK, network, SHORT, [0, 1, 2])
    assert [member.status for member in together] == ["not converged", "diverged", "not converged"]
    assert_same(together[0], alone[0])
    assert_same(together[2], alone[1])
    assert len(together[1].history.loss) == 4, "a diverged member stops after its epoch"
    assert together[1].final["W_out"].isnan().any()


def test_a_nan_member_leaves_schedules_and_pools_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    training = SHORT.replace(n_fixed_trials=20, schedule=ReduceOnPlateau(patience=0, threshold=0.9))
    alone = train_stack(TASK, NETWORK, training, [2])[0]
    poison(monkeypatch, 1)
    assert_same(train_stack(TASK, NETWORK, training, [1, 2])[1], alone)
    assert alone.history.learning_rate[-1] < alone.history.learning_rate[0]


def easy(seed_losses: dict[int, float]) -> type[FlipFlop]:
    """A flip-flop whose targets are scaled for each member, so that some are easy and finish early."""

    class Scaled(FlipFlop):
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            trials = super().sample(streams, n_trials)
            factor = torch.tensor([seed_losses[seed] for seed in streams.seeds]).view(-1, 1, 1, 1)
            return trials.replace(targets=factor * trials.targets)

    return Scaled


@pytest.mark.parametrize("leave", [1.0, 0.5], ids=["leaving at once", "leaving later, as on a GPU"])
@pytest.mark.parametrize("cell", ["tanh", "lstm"])
@pytest.mark.parametrize("n_fixed_trials", [0, 20])
def test_a_member_that_finishes_early_disturbs_no_other(
    cell: str, n_fixed_trials: int, leave: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(training_module.LEAVE, "cpu", leave)
    task = easy({0: 1.0, 1: 0.0, 2: 1.0})(channels=2, n_steps=12, threshold=0.05)
    network = NETWORK.replace(cell=cell, sigma_rec=0.01)
    training = SHORT.replace(
        max_epochs=12, n_fixed_trials=n_fixed_trials, learning_rate=0.02, patience=1, checkpoints=(0.2, 0.5)
    )
    together = train_stack(task, network, training, [0, 1, 2])
    assert together[1].status == "converged"
    assert len(together[1].history.loss) < len(together[0].history.loss)
    for member in together:
        assert_same(member, train_stack(task, network, training, [member.seed])[0])


def test_one_members_large_gradients_clip_no_other() -> None:
    task = easy({0: 1e3, 1: 1.0})(channels=2, n_steps=12)
    clipped = SHORT.replace(clip_norm=0.05)
    together = train_stack(task, NETWORK, clipped, [0, 1])
    assert together[0].history.gradient_norm.min() > 100 * together[1].history.gradient_norm.max()
    assert_same(together[1], train_stack(TASK, NETWORK, clipped, [1])[0])


def stack_with(losses: list[list[float]]) -> Stack:
    """A stack that has seen these epoch losses, (epoch, member)."""
    n = len(losses[0])
    params = initial_params(NETWORK, 2, 2, range(n))
    stack = Stack.start(TASK, NETWORK, SHORT, range(n), params, Costs(), "cpu")
    stack.losses = [np.array([row, row], dtype=np.float32) for row in losses]
    stack.means = [np.array(row, dtype=np.float64) for row in losses]
    return stack


def test_a_member_converges_after_patience_more_epochs_under_the_threshold() -> None:
    under, over = 0.04, 0.06

    def statuses(*epochs: float, last: bool = False, patience: int = 3):
        return stack_with([[e] for e in epochs]).statuses(0.05, patience, last=last)[0]

    assert statuses(under, under, under) is None, "3 epochs are not 1 + 3"
    assert statuses(under, under, under, under) == "converged"
    assert statuses(under, under, under, over, under) is None, "they must follow one another"
    assert statuses(under, over, under, under, under, under) == "converged"
    assert statuses(under, patience=0) == "converged"
    assert statuses(0.05, patience=0) is None, "under the threshold, not at it"
    assert statuses(under, under, last=True) == "not converged"
    assert statuses(float("nan")) == "diverged"
    assert statuses(float("inf"), last=True) == "diverged"


def test_a_member_with_weights_that_are_not_finite_has_diverged() -> None:
    stack = stack_with([[0.04, 0.04]])
    stack.flat[1, 3] = float("inf")
    assert stack.statuses(0.05, 0, last=False) == ["converged", "diverged"]


def test_coupled_members_wait_for_one_another_and_not_for_a_diverged_one() -> None:
    under, over, nan = 0.04, 0.06, float("nan")

    def statuses(*losses: float, together: bool = True, last: bool = False):
        return stack_with([list(losses)]).statuses(0.05, 0, last=last, together=together)

    assert statuses(under, over) == [None, None]
    assert statuses(under, over, together=False) == ["converged", None]
    assert statuses(under, over, last=True) == ["converged", "not converged"]
    assert statuses(under, nan, under) == ["converged", "diverged", "converged"]


def test_the_numbers_of_updates_and_epochs() -> None:
    history = train_stack(TASK, NETWORK, SHORT, [0])[0].history
    assert history.loss.shape == history.gradient_norm.shape == (12,)  # 3 epochs of 4 updates
    assert history.learning_rate.shape == history.epoch_loss.shape == (3,)
    assert history.epoch_loss == pytest.approx(history.loss.reshape(3, 4).mean(1), rel=1e-6)  # float32 means
    assert history.learning_rate.tolist() == [0.01] * 3
    quick = train_stack(TASK.replace(threshold=99.0), NETWORK, SHORT.replace(patience=1, max_epochs=50), [0])[0]
    assert (quick.status, len(quick.history.epoch_loss)) == ("converged", 2)


def test_training_is_what_torch_would_do() -> None:
    """The whole loop once more with torch's own network, loss, clipping, optimiser and schedule."""
    training = SHORT.replace(steps_per_epoch=5, max_epochs=4, clip_norm=0.1, schedule=CosineWarmRestarts(period=3))
    member = train_stack(TASK, NETWORK, training, [3])[0]
    core, readout = torch.nn.RNN(2, 10, batch_first=True), torch.nn.Linear(10, 2)
    start = member.initial
    with torch.no_grad():
        own = (start["W_in"], start["W_rec"], start["bias"], torch.zeros(10), start["W_out"], start["b_out"])
        for parameter, value in zip([*core.parameters(), *readout.parameters()], own, strict=True):
            parameter.copy_(value)
    core.bias_hh_l0.requires_grad_(False)  # one bias, as the cell has
    own_params = [p for p in (*core.parameters(), *readout.parameters()) if p.requires_grad]
    adam = torch.optim.Adam(own_params, lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(adam, 3, 2)
    data, losses = Streams([3], "data"), []
    for _ in range(4):
        for _ in range(5):
            trials = TASK.sample(data, 8)
            loss = torch.nn.functional.mse_loss(readout(core(trials.inputs[0])[0]), trials.targets[0])
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(own_params, 0.1)
            adam.step()
            losses.append(loss.item())
        schedule.step()
    # float32: gradients agree to about 1e-6, 20 updates later losses do to about 1e-5.
    assert member.history.loss == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(member.final["W_rec"], core.weight_hh_l0.detach(), rtol=1e-3, atol=1e-4)


def seen_inputs(network: Network, training: Training, seeds: Sequence[int], monkeypatch) -> torch.Tensor:
    """The inputs of every update, (update, member, trial, time, in)."""
    batches = []
    batch = Stack._batch

    def watched(self, task, training):
        trials = batch(self, task, training)
        batches.append(trials.inputs.clone())
        return trials

    with monkeypatch.context() as patch:
        patch.setattr(Stack, "_batch", watched)
        train_stack(TASK, network, training, seeds)
    return torch.stack(batches)


def test_noise_does_not_disturb_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = seen_inputs(NETWORK, SHORT, [0, 1], monkeypatch)
    noisy = seen_inputs(NETWORK.replace(sigma_rec=0.2, sigma_in=0.1), SHORT, [0, 1], monkeypatch)
    assert torch.equal(quiet, noisy)
    assert not torch.equal(quiet[0], quiet[1]), "trials are fresh at every update"
    assert not torch.equal(quiet[:, 0], quiet[:, 1]), "each member has its own"


def test_trials_and_noise_come_from_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    first = seen_inputs(NETWORK, SHORT, [0, 5], monkeypatch)[0]
    assert torch.equal(first, TASK.sample(Streams([0, 5], "data"), 8).inputs)
    seeds = []

    def watched(network, streams, *shapes):
        seeds.append([gen.initial_seed() for gen in streams.generators])
        return draw_noise(network, streams, *shapes)

    monkeypatch.setattr(stack_module, "draw_noise", watched)
    train_stack(TASK, NETWORK.replace(sigma_rec=0.1), SHORT, [0, 5])
    assert seeds == [[generator(seed, "noise").initial_seed() for seed in (0, 5)]] * 12


def test_initial_weights_and_trials_do_not_depend_on_what_is_trained() -> None:
    narrow = train_stack(TASK, NETWORK, SHORT, [4])[0]
    other = train_stack(TASK, NETWORK, SHORT.replace(batch_size=3, learning_rate=0.1), [4])[0]
    assert all(torch.equal(narrow.initial[name], other.initial[name]) for name in narrow.initial)


def test_a_stream_can_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same initial weights for all members, different trials: the streams are separate sources of variability."""
    same_start = lambda network, i, o, seeds: initial_params(network, i, o, [7] * len(seeds))  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(training_module, "initial_params", same_start)
        a, b = train_stack(TASK, NETWORK, SHORT, [0, 1])
    assert torch.equal(a.initial["W_rec"], b.initial["W_rec"])
    assert not torch.equal(a.final["W_rec"], b.final["W_rec"])
    free = train_stack(TASK, NETWORK, SHORT, [0])[0]
    assert not torch.equal(free.initial["W_rec"], a.initial["W_rec"])


def test_a_pool_is_all_the_trials_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    training = SHORT.replace(n_fixed_trials=6, steps_per_epoch=10)
    batches = seen_inputs(NETWORK, training, [0, 1], monkeypatch)
    pools = TASK.sample(Streams([0, 1], "data"), 6).inputs
    for k in (0, 1):
        drawn = {trial.numpy().tobytes() for trial in batches[:, k].flatten(0, 1)}
        assert drawn == {trial.numpy().tobytes() for trial in pools[k]}, "240 draws of 6 trials find all"


def test_a_pool_draws_inputs_with_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    params = initial_params(NETWORK, 2, 2, [0, 1])
    stack = Stack.start(TASK, NETWORK, SHORT.replace(n_fixed_trials=6), [0, 1], params, Costs(), "cpu")
    trials = stack._batch(TASK, SHORT.replace(n_fixed_trials=6))
    assert trials.inputs.shape == (2, 8, 12, 2)
    assert torch.equal(TASK.solve(trials.inputs), trials.targets)


def test_what_is_set_wins_over_the_tasks_defaults_and_these_over_general_ones() -> None:
    task = PathIntegration()
    resolved = Training(batch_size=7).for_task(task)
    assert resolved.batch_size == 7, "what was set"
    assert resolved.max_epochs == task.training_defaults["max_epochs"] == 1000, "the task's"
    assert resolved.schedule == ReduceOnPlateau(factor=0.5, patience=40)
    assert resolved.patience == Training().patience, "the default"
    # A default that was set by hand is set.
    assert Training(batch_size=256).for_task(task).batch_size == 256 != task.training_defaults["batch_size"]
    assert resolved.for_task(task) == resolved


def test_epochs_too_few_to_converge_in_are_refused() -> None:
    # 1 + patience epochs under the threshold are needed.
    assert Training(max_epochs=4, patience=3).for_task(TASK).max_epochs == 4
    for training in (Training(max_epochs=3, patience=3), Training(max_epochs=3), Training(patience=300)):
        with pytest.raises(UserError, match=r"max_epochs = .* is wrong: with patience"):
            training.for_task(TASK)


@pytest.mark.parametrize("task", [FlipFlop(), DelayedDiscrimination(), PathIntegration()])
def test_train_members_resolves_the_tasks_defaults(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(training_module, "_train_one", lambda *given: (given[4], seen.append(given[2])))
    list(train_members(task, NETWORK, Training(max_epochs=2, patience=1), [0], device="cpu", jobs=1))
    assert seen == [Training(max_epochs=2, patience=1).for_task(task)]


def test_two_processes_train_what_one_does() -> None:
    network = NETWORK.replace(sigma_rec=0.05)
    one = {m.seed: m for m in train_members(TASK, network, SHORT, [0, 1, 2], device="cpu", jobs=1)}
    two = {m.seed: m for m in train_members(TASK, network, SHORT, [0, 1, 2], device="cpu", jobs=2)}
    assert one.keys() == two.keys() == {0, 1, 2}
    for seed in one:
        assert_same(one[seed], two[seed])


def test_training_leaves_torchs_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    list(train_members(TASK, NETWORK, SHORT.replace(max_epochs=1, patience=0), [0], device="cpu", jobs=1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("backend", ["autograd", "bptt"])
def test_all_backends_train_alike(backend: str) -> None:
    default = train_stack(TASK, NETWORK, SHORT, [0])[0]
    chosen = train_stack(TASK, NETWORK, SHORT, [0], backend=backend)[0]
    assert chosen.provenance["backend"] == backend
    assert default.provenance["backend"] == "compiled"
    assert default.provenance["device"] == "cpu"
    # float32 gradients agree to about 1e-6; 12 updates of Adam magnify it.
    assert chosen.history.loss == pytest.approx(default.history.loss, rel=1e-4)


def test_devices_are_checked() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda")
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        resolve_device("gpu")
