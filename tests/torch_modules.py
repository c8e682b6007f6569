"""Pairs of a core and a readout, as PyTorch has them, for the tests of given modules."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

N_IN, N, N_OUT = 3, 6, 2
KINDS: dict[str, Callable[..., Any]] = {
    "tanh": lambda **options: nn.RNN(N_IN, N, **options),
    "relu": lambda **options: nn.RNN(N_IN, N, nonlinearity="relu", **options),
    "gru": lambda **options: nn.GRU(N_IN, N, **options),
    "lstm": lambda **options: nn.LSTM(N_IN, N, **options),
}
Pair = tuple[Any, Any]


def drawn(core: Any, readout: Any, seed: int = 0) -> Pair:
    """The pair with weights from a generator of their own."""
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (*core.parameters(), *readout.parameters()):
            parameter.normal_(std=0.5, generator=gen)
    return core, readout


def pair(kind: str, seed: int = 0, **options: Any) -> Pair:
    return drawn(KINDS[kind](**options), nn.Linear(N, N_OUT), seed)


class Counting(nn.GRU):
    """Counts its calls, remembers its last state, and drops units in training."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.calls, self.seen = 0, []
        self.drop = nn.Dropout(0.5)
        self.register_buffer("last", torch.zeros(N))

    def forward(self, x: Tensor, start: Any = None) -> Any:
        self.calls += 1
        self.seen.append(self.calls)
        torch.rand(3)
        states, end = super().forward(x, start)
        self.last.copy_(end[0, 0])
        return self.drop(states), end
