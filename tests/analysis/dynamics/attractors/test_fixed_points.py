"""Fixed points: systems whose points are known in closed form, a trained flip-flop, and planted differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixed_point_systems import (
    CUBE,
    NETWORK_KEYS,
    independent_units,
    same_set,
    step_of,
    tanh_step,
    trained,
    uniform,
    untrained,
)

from degeneracy.analysis.dynamics.attractors import fixed_points
from degeneracy.analysis.dynamics.attractors.census import FixedPointCensus
from degeneracy.analysis.dynamics.attractors.fixed_point_distances import (
    census,
    census_distance,
    repeat_census_distance,
    spectrum_distance,
)
from degeneracy.analysis.dynamics.attractors.fixed_point_search import (
    descend,
    jacobians,
    polish,
)
from degeneracy.analysis.dynamics.attractors.fixed_points import find_fixed_points
from degeneracy.analysis.recording import Recording
from degeneracy.core.errors import UserError

# --- Systems with known points ---------------------------------------------------------------------------------


def test_linear_map_has_one_point_with_the_eigenvalues_of_its_matrix():
    a, b = uniform((2, 5, 5), 1, 0.6).double(), uniform((2, 5), 2).double()
    step = step_of(lambda h, _, a, b: h @ a.mT + b[:, None], uniform((2, 20, 5)), weights=[a, b])
    for k, found in enumerate(find_fixed_points(step)):
        assert len(found) == 1
        # 1e-12: float64 round-off, times the condition of I - A (below 100 here).
        np.testing.assert_allclose(found.position[0], np.linalg.solve(np.eye(5) - a[k].numpy(), b[k]), atol=1e-12)
        expected = np.linalg.eigvals(a[k].numpy())
        expected = expected[np.lexsort((-expected.imag, -abs(expected)))]
        np.testing.assert_allclose(found.eigenvalues[0], expected, atol=1e-12)
        assert found.index[0] == (abs(expected) > 1).sum()
        assert (found.n_starts, found.n_rejected, found.n_marginal, found.note) == (20, 0, 0, "")


def test_one_tanh_unit_by_hand():
    found = find_fixed_points(independent_units(1))[0]
    # h = tanh(2 h): 0 and +-0.9575, since e^3.83 = 46.06 and tanh(1.915) = (46.06 - 1)/(46.06 + 1) = 0.9575.
    # Derivatives 2 (1 - h^2): 2 at 0 (unstable), 2 (1 - 0.91681) = 0.1664 at the others.
    np.testing.assert_allclose(found.position[:, 0], [-0.9575, 0.9575, 0.0], atol=5e-5)  # four digits by hand
    np.testing.assert_allclose(found.eigenvalues[:, 0].real, [0.1664, 0.1664, 2.0], atol=2e-4)
    assert found.index.tolist() == [0, 0, 1]
    assert census(found) == {0: 2, 1: 1}


def test_the_descent_ends_at_rest_without_the_polishing():
    step, starts = independent_units(1), torch.tensor([[[-1.5], [-0.7], [0.2], [0.7], [1.5]]])
    ends = descend(step, starts, torch.zeros(1), 300)
    roots = torch.tensor([-0.9575, -0.9575, 0.0, 0.9575, 0.9575])  # the nearest minimum of the speed
    torch.testing.assert_close(ends[0, :, 0], roots, atol=1e-3, rtol=0)  # a rate of about 0.04, falling to 0
    torch.testing.assert_close(descend(step, starts, torch.zeros(1), 0), starts, atol=0, rtol=0)


@pytest.mark.parametrize(("n_units", "expected"), [(2, {0: 4, 1: 4, 2: 1}), (3, CUBE)])
def test_independent_units_have_the_product_of_their_points(n_units, expected):
    found = find_fixed_points(independent_units(n_units))[0]
    assert census(found) == expected
    # Each coordinate is one of a single unit's three points, to round-off.
    root = find_fixed_points(independent_units(1))[0].position[:, 0].max()
    nearest = np.abs(found.position[..., None] - np.array([-root, 0, root])).min(-1)
    assert nearest.max() < 1e-12


def test_the_constant_input_moves_the_points():
    w = {"recurrent": torch.zeros(2, 2), "input": torch.eye(2), "bias": torch.tensor([0.0, 0.5])}
    step = tanh_step([w], uniform((1, 30, 2)), inputs={"off": torch.zeros(2), "on": torch.tensor([1.0, -1.0])})
    for name, drive in (("off", [0.0, 0.5]), ("on", [1.0, -0.5])):
        expected = np.tanh(drive)  # no recurrence: h = tanh(x + b)
        found = find_fixed_points(step, held_input=name)[0]
        np.testing.assert_allclose(found.position, expected[None], atol=1e-12)  # round-off


# --- Trained and untrained networks ----------------------------------------------------------------------------


def test_trained_flip_flop_has_the_27_points_of_a_cube():
    found = find_fixed_points(tanh_step([trained()]))[0]
    assert census(found) == CUBE
    assert 0.5 * found.speed.max() ** 2 < 1e-26  # round-off of 64 units: speed about 1e-14
    assert (np.abs(found.eigenvalues[:, 0]) > 1).tolist() == (found.index > 0).tolist()
    # The same equation in numpy: the points rest under the stored weights.
    w, b = (trained()[key].double().numpy() for key in ("recurrent", "bias"))
    np.testing.assert_allclose(np.tanh(found.position @ w.T + b), found.position, atol=1e-13)
    slopes = 1 - found.position**2  # Jacobian of tanh(W h + b): diag(1 - h^2) W
    leading = [abs(np.linalg.eigvals(s[:, None] * w)).max() for s in slopes]
    np.testing.assert_allclose(abs(found.eigenvalues[:, 0]), leading, rtol=1e-9)  # non-normal: above round-off


def test_untrained_network_has_one_point():
    found = find_fixed_points(tanh_step([untrained()]))[0]
    assert census(found) == {0: 1}


def test_descent_and_midpoint_restarts_find_what_few_starts_miss(monkeypatch):
    step = tanh_step([trained()])
    assert census(find_fixed_points(step, n_starts=64)[0]) == CUBE
    monkeypatch.setattr(fixed_points, "MIDPOINT_ROUNDS", 0)
    descended = find_fixed_points(step, n_starts=64)[0]
    polished_only = find_fixed_points(step, n_starts=64, n_adam=0)[0]
    assert len(polished_only) < len(descended) < 27


def test_under_sampling_finds_fewer_and_the_repeat_search_says_so():
    step = tanh_step([trained()])
    full, poor = find_fixed_points(step, n_starts=64), find_fixed_points(step, n_starts=2)
    assert len(poor[0]) < len(full[0])
    assert repeat_census_distance(full, poor).tolist() == [1.0]
    assert repeat_census_distance(full, find_fixed_points(step, n_starts=64, seed=1)).tolist() == [0.0]


def test_the_order_of_the_visited_states_and_noise_do_not_change_the_set():
    w, visited = trained(), tanh_step([trained()]).visited[:, :200]
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    a, b = (find_fixed_points(tanh_step([w], v))[0] for v in (visited, visited[:, order]))
    noisy = find_fixed_points(tanh_step([w], visited), noise=0.2)[0]
    # 1e-10: positions are solved to about speed / |1 - eigenvalue|, 1e-14 / 0.01 at worst.
    assert same_set(a, b, 1e-10)
    assert same_set(a, noisy, 1e-10)


# --- No isolated points ----------------------------------------------------------------------------------------


def test_a_line_attractor_is_a_continuum_and_says_so():
    step = step_of(lambda h, _: h * torch.tensor([1.0, 0.5], dtype=h.dtype), uniform((1, 100, 2)))
    found = find_fixed_points(step)[0]
    assert len(found) > 1
    assert (found.n_marginal, found.capped) == (len(found), False)
    assert "continuum" in found.note
    np.testing.assert_allclose(found.position[:, 1], 0, atol=1e-10)  # the tolerance of the search
    np.testing.assert_allclose(found.eigenvalues, np.tile([1.0, 0.5], (len(found), 1)), atol=1e-15)
    assert (found.index == 0).all()  # marginal is not unstable
    capped = find_fixed_points(step, max_points=5)[0]
    assert (len(capped), capped.capped) == (5, True)
    assert "more than 5 points" in capped.note


@pytest.mark.parametrize(("least_speed", "slow"), [(1e-3, True), (0.5, False)])
def test_ends_that_still_move_are_counted_and_dropped(least_speed, slow):
    step = step_of(lambda h, _: h + least_speed + 0.1 * h**2, uniform((1, 50, 1)))  # never at rest
    found = find_fixed_points(step)[0]
    assert len(found) == 0
    assert found.n_rejected >= 1
    assert found.n_slow == (found.n_rejected if slow else 0)
    assert (found.n_starts, census(found)) == (50, {})


def test_what_comes_to_rest_stands_before_what_does_not():
    # At rest at 1 only; near -1 the speed has a minimum of about 0.02.
    step = step_of(lambda h, _: h + 0.1 * (h - 1) * ((h + 1) ** 2 + 0.1), torch.zeros(1, 1, 1))
    h, speed = polish(step, [np.array([[-1.0], [1.1]])], torch.zeros(1))[0]
    np.testing.assert_allclose(h[:, 0], [1, -1], atol=0.1)  # the minimum is not exactly at -1
    assert speed[0] < 1e-13  # round-off
    assert 0.01 < speed[1] < 0.03


# --- Jacobians and other cells ---------------------------------------------------------------------------------


def lstm_cell(h, x, w_rec, w_in):
    """State [h, c]; gates input, forget, candidate, output."""
    hidden, memory = h.chunk(2, dim=-1)
    i, f, g, o = (hidden @ w_rec.mT + x @ w_in.mT).chunk(4, dim=-1)
    memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
    return torch.cat([torch.sigmoid(o) * torch.tanh(memory), memory], dim=-1)


def test_the_full_state_of_an_lstm():
    n = 3
    weights = [uniform((1, 4 * n, n), 7, 4.0), uniform((1, 4 * n, 2), 8)]
    step = step_of(lstm_cell, uniform((1, 200, 2 * n), 9), {"none": torch.zeros(2)}, weights)
    found = find_fixed_points(step)[0]
    assert found.position.shape[1] == 2 * n
    assert found.speed.max() < 1e-12  # round-off
    # Where the network itself ends is a stable point: 2000 steps from the visited states.
    h, x = step.visited.double(), torch.zeros(1, 200, 2).double()
    for _ in range(2000):
        h = step.step(h, x)
    h, at_rest = h[0].numpy(), (step.step(h, x) - h).norm(dim=-1)[0].numpy() < 1e-12
    stable = found.position[found.index == 0]
    assert at_rest.any()
    reached = {int(k) for k in np.abs(h[at_rest][:, None] - stable).max(-1).argmin(1)}
    assert np.abs(h[at_rest][:, None] - stable).max(-1).min(1).max() < 1e-9  # iterated to speed 1e-12
    assert len(reached) == len(stable)


class Unbatchable(torch.autograd.Function):
    """tanh with a backward pass that torch cannot batch, as a user's own kernel may have."""

    backward_passes = 0

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(torch.tanh(z))
        return torch.tanh(z)

    @staticmethod
    def backward(ctx, gradient):
        Unbatchable.backward_passes += 1
        (y,) = ctx.saved_tensors
        return torch.from_numpy(gradient.numpy() * (1 - y.numpy() ** 2))


@pytest.mark.parametrize("own_kernel", [False, True])
def test_jacobians_against_finite_differences(own_kernel):
    networks = [untrained(6, 2, seed) for seed in (1, 2)]
    tanh = Unbatchable.apply if own_kernel else torch.tanh
    weights = [torch.stack([n[key] for n in networks]) for key in NETWORK_KEYS]
    step = step_of(
        lambda h, x, w, u, b: tanh(h @ w.mT + x @ u.mT + b[:, None]),
        uniform((2, 4, 6)),
        torch.zeros(1, 2),
        weights,
    )
    h, x = step.visited.double(), torch.tensor([0.3, -0.2])
    Unbatchable.backward_passes = 0
    exact = jacobians(step, h, x)
    assert Unbatchable.backward_passes >= 6 * own_kernel  # one pass per unit, where all at once cannot be had
    eps, held = 1e-6, x.double().expand(2, 4, 2)
    for j in range(6):
        shift = eps * torch.eye(6).double()[j]
        difference = (step.step(h + shift, held) - step.step(h - shift, held)) / (2 * eps)
        # Central differences: eps^2 curvature and round-off / eps, about 1e-10.
        torch.testing.assert_close(exact[..., j], difference, atol=1e-8, rtol=0)


def test_a_symmetry_copy_is_at_distance_0_and_a_changed_network_is_not():
    rng = np.random.default_rng(2)
    w = trained()
    order, sign = torch.from_numpy(rng.permutation(64)), torch.from_numpy(rng.choice([-1.0, 1.0], 64)).float()
    copy = {
        "recurrent": (sign[:, None] * w["recurrent"] * sign)[order][:, order],
        "input": (sign[:, None] * w["input"])[order],
        "bias": (sign * w["bias"])[order],
    }
    changed = {**w, "recurrent": 1.05 * w["recurrent"]}
    found = find_fixed_points(tanh_step([w, copy, changed]), n_starts=128)
    assert census_distance(found)[0, 1] == 0
    d = spectrum_distance(found)
    assert d[0, 1] < 1e-6  # eigenvalues of a non-normal matrix, at points exact to 1e-12
    assert d[0, 2] > 0.01


# --- Bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"held_input": "non"}, r"unknown held input 'non'; did you mean 'none'\? \(known: none\)"),
        ({"n_starts": 0}, "n_starts = 0"),
        ({"n_adam": -1}, "n_adam = -1"),
        ({"noise": float("nan")}, "noise = nan"),
        ({"tolerance": 0.0}, "tolerance = 0.0"),
        ({"unique_tolerance": 0.0}, "unique_tolerance = 0.0"),
        ({"max_points": 0}, "max_points = 0"),
    ],
)
def test_impossible_options_are_said_in_one_line(options, said):
    with pytest.raises(UserError, match=f"^fixed points: .*{said}"):
        find_fixed_points(independent_units(1), **options)


# --- A search and its repetition -------------------------------------------------------------------------------


def test_points_found_before_lend_their_eigenvalues_and_nothing_else():
    step = independent_units(2)
    before = find_fixed_points(step)[0]
    alone, again = (find_fixed_points(step, seed=1, found_before=some)[0] for some in ((), [before]))
    assert again.position.tobytes() == alone.position.tobytes()
    # 1e-12: derivatives of tanh at points exact to round-off.
    np.testing.assert_allclose(again.eigenvalues, alone.eigenvalues, atol=1e-12)
    lent = replace(before, position=before.position[4:6], eigenvalues=before.eigenvalues[4:6] + 10)
    marked = find_fixed_points(step, seed=1, found_before=[lent])[0]
    np.testing.assert_allclose(np.sort(marked.eigenvalues[:, 0].real)[-2:], before.eigenvalues[4:6, 0].real + 10)
    near = replace(lent, position=lent.position + 1e-8)  # beside them: no points found before
    np.testing.assert_array_equal(
        find_fixed_points(step, seed=1, found_before=[near])[0].eigenvalues, alone.eigenvalues
    )
    for other in ([before, before], [replace(before, position=before.position[:, :1])]):
        with pytest.raises(UserError, match="found_before is not of these 1 members with states of 2"):
            find_fixed_points(step, found_before=other)


def test_the_measure_searches_every_member_twice():
    step = tanh_step([untrained(8, 2, 3), {**untrained(8, 2, 4), "recurrent": uniform((8, 8), 4, 1.2)}])
    measure = FixedPointCensus(n_starts=8, seed=5)
    done = [part() for part in measure.parts(Recording(members=("0", "1"), step=step))]
    for seed, which in ((5, 1), (6, 2)):
        alone = find_fixed_points(step, n_starts=8, seed=seed)
        assert [member[which][0].position.tobytes() for member in done] == [f.position.tobytes() for f in alone]
