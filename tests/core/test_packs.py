"""Packs: what is appended comes back; what is damaged, torn, misplaced or doubled is told apart, and mended."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stored import records

from degeneracy.core import packs
from degeneracy.core import records as of_records
from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile
from degeneracy.core.mending import mend
from degeneracy.core.packs import Pack
from degeneracy.core.records import MAGIC

ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3).T,  # not contiguous
    "b": np.array([True, False]),
    "empty": np.empty((0, 3), dtype=np.float32),
    "nan": np.array([np.nan, np.inf]),
}
FILE = "members-0001.pack"


def opened(folder: Path, condition: str = "c", spec: str = "s") -> Pack:
    return Pack(folder=folder, stem="members", condition=condition, spec=spec, kinds=("member",))


def filled(folder: Path, n: int = 4, condition: str = "c", spec: str = "s") -> Pack:
    """A pack of members 0 to n - 1, each of its own numbers."""
    pack = opened(folder, condition, spec)
    for k in range(n):
        pack.append("member", str(k), {"w": np.full((5, 5), float(k))}, {"status": "converged"})
    return pack


def values(pack: Pack) -> dict[str, float]:
    """What the members of `filled` hold."""
    return {name: float(pack.read(record)["w"][0, 0]) for (_, name, _, _), record in pack.records().items()}


def test_arrays_come_back(tmp_path: Path) -> None:
    about = {"status": "converged", "list": [1, "zwei", None]}
    opened(tmp_path / "new").append("member", "7", ARRAYS, about, key="k", made_from="m")
    pack = opened(tmp_path / "new")
    record = pack.find("member", "7", "k", "m")
    assert record is not None
    assert record.about == about
    assert pack.find("member", "7") is None, "under another key it is another record"
    arrays = pack.read(record)
    assert arrays.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], value)
        assert arrays[name].dtype == value.dtype


def test_members_are_few_files_and_one_is_read_by_itself(tmp_path: Path, monkeypatch) -> None:
    pack = filled(tmp_path, 50)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    data = bytearray((tmp_path / FILE).read_bytes())
    for record in pack.records().values():
        if record.header["name"] != "33":
            data[record.end - 1] ^= 1
    (tmp_path / FILE).write_bytes(data)
    again = opened(tmp_path)
    one = again.find("member", "33")
    assert one is not None
    assert again.read(one)["w"][0, 0] == 33, "no other array is looked at"


def test_appending_reads_no_record_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the n-th member costs what the first does."""
    seen = []
    scan = packs.scan
    monkeypatch.setattr(packs, "scan", lambda path, start, size: seen.append(size - start) or scan(path, start, size))
    pack = filled(tmp_path, 20)
    assert sum(seen) == (tmp_path / FILE).stat().st_size
    other = opened(tmp_path)
    other.records()
    pack.append("member", "20", {}, {})
    seen.clear()
    assert len(other.records()) == 21, "what another process appends is seen"
    assert len(seen) == 1


def test_a_record_is_flushed_before_it_counts_as_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def fsync(handle: int) -> None:
        sizes.append(os.fstat(handle).st_size)
        os.fsync(handle)

    monkeypatch.setattr(packs, "os", SimpleNamespace(**{**vars(os), "fsync": fsync}))
    filled(tmp_path, 1)
    assert sizes[0] == (tmp_path / FILE).stat().st_size
    assert len(sizes) == 2, "and the new file's name"


def test_a_full_file_is_left_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "SEGMENT_BYTES", 1000)
    filled(tmp_path, 5)
    assert len(list(tmp_path.iterdir())) > 1
    assert values(opened(tmp_path)) == {str(k): k for k in range(5)}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.999])
def test_the_torn_end_of_a_killed_process_is_passed_over_and_left(share: float, tmp_path: Path) -> None:
    pack = filled(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    last = records(tmp_path / FILE)[-1]
    torn = whole[: last.at + int(share * (last.end - last.at))]
    (tmp_path / FILE).write_bytes(torn)
    again = opened(tmp_path)
    assert values(again) == {"0": 0, "1": 1, "2": 2}
    again.append("member", "3", {"w": np.full((5, 5), 3.0)}, {"status": "converged"})
    assert values(again) == values(opened(tmp_path)) == {str(k): k for k in range(4)}
    assert (tmp_path / FILE).read_bytes().startswith(torn)
    if len(torn) > last.at:
        assert (tmp_path / FILE).read_bytes() == torn, "nothing is ever appended behind it"
    assert mend(again) == [], "it is nothing to mend"
    assert values(pack) == {str(k): k for k in range(4)}, "one opened before sees it too"


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def test_every_bit_is_under_a_checksum(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    whole = (tmp_path / FILE).read_bytes()
    for at in range(0, len(whole), 3):
        (tmp_path / FILE).write_bytes(flipped(whole, at))
        with pytest.raises(DamagedFile, match=rf"cannot read {tmp_path / FILE}: "):
            values(opened(tmp_path))


def replaced(pack: Path, name: str, raw: bytes) -> bytes:
    """The pack with a record's place taken by other bytes."""
    data = pack.read_bytes()
    [record] = [one for one in records(pack) if one.header["name"] == name]
    return data[: record.at] + raw + data[record.end :]


def raw(pack: Path, name: str) -> bytes:
    [record] = [one for one in records(pack) if one.header["name"] == name]
    return pack.read_bytes()[record.at : record.end]


# What is done to the pack, given another one's; what is said; which members stay whole.
DAMAGES: dict[str, tuple[Callable[[Path, Path], bytes], str, str]] = {
    "array": (lambda pack, _: flipped(pack.read_bytes(), -1), "its member 3 .* is not what was written", "012"),
    "header": (lambda pack, _: flipped(pack.read_bytes(), 90), "damaged at byte 0: a header is not", "123"),
    "length": (lambda pack, _: flipped(pack.read_bytes(), 9), "damaged at byte 0: no record begins", "123"),
    "cut out": (
        lambda pack, _: replaced(pack, "1", raw(pack, "1")[:-30]),
        "",  # which record it is depends on where the next one begins
        "023",
    ),
    "zeros": (lambda pack, _: replaced(pack, "2", bytes(500)), "no record begins here", "013"),
    "more": (lambda pack, _: pack.read_bytes() + b"thesis" * 9, "no record begins here", "0123"),
    "sparse": (lambda pack, _: pack.read_bytes() + bytes(1 << 20), "no record begins here", "0123"),
    "text": (lambda _, __: b"dear reader", "no record begins here", ""),
    "another condition's file": (lambda _, other: other.read_bytes(), "its member 0 belongs to d, and", ""),
    "another condition's member": (
        lambda pack, other: replaced(pack, "1", raw(other, "1")),
        "its member 1 belongs to d, and",
        "023",
    ),
    "an altered status": (
        lambda pack, _: pack.read_bytes().replace(b'"converged"', b'"diverged" ', 1),
        "a header is not what was written",
        "123",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "says", "whole"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named_and_mended(
    damage: Callable[[Path, Path], bytes], says: str, whole: str, tmp_path: Path
) -> None:
    filled(tmp_path / "c")
    filled(tmp_path / "d", condition="d")
    file = tmp_path / "c" / FILE
    damaged = damage(file, tmp_path / "d" / FILE)
    file.write_bytes(damaged)
    with pytest.raises(DamagedFile, match=rf"cannot read {file}: .*{says}"):
        values(opened(tmp_path / "c"))
    [line] = mend(opened(tmp_path / "c"))
    assert line.startswith(f"set {file} aside as {FILE}.damaged-1: ")
    assert (tmp_path / "c" / f"{FILE}.damaged-1").read_bytes() == damaged
    assert values(opened(tmp_path / "c")) == {name: int(name) for name in whole}
    pack = filled(tmp_path / "c")  # what is missing is made again
    assert values(pack) == {str(k): k for k in range(4)}
    assert not file.exists(), "no name is used twice"


def test_a_file_altered_in_place_is_read_again(tmp_path: Path) -> None:
    pack = filled(tmp_path)
    file = tmp_path / FILE
    assert len(pack.records()) == 4
    file.write_bytes(flipped(file.read_bytes(), 90))
    os.utime(file, ns=(1, 1))  # whatever the clock's resolution
    with pytest.raises(DamagedFile, match="damaged at byte 0: a header is not what was written"):
        pack.records()


def test_a_record_of_another_kind_does_not_belong(tmp_path: Path) -> None:
    other = Pack(folder=tmp_path, stem="members", condition="c", spec="s", kinds=("member", "measure"))
    other.append("measure", "dsa", {}, {})
    with pytest.raises(DamagedFile, match=r"its measure dsa does not belong in members-\*\.pack"):
        opened(tmp_path).records()


def test_arrays_that_the_header_does_not_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(of_records, "_shapes", lambda arrays: {name: ["<f8", [7]] for name in arrays})
        filled(tmp_path, 1)
    pack = opened(tmp_path)
    [record] = pack.records().values()
    with pytest.raises(DamagedFile, match="its member 0 holds other arrays than its header says"):
        pack.read(record)


@pytest.mark.parametrize("look", [9, 13, 64])
def test_the_next_record_is_seen_across_two_looks(look: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_records, "_LOOK", look)
    for garbage in range(30, 40):
        folder = tmp_path / str(garbage)
        filled(folder)
        (folder / FILE).write_bytes(replaced(folder / FILE, "1", bytes([7] * garbage)))
        mend(opened(folder))
        assert values(opened(folder)).keys() == {"0", "2", "3"}


def test_the_same_arrays_of_another_status_are_another_member(tmp_path: Path) -> None:
    """When and where it was made (its provenance) may differ, nothing else."""
    about = {"status": "converged", "provenance": {"seconds": 1}}
    for k, status in enumerate(("converged", "diverged")):
        folder = tmp_path / str(k)
        opened(folder).append("member", "0", {"w": np.ones(2)}, about)
        changed = {"status": status, "provenance": {"seconds": 2}}
        opened(folder / "other").append("member", "0", {"w": np.ones(2)}, changed)
        (folder / "other" / FILE).rename(folder / "members-0002.pack")
        if status == "converged":
            assert len(opened(folder).records()) == 1
        else:
            with pytest.raises(DamagedFile, match=r"its member 0 is another one than that in members-0001\.pack"):
                opened(folder).records()


def test_a_disk_that_cannot_tell_holes_is_read_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    filled(tmp_path)
    (tmp_path / FILE).write_bytes(replaced(tmp_path / FILE, "1", bytes(500)))
    monkeypatch.setattr(os, "lseek", refuse)
    mend(opened(tmp_path))
    assert values(opened(tmp_path)).keys() == {"0", "2", "3"}


def test_of_two_members_that_differ_none_is_kept(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    forged = opened(tmp_path / "forged")
    forged.append("member", "1", {"w": np.full((5, 5), 7.0)}, {"status": "converged"})
    (tmp_path / "c" / "members-0002.pack").write_bytes((tmp_path / "forged" / FILE).read_bytes())
    with pytest.raises(DamagedFile, match=r"members-0002.pack: its member 1 is another one than that in members-0001"):
        values(opened(tmp_path / "c"))
    assert len(mend(opened(tmp_path / "c"))) == 2
    assert values(opened(tmp_path / "c")) == {"0": 0, "2": 2, "3": 3}


def test_the_same_member_twice_is_one(tmp_path: Path) -> None:
    """As where a process was killed while it mended."""
    filled(tmp_path)
    (tmp_path / "members-0002.pack").write_bytes(raw(tmp_path / FILE, "2"))
    assert values(opened(tmp_path)) == {str(k): k for k in range(4)}
    assert mend(opened(tmp_path)) == []


def test_mending_that_is_killed_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    file = tmp_path / FILE
    file.write_bytes(flipped(file.read_bytes(), -1))

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("degeneracy.core.mending.set_aside", killed)
    with pytest.raises(KeyboardInterrupt):
        mend(opened(tmp_path))
    monkeypatch.undo()
    assert len(mend(opened(tmp_path))) == 1
    assert values(opened(tmp_path)) == {"0": 0, "1": 1, "2": 2}


def test_what_is_no_file_is_named_and_set_aside(tmp_path: Path) -> None:
    makers: dict[str, Callable[[Path], object]] = {
        "folder": Path.mkdir,
        "pipe": os.mkfifo,
        "link": lambda path: path.symlink_to(tmp_path / "nowhere"),
    }
    for name, make in makers.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name / FILE)
        with pytest.raises(DamagedFile, match=rf"{name}/{FILE}: it is a {name}"):
            opened(tmp_path / name).records()
        assert len(mend(opened(tmp_path / name))) == 1
        assert values(filled(tmp_path / name, 2)) == {"0": 0, "1": 1}


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    """20 GB of nothing behind the records: its hole is stepped over, where a read would take half a minute."""
    filled(tmp_path)
    with (tmp_path / FILE).open("r+b") as file:
        file.truncate(20 << 30)
    with pytest.raises(DamagedFile, match="no record begins here"):
        opened(tmp_path).records()
    assert len(mend(opened(tmp_path))) == 1
    assert values(opened(tmp_path)) == {str(k): k for k in range(4)}


@pytest.mark.parametrize("stops_at", ["write", "fsync"])
def test_a_full_disk_leaves_what_was_there(stops_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = filled(tmp_path)
    before = (tmp_path / FILE).read_bytes()

    def full(handle: int, *data: memoryview) -> None:
        if data:
            os.write(handle, data[0][:40])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packs, "os", SimpleNamespace(**{**vars(os), stops_at: full}))
    with pytest.raises(UserError, match=rf"cannot write {tmp_path / FILE}: No space left on device"):
        pack.append("member", "4", {"w": np.zeros(9)}, {})
    monkeypatch.undo()
    assert (tmp_path / FILE).read_bytes() == before
    assert values(filled(tmp_path, 6)) == {str(k): k for k in range(6)}


def test_files_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(packs, "regular_size", refuse)  # root may read everything
    with pytest.raises(UserError, match=r"cannot read .*: Permission denied; its permissions") as caught:
        opened(tmp_path).records()
    assert not isinstance(caught.value, DamagedFile), "what may not be read is not set aside"


def test_the_magic_within_an_array_is_no_record(tmp_path: Path) -> None:
    pack = opened(tmp_path)
    for name in "01":
        pack.append("member", name, {"w": np.frombuffer(MAGIC * 9, dtype=np.uint8)}, {})
    (tmp_path / FILE).write_bytes(flipped((tmp_path / FILE).read_bytes(), 9))
    mend(opened(tmp_path))
    assert [name for _, name, _, _ in opened(tmp_path).records()] == ["1"]
