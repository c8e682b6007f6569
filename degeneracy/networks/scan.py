"""The scan h_t = a_t h_{t-1} + b_t with a hand-written backward, and the cells that run by it.

Its gradient is a scan from the end: with g_t = d loss / d h_t + a_{t+1} g_{t+1}, d loss / d b_t = g_t and
d loss / d a_t = g_t h_{t-1}. On a CPU both are compiled, elsewhere they are loops over time in torch.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from degeneracy.core.compiling import compiled
from degeneracy.networks.cell import Cell, Params


class ScanCell(Cell):
    """Cells of the form h_t = a_t h_{t-1} + b_t, where a and b depend on the inputs alone.

    A cell says what a and b are (`coefficients`); it then steps, runs and trains by them. A subclass that steps in
    another way runs and trains by its steps.
    """

    scans: ClassVar[bool] = True

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Takes the trait back from a subclass with a step or a run of its own, which coefficients may not describe."""
        super().__pydantic_init_subclass__(**options)
        cls.scans = cls.step is ScanCell.step and cls.run is ScanCell.run

    @abstractmethod
    def coefficients(self, params: Params, drive: Tensor) -> tuple[Tensor, Tensor]:
        """What the state is multiplied by, and what is added to it.

        Args:
            params: the parameters, each with a leading member axis.
            drive: (..., member, trial, G * N): what `drive` gave, of one step or of all, noise included.

        Returns:
            a and b, (..., member, trial, state) each, or shapes that broadcast to it.
        """

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state."""
        a, b = self.coefficients(params, drive)
        return a * state + b

    def run(self, params: Params, drive: Tensor, start: Tensor) -> Tensor:
        """The states at all steps: the coefficients of all steps at once, then the scan."""
        if not self.scans:
            return super().run(params, drive, start)
        return scan(*self.coefficients(params, drive), start)


def scan(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    """The states h_t = a_t h_{t-1} + b_t at all steps; can be differentiated once.

    Args:
        a, b: (time, ...), or shapes that broadcast to one.
        start: (...), h before the first step.

    Returns:
        (time, ...).
    """
    a, b = torch.broadcast_tensors(a, b)  # the compiled loops do not look at sizes
    states: Tensor = _Scan.apply(a, b, start.expand(b.shape[1:]).unsqueeze(0))
    return states


class _Scan(torch.autograd.Function):
    """Of (time, ...) arrays; the start is one step of them."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        states = torch.empty_like(b, memory_format=torch.contiguous_format)
        run_scan(a, b, start[0], states)
        return states

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        a, _, start = inputs
        ctx.save_for_backward(a, output, start)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, states, start = ctx.saved_tensors
        grad_a, grad_b = _ScanBack.apply(a, states, start, grad)
        return grad_a, grad_b, a[:1].conj() * grad_b[:1]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *arrays: Tensor) -> tuple[Tensor, int]:
        return _Scan.apply(*_batched(info.batch_size, in_dims, arrays)), 1


class _ScanBack(torch.autograd.Function):
    """What `_Scan` needs for its gradient, so that this can be taken in many directions at once."""

    @staticmethod
    def forward(a: Tensor, states: Tensor, start: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        grad_b, grad_a = grad.clone(memory_format=torch.contiguous_format), torch.empty_like(states)
        run_scan_back(a, states, start[0], grad_b, grad_a)
        return grad_a, grad_b

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *arrays: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        return _ScanBack.apply(*_batched(info.batch_size, in_dims, arrays)), (1, 1)


def _batched(size: int, axes: tuple[int | None, ...], arrays: tuple[Tensor, ...]) -> list[Tensor]:
    """Arrays (time, ...) with their axis of a batch as the second; it is added where there is none."""
    return [
        x.unsqueeze(1).expand(-1, size, *x.shape[1:]).contiguous() if axis is None else x.movedim(axis, 1).contiguous()
        for x, axis in zip(arrays, axes, strict=True)
    ]


@torch.no_grad()
def run_scan(a: Tensor, b: Tensor, start: Tensor, states: Tensor) -> None:
    """Write the states of `scan` to `states`, contiguous."""
    if _is_compiled(states):
        _forward(_rows(a), _rows(b), _rows(start.unsqueeze(0))[0], _rows(states))
        return
    before = start
    for a_t, b_t, state in zip(a, b, states, strict=True):
        before = torch.addcmul(b_t, a_t, before, out=state)


@torch.no_grad()
def run_scan_back(a: Tensor, states: Tensor, start: Tensor, grad: Tensor, grad_a: Tensor) -> None:
    """The gradients of a scan.

    Args:
        a: (time, ...), its factors.
        states: (time, ...), what it gave.
        start: (...), h before the first step.
        grad: (time, ...), contiguous: d loss / d states, without what they do to later states; becomes d loss / d b.
        grad_a: (time, ...), contiguous; d loss / d a is written to it.
    """
    if _is_compiled(grad):
        _backward(_rows(a), _rows(states), _rows(start.unsqueeze(0))[0], _rows(grad), _rows(grad_a))
        return
    for t in range(len(grad) - 1, 0, -1):
        grad[t - 1].addcmul_(a[t].conj(), grad[t])
    torch.mul(grad[1:], states[:-1].conj(), out=grad_a[1:])
    torch.mul(grad[0], start.conj(), out=grad_a[0])


def _is_compiled(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def _rows(x: Tensor) -> Any:
    """(time, number) as an array."""
    return x.detach().contiguous().numpy().reshape(len(x), -1)


@compiled(error_model="numpy", fastmath={"contract"})
def _forward(a, b, start, states):  # type: ignore[no-untyped-def]
    """`run_scan`: of (time, number) arrays."""
    before = start
    for t in range(len(a)):
        factor, term, state = a[t], b[t], states[t]
        for i in range(len(state)):
            state[i] = factor[i] * before[i] + term[i]
        before = state


@compiled(error_model="numpy", fastmath={"contract"})
def _backward(a, states, start, grad, grad_a):  # type: ignore[no-untyped-def]
    """`run_scan_back`: of (time, number) arrays."""
    for t in range(len(a) - 1, -1, -1):
        here, to, before = grad[t], grad_a[t], states[t - 1] if t > 0 else start
        for i in range(len(to)):
            to[i] = here[i] * before[i]
        if t > 0:
            factor, earlier = a[t], grad[t - 1]
            for i in range(len(earlier)):
                earlier[i] += factor[i] * here[i]
