"""Each claim that a task makes, walked through for every task of the table; and each claim fails on a task broken
in just that way."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from degeneracy.streams import Streams
from degeneracy.tasks import TASKS, Task, Trials, Variant, mean_squared_error, trial_errors
from degeneracy.training import Training

HARDER: dict[str, dict[str, object]] = {
    "flip_flop": {"channels": 5, "switch_probability": 0.05, "n_steps": 37},
    "delayed_discrimination": {"channels": 3, "auxiliary": True, "input_scale": 0.1, "n_steps": 90},
    "sine_wave": {"channels": 4, "frequency_max": 12.0, "input_scale": 0.5},
    "path_integration": {"dimensions": 3, "side": 4.0, "v_max": 1.0},
    "lorenz96": {"dimensions": 5, "forcing": 10.0, "dt": 0.02, "n_steps": 30},
}
PROBLEMS = [pytest.param(kind(), id=name) for name, kind in TASKS.items()] + [
    pytest.param(TASKS[name](**fields), id=f"{name}-harder") for name, fields in HARDER.items()
]


def data(*seeds: int) -> Streams:
    return Streams(seeds, "data")


def same(a: Trials, b: Trials) -> bool:
    return (
        torch.equal(a.inputs, b.inputs)
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.scored, b.scored)
    )


def claims_form(task: Task) -> None:
    """Shapes, masks and labels."""
    trials = task.sample(data(0, 1), 5)
    assert trials.inputs.shape == (2, 5, task.n_steps, task.input_size)
    assert trials.targets.shape == (2, 5, task.n_steps, task.output_size)
    assert trials.inputs.dtype == trials.targets.dtype == torch.float32
    assert trials.loss_weights.shape == trials.valid.shape == trials.scored.shape == (2, 5, task.n_steps)
    assert trials.valid.dtype == trials.scored.dtype == torch.bool
    assert trials.inputs.isfinite().all()
    assert trials.targets.isfinite().all()
    assert (trials.loss_weights >= 0).all()
    assert (trials.loss_weights[~trials.valid] == 0).all()
    assert not (trials.scored & ~trials.valid).any()
    assert trials.scored.any(-1).all(), "a trial without a scored step has no error"
    assert len(set(task.input_names)) == task.input_size
    assert len(set(task.output_names)) == task.output_size
    # Nothing written to the inputs may reach the targets.
    assert trials.inputs.data_ptr() != trials.targets.data_ptr()
    assert trials.inputs.is_contiguous()
    assert trials.targets.is_contiguous()


def claims_solver(task: Task) -> None:
    """The ideal solver scores what the task says, in training loss and on each trial's scored steps."""
    trials = task.sample(data(0, 1), 64)
    outputs = task.solve(trials.inputs)
    # 1e-8 is float32 rounding: (1e-7 of a value of 10, added up over 100 steps)^2.
    assert mean_squared_error(outputs, trials).max() <= task.ideal_loss() + 1e-8
    assert trial_errors(outputs, trials).mean() <= task.ideal_loss() + 1e-8


def claims_causal(task: Task) -> None:
    """Later inputs do not change earlier outputs; all inputs together do."""
    inputs = task.sample(data(0), 32).inputs
    others = task.sample(data(1), 32).inputs
    outputs = task.solve(inputs)
    for t in (1, task.n_steps // 3, task.n_steps - 1):
        changed = torch.cat([inputs[:, :, :t], others[:, :, t:]], 2)
        assert torch.equal(task.solve(changed)[:, :, :t], outputs[:, :, :t])
        assert torch.equal(task.solve(inputs[:, :, :t]), outputs[:, :, :t])
    assert not torch.equal(task.solve(others), outputs)


def claims_chance(task: Task) -> None:
    """The chance level is what the best constant output scores."""
    trials = task.sample(data(2), 4000)
    weights = trials.loss_weights.unsqueeze(-1)
    constant = (trials.targets * weights).sum((0, 1, 2)) / weights.sum()
    empirical = mean_squared_error(constant.expand_as(trials.targets), trials).item()
    # 4000 trials of at least 2 independent numbers each: 1/sqrt(8000) = 1.1% for one sd, so 3% is nearly 3 of them.
    assert empirical == pytest.approx(task.chance_loss(), rel=0.03)
    assert task.ideal_loss() < task.threshold < task.chance_loss() / 5


def claims_member_streams(task: Task) -> None:
    """A member is its seed: the same trials alone and among others; another seed or another draw, other trials."""
    together = data(4, 7, 9)
    first, second = task.sample(together, 6), task.sample(together, 6)
    alone = data(7)
    for batch in (first, second):
        own = task.sample(alone, 6)
        assert torch.equal(own.inputs[0], batch.inputs[1])
        assert torch.equal(own.targets[0], batch.targets[1])
        assert torch.equal(own.scored[0], batch.scored[1])
    assert not torch.equal(first.inputs[0], first.inputs[1])
    assert not torch.equal(first.inputs, second.inputs)
    for name, variant in task.variants().items():
        among, own = variant.sample(data(4, 7, 9), 6), variant.sample(data(7), 6)
        assert torch.equal(own.inputs[0], among.inputs[1]), name
        assert torch.equal(own.targets[0], among.targets[1]), name


def claims_no_global_randomness(task: Task) -> None:
    """Neither reads nor moves torch's and numpy's global generators."""
    samplers = [task.sample, *(variant.sample for variant in task.variants().values())]
    for sampler in samplers:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 - the global generator is what is tested
        torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        trials = sampler(data(3), 4)
        task.chance_loss()
        assert torch.equal(torch.get_rng_state(), torch_before)
        assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
        torch.manual_seed(2)
        assert same(sampler(data(3), 4), trials)


def claims_device(task: Task) -> None:
    """Everything is made on the streams' device: with another default device, a forgotten one shows."""
    samplers = [task.sample, *(variant.sample for variant in task.variants().values())]
    expected = [sampler(data(3), 4) for sampler in samplers]
    torch.set_default_device("meta")
    try:
        found = [sampler(data(3), 4) for sampler in samplers]
        outputs = [task.solve(trials.inputs) for trials in found]
        task.chance_loss()
    finally:
        torch.set_default_device("cpu")
    for trials, wanted, output in zip(found, expected, outputs, strict=True):
        for field in (*vars(trials).values(), output):
            assert field.device == torch.device("cpu")
        assert same(trials, wanted)


def claims_variants(task: Task) -> None:
    """Each variant is well formed, says its size, and is not the training distribution."""
    variants = task.variants()
    assert {"input_noise", "amplitude"} < set(variants)
    assert len({"length_2x", "delay_2x"} & set(variants)) == 1
    trained = task.sample(data(5), 200)
    for name, variant in variants.items():
        trials = variant.sample(data(5), 200)
        assert re.search(r"\d", variant.description), "the size"
        assert re.search("target|rule|wave", variant.description), "what holds for the targets"
        assert trials.inputs.shape[-1] == task.input_size, name
        assert trials.targets.shape[-1] == task.output_size, name
        assert trials.scored.any(-1).all(), name
        assert trials.inputs.isfinite().all(), name
        assert trials.targets.isfinite().all(), name
        assert not (
            trials.inputs.shape == trained.inputs.shape and torch.equal(trials.inputs, trained.inputs)
        ), name
    if "length_2x" in variants:
        assert variants["length_2x"].sample(data(5), 2).inputs.shape[2] == 2 * task.n_steps


def claims_description(task: Task) -> None:
    """Citation, complexity knobs that do something, recipe, units."""
    assert TASKS[task.name].name == task.name
    assert task.summary
    assert re.search(r"\((19|20)\d\d\)", task.citation)
    assert task.complexity
    assert set(task.complexity) < set(type(task).model_fields)
    assert 0 < task.recipe["learning_rate"] < 1
    assert task.recipe["batch_size"] >= 1
    assert task.recipe["max_epochs"] >= 1
    assert task.step_size > 0
    assert task.step_unit
    assert type(task)(**dict(task)) == task


CLAIMS: dict[str, Callable[[Task], None]] = {
    "form": claims_form,
    "solver": claims_solver,
    "causal": claims_causal,
    "chance": claims_chance,
    "member_streams": claims_member_streams,
    "no_global_randomness": claims_no_global_randomness,
    "device": claims_device,
    "variants": claims_variants,
    "description": claims_description,
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("task", PROBLEMS)
def test_task_keeps_its_claims(task: Task, claim: str) -> None:
    CLAIMS[claim](task)


@pytest.mark.parametrize("task", PROBLEMS)
def test_complexity_knobs_change_the_trials(task: Task) -> None:
    smaller = {
        "switch_probability": 0.02,
        "dimensions": 2 if task.name == "path_integration" else 4,
        "dt": 0.01,
    }
    for knob in task.complexity:
        value = getattr(task, knob)
        if isinstance(value, bool):
            changed = task.replace(**{knob: not value})
        elif knob in smaller and smaller[knob] != value:
            changed = task.replace(**{knob: smaller[knob]})
        else:
            changed = task.replace(**{knob: value + 1})
        a, b = task.sample(data(0), 20), changed.sample(data(0), 20)
        assert a.inputs.shape != b.inputs.shape or a.targets.shape != b.targets.shape or not same(a, b), knob


@pytest.mark.parametrize("kind", TASKS.values(), ids=TASKS)
def test_recipe_is_a_training(kind: type[Task]) -> None:
    training = Training().for_task(kind())
    assert training.learning_rate == kind.recipe["learning_rate"]
    assert training.max_epochs == kind.recipe["max_epochs"]


# --- Broken tasks: each claim must catch the mistake named beside it. -----------------------------------------------


def late_targets(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            trials = super().sample(streams, n_trials)
            return trials.replace(targets=trials.targets.roll(1, dims=2))

    return Broken


def foresight(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def solve(self, inputs: Tensor) -> Tensor:
            return super().solve(inputs) + inputs[:, :, -1:].mean(-1, keepdim=True)

    return Broken


def wrong_chance(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def chance_loss(self) -> float:
            return 0.9 * super().chance_loss()

    return Broken


def shared_stream(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            return super().sample(streams.select([0] * len(streams)), n_trials)

    return Broken


def no_seed(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            trials = super().sample(streams, n_trials)
            return trials.replace(
                inputs=trials.inputs + 1e-3 * torch.rand((*trials.inputs.shape[:1], 1, 1, 1))
            )

    return Broken


def numpy_global(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            np.random.random()  # noqa: NPY002 - the mistake
            return super().sample(streams, n_trials)

    return Broken


def frozen_trials(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            return super().sample(Streams(streams.seeds, "data"), n_trials)

    return Broken


def default_device(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            trials = super().sample(streams, n_trials)
            return trials.replace(loss_weights=torch.ones(trials.inputs.shape[:3]))

    return Broken


def scored_padding(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            trials = super().sample(streams, n_trials)
            valid = trials.valid.clone()
            valid[:, :, -1] = False
            return trials.replace(valid=valid)

    return Broken


def unchanged_variant(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def variants(self) -> dict[str, Variant]:
            still = Variant(description="inputs times 1; targets as trained", sample=self.sample)
            return {**super().variants(), "amplitude": still}

    return Broken


def no_year(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        citation = "somebody"

    return Broken


MISTAKES = [
    (late_targets, "solver"),
    (foresight, "causal"),
    (wrong_chance, "chance"),
    (shared_stream, "member_streams"),
    (frozen_trials, "member_streams"),
    (no_seed, "no_global_randomness"),
    (numpy_global, "no_global_randomness"),
    (default_device, "device"),
    (scored_padding, "form"),
    (unchanged_variant, "variants"),
    (no_year, "description"),
]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("mistake", "claim"), MISTAKES, ids=lambda x: getattr(x, "__name__", x))
def test_broken_task_is_caught(name: str, mistake: Callable[[type[Task]], type[Task]], claim: str) -> None:
    with pytest.raises(AssertionError):
        CLAIMS[claim](mistake(TASKS[name])())
