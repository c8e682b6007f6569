"""Tasks from environments in neurogym's form: their own trials, seeded, of unequal length, with their own loss."""

import sys
from types import SimpleNamespace
from typing import Any

import fake_environments
import numpy as np
import pytest
import torch

import degeneracy as dg
from degeneracy.core.streams import Streams
from degeneracy.tasks import CROSS_ENTROPY, MSE, from_environment

CHOOSE = "fake_environments:Choose"


def task(**options: Any) -> Any:
    return from_environment(CHOOSE, threshold=0.3, **options)


def test_trials_are_the_environment_s() -> None:
    made = task()
    trials = made.sample(Streams([3], "data"), 6)
    seed = int(Streams([3], "data").integers((1,), 0, 2**31 - 1))
    environment = fake_environments.Choose()
    environment.seed(seed)
    for k in range(6):
        environment.new_trial()
        n = len(environment.ob)
        np.testing.assert_array_equal(trials.inputs[0, k, :n], environment.ob)
        np.testing.assert_array_equal(trials.targets[0, k, :n].argmax(-1), environment.gt)
        assert trials.valid[0, k].sum() == n
        assert not trials.inputs[0, k, n:].any()
        np.testing.assert_array_equal(trials.scored[0, k, :n], environment.gt > 0)
        assert trials.loss_weights[0, k].sum() == n
    assert made.n_steps == 10  # a quarter more than 8
    assert (made.input_size, made.output_size, made.loss) == (2, 3, CROSS_ENTROPY)


def test_a_member_is_its_seed() -> None:
    together, alone = (task().sample(Streams(seeds, "data"), 5) for seeds in ((4, 9), (9,)))
    assert torch.equal(together.inputs[1], alone.inputs[0])
    assert not torch.equal(together.inputs[0], together.inputs[1])


def test_the_checks_of_tasks_hold() -> None:
    held = {"fixation": (1.0, 0.0)}
    dg.checks.check_task(task(variants={"louder": {"noise": 2.0}}, held_inputs=held))
    calm = {"variants": {"calm": {"noise": 0.1}}, "rest_input": (1.0, 0.0)}
    dg.checks.check_task(from_environment(fake_environments.Follow, threshold=0.2, **calm))


def test_chance_is_what_the_best_constant_scores() -> None:
    """Of trials of 5 to 8 steps (mean 6.33) the last calls for one of two actions, equally often."""
    share = 6 / 38
    expected = -(share * np.log(share / 2) + (1 - share) * np.log(1 - share))
    assert task().chance_loss() == pytest.approx(expected, rel=0.03)  # of 512 trials


def test_states_are_recorded_on_trials_of_the_commonest_length() -> None:
    trials = task().probe(Streams([0], "probe"), 20)
    assert trials.inputs.shape == (1, 20, 6, 2)
    assert trials.valid.all()


def test_decisions_may_count_more() -> None:
    trials = task(decision_weight=5.0).sample(Streams([0], "data"), 4)
    assert torch.equal(trials.loss_weights[trials.scored], torch.full((4,), 5.0))
    assert set(trials.loss_weights[~trials.scored].tolist()) <= {0.0, 1.0}


def test_continuous_actions_have_the_squared_error() -> None:
    made = from_environment(fake_environments.Follow, threshold=0.1, options={"noise": 0.0})
    assert (made.loss, made.output_size) == (MSE, 1)
    trials = made.sample(Streams([0], "data"), 3)
    np.testing.assert_array_equal(trials.targets[..., 0], trials.inputs[..., 1])
    assert trials.scored.equal(trials.valid)


def test_networks_are_trained_and_measured_on_it() -> None:
    held = {"fixation": (1.0, 0.0)}
    made = from_environment(CHOOSE, threshold=0.05, variants={"louder": {"noise": 1.0}}, held_inputs=held)
    training = dg.Training(learning_rate=0.01, batch_size=32, steps_per_epoch=20, max_epochs=40)
    ensemble = dg.train(made, dg.Network(hidden_size=16), training, seeds=range(2), jobs=2, progress=False)
    assert len(ensemble.converged) == 2
    names = ["accuracy", "procrustes", "fixed_points"]
    result = dg.measure(ensemble, made, measures=names, probe=dg.Probe(n_trials=16))
    rows = result.table.set_index(["measure", "variant"])["value"]
    assert rows["accuracy", "in_distribution"] > 0.9
    assert np.isfinite(rows["accuracy", "louder"])
    assert any(name.endswith("fixation") for name in result.fixed_points)


def test_a_study_names_it_and_a_saved_ensemble_finds_it_again(tmp_path: Any) -> None:
    made = task(options={"noise": 0.25})
    training = dg.Training(batch_size=8, steps_per_epoch=2, max_epochs=4)
    ensemble = dg.train(made, dg.Network(hidden_size=4), training, seeds=range(2), jobs=1, progress=False)
    assert dg.Ensemble.load(ensemble.save(tmp_path / "kept")).task == made
    study = dg.Study(
        name="elsewhere",
        seeds=range(2),
        task={
            "name": "degeneracy.tasks.environments:DecisionEnvironment",
            "environment": CHOOSE,
            "threshold": 100.0,
        },
        network={"hidden_size": 4},
        training={"batch_size": 4, "steps_per_epoch": 2, "max_epochs": 4},
        vary={"task.options.noise": [0.1, 1.0]},
        probe={"n_trials": 8},
        measures=["accuracy"],
    )
    found = dg.run_study(study, out=tmp_path / "run", jobs=1, progress=False)
    assert found.factors == ("task.options.noise",)


def test_what_gymnasium_has_made_is_found_by_its_name() -> None:
    environment = fake_environments.Choose()
    environment.spec = SimpleNamespace(id=CHOOSE, kwargs={"noise": 0.25})  # type: ignore[attr-defined]
    made = from_environment(environment, threshold=0.3)
    assert (made.environment, made.options) == (CHOOSE, {"noise": 0.25})
    assert from_environment(fake_environments.choose, threshold=0.3).environment == "fake_environments:choose"


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        ("PerceptualDecisionMaking-v0", {}, "a name that neurogym knows: pip install neurogym, or give module:Name"),
        (fake_environments.Bare, {}, "has no seed, new_trial, action_space; needed is what neurogym's TrialEnv has"),
        (fake_environments.Short, {}, r"what is right at each step, got \(\d, 2\) and \(\d,\)"),
        (fake_environments.Beyond, {}, "right are actions from 0 to 3, and there are 3 from 0 on"),
        (fake_environments.Rewarded, {}, "Rewarded does not say what is right at each step"),
        (CHOOSE, {"options": {"loudness": 1}}, r"cannot be made with {'loudness': 1} \(TypeError"),
        (fake_environments.Choose(), {}, "got Choose; needed is a name, or the class or function"),
        (lambda: fake_environments.Choose(), {}, "got function; needed is a name"),
        (CHOOSE, {"n_steps": 4}, "fit n_steps"),
    ],
)
def test_what_is_no_environment_is_said_in_one_line(
    environment: Any, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "neurogym", None)
    with pytest.raises(dg.UserError, match=message) as caught:
        from_environment(environment, threshold=0.3, **options).sample(Streams([0], "data"), 2)
    assert "\n" not in str(caught.value)
