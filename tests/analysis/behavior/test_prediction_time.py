"""Valid prediction time: of networks that know the equation and of those that do not, and where there is no loop."""

import numpy as np
import pytest
import torch

import degeneracy as dg
from degeneracy.analysis.behavior.measures import ValidPredictionTime
from degeneracy.analysis.recording import Recording
from degeneracy.core.streams import Streams
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.probe import Probe
from degeneracy.measuring.record import record
from degeneracy.networks import Network, forward, initial_params
from degeneracy.tasks import Lorenz96, closed_loop, valid_prediction_time
from degeneracy.tasks.lorenz96 import WARM_UP
from degeneracy.training import History, Member

TASK = Lorenz96(dimensions=4, n_steps=30)


def untrained(n: int = 3, cell: str = "tanh") -> Ensemble:
    network = Network(hidden_size=5, cell=cell)
    params = initial_params(network, 4, 4, range(n))
    members = tuple(
        Member(
            seed=k,
            status="given",
            initial={name: value[k] for name, value in params.items()},
            final={name: value[k] for name, value in params.items()},
            history=History.empty(),
        )
        for k in range(n)
    )
    return Ensemble(network=network, members=members)


def test_by_hand() -> None:
    # Means over trials 1, 2, 6; their mean 3, their sd sqrt((4 + 1 + 9)/2) = sqrt 7. Halves (even and odd trials)
    # (0, 2), (1, 3), (4, 8): half differences -1, -1, -2, of sd sqrt(1/3).
    times = np.array([[0.0, 2.0], [1.0, 3.0], [4.0, 8.0]])
    found = ValidPredictionTime()(Recording(members=("0", "1", "2"), prediction_times=times))
    mean, sd = found.findings
    assert (mean.variant, mean.value.value, mean.floor) == ("mean", 3.0, None)
    np.testing.assert_allclose(mean.value.leave_one_out, [4.0, 3.5, 1.5])
    assert sd.value.value == pytest.approx(7**0.5)
    assert sd.floor.value == pytest.approx((1 / 3) ** 0.5)
    assert found.arrays["times"].tolist() == [1.0, 2.0, 6.0]


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_the_loop_is_the_network_run_on_its_own_outputs(cell: str) -> None:
    """An independent route: the whole trial anew at every step, the last output appended to the inputs."""
    ensemble = untrained(cell=cell)
    found = record(ensemble, TASK, Probe(n_trials=4)).prediction_times
    loop = TASK.closed_loop()
    trials = loop.sample(Streams([0], "probe"), 4)
    given = trials.inputs[:, :, :WARM_UP].expand(3, -1, -1, -1)
    n_free = trials.inputs.shape[2] - WARM_UP
    assert n_free * TASK.dt == pytest.approx(10), "time units"
    for _ in range(12):  # untrained networks are lost long before
        outputs = forward(ensemble.cell, ensemble.params(), given, {})[1]
        given = torch.cat([given, outputs[:, :, -1:]], 2)
    free = given[:, :, WARM_UP + 1 :]  # the first prediction from a prediction, and so on
    outputs = forward(ensemble.cell, ensemble.params(), given, {})[1]
    free = torch.cat([free, outputs[:, :, -1:]], 2)
    true = trials.targets[:, :, WARM_UP : WARM_UP + free.shape[2]].expand_as(free)
    expected = valid_prediction_time(free, true, dt=TASK.dt).numpy()
    assert found.shape == (3, 4)
    assert expected.max() < 12 * TASK.dt
    np.testing.assert_allclose(found, expected)


def test_a_network_that_knows_the_equation_stays_and_a_worse_one_does_not(monkeypatch) -> None:
    """Members whose outputs are put in place of a network's: the solver's, and the solver's with an error of 1%."""
    task = Lorenz96(n_steps=30)
    size = {"fields": (8, 8)}
    network = Network(hidden_size=5)
    params = initial_params(network, *size["fields"], range(2))
    members = tuple(
        Member(
            seed=k,
            status="given",
            initial={},
            final={name: value[k] for name, value in params.items()},
            history=History.empty(),
        )
        for k in range(2)
    )
    loop = closed_loop

    def solving(step, inputs, *, warm_up, state):
        factor = torch.tensor([1.0, 1.01]).view(2, 1, 1)
        return loop(
            lambda x, s: (task.solve(x.unsqueeze(2))[:, :, 0] * factor, s),
            inputs,
            warm_up=warm_up,
            state=state,
        )

    monkeypatch.setattr("degeneracy.measuring.behaving.closed_loop", solving)
    result = dg.measure(
        Ensemble(network=network, members=members), task, measures=["valid_prediction_time"], probe=Probe()
    )
    knows, worse = result.measured["valid_prediction_time"].arrays["times"]
    # float32 rounding of 1e-7 grows to 0.4 in about 9.5 time units, an error of 0.01 in ln(40)/1.6 = 2.3.
    assert knows > 6
    assert 0.5 < worse < 4
    sd = result.table.set_index("variant")["value"]["sd"]
    assert sd == pytest.approx((knows - worse) / 2**0.5)


@pytest.mark.parametrize(("right", "time"), [("before", 0.0), ("after", 10.0)])
def test_time_is_counted_from_the_first_prediction_of_a_prediction(right: str, time: float, monkeypatch) -> None:
    """Outputs that are right as long as true inputs are given, and no longer; and the other way round."""

    def outputs(step, inputs, *, warm_up, state):
        alone = torch.arange(inputs.shape[2]).view(-1, 1) >= warm_up
        return torch.where(alone if right == "after" else ~alone, TASK.solve(inputs), 100.0)

    monkeypatch.setattr("degeneracy.measuring.behaving.closed_loop", outputs)
    found = record(untrained(), TASK, Probe(n_trials=4)).prediction_times
    np.testing.assert_allclose(found, np.full((3, 4), time))


def test_where_there_is_no_loop_it_is_listed_only_if_asked_for() -> None:
    flip_flop = dg.tasks.FlipFlop(channels=4, n_steps=12)
    asked = dg.measure(untrained(), flip_flop, measures=["valid_prediction_time", "cka"], probe=Probe(n_trials=6))
    assert asked.missing == {"valid_prediction_time": "needs prediction times: the task has no closed loop"}
    options = {"dsa": {"n_delays": 2, "rank": 3, "n_starts": 2}, "pif": {"n_restarts": 1}}
    options |= {"signed_pif": {"n_restarts": 1}, "fixed_points": {"n_starts": 4}}
    default = dg.measure(untrained(), flip_flop, options=options, probe=Probe(n_trials=6))
    assert "valid_prediction_time" not in set(default.table["measure"])
    assert default.missing == {}
    states = np.random.default_rng(0).normal(size=(3, 6, 12, 5))
    given = dg.measure_arrays(states=states, options=options)
    assert "valid_prediction_time" not in given.missing
