"""Accuracy, its spread and its noise, and disagreement: by hand, against simulated deciders, and as measured."""

from typing import Any

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.analysis import MEASURES, Recording, Variant
from degeneracy.analysis.behavior.accuracy import accuracies, logit_noise_sd, logits
from degeneracy.analysis.behavior.decision_disagreement import (
    disagreements,
    independent_disagreements,
    own_disagreements,
)
from degeneracy.analysis.statistics import jackknife
from degeneracy.core.errors import UserError
from degeneracy.measuring.measure import build_measures, measures_of

MEASURES_OF_DECISIONS = ("accuracy", "accuracy_logit_sd", "decision_disagreement")


def deciders(p: float, *, n_members: int = 12, n_trials: int = 400, seed: int = 0) -> np.ndarray:
    """Whether members that err at a share p err in each trial, independently of one another, (member, trial)."""
    return (np.random.default_rng(seed).random((n_members, n_trials)) < p).astype(float)


# --- Accuracy ----------------------------------------------------------------------------------------------------


def test_accuracies_and_logits_worked_by_hand() -> None:
    wrong = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0.5, 0, 0, 0.5]])
    assert accuracies(wrong).tolist() == [0.75, 1.0, 0.0, 0.75]
    # (k + 1/2)/(n - k + 1/2) with n = 4: 3.5/1.5, 4.5/.5, .5/4.5; two half trials are as good as one.
    expected = np.log([3.5 / 1.5, 9.0, 1 / 9.0, 3.5 / 1.5])
    np.testing.assert_allclose(logits(wrong), expected, rtol=1e-14)


@pytest.mark.parametrize("wrong", [np.ones(3), np.ones((0, 3)), -np.ones((2, 2)), 2 * np.ones((2, 2))])
def test_what_is_no_share_per_trial_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"^wrong: "):
        accuracies(wrong)


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_the_floor_of_independent_equal_deciders_is_binomial_and_is_the_spread(p: float) -> None:
    binomial = 1 / np.sqrt(400 * p * (1 - p))  # sd of a logit: sqrt(p (1 - p) / n) / (p (1 - p))
    draws = [deciders(p, seed=seed) for seed in range(60)]
    floor = np.mean([logit_noise_sd(w).value for w in draws])
    spread = np.sqrt(np.mean([jackknife.member_sd(logits(w)).value ** 2 for w in draws]))
    # A sample variance of 11 degrees of freedom has a relative sd of sqrt(2/11) = .43, of 60 draws .055, its root
    # half of that: .03 with 3 of them .09; 20 wrong trials bend the logit by up to another .03.
    assert floor == pytest.approx(binomial, rel=0.05)
    assert spread == pytest.approx(floor, rel=0.12)


def test_trials_that_are_hard_for_all_make_no_floor() -> None:
    """Members that err on the same trials are equal, however few the trials; the binomial formula would not see it."""
    same = np.repeat(deciders(0.3, n_members=1), 5, axis=0)
    assert logit_noise_sd(same).value == pytest.approx(0, abs=1e-12)
    assert jackknife.member_sd(logits(same)).value == 0
    mixed = np.concatenate([same[:, :200], deciders(0.3, n_members=5, n_trials=200, seed=1)], axis=1)
    # Half of the trials carry all of the noise: its variance is half of that of independent deciders.
    binomial = 1 / np.sqrt(400 * 0.3 * 0.7)
    assert logit_noise_sd(mixed).value == pytest.approx(binomial / np.sqrt(2), rel=0.15)


def test_leaving_a_member_out_of_the_floor_is_taking_it_without() -> None:
    wrong = deciders(0.2, n_members=5, n_trials=40)
    floor = logit_noise_sd(wrong)
    for k in range(5):
        assert floor.leave_one_out[k] == logit_noise_sd(np.delete(wrong, k, axis=0)).value
    assert np.isnan(logit_noise_sd(wrong[:2]).leave_one_out).all()


def test_members_of_other_accuracies_stand_above_the_floor() -> None:
    planted = np.concatenate([deciders(p, n_members=6, seed=k) for k, p in enumerate((0.05, 0.4))])
    value, floor = jackknife.member_sd(logits(planted)).value, logit_noise_sd(planted).value
    # The logits of .95 and .6 are 2.94 and .41: an sd of (2.94 - .41)/2 sqrt(12/11) = 1.32.
    assert value == pytest.approx(1.32, rel=0.1)
    assert floor < 0.15 * value


# --- Disagreement ------------------------------------------------------------------------------------------------


def steps(*rows: str) -> np.ndarray:
    """Decisions written as one line of 0 and 1 per member, "1001 10": trials of several steps, one output."""
    return np.array([[[int(x) for x in trial] for trial in row.split()] for row in rows], dtype=bool)[..., None]


def test_disagreement_worked_by_hand() -> None:
    decisions = steps("1100 1111", "1100 1111", "1010 0000")
    scored = np.array([[1, 1, 1, 1], [0, 0, 1, 1]], dtype=bool)
    # The first and third differ at 2 of 4 steps of trial 1 and at both scored ones of trial 2: (1/2 + 1)/2.
    np.testing.assert_array_equal(disagreements(decisions, scored), [[0, 0, 0.75], [0, 0, 0.75], [0.75, 0.75, 0]])
    np.testing.assert_array_equal(own_disagreements(decisions[:2], decisions[1:], scored), [0, 0.75])


def test_of_several_outputs_those_that_are_scored_count() -> None:
    decisions = np.zeros((2, 1, 2, 10), dtype=bool)
    decisions[1, 0, 0, [2, 9]] = True
    everywhere = np.ones((1, 2), dtype=bool)
    assert disagreements(decisions, everywhere)[0, 1] == 0.5, "one of two steps, however many outputs differ in it"
    mask = np.ones((1, 2, 10), dtype=bool)
    mask[..., [2, 9]] = False
    assert disagreements(decisions, mask)[0, 1] == 0
    mask[0, 0, 9] = True
    assert disagreements(decisions, mask)[0, 1] == 0.5


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_independent_deciders_disagree_at_2p_1_minus_p_and_so_says_the_reference(p: float) -> None:
    rng = np.random.default_rng(1)
    right = rng.random((1, 4000, 1, 1)) < 0.5
    wrong = deciders(p, n_members=8, n_trials=4000)[:, :, None, None] > 0
    decisions, scored = right ^ wrong, np.ones((4000, 1), dtype=bool)
    value = jackknife.pair_mean(disagreements(decisions, scored)).value
    reference = jackknife.pair_mean(independent_disagreements(decisions, right[0], scored)).value
    # One pair has an sd of sqrt(d (1 - d) / 4000) < .008; their mean over 28 pairs less than a third of it; 4 of them.
    assert value == pytest.approx(2 * p * (1 - p), abs=0.011)
    assert reference == pytest.approx(2 * p * (1 - p), abs=0.011)


def test_members_that_err_on_the_same_trials_are_below_the_reference() -> None:
    right = np.random.default_rng(2).random((1, 2000, 1, 1)) < 0.5
    wrong = np.repeat(deciders(0.3, n_members=1, n_trials=2000), 4, axis=0)[:, :, None, None] > 0
    decisions, scored = right ^ wrong, np.ones((2000, 1), dtype=bool)
    assert disagreements(decisions, scored).max() == 0
    # sd of the share of wrong ones sqrt(.21/2000) = .01, of 2 p (1 - p) .8 times as much; 4 of them.
    assert independent_disagreements(decisions, right[0], scored).mean() == pytest.approx(0.42, abs=0.033)


def test_the_reference_tells_three_answers_apart() -> None:
    """Of three answers both members may be wrong and still differ: by brute force over all pairs of steps."""
    rng = np.random.default_rng(3)
    answers = rng.integers(0, 3, (2, 30))
    right = rng.integers(0, 2, 30)
    one_hot, called_for = np.eye(3, dtype=bool)[answers][:, :, None], np.eye(3, dtype=bool)[right][:, None]
    found = independent_disagreements(one_hot, called_for, np.ones((30, 1), dtype=bool))[0, 1]
    differ = [(answers[0][right == c][:, None] != answers[1][right == c]).mean() * (right == c).mean() for c in (0, 1)]
    assert found == pytest.approx(sum(differ), abs=1e-12)


def test_the_reference_of_members_that_are_always_right_is_exactly_0() -> None:
    """Whatever the numbers of scored steps, whose weights round; a reference of 1e-15 would calibrate."""
    right = np.random.default_rng(6).random((97, 13, 1)) < 0.5
    scored = np.random.default_rng(7).random((97, 13)) < 0.4
    scored[:, 0] = True
    assert not independent_disagreements(np.stack([right] * 3), right, scored).any()


def test_triangles_hold_and_copies_are_at_0() -> None:
    decisions = np.random.default_rng(4).random((6, 20, 7, 3)) < 0.5
    decisions[5] = decisions[0]
    scored = np.random.default_rng(5).random((20, 7, 3)) < 0.6
    d = disagreements(decisions, scored)
    assert d[0, 5] == 0
    assert (d <= (d[:, :, None] + d[None]).min(1) + 1e-12).all()


@pytest.mark.parametrize(
    ("scored", "said"),
    [(np.ones((2, 3), bool), "does not fit"), (np.array([[1, 1], [0, 0]], bool), "trial 1 has no scored step")],
)
def test_masks_that_do_not_fit_are_refused(scored: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said):
        disagreements(np.zeros((2, 2, 2, 1), dtype=bool), scored)


# --- As measured -------------------------------------------------------------------------------------------------


def measured(task: dg.Task, names: Any = MEASURES_OF_DECISIONS, **fields: Any) -> Any:
    training = dg.Training(batch_size=8, steps_per_epoch=4, max_epochs=1, patience=0, learning_rate=0.01)
    network = dg.Network(hidden_size=8, **fields)
    ensemble = dg.train(task, network, training, seeds=range(4), jobs=1, progress=False)
    return dg.measure(ensemble, task, measures=names, probe=dg.Probe(n_trials=12))


@pytest.fixture(scope="module")
def parity() -> Any:
    return measured(dg.tasks.StreamingParity(n_steps=6, threshold=1.0))


def test_rows_of_a_task_with_decisions(parity: Any) -> None:
    task = dg.tasks.StreamingParity(n_steps=6)
    of_task = ["in_distribution", *task.variants()]
    for name in ("accuracy", "accuracy_logit_sd"):
        assert [f.variant for f in parity.measured[name].findings] == [*of_task, "state_kick", "lesion"]
    # Kicks and lesions are another one in each network's units: decisions are not compared there.
    assert [f.variant for f in parity.measured["decision_disagreement"].findings] == of_task
    for finding in parity.measured["accuracy"].findings:
        assert 0 < finding.value.value < 1
    for finding in parity.measured["decision_disagreement"].findings:
        assert finding.floor.value == 0
        assert 0 < finding.reference.value < 1
    table = parity.table
    assert np.isfinite(table.loc[table["variant"] == "in_distribution", "ci_low"]).all()


def test_accuracies_and_disagreements_are_those_of_the_outputs() -> None:
    task = dg.tasks.StreamingParity(n_steps=6, threshold=1.0)
    training = dg.Training(batch_size=8, steps_per_epoch=4, max_epochs=1, patience=0)
    ensemble = dg.train(task, dg.Network(hidden_size=8), training, seeds=range(3), jobs=1, progress=False)
    probe = dg.Probe(n_trials=12)
    result = dg.measure(ensemble, task, measures=MEASURES_OF_DECISIONS, probe=probe)
    samples = {"in_distribution": task.sample, **{name: each.sample for name, each in task.variants().items()}}
    for name, sample in samples.items():  # of which those much longer than the trained ones are run a few at a time
        trials = sample(dg.Streams([probe.seed], "probe"), 12)
        _, outputs = ensemble.rollout(trials.inputs[0])
        scored = trials.scored[0, 0].numpy()  # the same steps of each trial
        said_odd = outputs[:, :, scored, 0] > 0
        is_odd = trials.targets[0, :, scored, 0].numpy() == 1
        each = result.measured["accuracy"].arrays[f"accuracy/{name}"]
        np.testing.assert_allclose(each, (said_odd == is_odd).mean((1, 2)), atol=1e-12)
        apart = result.distances[f"decision_disagreement/{name}"]
        np.testing.assert_allclose(apart[0, 2], (said_odd[0] != said_odd[2]).mean(), atol=1e-12)


def test_noise_makes_a_floor_of_disagreement() -> None:
    noisy = measured(dg.tasks.StreamingParity(n_steps=6, threshold=1.0), sigma_rec=0.2)
    floor = noisy.measured["decision_disagreement"].findings[0].floor
    assert 0 < floor.value < 0.5


def test_tasks_without_decisions_say_why_where_asked_and_have_no_rows_otherwise() -> None:
    task = dg.tasks.FlipFlop(channels=1, n_steps=6, threshold=9.0)
    asked = measured(task)
    reason = "needs decisions: outputs of the task's loss, mean squared error, are no decisions"
    assert asked.missing == dict.fromkeys(MEASURES_OF_DECISIONS, reason)
    assert set(asked.table["note"]) == {reason}
    assert not set(MEASURES_OF_DECISIONS) & set(measures_of(task, build_measures()))
    assert set(MEASURES_OF_DECISIONS) < set(measures_of(dg.tasks.StreamingParity(), build_measures()))
    assert not set(MEASURES_OF_DECISIONS) & set(measures_of(None, build_measures()))


def test_exact_networks_have_a_spread_of_0_and_no_error() -> None:
    nothing = Variant(errors=np.zeros((3, 5)), wrong=np.zeros((3, 5)), mask=np.ones((5, 2), bool),
                      decisions=np.zeros((3, 5, 2, 1), bool), called_for=np.zeros((5, 2, 1), bool))  # fmt: skip
    recording = Recording(members=("0", "1", "2"), behavior={"in_distribution": nothing})
    values = [MEASURES[name]()(recording).findings[0].value.value for name in MEASURES_OF_DECISIONS]
    assert values == [1.0, 0.0, 0.0]
