"""Files that users name and write: `~` in their paths, and their text, which is UTF-8 whatever the locale.

Ground floor: any room may import it.
"""

import codecs
import contextlib
import os
from pathlib import Path

from degeneracy.core.errors import UserError, one_line
from degeneracy.core.files import read_bytes

# The longest first: the mark of UTF-32 begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

MAX_TEXT_BYTES = 1 << 26  # far above what anybody writes; a larger file is not read


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as its user means it: `~` at its beginning is the home folder, `~name` that of the user `name`.

    Letters that the locale's encoding lacks stand for the same file as they do in UTF-8.

    Raises:
        UserError: there is no such home folder.
    """
    text = os.fspath(path)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        text = os.fsdecode(text.encode("utf-8", "surrogateescape"))
    expanded = Path(os.path.expanduser(text))
    if not str(expanded).startswith("~"):
        return expanded
    if text.startswith("~"):
        raise UserError(
            f"{path}: the home folder that '{expanded.parts[0]}' stands for is not known; for a file of that name"
            " write its whole path"
        )
    return Path.cwd() / expanded  # "./~name" is a file here, and stays so when it is looked at again


def whole_text(text: str) -> str:
    """A path or an argument of the command line as text that every file can hold.

    Bytes that the locale's encoding does not know stand there as half characters; they are read as UTF-8 here, or
    escaped where they are no UTF-8 either.
    """
    with contextlib.suppress(UnicodeEncodeError):  # half characters that stand for no byte
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text


def path_text(text: str) -> str:
    """A part of a path as `whole_text` on one line, for names in files and figures."""
    return one_line(whole_text(text))


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark, its line ends as "\\n".

    Raises:
        UserError: no such file, one that cannot be read, or one in another encoding; says which and where.
    """
    data = read_bytes(path, at_most=MAX_TEXT_BYTES)
    for mark, name in MARKS.items():
        if data.startswith(mark):
            raise UserError(f"cannot read {path}: its encoding is {name}; save it as UTF-8")
    if b"\0" in data:
        raise UserError(f"cannot read {path}: it holds zero bytes (UTF-16, or no text); save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"cannot read {path}: it is not UTF-8 (byte 0x{data[error.start]:02X} in line {line}; perhaps Latin-1"
            " or Windows-1252); save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
