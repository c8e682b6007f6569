"""What a task says about probing reaches the rows: probe trials, a rest input or none, and inputs held constant.

Known answers: a network that is built to do streaming parity rests in two states under token 0 and goes round in a
cycle of two steps under token 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.measuring.record import record
from degeneracy.networks import Network
from degeneracy.tasks import Trials
from degeneracy.training import History, Member

PARITY = dg.tasks.StreamingParity(n_steps=8)
PROBE = dg.Probe(n_trials=12)
HELD = ("token_0", "token_1")


def parity_network(gain: float) -> dict[str, torch.Tensor]:
    """Two tanh units that hold the parity p: u is on where p + x >= 1, v where p + x = 2, and p = u xor x = u - v.

    With units of -1 and 1, u - v is 0 or 2: u = tanh(g (u - v + 2 x_1 - 1)), v = tanh(g (u - v + 2 x_1 - 3)).
    """
    return {
        "W_rec": gain * torch.tensor([[1.0, -1.0], [1.0, -1.0]]),
        "W_in": gain * torch.tensor([[0.0, 2.0], [0.0, 2.0]]),
        "bias": gain * torch.tensor([-1.0, -3.0]),
        "W_out": torch.tensor([[10.0, -10.0]]),
        "b_out": torch.tensor([-10.0]),
    }


def ensemble_of(*params: dict[str, torch.Tensor], **fields: Any) -> dg.Ensemble:
    members = tuple(
        Member(seed=k, status="given", initial=each, final=each, history=History.empty())
        for k, each in enumerate(params)
    )
    return dg.Ensemble(network=Network(hidden_size=len(params[0]["bias"]), **fields), members=members)


@pytest.fixture(scope="module")
def built() -> dg.Ensemble:
    return ensemble_of(*(parity_network(gain) for gain in (2.0, 2.5, 3.0)))


def test_the_built_networks_do_the_task_at_any_length_and_in_runs(built: dg.Ensemble) -> None:
    for variant in PARITY.variants().values():
        trials = variant.sample(Streams([0], "probe"), 20)
        _, outputs = built.rollout(trials.inputs[0])
        assert ((outputs > 0) == (trials.targets[0].numpy() > 0.5)).all()


def test_under_token_0_two_states_of_rest_and_under_token_1_a_cycle_of_two_steps(built: dg.Ensemble) -> None:
    result = dg.measure(
        built, PARITY, measures=["fixed_points"], options={"fixed_points": {"n_starts": 32}}, probe=PROBE
    )
    values = {f.variant: f.value.value for f in result.measured["fixed_points"].findings}
    assert (values["n_stable/token_0"], values["n_cycles/token_0"]) == (2, 0)
    assert (values["n_stable/token_1"], values["n_cycles/token_1"]) == (0, 1)
    # Between two states of rest there is a saddle, and inside of a cycle a point that is none of it.
    assert (values["n_total/token_0"], values["n_total/token_1"]) == (3, 1)
    assert not {"n_stable", "n_cycles"} & set(values), "there is no 'no input' in this task"
    arrays = result.fixed_points
    cycles = arrays["cycle_position/token_1"].reshape(3, 2, 2)
    for gain, cycle in zip((2.0, 2.5, 3.0), cycles, strict=True):
        w = {name: value.double().numpy() for name, value in parity_network(gain).items()}
        after = np.tanh(cycle @ w["W_rec"].T + w["W_in"][:, 1] + w["bias"])
        np.testing.assert_allclose(after, cycle[::-1], atol=1e-12)
    assert {"census_distance/token_0", "census_distance/token_1"} < {
        name.partition("/")[2] for name in result.distances
    }
    note = next(f.note for f in result.measured["fixed_points"].findings if f.variant == "n_stable/token_1")
    assert note.startswith("100% of forward runs (3 of 3 networks) end in cycles of period 2")


def test_tokens_lead_from_one_parity_to_the_other(built: dg.Ensemble) -> None:
    options = {"fixed_point_graph": {"n_starts": 32}}
    result = dg.measure(built, PARITY, measures=["fixed_point_graph"], options=options, probe=PROBE)
    values = {f.variant: f.value.value for f in result.measured["fixed_point_graph"].findings}
    assert (values["graph/token_0"], values["graph/token_1"]) == (0, 0), "three gains, one graph"
    assert (values["n_cycles/token_0"], values["n_cycles_2/token_1"]) == (0, 1)
    table = result.transitions
    assert list(table.columns) == ["member", "input", "pulse", "from", "to", "share"]
    rows = table[table["member"] == result.measured_members[1]].drop(columns="member").to_numpy().tolist()
    assert rows == [
        ["token_0", "(0, 1)", "+", "-", 1.0],
        ["token_0", "(0, 1)", "-", "+", 1.0],
        ["token_1", "(1, 0)", "(+ -)", "(+ -)", 1.0],
    ]
    with pytest.raises(UserError, match="transitions were not exported"):
        _ = dg.measure(built, PARITY, measures=["cka"], probe=PROBE).transitions


def test_without_a_rest_input_autonomous_rows_say_why(built: dg.Ensemble) -> None:
    recording = record(built, PARITY, PROBE)
    reason = "task 'streaming_parity' has no input that means rest"
    assert recording.autonomous_states is None
    assert recording.missing["autonomous_states"] == reason
    options: dict[str, dict[str, Any]] = {"dsa": {"rank": 2, "n_delays": 2, "n_starts": 2}}
    table = dg.measure(built, PARITY, measures=["dsa"], options=options, probe=PROBE).table.set_index("variant")
    assert table.loc["autonomous", "note"].startswith(reason)
    assert np.isnan(table.loc["autonomous", "value"])
    assert np.isfinite(table.loc["driven", "value"])
    silent = dg.measure(
        built, PARITY, measures=["dsa"], options={"dsa": options["dsa"] | {"autonomous": False}}, probe=PROBE
    )
    assert list(silent.table["variant"]) == ["driven"], "nothing is said of what was not asked for"


class Tonic(dg.tasks.FlipFlop):
    """A flip-flop whose rest is a tonic input, with a context to search under, and probe trials of its own."""

    name: ClassVar[str] = "tonic"

    def probe(self, streams: Streams, n_trials: int) -> Trials:
        trials = self.sample(streams, n_trials)
        return trials.replace(inputs=trials.inputs + 0.25)

    def rest_input(self) -> Sequence[float]:
        return (0.5,) * self.input_size

    def held_inputs(self) -> Mapping[str, Sequence[float]]:
        return {"none": self.rest_input(), "context_a": (1.0,) * self.input_size}


def random_ensemble(task: dg.Task, n: int = 5) -> dg.Ensemble:
    draw = torch.Generator().manual_seed(0)
    n_in, n_out = task.input_size, task.output_size
    sizes = {"W_rec": (n, n), "W_in": (n, n_in), "bias": (n,), "W_out": (n_out, n), "b_out": (n_out,)}
    return ensemble_of(*({name: torch.randn(size, generator=draw) for name, size in sizes.items()} for _ in range(2)))


def test_a_rest_input_of_its_own_and_probe_trials_of_its_own_are_taken() -> None:
    task = Tonic(channels=1, n_steps=9)
    ensemble = random_ensemble(task)
    recording = record(ensemble, task, PROBE)
    inputs = task.sample(Streams([0], "probe"), 12).inputs[0] + 0.25
    states, _ = ensemble.rollout(inputs)
    np.testing.assert_allclose(recording.states[1], states[1], atol=1e-6)  # float32
    assert recording.step is not None
    assert {name: x.tolist() for name, x in recording.step.inputs.items() if name != "mean"} == {
        "none": [0.5],
        "context_a": [1.0],
    }
    # One step of the autonomous run, written out.
    w = {name: value.double().numpy() for name, value in ensemble.members[0].final.items()}
    first = np.tanh(recording.states[0][:, 4] @ w["W_rec"].T + 0.5 * w["W_in"][:, 0] + w["bias"])
    np.testing.assert_allclose(recording.autonomous_states[0][:, 0], first, atol=1e-5)
    rows = dg.measure(ensemble, task, measures=["fixed_points"], options={"fixed_points": {"n_starts": 8}}, probe=PROBE)
    variants = [f.variant for f in rows.measured["fixed_points"].findings]
    assert variants[:2] == ["n_stable", "n_stable_sd"]
    assert variants[7:9] == ["n_stable/context_a", "n_stable_sd/context_a"]


def test_one_input_may_be_chosen_and_an_unknown_one_is_named_before_training() -> None:
    task = Tonic(channels=1, n_steps=9)
    for chosen in ("context_a", "mean"):
        options = {"fixed_points": {"n_starts": 8, "input": chosen}}
        found = dg.measure(random_ensemble(task), task, measures=["fixed_points"], options=options, probe=PROBE)
        assert {f.variant.partition("/")[2] for f in found.measured["fixed_points"].findings} == {chosen}
    options = {"fixed_points": {"input": "contxt_a"}}
    said = r"fixed_points: unknown input 'contxt_a'; did you mean 'context_a'\? \(known: context_a, mean, none\)"
    with pytest.raises(UserError, match=said):
        dg.measure(random_ensemble(task), task, measures=["fixed_points"], options=options, probe=PROBE)
    with pytest.raises(UserError, match=r"input = 'mean' needs recorded inputs, .* \(known here: token_0, token_1\)"):
        dg.measure(
            ensemble_of(parity_network(2.0), parity_network(2.5)),
            PARITY,
            measures=["fixed_points"],
            options={"fixed_points": {"input": "mean"}},
        )


def test_a_study_knows_the_variants_of_its_inputs() -> None:
    fields = {"name": "s", "seeds": [0, 1], "task": {"name": "streaming_parity"}, "measures": ["fixed_points"]}
    claimed = dg.Study(**fields, claims={"dynamics": {"measure": "fixed_points", "variant": "n_cycles/token_1"}})
    assert claimed.claims.dynamics.variant == "n_cycles/token_1"
    with pytest.raises(UserError, match=r"claims\.dynamics: unknown variant 'n_cycles'"):
        dg.Study(**fields, claims={"dynamics": {"measure": "fixed_points", "variant": "n_cycles"}})


def test_probe_trials_of_several_lengths_are_refused() -> None:
    class Ragged(dg.tasks.FlipFlop):
        name: ClassVar[str] = "ragged"

        def sample(self, streams: Streams, n_trials: int) -> Trials:
            trials = super().sample(streams, n_trials)
            valid = trials.valid.clone()
            valid[:, ::2, -2:] = False
            return trials.replace(valid=valid, loss_weights=valid.float(), scored=valid)

    task = Ragged(channels=1, n_steps=9)
    with pytest.raises(UserError, match="the probe trials of task 'ragged' end at different steps"):
        record(random_ensemble(task), task, PROBE)
