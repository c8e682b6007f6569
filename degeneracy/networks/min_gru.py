"""The minGRU: a gated unit whose gates see the inputs alone."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from degeneracy.networks.cell import Kernel, Parameter, Params
from degeneracy.networks.scan import ScanCell


class MinGRUCell(ScanCell):
    """minGRU: z_t = sigmoid(W_z x_t + b_z), n_t = W_n x_t + b_n, h_t = (1 - z_t) h_{t-1} + z_t n_t.

    No weights join the units, so that each unit is a leaky integrator of the inputs, whose leak they set. Under a
    constant input h = n is its one fixed point, with the eigenvalues 1 - z. A unit's candidate may be multiplied by any
    number but 0, and its readout weights divided by it.
    """

    name: ClassVar[str] = "min_gru"
    summary: ClassVar[str] = "minGRU: gates see the inputs alone and no weights join the units, h = (1 - z) h + z n"
    source: ClassVar[str] = "Feng, Tung, Ahmed, Bengio & Hajimirsadeghi (2024), arXiv 2410.01201, section 3.1"
    symmetry: ClassVar[str] = "linear_permutation"
    gates: ClassVar[int] = 2  # update, candidate
    candidate: ClassVar[int] = 1

    @property
    def kernel(self) -> Kernel:
        """Its own."""
        return Kernel(name="min_gru")

    def parameters(self, input_size: int, hidden_size: int) -> Mapping[str, Parameter]:
        """Input weights and biases of both gates."""
        named = super().parameters(input_size, hidden_size)
        return {name: parameter for name, parameter in named.items() if parameter.role != "recurrent"}

    def coefficients(self, params: Params, drive: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """1 - z and z n."""
        gate, candidate = drive.chunk(2, dim=-1)
        update = torch.sigmoid(gate)
        return 1 - update, update * candidate
