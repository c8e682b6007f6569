"""Effective rank and participation ratio: values by hand, bounds, what makes no difference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from degeneracy.analysis import MEASURES, Recording
from degeneracy.analysis.dimensions import effective_rank, participation_ratio, recurrent_matrix
from degeneracy.analysis.recording import Weights
from degeneracy.core.errors import UserError


def rotation(n: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def test_effective_rank_by_hand():
    # Singular values 2, 1, 1: shares 1/2, 1/4, 1/4; entropy (1/2) ln 2 + (1/2) ln 4 = 1.5 ln 2; exp is 2^1.5.
    a = np.diag([2.0, -1.0, 1.0, 0.0])
    assert effective_rank(a) == pytest.approx(2**1.5, rel=1e-14)
    assert effective_rank(np.eye(5)) == pytest.approx(5, rel=1e-14)
    assert effective_rank(np.outer([1.0, 2.0], [3.0, 4.0, 5.0])) == pytest.approx(1, abs=1e-12)
    assert effective_rank(np.zeros((3, 3))) == 0.0


def test_effective_rank_from_eigenvalues_of_the_gram_matrix():
    a = np.random.default_rng(0).normal(size=(6, 4))
    sizes = np.sqrt(np.linalg.eigvalsh(a.T @ a))
    assert effective_rank(a) == pytest.approx(np.exp(entropy(sizes)), rel=1e-10)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(0, 99), st.floats(1e-3, 1e3))
def test_effective_rank_ignores_bases_and_scale_and_has_bounds(n, seed, scale):
    a = np.random.default_rng(seed).normal(size=(n, n))
    found = effective_rank(a)
    assert 1 - 1e-12 <= found <= n + 1e-12
    assert effective_rank(scale * rotation(n) @ a @ rotation(n, 1)) == pytest.approx(found, rel=1e-10)


def test_participation_ratio_by_hand():
    # Variances 3 and 1 along two axes of three, whatever the mean: (3 + 1)^2 / (9 + 1) = 1.6.
    x = np.array([[np.sqrt(3), 0, 0], [-np.sqrt(3), 0, 0], [0, 1, 0], [0, -1, 0]])
    x += np.array([5.0, -2.0, 9.0])
    assert participation_ratio(x) == pytest.approx(1.6, rel=1e-12)
    assert participation_ratio(x.reshape(2, 2, 3)) == pytest.approx(1.6, rel=1e-12)
    assert participation_ratio(np.ones((4, 3, 2)) * 0.1) == 0.0, "states that do not vary"
    line = np.outer(np.arange(5.0), [1.0, 2.0])
    assert participation_ratio(line) == pytest.approx(1, rel=1e-12)


def test_participation_ratio_from_the_covariances_eigenvalues():
    x = np.random.default_rng(0).normal(size=(4, 10, 5)) * [1, 2, 3, 4, 5]
    eigenvalues = np.linalg.eigvalsh(np.cov(x.reshape(-1, 5).T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(x) == pytest.approx(expected, rel=1e-10)
    assert participation_ratio(7 * x @ rotation(5) + 100) == pytest.approx(expected, rel=1e-8)
    assert participation_ratio(x * [1, 1, 1, 1, 9]) < 0.8 * expected


def test_gates_stand_one_below_the_other():
    gates = np.stack([np.diag([1.0, 0.0]), np.diag([0.0, 1.0])])
    assert recurrent_matrix(Weights.of(recurrent=gates)).tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]


def test_mean_and_sd_over_members_beside_untrained_ones():
    """Ranks 1, 2 and 3: mean 2, sd 1; without the first, mean 2.5. Untrained: all 3, sd 0."""
    ranks = [Weights.of(recurrent=np.diag([1.0] * k + [0.0] * (3 - k))[None]) for k in (1, 2, 3)]
    untrained = Recording(members=("a", "b", "c"), weights=[ranks[2]] * 3)
    recording = Recording(members=("a", "b", "c"), weights=ranks, untrained=untrained)
    mean, sd = MEASURES["effective_rank"]()(recording).findings
    assert (mean.variant, sd.variant) == ("mean", "sd")
    assert mean.value.value == pytest.approx(2, rel=1e-14)
    assert mean.value.leave_one_out == pytest.approx([2.5, 2, 1.5], rel=1e-14)
    assert sd.value.value == pytest.approx(1, rel=1e-14)
    assert mean.reference.value == pytest.approx(3, rel=1e-14)
    assert sd.reference.value == pytest.approx(0, abs=1e-12)
    assert mean.floor is None
    assert (sd.scale, mean.note) == ("log", "")
    alone = MEASURES["effective_rank"]()(Recording(members=("a", "b", "c"), weights=ranks))
    assert alone.findings[0].reference is None
    assert alone.arrays["values"] == pytest.approx([1, 2, 3], rel=1e-14)


def test_the_measure_counts_all_gates():
    """Each gate acts in one direction, another each: two together, one in any gate alone."""
    apart = np.stack([np.diag([1.0, 0.0]), np.diag([0.0, 1.0])])
    weights = [Weights.of(recurrent=apart), Weights.of(recurrent=apart[:, ::-1])]
    found = MEASURES["effective_rank"]()(Recording(members=("a", "b"), weights=weights))
    assert found.arrays["values"] == pytest.approx([2, 2], rel=1e-14)


@pytest.mark.parametrize("wrong", [np.zeros((2, 0)), np.full((2, 2), np.nan), np.zeros(3)])
def test_impossible_arrays(wrong):
    with pytest.raises(UserError, match="effective_rank"):
        effective_rank(wrong)
    with pytest.raises(UserError, match="participation_ratio"):
        participation_ratio(wrong)
