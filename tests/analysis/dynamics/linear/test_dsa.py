"""DSA: the operators against dsa-metric, the distance against brute force, closed forms and planted copies."""

import numpy as np
import pytest
import torch

from degeneracy.analysis import MEASURES, Recording
from degeneracy.analysis.dynamics.linear.dsa import delay_operator, delay_operators, in_blocks, n_blocks, offset
from degeneracy.analysis.dynamics.linear.dsa_measure import LARGEST_OFFSET
from degeneracy.analysis.operator_alignment.pairs import fit_pairs
from degeneracy.core.errors import UserError


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
    # The circle turns 0.3 rad per step; float32 states carry 1e-7.
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
    theirs = [float(peer.fit_score(operators[k].copy(), operators[m].copy())) for k, m in zip(i, j, strict=True)]
    assert np.all(ours <= np.array(theirs) + 1e-3)  # the peer's arccos is float32: 3e-4 near 0
    assert ours.mean() < np.mean(theirs)


def test_more_starts_find_no_more_than_a_few_percent():
    states = [network_states(seed, units=16) for seed in range(4)]
    operators = delay_operators(states, rank=12, n_delays=3).operators
    i, j = np.triu_indices(4, 1)
    few, many = (fit_pairs(operators[i], operators[j], n_starts=n).distance for n in (24, 96))
    assert few.mean() <= 1.03 * many.mean()  # 3 percent: what the default number of starts is chosen for


def test_halves_of_the_trials_share_no_trial_and_members_are_compared_across_them():
    """Members turn by one angle per step in even and by another in odd trials: distances are differences of angles."""
    even, odd = np.array([0.3, 0.7, 1.2]), np.array([0.4, 1.0, 0.5])

    def turning(angles):
        starts = np.array([0, 0, 1, 1]) * np.pi / 2  # two at right angles in each half: alike in all directions
        phases = starts[:, None] + np.array([*angles] * 2)[:, None] * np.arange(12)
        return np.stack([np.cos(phases), np.sin(phases)], axis=-1)

    states = [turning(pair) for pair in zip(even, odd, strict=True)]
    before = Recording(members=("a", "b", "c"), states=[turning(pair) for pair in zip(odd, even, strict=True)])
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


def measured(states, **options):
    recording = Recording(members=tuple("abcdefgh"[: len(states)]), states=states)
    return MEASURES["dsa"](**{"rank": 6, "n_delays": 3, "n_starts": 8} | options)(recording)


def test_exact_copies_are_at_their_floor_and_at_0_where_all_trials_are_compared_at_once():
    states = [network_states(seed) for seed in (0, 1)]
    copies = [states[0], states[0].copy(), states[1]]
    halves, whole = measured(copies), measured(copies, halves=False)
    floor = halves.findings[0].floor
    own_floor = 3 * floor.value - 2 * floor.leave_one_out[0]  # of member 0, from means with and without it
    assert halves.distances["driven"][0, 1] == pytest.approx(own_floor, rel=1e-12)  # the same fit
    assert own_floor > 0.01
    assert whole.distances["driven"][0, 1] == 0
    assert whole.distances["driven"][0, 2] > 0.1
    [finding] = whole.findings
    assert finding.floor is None
    assert "all trials at once: copies are at 0" in finding.note


def test_all_trials_at_once_are_the_published_estimator():
    states = [network_states(seed) for seed in range(3)]
    untrained = [network_states(seed, gain=0.5) for seed in range(3)]
    recording = Recording(
        members=("a", "b", "c"), states=states, untrained=Recording(members=("a", "b", "c"), states=untrained)
    )
    options = {"rank": 6, "n_delays": 3, "n_starts": 8}
    [finding] = MEASURES["dsa"](halves=False, **options)(recording).findings
    i, j = np.triu_indices(3, 1)
    for given, value in ((states, finding.value.value), (untrained, finding.reference.value)):
        operators = delay_operators(given, rank=6, n_delays=3).operators
        mean = fit_pairs(operators[i], operators[j], n_starts=8).distance.mean()
        assert mean == pytest.approx(value, rel=1e-12)  # the order in which three numbers are added


@pytest.mark.parametrize("halves", [True, False])
def test_states_whose_mean_swamps_what_moves_have_no_number(halves):
    """At 1e6 times the spread all operators are that of the mean, and all members 0 apart."""
    states = [network_states(seed) for seed in range(3)]
    operators = delay_operators([x + 1e7 for x in states], rank=6, n_delays=3)
    assert operators.ranks.tolist() == [1, 1, 1], "what would be compared"
    just = 1.1 * LARGEST_OFFSET * np.linalg.norm(states[1].std(axis=(0, 1))) / np.sqrt(8)
    for moved, far in (
        ([states[0], states[1] + just, states[2]], "member b"),
        ([x + 1e7 for x in states], "members a, b and c"),
        (
            [states[0], states[1] + 1e7, states[2]],
            "member b",
        ),
    ):
        [finding] = measured(moved, halves=halves).findings
        assert np.isnan(finding.value.value)
        assert f"times their spread ({far}): their operator would be that of the mean" in finding.note
    matrix = measured([states[0], states[1] + 1e7, states[2]], halves=halves).distances["driven"]
    assert matrix[0, 2] == measured([states[0], states[2]], halves=halves).distances["driven"][0, 1]
    assert np.isnan(matrix[1, [0, 2]]).all()


def test_a_mean_that_outweighs_what_moves_is_noted_and_kept():
    states = [network_states(seed) for seed in range(3)]
    assert measured(states).findings[0].note == ""
    moved = [states[0], states[1] + 50.0, states[2]]
    [finding] = measured(moved).findings
    assert np.isfinite(finding.value.value)
    times = max(offset(moved[1][half::2]) for half in (0, 1))
    assert offset(moved[1] * 2.0**600) == offset(moved[1])
    assert f"the mean of the states is up to {times:.3g} times their spread (member b)" in finding.note


def test_the_offset_of_states_by_hand():
    # Mean (3, 4), of norm 5; the two points lie 2 from it.
    assert offset(np.array([[[3.0, 6.0], [3.0, 2.0]]])) == pytest.approx(2.5, rel=1e-15)


def test_states_far_off_0_lose_directions_no_sooner_than_they_are_refused():
    """Up to the largest offset that is measured, each direction of a thousandth of the spread is fitted."""
    rng = np.random.default_rng(0)
    shares = np.array([1.0, 0.1, 0.01, 2e-3])
    base = rng.normal(size=(12, 30, 4)) * shares
    for times in (1.0, 100.0, LARGEST_OFFSET / 1.5):
        states = base + times * np.array([0.0, 0.0, 0.0, 1.0])
        assert offset(states) < LARGEST_OFFSET
        assert delay_operators([states], rank=4, n_delays=1).ranks.tolist() == [4]


@pytest.mark.parametrize(
    ("n_steps", "n_delays", "blocks"),
    [(400, 4, 8), (60, 4, 6), (59, 4, 4), (22, 10, 2), (9, 4, 2), (10_000, 1, 8)],
)
def test_one_trial_is_cut_into_an_even_number_of_blocks(n_steps, n_delays, blocks):
    assert n_blocks(n_steps, n_delays) == blocks
    states = np.arange(n_steps * 2.0).reshape(1, n_steps, 2)
    if n_steps // blocks <= n_delays:
        with pytest.raises(UserError, match=f"of {n_steps} steps gives no halves of more than {n_delays} steps"):
            in_blocks(states, n_delays)
        return
    cut = in_blocks(states, n_delays)
    assert cut.shape == (blocks, n_steps // blocks, 2)
    assert np.array_equal(cut.reshape(-1, 2), states[0, : blocks * (n_steps // blocks)])


def test_blocks_of_one_trial_have_the_dynamics_of_all_of_it():
    """A linear system seen in one long trial: its blocks share one operator, so that the floor is small."""
    gen = np.random.default_rng(0)
    angle = 0.4
    turn = 0.98 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    h = [gen.standard_normal(2)]
    for _ in range(2000):
        h.append(turn @ h[-1] + 0.3 * gen.standard_normal(2))
    other = np.array(h)[::-1] @ np.diag([1.0, 0.2])
    found = measured([np.array(h)[None], other[None]], rank=2, n_delays=1)
    assert found.findings[0].floor.value < 0.1
    assert "8 blocks of 250 steps" in found.findings[0].note


def test_all_trials_allow_twice_the_rank_of_halves():
    """4 trials of 6 steps, 1 delay: 20 embedded steps of all, 10 of a half."""
    sizes = {"n_units": 50, "n_steps": 6, "n_trials": 4, "held_inputs": ("none",)}
    dsa = MEASURES["dsa"]
    dsa(rank=10, n_delays=1).check(**sizes)
    dsa(rank=20, n_delays=1, halves=False).check(**sizes)
    with pytest.raises(UserError, match=r"rank = 11 is wrong: at most 10 .* half of them at a time"):
        dsa(rank=11, n_delays=1).check(**sizes)
    with pytest.raises(UserError, match="rank = 21 is wrong: at most 20 with 50 units"):
        dsa(rank=21, n_delays=1, halves=False).check(**sizes)
