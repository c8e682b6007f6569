"""Folders that the program owns: those of a run, of measured arrays, of a tune and of a saved ensemble.

A folder is the program's by its index, a sealed JSON file that says what the folder is. One that holds anything but has
no index is somebody else's, and is refused. The ledger, another sealed file or the index itself, holds the SHA-256 of
the tables beside it and of those that they replace, and is written before them. So it is known of each table whether
the program has written it, whenever a process is killed; what somebody else has written is never replaced.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from degeneracy.core.errors import UserError
from degeneracy.core.files import (
    DamagedFile,
    clean,
    exists,
    is_part,
    lock,
    read_bytes,
    read_json,
    reading,
    set_aside,
    sha256,
    write_bytes,
    write_json,
)

MAX_TABLE_BYTES = 1 << 30
TABLES: Mapping[str, type] = MappingProxyType({"tables": dict, "replaced": dict})  # what a ledger holds
NOT_WRITTEN = "it is not what degeneracy has written"
LACKS = "it lacks what such a file has"
MOVE_AWAY = "move it away, or choose another folder with --out"

log = logging.getLogger("degeneracy")


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A JSON file under a checksum, which says its kind and the format that it has."""

    name: str  # of the file
    kind: str
    format: int
    holds: Mapping[str, type] = field(default_factory=dict)  # keys that it has besides, and of which type
    older: tuple[str, ...] = ()  # keys that tell a file of an earlier version, which had neither kind nor checksum

    def read(self, folder: Path) -> dict[str, Any]:
        """What the file in a folder holds.

        Raises:
            DamagedFile: it is not what was written, or of another kind.
            UserError: it is missing, may not be read, or was written by another version.
        """
        value = read_json(folder / self.name, kind=self.kind, format=self.format, older=self.older)
        for key, kind in self.holds.items():
            if not isinstance(value.get(key), kind):
                raise DamagedFile(folder / self.name, f"{LACKS} ('{key}')")
        return value

    def content(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """What is written of a value: with kind and format, without the checksum."""
        return {"kind": self.kind, "format": self.format, **value}

    def write(self, folder: Path, value: Mapping[str, Any]) -> None:
        """Write the file into a folder."""
        write_json(folder / self.name, self.content(value))


@dataclass(frozen=True, kw_only=True)
class OwnedFolder:
    """What is the same in all folders that the program owns; the tables are files of any kind."""

    root: Path
    index: Sealed  # says whose the folder is
    ledger: Sealed  # holds the digests of the tables
    telling: tuple[str, ...] = ()  # tables that no two such folders have in common

    def begun(self, *, leftovers: Collection[str] = ()) -> bool:
        """Whether the index is there; not so in a new or empty folder.

        Args:
            leftovers: names in the folder that are the program's too, though the index is lost.

        Raises:
            UserError: the folder holds something else, or may not be looked into.
        """
        if exists(self.root / self.index.name):
            return True
        if exists(self.root):
            with reading(self.root):
                strangers = not self.root.is_dir() or any(
                    path.name not in ("lock", *leftovers) and not self._is_part(path) for path in self.root.iterdir()
                )
            if strangers:
                raise UserError(
                    f"{self.root} holds something else (it has no {self.index.name}); choose another folder"
                )
        return False

    def _is_part(self, path: Path) -> bool:
        """Whether a killed process has left this of the first file that it wrote."""
        return is_part(path, self.index.name) or is_part(path, self.ledger.name)

    @contextlib.contextmanager
    def hold(self, *below: str) -> Iterator[None]:
        """Hold the folder's lock, and clean the folder and those `below` of what a killed process was writing."""
        with lock(self.root / "lock", wait=True):
            for folder in (self.root, *(self.root / name for name in below)):
                clean(folder)
            yield

    @contextlib.contextmanager
    def take(self, check: Callable[[], Any], *below: str) -> Iterator[None]:
        """Hold, as `hold` does, a folder that `check` does not refuse, neither now nor once the lock is held.

        Nothing is written before; another process may begin in the folder in between.
        """
        check()
        with self.hold(*below):
            check()
            yield

    def read_ledger(self) -> dict[str, Any]:
        """What the ledger holds; nothing where there is none yet.

        Raises:
            DamagedFile: it is not what was written, or it is of another folder: the tables that tell are not what it
                says.
        """
        file = self.root / self.ledger.name
        if not exists(file):
            return {}
        ledger = self.ledger.read(self.root)
        there = [name for name in self.telling if exists(self.root / name)]
        if there and not any(self._is_known(name, ledger) for name in there):
            raise DamagedFile(file, f"it is another run's ({' and '.join(there)} are not what it says)")
        return ledger

    def _is_known(self, name: str, ledger: Mapping[str, Any]) -> bool:
        with contextlib.suppress(DamagedFile):
            return self.digest(name) in _known(ledger, name)
        return False

    def digest(self, name: str) -> str:
        """The SHA-256 of a table; "" where there is none.

        Raises:
            DamagedFile: no ordinary file, or a larger one than any table.
        """
        path = self.root / name
        return sha256(read_bytes(path, at_most=MAX_TABLE_BYTES)) if exists(path) else ""

    def check_tables(
        self, tables: Mapping[str, bytes] = MappingProxyType({}), *, repair: bool = False
    ) -> dict[str, str]:
        """Refuse a table that the program has not written, among those of the ledger and those to be written.

        Args:
            tables: what is to be written, by name; a file that is the same already is no stranger.
            repair: set such a table aside instead.

        Returns:
            The digests of the tables that are there.

        Raises:
            DamagedFile: such a table, or a damaged ledger.
        """
        ledger = self.read_ledger()
        there: dict[str, str] = {}
        for name in {**ledger.get("tables", {}), **tables}:
            path = self.root / name
            known = _known(ledger, name) | ({sha256(tables[name])} if name in tables else set())
            try:
                digest = self.digest(name)
                if digest and digest not in known:
                    raise DamagedFile(path, NOT_WRITTEN)
                there |= {name: digest} if digest else {}
            except DamagedFile as error:
                if not repair:
                    raise
                put_aside(path, error.reason)
        return there

    def write_tables(self, about: Mapping[str, Any], tables: Mapping[str, bytes], *, repair: bool = False) -> None:
        """Write the ledger, then the tables, in place of none but the program's own; whoever calls holds the lock.

        Args:
            about: what the ledger holds beside the digests.
            tables: the tables by name; others that the ledger knows stay as they are.
            repair: set aside what somebody else has written in their place.

        Raises:
            DamagedFile: what somebody else has written, in place of any table; nothing is written then.
        """
        there = self.check_tables(tables, repair=repair)
        before = self.read_ledger().get("tables", {})
        staying = {name: digest for name, digest in before.items() if name in there}
        written = {name: sha256(data) for name, data in tables.items()}
        self.ledger.write(self.root, {**about, "tables": {**staying, **written}, "replaced": there})
        for name, data in tables.items():
            if there.get(name) != written[name]:
                write_bytes(self.root / name, data)


def _known(ledger: Mapping[str, Any], name: str) -> set[str]:
    """The digests of a table that the program has written, or was about to."""
    return {ledger[kind][name] for kind in TABLES if name in ledger.get(kind, {})}


def put_aside(path: Path, reason: str) -> None:
    """Set something aside under another name, and say so."""
    log.info("set %s aside as %s: %s", path, set_aside(path).name, reason)


def put_aside_if_damaged(path: Path, check: Callable[[], Any]) -> None:
    """Set a file aside, if it is there, where looking at it says that it is damaged."""
    if exists(path):
        try:
            check()
        except DamagedFile as error:
            put_aside(path, error.reason)
