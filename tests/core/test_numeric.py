"""Arrays from anywhere: the same numbers in the order that is meant, or one line that says why not."""

import decimal
import importlib
import warnings
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from labelled import STATES, Named, X

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.core.numeric import AXES, axis_labels, member_arrays, real_array


class OnlyArray:
    """An array of another library, as JAX's: it can be converted, and that is all."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.values, dtype)


class OnlyDLPack:
    def __init__(self, values: Any) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


class OnGPU(OnlyArray):
    """As cupy's: numpy's own conversion is refused, and `get` copies to main memory."""

    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def get(self) -> Any:
        return self.values


def negated(x: torch.Tensor) -> torch.Tensor:
    """A view whose sign is kept in a bit beside it, as the imaginary part of a conjugate is."""
    return torch.complex(torch.zeros_like(x), -x).conj().imag


TAKEN = {
    "float32": X.astype(np.float32),
    "float16": X.astype(np.float16),
    "longdouble": X.astype(np.longdouble),
    "big-endian": X.astype(">f8"),
    "column-major": np.asfortranarray(X),
    "reversed view": X[::-1].copy()[::-1],
    "read-only": np.broadcast_to(X, X.shape),
    "list": X.tolist(),
    "tuples": tuple(tuple(map(tuple, rows)) for rows in X.tolist()),
    "list of arrays of several types": [X[0].astype(np.float32), X[1].tolist(), torch.tensor(X[2])],
    "objects": X.astype(object),
    "decimals": [[[decimal.Decimal(v) for v in row] for row in rows] for rows in X.tolist()],
    "fractions": np.array([[[Fraction(v) for v in row] for row in rows] for rows in X.tolist()]),
    "masked array without a mask": np.ma.masked_array(X),
    "masked array of which nothing is masked": np.ma.masked_array(X, mask=np.zeros(X.shape, bool)),
    "tensor": torch.tensor(X),
    "tensor with gradient": torch.tensor(X, requires_grad=True),
    "parameter": torch.nn.Parameter(torch.tensor(X)),
    "result of parameters": torch.tensor(X, requires_grad=True) * 1,
    "list of tensors with gradient": [torch.tensor(each, requires_grad=True) for each in X],
    "bfloat16": torch.tensor(X, dtype=torch.bfloat16),
    "half tensor": torch.tensor(X, dtype=torch.float16),
    "float8": torch.tensor(X).to(torch.float8_e5m2),
    "sparse tensor": torch.tensor(X).to_sparse(),
    "strided tensor": torch.tensor(X.transpose(2, 0, 1).copy()).permute(1, 2, 0),
    "negated view": negated(torch.tensor(X)),
    "as JAX": OnlyArray(X.astype(np.float32)),
    "as cupy": OnGPU(X),
    "DLPack": OnlyDLPack(X),
}


@pytest.mark.parametrize("value", TAKEN.values(), ids=TAKEN.keys())
def test_what_is_taken_is_the_same_numbers(value: Any) -> None:
    array = real_array(value, "states", ("trial", "time", "unit"))
    assert type(array) is np.ndarray
    assert array.dtype == np.float64
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, X)  # exactly: X is exact in each of these types


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantized_tensors() -> None:
    quantized = torch.quantize_per_tensor(torch.tensor(X, dtype=torch.float32), 0.25, 0, torch.qint8)
    np.testing.assert_array_equal(real_array(quantized, "states"), X)


def test_float64_is_not_copied() -> None:
    assert np.shares_memory(real_array(X, "states"), X)


def test_bfloat16_of_numpy_has_no_kind_of_its_own() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    np.testing.assert_array_equal(real_array(X.astype(ml_dtypes.bfloat16), "states"), X)


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint64, np.int64])
def test_whole_numbers_and_truth_values(kind: type) -> None:
    value = (X > 0).astype(kind)
    np.testing.assert_array_equal(real_array(value, "states"), X > 0)
    np.testing.assert_array_equal(real_array(value.tolist(), "states"), X > 0)


@pytest.mark.parametrize(
    "sparse", [scipy.sparse.csr_matrix, scipy.sparse.coo_array, lambda x: torch.tensor(x).to_sparse_csr()]
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_sparse_matrices(sparse: Any) -> None:
    np.testing.assert_array_equal(real_array(sparse(X[0]), "weights", ("post", "pre")), X[0])
    [first, second] = member_arrays([sparse(X[0]), X[1]], "weights", ("post", "pre"))
    np.testing.assert_array_equal([first, second], X[:2])


MASKED = np.ma.masked_array(X, mask=np.isclose(X, X[0, 0, 0]))
REFUSED = {
    "mask": (MASKED, r"states: it has masked values \(\d+\); complete arrays are needed"),
    "mask on junk": (np.ma.masked_equal([1.0, 1e300], 1e300), r"masked values \(1\)"),
    "a mask in a list": ([X[0], MASKED[0]], "masked values"),
    "the masked constant": ([1.0, np.ma.masked], r"masked values \(1\)"),
    "NA": (
        pd.DataFrame({"a": pd.array([1.0, None], dtype="Float64")}),
        r"missing \(NA or NaN\) values \(1\)",
    ),
    "NA of whole numbers": (pd.array([1, None], dtype="Int64"), r"missing \(NA or NaN\) values \(1\)"),
    "NA among objects": (np.array([1.0, pd.NA], dtype=object), "it has missing values"),
    "None": ([1.0, None], "it has missing values"),
    "complex": (X + 1j, r"states: numbers are needed \(they are complex\)"),
    "complex numbers": ([1.0, 2j], "they are complex"),
    "complex tensor": (torch.tensor(X) + 1j, "they are complex"),
    "complex objects": (np.array([1.0, 2j], dtype=object), "not complex|complex"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "they are dates"),
    "dates of pandas": (pd.Series(pd.to_datetime(["2020-01-01"])), "they are dates"),
    "durations": (np.array([1], "m8[s]"), "they are durations"),
    "text": (np.array(["1.5"]), "they are text"),
    "text in a list": ([["1.5"]], "they are text"),
    "bytes": (np.array([b"1.5"]), "they are text"),
    "text among objects": (np.array(["1.5", 2.0], dtype=object), "they are text"),
    "fields": (np.zeros(3, [("a", float), ("b", int)]), "a structured array with the fields a, b: give one"),
    "one field": (np.zeros(3, [("a", float)]), "a structured array with the fields a"),
    "raw bytes": (np.zeros(3, "V2"), "they are of type"),
    "ragged": ([[1.0, 2.0], [3.0]], r"states: rows of unequal length \(\(1,\) and \(2,\)\)"),
    "ragged objects": (np.array([np.zeros(2), np.zeros(3)], dtype=object), "rows of unequal length"),
    "too large": ([10**400, 1.0], "too large for a float"),
    "no array": (object(), r"numbers are needed \(not object <object"),
    "dict": ({"a": 1}, r"numbers are needed \(not dict"),
    "nested tensor": (
        torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
        "nested tensor has rows",
    ),
    "meta tensor": (torch.zeros(2, device="meta"), "a tensor on the meta device holds none"),
    "several variables": (SimpleNamespace(data_vars={}), "holds several variables; give one of them"),
}


@pytest.mark.parametrize(("value", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_refused_in_one_line(value: Any, says: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=says) as raised:
            real_array(value, "states")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 250


def test_an_error_of_another_library_is_one_line() -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise RuntimeError("lost\n  the device")

    with pytest.raises(UserError, match=r"^states: numbers are needed \(lost the device\)$"):
        real_array(Broken(), "states")


class TestNamedDimensions:
    """`dims` say which axis is which, in any order, under any of the usual names."""

    LAYOUTS = (("trial", "time", "unit"), ("sample", "unit"))

    @pytest.mark.parametrize(
        "dims",
        [
            ("time", "unit", "trial"),
            ("unit", "trial", "time"),
            ("Time_Step", "NEURONS", "batch"),
            ("t", "hidden unit", "trials"),
            ("bin", "channels", "batches"),
        ],
    )
    def test_any_order(self, dims: tuple[str, ...]) -> None:
        axis = {"t": "time", "time_step": "time", "bin": "time", "neurons": "unit", "hidden unit": "unit"}
        axis |= {"batch": "trial", "trials": "trial", "batches": "trial", "channels": "unit"}
        order = [("trial", "time", "unit").index(axis.get(each.lower(), each.lower())) for each in dims]
        named = Named(X.transpose(order), *dims)
        np.testing.assert_array_equal(real_array(named, "states", *self.LAYOUTS), X)

    def test_a_member_axis_anywhere(self) -> None:
        named = Named(STATES.transpose(2, 0, 3, 1), "time", "network", "unit", "trial")
        np.testing.assert_array_equal(member_arrays(named, "states", *self.LAYOUTS), STATES)
        each = [Named(one.transpose(2, 0, 1), "unit", "trial", "time") for one in STATES]
        np.testing.assert_array_equal(member_arrays(each, "states", *self.LAYOUTS), STATES)

    def test_the_layout_is_the_one_that_fits(self) -> None:
        flat = X.reshape(-1, X.shape[-1])
        named = Named(flat.T, "neuron", "observation")
        np.testing.assert_array_equal(real_array(named, "states", *self.LAYOUTS), flat)

    def test_weights(self) -> None:
        named = Named(X[0].T, "pre", "post")
        np.testing.assert_array_equal(real_array(named, "weights", ("post", "pre")), X[0])

    @pytest.mark.parametrize(
        ("dims", "layout"),
        [
            (("neuron", "post"), ("post", "pre")),
            (("pre", "neuron"), ("post", "pre")),
            (("target", "neuron"), ("in", "post")),
            (("target", "neuron"), ("out", "post")),
            (("neuron", "time"), ("sample", "unit")),
            (("neuron", "time", "sample"), ("trial", "time", "unit")),
        ],
    )
    def test_another_name_may_stand_for_an_axis(self, dims: tuple[str, ...], layout: tuple[str, ...]) -> None:
        """All of these are the layout backwards."""
        array = X if len(dims) == 3 else X[0]
        np.testing.assert_array_equal(real_array(Named(array, *dims), "array", layout), array.T)

    def test_without_layouts_the_order_means_nothing(self) -> None:
        np.testing.assert_array_equal(real_array(Named(X, "a", "b", "c"), "matrix"), X)

    def test_names_that_say_nothing_are_none(self) -> None:
        named = Named(X, "dim_0", "dim_1", "dim_2")
        np.testing.assert_array_equal(real_array(named, "states", *self.LAYOUTS), X)

    @pytest.mark.parametrize(
        ("dims", "says"),
        [
            (
                ("trial", "time", "foo"),
                r"named \(trial, time, foo\); needed are .*in any order; unknown: 'foo'",
            ),
            (("trial", "unit", "unit"), r"needed are \(trial, time, unit\) or \(sample, unit\)"),
            (("trial", "neuron", "channel"), "needed are"),  # both are units
            (("trial", "time", "member"), "needed are"),
            (("trial", None, "unit"), r"some dimensions have names and some do not \(trial, None, unit\)"),
        ],
    )
    def test_other_names_are_refused(self, dims: tuple[str, ...], says: str) -> None:
        with pytest.raises(UserError, match=f"states: .*{says}"):
            real_array(Named(X, *dims), "states", *self.LAYOUTS)

    def test_a_missing_member_axis_is_named(self) -> None:
        with pytest.raises(UserError, match=r"needed are \(member, trial, time, unit\)"):
            member_arrays(Named(X, "trial", "time", "unit"), "states", ("trial", "time", "unit"))

    @pytest.mark.skipif(not hasattr(torch.Tensor, "names"), reason="torch 2.13 names no dimensions")
    @pytest.mark.filterwarnings("ignore:Named tensors:UserWarning")
    def test_tensors(self) -> None:
        named = torch.tensor(X.transpose(2, 0, 1).copy(), names=("unit", "trial", "time"))
        np.testing.assert_array_equal(real_array(named, "states", *self.LAYOUTS), X)

    def test_tables(self) -> None:
        table = pd.DataFrame(X[0], index=pd.Index(range(4), name="time"), columns=pd.Index(range(5), name="unit"))
        np.testing.assert_array_equal(real_array(table.T, "states", *self.LAYOUTS), X[0])
        table.index.name = "id"  # incidental: read as it stands
        np.testing.assert_array_equal(real_array(table, "states", *self.LAYOUTS), X[0])

    def test_no_name_stands_for_two_axes(self) -> None:
        names = [name for names in AXES.values() for name in names]
        assert len(names) == len(set(names))


def test_xarray() -> None:
    xarray = importlib.import_module("xarray") if importlib.util.find_spec("xarray") else pytest.skip("no xarray")
    named = xarray.DataArray(STATES.transpose(2, 0, 3, 1), dims=("time", "network", "unit", "trial"))
    np.testing.assert_array_equal(member_arrays(named, "states", ("trial", "time", "unit")), STATES)
    np.testing.assert_array_equal(member_arrays(xarray.DataArray(STATES), "states", ("trial", "time", "unit")), STATES)
    with pytest.raises(UserError, match="a Dataset holds several variables"):
        member_arrays(xarray.Dataset({"a": named}), "states", ("trial", "time", "unit"))
    labelled = xarray.DataArray(np.ones((2, 3)), dims=("variant", "seed"), coords={"variant": ["a", "b"]})
    assert axis_labels(labelled, "variant", ("member", "variant")) == ("a", "b")
    angles = [
        dg.measure_arrays(states=each, measures=["procrustes"]).distances["procrustes"] for each in (named, STATES)
    ]
    np.testing.assert_array_equal(*angles)


class TestMembers:
    def test_lists_iterators_and_arrays_of_objects(self) -> None:
        sizes = [np.zeros((2, n)) for n in (3, 4)]
        several = np.empty(2, object)
        several[:] = sizes
        for value in (sizes, tuple(sizes), iter(sizes), (each for each in sizes), several, pd.Series(sizes)):
            assert [each.shape for each in member_arrays(value, "states")] == [(2, 3), (2, 4)]

    @pytest.mark.parametrize("value", [{"a": X}, {1.0, 2.0}])
    def test_what_has_no_order_is_refused(self, value: Any) -> None:
        with pytest.raises(UserError, match="has no order of members"):
            member_arrays(value, "states")

    @pytest.mark.parametrize("value", [3.0, "text", object()])
    def test_what_is_no_list_is_refused(self, value: Any) -> None:
        with pytest.raises(UserError, match="states: numbers are needed, one array per member, not"):
            member_arrays(value, "states")

    def test_a_message_names_the_member(self) -> None:
        with pytest.raises(UserError, match="states of member 1: "):
            member_arrays([X, MASKED], "states")
