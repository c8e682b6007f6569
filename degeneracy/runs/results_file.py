"""results.json of a run, which describes what the run found, and the tables whose SHA-256 it holds.

results.json is written before the tables, with their digests and with those of the tables that they replace. So it is
known of each table whether the run has written it, whenever a process is killed; what somebody else has written is
never replaced.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile, exists, read_bytes, read_json, set_aside, sha256

FORMAT = 2  # of all JSON files of a run
MAX_TABLE_BYTES = 1 << 30
TELLING = ("degeneracy.csv", "provenance.json")  # the files of every run that no other run has the same
NOT_WRITTEN = "it is not what degeneracy has written"

log = logging.getLogger("degeneracy")


def read_results(root: Path) -> dict[str, Any]:
    """What results.json of a run holds; nothing before the run is finished.

    Raises:
        DamagedFile: it is not what was written, or it is another run's: the files that tell are not what it says.
    """
    file = root / "results.json"
    if not exists(file):
        return {}
    index = read_json(file, kind="results", format=FORMAT)
    lacking = [name for name in ("tables", "replaced") if not isinstance(index.get(name), dict)]
    if lacking:
        raise DamagedFile(file, f"it lacks what such a file has ('{lacking[0]}')")
    there = [name for name in TELLING if exists(root / name)]
    if there and not any(_is_known(root, name, index) for name in there):
        raise DamagedFile(file, f"it is another run's ({' and '.join(there)} are not what it says)")
    return index


def _is_known(root: Path, name: str, index: Mapping[str, Any]) -> bool:
    with contextlib.suppress(DamagedFile):
        return _table_digest(root / name) in _known(index, name)
    return False


def _known(index: Mapping[str, Any], name: str) -> set[str]:
    """The digests of a table that the run has written, or was about to."""
    return {index[kind][name] for kind in ("tables", "replaced") if name in index.get(kind, {})}


def members_of_results(root: Path) -> dict[str, dict[str, str]]:
    """The fingerprints of the members that the run's results were made of, by condition and seed."""
    conditions = read_results(root).get("conditions", [])
    try:
        return {condition["name"]: {str(seed): made for seed, made in condition["members"]} for condition in conditions}
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFile(root / "results.json", f"it lacks what such a file has ({error})") from error


def check_replaceable(
    root: Path, before: Mapping[str, Any], tables: Mapping[str, bytes] | None = None, *, repair: bool
) -> dict[str, str]:
    """Refuse to replace a table that the run has not written.

    Args:
        root: the run directory.
        before: what results.json holds.
        tables: what is to be written; those of `before` where it is not known yet.
        repair: set such a table aside instead.

    Returns:
        The digests of the tables that are there.

    Raises:
        DamagedFile: such a table.
    """
    there = {}
    for name in before.get("tables", {}) if tables is None else tables:
        path = root / name
        if not exists(path):
            continue
        known = _known(before, name) | (set() if tables is None else {sha256(tables[name])})
        try:
            found = _table_digest(path)
            if found not in known:
                raise DamagedFile(path, NOT_WRITTEN)
            there[name] = found
        except DamagedFile as error:
            if not repair:
                raise
            log.info("set %s aside as %s: %s", path, set_aside(path).name, error.reason)
    return there


def check_tables(root: Path, index: Mapping[str, Any]) -> None:
    """Refuse tables that are not those of results.json.

    Raises:
        DamagedFile: a table is not what the run has written.
        UserError: the tables were not written to the end.
    """
    for name, written in index["tables"].items():
        found = _table_digest(root / name) if exists(root / name) else ""
        if found == written:
            continue
        if found in ("", index["replaced"].get(name)):
            raise UserError(f"{root}: the run is not finished ({name} is not written); start it again to go on")
        raise DamagedFile(root / name, NOT_WRITTEN)


def _table_digest(path: Path) -> str:
    return sha256(read_bytes(path, at_most=MAX_TABLE_BYTES))


def stored_provenance(root: Path) -> dict[str, Any]:
    """What provenance.json holds."""
    stored = read_json(root / "provenance.json", kind="provenance", format=FORMAT)
    if not isinstance(stored.get("provenance"), dict):
        raise DamagedFile(root / "provenance.json", "it lacks what such a file has ('provenance')")
    return dict(stored["provenance"])


def set_aside_if_damaged(path: Path, check: Callable[[], Any]) -> None:
    """Set a file aside where looking at it says that it is damaged."""
    try:
        check()
    except DamagedFile as error:
        log.info("set %s aside as %s: %s", path, set_aside(path).name, error.reason)
