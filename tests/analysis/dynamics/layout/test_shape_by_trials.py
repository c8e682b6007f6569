"""Shape measures estimated across trials: not set by the number of samples, 0 for copies, and sure of their trials."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import ortho_group

import degeneracy as dg
from degeneracy.analysis import MEASURES, Recording
from degeneracy.analysis.dynamics.layout import shape, shape_by_trials, shape_folds, shape_hsic
from degeneracy.core.errors import UserError

MEASURED = {
    "procrustes": ("procrustes", {}),
    "partly whitened": ("procrustes", {"alpha": 0.5}),
    "cca": ("procrustes", {"alpha": 0.0}),
    "svcca": ("svcca", {}),
    "cka": ("cka", {}),
}
IID, SLOW = 0.0, 0.9  # correlation of a state with that of the step before


def walks(seed, trials, steps, units, memory):
    """Stationary autoregressive states of variance 1, (trial, time, unit)."""
    noise = np.random.default_rng(seed).normal(size=(trials, steps, units))
    x = noise.copy()
    for t in range(1, steps):
        x[:, t] = memory * x[:, t - 1] + np.sqrt(1 - memory**2) * noise[:, t]
    return x


def ensemble(seed, trials, steps, units, memory, shared=0.0):
    """Five members; per unit, the share `shared` of the variance is common to all, each in axes of its own."""
    common = walks([seed, 9], trials, steps, units, memory)
    return [
        (np.sqrt(shared) * common + np.sqrt(1 - np.asarray(shared)) * walks([seed, k], trials, steps, units, memory))
        @ ortho_group.rvs(units, random_state=10 * seed + k)
        for k in range(5)
    ]


def mean_distance(states, name):
    measure, options = MEASURED[name]
    return shape_by_trials.cross_validated_distances(states, measure, **options)[np.triu_indices(len(states), 1)].mean()


def unrelated(name):
    return shape_by_trials.UNRELATED[MEASURED[name][0]]


# --- values ---


@pytest.mark.parametrize("by_blocks", [True, False])
@pytest.mark.parametrize("units", [(3, 3), (4, 2)])
def test_hsic_equals_its_definition_over_distinct_trials(by_blocks, units):
    x, y = (walks(k, 6, 3, n, 0.5) + 1 for k, n in enumerate(units))
    brute = np.mean([
        np.sum(x[r].T @ y[r] * (x[s].T @ y[s])) / 9
        - 2 * x[s].mean(0) @ x[r].T @ y[r] @ y[u].mean(0) / 3
        + (x[r].mean(0) @ x[s].mean(0)) * (y[u].mean(0) @ y[v].mean(0))
        for r, s, u, v in permutations(range(6), 4)
    ])  # fmt: skip
    members = [shape_hsic._member(z - z.mean((0, 1)), by_blocks) for z in (x, y)]
    assert shape_hsic.hsic(*members) == pytest.approx(brute, rel=1e-12)  # rounding of 360 terms of order 1


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("units", [(6, 6, 6), (6, 9, 4)])
def test_many_samples_give_the_plain_value(name, units):
    common = walks(0, 600, 20, 9, 0.5)
    states = [common[..., :n] * 0.8 ** np.arange(n) + 0.5 * walks(k + 1, 600, 20, n, 0.5) for k, n in enumerate(units)]
    measure, options = MEASURED[name]
    if name == "partly whitened":  # whose plain form takes states as they are: summed squares of 1, as here
        states = [(x - x.mean((0, 1))) / np.linalg.norm(x - x.mean((0, 1))) for x in states]
    plain = shape.shape_distances(states, (measure,), **options)[measure]
    # 0.01: what either estimate is off by at 600 trials, about 1/sqrt(600 * 5) of it.
    np.testing.assert_allclose(
        shape_by_trials.cross_validated_distances(states, measure, **options), plain, rtol=0, atol=0.01
    )


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("trials_and_steps", [(20, 1), (20, 5), (10, 10), (100, 1), (64, 50)])
def test_copies_are_at_zero(name, trials_and_steps):
    """Whatever the number of samples, among them fewer than the 64 units of small variance."""
    x = walks(0, *trials_and_steps, 64, SLOW) * 0.5 ** np.arange(64)
    few = int(np.prod(trials_and_steps)) <= 100
    if name in ("cca", "partly whitened") and few:
        x = x[..., :4]
    n = x.shape[2]
    padded = np.concatenate([x, np.zeros((*x.shape[:2], 7))], axis=2)
    order = np.random.default_rng(0).permutation(n)
    copies = [
        3 * x @ ortho_group.rvs(n, random_state=1) + 5,
        1e-200 * x[..., order] * np.array([-1.0, 1.0] * (n // 2)),
        1e160 * x,
        padded @ ortho_group.rvs(n + 7, random_state=2),
    ]
    measure, options = MEASURED[name]
    distances = shape_by_trials.cross_validated_distances([x, *copies, x.copy()], measure, **options)
    # 1e-6: the square root of rounding, 1e-16 times the units.
    np.testing.assert_allclose(distances, 0, atol=1e-6)
    assert distances[0, 5] == 0, "equal states: exactly"


def test_the_mean_of_few_trials_takes_no_variance_with_it():
    """States that are the same at all steps of a trial, variance 1: half of it would go with the mean of two trials."""
    trials = np.repeat(np.random.default_rng(0).normal(size=(4000, 2, 1, 1)), 5, axis=2)
    variances = [np.sum(shape_folds._centred(fold) ** 2) for fold in trials]
    assert np.mean(variances) == pytest.approx(1, abs=0.07)  # 3 standard errors: sqrt(2 / 4000) each


# --- independent members ---

# 100 samples in all, steps of a trial independent or not.
SAMPLES = [(100, 1, IID), (20, 5, IID), (10, 10, IID), (20, 5, SLOW), (10, 10, SLOW)]
# Measures and trials in which two thirds of the samples do not carry 64 directions; CKA needs none.
NO_NUMBER = [("procrustes", 20), ("procrustes", 10)]
NO_NUMBER += [(name, n) for name in ("svcca", "cca", "partly whitened") for n in (100, 20, 10)]


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("units", [2, 8, 64])
def test_noise_of_a_hundred_samples_is_unrelated_or_has_no_number(name, samples, units):
    if units == 64 and (name, samples[0]) in NO_NUMBER:
        with pytest.raises(UserError, match="more trials are needed"):
            mean_distance(ensemble(0, *samples[:2], units, samples[2]), name)
        return
    # Averaged over ensembles, since the samples are few: one scatters by up to 8% of the value (2 units, SVCCA), which
    # is then noted.
    n_ensembles = {2: 60, 8: 20, 64: 8}[units]
    means = [mean_distance(ensemble(seed, *samples[:2], units, samples[2]), name) for seed in range(n_ensembles)]
    assert np.mean(means) == pytest.approx(unrelated(name), rel=0.03)


@pytest.mark.parametrize("name", ["procrustes", "cka"])
def test_one_ensemble_of_noise_is_unrelated(name):
    """The default of the measures: 5 members of 64 units, 100 samples; plain gives .89 rad and .61."""
    states = [np.random.default_rng(k).normal(size=(100, 1, 64)) for k in range(5)]
    [finding] = MEASURES[name]()(Recording(members=tuple("abcde"), states=states)).findings
    assert finding.value.value == pytest.approx(unrelated(name), rel=0.03)
    [plain] = MEASURES[name](estimator="plain")(Recording(members=tuple("abcde"), states=states)).findings
    assert plain.value.value < 0.7 * unrelated(name)


def test_steps_of_one_trial_are_no_independent_samples():
    """Slow trajectories of 6 trials: rows as if independent say that they are alike, trials that they are not."""
    by_trials, by_rows = [], []
    for seed in range(40):
        states = ensemble(seed, 6, 25, 16, SLOW)
        by_trials.append(mean_distance(states, "cka"))
        by_rows.append(mean_distance([x.reshape(-1, 16) for x in states], "cka"))
    assert np.mean(by_trials) == pytest.approx(1, abs=0.03)
    assert np.mean(by_rows) < 0.93


# --- planted likeness ---

# Of 10 units, likeness of all at correlation .7 or .95, or of every other unit: the values by hand.
ALL, NEAR, HALF = 0.7, 0.95, np.arange(10) % 2
PLANTED = {
    # nuclear norm over norms: cos = .7, .95 and .5; canonical correlations; CKA: ||.7 I||^2 / 10, ..., 5 / 10.
    "procrustes": tuple(np.arccos([0.7, 0.95, 0.5])),
    "cca": tuple(np.arccos([0.7, 0.95, 0.5])),
    "svcca": (0.3, 0.05, 0.5),
    "cka": (1 - 0.7**2, 1 - 0.95**2, 0.5),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("samples", [(100, 1, IID), (20, 5, IID), (64, 10, SLOW)])
def test_planted_likeness_is_recovered_from_few_samples(name, samples):
    for shared, value in zip((ALL, NEAR, HALF), PLANTED[name], strict=True):
        found = np.mean([mean_distance(ensemble(s, *samples[:2], 10, samples[2], shared), name) for s in range(6)])
        # CKA: 6 ensembles scatter by 0.01. The others are right to first order in 10 units per 100 samples; plain
        # ones are off by 0.13, and 0.2 rad, where half is shared.
        assert found == pytest.approx(value, abs=0.03 if name == "cka" else 0.05)


def test_partial_whitening_depends_neither_on_units_nor_on_the_number_of_samples():
    few, many = (ensemble(0, n, 10, 6, IID, ALL) for n in (60, 960))
    scaled = [1e3 * x for x in few]
    assert mean_distance(scaled, "partly whitened") == pytest.approx(mean_distance(few, "partly whitened"), rel=1e-9)
    assert mean_distance(few, "partly whitened") == pytest.approx(mean_distance(many, "partly whitened"), rel=0.03)


# --- what the trials do not carry ---


def silent_after(n):
    x = walks(0, 12, 4, 3, IID)
    x[n:] = 0
    return x


@pytest.mark.parametrize(
    ("states", "measure", "options", "message"),
    [
        ([walks(k, 1, 200, 3, SLOW) for k in (0, 1)], "cka", {}, "cka: 6 trials or more are needed.*got 1"),
        ([walks(k, 5, 9, 3, SLOW) for k in (0, 1)], "svcca", {}, "svcca: 6 trials or more are needed.*got 5"),
        (
            [walks(k, 6, 2, 20, IID) for k in (0, 1)],
            "procrustes",
            {},
            r"procrustes: member 0: two thirds of the trials do not vary in the directions of 0\.\d+ of the variance",
        ),
        (
            [walks(k, 12, 5, 20, IID) for k in (0, 1)],
            "svcca",
            {"variance": 0.9999},
            "members of 20 and 20 directions are alike by count alone in the 38 samples",
        ),
        ([walks(k, 12, 5, 20, IID) for k in (0, 1)], "procrustes", {"alpha": 0.5}, "by count alone"),
        (
            [walks(1, 12, 4, 3, IID), silent_after(1)],
            "svcca",
            {},
            "member 1: its states vary in too few trials",
        ),
        (
            [walks(1, 12, 4, 3, IID), silent_after(1)],
            "cka",
            {},
            "member 1: 12 trials do not tell its variance",
        ),
        ([walks(0, 9, 4, 3, IID), walks(1, 9, 5, 3, IID)], "cka", {}, "same trials"),
        ([walks(k, 9, 4, 3, IID) for k in (0, 1)], "procrustes", {"alpha": 2.0}, "alpha = 2"),
    ],
)
def test_what_the_trials_do_not_carry_has_no_number(states, measure, options, message):
    with pytest.raises(UserError, match=message) as caught:
        shape_by_trials.cross_validated_distances(states, measure, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MEASURED)
def test_rows_without_trials_are_trials_of_one_step(name):
    states = ensemble(0, 60, 1, 4, IID, ALL)
    assert mean_distance([x[:, 0] for x in states], name) == mean_distance(states, name)


@pytest.mark.parametrize("name", MEASURED)
def test_constant_states(name):
    x = walks(0, 12, 8, 3, IID)
    constant = np.full(x.shape, 0.1)  # has no exact mean: rounding is no variance
    measure, options = MEASURED[name]
    found = shape_by_trials.cross_validated_distances([x, constant, 2 * constant], measure, **options)
    assert found[0, 1] == found[0, 2] == unrelated(name)
    assert found[1, 2] == 0


def test_scatter_falls_with_the_number_of_trials_and_is_noted():
    for measure in ("procrustes", "svcca", "cka"):
        few, many = (shape_by_trials.prepare(ensemble(0, n, 5, 4, SLOW), measure) for n in (12, 300))
        # sqrt(300 / 12) = 5, its square for CKA, a square of correlations; each sd, of 12 values, is good to a fifth.
        low, high = (10, 60) if measure == "cka" else (2.5, 10)
        assert low < shape_by_trials.scatter(few) / shape_by_trials.scatter(many) < high
        assert "12 trials are few" in shape_by_trials.scatter_note(few)
        assert shape_by_trials.scatter_note(many) == ""


def test_trials_that_are_moved_round_meet_themselves_in_no_shift():
    """Two copies: a trial that met itself would bring them near each other."""
    one = walks(0, 7, 30, 3, IID)
    for measure in ("procrustes", "svcca", "cka"):
        pairs = shape_by_trials.prepare([one, one @ ortho_group.rvs(3, random_state=1)], measure)
        assert pairs.shifted(0, 1, 0) < 1e-6  # rounding of an angle near 0
        for by in pairs.shifts:
            # Within half of the way to unrelated, at 210 samples of 3 units; met in a third of the trials: far below.
            assert pairs.shifted(0, 1, by) > 0.8 * unrelated(measure)


@pytest.mark.parametrize("steps", [2, 9])  # by trials as blocks, and by units
def test_cka_of_shifted_trials_is_that_of_trials_in_another_order(steps):
    x, y = (shape_by_trials._unit_scale(walks(k, 8, steps, 4, IID) + 0.5 * walks(9, 8, steps, 4, IID)) for k in (0, 1))
    distance = shape_hsic.prepare([x, y])
    for by in (1, 3):
        moved = shape_hsic.prepare([x, np.roll(y, by, axis=0)])
        # Rounding of sums in another order, and nothing else.
        assert distance(0, 1, by) == pytest.approx(moved(0, 1, 0), abs=1e-12)
        assert abs(distance(0, 1, by) - distance(0, 1, 0)) > 1e-3


@pytest.mark.parametrize("name", MEASURED)
def test_trials_sorted_by_condition_are_not_split_by_condition(name):
    """Each of three conditions moves in a plane of its own, which the trials of the two others do not span."""
    states = []
    for k in range(2):
        x = np.zeros((60, 10, 6))
        for c in range(3):
            x[20 * c : 20 * (c + 1), :, 2 * c : 2 * c + 2] = walks([k, c], 20, 10, 2, IID)
        states.append(x)
    measure, options = MEASURED[name]
    assert np.isfinite(shape_by_trials.cross_validated_distances(states, measure, **options)).all()


# --- references ---


@pytest.mark.parametrize("name", ["procrustes", "svcca", "cka"])
@pytest.mark.parametrize("estimator", ["cross_validated", "plain"])
def test_shuffled_trials_are_the_reference_where_no_untrained_networks_were_given(name, estimator):
    states = ensemble(0, 200, 4, 6, IID, ALL)
    measure = MEASURES[name](estimator=estimator)
    result = dg.measure_arrays(states=states, measures=[measure.name], options={name: {"estimator": estimator}})
    row = result.table.iloc[0]
    assert "their trials shuffled" in row["note"]
    assert row["reference"] == pytest.approx(unrelated(name), rel=0.2 if estimator == "plain" else 0.03)
    assert row["calibrated"] == pytest.approx(row["value"] / row["reference"])
    given = dg.measure_arrays(states=states, untrained_states=ensemble(1, 200, 4, 6, IID), measures=[name])
    assert "shuffled" not in given.table["note"][0]
    weights = np.random.default_rng(0).normal(size=(5, 6, 6))
    initial = dg.measure_arrays(states=states, weights=weights, initial_weights=weights + 1, measures=[name])
    assert "their trials shuffled" in initial.table["note"][0], "initial weights are no untrained states"


def test_a_time_course_that_all_trials_share_stays_in_the_reference():
    course = 3 * walks(5, 1, 10, 6, SLOW)
    states = [x + course for x in ensemble(0, 60, 10, 6, IID)]
    prepared = shape_by_trials.prepare(states, "cka")
    shuffled = shape_by_trials.shuffled_distances(prepared)[np.triu_indices(5, 1)].mean()
    matched = shape_by_trials.distances(prepared)[np.triu_indices(5, 1)].mean()
    assert shuffled == pytest.approx(matched, abs=0.02)
    assert shuffled < 0.5


def test_untrained_networks_without_a_number_cost_the_reference_alone():
    members, states = tuple("abcde"), ensemble(0, 20, 8, 6, IID, ALL)
    wide = Recording(members=members, states=ensemble(0, 20, 8, 64, IID))  # of 160 samples
    [finding] = MEASURES["svcca"]()(Recording(members=members, states=states, untrained=wide)).findings
    assert np.isfinite(finding.value.value)
    assert finding.reference is None
    assert finding.note.endswith("more trials are needed")
    unbounded = replace(wide, states=None, missing={"states": "their states are not finite"})
    [finding] = MEASURES["svcca"]()(Recording(members=members, states=states, untrained=unbounded)).findings
    assert finding.reference is None, "as in conditions whose untrained states are finite, or none"
    assert "their states are not finite" in finding.note


def test_the_two_largest_members_decide_whether_samples_suffice():
    states = ensemble(0, 20, 8, 6, IID)[:3] + ensemble(0, 20, 8, 64, IID)[:2]
    with pytest.raises(UserError, match="svcca: members of 61 and 61 directions are alike by count alone"):
        shape_by_trials.prepare(states, "svcca")


def test_noise_without_a_number_costs_the_floor_alone():
    members, states = tuple("abcde"), ensemble(0, 20, 8, 6, IID, ALL)
    noisy = ensemble(0, 20, 8, 64, IID)  # of 160 samples
    recording = Recording(members=members, states=states, noisy_states=(noisy, noisy[::-1]))
    [finding] = MEASURES["svcca"]()(recording).findings
    [quiet] = MEASURES["svcca"]()(replace(recording, noisy_states=None)).findings
    assert np.array_equal(finding.value.leave_one_out, quiet.value.leave_one_out)
    assert finding.floor is None
    assert "no floor, of the networks' noise: svcca: members of 61 and 61 directions" in finding.note


@pytest.mark.parametrize("name", ["procrustes", "svcca", "cka"])
def test_the_plain_estimator_is_the_published_one(name):
    states = [walks(k, 4, 9, 5, SLOW) for k in range(3)]
    found = MEASURES[name](estimator="plain")(Recording(members=("a", "b", "c"), states=states))
    np.testing.assert_array_equal(found.distances["driven"], shape.shape_distances(states, (name,))[name])
