"""Training through a recurrent map: gradients of what acts, pulled back to what is trained.

Backends, penalties and couplings see the weights that act and know of no map. The optimiser's state stands between: it
holds what is trained, takes its step there, and writes the weights that act from then on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from degeneracy.networks import (
    Network,
    RecurrentMap,
    acting_params,
    acting_weights,
    made_by_map,
    parts_of,
    trained_params,
)
from degeneracy.networks.cell import Params
from degeneracy.tasks import Task
from degeneracy.training.flat_parameters import NORM, Groups, clip_norms, flatten, views
from degeneracy.training.optimisers import OptimiserState
from degeneracy.training.specification import Training


@dataclass(kw_only=True)
class MappedState(OptimiserState):
    """An optimiser's state of what a map is trained by, and steps of the weights that it makes.

    Gradients are clipped by the norm of those of what is trained.
    """

    recurrent: RecurrentMap
    made: Mapping[str, bool]  # the parameters that act: whether the map makes each
    acting: Params  # names and shapes of what acts
    trained: Params  # names and shapes of what is trained
    flat: Tensor  # what is trained, (member, parameter)
    inner: OptimiserState
    groups: Groups  # of what acts

    @classmethod
    def start(
        cls, task: Task, network: Network, training: Training, seeds: Sequence[int], acting: Tensor
    ) -> "MappedState":
        """The state before the first update of acting parameters (member, parameter)."""
        drawn = training.stream_seeds("initialisation", seeds)
        trained, made = trained_params(network, task.input_size, task.output_size, drawn), made_by_map(network)
        flat = flatten(trained).to(acting.device)
        return cls(
            recurrent=network.recurrent,
            made=made,
            acting=acting_params(network.recurrent, made, trained),
            trained=trained,
            flat=flat,
            inner=training.optimiser.start(flat, Groups.plain(flat.shape[1])),
            groups=Groups.plain(acting.shape[1]),
        )

    def __post_init__(self) -> None:
        self._norm_factors = self.inner.groups.factors(NORM, self.flat)
        self._params = views(self.flat, self.trained)

    def map_parts(self) -> Params:
        """The parts of maps."""
        return {name: value for name, value in self._params.items() if name not in self.acting}

    def update(self, params: Tensor, grads: Tensor, rates: Tensor) -> None:
        """One update; see `OptimiserState`."""
        self.clipped_update(params, grads, rates, torch.inf, grads.new_ones(1))

    def clipped_update(
        self,
        params: Tensor,
        grads: Tensor,
        rates: Tensor,
        clip_norm: float,
        norm_factors: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """One update; the norms of the gradients of what is trained, before clipping."""
        flat_grads = flatten(pulled_back(self.recurrent, self.made, self._params, views(grads, self.acting)))
        norms = clip_norms(flat_grads, clip_norm, self._norm_factors)
        self.inner.update(self.flat, flat_grads, rates)
        params.copy_(flatten(acting_params(self.recurrent, self.made, self._params)))
        return norms

    def select(self, members: Tensor) -> "MappedState":
        """The state of some members, by position."""
        return replace(self, flat=self.flat[members], inner=self.inner.select(members))


def pulled_back(recurrent: RecurrentMap, made: Mapping[str, bool], trained: Params, grads: Params) -> Params:
    """The gradients of what is trained.

    Args:
        recurrent: the map.
        made: what `made_by_map` gave.
        trained: what is trained, by name, each with a leading member axis.
        grads: gradients of the parameters as they act.

    Returns:
        By name and of the shapes of `trained`.
    """
    pulled = {}
    for name, by_map in made.items():
        if not by_map:
            pulled[name] = grads[name]
            continue
        with torch.enable_grad():
            leaves = {part: value.detach().requires_grad_() for part, value in parts_of(trained, name).items()}
            acting = acting_weights(recurrent, leaves)
            of_parts = torch.autograd.grad(acting, list(leaves.values()), grads[name])
        pulled |= {f"{name}.{part}": grad for part, grad in zip(leaves, of_parts, strict=True)}
    return pulled
