"""Snapshots: parameters in the course of training, so that fractions of it can be chosen once it has ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

KEPT = 64  # at most; a fraction is then met to within 1 / 64 of a member's epochs


def nearest_kept(fraction: float, n_epochs: int) -> int:
    """The epoch whose parameters stand for a fraction of a member's training, once that has taken so many epochs."""
    stride = 1
    while n_epochs // stride > KEPT:
        stride *= 2
    return min(range(stride, n_epochs + 1, stride), key=lambda epoch: abs(epoch - fraction * n_epochs))


@dataclass(kw_only=True)
class Snapshots:
    """Flat parameters (member, parameter) of epochs stride, 2 stride, ...; stride 1 until there are too many.

    How long a member trains is known at its end only. Whenever more than `KEPT` are there, every second goes and the
    stride doubles, so that memory stays bounded and the distance to any epoch at stride / 2 epochs or less.
    """

    epochs: list[int] = field(default_factory=list)
    params: list[Tensor] = field(default_factory=list)
    stride: int = 1

    def see(self, epoch: int, flat: Tensor) -> None:
        """Keep the parameters after `epoch` epochs, if they fall on the stride."""
        if epoch % self.stride:
            return
        self.epochs.append(epoch)
        self.params.append(flat.detach().clone())
        if len(self.epochs) > KEPT:
            self.stride *= 2
            keep = [k for k, kept in enumerate(self.epochs) if kept % self.stride == 0]
            self.epochs, self.params = [self.epochs[k] for k in keep], [self.params[k] for k in keep]

    def after(self, epoch: int, member: int) -> Tensor:
        """A member's parameters after an epoch that is kept, (1, parameter) on the CPU."""
        return self.params[self.epochs.index(epoch)][member : member + 1].cpu()

    def select(self, members: Sequence[int]) -> "Snapshots":
        """The snapshots of some members, by position."""
        index = torch.tensor(members, dtype=torch.long)
        chosen = [flat[index.to(flat.device)] for flat in self.params]
        return Snapshots(epochs=list(self.epochs), params=chosen, stride=self.stride)
