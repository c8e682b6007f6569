"""Compiled functions: the numbers of Python, with and without a place to keep them, whatever happened to it."""

import hashlib
import importlib.util
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core.caching import FunctionCache

from degeneracy.core import compiling


def half(x: float) -> float:
    return x / 2


def test_it_computes_what_python_does() -> None:
    assert compiling.compiled()(half)(3.0) == half(3.0) == 1.5


def test_options_reach_numba() -> None:
    with pytest.raises(ZeroDivisionError):
        compiling.compiled()(lambda x: 1 / x)(0.0)
    assert compiling.compiled(error_model="numpy")(lambda x: 1 / x)(0.0) == float("inf")


def test_without_a_folder_to_keep_it_in_it_compiles_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("cannot cache function 'half': no locator available for file")

    monkeypatch.setattr(FunctionCache, "__init__", refuse)
    assert compiling.compiled(error_model="numpy")(half)(3.0) == 1.5


def test_it_is_plain_python_where_numba_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    assert compiling.compiled()(half) is half


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Imports a module with a compiled function, each time as a new process would."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    file = tmp_path / "kept_here.py"
    file.write_text(
        "from degeneracy.core.compiling import compiled\n\n@compiled()\ndef third(x):\n    return x / 3\n",
        encoding="utf-8",
    )

    def fresh() -> Any:
        spec = importlib.util.spec_from_file_location("kept_here", file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["kept_here"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.third

    yield fresh
    sys.modules.pop("kept_here", None)


def kept(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / "__pycache__").glob(f"*.{kind}"))


def hits(function: Any) -> int:
    """How many signatures were taken from the disk."""
    return sum(function.stats.cache_hits.values())


def test_what_was_compiled_is_kept(start: Callable[[], Any], tmp_path: Path) -> None:
    first, again = start(), start()
    assert first(6.0) == again(6.0) == 2.0
    assert (hits(first), hits(again)) == (0, 1)
    assert len(kept(tmp_path, "nbi")) == len(kept(tmp_path, "nbc")) == 1


def cut(data: bytes, share: float) -> bytes:
    return data[: int(share * len(data))]


def flipped(data: bytes, share: float) -> bytes:
    at = int(share * len(data))
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES = {
    "empty": lambda _: b"",
    "cut at a tenth": lambda data: cut(data, 0.1),
    "cut in the middle": lambda data: cut(data, 0.5),
    "cut at the end": lambda data: data[:-1],
    "a bit at the start": lambda data: flipped(data, 0.0),
    "a bit in the middle": lambda data: flipped(data, 0.5),
    "a bit near the end": lambda data: flipped(data, 0.97),
    "something else": lambda _: b"hello\n" * 99,
    "as an earlier version wrote it": lambda data: data[: -compiling.CHECKSUM_BYTES],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_what_is_damaged_is_made_anew(kind: str, damage: str, start: Callable[[], Any], tmp_path: Path) -> None:
    start()(6.0)
    [file] = kept(tmp_path, kind)
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    function, again = start(), start()
    assert function(6.0) == 2.0
    assert hits(function) == 0
    assert again(6.0) == 2.0
    assert hits(again) == 1, "the file is whole again"


@pytest.mark.parametrize("gone", ["kept_here\nGone", "kept_nowhere\nGone"])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_what_names_types_of_an_earlier_version_is_made_anew(
    kind: str, gone: str, start: Callable[[], Any], tmp_path: Path
) -> None:
    """Files that are whole, and were written when the package had a class that it has no longer."""
    start()(6.0)
    [file] = kept(tmp_path, kind)
    content = io.BytesIO(file.read_bytes())
    if kind == "nbi":
        pickle.load(content)  # the version of numba stands first
    earlier = content.getvalue()[: content.tell()] + f"c{gone}\n.".encode()  # a pickle of that class
    file.write_bytes(earlier + hashlib.sha256(earlier).digest())
    function, again = start(), start()
    assert function(6.0) == 2.0
    assert (hits(function), again(6.0), hits(again)) == (0, 2.0, 1)


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_files_that_cannot_be_read_or_written_do_no_harm(kind: str, start: Callable[[], Any], tmp_path: Path) -> None:
    """A folder of the file's name stands for all of them: also root can neither read nor replace it as a file."""
    start()(6.0)
    [file] = kept(tmp_path, kind)
    file.unlink()
    file.mkdir()
    (file / "something").touch()
    function = start()
    assert function(6.0) == 2.0
    assert hits(function) == 0
    assert [path.name for path in (tmp_path / "__pycache__").glob("*.tmp.*")] == []


def test_a_folder_that_may_no_longer_be_written_to_does_no_harm(
    start: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    function = start()  # the folder could be written to until now

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "makedirs", refuse)
    assert function(6.0) == 2.0


def test_what_another_processor_compiled_is_not_taken(
    start: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba.core.codegen import CPUCodegen

    own = CPUCodegen.magic_tuple
    monkeypatch.setattr(CPUCodegen, "magic_tuple", lambda self: (*own(self)[:1], "another", ""))
    assert start()(6.0) == 2.0
    monkeypatch.undo()
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    function, again = start(), start()
    assert function(6.0) == again(6.0) == 2.0
    assert (hits(function), hits(again)) == (0, 1)
    assert len(kept(tmp_path, "nbc")) == 2


def test_an_index_of_another_version_whose_classes_are_gone_is_as_none(
    start: Callable[[], Any], tmp_path: Path
) -> None:
    """Its signatures are pickled by the names of their types: of a named tuple, where that was."""
    file = tmp_path / "kept_here.py"
    before = (
        "from typing import NamedTuple\nfrom degeneracy.core.compiling import compiled\n\n"
        "class Old(NamedTuple):\n    x: float\n\n"
        "@compiled()\ndef third(of):\n    return of[0] / 3\n"
    )
    file.write_text(before, encoding="utf-8")
    old = start()
    assert old(sys.modules["kept_here"].Old(6.0)) == 2.0
    assert len(kept(tmp_path, "nbi")) == 1
    later = before.replace("class Old", "class New") + "\n# of another size, as a newer file is\n"
    file.write_text(later, encoding="utf-8")
    new = start()
    assert new(sys.modules["kept_here"].New(6.0)) == 2.0
    assert hits(new) == 0
    assert start()(sys.modules["kept_here"].New(6.0)) == 2.0


PACKAGE = {
    "__init__.py": "",
    "callee.py": "from degeneracy.core.compiling import compiled\n\n@compiled()\ndef change(x):\n    return x + 1\n",
    "numbers.py": "FACTOR = 2.0\n",
    "kinds.py": "from typing import NamedTuple\n\nclass Pair(NamedTuple):\n    high: float\n    low: float\n",
    # As units are: a plain function that stands for compiled ones of a table.
    "table.py": (
        "from numba.extending import overload\nfrom small import callee\n\nTABLE = {'plus': (callee.change,)}\n\n"
        "def by_table(x):\n    return TABLE['plus'][0](x)\n\n"
        "@overload(by_table)\ndef _by_table(x):\n    change = TABLE['plus'][0]\n    return lambda x: change(x)\n"
    ),
    "caller.py": (
        "from degeneracy.core.compiling import compiled\nfrom small.callee import change\n"
        "from small.numbers import FACTOR\nfrom small.table import by_table\n\n"
        "@compiled()\ndef called(x):\n    return change(x)\n\n"
        "@compiled()\ndef through_a_table(x):\n    return by_table(x)\n\n"
        "@compiled()\ndef scaled(x):\n    return FACTOR * x\n\n"
        "@compiled()\ndef highest(pair):\n    return pair.high\n"
    ),
}
ASK = (
    "from small import caller, kinds\n"
    "print(caller.called(1.0), caller.through_a_table(1.0), caller.scaled(1.0),"
    " caller.highest(kinds.Pair(high=1.0, low=2.0)))\n"
    "every = caller.called, caller.through_a_table, caller.scaled, caller.highest\n"
    "print(sum(sum(each.stats.cache_hits.values()) for each in every))"
)


@pytest.mark.parametrize(
    ("file", "old", "new", "answers"),
    [
        ("callee.py", "x + 1", "x + 5", "6.0 6.0 2.0 1.0"),
        ("numbers.py", "2.0", "3.0", "2.0 2.0 3.0 1.0"),
        ("kinds.py", "    high: float\n    low: float", "    low: float\n    high: float", "2.0 2.0 2.0 1.0"),
    ],
)
def test_a_change_of_what_a_function_calls_or_names_compiles_it_anew(
    file: str, old: str, new: str, answers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fresh processes: a callee, also one behind a table, a constant, and the order of an argument's fields."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(compiling.__file__).parents[2])]))
    folder = tmp_path / "small"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / name).write_text(text, encoding="utf-8")

    def ask() -> list[str]:
        done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, encoding="utf-8", check=True)
        return done.stdout.splitlines()

    ask()
    assert ask() == ["2.0 2.0 2.0 1.0", "4"], "all four are taken from the disk"
    (folder / file).write_text(PACKAGE[file].replace(old, new), encoding="utf-8")
    assert ask()[0] == answers
    assert ask() == [answers, "4"]
