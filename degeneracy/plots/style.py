"""One look for all figures: sizes at print, colours safe for colour-blind readers, shared axes.

Figures are made without pyplot, so that nothing is registered globally and a notebook's own settings stay as
they are. Sizes are those of the printed page: text is 9 pt at the width of an A4 page's text.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogFormatter
from numpy.typing import NDArray

from degeneracy.core.errors import UserError, one_line
from degeneracy.measuring.results import Result
from degeneracy.plots.drawing import PLAIN_TEXT, Drawing, boxes_for_unknown_letters
from degeneracy.plots.layout import PanelLayout
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording import numbers
from degeneracy.wording.conditions import brief_names, n_text
from degeneracy.wording.factors import factor_name, level_text

# Okabe & Ito (2008), Color universal design; without the yellow, which is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, PALE = "#6b6b6b", "#c9c9c9"
SEQUENTIAL = "cividis"  # even in lightness, the same to colour-blind readers

WIDTH = 6.7  # inches: an A4 page less margins of 20 mm
PANEL_HEIGHT = 1.9
MAX_KEYS = 12  # of more conditions the key would take more room than the figure

_SETTINGS: Any = {  # matplotlib's own type of it lists every setting by name
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so figures are the same everywhere
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # where it is; else matplotlib looks for a place whenever a panel is measured
    "figure.facecolor": "white",
}

P = ParamSpec("P")
R = TypeVar("R")


class Numbers(Formatter):
    """Numbers at ticks, each with its power of ten: none stands alone over the axis, where the title is."""

    def format_ticks(self, values: Iterable[float]) -> list[str]:
        """The texts at all ticks of an axis."""
        return numbers.at_ticks(list(values))

    def __call__(self, x: float, pos: int | None = None) -> str:  # noqa: ARG002
        """The text at a place that is no tick."""
        return numbers.number(x)


class LogNumbers(LogFormatter):
    """Powers of ten as plain text, which is set in a hundredth of a formula's time."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The text at x; none where there are labels enough."""
        if not super().__call__(x, pos):
            return ""
        exponent = math.floor(math.log10(x) + 1e-9)  # 1e-9: a tick at 1000 is a little off
        factor = f"{x / 10.0**exponent:.3g}"
        power = numbers.power_of_ten(exponent)
        if factor == "1":
            return power
        return f"{factor}×{power}" if exponent else factor


def styled(plot: Callable[P, R]) -> Callable[P, R]:
    """Run a plot function under the house settings, whatever the caller's own are."""

    @wraps(plot)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(), boxes_for_unknown_letters():
            mpl.rcdefaults()
            mpl.rcParams.update(_SETTINGS | PLAIN_TEXT)
            return plot(*args, **kwargs)

    return run


def panels(
    n_panels: int,
    n_columns: int,
    *,
    height: float | Sequence[float] = PANEL_HEIGHT,
    extra: float = 0.0,
    share: bool = False,
) -> tuple[Drawing, list[Axes]]:
    """A figure of the printed width with panels row by row.

    Args:
        n_panels: wanted.
        n_columns: at most.
        height: of a row of panels, or of each, inches.
        extra: more height, inches, for legends or long labels.
        share: the same axis limits in all panels.

    Returns:
        The figure and its axes; places left over in the last row are hidden.

    Raises:
        UserError: there is nothing to draw.
    """
    if n_panels < 1:
        raise UserError("nothing was measured that this figure could show")
    columns = max(1, min(n_panels, n_columns))
    rows = -(-n_panels // columns)
    width = WIDTH if columns > 1 else 0.72 * WIDTH
    heights = list(height) if isinstance(height, Sequence) else [height] * rows
    figure = Drawing(figsize=(width, sum(heights) + extra), layout=PanelLayout())
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share, height_ratios=heights)
    axes = list(grid.flat)
    for spare in axes[n_panels:]:
        spare.remove()
    for ax in axes[:n_panels]:
        ax.xaxis.set_major_formatter(Numbers())
        ax.yaxis.set_major_formatter(Numbers())
    return figure, axes[:n_panels]


def row_panels(n_rows: Sequence[int], row_height: float) -> tuple[Drawing, list[Axes]]:
    """Panels below one another over the whole width, each as high as its rows of so many inches."""
    heights = [0.5 + row_height * max(n, 3) for n in n_rows]
    figure, axes = panels(len(heights), 1, height=heights, extra=0.6)
    figure.set_figwidth(WIDTH)
    return figure, axes


def log_y(axes: Axes) -> None:
    """A logarithmic vertical axis."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogNumbers())
    axes.yaxis.set_minor_formatter(LogNumbers())


def label_outer(axes: Sequence[Axes], columns: int, *, same_y: bool = False) -> None:
    """Label the horizontal axis, the same in all panels, at the lowest panel of each column alone.

    Args:
        axes: panels row by row.
        columns: panels in a row.
        same_y: the vertical axis is the same too, and labelled at the first panel of each row alone.
    """
    for k, ax in enumerate(axes):
        lowest = not any(other.get_visible() for other in axes[k + columns :: columns])
        ax.tick_params(axis="x", which="both", labelbottom=lowest)
        if not lowest:
            ax.set_xlabel("")
        if same_y:
            first = k % columns == 0
            ax.tick_params(axis="y", labelleft=first)
            ax.tick_params(axis="y", which="minor", left=first)
            if not first:
                ax.set_ylabel("")


def condition_colours(n_conditions: int) -> list[str]:
    """One colour per condition: distinct hues while there are few, a sequence of lightness beyond."""
    if n_conditions <= len(COLOURS):
        return list(COLOURS[:n_conditions])
    shades = mpl.colormaps[SEQUENTIAL](np.linspace(0.0, 0.82, n_conditions))
    return [to_hex(shade) for shade in shades]


def marker(k: int) -> str:
    """The marker of the k-th group, so that no figure relies on colour alone."""
    return MARKERS[k % len(MARKERS)]


def spread(n_points: int, width: float = 0.6) -> NDArray[np.float64]:
    """Sideways places of points that would lie on each other: even, without drawing random numbers.

    Returns:
        (point,) in [-width/2, width/2], by the golden ratio's low-discrepancy sequence.
    """
    return width * (np.mod(np.arange(1, n_points + 1) * 0.6180339887498949, 1.0) - 0.5)


def condition_axis(axes: Axes, results: Sequence[Result], room: int = 22) -> None:
    """Conditions side by side: by their factors' values, or by number where these take too many characters."""
    axes.set_xlim(-0.6, len(results) - 0.4)
    labels, factors = _levels(results), results[0].factors
    name = ", ".join(map(factor_name, factors)) if factors else "condition"
    if _length(labels) > room:
        labels, name = [str(k + 1) for k in range(len(results))], "condition number"
    n = n_text(result.n_converged for result in results)
    axes.set_xlabel(f"{name} ({n})" if len(name) + len(n) < room else f"{name}\n({n})")
    every = -(-_length(labels) // (room + 12))
    axes.set_xticks(range(0, len(results), every), labels[::every])


def condition_key(figure: Figure, axes: Axes, results: Sequence[Result], room: int = 22) -> bool:
    """Entries for the legend that say which condition has which number, where `condition_axis` gives numbers.

    The figure grows by their room. Of more than `MAX_KEYS` conditions there is no key: a report's table has them.

    Returns:
        Whether there is a key now.
    """
    if _length(_levels(results)) <= room or len(results) > MAX_KEYS:
        return False
    names = [
        f"{k}: {name} (n = {result.n_converged})"
        for k, (name, result) in enumerate(zip(brief_names(results, 40), results, strict=True), start=1)
    ]
    for k, (name, colour) in enumerate(zip(names, condition_colours(len(results)), strict=True)):
        axes.plot([], [], marker(k), color=colour, ms=4, ls="", label=name)
    figure.set_figheight(figure.get_figheight() + 0.17 * -(-len(names) // legend_columns(figure, names)))
    return True


def _levels(results: Sequence[Result]) -> list[str]:
    """The values of each condition's factors, or its name."""
    return [", ".join(map(level_text, result.factors.values())) or one_line(result.condition) for result in results]


def _length(labels: Sequence[str]) -> int:
    """Characters that labels take side by side."""
    return sum(len(label) + 2 for label in labels)


def results_of(source: StudyResult | Result) -> tuple[Result, ...]:
    """The conditions of a study, or the one that was given."""
    return source.results if isinstance(source, StudyResult) else (source,)


def legend_below(figure: Figure, axes: Iterable[Axes]) -> int:
    """One entry per kind of mark of all panels, below them; returns the number of lines that they take."""
    by_label: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            by_label.setdefault(label, handle)
    if not by_label:
        return 0
    columns = legend_columns(figure, by_label)
    figure.legend(list(by_label.values()), list(by_label), loc="lower center", ncols=columns, borderaxespad=0)
    return -(-len(by_label) // columns)


def legend_columns(figure: Figure, labels: Iterable[str]) -> int:
    """How many labels of a legend there is room for in a line."""
    room = 14 * figure.get_figwidth()  # characters of 9 pt
    return max(1, int(room // (max(map(len, labels)) + 7)))
