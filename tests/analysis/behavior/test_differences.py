"""Spread of errors and distance of outputs: arithmetic, simulations with known answers, planted cases."""

import numpy as np
import pytest

from degeneracy.analysis.behavior import differences
from degeneracy.analysis.statistics import jackknife
from degeneracy.core.errors import UserError


def errors_of(rng, members, trials, *, spread=0.0, common=0.0):
    """Trial errors lognormal about a member's level (sd `spread` in ln) and a trial's difficulty (sd `common`)."""
    level = spread * rng.normal(size=(members, 1)) + common * rng.normal(size=(1, trials))
    return np.exp(level + 0.5 * rng.normal(size=(members, trials)))


# --- errors ---


def test_spread_of_errors_by_hand():
    errors = [[1.0, 3.0], [4.0, 4.0], [8.0, 8.0]]  # means 2, 4, 8
    np.testing.assert_array_equal(differences.member_errors(errors), [2.0, 4.0, 8.0])
    # ln 2, 2 ln 2, 3 ln 2: sd with n - 1 is ln 2
    assert differences.log_error_sd(errors).value == pytest.approx(np.log(2))
    # mean 14/3: deviations -8/3, -2/3, 10/3; (64 + 4 + 100) / 9 / 2 = 28/3
    assert differences.error_sd(errors).value == pytest.approx(np.sqrt(28 / 3))
    # without the first member ln 4 and ln 8: sd ln 2 / sqrt 2
    assert differences.log_error_sd(errors).leave_one_out[0] == pytest.approx(np.log(2) / np.sqrt(2))


def test_noise_by_hand():
    errors = [
        [1.0, 4.0],
        [1.0, 1.0],
    ]  # ln A - ln B over 2: -ln 2 and 0; sd of two numbers is their distance / sqrt 2
    assert differences.log_error_noise_sd(errors).value == pytest.approx(np.log(2) / np.sqrt(2))
    assert differences.error_noise_sd(errors).value == pytest.approx(1.5 / np.sqrt(2))  # -3/2 and 0


def test_equal_members_are_at_zero_and_scale_is_ignored_by_the_log_alone():
    errors = errors_of(np.random.default_rng(0), 5, 20, spread=0.3)
    same = np.repeat(errors[:1], 5, axis=0)
    assert differences.log_error_sd(same).value == pytest.approx(0, abs=1e-15)  # rounding of a mean
    assert differences.error_sd(same).value == pytest.approx(0, abs=1e-15)
    assert differences.log_error_sd(7 * errors).value == pytest.approx(differences.log_error_sd(errors).value)
    assert differences.error_sd(7 * errors).value == pytest.approx(7 * differences.error_sd(errors).value)


@pytest.mark.parametrize("common", [0.0, 1.0])
def test_noise_is_the_spread_of_members_that_are_the_same(common):
    """Members with one level: their spread over fresh trials is what the floor estimates, hard trials or not."""
    rng = np.random.default_rng(1)
    ensembles = [errors_of(rng, 10, 200, common=common) for _ in range(200)]
    for spread, noise in (
        (differences.log_error_sd, differences.log_error_noise_sd),
        (differences.error_sd, differences.error_noise_sd),
    ):
        actual = np.sqrt(np.mean([spread(e).value ** 2 for e in ensembles]))
        estimated = np.sqrt(np.mean([noise(e).value ** 2 for e in ensembles]))
        # 10%: 200 ensembles give each side to about 3%; the logarithm's second order adds under 1%.
        assert estimated == pytest.approx(actual, rel=0.1)


def test_planted_spread_is_found_above_the_noise():
    errors = errors_of(np.random.default_rng(2), 50, 100, spread=0.4, common=0.5)
    found, noise = differences.log_error_sd(errors), differences.log_error_noise_sd(errors)
    low, high = jackknife.interval(found, "log")
    assert low < 0.4 < high
    assert noise.value < 0.2 * found.value


def test_an_odd_trial_is_left_out_of_the_halves():
    errors = errors_of(np.random.default_rng(3), 4, 6)
    longer = np.column_stack([errors, np.full(4, 1e6)])
    assert differences.log_error_noise_sd(longer).value == differences.log_error_noise_sd(errors).value


# --- outputs ---


def test_output_distance_by_hand():
    outputs = np.zeros((3, 1, 3, 2))
    outputs[1, 0, 0] = [3.0, 4.0]
    outputs[2, 0, 2] = 100.0  # on a step that is not scored
    mask = [[True, True, False]]
    # (9 + 16) over 2 steps x 2 outputs: sqrt(25/4)
    expected = [[0, 2.5, 0], [2.5, 0, 2.5], [0, 2.5, 0]]
    np.testing.assert_allclose(differences.output_distances(outputs, mask), expected)


def test_output_distances_equal_brute_force_and_are_a_metric():
    rng = np.random.default_rng(4)
    outputs, mask = rng.normal(size=(6, 5, 7, 2)), rng.random((5, 7)) < 0.5
    d = differences.output_distances(outputs, mask)
    for i in range(6):
        for j in range(6):
            steps = [(outputs[i, t, s] - outputs[j, t, s]) ** 2 for t in range(5) for s in range(7) if mask[t, s]]
            assert d[i, j] == pytest.approx(np.sqrt(np.mean(steps)))
            assert (d[i, j] <= d[i] + d[:, j] + 1e-12).all()


def test_output_floor_is_the_distance_of_each_member_from_its_repeat():
    rng = np.random.default_rng(5)
    outputs, noise, mask = (
        rng.normal(size=(3, 5, 7, 2)),
        rng.normal(size=(3, 5, 7, 2)),
        rng.random((5, 7)) < 0.5,
    )
    np.testing.assert_array_equal(differences.output_floor(outputs, outputs, mask), np.zeros(3))
    floor = differences.output_floor(outputs, outputs + noise, mask)
    pairs = [differences.output_distances([a, a + e], mask)[0, 1] for a, e in zip(outputs, noise, strict=True)]
    np.testing.assert_allclose(floor, pairs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: differences.error_sd([1.0, 2.0]), r"\(member, trial\) is needed, got \(2,\)"),
        (
            lambda: differences.error_sd([[1.0], [np.nan]]),
            "member 1 has an error that is negative or not finite",
        ),
        (lambda: differences.log_error_sd([[1.0], [-1.0]]), "member 1"),
        (lambda: differences.log_error_sd([[1.0, 1.0], [0.0, 0.0]]), "member 1 has error 0.*use error_sd"),
        (lambda: differences.log_error_noise_sd([[1.0], [2.0]]), "2 trials or more"),
        (lambda: differences.error_sd([[1.0, 2.0]]), "2 members or more"),
        (
            lambda: differences.output_distances(np.zeros((2, 3, 4)), np.ones((3, 4))),
            r"\(member, trial, time, out\)",
        ),
        (lambda: differences.output_distances(np.zeros((2, 3, 4, 1)), np.zeros((3, 4))), "no step is scored"),
        (
            lambda: differences.output_distances([np.zeros((1, 1, 1)), np.full((1, 1, 1), np.inf)], [[True]]),
            "outputs of member 1 are not finite",
        ),
        (
            lambda: differences.output_floor(np.zeros((2, 3, 4, 1)), np.zeros((1, 3, 4, 1)), np.ones((3, 4))),
            r"repeated outputs have shape \(1, 3, 4, 1\)",
        ),
    ],
)
def test_mistakes_are_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
