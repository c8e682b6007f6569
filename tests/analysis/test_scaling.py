"""Arrays brought near 1: exactly, whatever their size, so that nothing else about them changes."""

import numpy as np
import pytest

from degeneracy.analysis.dynamics.layout.shape import shape_distances
from degeneracy.analysis.scaling import near_one, norm

SIZES = (1.0, 3e-308, 1e-300, 1e-160, 1e-18, 1e6, 1e160, 1e300)


@pytest.mark.parametrize("size", SIZES)
def test_the_largest_entry_comes_into_1_to_4_and_nothing_is_rounded(size: float) -> None:
    x = size * np.random.default_rng(0).uniform(-1, 1, size=(5, 3))
    scaled, exponent = near_one(x)
    assert 1 <= np.abs(scaled).max() < 4
    assert exponent % 2 == 0
    assert np.array_equal(np.ldexp(scaled, exponent), x)


@pytest.mark.parametrize("x", [np.zeros((2, 2)), np.zeros((0, 3)), np.array([1.0, np.inf]), np.array([np.nan])])
def test_what_has_no_size_is_left_as_it_is(x: np.ndarray) -> None:
    scaled, exponent = near_one(x)
    assert exponent == 0
    assert np.array_equal(scaled, x, equal_nan=True)


@pytest.mark.parametrize("size", SIZES)
def test_the_norm_neither_overflows_nor_vanishes(size: float) -> None:
    # 3, 4 and 12 make 13; 1e-14: the rounding of entries that are no whole numbers of powers of two.
    assert norm(size * np.array([[3.0, 4.0], [12.0, 0.0]])) == pytest.approx(13 * size, rel=1e-14)
    assert norm(np.zeros(3)) == 0


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("size", SIZES[1:])
def test_shapes_do_not_depend_on_the_scale_of_the_states(size: float, alpha: float) -> None:
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(6, 9, 5)) for _ in range(3)]
    plain = shape_distances(states, alpha=alpha)
    for name, matrix in shape_distances([size * x for x in states], alpha=alpha).items():
        # 1e-12: a scale that is no power of two rounds each entry by 1e-16.
        assert matrix == pytest.approx(plain[name], rel=1e-12), name
        assert matrix[0, 1] > 0.1


def test_between_0_and_1_alpha_weighs_by_the_unit_of_the_states() -> None:
    """Z = alpha I + (1 - alpha) Cov^(-1/2): large states leave the first term, small ones the second."""
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(6, 9, 5)) for _ in range(2)]
    half = {size: shape_distances([size * x for x in states], alpha=0.5)["procrustes"][0, 1] for size in SIZES}
    rigid, linear = (shape_distances(states, alpha=alpha)["procrustes"][0, 1] for alpha in (1.0, 0.0))
    assert half[1e160] == pytest.approx(rigid, rel=1e-12)
    assert half[1e-160] == pytest.approx(linear, rel=1e-12)
    assert min(rigid, linear) < half[1.0] < max(rigid, linear)
