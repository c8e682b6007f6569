"""Training that stops by decisions: a task whose loss says little of who has learned, and one that has no decisions."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import forward
from degeneracy.tasks import wrong_decisions
from degeneracy.tasks.losses import BCE, MSE, Judged, Loss
from degeneracy.tasks.trials import Trials
from degeneracy.training import train_stack


class FirstSign(dg.Task):
    """Hold the sign of the first input; only the last step is scored."""

    name: ClassVar[str] = "first_sign"
    summary: ClassVar[str] = "hold a sign"
    citation: ClassVar[str] = "this test"
    difficulty_fields: ClassVar[tuple[str, ...]] = ()
    training_defaults: ClassVar[Mapping[str, Any]] = {}
    loss: ClassVar[Loss] = BCE
    stop: ClassVar[Literal["loss", "wrong"]] = "wrong"

    n_steps: int = 6
    threshold: float = 0.05

    @property
    def input_size(self) -> int:
        return 1

    @property
    def output_size(self) -> int:
        return 1

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        inputs = streams.normal((n_trials, self.n_steps, 1))
        targets = (inputs[:, :, :1] > 0).to(inputs.dtype).expand(-1, -1, self.n_steps, -1)
        last = torch.zeros(inputs.shape[:3], dtype=torch.bool)
        last[..., -1] = True
        trials = Trials.of(inputs, targets.contiguous(), scored=last)
        return trials.replace(loss_weights=last.to(inputs.dtype))

    def solve(self, inputs: Tensor) -> Tensor:
        return 100 * inputs[:, :, :1].expand(-1, -1, self.n_steps, -1).sign()

    def chance_loss(self) -> float:
        return float(np.log(2))

    def variants(self) -> Mapping[str, dg.Variant]:
        return {}


class WholeTrials(FirstSign):
    name: ClassVar[str] = "whole_trials"
    judged: ClassVar[Judged] = "trial"


TRAINING = dg.Training(batch_size=64, steps_per_epoch=20, max_epochs=60, patience=1, learning_rate=0.01)


@pytest.mark.parametrize("backend", ["autograd", "bptt", "compiled"])
@pytest.mark.parametrize("kind", [FirstSign, WholeTrials])
def test_members_stop_when_they_decide_well_and_not_before(kind: type[dg.Task], backend: str) -> None:
    members = train_stack(kind(), dg.Network(hidden_size=12), TRAINING, [0, 1], backend=backend)
    for member in members:
        wrong, loss = member.history.epoch_wrong, member.history.epoch_loss
        assert member.status == "converged"
        assert len(wrong) == len(loss)
        assert (wrong[-2:] < 0.05).all()
        before = wrong[:-1] < 0.05
        assert not (before[1:] & before[:-1]).any(), "two epochs under the goal would have ended it"
        assert loss[-1] > 0.05, "by the loss it would have gone on"
    first, second = (member.history.epoch_wrong for member in members)
    assert not np.array_equal(first, second)


def test_backends_count_the_same_decisions() -> None:
    brief = TRAINING.replace(max_epochs=2)
    counts = [
        train_stack(FirstSign(), dg.Network(hidden_size=12), brief, [3], backend=backend)[0].history.epoch_wrong
        for backend in ("autograd", "bptt", "compiled")
    ]
    # One of 64 trials of one of 20 updates may be decided by rounding.
    np.testing.assert_allclose(counts[1:], [counts[0]] * 2, rtol=0, atol=2 / (64 * 20))


def test_a_task_without_decisions_has_none_in_its_history() -> None:
    task = dg.tasks.FlipFlop(channels=1, n_steps=6)
    (member,) = train_stack(task, dg.Network(hidden_size=4), TRAINING.replace(max_epochs=2), [0])
    assert len(member.history.epoch_wrong) == 0


def test_decisions_of_outputs_that_are_none_are_no_stop_rule() -> None:
    with pytest.raises(UserError, match="Odd: stop = 'wrong' needs decisions, and outputs of the loss 'mse' are none"):

        class Odd(FirstSign):
            loss: ClassVar[Loss] = MSE


SMALL = {
    "streaming_parity": ({"n_steps": 10}, dg.Training(batch_size=64, steps_per_epoch=25, max_epochs=80)),
    "perceptual_decision": (
        {"n_steps": 20, "fixation_steps": 2, "stimulus_min": 5, "stimulus_max": 10, "noise": 0.2},
        dg.Training(batch_size=64, steps_per_epoch=25, max_epochs=80, learning_rate=0.01),
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_networks_learn_the_tasks_that_are_judged_by_decisions(name: str) -> None:
    fields, training = SMALL[name]
    task = dg.tasks.TASKS[name](**fields)
    members = train_stack(task, dg.Network(hidden_size=24), training.for_task(task), [0, 1])
    trials = task.sample(Streams([7], "data"), 500)
    for member in members:
        assert member.status == "converged"
        assert (member.history.epoch_wrong[-4:] < task.goal()).all()
        # On fresh trials it errs less than half as often as by chance; that it is near the goal, epochs of 1600 trials
        # have said.
        params = {key: value.unsqueeze(0) for key, value in member.final.items()}
        _, outputs = forward(dg.Network(hidden_size=24).build_cell(), params, trials.inputs, {})
        assert wrong_decisions(task.loss, task.judged, outputs, trials).mean() < 0.25
