"""Every function of arrays takes the same containers and kinds of numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from labelled import STATES, Named, X

import degeneracy as dg
from degeneracy.analysis.behavior.differences import error_sd, output_distances
from degeneracy.analysis.dimensions import effective_rank, participation_ratio
from degeneracy.analysis.dynamics.layout import shape
from degeneracy.analysis.dynamics.linear import dsa
from degeneracy.analysis.learning.alignment import kernel_alignment, representation_alignment
from degeneracy.analysis.recording import Weights
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.weights import pif
from degeneracy.core.errors import UserError


def masked(x: Any) -> Any:
    hidden = np.zeros(np.shape(x), bool)
    hidden.flat[0] = True
    return np.ma.masked_array(x, mask=hidden)


RNG = np.random.default_rng(1)
SQUARE = RNG.normal(size=(4, 4))
# Every public function of `analysis` that takes arrays, as a function of one array that is right.
FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "procrustes_angle": (lambda x: shape.procrustes_angle(x, X), X),
    "procrustes_distances": (shape.procrustes_distances, STATES),
    "svcca_distance": (lambda x: shape.svcca_distance(x, X), X),
    "cka_distance": (lambda x: shape.cka_distance(X, x), X),
    "cka_distances": (lambda x: shape.cka_distances(list(x)), STATES),
    "delay_operator": (lambda x: dsa.delay_operator(x, rank=2, n_delays=2), X),
    "delay_operators": (lambda x: dsa.delay_operators(x, rank=2, n_delays=2).operators, STATES),
    "effective_rank": (effective_rank, SQUARE),
    "participation_ratio": (participation_ratio, X),
    "kernel_alignment": (lambda x: kernel_alignment(x, SQUARE), SQUARE),
    "representation_alignment": (lambda x: representation_alignment(X, x), X),
    "error_sd": (lambda x: error_sd(x).value, np.abs(SQUARE)),
    "output_distances": (lambda x: output_distances(x, np.ones((6, 7))), STATES),
    "output_distances' mask": (lambda x: output_distances(STATES, x), np.ones((6, 7))),
    "pair_mean": (lambda x: jackknife.pair_mean(x).value, np.ones((4, 4)) - np.eye(4)),
    "member_mean": (lambda x: jackknife.member_mean(x).value, SQUARE[0]),
    "align": (
        lambda x: pif.align(Weights.of(recurrent=x), Weights.of(recurrent=SQUARE[None]), signed=True).distance,
        SQUARE[None] + 1,
    ),
}


@pytest.mark.parametrize(("function", "right"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_every_function_of_arrays_converts_them_alike(function: Any, right: Any) -> None:
    expected = function(right)
    np.testing.assert_array_equal(function(torch.tensor(right, requires_grad=True)), expected)
    np.testing.assert_array_equal(function(right.tolist()), expected)
    for wrong, says in ((masked(right), "masked"), (right + 0j, "complex"), (right.astype("U32"), "text")):
        with pytest.raises(UserError, match=says):
            function(wrong)


def test_named_dimensions_reach_the_functions() -> None:
    y = RNG.normal(size=X.shape)
    named = Named(X.transpose(1, 2, 0), "time", "unit", "trial")
    assert shape.procrustes_angle(named, y) == shape.procrustes_angle(X, y)
    assert participation_ratio(named) == participation_ratio(X)
    assert representation_alignment(named, y) == representation_alignment(X, y)
    together = Named(STATES.transpose(1, 0, 3, 2), "trial", "member", "unit", "time")
    np.testing.assert_array_equal(shape.cka_distances(together), shape.cka_distances(STATES))
    np.testing.assert_array_equal(
        dsa.delay_operators(together, rank=2, n_delays=2).operators,
        dsa.delay_operators(STATES, rank=2, n_delays=2).operators,
    )
    errors = np.abs(STATES[0, 0])
    assert error_sd(Named(errors.T, "trial", "seed")).value == error_sd(errors).value


def test_rollout_takes_the_same() -> None:
    network = dg.Network(hidden_size=4)
    task = dg.tasks.FlipFlop(channels=2, n_steps=7, threshold=99.0)
    training = dg.Training(batch_size=4, steps_per_epoch=1, max_epochs=1, patience=0)
    ensemble = dg.train(task, network, training, seeds=range(2), jobs=1, progress=False)
    inputs = RNG.normal(size=(3, 7, 2)).astype(np.float32)
    expected = ensemble.rollout(inputs)[0]
    named = Named(inputs.transpose(2, 1, 0), "input", "time", "trial")
    for value in (named, torch.tensor(inputs, requires_grad=True), inputs.astype(">f8"), inputs.tolist()):
        np.testing.assert_array_equal(ensemble.rollout(value)[0], expected)
    with pytest.raises(UserError, match=r"rollout: inputs: it has masked values \(1\)"):
        ensemble.rollout(masked(inputs))
    with pytest.raises(UserError, match=r"rollout: inputs: .* needed are \(trial, time, in\) or \(member, trial"):
        ensemble.rollout(Named(inputs, "trial", "time", "unknown"))


def test_own_measures_return_numbers() -> None:
    def mine(recording: Any) -> Any:
        return masked(np.ones(len(recording)))

    with pytest.raises(UserError, match="measure 'mine': it has masked values"):
        dg.measure_arrays(states=STATES, measures=[mine])
