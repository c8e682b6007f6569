"""Folders that the program owns: a stranger's is refused, and no table is replaced but those that were written here."""

import os
from pathlib import Path

import pytest

from degeneracy.core import owned_folder
from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile, lock
from degeneracy.core.owned_folder import TABLES, OwnedFolder, Sealed

INDEX = Sealed(name="index.json", kind="index", format=1, holds={"of": str})
LEDGER = Sealed(name="ledger.json", kind="ledger", format=1, holds=TABLES)


@pytest.fixture
def folder(tmp_path: Path) -> OwnedFolder:
    """One that has begun and has written two tables."""
    owned = OwnedFolder(root=tmp_path / "ours", index=INDEX, ledger=LEDGER, telling=("a.csv", "b.csv"))
    with owned.take(owned.begun):
        INDEX.write(owned.root, {"of": "us"})
        owned.write_tables({"what": 1}, {"a.csv": b"a", "b.csv": b"b"})
    return owned


def test_what_was_written_comes_back(folder: OwnedFolder) -> None:
    assert folder.begun()
    assert INDEX.read(folder.root) == {"kind": "index", "format": 1, "of": "us"}
    digests = {name: folder.digest(name) for name in ("a.csv", "b.csv")}
    assert len(set(digests.values())) == 2
    assert folder.read_ledger() == {"kind": "ledger", "format": 1, "what": 1, "tables": digests, "replaced": {}}
    assert folder.check_tables() == digests


def test_a_sealed_file_has_what_such_a_file_has(tmp_path: Path) -> None:
    INDEX.write(tmp_path, {"of": 3})
    with pytest.raises(DamagedFile, match=r"index.json: it lacks what such a file has \('of'\)"):
        INDEX.read(tmp_path)


@pytest.mark.parametrize("name", ["thesis.txt", ".index.json.part", ".other.json.a1b2c3_4.part", "a.csv"])
def test_a_strangers_folder_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"dear")
    owned = OwnedFolder(root=tmp_path, index=INDEX, ledger=LEDGER)
    says = r"holds something else \(it has no index.json\); choose another folder$"
    with pytest.raises(UserError, match=says), owned.take(owned.begun):
        pytest.fail("taken")
    assert [path.name for path in tmp_path.iterdir()] == [name], "not even a lock"
    assert not owned.begun(leftovers=[name])


def test_a_file_or_a_link_to_nowhere_is_no_new_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"dear")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(UserError, match="holds something else"):
            OwnedFolder(root=tmp_path / name, index=INDEX, ledger=LEDGER).begun()


def test_what_a_killed_process_leaves_first_is_no_stranger_and_is_cleaned_away(tmp_path: Path) -> None:
    owned = OwnedFolder(root=tmp_path, index=INDEX, ledger=LEDGER)
    (tmp_path / "figures").mkdir()
    parts = [".index.json.a1b2c3_4.part", ".ledger.json.a1b2c3_4.part", "figures/.x.png.a1b2c3_4.part"]
    for part in parts[:2]:
        (tmp_path / part).touch()
    assert not owned.begun(leftovers=["figures"])
    (tmp_path / parts[2]).touch()
    with owned.hold("figures"):
        assert not any((tmp_path / part).exists() for part in parts)


def test_another_process_may_begin_between_the_look_and_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned = OwnedFolder(root=tmp_path / "new", index=INDEX, ledger=LEDGER)

    def late(path: Path, *, wait: bool) -> object:
        path.parent.mkdir()
        (path.parent / "thesis.txt").touch()
        return lock(path, wait=wait)

    monkeypatch.setattr(owned_folder, "lock", late)
    with pytest.raises(UserError, match="holds something else"), owned.take(owned.begun):
        pytest.fail("taken")


def test_the_lock_is_held(folder: OwnedFolder) -> None:
    with folder.hold(), lock(folder.root / "lock", wait=False) as held:
        assert not held


@pytest.mark.parametrize("name", ["a.csv", "b.csv"])
def test_an_altered_table_is_refused_before_anything_is_written(name: str, folder: OwnedFolder) -> None:
    (folder.root / name).write_bytes(b"mine")
    before = {path.name: path.read_bytes() for path in folder.root.iterdir()}
    with pytest.raises(DamagedFile, match="it is not what degeneracy has written"):
        folder.check_tables()
    with pytest.raises(DamagedFile, match=name):
        folder.write_tables({}, {"a.csv": b"new"})
    assert {path.name: path.read_bytes() for path in folder.root.iterdir()} == before
    folder.write_tables({}, {name: b"new"}, repair=True)
    assert (folder.root / f"{name}.damaged-1").read_bytes() == b"mine"
    assert (folder.root / name).read_bytes() == b"new"


def test_a_strangers_file_in_a_new_tables_place_is_refused(folder: OwnedFolder) -> None:
    os.mkfifo(folder.root / "pipe.csv")
    (folder.root / "c.csv").write_bytes(b"mine")
    for name, says in (("c.csv", "not what degeneracy has written"), ("pipe.csv", "it is a pipe")):
        with pytest.raises(DamagedFile, match=says):
            folder.write_tables({}, {name: b"new"})
    folder.write_tables({}, {"c.csv": b"mine"})  # the same already
    assert (folder.root / "c.csv").read_bytes() == b"mine"


def test_tables_that_are_not_written_now_stay_known_as_long_as_they_are_there(folder: OwnedFolder) -> None:
    folder.write_tables({}, {"a.csv": b"new"})
    assert set(folder.read_ledger()["tables"]) == {"a.csv", "b.csv"}
    (folder.root / "b.csv").unlink()
    folder.write_tables({}, {"a.csv": b"newer"})
    assert set(folder.read_ledger()["tables"]) == {"a.csv"}


# How many writes are made before the process dies, and what lies in the two tables then.
DEATHS = [(0, b"a", b"b"), (1, b"a", b"b"), (2, b"a2", b"b")]


@pytest.mark.parametrize(("n_writes", "a", "b"), DEATHS)
@pytest.mark.parametrize("again", [{"a.csv": b"a3", "b.csv": b"b3"}, {"a.csv": b"a3"}])
def test_a_death_between_ledger_and_tables_leaves_none_unknown(
    n_writes: int, a: bytes, b: bytes, again: dict[str, bytes], folder: OwnedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [None] * n_writes

    def dying(write):
        def killed(path: Path, data: object) -> None:
            if not left:
                raise KeyboardInterrupt
            left.pop()
            write(path, data)

        return killed

    for name in ("write_json", "write_bytes"):
        monkeypatch.setattr(owned_folder, name, dying(getattr(owned_folder, name)))
    with pytest.raises(KeyboardInterrupt):
        folder.write_tables({}, {"a.csv": b"a2", "b.csv": b"b2"})
    monkeypatch.undo()
    assert [(folder.root / name).read_bytes() for name in ("a.csv", "b.csv")] == [a, b]
    folder.check_tables()
    folder.write_tables({}, again)  # twice: what stays as it is must stay known
    folder.write_tables({}, {"b.csv": b"b4"})
    assert (folder.root / "a.csv").read_bytes() == b"a3"
    assert (folder.root / "b.csv").read_bytes() == b"b4"


def test_a_ledger_of_another_folder_is_told_by_the_tables_that_tell(folder: OwnedFolder) -> None:
    for name in ("a.csv", "b.csv"):
        (folder.root / name).write_bytes(b"others")
    with pytest.raises(DamagedFile, match=r"ledger.json: it is another run's \(a.csv and b.csv are not what it says\)"):
        folder.read_ledger()
