"""Starts from leading axes: signs that agree, their twin, alignments of a few axes; on copies, and against chance."""

from itertools import product

import numpy as np
import pytest

from degeneracy.analysis.operator_alignment import curvature, leading
from degeneracy.analysis.operator_alignment.pairs import fit_pairs
from degeneracy.analysis.operator_alignment.starts import frames


def principal(rank, seed, n=1):
    """Operators in principal axes, (n, rank, rank): what axes carry falls from the first to the last."""
    gen = np.random.default_rng(seed)
    return gen.normal(size=(n, rank, rank)) * np.exp(-np.arange(rank) / 5) / np.sqrt(rank)


def noisy_copy(a, seed, noise):
    """The operator with other signs of its axes, and the signs."""
    gen = np.random.default_rng(seed)
    z = gen.choice([-1.0, 1.0], size=len(a))
    level = noise * np.linalg.norm(a) / len(a)
    return z[:, None] * (a + level * gen.normal(size=a.shape)) * z, z


def inner(a, b, z):
    return float(np.sum(a * (z[:, None] * b * z)))


@pytest.mark.parametrize("seed", range(5))
def test_signs_of_a_noisy_copy_are_known(seed):
    a = principal(20, seed)[0]
    b, z = noisy_copy(a, seed, 0.3)
    [signs], [twin] = leading.agreeing_signs(a[None], b[None])
    # 90% of 20: what the smallest axes carry is under the noise, and their signs are open.
    assert abs(signs @ z) >= 0.9 * 20 - 2
    assert inner(a, b, signs) >= inner(a, b, z) - 1e-12
    assert np.prod(signs) * np.prod(twin) == -1


def test_no_single_sign_improves_and_the_twin_is_the_cheapest_turn():
    a, b = principal(7, 1, n=2)
    [signs], [twin] = leading.agreeing_signs(a[None], b[None])
    turned = [signs * np.where(np.arange(7) == k, -1, 1) for k in range(7)]
    values = [inner(a, b, z) for z in turned]
    assert inner(a, b, signs) >= max(values) - 1e-12  # rounding
    assert inner(a, b, twin) == pytest.approx(max(values), abs=1e-12)
    best = max(inner(a, b, np.array(z)) for z in product([1.0, -1.0], repeat=7))
    assert inner(a, b, signs) > 0.6 * best  # a start, not the best of all 128


def test_signs_of_silent_operators_are_signs():
    [signs], [twin] = leading.agreeing_signs(np.zeros((1, 4, 4)), np.zeros((1, 4, 4)))
    assert set(np.abs(signs)) == set(np.abs(twin)) == {1.0}


def test_a_rotated_copy_is_known_by_its_leading_axes():
    """One descent is not needed: the axes in which an operator does most turn with it."""
    a = principal(12, 3)[0]
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    operators = np.stack([a, q @ a @ q.T])
    starts = leading.synchronised_starts(operators, frames(operators).axes, 0, 1)
    apart = np.linalg.norm(a - starts @ operators[1] @ starts.transpose(0, 2, 1), axis=(1, 2))
    assert apart[2:].min() < 1e-9  # eigenvectors to rounding over the least gap of their values
    assert apart[:2].min() > 0.1


def test_alignments_of_leading_axes_are_orthogonal_distinct_and_near_the_least():
    operators = principal(20, 4, n=2)
    operators /= np.linalg.norm(operators, axis=(1, 2))[:, None, None]
    axes = frames(operators).axes
    a, b = axes.transpose(0, 2, 1) @ operators @ axes
    few = np.linalg.qr(np.random.default_rng(0).normal(size=(24, leading.LEADING, leading.LEADING)))[0]
    model = curvature.model(leading.first_block(a))
    starts = leading.leading_starts(a, b, axes[0], axes[1], model, few, 6)
    assert 1 < len(starts) <= 6
    np.testing.assert_allclose(
        starts @ starts.transpose(0, 2, 1), np.eye(20) + np.zeros((len(starts), 1, 1)), atol=1e-9
    )
    apart = np.linalg.norm(operators[0] - starts @ operators[1] @ starts.transpose(0, 2, 1), axis=(1, 2))
    assert np.ptp(apart) > 1e-3
    least = 2 * np.sin(fit_pairs(operators[:1], operators[1:], n_starts=256).distance[0] / 2)
    random = np.linalg.qr(np.random.default_rng(1).normal(size=(24, 20, 20)))[0]
    by_chance = np.linalg.norm(operators[0] - random @ operators[1] @ random.transpose(0, 2, 1), axis=(1, 2))
    # Before any descent in all axes: closer to the least distance than to the best of as many random ones.
    assert apart.min() - least < 0.5 * (by_chance.min() - least)


@pytest.mark.parametrize("rank", [20, 28])
def test_noisy_copies_are_as_close_with_few_starts_as_with_very_many(rank):
    """What a network is from itself in other trials: search failure would count as noise."""
    a = principal(rank, 6, n=6)
    # Noise of one size in all axes, as of trials: those that carry little are mostly noise.
    copies = np.stack([noisy_copy(each, k, 0.3)[0] for k, each in enumerate(a)])
    few, many = (fit_pairs(a, copies, n_starts=n).distance for n in (12, 256))
    # 1e-6: both are minima to a gradient of 1e-7.
    assert np.all(few <= many + 1e-6)
