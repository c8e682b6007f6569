"""Damaged and odd .npz files: `load_arrays` gives the arrays that were written, or says in one line what is wrong."""

import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import degeneracy as dg

from . import numbers
from .file_damage import Rng, damaged
from .framework import Outcome, Program, attempt, attempt_command

Archive = tuple[str, bytes, bool]  # what it is, its bytes, and whether it holds the arrays that were written
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
BOMB = (10**5, 2 * 10**4, 2)  # shape of float64, 30 GiB


def arrays(rng: Rng) -> dict[str, Any]:
    """The arguments of `measure_arrays`, as a file may hold them."""
    n_units = int(rng.integers(2, 6))
    states = rng.normal(size=(3, 4, 6, n_units))
    kind = int(rng.integers(4))
    if kind == 0:
        return {"states": states}
    if kind == 1:
        return {f"states_{k}": states[k] for k in range(3)}
    if kind == 2:
        weights = rng.normal(size=(3, n_units, n_units)).astype(np.float32)
        return {"states": states, "weights": weights, "cell": np.array("tanh")}
    errors = rng.uniform(size=(3, 2))
    return {
        "ood_errors": errors,
        "ood_variants": np.array(["length", "noise"]),
        "states": np.asfortranarray(states),
    }


def saved(rng: Rng, content: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    (np.savez, np.savez_compressed)[int(rng.integers(2))](file, **content)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array))
    return file.getvalue()


def header_only(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    """A .npy that claims a shape of float64."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def _in_bytes(rng: Rng, content: dict[str, Any]) -> Archive:
    how, data = damaged(rng, saved(rng, content))
    return how, data, False


def _inside(rng: Rng, content: dict[str, Any]) -> Archive:
    """One entry damaged before it is packed, so that the archive's own checksum is right: a file that was made so."""
    entries = {f"{name}.npy": npy(value) for name, value in content.items()}
    name = list(entries)[int(rng.integers(len(entries)))]
    header = entries[name][:128]
    how, changed = damaged(rng, header if rng.random() < 0.5 else entries[name])
    entries[name] = changed + entries[name][128:] if len(changed) <= 128 else changed
    return f"inside the archive: {how}", zipped(entries), True


def _method(rng: Rng, content: dict[str, Any]) -> Archive:
    method = METHODS[int(rng.integers(len(METHODS)))]
    entries = {f"{name}.npy": npy(value) for name, value in content.items()}
    return f"compressed by method {method}", zipped(entries, method), False


def _entries(rng: Rng, content: dict[str, Any]) -> Archive:
    """Entries more or fewer, or called otherwise."""
    entries = {f"{name}.npy": npy(value) for name, value in content.items()}
    odd = ("../states.npy", "states", "weights_x.npy", "states_-1.npy", "states_99.npy", "notes.txt", "bias/",
           "ü\u2028.npy", "states.npy.npy", "__MACOSX/._states.npy", "cell.npy", "states_٣.npy")  # fmt: skip
    name = odd[int(rng.integers(len(odd)))]
    content = (b"", b"hello", npy(np.zeros((2, 2))), npy(np.array("x")))[int(rng.integers(4))]
    return f"with an entry {name!r}", zipped({**entries, name: content}), True


def _duplicate(rng: Rng, content: dict[str, Any]) -> Archive:
    file = io.BytesIO(saved(rng, content))
    name = next(iter(content))
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is a mistake
        archive.writestr(f"{name}.npy", npy(np.asarray(content[name])[::-1]))
    return "an entry twice", file.getvalue(), False


def _objects(rng: Rng, content: dict[str, Any]) -> Archive:
    file = io.BytesIO()
    name = list(content)[int(rng.integers(len(content)))]
    odd = (
        np.array([None, {}], object),
        np.array(content[name], object),
        np.zeros(3, [("a", "f8"), ("b", "O")]),
    )
    np.savez(file, **{**content, name: odd[int(rng.integers(3))]})
    return "Python objects", file.getvalue(), False


def _dtypes(rng: Rng, content: dict[str, Any]) -> Archive:
    """The same numbers in another dtype, or what are no numbers."""
    name = next(key for key in content if key != "cell")
    odd = (">f8", "f4", "f2", "c16", "M8[s]", "S3", "U3", "?", "i8", "V8", "m8[s]", "g")
    dtype = odd[int(rng.integers(len(odd)))]
    with np.errstate(all="ignore"):
        value = np.asarray(content[name])
        value = value.astype(dtype) if dtype != "V8" else value.view(dtype)
    return f"{name} as {dtype}", saved(rng, {**content, name: value}), True


def _bomb(rng: Rng, content: dict[str, Any]) -> Archive:
    """Much more memory claimed than the file has, or little that grows to much."""
    kind = int(rng.integers(5))
    if kind == 0:
        return "a header of 30 GiB", zipped({"states.npy": header_only(BOMB)}), False
    if kind == 1:
        return (
            "a header of more than there are bytes",
            zipped({"states.npy": header_only((2**40, 2**40))}),
            False,
        )
    if kind == 2:
        return (
            "an array of 0 bytes and 2^62 members",
            zipped({"states.npy": header_only((2**62, 0, 3, 4))}),
            False,
        )
    if kind == 3:
        huge = header_only((16, 1024, 1024), bytes(2**27))
        return "128 MiB of zeros", zipped({"states.npy": huge}, zipfile.ZIP_DEFLATED), True
    return "a header of negative size", zipped({"states.npy": header_only((-1, 4, 3, 2))}), False


def _flags(rng: Rng, content: dict[str, Any]) -> Archive:
    """What the archive's directory says of an entry: encrypted, another method, other sizes."""
    data = bytearray(saved(rng, content))
    central, local = data.find(b"PK\x01\x02"), data.find(b"PK\x03\x04")
    kind = int(rng.integers(4))
    if kind == 0:
        data[central + 8] |= 1
        data[local + 6] |= 1
        return "an encrypted entry", bytes(data), False
    if kind == 1:
        method = int(rng.choice([1, 6, 8, 9, 12, 14, 93, 95, 99]))
        data[central + 10], data[local + 8] = method, method
        return f"compression method {method} claimed", bytes(data), False
    at = central + (20 if kind == 2 else 24)
    data[at : at + 4] = struct.pack("<I", int(rng.integers(0, 2**32)))
    return f"another {'packed' if kind == 2 else 'full'} size claimed", bytes(data), False


def _no_archive(rng: Rng, content: dict[str, Any]) -> Archive:
    """Something else under the name."""
    kinds: dict[str, bytes] = {
        "one .npy": npy(next(iter(content.values()))),
        "text": b"1, 2, 3\n",
        "an empty archive": zipped({}),
        "JSON": b"[" * 100_000,
        "a pickle": b"\x80\x04K\x01.",
        "an archive in an archive": zipped({"states.npz": saved(rng, content)}),
        "gzip": b"\x1f\x8b\x08" + rng.bytes(40),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "an end without entries": b"PK\x05\x06" + bytes(18),
        "nothing": b"",
    }
    what = list(kinds)[int(rng.integers(len(kinds)))]
    return what, kinds[what], what == "one .npy"


KINDS: dict[Callable[[Rng, dict[str, Any]], Archive], float] = {
    _in_bytes: 8.0,
    _inside: 2.0,
    _method: 0.5,
    _entries: 1.0,
    _duplicate: 0.3,
    _objects: 0.5,
    _dtypes: 1.0,
    _bomb: 0.7,
    _flags: 1.0,
    _no_archive: 0.5,
}


class DamagedArchives(Program):
    """See the module."""

    name: ClassVar[str] = "archives"
    about: ClassVar[str] = "damaged .npz files"
    short: ClassVar[int] = 150
    long: ClassVar[int] = 1_500

    def case(self, rng: Rng) -> Outcome:
        """Write arrays, damage the file, and read it, by the command line at times."""
        place = Path.cwd()
        content = arrays(rng)
        kinds, odds = list(KINDS), np.array(list(KINDS.values()))
        what, data, other = kinds[int(rng.choice(len(kinds), p=odds / odds.sum()))](rng, content)
        file = place / "arrays.npz"
        file.write_bytes(saved(np.random.default_rng(0), content))
        expected = dg.load_arrays(file)
        file.write_bytes(data)
        if rng.random() < 0.05:
            words = f"measure {file} --out out --measures ood_error_mean,dsa --set options.dsa.rank=500 --jobs 1"
            return attempt_command(words.split()).outcome(f"measured: {what}")
        answer = attempt(lambda: dg.load_arrays(file))
        if answer.value == {}:  # it says so where they are measured
            answer = attempt(lambda: dg.measure_arrays(**dg.load_arrays(file)))
        wrong = ""
        if not answer.refusal and not answer.fault and not other:
            wrong = numbers.difference(expected, answer.value)
        return answer.outcome(what, wrong=wrong, cause=what)
