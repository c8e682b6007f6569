"""What every recurrent map keeps to."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from degeneracy.analysis.recording import Weights
from degeneracy.analysis.weights.symmetry import SYMMETRIES, random_copy
from degeneracy.checks.claim import require
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.streams import Streams
from degeneracy.networks.cell import Params
from degeneracy.networks.recurrent_maps import RecurrentMap

N_UNITS, GATES = 10, 3
SD = N_UNITS**-0.5


def _started(recurrent: RecurrentMap, *seeds: int) -> Params:
    """What is trained at the start, float64."""
    streams = Streams(seeds, "check")
    drawn = SD * streams.normal((GATES * N_UNITS, N_UNITS))
    return {name: value.double() for name, value in recurrent.free(drawn, SD, streams).items()}


def _moved(recurrent: RecurrentMap, *seeds: int) -> Params:
    """The same after steps as large as the start."""
    streams = Streams(seeds, "check steps")
    started = _started(recurrent, *seeds).items()
    return {name: value + value.std() * streams.normal(value.shape[1:], dtype=torch.float64) for name, value in started}


def map_form(recurrent: RecurrentMap) -> None:
    """Weights of every gate are made, finite, at the start and later."""
    recurrent.check(N_UNITS)
    for free in (_started(recurrent, 0, 1), _moved(recurrent, 0, 1)):
        acting, shape = recurrent.acting(free), (2, GATES * N_UNITS, N_UNITS)
        require(acting.shape == shape, f"acting() is {shape}, not {tuple(acting.shape)}")
        require(acting.isfinite().all(), "the weights that act are finite")
    classes = recurrent.classes(N_UNITS)
    require(len(classes) in (0, N_UNITS), f"classes() has an entry per unit or none, not {len(classes)} of {N_UNITS}")


def map_members(recurrent: RecurrentMap) -> None:
    """A member's weights, and what they start from, are the same alone and in company."""
    together, alone = _started(recurrent, 0, 1), _started(recurrent, 1)
    for name, value in alone.items():
        require(torch.equal(together[name][1:], value), f"the start of {name} does not depend on companions")
    # 1e-12: batched products may add in another order.
    same = torch.allclose(recurrent.acting(together)[1:], recurrent.acting(alone), rtol=0, atol=1e-12)
    require(same, "a member's weights do not depend on its companions")


def map_gradient(recurrent: RecurrentMap) -> None:
    """All that is trained has the gradient of finite differences, and none of it is idle."""
    free = _moved(recurrent, 0)
    towards = Streams([0], "check direction").normal((GATES * N_UNITS, N_UNITS), dtype=torch.float64)
    for name, value in free.items():
        leaf = value.clone().requires_grad_()
        moved = (recurrent.acting(free | {name: leaf}) * towards).sum()
        require(moved.requires_grad, f"{name} has a gradient")
        (found,) = torch.autograd.grad(moved, leaf)
        require(found.isfinite().all() and found.any(), f"{name} has a gradient")
        step = Streams([1], "check direction").normal(value.shape[1:], dtype=torch.float64)
        ends = [(recurrent.acting(free | {name: value + h * step}) * towards).sum() for h in (1e-6, -1e-6)]
        right, size = float(ends[0] - ends[1]) / 2e-6, float((found * step).abs().sum())
        # 1e-6 of the sum of sizes: rounding over the step, 1e-10, and its square times curvature, 1e-12.
        difference = abs(float((found * step).sum()) - right)
        require(difference <= 1e-6 * size, f"the gradient of {name} is off by {difference:.2g} of {size:.2g}")


def map_holds(recurrent: RecurrentMap) -> None:
    """Weights that are made are such as `holds` says, and so are their copies under what is left of the symmetry."""
    for name in SYMMETRIES:
        left = recurrent.symmetry(name)
        require(left in SYMMETRIES, f"symmetry() gives one of {', '.join(SYMMETRIES)}, not '{left}'")
    acting = recurrent.acting(_moved(recurrent, 0))
    require(recurrent.holds(acting).all(), "holds() is true of the weights that acting() makes")
    by_gate = acting[0].unflatten(0, (GATES, N_UNITS)).numpy()
    for name in SYMMETRIES:
        weights = Weights.of(recurrent=by_gate, symmetry=recurrent.symmetry(name))
        copy = random_copy(replace(weights, classes=recurrent.classes(N_UNITS)), np.random.default_rng(0))
        require(recurrent.holds(_in_order(copy)).all(), f"copies under '{copy.symmetry}' are such as the map makes")


def _in_order(weights: Weights) -> Tensor:
    """Recurrent weights (1, gate * unit, unit), the units of each class together as the map has them."""
    order = np.argsort(np.array(weights.classes), kind="stable") if weights.classes else np.arange(weights.n_units)
    return torch.from_numpy(np.concatenate(weights.recurrent[:, order][:, :, order]))[None]


MAP_CLAIMS: dict[str, Callable[[RecurrentMap], None]] = {
    "form": map_form,
    "members": map_members,
    "gradient": map_gradient,
    "holds": map_holds,
}


@ordinary_state()
def check_recurrent_map(recurrent: RecurrentMap) -> None:
    """All claims of a recurrent map.

    Raises:
        CheckFailed: one that does not hold, with what was expected and found.
    """
    for claim in MAP_CLAIMS.values():
        claim(recurrent)
