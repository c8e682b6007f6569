"""DSA: the operators against dsa-metric, the distance against brute force, closed forms and planted copies."""

import numpy as np
import pytest
import torch

from degeneracy.analysis import MEASURES, Recording
from degeneracy.analysis.conjugation.pairs import fit_pairs
from degeneracy.analysis.dynamics.dsa import delay_operator, delay_operators
from degeneracy.errors import UserError


def spectrum_gap(a, b):
    return fit_pairs(a[None], b[None], score="wasserstein").distance[0]


def network_states(seed=0, trials=12, time=30, units=8, gain=1.4):
    """States of a random tanh network driven by pulses."""
    gen = np.random.default_rng(seed)
    w, w_in = gain * gen.standard_normal((units, units)) / np.sqrt(units), gen.standard_normal((units, 2))
    x = np.random.default_rng(99).choice([-1.0, 0.0, 1.0], size=(trials, time, 2), p=[0.15, 0.7, 0.15])
    h = np.zeros((trials, time + 1, units))
    for t in range(time):
        h[:, t + 1] = np.tanh(h[:, t] @ w.T + x[:, t] @ w_in.T)
    return h[:, 1:]


def direct_operator(states, rank, n_delays):
    """The definition: stack the lags, take the SVD, regress one step on the next within trials."""
    trials, time, _ = states.shape
    h = np.concatenate([states[:, n_delays - 1 - d : time - d] for d in range(n_delays)], axis=2)
    v = np.linalg.svd(h.reshape(-1, h.shape[2]), full_matrices=False)[0][:, :rank].reshape(trials, -1, rank)
    now, following = v[:, :-1].reshape(-1, rank), v[:, 1:].reshape(-1, rank)
    return np.linalg.lstsq(now, following, rcond=None)[0].T


def test_operator_is_that_of_a_direct_svd_up_to_signs():
    states = network_states()
    ours, direct = delay_operator(states, rank=6, n_delays=4), direct_operator(states, 6, 4)
    # Signs of the coordinates are free: entries agree in size. 1e-6: the 1e-8 ridge, over the smallest
    # eigenvalue (about 0.1) of the coordinates' Gram matrix, and the squared condition number.
    np.testing.assert_allclose(np.abs(ours), np.abs(direct), atol=1e-6)


@pytest.mark.parametrize(("rank", "n_delays"), [(3, 1), (10, 5), (30, 5)])
def test_operator_spectrum_is_that_of_dsa_metric(rank, n_delays):
    dmd = pytest.importorskip("DSA.dmd")
    states = network_states(units=8)
    peer = dmd.DMD(states, n_delays=n_delays, rank=rank)
    peer.fit()
    ours = delay_operator(states, rank=rank, n_delays=n_delays)
    # The peer embeds in float32 (1e-7 relative), and small singular values magnify that.
    assert spectrum_gap(ours, peer.A_v.double().numpy()) < 1e-3
    assert spectrum_gap(ours, ours + 0.1 * np.eye(rank)) > 0.09  # the bound above is no triviality


def test_operator_of_a_linear_system_has_its_eigenvalues():
    gen = np.random.default_rng(3)
    a = np.array([[0.9, -0.3, 0.0], [0.3, 0.9, 0.0], [0.0, 0.0, 0.5]])  # eigenvalues 0.9 +- 0.3i, 0.5
    h = [gen.standard_normal((20, 3))]
    for _ in range(15):
        h.append(h[-1] @ a.T)
    found = np.linalg.eigvals(delay_operator(np.stack(h, axis=1), rank=3, n_delays=1))
    # 1e-6: the ridge, 1e-8 over the Gram matrix's smallest eigenvalue.
    np.testing.assert_allclose(np.sort_complex(found), [0.5, 0.9 - 0.3j, 0.9 + 0.3j], atol=1e-6)


def test_trials_are_not_joined():
    """Two trials that jump between them: a fit across the border would not see the exact halving."""
    powers = 0.5 ** np.arange(8)
    states = np.stack([powers, -3 * powers])[:, :, None]
    # 1e-6: the ridge shrinks the coefficient by 1e-8 relative.
    assert delay_operator(states, rank=1, n_delays=1)[0, 0] == pytest.approx(0.5, abs=1e-6)


def test_operator_ignores_the_scale_of_the_states():
    states = network_states()
    small, large = (delay_operator(c * states, rank=5, n_delays=3) for c in (1e-12, 1e12))
    np.testing.assert_allclose(np.abs(small), np.abs(large), atol=1e-9)  # rounding of two sums


def test_states_of_few_directions_give_a_padded_operator_without_noise():
    gen = np.random.default_rng(0)
    angle = 0.3 * np.arange(40)[None, :] + gen.uniform(0, 6, size=(10, 1))
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=2) @ gen.standard_normal((2, 16))
    noisy = circle.astype(np.float32).astype(np.float64)  # rounding at 1e-7 spans all directions
    fitted = delay_operators([circle, noisy, network_states(time=40, units=16)], rank=6, n_delays=3)
    assert fitted.ranks.tolist() == [2, 2, 6]
    assert (fitted.ranks < 6).sum() == 2
    assert np.all(fitted.operators[:2, 2:] == 0)
    assert np.all(fitted.operators[:2, :, 2:] == 0)
    eigenvalues = np.sort_complex(np.linalg.eigvals(fitted.operators[1, :2, :2]))
    # The circle turns 0.3 rad a step; float32 states carry 1e-7.
    np.testing.assert_allclose(eigenvalues, np.exp([-0.3j, 0.3j]), atol=1e-5)


def test_silent_network_has_a_zero_operator():
    fitted = delay_operators([np.zeros((3, 9, 4))], rank=4, n_delays=2)
    assert np.all(fitted.operators == 0)
    assert fitted.ranks.tolist() == [0]


GOOD = {"states": np.ones((4, 10, 3)), "rank": 3, "n_delays": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": np.ones((4, 10))}, "expected (trial, time, unit)"),
        ({"states": np.full((4, 10, 3), np.nan)}, "non-finite"),
        ({"n_delays": 10}, "n_delays = 10 is impossible: states have 10 steps, so 1 to 9"),
        ({"n_delays": 0}, "n_delays = 0"),
        ({"rank": 7}, "rank = 7 is impossible: states have n_delays x units = 6"),
        ({"rank": 5, "n_delays": 9}, "4 embedded steps, so 1 to 4"),
        ({"rank": 0}, "rank = 0"),
    ],
)
def test_bad_states_are_refused_in_one_line(changes, message):
    with pytest.raises(UserError) as error:
        delay_operator(**{**GOOD, **changes})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_never_above_dsa_metric():
    simdist = pytest.importorskip("DSA.simdist")
    states = [network_states(seed) for seed in range(3)]
    operators = delay_operators(states, rank=10, n_delays=4).operators
    i, j = np.triu_indices(3, 1)
    ours = fit_pairs(operators[i], operators[j]).distance
    torch.manual_seed(0)
    peer = simdist.SimilarityTransformDist(iters=200, score_method="angular", lr=0.01)
    theirs = [
        float(peer.fit_score(operators[k].copy(), operators[m].copy())) for k, m in zip(i, j, strict=True)
    ]
    assert np.all(ours <= np.array(theirs) + 1e-3)  # the peer's arccos is float32: 3e-4 near 0
    assert ours.mean() < np.mean(theirs)


def test_more_starts_find_no_more_than_a_few_percent():
    states = [network_states(seed, units=16) for seed in range(4)]
    operators = delay_operators(states, rank=12, n_delays=3).operators
    i, j = np.triu_indices(4, 1)
    few, many = (fit_pairs(operators[i], operators[j], n_starts=n).distance for n in (24, 96))
    assert few.mean() <= 1.03 * many.mean()  # 3 percent: what the default number of starts is chosen for


def test_halves_of_the_trials_share_no_trial_and_members_are_compared_across_them():
    """Members turn by one angle a step in even and by another in odd trials: distances are differences of angles."""
    even, odd = np.array([0.3, 0.7, 1.2]), np.array([0.4, 1.0, 0.5])

    def turning(angles):
        starts = np.array([0, 0, 1, 1]) * np.pi / 2  # two at right angles a half: alike in all directions
        phases = starts[:, None] + np.array([*angles] * 2)[:, None] * np.arange(12)
        return np.stack([np.cos(phases), np.sin(phases)], axis=-1)

    states = [turning(pair) for pair in zip(even, odd, strict=True)]
    before = Recording(
        members=("a", "b", "c"), states=[turning(pair) for pair in zip(odd, even, strict=True)]
    )
    recording = Recording(members=("a", "b", "c"), states=states, untrained=before)
    found = MEASURES["dsa"](rank=2, n_delays=1, n_starts=4)(recording)
    across = abs(even[:, None] - odd)
    expected = (across + across.T) / 2
    (finding,) = found.findings
    first, second = np.triu_indices(3, k=1)
    # 1e-5: an angle of nearly 0 is the root of a rounded difference.
    assert found.distances["driven"][first, second] == pytest.approx(expected[first, second], abs=1e-5)
    assert finding.floor.value == pytest.approx(np.diag(across).mean(), abs=1e-5)
    assert finding.floor.leave_one_out == pytest.approx([0.5, 0.4, 0.2], abs=1e-5)
    assert finding.reference.value == pytest.approx(across.T[first, second].mean(), abs=1e-5)
