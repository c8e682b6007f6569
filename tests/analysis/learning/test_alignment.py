"""Alignment of kernels at the start and the end of training: values by hand, lazy and rich by construction."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from degeneracy.analysis import MEASURES, Recording
from degeneracy.analysis.learning.alignment import kernel_alignment, representation_alignment
from degeneracy.analysis.learning.measures import evenly
from degeneracy.analysis.recording import TangentKernel
from degeneracy.core.errors import UserError


def rotation(n: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]


def test_kernel_alignment_by_hand():
    # <K0, KT> = 1*2 + 0 + 0 + 1*2 = 4; norms sqrt 2 and sqrt(4 + 1 + 1 + 4) = sqrt 10.
    before, after = np.eye(2), np.array([[2.0, 1.0], [1.0, 2.0]])
    assert kernel_alignment(before, after) == pytest.approx(4 / np.sqrt(20), rel=1e-14)
    assert kernel_alignment(after, 3 * after) == pytest.approx(1, abs=1e-14)
    assert kernel_alignment(np.diag([1.0, 0.0]), np.diag([0.0, 1.0])) == 0.0
    assert np.isnan(kernel_alignment(before, np.zeros((2, 2))))
    assert np.isnan(kernel_alignment(before, np.full((2, 2), np.inf)))


def test_representation_alignment_is_that_of_the_states_kernels():
    before, after = np.random.default_rng(0).normal(size=(2, 3, 5, 4)) + 0.5
    flat = [x.reshape(-1, 4) for x in (before, after)]
    expected = kernel_alignment(*(x @ x.T for x in flat))
    assert representation_alignment(before, after) == pytest.approx(expected, rel=1e-12)
    assert 0 < expected < 0.9
    assert representation_alignment(before, 2 * before @ rotation(4)) == pytest.approx(1, abs=1e-12)
    assert representation_alignment(before, before + 1) < 0.99, "not centred: the mean counts"
    assert np.isnan(representation_alignment(before, np.zeros((3, 5, 2))))


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (kernel_alignment, (np.eye(2), np.eye(3))),
        (kernel_alignment, (np.zeros((2, 3)), np.zeros((2, 3)))),
        (representation_alignment, (np.zeros((2, 3, 4)), np.zeros((3, 2, 4)))),
        (representation_alignment, (np.zeros(4), np.zeros(4))),
    ],
)
def test_shapes_that_cannot_be_compared(function, wrong):
    with pytest.raises(UserError, match=function.__name__):
        function(*wrong)


def kernel_of(gradients: np.ndarray, asked: list[object] | None = None) -> TangentKernel:
    """A tangent kernel made from gradients (member, trial, time, parameter) of one output."""

    def kernel(trials: Sequence[int], steps: Sequence[int]) -> np.ndarray:
        if asked is not None:
            asked.append((tuple(trials), tuple(steps)))
        some = gradients[:, list(trials)][:, :, list(steps)].reshape(len(gradients), -1, gradients.shape[-1])
        return some @ some.transpose(0, 2, 1)

    return TangentKernel(
        kernel=kernel,
        select=lambda members: kernel_of(gradients[list(members)], asked),
        n_trials=gradients.shape[1],
        n_steps=gradients.shape[2],
    )


def learned(before: np.ndarray, after: np.ndarray, asked: list[object] | None = None) -> Recording:
    """Networks whose states, and whose gradients, were `before` and are `after`, (member, trial, time, number)."""
    labels = tuple(str(k) for k in range(len(after)))
    untrained = Recording(members=labels, states=list(before), tangent_kernel=kernel_of(before, asked))
    now = Recording(members=labels, states=list(after), tangent_kernel=kernel_of(after, asked))
    return replace(now, untrained=untrained)


@pytest.mark.parametrize("name", ["representation_alignment", "kernel_alignment"])
def test_lazy_is_1_and_richer_is_less(name):
    before = np.random.default_rng(0).normal(size=(4, 20, 6, 5))
    lazy = MEASURES[name]()(learned(before, 1.7 * before @ rotation(5)))
    assert lazy.findings[0].value.value == pytest.approx(1, abs=1e-12)
    assert lazy.findings[1].value.value == pytest.approx(0, abs=1e-12)
    new = np.random.default_rng(1).normal(size=(*before.shape[:3], 2)) @ np.ones((2, 5))
    values = [MEASURES[name]()(learned(before, before + k * new)).findings[0].value.value for k in (0.3, 1, 3)]
    assert 1 > values[0] > values[1] > values[2] > 0
    halves = np.concatenate([before[:2], (before + new)[2:]])
    mean, sd = MEASURES[name]()(learned(before, halves)).findings
    assert sd.value.value > 0.05, "two members learned otherwise"
    assert mean.reference is None
    assert mean.floor is None


def test_the_probe_of_the_kernel_is_bounded_seeded_and_the_same_before_and_after():
    before = np.random.default_rng(0).normal(size=(3, 40, 10, 4))
    asked: list[object] = []
    MEASURES["kernel_alignment"](n_trials=5, n_steps=3)(learned(before, before, asked))
    (trials, steps), again = asked
    assert again == (trials, steps)
    assert len(set(trials)) == 5
    assert list(trials) == sorted(trials)
    assert steps == (2, 5, 9)  # a third, two thirds and all of 10 steps: positions 10/3 - 1, 20/3 - 1 and 9
    MEASURES["kernel_alignment"](n_trials=5, n_steps=3, seed=1)(learned(before, before, asked))
    assert asked[2][0] != trials
    MEASURES["kernel_alignment"](n_trials=64, n_steps=64)(learned(before, before, asked))
    assert asked[4] == (tuple(range(40)), tuple(range(10))), "all there are"


def test_steps_are_evenly_spaced_and_end_with_the_last():
    assert evenly(50, 1) == [49]
    assert evenly(50, 2) == [24, 49]
    assert evenly(3, 3) == [0, 1, 2]


@pytest.mark.parametrize("name", ["representation_alignment", "kernel_alignment"])
def test_without_the_start_there_is_a_reason(name):
    recording = learned(*np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)))
    bare = Recording(members=recording.members)
    with pytest.raises(UserError, match="before training"):
        MEASURES[name]()(replace(recording, untrained=bare))


def test_a_member_without_a_kernel_is_said_to_have_no_number():
    before = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    before[1] = 0.0
    found = MEASURES["kernel_alignment"]()(learned(before, before))
    assert np.isnan(found.findings[0].value.value)
    assert found.findings[0].note == "member 1: no parameter changes the outputs, or by a number that is not finite"
    assert found.arrays["values"][[0, 2]] == pytest.approx([1, 1], rel=1e-12)
