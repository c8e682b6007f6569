"""The scan and its gradient: by hand, against a loop of steps, autograd, finite differences; cells that run by it."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.func import vjp, vmap

from degeneracy.checks import CELL_CLAIMS, check_cell
from degeneracy.core.streams import Streams
from degeneracy.networks import Params, ScanCell, forward, parameters
from degeneracy.networks import scan as scans
from degeneracy.networks.min_gru import MinGRUCell
from degeneracy.networks.scan import run_scan, run_scan_back, scan

T, SHAPE = 23, (2, 3, 4)
# Of sizes near 1: 23 steps of rounding. float32 1e-7 a step, float64 1e-16.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.complex128: 1e-12}


def loop(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    state, states = start, []
    for a_t, b_t in zip(a, b, strict=True):
        state = a_t * state + b_t
        states.append(state)
    return torch.stack(states)


def arrays(dtype: torch.dtype = torch.float64, steps: int = T) -> list[Tensor]:
    """a in (-1, 1), b and start of size 1."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((steps, *SHAPE), (steps, *SHAPE), SHAPE)
    drawn = [torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]
    a = 2 * torch.sigmoid(drawn[0].real) - 1 if dtype.is_complex else torch.tanh(drawn[0])
    return [a * torch.exp(1j * drawn[0].imag) if dtype.is_complex else a, *drawn[1:]]


@pytest.fixture(params=["compiled", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either way to scan, the compiled one as on a CPU, the other as elsewhere."""
    if request.param == "torch":
        monkeypatch.setattr(scans, "_is_compiled", lambda _: False)
    return request.param


def test_by_hand(way: str) -> None:
    # h: 1 -> 2 * 1 + 1 = 3 -> -1 * 3 + 4 = 1 -> 0.5 * 1 + 0 = 0.5. The sum's gradient from the end: g = 1, 1 + 0.5 =
    # 1.5, 1 - 1.5 = -0.5; that of b is g, that of a is g h_{t-1}: -0.5 * 1, 1.5 * 3, 1 * 1; that of the start 2 * -0.5.
    a, b, start = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([[1.0], [4.0], [0.0]]), torch.tensor([1.0])
    leaves = [x.requires_grad_() for x in (a, b, start)]
    states = scan(*leaves)
    assert states.flatten().tolist() == [3.0, 1.0, 0.5]
    found = torch.autograd.grad(states.sum(), leaves)
    assert [x.flatten().tolist() for x in found] == [[-0.5, 4.5, 1.0], [-0.5, 1.5, 1.0], [-1.0]]


@pytest.mark.parametrize("steps", [1, 2, T])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_a_loop_and_its_gradient_is_autograds(way: str, dtype: torch.dtype, steps: int) -> None:
    leaves = [x.requires_grad_() for x in arrays(dtype, steps)]
    found, right = scan(*leaves), loop(*leaves)
    torch.testing.assert_close(found, right, rtol=0, atol=TOLERANCE[dtype])
    back = torch.randn(right.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    gradients = (torch.autograd.grad(states, leaves, back) for states in (found, right))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=10 * TOLERANCE[dtype])  # of sizes up to 10


def test_complex_states_go_by_torch() -> None:
    leaves = [x.requires_grad_() for x in arrays(torch.complex128)]
    torch.testing.assert_close(scan(*leaves), loop(*leaves), rtol=0, atol=TOLERANCE[torch.complex128])
    assert torch.autograd.gradcheck(scan, leaves)


def test_finite_differences(way: str) -> None:
    assert torch.autograd.gradcheck(scan, [x[..., 0].requires_grad_() for x in arrays()])


def test_many_directions_and_many_inputs_at_once(way: str) -> None:
    """Under `vmap`, of the gradient and of the scan itself, with a batch in some arguments and not in others."""
    a, b, start = arrays()
    backs = torch.randn(5, T, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    right = [vjp(loop, a, b, start)[1](back) for back in backs]
    found = vmap(vjp(scan, a, b, start)[1])(backs)
    for k, one in enumerate(right):
        for x, y in zip((each[k] for each in found), one, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-11)  # rounding of sizes up to 10
    states = vmap(scan, in_dims=(None, 2, 1))(a[:, :, 0], b, start)
    for k in range(3):
        torch.testing.assert_close(states[k], loop(a[:, :, 0], b[:, :, k], start[:, k]), rtol=0, atol=1e-12)


def test_views_are_taken_as_they_are(way: str) -> None:
    a, b, start = arrays()
    turned = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in (a, b, start)]
    assert torch.equal(scan(*turned), scan(a, b, start))
    assert not any(x.is_contiguous() for x in turned)


def test_factors_that_are_the_same_at_all_steps_or_on_all_trials(way: str) -> None:
    """As a cell's own coefficients may be, of which its step makes no difference."""
    _, b, start = arrays()
    for a in (torch.tensor(0.5), torch.rand(4), torch.rand(2, 1, 4), torch.rand(T, 2, 1, 4)):
        leaves = [a.double().requires_grad_(), b.clone().requires_grad_(), start[:, :1].clone().requires_grad_()]
        found = scan(*leaves)
        right = loop(leaves[0].expand(b.shape), leaves[1], leaves[2].expand(SHAPE))
        torch.testing.assert_close(found, right, rtol=0, atol=1e-12)  # rounding
        gradients = (torch.autograd.grad(states.sin().sum(), leaves) for states in (found, right))
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-11)  # sums of 500 numbers of size 1


def test_what_is_written_to_and_what_is_left(way: str) -> None:
    a, b, start = arrays()
    before = [x.clone() for x in (a, b, start)]
    states, grad_a = torch.full_like(b, torch.nan), torch.full_like(b, torch.nan)
    run_scan(a, b, start, states)
    grad = torch.ones_like(b)
    run_scan_back(a, states, start, grad, grad_a)
    assert all(torch.equal(x, y) for x, y in zip((a, b, start), before, strict=True))
    assert all(x.isfinite().all() for x in (states, grad, grad_a))


def test_a_nan_stays_with_its_number(way: str) -> None:
    a, b, start = arrays()
    b[3, 0, 0, 0] = torch.nan
    states = scan(a, b, start)
    bad = states.isnan()
    assert bad[3:, 0, 0, 0].all()
    assert int(bad.sum()) == T - 3


class Signed(ScanCell):
    """A factor of either sign and a drive, both of the inputs: it can hold the parity of what it saw."""

    name: ClassVar[str] = "signed"
    symmetry: ClassVar[str] = "linear_permutation"
    gates: ClassVar[int] = 2
    candidate: ClassVar[int] = 1

    def parameters(self, input_size: int, hidden_size: int):  # type: ignore[no-untyped-def]
        named = super().parameters(input_size, hidden_size)
        return {name: parameter for name, parameter in named.items() if parameter.role != "recurrent"}

    def coefficients(self, params: Params, drive: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        factor, term = drive.chunk(2, dim=-1)
        return torch.tanh(factor), term


class Halved(MinGRUCell):
    """Steps in another way than its coefficients say."""

    name: ClassVar[str] = "halved"

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        return 0.5 * super().step(params, state, drive)


class Doubled(MinGRUCell):
    """Has other coefficients."""

    name: ClassVar[str] = "doubled"

    def coefficients(self, params: Params, drive: Tensor) -> tuple[Tensor, Tensor]:
        a, b = super().coefficients(params, drive)
        return a, 2 * b


@pytest.mark.parametrize("kind", [Signed, Halved, Doubled, MinGRUCell])
def test_scan_cells_keep_the_claims_of_cells(kind: type[ScanCell]) -> None:
    check_cell(kind())


def test_a_cell_with_steps_of_its_own_runs_by_them() -> None:
    assert (MinGRUCell.scans, Doubled.scans, Signed.scans, Halved.scans) == (True, True, True, False)
    cell = Halved()
    streams = Streams([0], "scan cells")
    params = {name: streams.normal(each.shape) for name, each in parameters(cell, 2, 4, 1).items()}
    inputs = streams.normal((3, 6, 2))
    states, _ = forward(cell, params, inputs, {})
    whole, _ = forward(MinGRUCell(), params, inputs, {})
    torch.testing.assert_close(states[:, :, 0], 0.5 * whole[:, :, 0])  # from 0, one step
    CELL_CLAIMS["run"](cell)
