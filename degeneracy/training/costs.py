"""What is added to the members' gradients beside their tasks': regularisers, and a coupling between members."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from degeneracy.networks.cell import Cell, Params
from degeneracy.training.regularisers import Strengths, on_weights, weights_gradient


def _no_coupling(params: Params) -> Params:
    del params
    return {}


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Penalties added to the task loss, and the coupling of the members; empty by default."""

    strengths: Strengths = field(default_factory=dict)  # (member,) by regulariser
    coupling: Callable[[Params], Params] = _no_coupling  # gradients of the members' coupling, by parameter

    def add(self, cell: Cell, grads: Params, params: Params) -> None:
        """Add the gradients of regularisers on weights and of the coupling, in place.

        Args:
            cell: says which of the parameters are recurrent weights.
            grads: gradients with a leading member axis, views that can be written to.
            params: the parameters.
        """
        for name in cell.between_units if on_weights(self.strengths) else ():
            grads[name] += weights_gradient(self.strengths, params[name])
        for name, grad in self.coupling(params).items():
            grads[name] += grad

    def select(self, members: Tensor) -> "Costs":
        """The costs of some members, by position."""
        chosen = {name: value[members] for name, value in self.strengths.items()}
        return replace(self, strengths=chosen)
