"""Streaming parity: tokens, the rule by an automaton of two states, and what the variants ask."""

import numpy as np
import torch

from degeneracy.core.streams import Streams
from degeneracy.tasks import StreamingParity, Trials, trial_errors, wrong_decisions


def drawn(task: StreamingParity, variant: str = "", n_trials: int = 50) -> Trials:
    sample = task.variants()[variant].sample if variant else task.sample
    return sample(Streams([0, 1], "data"), n_trials)


def by_automaton(inputs: torch.Tensor) -> np.ndarray:
    """Parities of one-hot tokens by a state that token 1 exchanges, (member, trial, time)."""
    tokens = inputs.argmax(-1).numpy()
    odd = np.zeros(tokens.shape[:2], dtype=int)
    found = []
    for t in range(tokens.shape[2]):
        odd = np.where(tokens[:, :, t] == 1, 1 - odd, odd)
        found.append(odd)
    return np.stack(found, axis=2)


def test_inputs_are_one_hot_tokens_and_targets_the_parity_so_far() -> None:
    trials = drawn(StreamingParity(n_steps=30))
    assert set(trials.inputs.unique().tolist()) == {0.0, 1.0}
    assert (trials.inputs.sum(-1) == 1).all()
    np.testing.assert_array_equal(trials.targets[..., 0].numpy(), by_automaton(trials.inputs))
    # 3000 tokens: the share of ones has sd .5 / sqrt(3000) = .009, of which 5 are allowed.
    assert abs(trials.inputs[..., 1].mean().item() - 0.5) < 0.046


def test_the_solver_is_exact_in_every_variant() -> None:
    task = StreamingParity(n_steps=8)
    for name in ("", *task.variants()):
        trials = drawn(task, name)
        outputs = task.solve(trials.inputs)
        assert wrong_decisions(task.loss, task.judged, outputs, trials).sum() == 0, name
        # A logit of 20 costs ln(1 + e^-20) = 2.06e-9 nats.
        assert 0 <= trial_errors(task.loss, outputs, trials).max() < 2.1e-9, name


def test_variants_have_the_lengths_that_they_say() -> None:
    task = StreamingParity(n_steps=8)
    assert list(task.variants()) == ["length_5x", "length_50x", "constant_runs"]
    assert drawn(task, "length_5x").inputs.shape[2] == 40
    assert drawn(task, "length_50x").inputs.shape[2] == 400


def test_constant_runs_are_200_steps_of_one_token_after_random_ones() -> None:
    trials = drawn(StreamingParity(n_steps=8), "constant_runs")
    assert trials.inputs.shape[2] == 208
    run = trials.inputs[:, :, 8:]
    assert (run == run[:, :, :1]).all()
    assert {0, 1} == set(run[:, :, 0, 1].long().flatten().tolist()), "runs of either token"
    assert trials.inputs[:, :, :8, 1].std(2).mean() > 0.3, "before them, tokens are random"
    assert not trials.scored[:, :, :8].any()
    assert trials.scored[:, :, 8:].all()
    # Both parities are there at the start of a run: to hold an even one proves nothing, were the default even.
    assert set(trials.targets[:, :, 7, 0].flatten().tolist()) == {0.0, 1.0}
