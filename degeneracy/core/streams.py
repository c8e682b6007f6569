"""Named random streams, one per member.

A member is its seed: what it draws depends on (seed, stream name) alone, never on its companions, on the
order of training or on global random state. Ground floor: any room may import it.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The random generator of one member's named stream ("initialisation", "data", "noise", "probe", ...)."""
    digest = hashlib.sha256(f"{name}/{seed}".encode()).digest()
    # 63 bits: torch takes a signed 64-bit seed.
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Streams:
    """The same named stream of several members: every draw has a leading member axis.

    Member k's numbers come from its own generator, so they are the same beside any companions.
    """

    def __init__(self, seeds: Sequence[int], name: str, device: torch.device | str = "cpu") -> None:
        self.seeds = tuple(seeds)
        self.device = torch.device(device)
        self.generators = [generator(seed, name, self.device) for seed in self.seeds]

    def __len__(self) -> int:
        return len(self.generators)

    def select(self, members: Sequence[int]) -> "Streams":
        """The streams of some members, by position; they go on where they were."""
        chosen = object.__new__(Streams)
        chosen.seeds = tuple(self.seeds[k] for k in members)
        chosen.device = self.device
        chosen.generators = [self.generators[k] for k in members]
        return chosen

    def states(self) -> list[Tensor]:
        """Where each member's stream is, for `restore`."""
        return [gen.get_state() for gen in self.generators]

    def restore(self, states: Sequence[Tensor]) -> None:
        """Go on from there with new generators."""
        self.generators = [torch.Generator(device=self.device) for _ in states]
        for gen, state in zip(self.generators, states, strict=True):
            gen.set_state(state)

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high), shape (member, *shape), float32."""
        out = self._empty(shape)
        for row, gen in zip(out, self.generators, strict=True):
            row.uniform_(low, high, generator=gen)
        return out

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal numbers, shape (member, *shape)."""
        out = self._empty(shape, dtype)
        for row, gen in zip(out, self.generators, strict=True):
            row.normal_(generator=gen)
        return out

    def integers(self, shape: Sequence[int], low: int, high: int) -> Tensor:
        """Integers in low, ..., high - 1, equally likely, shape (member, *shape), int64."""
        out = self._empty(shape, torch.int64)
        for row, gen in zip(out, self.generators, strict=True):
            row.random_(low, high, generator=gen)
        return out

    def _empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty((len(self), *shape), dtype=dtype, device=self.device)
