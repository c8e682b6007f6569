"""The search for fixed points: members on their own, its steps and restarts, the short cut for tanh networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixed_point_systems import (
    CUBE,
    independent_units,
    same_set,
    step_of,
    tanh_step,
    trained,
    uniform,
    untrained,
)

from degeneracy.analysis.dynamics.attractors import fixed_points
from degeneracy.analysis.dynamics.attractors.fixed_point_distances import census
from degeneracy.analysis.dynamics.attractors.fixed_point_search import (
    _best_share,
    _caught,
    affine_part,
    affine_step,
    descend,
    distinct,
    midpoints,
    polish,
)
from degeneracy.analysis.dynamics.attractors.fixed_points import find_fixed_points

# --- Members on their own --------------------------------------------------------------------------------------


def test_a_member_is_searched_alike_alone_and_beside_a_nan_member(monkeypatch):
    broken = untrained(8, 2)
    broken["recurrent"] = torch.full((8, 8), torch.nan)
    networks = [{**untrained(8, 2, seed), "recurrent": uniform((8, 8), seed, 1.2)} for seed in (3, 4)]
    alone = [find_fixed_points(tanh_step([n]))[0] for n in networks]
    together = find_fixed_points(tanh_step([networks[0], broken, networks[1]]))
    assert max(map(len, alone)) > 1
    for found, mate in zip(alone, (together[0], together[2]), strict=True):
        assert found.position.tobytes() == mate.position.tobytes()
        assert found.eigenvalues.tobytes() == mate.eigenvalues.tobytes()
    assert (len(together[1]), together[1].n_starts) == (0, 0)
    assert "not finite" in together[1].note
    # All members in one batch, as on an accelerator; 1e-10: products of other shapes may round differently.
    monkeypatch.setattr(fixed_points, "_member_batches", lambda starts: [list(range(len(starts)))])
    batched = find_fixed_points(tanh_step([networks[0], broken, networks[1]]))
    for a, b in zip(together, batched, strict=True):
        assert same_set(a, b, 1e-10)
        assert a.index.tolist() == b.index.tolist()
        np.testing.assert_allclose(abs(a.eigenvalues), abs(b.eigenvalues), atol=1e-8)  # of a non-normal matrix
        np.testing.assert_allclose(a.speed, b.speed, atol=1e-12)  # both at round-off
        assert (a.n_starts, a.note) == (b.n_starts, b.note)


def test_blocks_of_jacobians_do_not_change_the_points(monkeypatch):
    step = independent_units(3)
    whole = find_fixed_points(step)[0]
    monkeypatch.setattr("degeneracy.analysis.dynamics.attractors.fixed_point_search.JACOBIAN_BUDGET", 50)
    monkeypatch.setattr(fixed_points, "JACOBIAN_BUDGET", 50)
    assert same_set(whole, find_fixed_points(step)[0], 1e-12)  # round-off


# --- The short cut for tanh of an affine map -------------------------------------------------------------------


def test_one_state_does_not_make_a_step_affine():
    """Of any step atanh is affine at a single state."""
    step = step_of(lambda h, _: 0.5 * h + 0.1 * h**2, torch.full((1, 1, 2), 0.5))
    assert affine_part(step, step.visited, torch.zeros(1)) is None


def test_the_affine_part_is_the_recurrent_matrix_of_a_tanh_network_and_of_nothing_else():
    step, x = tanh_step([trained()]), torch.zeros(3)
    inner = affine_part(step, step.visited[:, :256], x)
    # 1e-9: the derivative of a float64 tanh over that of the least saturated state, above 1e-4.
    torch.testing.assert_close(inner[0], trained()["recurrent"].double(), atol=1e-9, rtol=0)
    sine = step_of(lambda h, _: torch.tanh(torch.sin(h) + h.roll(1, -1)), uniform((1, 50, 4)))
    leaky = step_of(lambda h, _: 0.5 * h + 0.5 * torch.tanh(2 * h.roll(1, -1)), uniform((1, 50, 4)))
    scaled = step_of(lambda h, _: 3 * torch.tanh(h), uniform((1, 50, 4)))
    for other in (sine, leaky, scaled):
        assert affine_part(other, other.visited, torch.zeros(1)) is None


def test_the_short_cut_takes_the_steps_that_differentiation_takes():
    step, x = tanh_step([trained()]), torch.tensor([0.3, 0.0, -0.2])
    starts = step.visited[:, :40].double()
    inner = affine_part(step, starts, x)
    with_inner, without = (descend(step, starts, x, 20, way) for way in (inner, None))
    torch.testing.assert_close(with_inner, without, atol=1e-9, rtol=0)  # 20 updates of Adam, whose sizes are ratios
    states = [starts[0, :5].numpy()]
    for (h, _), (other, _) in zip(polish(step, states, x, inner), polish(step, states, x), strict=True):
        np.testing.assert_allclose(np.sort(h[:, 0]), np.sort(other[:, 0]), atol=1e-10)


def test_the_points_are_those_found_without_short_cuts(monkeypatch):
    step = tanh_step([trained()])
    quick = find_fixed_points(step, n_starts=64)[0]
    monkeypatch.setattr(fixed_points, "affine_part", lambda *_: None)
    monkeypatch.setattr(fixed_points, "CHUNK", 10**6)
    monkeypatch.setattr(
        "degeneracy.analysis.dynamics.attractors.fixed_point_search._caught", lambda before, *_: before[..., 0] > 9
    )
    assert same_set(quick, find_fixed_points(step, n_starts=64)[0], 1e-10)


def test_a_known_point_catches_what_nears_it_and_nothing_that_leaves():
    known, limit = torch.tensor([[[0.0, 0.0], [5.0, 0.0]]]), torch.tensor([1.0])
    before = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.1, 0.0], [9.0, 0.0], [5.0, 1.0]]])
    after = torch.tensor([[[0.4, 0.0], [0.7, 0.0], [0.3, 0.0], [7.0, 0.0], [5.0, torch.nan]]])
    assert _caught(before, after, (known, limit)).tolist() == [[True, False, False, False, False]]
    step, (start, root) = independent_units(1), (np.array([[0.8]]), np.array([[0.9575]]))
    assert np.isnan(polish(step, [start], torch.zeros(1), None, [root], [0.3])[0][1][0])
    assert polish(step, [start], torch.zeros(1), None, [-root], [0.3])[0][1][0] < 1e-13  # round-off


def test_the_step_written_out_is_the_step():
    step, x = tanh_step([trained(), untrained()]), torch.tensor([0.3, 0.0, -0.2])
    starts = step.visited[:, :256]
    written = affine_step(step, affine_part(step, starts, x), starts, x)
    # Rounding of A and b, seen at one state of 64 units; in float32 that of a sum of 64 terms.
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-5)):
        h = step.visited.to(dtype)
        torch.testing.assert_close(
            written.step(h, x), step.step(h, x.to(dtype).expand(2, 1, 3)), atol=tolerance, rtol=0
        )


def test_points_rest_under_the_step_itself_not_under_the_one_written_out(monkeypatch):
    def inexact(*arguments):
        written = affine_step(*arguments)
        return replace(written, step=lambda h, x: written.step(h, x) + 1e-11)

    monkeypatch.setattr(fixed_points, "affine_step", inexact)
    found = find_fixed_points(tanh_step([trained()]), n_starts=64)[0]
    assert census(found) == CUBE
    assert found.speed.max() < 1.5e-13  # round-off of 64 units


# --- Steps and restarts ----------------------------------------------------------------------------------------


def test_of_a_step_the_share_is_taken_that_ends_slowest_and_is_not_too_long():
    step = step_of(lambda h, _: 0.5 * h, torch.zeros(1, 1, 1))  # it moves by half its distance from 0
    h, whole, longest = (
        torch.tensor([[[3.0], [3.0], [3.0]]]),
        torch.tensor([[[12.0], [12.0], [torch.nan]]]),
        100.0,
    )
    # Shares 1, 1/2, 1/4, 1/8 of a step of -12 from 3 end at -9, -3, 0 and 1.5; those up to 2 long at 1.5 alone.
    end, moved, speed = _best_share(step, h, whole, torch.zeros(1), torch.tensor([[longest, 2.0, longest]]))
    assert end[0, :2, 0].tolist() == [0.0, 1.5]
    assert moved[0, :2, 0].tolist() == [0.0, -0.75]
    assert speed[0].tolist() == [0.0, 0.75, torch.inf]


def test_a_point_at_rest_stays_while_another_member_moves():
    step = step_of(lambda h, _: torch.tanh(2 * h), torch.zeros(2, 1, 1))
    still, moving = polish(step, [np.array([[1e-15]]), np.array([[0.5]])], torch.zeros(1))
    assert still[0][0, 0] == 1e-15  # a speed of 1e-15 is round-off; a step would lead to 0
    assert moving[0][0, 0] == pytest.approx(0.9575, abs=5e-5)  # four digits, as worked out above


def test_distinct_points_and_midpoints_by_hand(monkeypatch):
    points = np.array([[0.0, 0.0], [0.0, 0.1], [4.0, 0.0], [0.0, 0.3], [4.0, 0.1]])
    for block in (256, 1):  # distances are taken in blocks, which change nothing
        monkeypatch.setattr("degeneracy.analysis.dynamics.attractors.fixed_point_search.BLOCK", block)
        np.testing.assert_array_equal(distinct(points, 0.1), points[[0, 2, 3]])  # 0.1 in each unit is 0.14 apart
    corners = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    # Pairs with a point after the first 2, the closest first; (1, 0) is not new, no pair meets at a known point.
    expected = [[0.5, 0.0], [1.5, 0.0], [0.0, 2.0], [0.5, 2.0], [1.0, 2.0]]
    np.testing.assert_array_equal(midpoints(corners, 2, 0.1), expected)
    np.testing.assert_array_equal(midpoints(corners[[0, 1, 2]], 0, 0.1), expected[:2])  # (1, 0) is known
