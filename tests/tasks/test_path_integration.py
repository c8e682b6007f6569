"""Path integration: the motion's statistics, the walls, and a billiard walked step by step."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.tasks import MSE, PathIntegration, Trials, task_loss

DIMENSIONS = pytest.mark.parametrize("dimensions", [2, 3])


def trials_of(task: PathIntegration, n_trials: int = 500) -> Trials:
    return task.sample(Streams([0], "data"), n_trials)


def travelled(task: PathIntegration, trials: Trials) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions with the start (trial, time + 1, D), unit headings (trial, time, D), speeds, in float64."""
    x = trials.inputs[0].double().numpy()
    n = 2 * (task.dimensions - 1)
    start = x[:, :1, n + 1 :]
    positions = np.concatenate([start, trials.targets[0].double().numpy()], 1)
    headings = x[..., :2]
    if task.dimensions == 3:
        headings = np.concatenate([x[..., 2:3] * headings, x[..., 3:4]], -1)
    return positions, headings, x[..., n]


@DIMENSIONS
def test_inputs_are_what_was_travelled(dimensions: int) -> None:
    task = PathIntegration(dimensions=dimensions, side=2.0)  # a small box: many bounces
    trials = trials_of(task)
    positions, headings, speeds = travelled(task, trials)
    assert np.allclose(np.linalg.norm(headings, axis=-1), 1, atol=1e-6), "float32 unit vectors"
    # float32 positions up to 1 after sums up to 40 (the free walk through the images): 4e-6
    assert np.allclose(np.diff(positions, axis=1), speeds[..., None] * headings, atol=1e-5)
    assert np.abs(positions).max() <= 1
    assert np.abs(positions).max() > 0.999, "walls are met"
    assert speeds.min() >= 0
    assert speeds.max() <= 0.4 + 1e-6


@DIMENSIONS
def test_start_is_given_at_the_first_step_alone(dimensions: int) -> None:
    trials = trials_of(PathIntegration(dimensions=dimensions))
    assert (trials.inputs[:, :, 1:, -dimensions:] == 0).all()
    start = trials.inputs[0, :, 0, -dimensions:]
    for axis in start.T:
        assert stats.kstest(axis.numpy(), "uniform", (-5, 10)).pvalue > 1e-4  # a fixed seed: never or always


@DIMENSIONS
def test_constant_motion_is_a_billiard(dimensions: int) -> None:
    """Without turns, changes of speed and rests, a loop that reflects at each wall gives the same path."""
    task = PathIntegration(
        dimensions=dimensions, side=3.0, v_max=0.5, heading_sd=0, speed_sd=0, mean_stop=2, mean_go=1e9
    )
    positions, headings, speeds = travelled(task, trials_of(task))
    checked = 0
    for path, heading, speed in zip(positions, headings, speeds, strict=True):
        if (speed == 0).any() or (np.abs(np.diff(path[:2], axis=0)) < 1e-6).all():
            continue  # 2 of 1e9 trials start at rest
        place, velocity = path[0].copy(), heading[0] * speed[0]
        if not np.allclose(np.linalg.norm(np.diff(path[:3], axis=0), axis=1), speed[0]):
            continue  # the very first steps meet a wall: the loop would not know the velocity
        walked = [place.copy()]
        for _ in range(100):
            place = place + velocity
            over, under = place > 1.5, place < -1.5
            place = np.where(over, 3 - place, np.where(under, -3 - place, place))
            velocity = np.where(over | under, -velocity, velocity)
            walked.append(place.copy())
        # The loop's velocity comes from float32 inputs: 1e-7 per step over 100 steps, and sums up to 50.
        assert np.allclose(path, walked, atol=1e-4)
        checked += 1
    assert checked > 300


@pytest.mark.parametrize("heading", [0.0, math.pi])
@pytest.mark.parametrize("start", [0.0, 10.0])
def test_a_step_from_wall_to_wall_is_a_move_like_any_other(
    start: float, heading: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest step there can be, and positions just on the walls."""
    task = PathIntegration(v_max=10.0, n_steps=6)
    shape = (1, 3, 6)
    monkeypatch.setattr(Streams, "uniform", lambda *_: torch.full((1, 3, 1, 2), start))
    monkeypatch.setattr(PathIntegration, "_angles", lambda *_: torch.full((1, *shape), heading))
    monkeypatch.setattr(PathIntegration, "_speed", lambda *_: torch.full(shape, 10.0))
    trials = trials_of(task, 3)
    assert torch.allclose(task.solve(trials.inputs), trials.targets, atol=1e-4)  # float32 sums up to 60
    assert set(trials.targets[0, 0, :, 0].abs().tolist()) == {5.0}


def test_headings_and_speeds_walk_as_described() -> None:
    task = PathIntegration(side=1e4)  # so wide that hardly any trial meets a wall
    x = trials_of(task, 2000).inputs[0].double().numpy()
    angle = np.arctan2(x[..., 1], x[..., 0])
    turns = np.angle(np.exp(1j * np.diff(angle, axis=1)))
    # 198,000 turns: sd of an sd of 0.314 is 0.0005; 4 sd.
    assert turns.std() == pytest.approx(math.pi / 10, abs=0.002)
    assert abs(turns.mean()) < 0.003  # sd 0.0007
    assert stats.kstest(angle[:, 0], "uniform", (-math.pi, 2 * math.pi)).pvalue > 1e-4
    speed = x[..., 2]
    moving = speed > 0
    assert stats.kstest(speed[:, 50][moving[:, 50]], "uniform", (0, 0.4)).pvalue > 1e-4
    # A change that starts in the middle of the range is 2 sd from either end: its |median| is the free walk's,
    # 0.6745 sd, since folding at the ends moves only changes larger than that.
    middle = (np.abs(speed[:, :-1] - 0.2) < 0.02) & moving[:, 1:]
    changes = np.diff(speed, axis=1)[middle]
    assert np.median(np.abs(changes)) == pytest.approx(0.06745, rel=0.05)  # about 7,000 changes: sd 1.5%


def test_rests_and_motions_last_their_means() -> None:
    moving = trials_of(PathIntegration(n_steps=400), 2000).inputs[0, :, :, 2].numpy() > 0
    before, after = moving[:, :-1], moving[:, 1:]
    # Leaving has chance 1/mean per step. About 300,000 steps at rest, 10,000 departures: sd 1%; 4 sd.
    assert 1 / after[~before].mean() == pytest.approx(30, rel=0.04)
    assert 1 / (~after[before]).mean() == pytest.approx(50, rel=0.04)
    for share in (moving[:, 0].mean(), moving[:, -1].mean()):
        assert share == pytest.approx(50 / 80, abs=0.044)  # 2000 trials: sd 0.011; 4 sd


def test_elevation_turns_back_at_the_poles() -> None:
    task = PathIntegration(dimensions=3, side=1e4)
    x = trials_of(task, 500).inputs[0].double().numpy()
    assert x[..., 2].min() >= -1e-6, "cos of an elevation within a quarter turn"
    elevation = np.arcsin(x[..., 3].clip(-1, 1))
    assert stats.kstest(elevation[:, 99], "uniform", (-math.pi / 2, math.pi)).pvalue > 1e-4
    assert np.abs(np.diff(elevation, axis=1)).max() < 6 * math.pi / 10, "no jumps"


@DIMENSIONS
def test_positions_stay_uniform(dimensions: int) -> None:
    """What the closed form of the chance level rests on."""
    targets = trials_of(PathIntegration(dimensions=dimensions, side=2.0), 3000).targets[0].numpy()
    for t in (0, 50, 99):
        for axis in targets[:, t].T:
            assert stats.kstest(axis, "uniform", (-1, 2)).pvalue > 1e-4


@DIMENSIONS
def test_solver_worked_by_hand(dimensions: int) -> None:
    # Start at (1, 2[, 3]); a step of 0.5 along x, one of 0.25 along y, a rest. 3D: the last move goes straight up.
    if dimensions == 2:
        x = [[1, 0, 0.5, 1, 2], [0, 1, 0.25, 0, 0], [0, 1, 0, 0, 0.0]]
        y = [[1.5, 2], [1.5, 2.25], [1.5, 2.25]]
    else:
        x = [[1, 0, 1, 0, 0.5, 1, 2, 3], [0, 1, 1, 0, 0.25, 0, 0, 0], [1, 0, 0, 1, 0.125, 0, 0, 0.0]]
        y = [[1.5, 2, 3], [1.5, 2.25, 3], [1.5, 2.25, 3.125]]
    solved = PathIntegration(dimensions=dimensions).solve(torch.tensor(x)[None, None])
    assert torch.equal(solved, torch.tensor(y)[None, None])  # sums of powers of two are exact


def test_variants_do_what_they_say() -> None:
    task = PathIntegration()
    variants = task.variants()
    faster = variants["amplitude"].sample(Streams([0], "data"), 500)
    assert 0.55 < faster.inputs[..., 2].max() <= 0.6 + 1e-6
    assert task_loss(MSE, task.solve(faster.inputs), faster).item() < 1e-8  # float32 sums
    clean = trials_of(task)
    noisy = variants["input_noise"].sample(Streams([0], "data"), 500)
    assert torch.equal(noisy.targets, clean.targets)
    # 250,000 draws: sd of an sd of 0.05 is 0.00007; 4 sd.
    assert (noisy.inputs - clean.inputs).std().item() == pytest.approx(0.05, abs=0.0003)
    tight = PathIntegration(side=1.0, v_max=0.9).variants()["amplitude"]
    assert "speeds times 1.1" in tight.description, "no faster than the box is wide"
    for v_max in np.linspace(6.6, 10, 341):  # whatever rounding makes of side / v_max
        PathIntegration(v_max=v_max).variants()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dimensions": 4}, "dimensions = 4 is wrong"),
        ({"v_max": 11}, "v_max = 11 crosses the whole box of side = 10 in one step"),
        ({"v_max": 0}, "v_max = 0 is wrong"),
        ({"side": -1}, "side = -1 is wrong"),
        ({"mean_stop": 0.3}, "mean_stop = 0.3 is wrong"),
        ({"mean_stop": 1.5, "mean_go": 1.5}, "mean_stop = 1.5 and mean_go = 1.5 steps are too short"),
        ({"heading_sd": -0.1}, "heading_sd = -0.1 is wrong"),
        ({"speed_sd": float("inf")}, "speed_sd = inf is wrong"),
        ({"vmax": 0.4}, "did you mean 'v_max'"),
    ],
)
def test_impossible_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        PathIntegration(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_faster_motion_is_the_same_walk_of_speeds_times_the_factor() -> None:
    task = PathIntegration(side=1e4)  # without a wall in reach of nearly all trials
    speed, faster = (
        sample(Streams([0], "data"), 50).inputs[..., 2] for sample in (task.sample, task.variants()["amplitude"].sample)
    )
    # 1e-6: rounding of float32; a trial in a hundred may meet a wall.
    same = torch.isclose(faster, 1.5 * speed, rtol=0, atol=1e-6).all(-1)
    assert same.float().mean() > 0.95
    assert (speed > 0).any()
