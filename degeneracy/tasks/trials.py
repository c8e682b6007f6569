"""Trials: inputs, targets, and what of them counts. Knows no network."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Trials:
    """A batch of trials of several members, all of one length, aligned on their first step.

    `loss_weights` says how much each step counts in the training loss (0 at steps that are no part of the trial:
    those where `valid` is false), `scored` the steps on which behavior is judged. Both may also say it of each output,
    with a last axis `out`; a step then counts as the mean of its outputs' weights, and is scored where any output is.
    """

    inputs: Tensor  # (member, trial, time, in)
    targets: Tensor  # (member, trial, time, out)
    loss_weights: Tensor  # (member, trial, time), or (member, trial, time, out), >= 0
    valid: Tensor  # (member, trial, time), bool
    scored: Tensor  # (member, trial, time), or (member, trial, time, out), bool

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor, *, scored: Tensor | None = None) -> "Trials":
        """Trials whose every step is valid and counts once; all steps are scored unless `scored` is given."""
        everywhere = torch.ones(inputs.shape[:3], dtype=torch.bool, device=inputs.device)
        return cls(
            inputs=inputs,
            targets=targets,
            loss_weights=everywhere.to(inputs.dtype),
            valid=everywhere,
            scored=everywhere if scored is None else scored,
        )

    @property
    def n_trials(self) -> int:
        """Trials per member."""
        return self.inputs.shape[1]

    @property
    def scored_steps(self) -> Tensor:
        """(member, trial, time): the steps at which any output is scored."""
        return self.scored.any(-1) if self.scored.ndim == self.targets.ndim else self.scored

    def replace(self, **changes: Tensor) -> "Trials":
        """The same trials with some fields changed."""
        return replace(self, **changes)

    def each(self, change: Callable[[Tensor], Tensor]) -> "Trials":
        """The trials with every field changed in the same way."""
        return Trials(**{name: change(value) for name, value in vars(self).items()})

    def select(self, members: Any, trials: Any = slice(None)) -> "Trials":
        """Some members, and of each of them some trials.

        Args:
            members: their positions, or a slice of them, or (member, 1) beside `trials` of (member, trial).
            trials: the positions of the trials, or a slice of them; all by default.
        """
        return self.each(lambda value: value[members, trials])
