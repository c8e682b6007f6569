"""Flow mismatch and InputDSA of linear systems: known values, copies at 0, what each sees and what it does not."""

import dataclasses

import numpy as np
import pytest

from degeneracy.analysis.dynamics.linear.flow_mismatch import FlowMismatch
from degeneracy.analysis.dynamics.linear.input_dsa import InputDSA
from degeneracy.analysis.dynamics.linear.linear_flow import LinearFlow
from degeneracy.analysis.operator_alignment.flows import fit_flows
from degeneracy.analysis.operator_alignment.joint import fit_joint
from degeneracy.analysis.operator_alignment.pairs import fit_pairs
from tests.linear_systems import N_UNITS, P, recording, rotation, stationary, system

MEASURES = {"mismatch": FlowMismatch(rank=N_UNITS), "inputs": InputDSA(rank=N_UNITS)}


def in_principal_axes(a, b):
    """A, its states' standard deviations and B, in the axes of what inputs of the next step do not explain."""
    variance, axes = np.linalg.eigh(stationary(a, b))
    return axes.T @ a @ axes, np.sqrt(np.maximum(variance, 0)), axes.T @ b


def unit(x):
    return x / np.linalg.norm(x)


@pytest.mark.parametrize("measure", [FlowMismatch(rank=6), InputDSA(rank=6)], ids=lambda measure: measure.name)
def test_copies_of_a_noisy_system_at_eight_trials_are_0_apart_on_average(measure):
    # Few units, so that 160 seeds take two seconds. They know the mean to 3% of the floor, and so would show it if more
    # than a tenth of the noise were left; by chance alone one of three rows is 3 standard errors off in 0.8% of cases.
    a, b = system(1, n_units=6)
    found = [measure(recording([(a, b)] * 2, 8, seed, noise=0.3)).findings for seed in range(160)]
    for variant in range(len(found[0])):
        values = np.array([findings[variant].value.value for findings in found])
        floors = np.array([findings[variant].floor.value for findings in found])
        error = values.std() / np.sqrt(len(values) - 1)
        assert abs(values.mean()) < 3 * error
        assert error < 0.03 * floors.mean()


@pytest.mark.parametrize("name", MEASURES)
def test_a_turned_system_is_the_same_and_another_is_not(name):
    a, b = system(1)
    turn = rotation(5)
    recorded = recording([(a, b), (turn @ a @ turn.T, turn @ b), system(2)], 500, 0)
    for roots in MEASURES[name](recorded).distances.values():
        assert abs(roots[0, 1]) < 0.02  # what 500 trials leave
        assert roots[0, 2] > 0.1


def test_mismatch_is_that_of_endless_trials():
    systems = [in_principal_axes(*system(k)) for k in (1, 2)]
    one, other = ((a[None], spread[None]) for a, spread, _ in systems)
    exact = fit_flows(one, other, np.zeros(1, int), np.zeros(1, int), n_starts=64).square[0]
    found = FlowMismatch(rank=N_UNITS)(recording([system(1), system(2)], 2000, 0)).findings[0]
    # The states' covariance is known to 2% by 2,000 trials, and noise of the floor is taken away.
    assert found.value.value == pytest.approx(exact, rel=0.05)
    assert found.floor.value < 0.01 * found.value.value


def test_mismatch_tells_a_common_factor_and_linear_flow_does_not():
    """A = .5 I and .9 I: D^2 = (.4^2 / .5^2 + .4^2 / .1^2) / 2 = 8.32 whatever C and S."""
    b = rotation(1)[:, :N_UNITS]
    recorded = recording([(c * np.eye(N_UNITS), b) for c in (0.5, 0.9)], 300, 0)
    assert FlowMismatch(rank=N_UNITS)(recorded).findings[0].value.value == pytest.approx(8.32, rel=1e-3)
    assert abs(LinearFlow(rank=N_UNITS)(recorded).findings[0].value.value) < 0.05


def test_input_dsa_is_that_of_the_systems():
    """A and B are known to rounding without noise; states are not weighted, so any axes do."""
    (a, b), (c, d) = system(1), system(2)
    found = InputDSA(rank=N_UNITS, n_starts=64)(recording([(a, b), (c, d)], 200, 0)).findings
    state = fit_pairs(unit(a)[None], unit(c)[None], n_starts=64).distance[0]
    alone = np.zeros(1, int)
    joint = fit_joint(*((unit(m)[None], unit(n)[None]) for m, n in ((a, b), (c, d))), alone, alone, n_starts=64)
    # 1%: the searches start elsewhere in other axes.
    assert found[0].value.value == pytest.approx(4 * np.sin(state / 2) ** 2, rel=0.01)
    assert found[1].value.value == pytest.approx((joint.state[0] + joint.input[0]) / 2, rel=0.01)


def test_other_inputs_to_the_same_states_are_seen_jointly_alone():
    a, b = system(1)
    found = InputDSA(rank=N_UNITS)(recording([(a, b), (a, system(2)[1])], 200, 0)).findings
    assert [finding.variant for finding in found] == ["state", "joint"]
    assert abs(found[0].value.value) < 1e-6  # a least-squares fit without noise
    assert found[1].value.value > 0.1


def test_inputs_that_follow_one_another_leave_a_linear_system_as_it_is():
    a, b = system(1)
    plain, smooth = (recording([(a, b)] * 2, 300, 0, correlation=c) for c in (0.0, 0.8))
    mixed = tuple([one[0], other[1]] for one, other in zip(plain.lag_grams, smooth.lag_grams, strict=True))
    found = InputDSA(rank=N_UNITS)(dataclasses.replace(plain, lag_grams=mixed))
    assert all(abs(finding.value.value) < 1e-6 for finding in found.findings)


def test_without_inputs_there_is_no_joint_number():
    recorded = recording([(a, 0 * b) for a, b in (system(1), system(2))], 50, 0, noise=P)
    still = tuple([*half] for half in recorded.lag_grams)
    for half in still:
        for grams in half:
            grams._lags[:, N_UNITS:-1] = grams._lags[:, :, N_UNITS:-1] = 0
    found = InputDSA(rank=N_UNITS)(dataclasses.replace(recorded, lag_grams=still)).findings
    assert np.isnan(found[1].value.value)
    assert "do not vary" in found[1].note
