"""Figures as all rooms draw them: shown by a notebook without pyplot, their text taken as it is.

Ground floor: any room may import it.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Names and units come from users: a "$" in them begins no formula, and figures are drawn with this in force.
PLAIN_TEXT: Any = {"text.parse_math": False}


class Drawing(Figure):
    """A matplotlib figure that a notebook shows without pyplot. Letters that its font lacks are drawn as boxes."""

    def draw(self, renderer: Any) -> None:
        """Draw the figure; what text is made on the way, at ticks, is plain text too."""
        with mpl.rc_context(PLAIN_TEXT), boxes_for_unknown_letters():
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        target = BytesIO()
        self.savefig(target, format="png", dpi=144)
        return target.getvalue()


@contextmanager
def boxes_for_unknown_letters() -> Iterator[None]:
    """Letters that the font lacks (Chinese, emoji) are boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield
