"""What lies in the packs of a run, an ensemble or a tune, for tests that compare two of them or damage one."""

from pathlib import Path
from typing import Any

from degeneracy.core.records import Flaw, Record, read_arrays, scan


def records(pack: Path) -> list[Record]:
    """The whole records of one file; a torn end is passed over."""
    found = list(scan(pack))
    assert all(one.torn for one in found if isinstance(one, Flaw)), found
    return [one for one in found if isinstance(one, Record)]


def member_records(folder: Path) -> dict[str, Record]:
    """All members below a folder, by their folder and seed."""
    return {
        f"{pack.parent.relative_to(folder)}/{record.header['name']}": record
        for pack in sorted(folder.rglob("members-*.pack"))
        for record in records(pack)
    }


def member_arrays(folder: Path) -> dict[str, dict[str, Any]]:
    """The arrays of all members below a folder."""
    return {name: read_arrays(record) for name, record in member_records(folder).items()}


def without(pack: Path, *lost: str) -> None:
    """Write a file again without its records of these names."""
    data = pack.read_bytes()
    kept = [data[record.at : record.end] for record in records(pack) if record.header["name"] not in lost]
    assert len(kept) == len(records(pack)) - len(lost)
    pack.write_bytes(b"".join(kept))
