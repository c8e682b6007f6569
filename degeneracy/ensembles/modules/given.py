"""One member of an ensemble that was made elsewhere, as it was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from degeneracy.networks.cell import Cell, Params


@dataclass(frozen=True, kw_only=True)
class Given:
    """The cell that a member is, and the parameters that it runs with."""

    cell: Cell
    params: Params  # without a member axis, on the CPU
    provenance: Mapping[str, Any]
