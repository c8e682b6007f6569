"""Arrays from anywhere as plain float64 numbers, and nothing of what they say is lost on the way.

numpy's own conversion drops masks, reads named dimensions by position and takes text and dates for numbers. Every
array that a user hands over comes through `real_array` or `member_arrays` instead. Ground floor: any room may
import it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from degeneracy.core.errors import UserError

Layout = tuple[str, ...]  # the axes of an array in order, by their names in `AXES`

# What a named dimension may be called, whatever its case, in the plural too; "_", "-" and spaces do not count.
AXES: dict[str, Layout] = {
    "member": ("member", "network", "net", "model", "seed", "animal", "subject"),
    "trial": ("trial", "batch", "batches"),
    "time": ("time", "t", "timestep", "step", "timebin", "bin"),
    "unit": ("unit", "hidden", "hiddenunit", "neuron", "cell", "node", "channel", "feature"),
    "sample": ("sample", "observation"),
    "post": ("post", "postsynaptic", "to", "target", "row"),
    "pre": ("pre", "presynaptic", "from", "source", "column"),
    "in": ("in", "input"),
    "out": ("out", "output"),
    "gate": ("gate",),
    "bias": ("bias",),
    "variant": ("variant",),
}
# What else may stand for an axis where nothing is called by its name.
ALSO: dict[str, Layout] = {
    "trial": ("sample",),
    "sample": ("trial", "time"),
    "unit": ("post", "pre"),
    "post": ("unit",),
    "pre": ("unit",),
    "in": ("unit",),
    "out": ("unit",),
}
NUMBERS = (bool, int, float, complex, np.number, np.bool_)
REFUSED = {"c": "complex", "M": "dates", "m": "durations", "U": "text", "S": "text", "T": "text"}


def real_array(value: Any, name: str, *layouts: Layout) -> NDArray[np.float64]:
    """Numbers from anywhere as a float64 array, not copied where they are one already.

    Takes numpy arrays of any real type, nested lists, tensors of torch (on any device, with gradients, bfloat16),
    pandas and xarray objects, sparse matrices, and whatever offers `__array__` or `__dlpack__`.

    Args:
        value: the numbers.
        name: what they are called, for the message.
        layouts: the orders of axes to choose from. Where the dimensions of `value` have names (xarray's `dims`,
            torch's `names`, a table whose rows and columns are both named by axes), it is transposed to the layout
            that has these axes. Without layouts the order of axes means nothing, and names are not looked at.

    Raises:
        UserError: no real numbers, masked or missing values, rows of unequal length, a tensor without data, or
            dimensions with names that are unknown or not those of a layout.
    """
    if isinstance(value, list | tuple):
        return _stacked(value, name, layouts)
    order = _order(_dimensions(value, name), layouts, name) if layouts else ()
    array = _plain(value, name)
    return array.transpose(order) if order else array


def member_arrays(values: Any, name: str, *layouts: Layout) -> list[NDArray[np.float64]]:
    """One array per member, from one array with a leading member axis or from several arrays.

    Args:
        values: an array whose axes are those of a layout behind a member axis, or any iterable of arrays, which may
            differ in size.
        name, layouts: as for `real_array`, of one member.

    Raises:
        UserError: as `real_array`.
    """
    if isinstance(values, Mapping | Set) and not hasattr(values, "data_vars"):
        raise UserError(f"{name}: a {type(values).__name__} has no order of members; a list of arrays is needed")
    array_like = any(hasattr(values, way) for way in ("__array__", "__dlpack__", "toarray", "data_vars"))
    if getattr(values, "dtype", None) == np.dtype(object):  # arrays of different sizes in one
        array_like, values = False, list(np.asarray(values)) if np.ndim(values) else values
    if isinstance(values, str) or (not array_like and not isinstance(values, Iterable)):
        raise UserError(f"{name}: numbers are needed, one array per member, not {_shown(values)}")
    if array_like and not isinstance(values, list | tuple):
        array = real_array(values, name, *(("member", *layout) for layout in layouts))
        return list(array) if array.ndim else [array]
    return [real_array(each, f"{name} of member {k}", *layouts) for k, each in enumerate(values)]


def axis_labels(value: Any, axis: str, layout: Layout) -> tuple[str, ...]:
    """The names along one axis of a table or a labelled array; nothing where it has none, or numbers.

    Args:
        value: an array that `real_array` takes with this layout.
        axis: one of the layout.
        layout: the axes in order.
    """
    place = layout.index(axis)
    order = _order(_dimensions(value, axis), (layout,), axis)
    place = order[place] if order else place
    labels: Any = ()
    if hasattr(value, "index") and hasattr(value, "columns"):
        labels = (value.index, value.columns)[place]
    elif hasattr(value, "coords") and hasattr(value, "dims"):
        labels = value.coords.get(value.dims[place], ())
    listed = np.asarray(labels).tolist()
    return tuple(listed) if all(isinstance(each, str) for each in listed) else ()


def _stacked(values: Sequence[Any], name: str, layouts: Sequence[Layout]) -> NDArray[np.float64]:
    """A list of numbers, or of things that have one more axis as a list."""
    if all(isinstance(each, NUMBERS) for each in values):
        array = np.asarray(values)
        try:  # numpy takes whole numbers above 2^64 for objects
            return _plain(array if array.dtype.kind != "O" else array.astype(np.float64), name)
        except OverflowError:
            raise _no_numbers(name, "some are too large for a float") from None
    inner = [layout[1:] for layout in layouts if len(layout) > 1]
    parts = [real_array(each, name, *inner) for each in values]
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        listed = " and ".join(map(str, sorted(shapes)[:2]))
        raise UserError(f"{name}: rows of unequal length ({listed}); equal shapes are needed")
    return np.stack(parts)


def _plain(value: Any, name: str) -> NDArray[np.float64]:
    """As `real_array`, whatever names its dimensions have."""
    array = _as_numpy(value, name)
    kind = array.dtype.kind
    if kind == "O":
        return _from_objects(array, name)
    if kind in REFUSED:
        raise _no_numbers(name, f"they are {REFUSED[kind]}")
    if array.dtype.names is not None:
        raise _no_numbers(name, f"a structured array with the fields {', '.join(array.dtype.names)}: give one")
    try:
        with np.errstate(over="ignore"):  # of longer floats: infinite, which is refused where it matters
            return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError):  # bytes without a meaning; bfloat16 and the like have one
        raise _no_numbers(name, f"they are of type {array.dtype}") from None


def _as_numpy(value: Any, name: str) -> NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        _refuse_missing(name, int(np.count_nonzero(np.ma.getmaskarray(value))), "masked")
        return np.asarray(np.ma.getdata(value))
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if isinstance(value, torch.Tensor):
        return _host(value, name)
    if hasattr(value, "data_vars"):
        raise UserError(f"{name}: a {type(value).__name__} holds several variables; give one of them")
    if hasattr(value, "isna") and hasattr(value, "to_numpy"):  # pandas
        _refuse_missing(name, int(np.count_nonzero(np.asarray(value.isna()))), "missing (NA or NaN)")
    try:
        return _foreign(value)
    except MemoryError:
        raise
    except Exception as error:  # of somebody else's conversion, which may raise anything
        raise _no_numbers(name, " ".join(str(error).split())) from None


def _foreign(value: Any) -> NDArray[Any]:
    if hasattr(value, "toarray"):  # scipy's sparse matrices, which numpy takes for one object
        return np.asarray(value.toarray())
    if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):  # cupy, which refuses `__array__`
        return np.asarray(value.get())
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def _host(tensor: Any, name: str) -> NDArray[Any]:
    """A tensor's numbers in main memory, as float64."""
    if tensor.is_complex():
        raise _no_numbers(name, "they are complex")
    if tensor.is_meta:
        raise _no_numbers(name, "a tensor on the meta device holds none")
    if tensor.is_nested:
        raise UserError(f"{name}: a nested tensor has rows of unequal length; give a list of tensors")
    if hasattr(tensor, "get_mask"):
        _refuse_missing(name, int((~tensor.get_mask()).sum()), "masked")
        tensor = tensor.get_data()
    dense = tensor.detach().rename(None) if _tensor_names(tensor) else tensor.detach()
    dense = dense.dequantize() if dense.is_quantized else dense
    dense = dense if dense.layout is torch.strided else dense.to_dense()
    return np.asarray(dense.cpu().to(torch.float64).resolve_neg().numpy())


def _from_objects(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    """An array of Python objects: numbers of any kind, or arrays."""
    if array.ndim:
        return _stacked(array.tolist(), name, ())
    thing = array.item()
    if thing is None or type(thing).__name__ in ("NAType", "NaTType"):
        raise _missing(name, "missing")
    try:
        return np.asarray(float(thing))
    except (TypeError, ValueError, OverflowError):
        raise _no_numbers(name, f"not {_shown(thing)}") from None


def _dimensions(value: Any, name: str) -> Layout:
    """The names of an array's dimensions; nothing where they have none."""
    if isinstance(value, torch.Tensor):
        names: Any = _tensor_names(value)
    elif hasattr(value, "index") and hasattr(value, "columns"):  # a table's names are often incidental
        names = (getattr(value.index, "name", None), getattr(value.columns, "name", None))
        names = names if all(_axis(each) for each in names) else ()
    else:
        names = getattr(value, "dims", ())
    if not isinstance(names, tuple | list) or all(re.fullmatch(r"dim_\d+", str(each)) for each in names):
        return ()  # xarray calls dimensions dim_0, dim_1, ... where it was given no names
    if any(each is None for each in names):
        raise UserError(f"{name}: some dimensions have names and some do not ({', '.join(map(str, names))})")
    return tuple(str(each) for each in names)


def _tensor_names(tensor: Any) -> tuple[Any, ...]:
    names = getattr(tensor, "names", ())  # which torch had up to 2.12
    return names if any(each is not None for each in names) else ()


def _axis(dimension: Any) -> str:
    """The axis that a dimension's name stands for; "" for an unknown name."""
    plain = re.sub(r"[\W_]", "", str(dimension)).lower()
    return next((axis for axis, names in AXES.items() if plain in names or plain[:-1] in _plural(plain, names)), "")


def _plural(plain: str, names: Layout) -> Layout:
    return tuple(each for each in names if len(each) > 1) if plain.endswith("s") else ()


def _order(dimensions: Layout, layouts: Sequence[Layout], name: str) -> tuple[int, ...]:
    """Where the axes of the first layout that fits are; nothing where dimensions have no names."""
    if not dimensions:
        return ()
    axes = [_axis(each) for each in dimensions]
    for layout in layouts:
        places = [_place(axis, axes) for axis in layout]
        if len(axes) == len(layout) and sorted(places) == list(range(len(axes))):
            return tuple(places)
    unknown = ", ".join(f"'{each}'" for each, axis in zip(dimensions, axes, strict=True) if not axis)
    needed = " or ".join(f"({', '.join(layout)})" for layout in layouts)
    raise UserError(
        f"{name}: its dimensions are named ({', '.join(dimensions)}); needed are {needed}, in any order"
        + (f"; unknown: {unknown}" if unknown else "")
    )


def _place(axis: str, axes: Sequence[str]) -> int:
    """The one dimension that stands for an axis, -1 where none or several do."""
    for each in (axis, *ALSO.get(axis, ())):
        if each in axes:
            return axes.index(each) if axes.count(each) == 1 else -1
    return -1


def _refuse_missing(name: str, count: int, which: str) -> None:
    if count:
        raise _missing(name, which, f" ({count})")


def _missing(name: str, which: str, count: str = "") -> UserError:
    return UserError(
        f"{name}: it has {which} values{count}; complete arrays are needed (leave out the trials or units without)"
    )


def _no_numbers(name: str, why: str) -> UserError:
    return UserError(f"{name}: numbers are needed ({why})")


def _shown(thing: Any) -> str:
    """A thing in a few words of one line."""
    text = " ".join(repr(thing).split())
    return f"{type(thing).__name__} {text[:37] + '...' if len(text) > 40 else text}"
