"""How parameters act: freedoms among biases are named by the cell, and what never acts is noticed."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import degeneracy as dg
from degeneracy.analysis.recording import Recording, Weights
from degeneracy.checks import CELL_CLAIMS, CheckFailed, check_cell
from degeneracy.core.streams import Streams
from degeneracy.measuring.member_weights import member_weights
from degeneracy.measuring.record import record
from degeneracy.networks import CELLS, Network, forward, initial_params, weights_obstacle
from degeneracy.networks.cell import Cell, Parameter, Params
from degeneracy.networks.gated import GRUCell, LSTMCell
from degeneracy.networks.pointwise import LeakyTanhCell, TanhCell

N, N_IN, N_OUT = 6, 2, 2
ALL: dict[str, Cell] = {name: kind() for name, kind in CELLS.items()} | {"leaky current": LeakyTanhCell(form="current")}
MEASURES = ("pif", "signed_pif", "orthogonal", "effective_rank", "weight_change")


def params_of(cell: Cell, members: int = 2) -> Params:
    network = Network(hidden_size=N, cell=cell.name, cell_options=dict(cell), init_gain=2.0)
    drawn = initial_params(network, N_IN, N_OUT, range(members))
    return {name: value.double() for name, value in drawn.items()}


def shifted(cell: Cell, params: Params, gates: tuple[int, ...]) -> Params:
    """The same with some of one bias given to the other, in some gates."""
    first, second = cell.biases
    change = torch.zeros_like(params[first]).view(len(params[first]), cell.gates, N)
    change[:, list(gates)] = Streams(range(len(change)), "shift").normal((len(gates), N), dtype=torch.float64)
    change = change.flatten(1)
    return params | {first: params[first] + change, second: params[second] - change}


def outputs(cell: Cell, params: Params) -> Tensor:
    inputs = Streams([0], "inputs").normal((4, 9, N_IN), dtype=torch.float64)
    return forward(cell, params, inputs.expand(len(params["W_rec"]), -1, -1, -1), {})[1]


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_of_the_gates_that_a_cell_names_only_the_sum_of_biases_acts(name: str) -> None:
    cell = ALL[name]
    params = params_of(cell)
    for gate in range(cell.gates):
        moved = shifted(cell, params, (gate,))
        same = torch.allclose(outputs(cell, moved), outputs(cell, params), rtol=0, atol=1e-12)  # float64 rounding
        assert same == (gate in cell.summed_biases), gate
    assert {name: kind.summed_biases for name, kind in CELLS.items() if kind.summed_biases} == {
        "gru": (0, 1),
        "lstm": (0, 1, 2, 3),
    }


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_networks_that_differ_in_how_a_sum_is_split_are_at_distance_0(name: str) -> None:
    cell = ALL[name]
    params = params_of(cell, 1)
    copy = shifted(cell, params, cell.summed_biases)
    weights = [member_weights(cell, each)[0] for each in (params, copy)]
    for measure in ("pif", "signed_pif"):
        found = dg.MEASURES[measure]()(Recording(members=("0", "1"), weights=weights))
        for variant, matrix in found.distances.items():
            assert matrix[0, 1] < 1e-12, (measure, variant)  # float64 rounding of the sum
    if name == "gru":  # the candidate's biases are no such freedom
        other = shifted(cell, params, (2,))
        weights[1] = member_weights(cell, other)[0]
        assert dg.MEASURES["pif"]()(Recording(members=("0", "1"), weights=weights)).distances["joint"][0, 1] > 0.1


def test_references_do_not_know_how_a_sum_is_split_either() -> None:
    """Shuffled and untrained members, and the blocks' norms, are those of the sums."""
    cell = ALL["lstm"]
    trained, before = params_of(cell, 3), params_of(cell, 6)
    before = {name: value[3:] for name, value in before.items()}
    tables = []
    for split in (False, True):
        now, then = (
            member_weights(cell, shifted(cell, each, cell.summed_biases) if split else each)
            for each in (trained, before)
        )
        untrained = Recording(members=("0", "1", "2"), weights=then)
        recording = Recording(members=("0", "1", "2"), weights=now, untrained=untrained)
        tables.append(
            [(f.value.value, f.floor.value, f.reference.value) for f in dg.MEASURES["pif"]()(recording).findings]
        )
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-12, atol=1e-12)  # float64 rounding of the sums


def test_two_torch_lstms_of_equal_outputs() -> None:
    """b_hh added into b_ih, and b_hh 0: given as modules and as arrays."""
    pairs = []
    for folded in (False, True):
        core, readout = nn.LSTM(N_IN, N), nn.Linear(N, N_OUT)
        gen = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in (*core.parameters(), *readout.parameters()):
                parameter.uniform_(-0.4, 0.4, generator=gen)
            if folded:
                core.bias_ih_l0 += core.bias_hh_l0
                core.bias_hh_l0.zero_()
        pairs.append((core, readout))
    ensemble = dg.Ensemble.from_modules(pairs)
    states = ensemble.rollout(np.ones((1, 7, N_IN)))[0]
    np.testing.assert_allclose(states[1], states[0], atol=1e-6)  # float32 rounding
    result = dg.measure(
        ensemble,
        dg.tasks.FlipFlop(channels=2, n_steps=8),
        measures=("pif", "signed_pif"),
        probe=dg.Probe(n_trials=4),
    )
    arrays = ensemble.weights()
    given = dg.measure_arrays(
        weights=arrays["W_rec"],
        input_weights=arrays["W_in"],
        bias=np.stack([arrays[name].reshape(2, 4, N) for name in ("bias", "bias_rec")], 2),
        readout=arrays["W_out"],
        cell="lstm",
        measures=("pif", "signed_pif"),
    )
    for each in (result, given):
        for name in ("pif", "signed_pif"):
            # 1e-6: the sum is rounded to float32.
            assert each.measured[name].distances["joint"][0, 1] < 1e-6


def test_sums_by_hand() -> None:
    """Gates 0 and 2 of three: 1 + 10 and 3 + 30 stand in the first row; gate 1 keeps its two biases."""
    bias = np.array([[[1.0], [10.0]], [[2.0], [20.0]], [[3.0], [30.0]]])
    weights = Weights.of(recurrent=np.ones((3, 1, 1)), bias=bias, summed_biases=(0, 2))
    assert weights["bias"] is not None
    assert weights["bias"].tolist() == [[[11.0], [0.0]], [[2.0], [20.0]], [[33.0], [0.0]]]
    assert bias[0, 1, 0] == 10, "what was given is left as it is"
    one = Weights.of(recurrent=np.ones((3, 1, 1)), bias=bias[:, :1], summed_biases=(0, 2))
    assert one["bias"] is not None
    assert one["bias"].tolist() == bias[:, :1].tolist()


class Unconnected(TanhCell):
    """A cell of one's own whose step never uses W_rec."""

    name: ClassVar[str] = "unconnected"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return torch.tanh(drive + 0 * torch.matmul(state, params["W_rec"].mT))


class Halved(LSTMCell):
    """The forget gate does not see the recurrent weights."""

    name: ClassVar[str] = "halved"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        keep = torch.ones(4 * N).to(drive)
        keep[N : 2 * N] = 0
        return super().step({**params, "W_rec": keep[:, None] * params["W_rec"]}, state, drive)


class Unsaid(LSTMCell):
    """An LSTM that does not say that its biases are summed."""

    name: ClassVar[str] = "unsaid"
    summed_biases: ClassVar[tuple[int, ...]] = (0, 1)


class ResetBefore(LSTMCell):
    """Says so wrongly of one gate, whose recurrent bias is squashed."""

    name: ClassVar[str] = "reset_before"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        bias = params["bias_rec"].clone()
        bias[:, :N] = torch.tanh(3 * bias[:, :N])
        return super().step({**params, "bias_rec": bias}, state, drive)


class Deaf(GRUCell):
    """Does not hear its inputs."""

    name: ClassVar[str] = "deaf"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return super().step(params, state, params["bias"].unsqueeze(1).expand_as(drive))


class OneBias(GRUCell):
    """The candidate's recurrent bias is left out."""

    name: ClassVar[str] = "one_bias"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        bias = params["bias_rec"].clone()
        bias[:, 2 * N :] = 0
        return super().step({**params, "bias_rec": bias}, state, drive)


class Overflowing(TanhCell):
    """Never uses W_rec, which is seen where its states are finite: not at large parameters."""

    name: ClassVar[str] = "overflowing"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return torch.tanh(drive) + 0 * (1e38 * drive + torch.matmul(state, params["W_rec"].mT))


class Renamed(TanhCell):
    """Its recurrent weights have another name."""

    name: ClassVar[str] = "renamed"

    def parameters(self, input_size: int, hidden_size: int) -> dict[str, Parameter]:
        named = dict(super().parameters(input_size, hidden_size))
        return {"J": named.pop("W_rec"), **named}

    def product(self, params: Params, state: Tensor) -> Tensor:
        return torch.matmul(state, params["J"].mT)


class Spiking(TanhCell):
    """Binary units with a threshold: no gradient, and at rest for weak inputs, but all of it acts."""

    name: ClassVar[str] = "spiking"
    symmetry: ClassVar[str] = "permutation"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return (drive + torch.matmul(state, params["W_rec"].mT) > 2).to(drive)


OBSTACLES = {
    Unconnected: "the step of cell 'unconnected' never uses W_rec",
    Halved: "the step of cell 'halved' never uses W_rec of gate 1",
    Deaf: "the step of cell 'deaf' never uses W_in of gate 0, W_in of gate 1, W_in of gate 2",
    OneBias: "the step of cell 'one_bias' never uses bias_rec of gate 2",
    Overflowing: "the step of cell 'overflowing' never uses W_rec",
    Unsaid: "the biases of cell 'unsaid', gate 2, act through their sum alone, which its summed_biases does not say",
    ResetBefore: "the biases of cell 'reset_before', gate 0, do not act through their sum alone, which its"
    " summed_biases does not say",
}


@pytest.mark.parametrize("kind", OBSTACLES)
def test_what_does_not_act_is_named(kind: type[Cell]) -> None:
    assert weights_obstacle(kind(), N_IN, N) == OBSTACLES[kind]
    with pytest.raises(CheckFailed, match=f"cell '{kind.name}'"):
        CELL_CLAIMS["acting"](kind())
    with pytest.raises(CheckFailed):
        check_cell(kind())


@pytest.mark.parametrize("size", [1, 2, 6, 33])
@pytest.mark.parametrize("n_in", [1, 3])
def test_every_cell_that_is_here_acts_at_any_size(size: int, n_in: int) -> None:
    for cell in (*ALL.values(), Spiking(), Renamed()):
        assert not weights_obstacle(cell, n_in, size)


class Unbounded(TanhCell):
    """Not finite anywhere: nothing can be said."""

    name: ClassVar[str] = "unbounded"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return super().step(params, state, drive) / 0


def test_states_that_are_not_finite_say_nothing() -> None:
    assert not weights_obstacle(Unbounded(), N_IN, N)


@pytest.mark.parametrize("kind", [Unconnected, Halved, Unsaid])
def test_weights_that_are_not_what_acts_are_not_measured(kind: type[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CELLS, kind.name, kind)
    task = dg.tasks.FlipFlop(channels=2, n_steps=10, threshold=9.0)
    training = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=1, patience=0)
    network = dg.Network(hidden_size=N, cell=kind.name)
    ensemble = dg.train(task, network, training, seeds=range(3), jobs=1, progress=False)
    measures = (*MEASURES, "procrustes", "kernel_alignment")
    result = dg.measure(ensemble, task, measures=measures, probe=dg.Probe(n_trials=16))
    assert set(result.measured) == {"procrustes", "kernel_alignment"}
    for name in MEASURES:
        assert result.missing[name] == f"needs weights: {OBSTACLES[kind]}"
    recording = record(ensemble, task, dg.Probe(n_trials=4))
    assert recording.weights is recording.initial_weights is None
    assert recording.untrained is not None
    assert recording.untrained.weights is None


def test_arrays_of_such_a_cell_are_not_measured_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CELLS, Unconnected.name, Unconnected)
    rng = np.random.default_rng(0)
    weights, states = rng.normal(size=(3, N, N)), rng.uniform(-1, 1, size=(3, 12, 9, N))
    result = dg.measure_arrays(
        weights=weights,
        initial_weights=weights,
        states=states,
        cell=Unconnected.name,
        measures=("pif", "procrustes"),
    )
    assert set(result.measured) == {"procrustes"}
    assert result.missing["pif"] == f"needs weights: {OBSTACLES[Unconnected]}"
