"""The user's mistakes: one line that says what, where and what would be right.

Ground floor: imported by every room, imports none.
"""

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

# Control and format characters, half characters, and what ends a line or a paragraph.
UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


class UserError(ValueError):
    """A mistake in what the user gave, said in one line; the command line prints it and exits with code 2."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: object) -> str:
    """Text that stays on its line and is seen as it is: line ends and control characters are escaped, as in "\\n"."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in UNPRINTABLE else c for c in str(text)
    )


def unknown_name(kind: str, name: object, known: Iterable[str], *, where: str = "") -> UserError:
    """The error for a name that is not in a table: says the closest known one and lists them all."""
    known = sorted(known)
    close = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    place = f"{where}: " if where else ""
    return UserError(f"{place}unknown {kind} '{name}'{hint} (known: {', '.join(known)})")
