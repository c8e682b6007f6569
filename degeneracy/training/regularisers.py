"""Regularisers: penalties on a member's recurrent weights or states, added to its task loss while it trains.

`REGULARISERS` is the table of what is here. Every one has its gradient in closed form beside its value: the fast
backends add the one, autograd differentiates the other. What is recorded as training loss stays the task's alone, and
so does what the stop rule sees.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from degeneracy.core.errors import UserError
from degeneracy.core.registry import look_up

COMPILED_TERMS = ("square", "change")  # of the states, in the order of the costs of `compiled_parts.penalise`


@dataclass(frozen=True, kw_only=True)
class Regulariser:
    """A penalty with its gradient, each multiplied by a strength per member.

    On weights: functions of recurrent weights as (member, gate, post, pre). On states: functions of the hidden states
    (member, trial, time, unit), those that the readout sees, and of which steps are part of the trial, (member, trial,
    time).
    `compiled` names the term of the compiled gradients that this one is; without one, training takes another backend.
    """

    summary: str
    source: str
    on: Literal["weights", "states"]
    penalty: Callable[..., Tensor]  # (member,)
    # Of the shape of the weights or states; without one, the penalty is differentiated at every update.
    gradient: Callable[..., Tensor] = None  # type: ignore[assignment]
    compiled: Literal["", "square", "change"] = ""  # of `COMPILED_TERMS`

    def __post_init__(self) -> None:
        if self.on not in ("weights", "states"):  # it would be added nowhere
            raise UserError(f"Regulariser: on = {self.on!r} is wrong: 'weights' or 'states' is needed")
        if self.gradient is None:
            object.__setattr__(self, "gradient", self._differentiated)

    def _differentiated(self, x: Tensor, *others: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.penalty(leaf, *others).sum(), leaf)
        return gradient


def _nuclear(w: Tensor) -> Tensor:
    """Sum of the singular values."""
    return torch.linalg.svdvals(w).sum((-2, -1))


def _nuclear_gradient(w: Tensor) -> Tensor:
    """U V^T of W = U S V^T: the gradient where W has full rank, a subgradient where not."""
    finite = torch.isfinite(w).all(-1).all(-1)[..., None, None]  # a diverged member's would be an error for all
    u, _, v = torch.linalg.svd(torch.where(finite, w, 0.0))
    return torch.where(finite, u @ v, w)


def _l1(w: Tensor) -> Tensor:
    """Sum of the absolute weights."""
    return w.abs().sum((-3, -2, -1))


def _l2(w: Tensor) -> Tensor:
    """Sum of the squared weights."""
    return w.square().sum((-3, -2, -1))


def _l2_gradient(w: Tensor) -> Tensor:
    return 2 * w


def _mean_square(x: Tensor, counted: Tensor) -> Tensor:
    """Mean over units and the counted steps, (member,); 0 where no step counts."""
    return (x.square() * counted.unsqueeze(-1)).sum((1, 2, 3)) / (counted.sum((1, 2)).clamp(min=1) * x.shape[-1])


def _weight_of_steps(x: Tensor, counted: Tensor) -> Tensor:
    """d mean square / d x, over x: 2 / count at the counted steps."""
    return (2 * counted / (counted.sum((1, 2), keepdim=True).clamp(min=1) * x.shape[-1])).unsqueeze(-1)


def _activity_gradient(hidden: Tensor, valid: Tensor) -> Tensor:
    return _weight_of_steps(hidden, valid) * hidden


def _both_valid(valid: Tensor) -> Tensor:
    return valid[..., 1:] * valid[..., :-1]


def _change(hidden: Tensor, valid: Tensor) -> Tensor:
    """Mean squared change from one step to the next."""
    return _mean_square(hidden.diff(dim=2), _both_valid(valid))


def _change_gradient(hidden: Tensor, valid: Tensor) -> Tensor:
    change = hidden.diff(dim=2)
    change = change * _weight_of_steps(change, _both_valid(valid))
    ahead = torch.nn.functional.pad(change, (0, 0, 0, 1))
    return torch.nn.functional.pad(change, (0, 0, 1, 0)) - ahead


REGULARISERS: dict[str, Regulariser] = {
    "nuclear": Regulariser(
        summary="nuclear norm of the recurrent weights (of gated cells, of each gate): the rank falls",
        source="Recht, Fazel & Parrilo (2010), SIAM Review 52:471",
        on="weights",
        penalty=_nuclear,
        gradient=_nuclear_gradient,
    ),
    "l1": Regulariser(
        summary="sum of the absolute recurrent weights: they become sparse",
        source="Tibshirani (1996), J R Stat Soc B 58:267",
        on="weights",
        penalty=_l1,
        gradient=torch.sign,
    ),
    "l2": Regulariser(
        summary="sum of the squared recurrent weights: they become small",
        source="Hoerl & Kennard (1970), Technometrics 12:55",
        on="weights",
        penalty=_l2,
        gradient=_l2_gradient,
    ),
    "l2_activity": Regulariser(
        summary="mean over trials, steps and units of the squared hidden state: activity stays low",
        source="Sussillo, Churchland, Kaufman & Shenoy (2015), Nat Neurosci 18:1025",
        on="states",
        penalty=_mean_square,
        gradient=_activity_gradient,
        compiled="square",
    ),
    "temporal_consistency": Regulariser(
        summary="mean over trials, steps and units of the squared change of the hidden state: states move smoothly",
        source="the rate of change of states as a cost, as in slow feature analysis: Wiskott & Sejnowski (2002)",
        on="states",
        penalty=_change,
        gradient=_change_gradient,
        compiled="change",
    ),
}


def regulariser(name: str) -> Regulariser:
    """An entry of `REGULARISERS`, or a `Regulariser` of the user's as `module:Name`.

    Raises:
        UserError: no such name, or something else of that name.
    """
    entry = look_up("regulariser", name, REGULARISERS)
    if not isinstance(entry, Regulariser):
        raise UserError(f"'{name}' is no regulariser: a degeneracy.Regulariser is needed, not a {type(entry).__name__}")
    return entry


Strengths = Mapping[str, Tensor]  # (member,) by regulariser


def on_states(strengths: Strengths) -> dict[str, Tensor]:
    """The strengths of the regularisers on states."""
    return {name: value for name, value in strengths.items() if regulariser(name).on == "states"}


def on_weights(names: Iterable[str]) -> list[str]:
    """Those of some regularisers' names that are on weights."""
    return [name for name in names if regulariser(name).on == "weights"]


def weights_gradient(strengths: Strengths, w_rec: Tensor) -> Tensor:
    """d penalties / d recurrent weights of the regularisers on weights.

    Args:
        strengths: by regulariser; those on states are passed over.
        w_rec: (member, gate * N, N).

    Returns:
        Of the shape of `w_rec`.
    """
    n = w_rec.shape[-1]
    by_gate = w_rec.unflatten(1, (-1, n))
    total = torch.zeros_like(by_gate)
    for name, strength in strengths.items():
        if regulariser(name).on == "weights":
            total += strength[:, None, None, None] * regulariser(name).gradient(by_gate)
    return total.flatten(1, 2)


def states_penalty(strengths: Strengths, hidden: Tensor, valid: Tensor) -> Tensor | float:
    """The penalties on states, (member,), or 0 without any; arguments as of `Regulariser`."""
    valid = valid.to(hidden.dtype)
    return sum((strength * regulariser(name).penalty(hidden, valid) for name, strength in strengths.items()), 0.0)


def states_gradient(strengths: Strengths, hidden: Tensor, valid: Tensor) -> Tensor:
    """d penalties / d hidden states, of the shape of `hidden`; arguments as of `Regulariser`."""
    valid, total = valid.to(hidden.dtype), torch.zeros_like(hidden)
    for name, strength in strengths.items():
        total += strength[:, None, None, None] * regulariser(name).gradient(hidden, valid)
    return total
