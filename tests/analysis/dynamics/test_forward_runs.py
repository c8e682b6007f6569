"""Forward runs: attractors that no descent leads to, cycles, motion without a period, and what the row says of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fixed_point_systems import independent_units, step_of, tanh_step, trained, uniform
from safetensors.torch import load_file

from degeneracy.analysis.dynamics.fixed_point_distances import census
from degeneracy.analysis.dynamics.fixed_points import find_fixed_points
from degeneracy.analysis.dynamics.forward_runs import multipliers
from degeneracy.analysis.dynamics.measures import FixedPointCensus
from degeneracy.analysis.recording import Recording
from degeneracy.measuring.record import step_function
from degeneracy.networks.cells import TanhCell

PARITY = Path(__file__).parents[2] / "data" / "parity_tanh.safetensors"
ROOT = 0.9575040240772687  # of h = tanh(2 h), by bisection

# --- Systems with known attractors ------------------------------------------------------------------------------


def behind_a_ghost():
    """One stable point, 0, of eigenvalue 0.9; from the visited states, 2 to 3, the speed has a minimum at 1.5 first."""
    return step_of(
        lambda h, _: h - 0.1 * h * ((h - 1.5) ** 2 + 0.05) / 2.3, 2.5 + uniform((1, 100, 1), size=0.5)
    )


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
    assert found.note == "100% of forward runs end in no fixed point and no cycle of a period up to 12"


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


# --- Trained networks -------------------------------------------------------------------------------------------


def parity_step(name):
    """A trained streaming-parity network, its visited states on random bits, and either token as constant input."""
    w = {key.split("/")[1]: value for key, value in load_file(PARITY).items() if key.startswith(f"{name}/")}
    bits = torch.randint(0, 2, (10, 64), generator=torch.Generator().manual_seed(3))
    h, states = torch.zeros(1, 64, len(w["bias"])), []
    for token in torch.eye(2)[bits]:
        h = torch.tanh(h @ w["recurrent"].mT + token @ w["input"].mT + w["bias"])
        states.append(h)
    return tanh_step([w], torch.cat(states, dim=1), inputs=torch.eye(2))


def ends_of_long_runs(step, row):
    """By running on: the points of each period that runs from all visited states end in, and the share of the rest."""
    h = step.visited.double()
    x = step.inputs[row].double().expand(1, h.shape[1], -1)
    for _ in range(3000):
        h = step.step(h, x)
    path = [h[0].numpy()]
    for _ in range(12):
        h = step.step(h, x)
        path.append(h[0].numpy())
    # 1e-8: a run that has converged is back to within round-off; one that turns moves by more than 1e-3 a step.
    back = np.array([abs(later - path[0]).max(axis=1) < 1e-8 for later in path[1:]])
    period = np.where(back.any(axis=0), back.argmax(axis=0) + 1, 0)
    ends: dict[int, list[np.ndarray]] = {}
    for p, state in zip(period, path[0], strict=True):
        if p and all(abs(state - other).max() > 1e-4 for other in ends.setdefault(int(p), [])):
            ends[int(p)].append(state)
    return {p: np.array(some) for p, some in ends.items()}, float((period == 0).mean())


@pytest.mark.parametrize(
    ("name", "row", "kinds"),
    [
        ("three_rests", 0, {1: 3}),
        ("three_rests", 1, {2: 2}),
        ("unrest", 0, {1: 1}),
        ("cycles", 0, {1: 1, 2: 4}),
        ("cycles", 1, {1: 1, 2: 4}),
    ],
)
def test_every_attractor_that_long_runs_of_a_parity_network_end_in(name, row, kinds):
    step = parity_step(name)
    truth, restless = ends_of_long_runs(step, row)
    assert {p: len(states) for p, states in truth.items()} == kinds
    for seed in (0, 1):
        found = find_fixed_points(step, input_index=row, seed=seed)[0]
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


# --- The rows ---------------------------------------------------------------------------------------------------


def rows(step):
    measure = FixedPointCensus(n_starts=32)
    recording = Recording(members=tuple(map(str, range(len(step.visited)))), step=step)
    measured = measure.whole([part() for part in measure.parts(recording)])
    return {finding.variant: finding for finding in measured.findings}


def test_the_rows_say_what_share_of_runs_ends_in_no_fixed_point():
    step = step_of(
        lambda h, _, gain: torch.tanh(gain * h),
        uniform((2, 64, 1)),
        weights=[torch.tensor([2.0, -2.0])[:, None, None]],
    )
    table = rows(step)
    assert [table[row].value.value for row in ("n_stable", "n_total", "n_cycles")] == [1.0, 2.0, 0.5]
    for row in ("n_stable", "n_total", "n_cycles"):
        assert table[row].note == "50% of forward runs (1 of 2 networks) end in cycles of period 2"


def test_a_network_with_weights_that_are_not_finite_has_no_number_and_the_rows_say_why():
    cell = TanhCell()
    params = {
        "W_rec": uniform((3, 4, 4)), "W_in": uniform((3, 4, 2), 1), "bias": uniform((3, 4), 2),
        "W_out": uniform((3, 1, 4), 3), "b_out": uniform((3, 1), 4),
    }  # fmt: skip
    sound = step_function(cell, params, uniform((3, 40, 4)), torch.zeros(1, 2))
    w_rec = params["W_rec"].clone()
    w_rec[1, 2, 3] = torch.inf  # tanh of it is finite, and so is every step
    step = step_function(cell, {**params, "W_rec": w_rec}, sound.visited, sound.inputs)
    assert step.faults == ("", "weights that are not finite: W_rec", "")
    found = find_fixed_points(step)
    assert (len(found[1]), found[1].n_starts, found[1].note) == (0, 0, "weights that are not finite: W_rec")
    for k in (0, 2):
        assert found[k].position.tobytes() == find_fixed_points(sound)[k].position.tobytes()
    table = rows(step)
    for row in ("n_stable", "n_total", "n_cycles", "census_distance", "spectrum_distance"):
        assert np.isnan(table[row].value.value)
    why = "1 of 3 networks have no number of fixed points: weights that are not finite: W_rec"
    assert table["n_stable"].note.startswith(why)
    assert np.isfinite(rows(sound)["n_stable"].value.value)
