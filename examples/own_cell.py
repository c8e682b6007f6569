"""A cell of your own without weights between units (minGRU, arXiv 2410.01201): checked, trained and measured.

Run it with `python examples/own_cell.py`. The cell says which parameters it has, each by its axes and its role;
relabelled copies, distances of weights and files follow from that.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

import degeneracy as dg
from degeneracy.networks import CELLS, Parameter, Params


class MinGRU(dg.Cell):
    """z = sigmoid(W_z x + b_z), h_t = (1 - z) h_{t-1} + z (W_h x + b_h): the gates see the inputs alone."""

    name: ClassVar[str] = "my_min_gru"
    summary: ClassVar[str] = "minGRU in its linear form"
    source: ClassVar[str] = "Feng et al. (2024), arXiv 2410.01201"
    symmetry: ClassVar[str] = "linear_permutation"  # a unit's candidate may be multiplied by any number but 0
    gates: ClassVar[int] = 2
    candidate: ClassVar[int] = 1

    def parameters(self, input_size: int, hidden_size: int) -> Mapping[str, Parameter]:
        """Input weights and biases of both gates."""
        rows = {"axes": ("gate", "unit"), "sizes": (2, hidden_size)}
        into = {"axes": ("gate", "unit", "in"), "sizes": (2, hidden_size, input_size)}
        return {"W_in": Parameter(**into, role="input"), "bias": Parameter(**rows, role="bias")}

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:  # noqa: ARG002
        """The next state; `drive` is W_in x + bias of both gates."""
        update, candidate = drive.chunk(2, dim=-1)
        return state + torch.sigmoid(update) * (candidate - state)


def main() -> None:
    """Check the cell, train small networks of it and measure them."""
    dg.checks.check_cell(MinGRU())
    CELLS[MinGRU.name] = MinGRU  # in a study file: network.cell = "own_cell:MinGRU"
    task = dg.tasks.FlipFlop(channels=1, n_steps=20, threshold=0.35)  # a gate that sees no state holds a bit roughly
    training = dg.Training(batch_size=32, steps_per_epoch=25, max_epochs=20, learning_rate=0.02)
    network = dg.Network(hidden_size=16, cell=MinGRU.name)
    ensemble = dg.train(task, network, training, seeds=range(3), jobs=1, progress=False)
    result = dg.measure(ensemble, task, measures=("pif", "signed_pif", "effective_rank", "procrustes"), jobs=1)
    print(result.table[["measure", "variant", "value", "floor", "note"]].to_string(index=False))
    print(result.missing)


if __name__ == "__main__":
    main()
