"""The same numbers in another container, and what a user may have switched on around a call."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from .file_damage import Rng

Array = NDArray[Any]
TAKEN, EITHER, REFUSED = "has to be taken", "may be refused", "has to be refused"


class Named:
    """An array with named dimensions, as xarray's: what says more than its order of axes."""

    def __init__(self, values: Array, dims: tuple[str, ...]) -> None:
        self.values, self.dims = values, dims

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def ndim(self) -> int:
        return self.values.ndim

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator["Named"]:
        return (Named(value, self.dims[1:]) for value in self.values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array(self.values, dtype=dtype)

    def transpose(self, *dims: str) -> "Named":
        return Named(self.values.transpose([self.dims.index(name) for name in dims]), dims)


class Lazy:
    """Nothing but `__array__`, and that of an old signature."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __array__(self, dtype: Any = None) -> Array:
        return self.values.astype(dtype or np.float64)


@dataclass(frozen=True, kw_only=True)
class Form:
    """A container: what it makes of an array with axes of these names, and whether it has to be taken.

    `make` returns what is given and the float64 numbers that it stands for.
    """

    make: Callable[[Rng, Array, tuple[str, ...]], tuple[Any, Array]]
    must: str = EITHER


def _same(make: Callable[[Array], Any], must: str = TAKEN) -> Form:
    """A container of the very numbers."""
    return Form(make=lambda _rng, x, _dims: (make(x), x), must=must)


def _rounded(dtype: Any, must: str = TAKEN) -> Form:
    def make(rng: Rng, x: Array, dims: tuple[str, ...]) -> tuple[Any, Array]:
        rounded = (8 * x).astype(dtype) if np.dtype(dtype).kind in "iu" else x.astype(dtype)
        return rounded, rounded.astype(np.float64)

    return Form(make=make, must=must)


def _tensor(dtype: torch.dtype, *, grad: bool = False, apart: bool = False) -> Form:
    def make(rng: Rng, x: Array, dims: tuple[str, ...]) -> tuple[Any, Array]:
        tensor = torch.tensor(x).to(dtype)
        exact = tensor.double().numpy()
        if apart:
            return [part.clone().requires_grad_(grad) for part in tensor], exact
        return tensor.requires_grad_(grad), exact

    return Form(make=make, must=TAKEN)


def _mixed(rng: Rng, x: Array, dims: tuple[str, ...]) -> tuple[Any, Array]:
    makers = (
        lambda a: a.astype(np.float32),
        lambda a: torch.tensor(a),
        lambda a: a.astype(np.float16),
        lambda a: torch.tensor(a).bfloat16(),
        lambda a: a.tolist(),
        lambda a: torch.tensor(a, requires_grad=True),
    )
    parts = [makers[int(rng.integers(len(makers)))](part) for part in x]
    exact = [
        part.detach().double().numpy() if isinstance(part, torch.Tensor) else np.asarray(part, dtype=np.float64)
        for part in parts
    ]
    return parts, np.stack(exact)


def _named(rng: Rng, x: Array, dims: tuple[str, ...]) -> tuple[Any, Array]:
    order = rng.permutation(x.ndim)
    return Named(x.transpose(order), tuple(dims[k] for k in order)), x


def _named_oddly(rng: Rng, x: Array, dims: tuple[str, ...]) -> tuple[Any, Array]:
    return Named(x, tuple("abcd"[: x.ndim])), x


def _masked(rng: Rng, x: Array, dims: tuple[str, ...], *, apart: bool = False) -> tuple[Any, Array]:
    mask = np.zeros(x.shape, dtype=bool)
    mask.ravel()[rng.integers(x.size, size=3)] = True
    masked = np.ma.masked_array(np.where(mask, 1e3, x), mask)
    return list(masked) if apart else masked, x


def _with_none(rng: Rng, x: Array, dims: tuple[str, ...]) -> tuple[Any, Array]:
    boxed = x.astype(object)
    boxed.ravel()[rng.integers(x.size)] = None
    return boxed, x


def _strided(x: Array) -> Array:
    wide = np.repeat(x, 2, axis=-1)
    return wide[..., ::2]


def _frames(rng: Rng, x: Array, dims: tuple[str, ...]) -> tuple[Any, Array]:
    return ([pd.DataFrame(part) for part in x] if x.ndim == 3 else pd.Series(list(x))), x


def _read_only(x: Array) -> Array:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


FORMS: dict[str, Form] = {
    "float32": _rounded(np.float32),
    "float16": _rounded(np.float16),
    "long double": _rounded(np.longdouble),
    "int64": _rounded(np.int64),
    "int8": _rounded(np.int8),
    "big-endian": _same(lambda x: x.astype(">f8")),
    "Fortran order": _same(np.asfortranarray),
    "strided": _same(_strided),
    "a reversed view": _same(lambda x: x[..., ::-1].copy()[..., ::-1]),
    "read-only": _same(_read_only),
    "a list of arrays": _same(list),
    "a tuple of arrays": _same(tuple),
    "nested lists": _same(lambda x: x.tolist()),
    "an iterator": _same(iter, EITHER),
    "a dict": _same(lambda x: dict(enumerate(x)), REFUSED),
    "a set": _same(lambda x: set(range(len(x))), REFUSED),
    "a tensor": _tensor(torch.float64),
    "a float32 tensor": _tensor(torch.float32),
    "a bfloat16 tensor": _tensor(torch.bfloat16),
    "a tensor that requires grad": _tensor(torch.float64, grad=True),
    "tensors that require grad": _tensor(torch.float32, grad=True, apart=True),
    "bfloat16 tensors": _tensor(torch.bfloat16, apart=True),
    "mixed dtypes": Form(make=_mixed, must=TAKEN),
    "a strided tensor": _same(lambda x: torch.tensor(np.ascontiguousarray(x.swapaxes(-1, -2))).mT),
    "a sparse tensor": _same(lambda x: torch.tensor(x).to_sparse(), EITHER),
    "a tensor without data": _same(lambda x: torch.tensor(x).to("meta"), REFUSED),
    "complex, the imaginary part 0": _same(lambda x: x.astype(complex), EITHER),
    "complex": _same(lambda x: x + 1j * x, REFUSED),
    "a complex tensor": _same(lambda x: torch.tensor(x + 1j * x), REFUSED),
    "numbers as objects": _same(lambda x: x.astype(object), EITHER),
    "objects with None": Form(make=_with_none, must=REFUSED),
    "numbers as text": _same(lambda x: np.array([[repr(v) for v in x.ravel()]]).reshape(x.shape), EITHER),
    "words": _same(lambda x: np.full(x.shape, "x"), REFUSED),
    "dates": _same(lambda x: (8 * x).astype("M8[s]"), REFUSED),
    "durations": _same(lambda x: (8 * x).astype("m8[s]"), REFUSED),
    "a structured array": _same(lambda x: x.view([("a", "f8")]), EITHER),
    "masked": Form(make=_masked, must=REFUSED),
    "masked members": Form(make=lambda rng, x, dims: _masked(rng, x, dims, apart=True), must=REFUSED),
    "masked nowhere": _same(lambda x: np.ma.masked_array(x, np.zeros(x.shape, bool)), EITHER),
    "named dimensions": Form(make=_named),
    "dimensions of other names": Form(make=_named_oddly),
    "data frames": Form(make=_frames),
    "an object with __array__": _same(lambda x: [Lazy(part) for part in x], EITHER),
    "a number": _same(lambda _: 3.0, REFUSED),
    "a text": _same(lambda _: "states.npz", REFUSED),
    "an array of no dimension": _same(lambda _: np.array(3.0), REFUSED),
}


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


SURROUNDINGS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "torch.inference_mode": torch.inference_mode,
    "torch.no_grad": torch.no_grad,
    "torch.autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default dtype float64": lambda: _default_dtype(torch.float64),
    "default dtype bfloat16": lambda: _default_dtype(torch.bfloat16),
    "default device meta": lambda: _default_device("meta"),
    "default device cpu": lambda: _default_device("cpu"),
    "a device as context": lambda: torch.device("meta"),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "np.errstate ignore": lambda: np.errstate(all="ignore"),
}
