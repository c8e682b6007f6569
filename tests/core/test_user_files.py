"""Files of users: their encodings, their paths, and messages that stay on one line."""

import ast
import os
import sys
from pathlib import Path

import pytest

from degeneracy.core.errors import UserError, one_line
from degeneracy.core.registry import look_up
from degeneracy.core.user_files import path_text, read_text, user_path

ROOT = Path(__file__).parents[2]
WORDS = "# a “curly” quote, ünïcode, 神经\nx = 1\n"


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte-order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_utf_8_is_read_with_any_line_end(before: bytes, end: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(before + WORDS.replace("\n", end).encode())
    assert read_text(tmp_path / "a.toml") == WORDS


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (WORDS.encode("utf-16"), "its encoding is UTF-16; save it as UTF-8"),
        (WORDS.encode("utf-32"), "its encoding is UTF-32; save it as UTF-8"),
        (WORDS.encode("utf-16-le"), "zero bytes (UTF-16, or no text); save it as UTF-8"),
        ("a = 1\nb = 'café'\n".encode("latin-1"), "not UTF-8 (byte 0xE9 in line 2; perhaps Latin-1"),
        ("# a “curly” quote".encode("cp1252"), "byte 0x93 in line 1; perhaps Latin-1 or Windows-1252"),
    ],
)
def test_another_encoding_is_named(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(data)
    with pytest.raises(UserError) as raised:
        read_text(tmp_path / "a.toml")
    assert says in str(raised.value)
    assert str(tmp_path / "a.toml") in str(raised.value)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, which an import of the user's module puts on Python's path."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252"])
def test_a_module_in_another_encoding_is_named(encoding: str, here: Path) -> None:
    (here / f"mine_{encoding[:6].replace('-', '')}.py").write_bytes("x = “ü”\n".encode(encoding))
    with pytest.raises(UserError, match=r"cannot read .*mine_.*\.py: .*save it as UTF-8"):
        look_up("task", f"mine_{encoding[:6].replace('-', '')}:X", {})


def test_a_module_that_says_its_encoding_is_taken(here: Path) -> None:
    (here / "says_latin.py").write_bytes("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"))
    assert look_up("task", "says_latin:x", {}) == "é"


def test_a_fault_in_a_users_module_is_still_shown(here: Path) -> None:
    (here / "faulty_one.py").write_text("x = = 1  # ü\n", encoding="utf-8")
    with pytest.raises(SyntaxError):
        look_up("task", "faulty_one:x", {})


def test_the_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert user_path("~") == tmp_path
    assert user_path("~/runs/a") == user_path(Path("~/runs/a")) == tmp_path / "runs" / "a"
    assert user_path("runs/~/a") == Path("runs/~/a")
    assert user_path("a") == Path("a")


def test_a_tilde_that_is_nobodys_home_is_refused_and_a_file_of_that_name_is_taken() -> None:
    with pytest.raises(UserError, match="'~nobody-of-that-name' stands for is not known"):
        user_path("~nobody-of-that-name/a")
    there = user_path("./~nobody-of-that-name")
    assert there == Path.cwd() / "~nobody-of-that-name" == user_path(there)


def test_bytes_of_a_path_that_the_locale_does_not_know_are_read_as_utf_8() -> None:
    assert path_text("états") == "états"
    assert path_text(os.fsencode("états").decode("ascii", "surrogateescape")) == "états"
    assert path_text("caf\udce9") == r"caf\xe9"
    assert path_text("a\nb\ud800") == r"a\nb\ud800"


def test_a_message_is_one_line_whatever_names_it_holds() -> None:
    assert str(UserError("no 'a\nb\x1b[31m\u2028\x85\u202e\udc80'")) == (r"no 'a\nb\x1b[31m\u2028\x85\u202e\udc80'")
    assert one_line(r"C:\runs, größe, 神经 🙂, no-break\xa0") == r"C:\runs, größe, 神经 🙂, no-break\xa0"


TEXT = {"read_text", "write_text"}
OF_CHILDREN = {"run", "Popen", "check_output", "check_call", "call"}
NO_FILES = {"os", "RunDirectory", "Image", "tokenize"}  # whose `open` is another


def lacks_encoding(node: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the locale."""
    name, words = node.func, {word.arg: word.value for word in node.keywords}
    if "encoding" in words or None in words:
        return False
    if isinstance(name, ast.Attribute):
        if name.attr in TEXT:
            return True
        if name.attr in OF_CHILDREN:
            return bool({"text", "universal_newlines"} & words.keys())
        owner = name.value.id if isinstance(name.value, ast.Name) else ""
        if name.attr != "open" or owner in NO_FILES:
            return False
        modes = node.args[:1]
    elif isinstance(name, ast.Name) and name.id == "open":
        modes = node.args[1:2]
    else:
        return False
    mode = words.get("mode", modes[0] if modes else ast.Constant("r"))
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" not in mode.value


def offences(text: str) -> list[int]:
    return [n.lineno for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and lacks_encoding(n)]


SOURCES = sorted([*(ROOT / "degeneracy").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


def test_no_file_is_opened_in_the_encoding_of_the_locale() -> None:
    assert len(SOURCES) > 200
    lines = {str(p.relative_to(ROOT)): offences(p.read_text(encoding="utf-8")) for p in SOURCES}
    assert {file: found for file, found in lines.items() if found} == {}


def test_that_rule_can_fail() -> None:
    for line in (
        "path.read_text()",
        "(a / 'b').write_text(x)",
        "open('a')",
        "open('a', 'w')",
        "path.open()",
        "path.open('w')",
        "subprocess.run(x, text=True)",
    ):
        assert offences(line) == [1], line
    for line in ("open('a', 'rb')", "path.open('wb')", "path.read_text(encoding='utf-8')", "os.open(a, b)"):
        assert offences(line) == [], line
