"""Forward runs: attractors that no descent leads to, cycles, motion without a period, and what the row says of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fixed_point_systems import independent_units, step_of, tanh_step, trained, uniform
from safetensors.torch import load_file

from degeneracy.analysis.dynamics.attractors.fixed_point_distances import census
from degeneracy.analysis.dynamics.attractors.fixed_points import find_fixed_points
from degeneracy.analysis.dynamics.attractors.forward_runs import (
    Outcomes,
    multipliers,
    run_forward,
)

PARITY = Path(__file__).parents[3] / "data" / "parity_tanh.safetensors"
NEITHER = "reach no fixed point and no cycle of a period up to 12 within 3200 steps"
ROOT = 0.9575040240772687  # of h = tanh(2 h), by bisection

# --- Systems with known attractors ------------------------------------------------------------------------------


def behind_a_ghost():
    """One stable point, 0, of eigenvalue 0.9; from the visited states, 2 to 3, the speed has a minimum at 1.5 first."""
    return step_of(lambda h, _: h - 0.1 * h * ((h - 1.5) ** 2 + 0.05) / 2.3, 2.5 + uniform((1, 100, 1), size=0.5))


def turning(angle, n_visited=64):
    """Rotation by an angle, in radians, onto a circle of radius 1: r' = 1.5 r / (1 + r^2 / 2)."""
    matrix = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def step(h, _):
        return 1.5 * h @ matrix.to(h).mT / (1 + 0.5 * h.square().sum(-1, keepdim=True))

    return step_of(step, uniform((1, n_visited, 2)))


def ring():
    """Three units that pass their state on: h_i' = tanh(2 h_(i-1)); the signs of the units go round for ever."""
    return step_of(lambda h, _: torch.tanh(2 * h.roll(1, -1)), uniform((1, 200, 3)))


def test_a_slow_attractor_is_found_where_every_descent_ends_elsewhere():
    found = find_fixed_points(behind_a_ghost())[0]
    np.testing.assert_allclose(found.position, [[0.0]], atol=1e-9)  # solved to 1e-10, over 1 - 0.9
    np.testing.assert_allclose(found.eigenvalues, [[0.9]], atol=1e-8)  # as exact as the position
    assert found.index.tolist() == [0]
    assert (found.runs.n_runs, found.runs.n_restless, found.cycles, found.note) == (50, 0, (), "")


def test_a_planted_cycle_is_counted_once_and_is_no_fixed_point():
    found = find_fixed_points(independent_units(1, gain=-2.0))[0]
    assert census(found) == {1: 1}  # 0 alone
    (cycle,) = found.cycles
    np.testing.assert_allclose(np.sort(cycle.position[:, 0]), [-ROOT, ROOT], atol=1e-12)  # round-off
    # The derivative at both is -2 (1 - h^2), of two steps its square.
    np.testing.assert_allclose(cycle.eigenvalues, [(2 * (1 - ROOT**2)) ** 2], atol=1e-11)
    assert (cycle.n_runs, found.runs.n_runs, found.runs.n_restless) == (128, 128, 0)
    assert found.note == "100% of forward runs end in cycles of period 2"


def test_fixed_points_and_cycles_of_a_ring():
    found = find_fixed_points(ring())[0]
    # Signs +++ and --- stay; ++- and +-- go round, each with its turns one cycle of period 3.
    stable = found.position[found.index == 0]
    np.testing.assert_allclose(np.sort(stable[:, 0]), [-ROOT, ROOT], atol=1e-12)
    assert sorted(np.sign(cycle.position).sum() for cycle in found.cycles) == [-3, 3]
    for cycle in found.cycles:
        assert cycle.position.shape == (3, 3)
        np.testing.assert_allclose(abs(cycle.position), ROOT, atol=1e-12)
        for k in range(3):  # the product of the slopes, whichever point the period starts from
            spectrum = multipliers(ring(), torch.zeros(1), np.roll(cycle.position, k, axis=0))
            np.testing.assert_allclose(spectrum, (2 * (1 - ROOT**2)) ** 3, atol=1e-11)
    n_cycling = sum(cycle.n_runs for cycle in found.cycles)
    assert n_cycling + found.runs.n_restless + found.runs.n_unbounded < found.runs.n_runs == 100
    assert found.runs.n_restless == found.runs.n_unbounded == 0
    assert found.note == f"{n_cycling}% of forward runs end in cycles of period 3"


@pytest.mark.parametrize("angle", [2.399963, 1e-3])  # the golden angle, and one that hardly moves in a step
def test_motion_without_a_short_period_is_neither_point_nor_cycle(angle):
    found = find_fixed_points(turning(angle))[0]
    np.testing.assert_allclose(found.position, [[0.0, 0.0]], atol=1e-6)  # the centre, unstable
    assert (census(found), found.cycles) == ({2: 1}, ())
    assert (found.runs.n_restless, found.runs.n_runs) == (32, 32)
    assert found.note == f"100% of forward runs {NEITHER}"


def test_a_circle_of_cycles_is_a_continuum_and_says_so():
    found = find_fixed_points(turning(2 * np.pi / 5))[0]
    assert {len(cycle.position) for cycle in found.cycles} == {5}
    assert sum(cycle.n_runs for cycle in found.cycles) == 32
    assert "cycles on a continuum, whose number has no meaning" in found.note


def test_what_grows_without_bound_is_said():
    found = find_fixed_points(step_of(lambda h, _: 1.1 * h, uniform((1, 40, 1))))[0]
    assert census(found) == {1: 1}
    assert (found.runs.n_unbounded, found.runs.n_restless) == (20, 0)
    assert found.note == "100% of forward runs grow without bound"


# --- What is slow, close together or without number ------------------------------------------------------------


def test_attractors_in_one_neighbourhood_are_all_found():
    """h' = 0.02 tanh(100 h) in each of two units: with h = 0.02 u, u' = tanh(2 u), which rests at +-0.9575."""
    [found] = find_fixed_points(step_of(lambda h, _: 0.02 * torch.tanh(100 * h), uniform((1, 256, 2))))
    stable = found.position[found.index == 0]
    corners = 0.01915 * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])  # four digits, as worked out for one unit
    np.testing.assert_allclose(stable[np.lexsort(stable.round(3).T[::-1])], corners, atol=1e-6)
    assert found.note == ""


def test_points_on_a_continuum_keep_their_spacing():
    """All of the line h_2 = 0 is at rest, and every run ends at another point of it."""
    factors = torch.tensor([1.0, 0.5])
    step = step_of(lambda h, _: h * factors.to(h), uniform((1, 100, 2)))
    [found] = find_fixed_points(step)
    assert found.n_marginal == len(found) > 3
    near = 0.1 * float(step.visited.square().mean().sqrt())
    assert np.diff(np.sort(found.position[:, 0])).min() / np.sqrt(2) > near  # root mean square over two units
    assert found.runs == Outcomes(n_runs=50)


def test_an_attractor_that_is_reached_slowly_behind_a_slow_passage_is_found():
    """As behind a slow passage, but close to 3 the derivative is 0.999: no run has come to rest after 3,200 steps."""

    def step(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        rate = 0.008 * (0.5 + (h + 0.5) ** 2) * torch.sigmoid(-8 * (h - 1.5))
        return h + (0.001 + rate) * (3 - h)

    [found] = find_fixed_points(step_of(step, uniform((1, 256, 1)) / 2 - 0.5))
    np.testing.assert_allclose(found.position, [[3.0]], atol=1e-10)  # speed 1e-14 over 1 - 0.999
    assert found.runs == Outcomes(n_runs=128)


def test_a_rest_that_is_neared_slowly_is_a_rest():
    """h' = 0.999 h: after 3,200 steps 0.04 of the way is left, exp(-3.2), and it goes on towards 0."""
    step = step_of(lambda h, _: 0.999 * h, 0.1 * uniform((1, 60, 1)) + 0.5)
    [found] = find_fixed_points(step)
    assert census(found) == {0: 1}
    assert found.runs == Outcomes(n_runs=30)


def test_a_cycle_that_is_neared_slowly_is_a_cycle():
    """h' = -h (1 + e - e h^2) goes between +-1; over two steps the derivative is (1 - 2 e)^2 = 0.9992."""
    e = 2e-4
    visited = 0.2 * uniform((1, 60, 1)) + 1.1
    visited[:, ::3] = 1.0  # these have settled at once; others are up to 0.1 away after 3,200 steps
    step = step_of(lambda h, _: -h * (1 + e - e * h**2), visited)
    [found] = find_fixed_points(step)
    [cycle] = found.cycles
    np.testing.assert_allclose(sorted(cycle.position[:, 0]), [-1, 1], atol=1e-9)  # speed 1e-13 over 1 - 0.9992
    np.testing.assert_allclose(cycle.eigenvalues, [(1 - 2 * e) ** 2], atol=1e-9)
    assert (cycle.n_runs, found.runs.n_restless) == (30, 0)


def test_a_rest_that_is_neared_from_both_sides_is_no_cycle():
    """h' = -0.99999 h is back after two steps to within 2e-5, and on its way to 0 for 100,000 steps."""
    visited = torch.cat([uniform((1, 40, 1)), 0.1 * uniform((1, 40, 1), 1)], dim=1)
    [found] = find_fixed_points(step_of(lambda h, _: -0.99999 * h, visited))
    assert (census(found), found.cycles) == ({0: 1}, ())
    assert 0 < found.runs.n_restless <= 40


def test_cycles_without_number_are_said_to_have_none():
    step = step_of(lambda h, _: -h, uniform((1, 100, 2)))  # every state comes back after two steps
    [found] = find_fixed_points(step)
    assert len(found.cycles) > 1
    assert all(cycle.is_marginal for cycle in found.cycles)
    assert found.note.endswith("cycles on a continuum, whose number has no meaning")
    firsts = np.array([cycle.position[0] for cycle in found.cycles])
    both = np.concatenate([firsts, -firsts])
    gap = np.sqrt(np.square(both[:, None] - both).mean(-1))[~np.eye(len(both), dtype=bool)]
    assert gap.min() > 0.99 * 0.1 * float(step.visited.square().mean().sqrt())  # but for a point and its own mirror


def test_a_slow_turn_about_an_unstable_cycle_is_no_cycle():
    """The third unit goes between +-0.9575, the others turn by 0.05 per step on a circle of radius 0.05 about 0."""
    c, s = np.cos(0.05), np.sin(0.05)

    def step(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        turned = torch.stack([c * h[..., 0] - s * h[..., 1], s * h[..., 0] + c * h[..., 1]], dim=-1)
        gain = 1 + 0.01 * (1 - 400 * turned.square().sum(-1, keepdim=True)).clamp(min=-9)
        return torch.cat([gain * turned, -torch.tanh(2 * h[..., 2:])], dim=-1)

    [found] = find_fixed_points(step_of(step, uniform((1, 100, 3))))
    assert found.runs == Outcomes(n_runs=50, n_restless=50)


def test_a_run_that_has_settled_is_left_there_while_others_go_on():
    """Beside a member that never settles, 0.9^100 is left of the way to 0 and not 0.9^3200."""
    gains = torch.tensor([[[0.9]], [[-1.0]]])
    starts, x = torch.ones(2, 3, 1), torch.tensor([0.3])
    turning_on = step_of(lambda h, x, gain: torch.where(gain < 0, h + x, gain * h), starts, weights=[gains])
    ended = run_forward(turning_on, starts, x, [0.1, 0.1])
    np.testing.assert_allclose(ended.state[0], 0.9**100, rtol=1e-4)  # 100 products in float32
    np.testing.assert_allclose(ended.state[1], 1 + 3200 * 0.3, rtol=1e-4)
    np.testing.assert_allclose(ended.gap[1, 0], 3 * np.arange(1, 13), rtol=1e-3)  # 0.3 per step, in units of 0.1


def test_a_drift_is_no_rest_however_slow():
    for speed in (0.1, 1e-6):
        found = find_fixed_points(step_of(lambda h, _, v=speed: h + v, uniform((1, 40, 1))))[0]
        assert found.runs == Outcomes(n_runs=20, n_restless=20)
        assert (len(found), found.note) == (0, f"100% of forward runs {NEITHER}")


# --- Trained networks -------------------------------------------------------------------------------------------


def parity_step(name):
    """A trained streaming-parity network, its visited states on random bits, and either token as constant input."""
    w = {key.split("/")[1]: value for key, value in load_file(PARITY).items() if key.startswith(f"{name}/")}
    bits = torch.randint(0, 2, (10, 64), generator=torch.Generator().manual_seed(3))
    h, states = torch.zeros(1, 64, len(w["bias"])), []
    for token in torch.eye(2)[bits]:
        h = torch.tanh(h @ w["recurrent"].mT + token @ w["input"].mT + w["bias"])
        states.append(h)
    held = {"token_0": torch.tensor([1.0, 0.0]), "token_1": torch.tensor([0.0, 1.0])}
    return tanh_step([w], torch.cat(states, dim=1), inputs=held)


def ends_of_long_runs(step, held_input):
    """By running on: the points of each period that runs from all visited states end in, and the share of the rest."""
    h = step.visited.double()
    x = step.inputs[held_input].double().expand(1, h.shape[1], -1)
    for _ in range(3000):
        h = step.step(h, x)
    path = [h[0].numpy()]
    for _ in range(12):
        h = step.step(h, x)
        path.append(h[0].numpy())
    # 1e-8: a run that has converged is back to within round-off; one that turns moves by more than 1e-3 per step.
    back = np.array([abs(later - path[0]).max(axis=1) < 1e-8 for later in path[1:]])
    period = np.where(back.any(axis=0), back.argmax(axis=0) + 1, 0)
    ends: dict[int, list[np.ndarray]] = {}
    for p, state in zip(period, path[0], strict=True):
        if p and all(abs(state - other).max() > 1e-4 for other in ends.setdefault(int(p), [])):
            ends[int(p)].append(state)
    return {p: np.array(some) for p, some in ends.items()}, float((period == 0).mean())


@pytest.mark.parametrize(
    ("name", "held_input", "kinds"),
    [
        ("three_rests", "token_0", {1: 3}),
        ("three_rests", "token_1", {2: 2}),
        ("unrest", "token_0", {1: 1}),
        ("cycles", "token_0", {1: 1, 2: 4}),
        ("cycles", "token_1", {1: 1, 2: 4}),
    ],
)
def test_every_attractor_that_long_runs_of_a_parity_network_end_in(name, held_input, kinds):
    step = parity_step(name)
    truth, restless = ends_of_long_runs(step, held_input)
    assert {p: len(states) for p, states in truth.items()} == kinds
    for seed in (0, 1):
        found = find_fixed_points(step, held_input=held_input, seed=seed)[0]
        stable = {1: found.position[found.index == 0]}
        for cycle in found.cycles:
            p = len(cycle.position)
            stable[p] = np.concatenate([stable.get(p, cycle.position[:0]), cycle.position])
        assert {p: len(states) for p, states in stable.items() if len(states)} == kinds
        for p, states in truth.items():
            gap = abs(states[:, None] - stable[p]).max(-1)
            assert gap.min(1).max() < 1e-6  # long runs stop at 1e-8 per period, over 1 - eigenvalue
        # Of 128 runs drawn from 640 a share deviates by less than .13 (three standard errors of 1/2).
        assert abs(found.runs.n_restless / found.runs.n_runs - restless) < 0.13


def test_runs_of_a_flip_flop_all_rest():
    found = find_fixed_points(tanh_step([trained()]))[0]
    assert (found.runs.n_runs, found.runs.n_restless, found.cycles, found.note) == (128, 0, (), "")


def test_what_a_member_ends_in_depends_on_no_companion():
    step = step_of(
        lambda h, _, gain: torch.tanh(gain * h),
        uniform((3, 64, 2)),
        weights=[torch.tensor([2.0, -2.0, 0.5])[:, None, None]],
    )
    together = find_fixed_points(step)
    for k, found in enumerate(together):
        alone = find_fixed_points(step.select([k]))[0]
        assert found.position.tobytes() == alone.position.tobytes()
        assert [cycle.n_runs for cycle in found.cycles] == [cycle.n_runs for cycle in alone.cycles]
        for a, b in zip(found.cycles, alone.cycles, strict=True):
            assert a.position.tobytes() == b.position.tobytes()
    assert [len(found.cycles) > 0 for found in together] == [False, True, False]
