"""What only a CUDA device can show; skipped where there is none (run with `pytest -m gpu`)."""

import pytest
import torch

from degeneracy.networks import CELLS, Network, Params, initial_params
from degeneracy.streams import Streams
from degeneracy.tasks import TASKS, FlipFlop, Trials
from degeneracy.training import Training, train_stack
from degeneracy.training.updates import PATHS, path_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def on_gpu(values: Params) -> Params:
    return {name: value.cuda() for name, value in values.items()}


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_the_cpu(name: str) -> None:
    cell, task = CELLS[name](), FlipFlop(channels=2, n_steps=12)
    params = {
        k: v.double() for k, v in initial_params(Network(hidden_size=9, cell=name), 2, 2, [0, 1]).items()
    }
    trials = task.sample(Streams([0, 1], "data"), 5)
    double = {k: v.double() if v.is_floating_point() else v for k, v in vars(trials).items()}
    path = PATHS[path_for(cell, "cuda")]
    loss, grads = path(cell, params, Trials(**double), {}, {}, {})
    there_loss, there = path(cell, on_gpu(params), Trials(**on_gpu(double)), {}, {}, {})
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
