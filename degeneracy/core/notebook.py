"""What a notebook shows of an object: a small table, and what to do next."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice
from numbers import Real

MOST_ROWS = 12


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], following: str) -> str:
    """A table as HTML.

    Args:
        title: a line above it.
        columns: its heads.
        rows: one entry per column; numbers are shown with three digits, NaN as a dash. Of many the first are shown.
        following: a line of code to go on with.
    """
    every = list(rows)
    head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(_said(value))}</td>' for value in row) + "</tr>"
        for row in islice(every, MOST_ROWS)
    )
    left = len(every) - MOST_ROWS
    more = f"<p>and {left} more</p>" if left > 0 else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if every else ""
    return f"<div><p><b>{escape(title)}</b></p>{table}{more}<p>Next: <code>{escape(following)}</code></p></div>"


def _said(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    number = float(value)
    if number != number:  # NaN
        return "\N{EM DASH}"
    return f"{number:.0f}" if number == int(number) and abs(number) < 1e6 else f"{number:.3g}"
