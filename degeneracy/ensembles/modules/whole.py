"""Modules that run whole trials alone, and sequences of modules that are read as their parts."""

from typing import Any

import torch
from torch import Tensor, nn

from degeneracy.core.errors import UserError
from degeneracy.ensembles.modules.copies import module_params, untrained_names, working_copy
from degeneracy.ensembles.modules.given import Given
from degeneracy.ensembles.modules.known import random_trials
from degeneracy.ensembles.modules.stepped import AGREES_SINGLE, N_STEPS, N_TRIALS, Sides, Tried
from degeneracy.networks import forward
from degeneracy.networks.module_cell import WholeTrialCell


def whole_trials(k: int, module: nn.Module, input_size: int, output_size: int | None, *, batch_first: bool) -> Given:
    """A member that runs whole trials: its forward gives outputs, or (outputs, states).

    Raises:
        UserError: a forward that cannot be run, or whose outputs of a trial hang on other trials.
    """
    copied = working_copy(k, module)
    params = module_params(k, copied)

    has_states: list[bool] = []  # found in the first run

    def run(of: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
        made = of(inputs if batch_first else inputs.transpose(0, 1))
        outputs, *more = made if isinstance(made, tuple | list) else (made,)
        if not has_states:
            has_states.append(bool(more) and _over_time(more[0], outputs))
        states = more[0] if has_states[0] else outputs[..., :0]
        return (outputs, states) if batch_first else (outputs.transpose(0, 1), states.transpose(0, 1))

    called = type(module).__name__
    cell = WholeTrialCell(module=copied, called=called, input_size=input_size, output_size=1, run_of=run, n_hidden=0)
    tried = Tried(k, params, Sides(input_size=input_size, state_size=1, n_hidden=0))
    like = next(iter(tried.single.values()))
    inputs = tried.inputs[0].to(like)
    states: list[Tensor] = []

    def outputs(given: Tensor) -> Tensor:
        made, seen = cell.call(tried.single, 0, run, given)
        states.append(seen)
        found: Tensor = made
        return found

    shape = (N_TRIALS, N_STEPS, output_size)
    first = tried.twice("its forward", lambda: outputs(inputs), shape)
    changed = inputs.clone()
    changed[0] += 1.0
    second = tried.said("its forward", lambda: outputs(changed), shape)
    if first.isfinite().all() and not torch.allclose(first[1:], second[1:], rtol=1e-4, atol=1e-5):
        raise UserError(
            f"from_modules: member {k}: its outputs of one trial change with the inputs of another; give batch_first="
            f"{not batch_first} if its forward takes {'(time, trial, in)' if batch_first else '(trial, time, in)'}"
        )
    made = cell.replace(
        output_size=first.shape[-1], n_hidden=states[0].shape[-1], untrained=untrained_names(module, copied)
    )
    return Given(cell=made, params=params, provenance={"module": called})


def check_sequence(k: int, module: nn.Module, read: Given) -> None:
    """Refuse a sequence of modules that runs, and gives something else than what it was read as.

    Raises:
        UserError: it does.
    """
    copied = working_copy(k, module)
    params = {name: value[None] for name, value in read.params.items()}
    like = next(iter(params.values()))
    inputs = random_trials(read.cell.axis_size(params, "in")).to(like)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            time_first = not getattr(next(copied.children()), "batch_first", True)
            made: Any = copied.to(like.dtype)(inputs.transpose(0, 1) if time_first else inputs)
    except Exception:  # nn.GRU gives a tuple, which most modules do not take
        return
    with torch.no_grad():
        expected = forward(read.cell, params, inputs[None], {})[1][0]
    made = made[0] if isinstance(made, tuple | list) and len(made) == 2 else made  # a recurrent module alone
    outputs = made.transpose(0, 1) if time_first and isinstance(made, Tensor) and made.ndim > 2 else made
    if not isinstance(outputs, Tensor) or outputs.shape != expected.shape:
        raise UserError(
            f"from_modules: member {k}: the sequence gives no outputs (trial, time, out) for whole trials; give step="
            " and readout="
        )
    if not torch.allclose(outputs, expected, rtol=AGREES_SINGLE, atol=1e-4):  # single precision, in saturation too
        raise UserError(
            f"from_modules: member {k}: the sequence gives other outputs than its recurrent part, read out by the rest"
            f" (by up to {(outputs - expected).abs().max():.3g}); give step= and readout="
        )


def _over_time(states: object, outputs: Tensor) -> bool:
    """Whether these are states of all trials and steps."""
    return isinstance(states, Tensor) and states.ndim == 3 and states.shape[:2] == outputs.shape[:2]
