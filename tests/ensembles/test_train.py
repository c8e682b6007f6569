"""Ensembles, trained: one of them, or one per strength of a regulariser."""

from collections.abc import Mapping

import pytest
import torch

import degeneracy as dg
from degeneracy.training.advice import ADVICE

TASK = dg.tasks.FlipFlop(channels=2, n_steps=10)
NETWORK = dg.Network(hidden_size=6)
TRAINING = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=4, patience=1)
STRENGTHS = {"nuclear": [0.0, 1e-2, 0.1], "l2_activity": [0.3, 0.0, 0.1]}


def assert_same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    """The same numbers, bit by bit."""
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_train_gives_the_members_in_the_order_of_the_seeds() -> None:
    ensemble = dg.train(TASK, NETWORK, TRAINING, seeds=(0, 3, 1), jobs=1, progress=False)
    assert ensemble.seeds == (0, 3, 1)
    assert len(ensemble) == 3
    assert ensemble.training == TRAINING.for_task(TASK)
    alone = dg.train(TASK, NETWORK, TRAINING, seeds=[3], jobs=1, progress=False)
    for initial in (False, True):
        own = {name: value[1] for name, value in ensemble.params(initial=initial).items()}
        assert_same(own, {name: value[0] for name, value in alone.params(initial=initial).items()})
    assert not torch.equal(ensemble.params()["W_rec"], ensemble.params(initial=True)["W_rec"])


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_is_one_ensemble_a_strength(jobs: int) -> None:
    training = TRAINING.replace(regularisers={"l1": 1e-3})
    swept = dg.train_strengths(
        TASK, NETWORK, training, strengths=STRENGTHS, seeds=[4, 1], jobs=jobs, device="cpu", progress=False
    )
    assert len(swept) == 3
    for k, ensemble in enumerate(swept):
        own = {"l1": 1e-3, **{name: values[k] for name, values in STRENGTHS.items()}}
        assert ensemble.seeds == (4, 1)
        assert ensemble.training == training.replace(regularisers=own).for_task(TASK)
        alone = dg.train(
            TASK,
            NETWORK,
            training.replace(regularisers=own),
            seeds=[4, 1],
            jobs=1,
            device="cpu",
            progress=False,
        )
        assert_same(ensemble.params(), alone.params())
    assert not torch.equal(swept[0].params()["W_rec"], swept[1].params()["W_rec"])


def test_coupled_members_see_those_of_their_own_strength() -> None:
    training = TRAINING.replace(coupling={"strength": 1.0, "n_trials": 4, "n_samples": 16})
    swept = dg.train_strengths(TASK, NETWORK, training, strengths={"l2": [0.0, 0.1]}, seeds=[0, 1], progress=False)
    for strength, ensemble in zip([0.0, 0.1], swept, strict=True):
        own = training.replace(regularisers={"l2": strength})
        assert_same(ensemble.params(), dg.train(TASK, NETWORK, own, seeds=[0, 1], progress=False).params())


@pytest.mark.parametrize(
    ("strengths", "said"),
    [
        ({}, "given are none"),
        ({"l1": []}, "given are 0 of l1"),
        ({"l1": 0.1}, "given are 0 of l1"),
        ({"l1": "01"}, "given are 0 of l1"),
        ([0.0, 1.0], "as lists by regulariser"),
        ({"l1": [0.0, 1.0], "l2": [0.0]}, "given are 2 of l1, 1 of l2"),
        ({"l3": [0.0]}, "unknown regulariser 'l3'"),
        ({"l1": [-1.0]}, "must be 0 or more"),
    ],
)
def test_strengths_that_make_no_sweep(strengths: dict, said: str) -> None:
    with pytest.raises(dg.UserError, match=said):
        dg.train_strengths(TASK, NETWORK, TRAINING, strengths=strengths, seeds=[0, 1], progress=False)


def test_where_no_network_converges_python_says_what_the_command_line_says(caplog: pytest.LogCaptureFixture) -> None:
    training = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=4)
    for threshold, said in ((1e-9, True), (100.0, False)):
        caplog.clear()
        task = dg.tasks.FlipFlop(channels=1, n_steps=6, threshold=threshold)
        dg.train(task, dg.Network(hidden_size=4), training, seeds=range(2), jobs=1, progress=False)
        found = [record.getMessage() for record in caplog.records if "no network converged" in record.getMessage()]
        assert len(found) == said
    assert "training.max_epochs" in ADVICE
