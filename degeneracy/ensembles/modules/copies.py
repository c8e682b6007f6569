"""Copies of the user's modules: on the CPU, in evaluation mode, all their numbers among parameters and buffers."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from degeneracy.core.errors import UserError
from degeneracy.networks.cell import Params
from degeneracy.networks.module_cell import OF_MODULE

PRECISIONS = (torch.float32, torch.float64)


def unwrapped(module: Any) -> Any:
    """What torch.compile, DataParallel and averaging stand around."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
            module = module.module
        # torch names neither the class of a compiled module nor what it compiled publicly.
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod
        else:
            return module


def working_copy(k: int, module: nn.Module) -> nn.Module:
    """A copy of a member's module that later changes of the module do not reach.

    Tensors that are mere attributes (a mask, time constants) become buffers, so that they take part when it is run in
    another precision.

    Raises:
        UserError: it cannot be copied, or holds numbers of another precision than float32 and float64.
    """
    made = [
        value
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf  # such as weights that a hook made in the last run
    ]
    memo: dict[int, Any] = {id(value): value.detach().clone() for value in made}
    try:
        copied = copy.deepcopy(module, memo).cpu().eval().requires_grad_(False)
    except Exception as error:  # of the user's own classes
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(f"from_modules: member {k} cannot be copied ({type(error).__name__}: {reason})") from error
    for part in copied.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor) and value.is_floating_point():
                delattr(part, name)
                part.register_buffer(name, value.detach().cpu(), persistent=False)
    wrong = next((value for value in _numbers(copied).values() if value.dtype not in PRECISIONS or value.is_meta), None)
    if wrong is not None:
        raise UserError(
            f"from_modules: member {k} has numbers in {wrong.dtype} on {wrong.device.type}; needed are float32 or"
            " float64 with values (module.float())"
        )
    return copied


def untrained_names(module: nn.Module, copied: nn.Module) -> tuple[str, ...]:
    """The parameters of `module_params` that are buffers, or that the module kept from training.

    Where it has no parameter to be trained, it was frozen as a whole, which says nothing of its training.
    """
    buffers = [name for name, value in copied.named_buffers() if value.is_floating_point()]
    frozen = [name for name, value in module.named_parameters() if not value.requires_grad]
    some = any(value.requires_grad for value in module.parameters())
    return tuple(OF_MODULE + name for name in (*buffers, *(frozen if some else ())))


def _numbers(module: nn.Module) -> Params:
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value for name, value in named.items() if value.is_floating_point()}


def module_params(k: int, module: nn.Module) -> Params:
    """The numbers that a copy runs with, by the names under which a cell puts them into it.

    Raises:
        UserError: there are none.
    """
    numbers = _numbers(module)
    if not numbers:
        raise UserError(f"from_modules: member {k} ({type(module).__name__}) has no parameters")
    double = any(value.dtype == torch.float64 for value in numbers.values())
    dtype = torch.float64 if double else torch.float32
    return {OF_MODULE + name: value.detach().to(dtype, copy=True) for name, value in numbers.items()}
