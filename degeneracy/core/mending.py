"""Packs mended: what is damaged or misplaced is set aside, what is whole is kept, and nothing is overwritten.

Ground floor: any room may import it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from degeneracy.core.files import DamagedFile, set_aside
from degeneracy.core.packs import Pack, append_bytes
from degeneracy.core.records import Flaw, Identity, Record, next_start, read_arrays, read_raw, scan


def mend(pack: Pack, check: Callable[[Record], None] = lambda _: None) -> list[str]:
    """Set aside every file of a pack that holds anything wrong, its whole records copied to a new file before.

    Whoever calls this holds the folder's lock. A torn end, which a killed process leaves, is nothing wrong. Of several
    records that say different things about the same, none is kept. A process that is killed in here loses nothing:
    the next one goes on.

    Args:
        pack: what to mend.
        check: raises `DamagedFile` for a record that does not belong here, beside what the pack itself refuses.

    Returns:
        What was set aside as what, and why, a line each.

    Raises:
        UserError: a file that may not be read or renamed.
    """
    whole: dict[Path, list[Record]] = {}
    wrong: dict[Path, str] = {}
    for path in pack.files():
        whole[path], reasons = _sorted_out(pack, path, check)
        if reasons:
            wrong[path] = reasons[0]
    for record, reason in _contradictions(whole):
        wrong.setdefault(record.path, reason)
        whole[record.path].remove(record)
    kept = {record.identity for path, records in whole.items() if path not in wrong for record in records}
    _copy([record for path in wrong for record in whole[path]], kept, pack)
    return [f"set {path} aside as {set_aside(path).name}: {reason}" for path, reason in wrong.items()]


def _sorted_out(pack: Pack, path: Path, check: Callable[[Record], None]) -> tuple[list[Record], list[str]]:
    """The records of a file that are whole and in their place, and what is wrong with the rest."""
    records: list[Record] = []
    reasons: list[str] = []
    at = 0
    try:
        while at >= 0:
            at = _sort_out(pack, path, at, check, records, reasons)
    except DamagedFile as error:
        return [], [error.reason]
    return records, reasons


def _sort_out(
    pack: Pack,
    path: Path,
    start: int,
    check: Callable[[Record], None],
    records: list[Record],
    reasons: list[str],
) -> int:
    """Add to records and reasons; returns where to go on, -1 at the end of the file."""
    for found in scan(path, start):
        if isinstance(found, Flaw):
            reasons += [] if found.torn else [f"damaged at byte {found.at:,}: {found.reason}"]
            continue
        try:
            pack.check_place(found)
            check(found)
        except DamagedFile as error:
            reasons.append(error.reason)
            continue
        try:
            read_arrays(found)
            records.append(found)
        except DamagedFile as error:
            reasons.append(error.reason)
            # Bytes may be lost: the next record then begins within this one.
            return next_start(path, found.payload_at)
    return -1


def _contradictions(whole: Mapping[Path, Sequence[Record]]) -> Iterator[tuple[Record, str]]:
    """The records that say different things about the same."""
    by_identity: dict[Identity, list[Record]] = defaultdict(list)
    for records in whole.values():
        for record in records:
            by_identity[record.identity].append(record)
    for same in by_identity.values():
        if len(same) > 1 and len({record.fingerprint for record in same}) > 1:
            for record in same:
                yield record, f"there is more than one {record.title}, and they differ"


def _copy(records: Sequence[Record], kept: set[Identity], pack: Pack) -> None:
    """Append records that are nowhere else to a new file."""
    target, end = pack.next_file(), 0
    for record in records:
        if record.identity in kept:
            continue
        kept.add(record.identity)
        data = read_raw(record)
        append_bytes(target, data, end)
        end += len(data)
