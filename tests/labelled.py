"""Arrays for tests, and an array with labels as xarray has it."""

from typing import Any

import numpy as np

_RNG = np.random.default_rng(0)
X = _RNG.integers(-8, 9, size=(3, 4, 5)) / 4.0  # (trial, time, unit): quarters below 3, exact in any float
STATES = _RNG.normal(size=(3, 6, 7, 4))  # (member, trial, time, unit)


class Named:
    """What xarray offers of a labelled array, and nothing else."""

    def __init__(self, values: Any, *dims: Any, coords: dict[str, Any] | None = None) -> None:
        self.values, self.dims, self.coords = np.asarray(values), dims, coords or {}

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values if dtype is None else self.values.astype(dtype)

    def __iter__(self) -> Any:
        return (Named(each, *self.dims[1:]) for each in self.values)

    def __len__(self) -> int:
        return len(self.values)
