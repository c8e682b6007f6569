"""Backends: the ways to take gradients. `BACKENDS` is the table, the fastest last; the last that serves is taken."""

from collections.abc import Collection

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.networks.cell import Cell
from degeneracy.tasks import MSE, Loss
from degeneracy.training.backends.autograd import Autograd
from degeneracy.training.backends.backpropagation import BackpropagationThroughTime
from degeneracy.training.backends.compiled import Compiled
from degeneracy.training.backends.protocol import Backend, Batch, Gradients
from degeneracy.training.backends.scan import CompiledScan
from degeneracy.training.regularisers import regulariser

__all__ = ["BACKENDS", "Backend", "Batch", "Gradients", "backend_for", "checked_backend", "serves"]

BACKENDS: dict[str, type[Backend]] = {
    Autograd.name: Autograd,
    BackpropagationThroughTime.name: BackpropagationThroughTime,
    Compiled.name: Compiled,
    CompiledScan.name: CompiledScan,
}


def serves(name: str, cell: Cell, device: str = "cpu", strengths: Collection[str] = (), loss: Loss = MSE) -> bool:
    """Whether a backend takes the gradients of a cell with these costs.

    Args:
        name: in `BACKENDS`.
        cell: the cell.
        device: a torch device.
        strengths: names of the regularisers in use, those on weights too, which no backend has to know.
        loss: of the task.
    """
    penalties = [regulariser(each) for each in strengths if regulariser(each).on == "states"]
    return BACKENDS[name].serves(cell, loss, penalties, device)


def backend_for(cell: Cell, device: str = "cpu", strengths: Collection[str] = (), loss: Loss = MSE) -> str:
    """The fastest backend that serves a cell on a device, by name; arguments as of `serves`."""
    return next(name for name in reversed(BACKENDS) if serves(name, cell, device, strengths, loss))


def checked_backend(name: str, cell: Cell, device: str, strengths: Collection[str], loss: Loss = MSE) -> str:
    """A backend by its name, "auto" for the fastest that serves.

    Raises:
        UserError: an unknown name, or a backend that does not serve.
    """
    if name == "auto":
        return backend_for(cell, device, strengths, loss)
    if name not in BACKENDS:
        raise unknown_name("backend", name, ("auto", *BACKENDS))
    if not serves(name, cell, device, strengths, loss):
        costs = f" with {', '.join(strengths)}" if strengths else ""
        costs += f" under the loss '{loss.name}'" if serves(name, cell, device, strengths) else ""
        raise UserError(f"backend '{name}' does not serve cell '{cell.name}'{costs} on device '{device}' (use 'auto')")
    return name
