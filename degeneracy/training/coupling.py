"""Coupling: members of one ensemble attract or repel one another while they train.

The one place where members see each other. On trials common to all, out of the task's distribution or in it, the
distance of every pair's states or outputs is taken; each member then descends (attraction) or climbs (repulsion) its
mean distance to the others, beside its own loss. One signed strength so turns the degeneracy of the ensemble down or
up on demand. Coupled members start, train and end together.
"""

from collections.abc import Callable
from typing import Literal

import pydantic
import torch
from torch import Tensor

from degeneracy.core.errors import unknown_name
from degeneracy.core.specs import Spec
from degeneracy.core.streams import Streams
from degeneracy.networks import forward
from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import Task, Trials

Sampler = Callable[[Streams, int], Trials]
TRAINED = "trained"  # the trials of training, in place of a variant


class Coupling(Spec):
    """How members of one ensemble are coupled while they train.

    A member's cost is `strength` times its mean distance to the others: above 0 they attract one another, below 0
    they repel one another; 0, the default, leaves them alone.
    """

    strength: float = pydantic.Field(0.0, description="> 0 attracts, < 0 repels, 0 is off")
    distance: Literal["cka", "procrustes", "outputs"] = pydantic.Field(
        "cka",
        description="1 - linear CKA or 1 - cos of the Procrustes angle of states; squared output difference",
    )
    variant: str = pydantic.Field(
        TRAINED, description='"trained", or the task\'s variant on whose trials members are compared'
    )
    n_trials: int = pydantic.Field(16, ge=2, description="common trials at every update")
    n_samples: int = pydantic.Field(128, ge=2, description="states of these trials, at random steps, that are compared")

    def sampler(self, task: Task) -> Sampler:
        """What draws the common trials.

        Raises:
            UserError: a variant that the task does not have.
        """
        if self.variant == TRAINED:
            return task.sample
        variants = task.variants()
        if self.variant not in variants:
            raise unknown_name("variant", self.variant, (TRAINED, *variants), where="Coupling")
        return variants[self.variant].sample


class Coupled:
    """The gradients of one ensemble's coupling, on fresh common trials at every call."""

    def __init__(self, coupling: Coupling, task: Task, cell: Cell, device: str) -> None:
        self._coupling, self._cell = coupling, cell
        self._sample = coupling.sampler(task)
        self._stream = Streams([0], "coupling", device)

    def __call__(self, params: Params) -> Params:
        """d costs / d parameters, each with a leading member axis; 0 for members that are no longer finite."""
        rule = self._coupling
        trials = self._sample(self._stream, rule.n_trials)
        flat = torch.cat([value.flatten(1) for value in params.values()], 1)
        finite = torch.isfinite(flat).all(1).nonzero().squeeze(1)
        leaves = {name: value[finite].detach().requires_grad_() for name, value in params.items()}
        grads = {name: torch.zeros_like(value) for name, value in params.items()}
        if len(finite) < 2:
            return grads
        n = len(finite)
        with torch.enable_grad():
            states, outputs = forward(self._cell, leaves, trials.inputs.expand(n, -1, -1, -1), {})
            seen = outputs if rule.distance == "outputs" else self._cell.hidden(states)
            distances = DISTANCES[rule.distance](self._chosen(seen, trials.valid[0]))
            # Each pair once: its gradient by member k is that of k's own distance to the other, held still.
            cost = rule.strength * distances.triu(1).sum() / (n - 1)
            found = torch.autograd.grad(cost, list(leaves.values()), allow_unused=True)
        for name, grad in zip(leaves, found, strict=True):
            if grad is not None:
                grads[name][finite] = torch.where(torch.isfinite(grad), grad, 0.0)
        return grads

    def _chosen(self, seen: Tensor, valid: Tensor) -> Tensor:
        """(member, sample, unit): what is compared, at random steps of the trials."""
        rows = seen[:, valid]
        order = self._stream.uniform((rows.shape[1],))[0].argsort()
        return rows[:, order[: self._coupling.n_samples]]


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


def _cka(x: Tensor) -> Tensor:
    """1 - linear CKA of all pairs, (member, member), from states (member, sample, unit)."""
    x = _centred(x)
    grams = (x @ x.mT).flatten(1)
    grams = grams / grams.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return 1 - grams @ grams.mT


def _procrustes(x: Tensor) -> Tensor:
    """1 - cos of the Procrustes angle of all pairs, (member, member)."""
    x = _centred(x)
    x = x / x.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-12)
    n = len(x)
    one, other = torch.triu_indices(n, n, 1, device=x.device)
    aligned = torch.linalg.svdvals(x[one].mT @ x[other]).sum(1)
    return torch.zeros(n, n, dtype=x.dtype, device=x.device).index_put((one, other), 1 - aligned)


def _outputs(x: Tensor) -> Tensor:
    """Mean squared difference of outputs of all pairs, (member, member)."""
    return (x.unsqueeze(1) - x.unsqueeze(0)).square().mean((2, 3))


DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "cka": _cka,
    "procrustes": _procrustes,
    "outputs": _outputs,
}  # of the pairs above the diagonal
