"""Parameters by this package's own names: what an ensemble gives makes the same ensemble."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.networks import CELLS, initial_params
from degeneracy.networks.pointwise import PointwiseCell
from degeneracy.training import History, Member

OPTIONS: dict[str, dict[str, Any]] = {
    "leaky_tanh": {"dt_ms": 10.0, "tau_ms": 40.0, "form": "current"},
    "leaky_tau": {"dt_ms": 10.0, "tau_ms": 40.0, "form": "rate"},
}


class Softplus(PointwiseCell):
    """h_t = log(1 + exp(slope (W_rec h_{t-1} + W_in x_t + b)))."""

    name: ClassVar[str] = "softplus"
    summary: ClassVar[str] = "softplus units"
    source: ClassVar[str] = "made for this test"
    slope: float = 1.0

    def update(self, params: Any, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:  # noqa: ARG002
        return torch.nn.functional.softplus(self.slope * (drive + recurrent))


def drawn(cell: str, n_members: int = 3, **fields: Any) -> Ensemble:
    """Untrained members, with others as their state before training."""
    network = dg.Network(hidden_size=6, cell=cell, **fields)
    first, last = (initial_params(network, 2, 2, range(k, k + n_members)) for k in (0, 50))
    members = tuple(
        Member(
            seed=k,
            status="given",
            initial={name: value[k] for name, value in first.items()},
            final={name: value[k] for name, value in last.items()},
            history=History.empty(),
        )
        for k in range(n_members)
    )
    return Ensemble(network=network, members=members)


def same(made: Ensemble, ensemble: Ensemble) -> None:
    for initial in (False, True):
        expected, got = ensemble.params(initial=initial), made.params(initial=initial)
        assert list(got) == list(expected)
        for name, value in expected.items():
            assert got[name].dtype == value.dtype
            assert torch.equal(got[name], value), name


@pytest.mark.parametrize("cell", CELLS)
def test_weights_make_the_ensemble_that_they_are_of(cell: str) -> None:
    ensemble = drawn(cell, cell_options=OPTIONS.get(cell, {}))
    before = ensemble.weights(initial=True)
    made = Ensemble.from_parameters(cell, ensemble.weights(), initial=before, cell_options=OPTIONS.get(cell))
    assert made.network == ensemble.network
    assert made.seeds == (0, 1, 2)
    same(made, ensemble)
    inputs = np.random.default_rng(0).normal(size=(3, 7, 2))
    for one, other in zip(made.rollout(inputs), ensemble.rollout(inputs), strict=True):
        assert np.array_equal(one, other)
    same(Ensemble.from_parameters(ensemble.cell, ensemble.weights(), initial=before), ensemble)


@pytest.mark.parametrize("cell", ["gru", "tanh"])
def test_gates_may_stand_apart_or_one_below_the_other(cell: str) -> None:
    ensemble = drawn(cell)
    n_gates = ensemble.cell.gates
    apart = {
        name: value.reshape(3, n_gates, 6, *value.shape[2:]) if name not in ("W_out", "b_out") else value
        for name, value in ensemble.params().items()
    }
    for given in (apart, ensemble.params(), [{n: v[k] for n, v in ensemble.params().items()} for k in range(3)]):
        made = Ensemble.from_parameters(cell, given)
        assert all(torch.equal(value, ensemble.params()[name]) for name, value in made.params().items())


def test_named_axes_are_put_in_their_order() -> None:
    xarray = pytest.importorskip("xarray")
    ensemble = drawn("gru")
    weights: dict[str, Any] = dict(ensemble.weights())
    axes = ("pre", "member", "gate", "post")
    weights["W_rec"] = xarray.DataArray(np.moveaxis(weights["W_rec"], -1, 0), dims=axes)
    made = Ensemble.from_parameters("gru", weights)
    assert torch.equal(made.params()["W_rec"], ensemble.params()["W_rec"])


def test_numbers_stay_as_exact_as_they_are() -> None:
    ensemble = drawn("tanh")
    weights = ensemble.weights()
    double = {name: value + 1e-12 for name, value in weights.items()}
    assert all(value.dtype == np.float64 for value in double.values()) is False, "float32 and a number stay float32"
    double = {name: value.astype(np.float64) + 1e-12 for name, value in weights.items()}
    made = Ensemble.from_parameters("tanh", double)
    assert all(np.array_equal(made.weights()[name], value) for name, value in double.items())
    listed = {name: value.tolist() for name, value in double.items()}
    assert all(np.array_equal(Ensemble.from_parameters("tanh", listed).weights()[n], v) for n, v in double.items())
    # Zeros, as are made for biases that there are not, do not turn single precision into double; one finer number does.
    zeros = Ensemble.from_parameters("tanh", weights | {"b_out": np.zeros((3, 2))})
    assert zeros.params()["W_rec"].dtype == zeros.params()["b_out"].dtype == torch.float32
    fine = Ensemble.from_parameters("tanh", weights | {"b_out": np.full((3, 2), 0.1)})
    assert fine.params()["W_rec"].dtype == torch.float64
    listed = {name: value.tolist() for name, value in ensemble.weights(initial=True).items()}
    assert Ensemble.from_parameters("tanh", weights, initial=listed).params()["W_rec"].dtype == torch.float32
    half = {name: torch.from_numpy(value).bfloat16() for name, value in weights.items()}
    assert Ensemble.from_parameters("tanh", half).params()["W_rec"].dtype == torch.float32


def test_later_changes_of_the_arrays_do_not_reach_the_ensemble() -> None:
    weights = {name: value.astype(np.float64) for name, value in drawn("tanh").weights().items()}
    made = Ensemble.from_parameters("tanh", weights)
    before = made.params()["W_rec"].clone()
    weights["W_rec"][:] = 0
    assert torch.equal(made.params()["W_rec"], before)


def test_members_may_differ_in_size() -> None:
    small, large = (
        Ensemble.from_parameters("tanh", [{name: value[0] for name, value in drawn("tanh").weights().items()}]),
        drawn("tanh", 1),
    )
    wide = {"W_rec": np.eye(8), "W_in": np.ones((8, 2)), "bias": np.zeros(8), "W_out": np.ones((2, 8))}
    given = [{n: v[0] for n, v in small.weights().items()}, wide | {"b_out": np.zeros(2)}]
    made = Ensemble.from_parameters("tanh", given)
    assert made.network is None
    assert made.kind == "1 of tanh 6, 1 of tanh 8"
    inputs = np.random.default_rng(0).normal(size=(3, 7, 2))
    np.testing.assert_allclose(made.rollout(inputs)[0][0], large.rollout(inputs)[0][0], atol=1e-6)


def test_cells_of_ones_own() -> None:
    weights = drawn("tanh").weights()
    made = Ensemble.from_parameters(Softplus(slope=2.0), weights)
    assert made.cell == Softplus(slope=2.0)
    named = Ensemble.from_parameters(f"{Softplus.__module__}:Softplus", weights, cell_options={"slope": 2.0})
    assert (
        made.network
        == named.network
        == dg.Network(hidden_size=6, cell=f"{Softplus.__module__}:Softplus", cell_options={"slope": 2.0})
    )

    class Local(Softplus):
        """The same, in a function, where no file could name it."""

        name: ClassVar[str] = "local"

    local = Ensemble.from_parameters(Local(slope=2.0), weights)
    assert local.network is None
    inputs = np.random.default_rng(0).normal(size=(3, 7, 2))
    assert np.array_equal(local.rollout(inputs)[1], made.rollout(inputs)[1])
    expected = np.log1p(np.exp(2 * (inputs[:, 0] @ weights["W_in"][1].T + weights["bias"][1])))
    np.testing.assert_allclose(made.rollout(inputs)[0][1, :, 0], expected, rtol=1e-5)


def test_the_time_step_is_not_guessed() -> None:
    weights = drawn("leaky_tanh").weights()
    with pytest.raises(UserError, match="do not say which dt_ms, tau_ms, form a 'leaky_tanh' has"):
        Ensemble.from_parameters("leaky_tanh", weights)
    with pytest.raises(UserError, match="which tau_ms a"):
        Ensemble.from_parameters("leaky_tanh", weights, cell_options={"dt_ms": 1.0, "form": "rate"})


def test_given_members_can_be_measured_saved_and_read(tmp_path: Any) -> None:
    ensemble = drawn("gru")
    made = Ensemble.from_parameters("gru", ensemble.weights(), initial=ensemble.weights(initial=True))
    result = dg.measure(made, dg.tasks.FlipFlop(channels=2, n_steps=10), measures=("pif",), jobs=1)
    assert {"pif"} == set(result.table["measure"])
    assert result.table["reference"].notna().all(), "from the networks before training"
    same(Ensemble.load(made.save(tmp_path / "kept")), ensemble)
