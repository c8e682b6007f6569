"""The memory of training by what each backend keeps: no less than is counted, and not several times as much."""

import pytest
import torch

import degeneracy as dg
from degeneracy.core import memory
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import CELLS, Network, initial_params
from degeneracy.tasks import FlipFlop
from degeneracy.training import check_training_memory
from degeneracy.training.backends import BACKENDS, Batch, backend_for
from degeneracy.training.backends.compiled import Compiled
from degeneracy.training.backends.scan import CompiledScan

N, B, T = 64, 32, 50
TASK = FlipFlop(channels=1, n_steps=T)
TRAINING = dg.Training(batch_size=B, steps_per_epoch=1, max_epochs=1, patience=0)


def arrays_of(backend: Compiled | CompiledScan) -> int:
    """Numbers in the arrays that it works in."""
    return sum(array.size for array in backend._work[1])


@pytest.mark.parametrize("name", CELLS)
def test_compiled_backends_keep_what_they_say(name: str) -> None:
    cell = CELLS[name]()
    backend = BACKENDS[backend_for(cell)]()
    assert isinstance(backend, (Compiled, CompiledScan))
    params = initial_params(Network(hidden_size=N, cell=name), 1, 1, [0])
    backend.gradients(Batch(cell=cell, params=params, trials=TASK.sample(Streams([0], "data"), B)))
    said, there = backend.kept_numbers(cell, B, T, N), arrays_of(backend)
    # Weights by source, one step's gradients and the first state are there besides, N is as wide as a vector's
    # multiple: less than half.
    assert said <= there <= 1.5 * said + 3 * 4 * (N + 16) ** 2


@pytest.mark.parametrize("name", CELLS)
def test_states_that_autograd_keeps_are_counted(name: str) -> None:
    cell, kept = CELLS[name](), []
    params = initial_params(Network(hidden_size=N, cell=name), 1, 1, [0])
    batch = Batch(cell=cell, params=params, trials=TASK.sample(Streams([0], "data"), B))

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        BACKENDS["autograd"]().gradients(batch)
    distinct = {x.data_ptr(): x.numel() for x in kept}
    assert BACKENDS["autograd"].kept_numbers(cell, B, T, N) <= sum(distinct.values())


def test_an_lstm_is_refused_where_a_min_gru_of_the_size_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 trials of 50 steps of 64 units: 6 numbers each are 2.46 MB, beside 0.07 MB of parameters for each copy."""
    monkeypatch.setattr(memory, "machine_memory", lambda: 2_400_000)
    for cell in CELLS.keys() - {"lstm"}:
        check_training_memory(TASK, Network(hidden_size=N, cell=cell), TRAINING, 1, device="cpu")
    with pytest.raises(UserError, match=r"batch_size = 32 trials with n_steps = 50 and hidden_size = 64 alone .* 2.47"):
        check_training_memory(TASK, Network(hidden_size=N, cell="lstm"), TRAINING, 1, device="cpu")
    monkeypatch.setattr(memory, "machine_memory", lambda: 200_000)  # one trial's states at a time
    check_training_memory(TASK, Network(hidden_size=N, cell="min_gru"), TRAINING, 1, device="cpu")
