"""Compiled functions: the numbers of Python, with and without a place to keep them."""

import pytest

from degeneracy import compiling


def half(x: float) -> float:
    return x / 2


def test_it_computes_what_python_does() -> None:
    assert compiling.compiled()(half)(3.0) == half(3.0) == 1.5


def test_options_reach_numba() -> None:
    with pytest.raises(ZeroDivisionError):
        compiling.compiled()(lambda x: 1 / x)(0.0)
    assert compiling.compiled(error_model="numpy")(lambda x: 1 / x)(0.0) == float("inf")


def test_without_a_folder_to_keep_it_in_it_compiles_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    njit = compiling.njit

    def refusing(**options):
        made.append(options)
        if "cache" in options:
            raise RuntimeError("cannot cache function 'half': no locator available for file")
        return njit(**options)

    monkeypatch.setattr(compiling, "njit", refusing)
    assert compiling.compiled(error_model="numpy")(half)(3.0) == 1.5
    assert made == [
        {"cache": True, "nogil": True, "error_model": "numpy"},
        {"nogil": True, "error_model": "numpy"},
    ]
