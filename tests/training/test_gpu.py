"""What only a CUDA device can show; skipped where there is none (run with `pytest -m gpu`)."""

import logging

import numpy as np
import pytest
import torch

import degeneracy as dg
from degeneracy.core.streams import Streams
from degeneracy.networks import CELLS, RECURRENT_MAPS, Network, Params, initial_params
from degeneracy.tasks import TASKS, FlipFlop, Trials
from degeneracy.training import Training, train_stack
from degeneracy.training.backends import BACKENDS, Batch, backend_for, graphs
from degeneracy.training.stack import Member, Stack

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def on_gpu(values: Params) -> Params:
    return {name: value.cuda() for name, value in values.items()}


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_the_cpu(name: str) -> None:
    cell, task = CELLS[name](), FlipFlop(channels=2, n_steps=12)
    params = {k: v.double() for k, v in initial_params(Network(hidden_size=9, cell=name), 2, 2, [0, 1]).items()}
    trials = task.sample(Streams([0, 1], "data"), 5)
    double = {k: v.double() if v.is_floating_point() else v for k, v in vars(trials).items()}
    backend = BACKENDS[backend_for(cell, "cuda")]
    loss, _, grads = backend().gradients(Batch(cell=cell, params=params, trials=Trials(**double)))
    on_device = Batch(cell=cell, params=on_gpu(params), trials=Trials(**on_gpu(double)))
    there_loss, _, there = backend().gradients(on_device)
    torch.testing.assert_close(there_loss.cpu(), loss, rtol=1e-9, atol=0)
    for key, value in grads.items():
        # 1e-9 in float64: only the order of summation differs.
        assert (there[key].cpu() - value).norm() <= 1e-9 * value.norm(), key


@pytest.mark.parametrize("name", TASKS)
def test_trials_are_made_on_the_device(name: str) -> None:
    trials = TASKS[name]().sample(Streams([0, 1], "data", "cuda"), 3)
    assert all(value.is_cuda for value in vars(trials).values())


def test_an_ensemble_trains_side_by_side() -> None:
    training = Training(learning_rate=3e-3, batch_size=64, steps_per_epoch=25, max_epochs=120)
    task = FlipFlop(channels=2, n_steps=20, threshold=0.01)
    together = train_stack(task, Network(hidden_size=32), training, [0, 1, 2], device="cuda")
    assert [member.status for member in together] == ["converged"] * 3
    cpu = train_stack(task, Network(hidden_size=32), training.replace(max_epochs=1), [1])
    for key, value in cpu[0].initial.items():
        assert torch.equal(together[1].initial[key], value), "same initial weights on every device"


TASK = FlipFlop(channels=2, n_steps=12)
SHORT = Training(learning_rate=3e-3, batch_size=16, steps_per_epoch=5, max_epochs=4)


def trained(cell: str, training: Training = SHORT, seeds: tuple[int, ...] = (0, 1, 2)) -> list[Member]:
    return train_stack(TASK, Network(hidden_size=16, cell=cell), training, seeds, device="cuda")


def losses(members: list[Member]) -> np.ndarray:
    return np.stack([member.history.loss for member in members])


@pytest.mark.parametrize("cell", CELLS)
def test_a_recorded_update_does_what_the_plain_one_does(
    cell: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="degeneracy")
    recorded = losses(trained(cell))
    assert not caplog.records, "every cell's update can be recorded"
    monkeypatch.setattr(graphs, "WARM_UP", 10**9)
    # The same kernels in the same order: the same bits.
    np.testing.assert_array_equal(recorded, losses(trained(cell)))


@pytest.mark.parametrize("name", TASKS)
def test_trials_of_every_task_can_be_recorded(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="degeneracy")
    (member,) = train_stack(TASKS[name](), Network(hidden_size=16), SHORT, [0], device="cuda")
    assert not caplog.records
    drawn = member.history.loss
    assert len(np.unique(drawn)) == len(drawn), "a replay draws new trials"


@pytest.mark.parametrize("cell", CELLS)
def test_a_member_beside_one_that_diverges_is_the_same(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = losses(trained(cell))
    start = Stack.start.__func__  # type: ignore[attr-defined]

    def poisoned(cls: type[Stack], *args: object) -> Stack:
        stack: Stack = start(cls, *args)
        stack.flat[1, 0] = float("nan")
        return stack

    monkeypatch.setattr(Stack, "start", classmethod(poisoned))
    members = trained(cell)
    assert members[1].status == "diverged"
    # Member 1 leaves after the first epoch; until then all three are multiplied in one batch.
    np.testing.assert_array_equal(undisturbed[[0, 2], :5], losses([members[0], members[2]])[:, :5])
    # 20 updates after the batch has changed its size, other kernels may sum in another order.
    np.testing.assert_allclose(undisturbed[[0, 2]], losses([members[0], members[2]]), rtol=1e-4)


def test_a_member_alone_is_the_one_among_many() -> None:
    # Kernels are chosen by the size of the batch: float32 rounding, grown over 20 updates.
    np.testing.assert_allclose(losses(trained("tanh", seeds=(1,)))[0], losses(trained("tanh"))[1], rtol=1e-4)


def test_a_sweep_trains_in_one_batch() -> None:
    strengths = {"l2": [0.0, 1e-1]}
    both = dg.train_strengths(
        TASK, Network(hidden_size=16), SHORT, strengths=strengths, seeds=[0, 1], device="cuda", progress=False
    )
    norms = [np.mean([m.final["W_rec"].norm().item() for m in each.members]) for each in both]
    assert norms[1] < norms[0]


def test_regularised_members_are_those_of_the_cpu() -> None:
    network = Network(hidden_size=16)
    strengths = {"l2_activity": [0.0, 1e-2], "nuclear": [1e-4, 0.0]}
    first = [
        train_stack(TASK, network, SHORT.replace(max_epochs=2), [0, 1], device=device, strengths=strengths)
        for device in ("cuda", "cpu")
    ]
    for there, here in zip(*first, strict=True):
        # Other trials on another device, the same first weights: after 10 updates the same norm to a few percent.
        assert there.final["W_rec"].norm().item() == pytest.approx(here.final["W_rec"].norm().item(), rel=0.05)


@pytest.mark.parametrize("recurrent", [name for name in RECURRENT_MAPS if name != "dense"])
def test_updates_through_maps_are_recorded_too(
    recurrent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="degeneracy")
    network = Network(hidden_size=16, recurrent=recurrent)
    recorded = train_stack(TASK, network, SHORT, [0, 1, 2], device="cuda")
    assert not caplog.records
    assert all(network.recurrent.holds(member.final["W_rec"][None]).all() for member in recorded)
    monkeypatch.setattr(graphs, "WARM_UP", 10**9)
    plain = train_stack(TASK, network, SHORT, [0, 1, 2], device="cuda")
    np.testing.assert_array_equal(losses(recorded), losses(plain))  # the same kernels in the same order


def test_what_cannot_be_recorded_trains_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="degeneracy")
    coupled = trained("tanh", SHORT.replace(coupling={"strength": 1e-2}))
    assert "without a CUDA graph" in caplog.text
    assert np.isfinite(losses(coupled)).all()
    drawn = losses(coupled)[0]
    assert len(np.unique(drawn)) == len(drawn), "the streams go on where they were"


def test_garbage_of_earlier_recordings_does_not_break_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="degeneracy")
    for cell in [*CELLS] * 5:
        trained(cell)
    assert not caplog.records
