"""Gradients of the minGRU by the compiled scan: those of automatic differentiation of a loop over steps."""

import statistics
import time
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.networks import Params, parameters
from degeneracy.networks.cell import Cell
from degeneracy.networks.min_gru import MinGRUCell
from degeneracy.tasks import LOSSES, Loss, Trials
from degeneracy.training.backends import BACKENDS, Batch, backend_for, serves
from degeneracy.training.backends.autograd import Autograd
from degeneracy.training.backends.scan import CompiledScan
from degeneracy.training.regularisers import REGULARISERS, Regulariser


class Loop(Cell):
    """The minGRU as a loop over steps, as a user would write it."""

    name: ClassVar[str] = "loop"
    symmetry: ClassVar[str] = "linear_permutation"
    gates: ClassVar[int] = 2
    candidate: ClassVar[int] = 1

    def parameters(self, input_size: int, hidden_size: int):  # type: ignore[no-untyped-def]
        return MinGRUCell().parameters(input_size, hidden_size)

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:  # noqa: ARG002
        gate, candidate = drive.chunk(2, dim=-1)
        return state + torch.sigmoid(gate) * (candidate - state)


def a_batch(
    loss: Loss = LOSSES["mse"],
    sizes: tuple[int, ...] = (3, 5, 9, 7, 3, 2),
    *,
    noisy: bool = False,
    penalised: bool = False,
    started: bool = False,
    by_output: bool = False,
) -> Batch:
    """Members whose trials have steps that count differently, some of them not at all."""
    n_members, n_trials, n_steps, n, n_in, n_out = sizes
    streams = Streams(range(n_members), "scan")
    named = parameters(MinGRUCell(), n_in, n, n_out)
    inputs, targets = (streams.normal((n_trials, n_steps, size)) for size in (n_in, n_out))
    weights = streams.uniform((n_trials, n_steps, n_out) if by_output else (n_trials, n_steps))
    weights[:, :, : n_steps // 4] = 0
    weights[:, 0, n_steps // 2 :] = 0
    valid = (weights > 0).any(-1) if by_output else weights > 0
    trials = Trials.of(inputs, targets if loss.decide is None else targets.softmax(-1))
    noise = {"input": streams.normal((n_trials, n_steps, n_in)), "unit": streams.normal((n_trials, n_steps, n))}
    strength = 1 + torch.arange(n_members, dtype=torch.float32)
    return Batch(
        cell=MinGRUCell(),
        params={name: streams.normal(each.shape) for name, each in named.items()},
        trials=trials.replace(loss_weights=weights, valid=valid, scored=weights > 0),
        noise={name: 0.3 * value for name, value in noise.items()} if noisy else {},
        start=streams.normal((n_trials, n)) if started else None,
        strengths={"l2_activity": strength, "temporal_consistency": 5 * strength} if penalised else {},
        loss=loss,
    )


def looped(batch: Batch) -> Batch:
    """The same in float64, a loop."""
    double = {name: value.double() for name, value in vars(batch.trials).items() if value.dtype == torch.float32}
    return Batch(
        cell=Loop(),
        params={name: value.double() for name, value in batch.params.items()},
        trials=batch.trials.replace(**double),
        noise={name: value.double() for name, value in batch.noise.items()},
        start=None if batch.start is None else batch.start.double(),
        strengths={name: value.double() for name, value in batch.strengths.items()},
        loss=batch.loss,
    )


def assert_as_the_loop(batch: Batch, backend: CompiledScan) -> None:
    losses, missed, grads = backend.gradients(batch)
    right_losses, right_missed, right = Autograd().gradients(looped(batch))
    # float32 over at most 40 steps: rounding near 1e-6 of the whole gradient; a lost term is of percents.
    torch.testing.assert_close(losses.double(), right_losses, rtol=1e-5, atol=0)
    assert torch.equal(missed, right_missed)
    assert list(grads) == list(batch.params)
    for name, value in right.items():
        assert grads[name].shape == value.shape
        assert (grads[name] - value).norm() <= 1e-5 * value.norm(), name


@pytest.mark.parametrize("noisy", [False, True], ids=["clean", "noisy"])
@pytest.mark.parametrize("penalised", [False, True], ids=["plain", "penalised"])
@pytest.mark.parametrize("started", [False, True], ids=["from 0", "started"])
@pytest.mark.parametrize("by_output", [False, True], ids=["steps", "outputs"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_it_is_autograd_of_the_loop(loss: Loss, by_output: bool, started: bool, penalised: bool, noisy: bool) -> None:
    batch = a_batch(loss, noisy=noisy, penalised=penalised, started=started, by_output=by_output)
    assert_as_the_loop(batch, CompiledScan())


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1, 1, 1), (2, 3, 40, 33, 1, 5), (1, 64, 2, 16, 9, 1), (1, 2, 5, 130, 2, 2)]
)
def test_any_size(sizes: tuple[int, ...]) -> None:
    batch = a_batch(sizes=sizes, penalised=True)
    if sizes == (1, 1, 1, 1, 1, 1):  # one step, which counts
        ones = torch.ones(1, 1, 1)
        trials = batch.trials.replace(loss_weights=ones, valid=ones > 0, scored=ones > 0)
        batch = Batch(cell=batch.cell, params=batch.params, trials=trials)
    assert_as_the_loop(batch, CompiledScan())


def test_what_it_worked_with_leaves_no_trace() -> None:
    """One after the other on one instance: other shapes, another start, a member that is not finite."""
    backend, plain = CompiledScan(), a_batch(penalised=True)
    first = backend.gradients(plain)
    spoilt = a_batch(started=True, noisy=True)
    spoilt.params["bias"][1, 0] = torch.nan
    _, _, among = backend.gradients(spoilt)
    assert among["W_in"][1].isnan().any()
    assert all(value[[0, 2]].isfinite().all() for value in among.values())
    backend.gradients(a_batch(sizes=(1, 2, 4, 3, 2, 2)))
    again = backend.gradients(plain)
    assert torch.equal(first[0], again[0])
    assert all(torch.equal(first[2][name], again[2][name]) for name in plain.params)


def test_a_member_is_the_same_bits_alone() -> None:
    batch = a_batch(noisy=True, penalised=True)
    together, alone = CompiledScan().gradients(batch), CompiledScan().gradients(batch.member(1))
    assert together[0][1] == alone[0][0]
    assert all(torch.equal(together[2][name][1], alone[2][name][0]) for name in batch.params)


class Steeper(MinGRUCell):
    """Coefficients of its own."""

    name: ClassVar[str] = "steeper"

    def coefficients(self, params: Params, drive: Tensor) -> tuple[Tensor, Tensor]:
        return super().coefficients(params, 2 * drive)


def test_what_it_serves_and_what_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = Regulariser(
        summary="not compiled", source="a test", on="states", penalty=lambda h, _: h.abs().pow(3).mean((1, 2, 3))
    )
    monkeypatch.setitem(REGULARISERS, "cube", cube)
    assert backend_for(MinGRUCell()) == "scan"
    assert backend_for(MinGRUCell(), strengths=["l2_activity", "temporal_consistency"]) == "scan"
    assert backend_for(MinGRUCell(), strengths=["l2_activity", "cube"]) == "autograd"
    assert backend_for(MinGRUCell(), "cuda") == "autograd"
    assert backend_for(Steeper()) == backend_for(Loop()) == "autograd"
    for name in BACKENDS.keys() - {"scan", "autograd"}:
        assert not serves(name, MinGRUCell())


@pytest.mark.benchmark
def test_it_is_three_times_as_fast_as_the_loop() -> None:
    batch = a_batch(sizes=(1, 64, 100, 64, 3, 3))
    loop = Batch(cell=Loop(), params=batch.params, trials=batch.trials)
    ways = {"scan": (CompiledScan(), batch), "loop": (Autograd(), loop)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(30):
        for name, (backend, given) in ways.items():
            start = time.process_time()
            backend.gradients(given)
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(values[5:]) for name, values in seconds.items()}
    print({name: f"{1e3 * value:.2f} ms" for name, value in medians.items()})
    assert medians["loop"] > 3 * medians["scan"], medians
    assert np.isfinite(list(medians.values())).all()
