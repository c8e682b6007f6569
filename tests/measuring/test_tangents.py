"""Tangent kernels: against finite differences, by hand, against automatic differentiation, in blocks."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from degeneracy.measuring import tangents
from degeneracy.measuring.tangents import automatic, tangent_kernel
from degeneracy.networks import Cell, Network, forward, initial_params
from degeneracy.networks.cell import Parameter, Params
from degeneracy.networks.cells import CELLS
from degeneracy.networks.pointwise import TanhCell

MADE = [(name, {}) for name in CELLS] + [("leaky_tanh", {"form": "current"})]


def network(cell: str, n: int = 3, members: int = 2, **options: object) -> tuple[Cell, Params]:
    made = Network(hidden_size=n, cell=cell, cell_options=options, init_gain=1.5)
    params = initial_params(made, 2, 2, range(members))
    return made.build_cell(), {name: value.double() for name, value in params.items()}


def inputs(n_trials: int = 3, n_steps: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n_trials, n_steps, 2)))


def by_differences(cell: Cell, params: Params, x: Tensor, trials: list[int], steps: list[int]) -> np.ndarray:
    """K from central differences, one parameter after the other: 1e-5 leaves 1e-10 of the third derivative."""
    given = x[trials].expand(len(params["W_out"]), -1, -1, -1)

    def outputs(changed: Params) -> np.ndarray:
        found = forward(cell, changed, given, {})[1][:, :, steps]
        return found.flatten(1).numpy()

    columns = []
    for name, value in params.items():
        for k in range(value[0].numel()):
            nudge = torch.zeros_like(value[0]).flatten()
            nudge[k] = 1e-5
            up, down = (outputs({**params, name: value + sign * nudge.view_as(value[0])}) for sign in (1, -1))
            columns.append((up - down) / 2e-5)
    jacobian = np.stack(columns, axis=-1)
    return jacobian @ jacobian.transpose(0, 2, 1)


@pytest.mark.parametrize(("cell", "options"), MADE)
def test_a_network_of_3_units_against_finite_differences(cell, options):
    made, params = network(cell, **options)
    trials, steps = [2, 0], [1, 4]
    found = tangent_kernel(made, params, inputs()).kernel(trials, steps)
    assert found.shape == (2, 8, 8)  # 2 trials, 2 steps, 2 outputs
    np.testing.assert_allclose(found, by_differences(made, params, inputs(), trials, steps), atol=1e-8)


def test_by_hand():
    """One unit, one step from 0: y = v h + c, h = tanh(u x + b).

    x = 0: h = 0, slope 1, gradients by (w, u, b, v, c): (0, 0, v, 0, 1). x with tanh(u x) = 0.5: slope 0.75, gradients
    (0, 0.75 v x, 0.75 v, 0.5, 1). With u = 1, v = 2: x = artanh(0.5), K = [[5, 4], [4, (1.5 x)^2 + 2.25 + 0.25 + 1]].
    """
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    params = {"W_rec": one, "W_in": one, "bias": 0 * one[0], "W_out": 2 * one, "b_out": 0 * one[0]}
    x = np.arctanh(0.5)
    given = torch.tensor([[[0.0]], [[x]]], dtype=torch.float64)
    found = tangent_kernel(TanhCell(), params, given).kernel([0, 1], [0])[0]
    np.testing.assert_allclose(found, [[5, 4], [4, (1.5 * x) ** 2 + 3.5]], rtol=1e-14)


@pytest.mark.parametrize(("cell", "options"), [(cell, options) for cell, options in MADE if CELLS[cell].signals])
def test_the_quick_way_is_automatic_differentiation(cell, options, monkeypatch):
    made, params = network(cell, n=5, members=3, **options)
    expected = automatic(made, params, inputs(4, 6), [2, 5])
    np.testing.assert_allclose(
        tangent_kernel(made, params, inputs(4, 6)).kernel(range(4), [2, 5]), expected, atol=1e-12
    )
    monkeypatch.setattr(tangents, "ROWS", 1)  # a row at a time, a member at a time
    monkeypatch.setattr(tangents, "SIGNALS", 1)
    calls = []
    monkeypatch.setattr(tangents, "_by_signals", lambda *given: calls.append(1) or quick(*given))
    np.testing.assert_allclose(
        tangent_kernel(made, params, inputs(4, 6)).kernel(range(4), [2, 5]), expected, atol=1e-12
    )
    assert len(calls) == 3


quick = tangents._by_signals


class Slow(TanhCell):
    """A cell of one's own, with a parameter that no cell of the table has."""

    name: ClassVar[str] = "slow"

    def parameters(self, input_size: int, hidden_size: int) -> dict[str, Parameter]:
        rate = Parameter(axes=("unit",), sizes=(hidden_size,), role="unit")
        return {**super().parameters(input_size, hidden_size), "rate": rate}

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return state + torch.sigmoid(params["rate"])[:, None] * (super().step(params, state, drive) - state)


def test_a_cell_of_ones_own_is_differentiated_as_it_is(monkeypatch):
    monkeypatch.setattr(tangents, "_by_signals", None)  # not taken: it knows nothing of a further parameter
    params = network("tanh")[1]
    params["rate"] = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3)))
    found = tangent_kernel(Slow(), params, inputs()).kernel([0, 2], [0, 4])
    np.testing.assert_allclose(found, by_differences(Slow(), params, inputs(), [0, 2], [0, 4]), atol=1e-8)


class Multiplied(TanhCell):
    """The step and parameters of a tanh cell, with the product of its own, which no offset enters."""

    name: ClassVar[str] = "multiplied"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return torch.tanh(drive + torch.matmul(state, params["W_rec"].mT))


@pytest.mark.parametrize("kind", [Slow, Multiplied, *CELLS.values()])
def test_a_registered_cell_takes_the_fast_way_where_that_serves_it_alone(kind, monkeypatch):
    """Standing in the table says nothing of how a cell steps, nor of which parameters it has."""
    monkeypatch.setitem(CELLS, kind.name, kind)
    made, params = network(kind.name)
    taken = []
    monkeypatch.setattr(tangents, "_by_signals", lambda *given: taken.append(1) or quick(*given))
    found = tangent_kernel(made, params, inputs()).kernel([0, 2], [0, 4])
    np.testing.assert_allclose(found, by_differences(made, params, inputs(), [0, 2], [0, 4]), atol=1e-8)
    assert bool(taken) == kind.signals
    assert kind.signals == (kind.name in ("tanh", "leaky_tanh", "relu", "gru", "lstm"))


def test_a_parameter_more_is_not_passed_over():
    """A known cell with a parameter that it does not have: not served, so that nothing is left out unseen."""
    made, params = network("tanh")
    assert tangents.serves_signals(made, params)
    assert not tangents.serves_signals(made, params | {"rate": params["bias"]})
    assert not tangents.serves_signals(made, {name: params[name] for name in params if name != "b_out"})


def test_units_in_another_order_have_the_same_kernel_and_more_training_steps_another():
    made, params = network("tanh", n=6)
    kernel = tangent_kernel(made, params, inputs())
    order, flip = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([1.0, -1, 1, 1, -1, -1]).double()
    copy = {
        "W_rec": flip[:, None] * params["W_rec"][:, order][:, :, order] * flip,
        "W_in": flip[:, None] * params["W_in"][:, order],
        "bias": flip * params["bias"][:, order],
        "W_out": params["W_out"][:, :, order] * flip,
        "b_out": params["b_out"],
    }
    own = kernel.kernel([0, 1], [2, 4])
    np.testing.assert_allclose(tangent_kernel(made, copy, inputs()).kernel([0, 1], [2, 4]), own, atol=1e-12)
    other = tangent_kernel(made, params | {"W_out": 2 * params["W_out"]}, inputs()).kernel([0, 1], [2, 4])
    assert np.abs(other - own).max() > 0.01


def test_some_members_alone():
    made, params = network("gru", members=4)
    kernel = tangent_kernel(made, params, inputs())
    assert (kernel.n_trials, kernel.n_steps) == (3, 5)
    some = kernel.select([3, 1])
    np.testing.assert_allclose(some.kernel([0], [4]), kernel.kernel([0], [4])[[3, 1]], atol=1e-13)
    with torch.no_grad():  # as when it is called while recording
        np.testing.assert_allclose(some.kernel([0], [4]), kernel.kernel([0], [4])[[3, 1]], atol=1e-13)
