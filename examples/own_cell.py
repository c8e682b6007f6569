"""A cell of your own without weights between units, whose states follow from a scan: checked, trained and measured.

Run it with `python examples/own_cell.py`. The cell says which parameters it has, each by its axes and its role;
relabelled copies, distances of weights and files follow from that. It also says what its state is multiplied by and
what is added to it at each step; runs and gradients by a compiled scan follow from that. A cell that is of no such form
is a subclass of `dg.Cell` with a `step` of its own.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

import degeneracy as dg
from degeneracy.networks import CELLS, Parameter, Params, ScanCell


class Signed(ScanCell):
    """h_t = tanh(W_a x + b_a) h_{t-1} + W_h x + b_h: each unit keeps or flips its sign, as the inputs say."""

    name: ClassVar[str] = "my_signed"
    summary: ClassVar[str] = "diagonal cell with factors of either sign"
    source: ClassVar[str] = "Grazzi et al. (2024), arXiv 2411.12537: what negative eigenvalues are for"
    symmetry: ClassVar[str] = "linear_permutation"  # what is added may be multiplied by any number but 0
    gates: ClassVar[int] = 2
    candidate: ClassVar[int] = 1  # the gate that noise enters, and whose rows a unit's sign acts on

    def parameters(self, input_size: int, hidden_size: int) -> Mapping[str, Parameter]:
        """Input weights and biases of both gates."""
        rows = {"axes": ("gate", "unit"), "sizes": (2, hidden_size)}
        into = {"axes": ("gate", "unit", "in"), "sizes": (2, hidden_size, input_size)}
        return {"W_in": Parameter(**into, role="input"), "bias": Parameter(**rows, role="bias")}

    def coefficients(self, params: Params, drive: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The state's factor and what is added to it; `drive` is W_in x + bias of both gates."""
        factor, added = drive.chunk(2, dim=-1)
        return torch.tanh(factor), added


def main() -> None:
    """Check the cell, train small networks of it and measure them."""
    dg.checks.check_cell(Signed())
    CELLS[Signed.name] = Signed  # in a study file: network.cell = "own_cell:Signed"
    task = dg.tasks.FlipFlop(channels=1, n_steps=20, threshold=0.35)  # a gate that sees no state holds a bit roughly
    training = dg.Training(batch_size=32, steps_per_epoch=25, max_epochs=20, learning_rate=0.02)
    network = dg.Network(hidden_size=16, cell=Signed.name)
    ensemble = dg.train(task, network, training, seeds=range(3), jobs=1, progress=False)
    result = dg.measure(ensemble, task, measures=("pif", "signed_pif", "effective_rank", "procrustes"), jobs=1)
    print(result.table[["measure", "variant", "value", "floor", "note"]].to_string(index=False))
    print(result.missing)


if __name__ == "__main__":
    main()
