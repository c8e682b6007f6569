"""Cells with parameters of their own: each that acts is in the distance of weights, and nothing that does not act."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import degeneracy as dg
from degeneracy.analysis.recording import Recording, Weights
from degeneracy.analysis.weights import pif
from degeneracy.analysis.weights.symmetry import normalise_scaling, random_copy
from degeneracy.checks import CELL_CLAIMS, CheckFailed, check_cell
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.measuring.member_weights import member_weights
from degeneracy.networks import Parameter, Params, forward, parameters, weights_obstacle
from degeneracy.networks.cell import Cell, Kernel
from degeneracy.networks.gated import LSTMCell
from degeneracy.networks.pointwise import TanhCell
from degeneracy.training import Training, train_stack

N, N_IN, N_OUT = 5, 2, 3


class Gain(TanhCell):
    """A trained gain per unit."""

    name: ClassVar[str] = "gain"
    symmetry: ClassVar[str] = "signed_permutation"

    def parameters(self, input_size: int, hidden_size: int) -> Mapping[str, Parameter]:
        gain = Parameter(axes=("unit",), sizes=(hidden_size,), role="unit", start=(0.5, 1.5))
        return {**super().parameters(input_size, hidden_size), "gain": gain}

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return torch.tanh(params["gain"].unsqueeze(1) * (drive + self.product(params, state)))


class Gates(Cell):
    """Two gates that see the inputs alone."""

    name: ClassVar[str] = "gates_alone"
    symmetry: ClassVar[str] = "linear_permutation"
    gates: ClassVar[int] = 2
    candidate: ClassVar[int] = 1

    def parameters(self, input_size: int, hidden_size: int) -> Mapping[str, Parameter]:
        named = super().parameters(input_size, hidden_size)
        return {name: parameter for name, parameter in named.items() if parameter.role != "recurrent"}

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:  # noqa: ARG002
        update, candidate = drive.chunk(2, dim=-1)
        return state + torch.sigmoid(update) * (candidate - state)


class Unsigned(TanhCell):
    """Nothing of the signs of W_rec acts, and it does not say so."""

    name: ClassVar[str] = "unsigned"
    symmetry: ClassVar[str] = "permutation"

    def product(self, params: Params, state: Tensor) -> Tensor:
        return torch.matmul(state, params["W_rec"].abs().mT)


class Excitatory(Unsigned):
    """Likewise, and it says so."""

    name: ClassVar[str] = "excitatory"

    def acting(self, params: Params) -> Params:
        return params | {"W_rec": params["W_rec"].abs()}


def params_of(cell: Cell, *seeds: int) -> Params:
    streams = Streams(seeds, "own parameters")
    named = parameters(cell, N_IN, N, N_OUT)
    return {name: streams.normal(each.shape, dtype=torch.float64) for name, each in named.items()}


def joint(weights: list[Weights], measure: str = "pif") -> float:
    found = dg.MEASURES[measure]()(Recording(members=("0", "1"), weights=weights))
    return float(found.distances["joint"][0, 1])


@pytest.mark.parametrize("kind", [Gain, Gates, Excitatory])
def test_such_cells_keep_the_claims_of_cells(kind: type[Cell]) -> None:
    check_cell(kind())


def test_networks_that_differ_in_a_gain_alone_are_apart() -> None:
    params = params_of(Gain(), 0)
    weights = [member_weights(Gain(), each)[0] for each in (params, params | {"gain": 2 * params["gain"]})]
    assert list(weights[0].blocks) == ["recurrent", "input", "bias", "readout", "gain"]
    for measure in ("pif", "signed_pif"):
        assert joint(weights, measure) > 0.1
        copy = random_copy(weights[0], np.random.default_rng(0)) if measure == "signed_pif" else weights[0]
        assert joint([weights[0], copy], measure) < 1e-12  # float64 rounding
    assert np.array_equal(np.sort(copy["gain"]), np.sort(weights[0]["gain"])), "a gain keeps its sign"


def test_signs_that_do_not_act_are_taken_away_or_named() -> None:
    params = params_of(Excitatory(), 0)
    flipped = params | {"W_rec": -params["W_rec"]}
    assert joint([member_weights(Excitatory(), each)[0] for each in (params, flipped)]) == 0
    said = "the step of cell 'unsigned' makes nothing of the signs of W_rec, which its acting() does not take away"
    assert weights_obstacle(Unsigned(), N_IN, N) == said
    with pytest.raises(CheckFailed, match="makes nothing of the signs of W_rec"):
        CELL_CLAIMS["acting"](Unsigned())


def test_cells_without_weights_between_units_are_matched_exactly() -> None:
    """Against all 120 matchings, at canonical scales with the better sign of each unit."""
    from itertools import permutations

    x, y = member_weights(Gates(), params_of(Gates(), 0, 1))
    found = pif.align(x, y, signed=True, blocks=("input", "bias", "readout"))
    a, b = normalise_scaling(x), normalise_scaling(y)

    def apart(i: int, k: int) -> float:
        gates = [np.concatenate([w["input"][0, j], w["bias"][0, :, j]]) for w, j in ((a, i), (b, k))]
        own = [np.concatenate([w["input"][1, j], w["bias"][1, :, j], w["readout"][:, j]]) for w, j in ((a, i), (b, k))]
        return float(
            ((gates[0] - gates[1]) ** 2).sum() + min(((own[0] - sign * own[1]) ** 2).sum() for sign in (1, -1))
        )

    least = min(sum(apart(i, k) for i, k in enumerate(order)) for order in permutations(range(N)))
    assert found.distance == pytest.approx(least**0.5, rel=1e-12)  # float64 rounding
    assert (found.spread, found.converged) == (0.0, True)
    assert joint([x, random_copy(x, np.random.default_rng(0))], "signed_pif") < 1e-10  # Newton's end of the scales


def test_what_needs_weights_between_units_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dg.CELLS, Gates.name, Gates)
    task, network = dg.tasks.FlipFlop(channels=2, n_steps=8, threshold=9.0), dg.Network(hidden_size=N, cell=Gates.name)
    brief = Training(batch_size=4, steps_per_epoch=1, max_epochs=1, patience=0)
    ensemble = dg.train(task, network, brief, seeds=range(3), jobs=1, progress=False)
    result = dg.measure(ensemble, task, measures=("pif", "effective_rank", "orthogonal", "kernel_alignment"))
    reason = "needs recurrent weights: cell 'gates_alone' has no weights between units"
    assert result.missing == {"effective_rank": reason, "orthogonal": reason}
    rows = {row.variant: row.value for row in result.table.itertuples() if row.measure == "pif"}
    assert np.isnan(rows["recurrent"])
    assert rows["joint"] > 0
    with pytest.raises(UserError, match="l2 is of recurrent weights, and cell 'gates_alone' has none"):
        train_stack(task, network, brief.replace(regularisers={"l2": 0.1}).for_task(task), [0])


class Wrong(TanhCell):
    """States a kernel that is not its own."""

    name: ClassVar[str] = "wrong"

    @property
    def kernel(self) -> Kernel:
        return Kernel(name="tanh")

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return torch.tanh(drive + 2 * self.product(params, state))


class Together(LSTMCell):
    """Says that the numbers of its state belong to other units than they do."""

    name: ClassVar[str] = "together"

    def units(self, hidden_size: int) -> Tensor:
        return torch.arange(2 * hidden_size) // 2


class Jumping(TanhCell):
    """Runs in another way than it steps."""

    name: ClassVar[str] = "jumping"

    def run(self, params: Params, drive: Tensor, start: Tensor) -> Tensor:
        return super().run(params, drive, start + 1)


@pytest.mark.parametrize(
    ("kind", "claim", "said"),
    [
        (Wrong, "fast_ways", "backend 'bptt', which `kernel` says serves the cell, gives the gradient of W_rec: off"),
        (
            Together,
            "units",
            r"units\(\): with units \[1, 2, 3, 4, 5\]",
        ),
        (Jumping, "run", r"run\(\) is a loop of step\(\): states differ by"),
    ],
)
def test_checks_say_what_was_expected(kind: type[Cell], claim: str, said: str) -> None:
    with pytest.raises(CheckFailed, match=said):
        CELL_CLAIMS[claim](kind())


def test_a_run_of_such_a_cell_by_hand() -> None:
    """z = sigmoid(0) = 1/2 and candidate 2 x: h = 0 -> 1 -> 1.5 under x = 1, 1."""
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    params = {"W_in": torch.tensor([[[0.0], [2.0]]], dtype=torch.float64), "bias": torch.zeros(1, 2).double()}
    params |= {"W_out": one, "b_out": 0 * one[0]}
    states, _ = forward(Gates(), params, torch.ones(1, 1, 2, 1, dtype=torch.float64), {})
    assert states.flatten().tolist() == [1.0, 1.5]
