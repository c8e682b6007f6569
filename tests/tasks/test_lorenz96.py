"""Lorenz-96: the equation, its integration, the attractor, and running free."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.stats import chisquare

from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.tasks import MSE, Lorenz96, closed_loop, lorenz96, task_loss, valid_prediction_time
from degeneracy.tasks.lorenz96 import (
    _attractor,
    _reference_runs,
    climate,
    critical_forcing,
    rate_of_change,
    runge_kutta_step,
)


def rate(_: float, x: np.ndarray) -> np.ndarray:
    """The equation, site by site."""
    n = len(x)
    return np.array([(x[(i + 1) % n] - x[i - 2]) * x[i - 1] - x[i] + 8 for i in range(n)])


def test_rate_worked_by_hand() -> None:
    # Sites 1, 2, 3, 4 on a ring, F = 8:
    # (2 - 3) 4 - 1 + 8 = 3;  (3 - 4) 1 - 2 + 8 = 5;  (4 - 1) 2 - 3 + 8 = 11;  (1 - 2) 3 - 4 + 8 = 1
    found = rate_of_change(torch.tensor([1.0, 2, 3, 4]), 8.0)
    assert found.tolist() == [3, 5, 11, 1]


def test_step_agrees_with_scipy_and_is_of_fourth_order() -> None:
    x = np.random.default_rng(0).normal(2, 3, 8)
    errors = []
    for dt in (0.05, 0.025):
        true = solve_ivp(rate, (0, 0.05), x, rtol=1e-12, atol=1e-12).y[:, -1]
        found = torch.tensor(x)
        for _ in range(round(0.05 / dt)):
            found = runge_kutta_step(found, 8.0, dt)
        errors.append(np.abs(found.numpy() - true).max())
    assert errors[0] < 0.01  # dt^5 of rates up to 17 per time unit: (0.05 * 17)^5/120 = 0.004 of a state of size 3
    assert 10 < errors[0] / errors[1] < 32, "half the step, 2^4 = 16 times the accuracy"


def test_dt_is_applied_once() -> None:
    """Twice applied, the range over 1000 steps of 0.01 is 0.0009; it should be 19."""
    task = Lorenz96(dimensions=8, dt=0.01, n_steps=1000)
    mean, sd = climate(8, 8.0, 0.01)
    states = mean + sd * task.sample(Streams([0], "data"), 8).inputs
    spans = states.amax((2, 3)) - states.amin((2, 3))
    assert spans.min() > 13
    assert spans.max() < 26
    # By another route: the state after 10 time units of scipy has moved as far.
    own = solve_ivp(rate, (0, 10), states[0, 0, 0].double().numpy(), rtol=1e-8, max_step=0.05).y
    assert 13 < np.ptp(own) < 26


def test_successive_states_follow_scipy() -> None:
    task = Lorenz96(dimensions=6, n_steps=10)
    mean, sd = climate(6, 8.0, 0.05)
    states = mean + sd * task.sample(Streams([0], "data"), 3).inputs[0].double().numpy()
    for path in states:
        true = solve_ivp(rate, (0, 0.45), path[0], t_eval=np.arange(10) * 0.05, rtol=1e-10, atol=1e-10).y.T
        # 9 steps of error 0.004 at the very most, grown by exp(1.6 * 0.45) = 2
        assert np.abs(path - true).max() < 0.07


def test_target_is_the_next_input() -> None:
    trials = Lorenz96().sample(Streams([0, 1], "data"), 10)
    assert torch.equal(trials.targets[:, :, :-1], trials.inputs[:, :, 1:])


@pytest.mark.parametrize(("dimensions", "forcing"), [(8, 8.0), (20, 8.0), (5, 12.0)])
def test_climate_obeys_the_energy_balance(dimensions: int, forcing: float) -> None:
    """d/dt sum x^2/2 = F sum x - sum x^2 is 0 on average: var = mean (F - mean)."""
    mean, sd = climate(dimensions, forcing, 0.02)
    # About 10,000 independent values: 1% for a mean square; the balance is off by (energy's end - start)/time too.
    assert sd**2 == pytest.approx(mean * (forcing - mean), rel=0.02)


def test_transients_are_burned_off() -> None:
    inputs = Lorenz96(n_steps=200).sample(Streams([0], "data"), 1000).inputs[0]
    early, late = inputs[:, :20], inputs[:, -20:]
    # 1000 trials of 8 sites, some 3000 independent values: sd of a mean 0.02; of an sd 0.015; 4 sd.
    assert abs(early.mean() - late.mean()) < 0.1
    assert abs(early.std() - late.std()) < 0.08
    assert abs(late.std() - 1) < 0.06


def test_normalisation_does_not_depend_on_the_length_of_trials() -> None:
    short, long = (Lorenz96(n_steps=n).sample(Streams([0], "data"), 20) for n in (50, 100))
    assert torch.equal(long.inputs[:, :, :50], short.inputs)


def test_reference_runs_ignore_the_default_device_and_gradient_mode() -> None:
    task = Lorenz96(dimensions=4, n_steps=5)
    expected = task.sample(Streams([0], "data"), 3).inputs
    for cached in (_attractor, climate, _reference_runs):
        cached.cache_clear()
    torch.set_default_device("meta")
    try:
        with torch.inference_mode():
            found = task.sample(Streams([0], "data"), 3).inputs.clone()
    finally:
        torch.set_default_device("cpu")
    assert torch.equal(found, expected)
    weight = torch.ones(4, requires_grad=True)
    later = task.sample(Streams([0], "data"), 3)
    (later.inputs * weight).sum().backward()  # runs computed under inference mode still serve training
    assert weight.grad is not None
    assert torch.allclose(weight.grad, expected.sum((0, 1, 2)), atol=1e-5)  # float32 sums of 15 numbers


def test_trials_are_turned_stretches_of_the_reference_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    # Planted runs whose values say where they come from: run * 10^5 + step * 10 + site, exact in float32.
    where = torch.arange(7).view(-1, 1, 1) * 1e5 + torch.arange(403).view(-1, 1) * 10 + torch.arange(5)
    monkeypatch.setattr(lorenz96, "_reference_runs", lambda *_: where)
    found = Lorenz96(dimensions=5, n_steps=3).sample(Streams([0], "data"), 4000).inputs[0].long()
    run, step, site = found // 100_000, found % 100_000 // 10, found % 10
    assert (run == run[:, :1, :1]).all()
    assert torch.equal(step, step[:, :1, :1] + torch.arange(3).view(-1, 1).expand_as(step[0]))
    assert torch.equal(site, (site[:, :1, :1] + torch.arange(5)).remainder(5).expand_as(site))
    assert set(step[:, 0, 0].tolist()) == set(range(400))
    for chosen in (run, site):
        assert chisquare(chosen[:, 0, 0].bincount()).pvalue > 1e-4  # a fixed seed: fails never or always


def test_sites_are_alike() -> None:
    inputs = Lorenz96().sample(Streams([0], "data"), 2000).inputs[0]
    # 2000 trials of some 5 independent values: sd of a site's mean 0.01; 5 sd.
    assert inputs.mean((0, 1)).abs().max() < 0.05


def test_threshold_asks_for_more_than_the_baselines_in_its_reason() -> None:
    task = Lorenz96()
    x = task.sample(Streams([0], "data"), 500).inputs[0].double().numpy()
    persistence = np.square(np.diff(x, axis=1)).mean()
    assert persistence == pytest.approx(task.persistence_loss(), rel=0.05)
    assert persistence == pytest.approx(0.072, rel=0.05)
    scores = []
    for n in (1, 3):
        past = np.concatenate([x[:, k : 97 + k] for k in range(3 - n, 3)], -1).reshape(-1, 8 * n)
        design = np.column_stack([past, np.ones(len(past))])
        future = x[:, 3:].reshape(-1, 8)
        scores.append(np.square(design @ np.linalg.lstsq(design, future)[0] - future).mean())
    assert scores == pytest.approx([0.051, 0.0023], rel=0.05)  # 500 trials: 2% for one sd
    assert task.threshold < min(scores) / 2


def test_valid_prediction_time_worked_by_hand() -> None:
    true = torch.zeros(4, 5, 2)
    predicted = torch.zeros(4, 5, 2)
    predicted[1, 2] = torch.tensor([0.6, 0.0])  # RMS 0.42: lost at the third step, although right again later
    predicted[2, 0, 0] = float("nan")
    predicted[3, :, 0] = 0.5  # RMS 0.354: never lost
    assert valid_prediction_time(predicted, true).tolist() == [5, 2, 0, 5]
    found = valid_prediction_time(predicted, true, threshold=0.3, dt=0.05)
    assert torch.allclose(found, torch.tensor([0.25, 0.1, 0.0, 0.0]))  # float32 of 5 * 0.05


def test_closed_loop_feeds_outputs_back_after_the_warm_up() -> None:
    inputs = torch.tensor([1.0, 10, 100, 1000, 10000]).view(1, 1, 5, 1)

    def doubling(x: torch.Tensor, count: int) -> tuple[torch.Tensor, int]:
        return 2 * x + count, count + 1

    # Steps 0 and 1 see 1 and 10: 2 + 0, 20 + 1; then 2 * 21 + 2 = 44, 2 * 44 + 3 = 91, 2 * 91 + 4 = 186.
    outputs = closed_loop(doubling, inputs, warm_up=2, state=0)
    assert outputs.flatten().tolist() == [2, 21, 44, 91, 186]
    changed = inputs.clone()
    changed[:, :, 2:] = -1
    assert torch.equal(closed_loop(doubling, changed, warm_up=2, state=0), outputs)
    for wrong in (0, 6):
        with pytest.raises(UserError, match="must be from 1 to the 5 steps"):
            closed_loop(doubling, inputs, warm_up=wrong, state=0)


def test_closed_loop_of_the_solver_is_valid_and_that_of_a_worse_model_is_not() -> None:
    task = Lorenz96(n_steps=200)
    trials = task.sample(Streams([0], "data"), 50)
    wrong = task.replace(forcing=9.0)
    mean, sd = climate(8, 8.0, 0.05)

    def own(x: torch.Tensor, state: None) -> tuple[torch.Tensor, None]:
        return task.solve(x), state

    def off(x: torch.Tensor, state: None) -> tuple[torch.Tensor, None]:
        return (runge_kutta_step(mean + sd * x, wrong.forcing, 0.05) - mean) / sd, state

    times = [
        valid_prediction_time(closed_loop(step, trials.inputs, warm_up=1), trials.targets, dt=task.dt).mean()
        for step in (own, off)
    ]
    # float32 rounding of 1e-7 grows to 0.4 in ln(4e6)/1.6 = 9.5 time units, an error of a forcing in about 1.
    assert times[0] > 6
    assert times[1] < 3


def test_chaos_neighbours_part() -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 8
    for _ in range(400):
        x = runge_kutta_step(x, 8.0, 0.05)
    y = x + 1e-8
    for _ in range(100):
        x, y = runge_kutta_step(x, 8.0, 0.05), runge_kutta_step(y, 8.0, 0.05)
    exponent = ((y - x).norm(dim=1) / (1e-8 * 8**0.5)).log().mean().item() / 5
    assert 1.0 < exponent < 2.2  # 1.6 per time unit, over 5 of them from 50 starts


def test_critical_forcing() -> None:
    # 4 sites: cos(pi/2) - cos(pi) = 1. Many sites: the most of cos a - cos 2a is 9/8 (at cos a = 1/4).
    assert critical_forcing(4) == pytest.approx(1, abs=1e-12)
    assert critical_forcing(256) == pytest.approx(8 / 9, rel=1e-3)


def test_amplitude_targets_follow_the_equation() -> None:
    task = Lorenz96()
    trials = task.variants()["amplitude"].sample(Streams([0], "data"), 100)
    assert torch.equal(trials.inputs, 1.5 * task.sample(Streams([0], "data"), 100).inputs)
    assert task_loss(MSE, task.solve(trials.inputs), trials).item() == 0
    assert not torch.allclose(trials.targets[:, :, :-1], trials.inputs[:, :, 1:], atol=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dimensions": 3}, "dimensions = 3 is wrong"),
        ({"forcing": 0.5}, "forcing = 0.5 lets 8 sites come to rest at x = F: it must be over 1"),
        ({"forcing": -8}, "forcing = -8 is wrong"),
        ({"dt": 0.2}, "dt = 0.2 is too long a step at forcing = 8"),
        ({"dt": 0.2}, "so dt at most 0.05882"),
        ({"dt": 0}, "dt = 0 is wrong"),
        ({"sites": 8}, "unknown key 'sites'"),
    ],
)
def test_impossible_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Lorenz96(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
