"""Files of arrays: read whole, or refused in one line before memory is taken and before anything is waited for."""

import io
import os
import signal
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.measuring.arrays import files

STATES = np.random.default_rng(0).normal(size=(3, 4, 6, 5))
DAMAGED = r"cannot read .*a\.npz: damaged or not an \.npz file, as numpy\.savez writes them"


def npy(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def header(shape: str, descr: str = "<f8") -> bytes:
    """The head of an .npy file that says what it likes."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def patched(path: Path, old: bytes, new: bytes, count: int = -1) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, count))
    return path


def refused(path: Path, says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        dg.load_arrays(path)
    assert "\n" not in str(raised.value)


class TestRead:
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_every_compression(self, tmp_path: Path, method: int) -> None:
        path = archive(tmp_path / "a.npz", {"states.npy": npy(STATES)}, method)
        np.testing.assert_array_equal(dg.load_arrays(path)["states"], STATES)

    @pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", "<f2", "|b1", "<i8", "<c16", "<M8[D]", "<U3"])
    def test_every_type_comes_back_as_it_was(self, tmp_path: Path, kind: str) -> None:
        values = np.arange(24).reshape(2, 3, 4).astype(kind)
        for value in (values, np.asfortranarray(values), values[:0], values[0, 0, 0]):
            np.savez(tmp_path / "a.npz", states=value)
            back = dg.load_arrays(tmp_path / "a.npz")["states"]
            assert back.dtype == value.dtype
            assert back.flags.f_contiguous == value.flags.f_contiguous
            np.testing.assert_array_equal(back, value)

    def test_all_that_measure_arrays_takes(self, tmp_path: Path) -> None:
        options = {"cell_options.dt_ms": 10.0, "cell_options.form": "rate"}
        given = {f"states_{k}": one for k, one in enumerate(STATES)} | {"inputs": np.ones((4, 6, 1))}
        np.savez(tmp_path / "a.npz", cell="leaky_tanh", ood_variants=["a", "b"], **options, **given)
        arguments = dg.load_arrays(str(tmp_path / "a.npz"))
        assert arguments["cell"] == "leaky_tanh"
        assert arguments["cell_options"] == {"dt_ms": 10.0, "form": "rate"}
        assert arguments["ood_variants"] == ["a", "b"]
        np.testing.assert_array_equal(arguments["states"], STATES)
        assert set(arguments) == {"cell", "cell_options", "ood_variants", "states", "inputs"}

    def test_more_members_than_a_small_archive_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)  # of 65,535, above which the count stands elsewhere
        path = archive(tmp_path / "a.npz", {f"states_{k}.npy": npy(one) for k, one in enumerate(STATES)})
        content = path.read_bytes()
        assert content[-12:-10] == b"\x03\x00"  # zipfile writes both counts, as far as they go
        path.write_bytes(content[:-14] + b"\xff\xff\xff\xff" + content[-10:])
        np.testing.assert_array_equal(dg.load_arrays(path)["states"], STATES)


class TestRefused:
    def test_names(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        for names, says in (
            (["states", "states_0"], "states and states_0 both stand for members"),
            (["states_0", "states_2"], "states_0 to states_2 are needed"),
            (["states_00"], "unknown array 'states_00'"),
            (["states_²"], r"unknown array 'states_\\xb2'"),
            (["states_99999999999"], "unknown array 'states_99999999999'"),
            (["a\nb"], r"unknown array 'a\\nb'"),
            (["cell_options"], r"unknown array 'cell_options'; did you mean 'cell_options\.FIELD'"),
            (["cell_options."], r"unknown array 'cell_options\.'"),
            (["../states"], "unknown array '../states'"),
        ):
            refused(archive(path, {f"{name}.npy": npy(STATES) for name in names}), says)

    def test_what_is_no_array(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        inner = io.BytesIO()
        np.savez(inner, states=STATES)
        for name, content, says in (
            ("states.txt", b"1 2 3", r"'states\.txt' in it is no array"),
            ("folder/", b"", "'folder/' in it is no array"),
            ("states.npz", inner.getvalue(), r"'states\.npz' in it is no array"),
            ("states.npy", inner.getvalue(), DAMAGED),
            ("states.npy", b"", DAMAGED),
            ("states.npy", b"1, 2, 3", DAMAGED),
            ("states.npy", npy(STATES)[:-1], DAMAGED),
            ("states.npy", npy(STATES) + b"x", DAMAGED),
            ("states.npy", header("(-1,)"), DAMAGED),
            ("states.npy", header("(1.5,)"), DAMAGED),
            ("states.npy", header("(" * 1000), DAMAGED),
            ("states.npy", header("(3,)", "|O") + b"\x80\x04N.", r"it holds Python objects \(states\.npy\)"),
        ):
            refused(archive(path, {name: content}), says)

    def test_nothing_in_it(self, tmp_path: Path) -> None:
        refused(archive(tmp_path / "a.npz", {}), "it holds no arrays")

    def test_objects(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", states=np.array([{}, None], dtype=object))
        refused(tmp_path / "a.npz", "it holds Python objects")

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_damaged_values(self, tmp_path: Path, method: int) -> None:
        path = archive(tmp_path / "a.npz", {"states.npy": npy(STATES)}, method)
        content = bytearray(path.read_bytes())
        places = range(40, len(content) - 120, 97)
        unharmed = 0
        for place in places:
            damaged = content.copy()
            damaged[place] ^= 1
            path.write_bytes(damaged)
            try:
                refused(path, DAMAGED)
            except pytest.fail.Exception:
                np.testing.assert_array_equal(dg.load_arrays(path)["states"], STATES)
                unharmed += 1
        assert unharmed <= 1  # the last bits of a compressed stream may stand for nothing

    @pytest.mark.parametrize("keep", [0, 1, 21, 100, -30, -1])
    def test_cut_short(self, tmp_path: Path, keep: int) -> None:
        path = archive(tmp_path / "a.npz", {"states.npy": npy(STATES)})
        path.write_bytes(path.read_bytes()[:keep])
        refused(path, DAMAGED)

    def test_lost_members(self, tmp_path: Path) -> None:
        """One byte makes a member swallow those that follow it; the end of the archive still counts them."""
        path = archive(tmp_path / "a.npz", {f"{name}.npy": npy(STATES) for name in ("states", "weights")})
        content = bytearray(path.read_bytes())
        first = content.index(b"PK\x01\x02")
        second = content.index(b"PK\x01\x02", first + 1)
        end = content.index(b"PK\x05\x06")
        content[first + 32 : first + 34] = struct.pack("<H", end - second)  # the length of its comment
        path.write_bytes(content)
        with np.load(path) as file:
            assert list(file) == ["states"]  # numpy reads what is left
        refused(path, DAMAGED)

    def test_encrypted(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "a.npz", {"states.npy": npy(STATES)})
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(content)
        refused(path, r"cannot read .*a\.npz: 'states\.npy' in it is encrypted")

    @pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
    def test_the_same_name_twice(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("states.npy", npy(STATES))
            file.writestr("states.npy", npy(2 * STATES))
        refused(tmp_path / "a.npz", r"'states\.npy' is in it twice")

    def test_an_unknown_compression(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "a.npz", {"states.npy": npy(STATES)}, zipfile.ZIP_STORED)
        content = path.read_bytes()
        place = content.index(b"PK\x01\x02") + 10
        path.write_bytes(content[:place] + b"\x63\x00" + content[place + 2 :])
        refused(path, DAMAGED)

    def test_text_and_numbers_where_the_other_is_needed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        for given, says in (
            ({"cell": ["tanh", "gru"]}, r"cell must be one number or one text, got shape \(2,\)"),
            ({"cell": 3.0}, "unknown cell '3.0'"),
            ({"cell": "tanhh"}, "unknown cell 'tanhh'; did you mean 'tanh'"),
            ({"cell_options.dt_ms": [1.0, 2.0]}, r"cell_options\.dt_ms must be one number or one text"),
            ({"ood_variants": [1, 2]}, "ood_variants must be text"),
        ):
            np.savez(path, **given)
            refused(path, says)


class TestNoCode:
    def test_a_file_names_no_module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "trap.py").write_text("raise SystemExit('imported')", encoding="utf-8")
        np.savez(tmp_path / "a.npz", states=STATES, cell="trap:Cell")
        monkeypatch.chdir(tmp_path)
        refused(tmp_path / "a.npz", "cell 'trap:Cell' names code, which a file of arrays must not")


class TestMemory:
    """What a file claims is compared with what it is, and what it is with the memory there is, before any is taken."""

    @pytest.fixture(autouse=True)
    def no_memory_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        empty = np.empty

        def limited(shape: Any, *rest: Any, **named: Any) -> Any:
            assert np.prod(shape, dtype=float) < 1e6, "memory was taken"
            return empty(shape, *rest, **named)

        monkeypatch.setattr(files.np, "empty", limited)

    @pytest.mark.parametrize("shape", ["(4294967296,)", "(65536, 65536)", f"({10**30},)", "(4294967296, 0, 1)"])
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_a_claim_beyond_what_is_there(self, tmp_path: Path, shape: str, method: int) -> None:
        refused(archive(tmp_path / "a.npz", {"states.npy": header(shape) + bytes(64)}, method), DAMAGED)

    def test_a_claim_of_the_archive_too(self, tmp_path: Path) -> None:
        """30 GiB said by the header and by the archive alike: no memory holds them, or 100 bytes are too few."""
        head = header("(4026531840,)")
        path = archive(tmp_path / "a.npz", {"states.npy": head + bytes(64)})
        old, new = struct.pack("<L", len(head) + 64), struct.pack("<L", 0xFFFFFFF0)
        refused(patched(path, old, new), f"{DAMAGED}|take 30 GiB of memory")

    def test_a_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """8 MB of zeros in 8 kB, where 4 MiB are free; as float32 they are converted, which takes as much again."""
        monkeypatch.setattr(files, "available_memory", lambda: 2**22)
        np.savez_compressed(tmp_path / "a.npz", states=np.zeros(10**6))
        refused(tmp_path / "a.npz", r"cannot read .*: its arrays take 8 MB of memory, and 4\.19 MB are free")
        np.savez_compressed(tmp_path / "a.npz", states=np.zeros(10**5, np.float32), weights=np.zeros(4 * 10**5))
        refused(tmp_path / "a.npz", r"its arrays take 4\.4 MB of memory")
        np.savez_compressed(tmp_path / "a.npz", states=np.zeros(10**5, np.float32), weights=np.zeros(3 * 10**5))
        assert set(dg.load_arrays(tmp_path / "a.npz")) == {"states", "weights"}

    def test_a_list_of_members_as_long_as_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "MAX_READ", 2**16)
        refused(archive(tmp_path / "a.npz", {f"states_{k}.npy": b"" for k in range(2000)}), DAMAGED)


class TestNoFile:
    def test_none(self, tmp_path: Path) -> None:
        refused(tmp_path / "a.npz", "cannot read .*: no such file")

    def test_a_folder(self, tmp_path: Path) -> None:
        refused(tmp_path, "it is a folder, and a file is needed")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.npz")

        def waited(*_: Any) -> None:
            pytest.fail("waited for a writer")

        before = signal.signal(signal.SIGALRM, waited)
        signal.alarm(20)
        try:
            refused(tmp_path / "a.npz", "it is a pipe or device, and a file is needed")
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
    def test_no_permission(self, tmp_path: Path) -> None:
        archive(tmp_path / "a.npz", {"states.npy": npy(STATES)}).chmod(0)
        refused(tmp_path / "a.npz", "cannot read .*: Permission denied")

    def test_20_gigabytes_of_nothing(self, tmp_path: Path) -> None:
        with (tmp_path / "a.npz").open("wb") as file:
            file.truncate(20 * 2**30)  # sparse: takes no space on the disk
        refused(tmp_path / "a.npz", DAMAGED)

    def test_an_array_alone(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").write_bytes(npy(STATES))
        refused(tmp_path / "a.npz", DAMAGED)
