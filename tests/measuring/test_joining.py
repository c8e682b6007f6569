"""Members that were recorded apart are one recording: the same as if they had been recorded side by side."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import degeneracy as dg
from degeneracy.analysis.recording import Recording
from degeneracy.measuring.joining import joined
from degeneracy.measuring.record import record

TASK = dg.tasks.DelayedDiscrimination()
PROBE = dg.Probe(n_trials=6, n_dynamics_trials=8)


def ensemble() -> dg.Ensemble:
    gen = torch.Generator().manual_seed(0)
    given = []
    for _ in range(3):
        pair = nn.LSTM(TASK.input_size, 5), nn.Linear(5, TASK.output_size)
        with torch.no_grad():
            for value in (*pair[0].parameters(), *pair[1].parameters()):
                value.normal_(std=0.5, generator=gen)
        given.append(pair)
    return dg.Ensemble.from_modules(given, initial=given[::-1])


@pytest.fixture(scope="module")
def both() -> tuple[Recording, Recording]:
    """Recorded together, and joined of members 1 and 2, and 0."""
    whole = ensemble()
    parts = {
        places: record(replace(whole, members=tuple(whole.members[k] for k in places)), TASK, PROBE)
        for places in ((1, 2), (0,))
    }
    return record(whole, TASK, PROBE), joined(parts)


def close(found: object, expected: object) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-6)  # single precision


def test_arrays_come_in_the_members_order(both: tuple[Recording, Recording]) -> None:
    for whole, found in (both, (both[0].untrained, both[1].untrained)):
        assert whole is not None
        assert found is not None
        assert found.members == whole.members == ("0", "1", "2")
        close(found.states, whole.states)
        close(found.autonomous_states, whole.autonomous_states)
        assert found.weights is not None
        assert whole.weights is not None
        for a, b in zip(found.weights, whole.weights, strict=True):
            close(a["recurrent"], b["recurrent"])
        assert found.missing == whole.missing
        for half in range(2):
            assert found.lag_grams is not None
            assert whole.lag_grams is not None
            for one, other in zip(found.lag_grams[half], whole.lag_grams[half], strict=True):
                close(one.gram(1), other.gram(1))


def test_behavior_comes_in_the_members_order(both: tuple[Recording, Recording]) -> None:
    whole, found = both
    assert found.behavior.keys() == whole.behavior.keys()
    for name, variant in whole.behavior.items():
        close(found.behavior[name].errors, variant.errors)
        if variant.outputs is not None:
            close(found.behavior[name].outputs, variant.outputs)


@pytest.mark.parametrize("chosen", [[0, 1, 2], [2, 1], [1], [2, 0]])
def test_a_step_of_some_members_is_theirs(both: tuple[Recording, Recording], chosen: list[int]) -> None:
    whole, found = both
    assert whole.step is not None
    assert found.step is not None
    here, there = found.step.select(chosen), whole.step.select(chosen)
    gen = torch.Generator().manual_seed(1)
    h = torch.randn(len(chosen), 4, 10, generator=gen, dtype=torch.float64)
    x = torch.randn(len(chosen), 4, TASK.input_size, generator=gen, dtype=torch.float64)
    close(here.step(h, x), there.step(h, x))
    close(here.hidden(h), there.hidden(h))
    close(here.visited, there.visited)
    assert here.faults == there.faults
    assert here.read_out is not None
    assert there.read_out is not None
    close(here.read_out(h), there.read_out(h))
    assert found.tangent_kernel is not None
    assert whole.tangent_kernel is not None
    close(
        found.tangent_kernel.select(chosen).kernel([0, 2], [3]), whole.tangent_kernel.select(chosen).kernel([0, 2], [3])
    )


def test_gradients_pass_through_a_joined_step(both: tuple[Recording, Recording]) -> None:
    found = both[1]
    assert found.step is not None
    h = torch.zeros(3, 2, 10, dtype=torch.float64, requires_grad=True)
    found.step.step(h, torch.zeros(3, 2, TASK.input_size, dtype=torch.float64)).square().sum().backward()
    assert h.grad is not None
    assert h.grad.abs().sum((1, 2)).min() > 0


def test_what_one_part_lacks_is_missing_with_its_member() -> None:
    whole = ensemble()
    first, second = (record(replace(whole, members=(whole.members[k],)), TASK, PROBE) for k in range(2))
    second = replace(second, step=None, weights=None, missing={"weights": "none were given", "step": "it is not known"})
    found = joined({(0,): first, (1,): second})
    assert found.weights is None
    assert found.step is None
    assert found.missing["weights"] == "member 1: none were given"
    assert found.missing["step"] == "member 1: it is not known"
    assert found.states is not None
