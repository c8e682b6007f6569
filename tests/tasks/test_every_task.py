"""Each claim that a task makes, walked through for every task of the table; and each claim fails on a task broken
in just that way."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from degeneracy.checks import TASK_CLAIMS, check_task
from degeneracy.core.streams import Streams
from degeneracy.tasks import TASKS, Task, Trials, Variant
from degeneracy.training import Training

HARDER: dict[str, dict[str, object]] = {
    "flip_flop": {"channels": 5, "switch_probability": 0.05, "n_steps": 37},
    "delayed_discrimination": {"channels": 3, "auxiliary": True, "input_scale": 0.1, "n_steps": 90},
    "sine_wave": {"channels": 4, "frequency_max": 12.0, "input_scale": 0.5},
    "path_integration": {"dimensions": 3, "side": 4.0, "v_max": 1.0},
    "lorenz96": {"dimensions": 5, "forcing": 10.0, "dt": 0.02, "n_steps": 30},
    "perceptual_decision": {"coherence_max": 0.3, "n_coherences": 6, "noise": 0.5, "n_steps": 60},
    "streaming_parity": {"n_steps": 37},
    "delayed_cue": {"delay_steps": 40},
}
# Of tokens, whose inputs are no more or less of anything, lengths and regular strings are varied.
OF_TOKENS = {"streaming_parity": {"length_5x", "length_50x", "constant_runs"}}
PROBLEMS = [pytest.param(kind(), id=name) for name, kind in TASKS.items()] + [
    pytest.param(TASKS[name](**fields), id=f"{name}-harder") for name, fields in HARDER.items()
]


def data(*seeds: int) -> Streams:
    return Streams(seeds, "data")


def same(a: Trials, b: Trials) -> bool:
    return torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)


def claims_built_in_variants(task: Task) -> None:
    """The variants every built-in task has, each with its size and its target rule."""
    variants = task.variants()
    if task.name in OF_TOKENS:
        assert set(variants) == OF_TOKENS[task.name]
    else:
        assert {"input_noise", "amplitude"} < set(variants)
        assert len({"length_2x", "delay_2x"} & set(variants)) == 1
    for variant in variants.values():
        assert re.search(r"\d", variant.description), "the size"
        assert re.search("target|rule|wave", variant.description), "what holds for the targets"
    if "length_2x" in variants:
        assert variants["length_2x"].sample(data(5), 2).inputs.shape[2] == 2 * task.n_steps


def claims_description(task: Task) -> None:
    """Citation, difficulty fields that do something, training defaults, units."""
    assert TASKS[task.name].name == task.name
    assert task.summary
    assert re.search(r"\((19|20)\d\d\)", task.citation)
    assert task.difficulty_fields
    assert set(task.difficulty_fields) < set(type(task).model_fields)
    assert 0 < task.training_defaults["learning_rate"] < 1
    assert task.training_defaults["batch_size"] >= 1
    assert task.training_defaults["max_epochs"] >= 1
    assert task.step_size > 0
    assert task.step_unit
    assert type(task)(**dict(task)) == task


CLAIMS: dict[str, Callable[[Task], None]] = {
    **TASK_CLAIMS,
    "built_in_variants": claims_built_in_variants,
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
    for knob in task.difficulty_fields:
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
def test_training_defaults_are_a_training(kind: type[Task]) -> None:
    training = Training().for_task(kind())
    assert training.learning_rate == kind.training_defaults["learning_rate"]
    assert training.max_epochs == kind.training_defaults["max_epochs"]


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
            return super().solve(inputs) + inputs[..., :1].mean(2, keepdim=True)

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
            return trials.replace(inputs=trials.inputs + 1e-3 * torch.rand((*trials.inputs.shape[:1], 1, 1, 1)))

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


def ragged_probe(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def probe(self, streams: Streams, n_trials: int) -> Trials:
            trials = super().probe(streams, n_trials)
            valid = trials.valid.clone()
            valid[:, 0, -1] = False
            return trials.replace(valid=valid)

    return Broken


def another_rest(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def held_inputs(self) -> dict[str, tuple[float, ...]]:
            return {"none": (1.0,) * self.input_size}

    return Broken


def short_input(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def held_inputs(self) -> dict[str, tuple[float, ...]]:
            return {"half": (1.0,) * (self.input_size - 1)}

    return Broken


def short_pulse(kind: type[Task]) -> type[Task]:
    class Broken(kind):  # type: ignore[misc, valid-type]
        def pulses(self) -> list[tuple[float, ...]]:
            return [(1.0,) * (self.input_size + 1)]

    return Broken


MISTAKES = [
    (short_pulse, "probing"),
    (ragged_probe, "probing"),
    (another_rest, "probing"),
    (short_input, "probing"),
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


def test_every_task_of_the_package_has_its_ideal_solver() -> None:
    for kind in TASKS.values():
        task = kind()
        assert task.solve(task.sample(Streams([0], "data"), 2).inputs) is not None


def test_a_task_of_one_s_own_needs_no_solver() -> None:
    class Unsolved(TASKS["flip_flop"]):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            solved = TASKS["flip_flop"](**self.model_dump())
            return solved.sample(streams, n_trials)

        solve = Task.solve

    check_task(Unsolved())


def test_a_forgotten_device_is_said_in_one_line() -> None:
    class Forgetful(TASKS["flip_flop"]):  # type: ignore[misc, valid-type]
        def sample(self, streams: Streams, n_trials: int) -> Trials:
            trials = super().sample(streams, n_trials)
            return trials.replace(inputs=trials.inputs * torch.ones(self.n_steps, 1))

    with pytest.raises(AssertionError, match=r"made on the streams' device \(device=streams\.device\)") as caught:
        CLAIMS["device"](Forgetful())
    assert "\n" not in str(caught.value)
