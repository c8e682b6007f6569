"""Where the panels of a figure stand, from the room that their labels take.

matplotlib's constrained layout finds much the same places, but measures each label some ten times, and a report's
figures hold thousands of labels.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import LayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase, ScaledTranslation
from numpy.typing import NDArray

PAD = 3.0  # points around each panel with its labels
MAX_ROUNDS = 4  # of measuring and placing
SMALLEST = 9.0  # points: the side that a panel keeps where its labels leave no room


class PanelLayout(LayoutEngine):
    """Panels in rows, as high as their ratios say, and columns of one width, with all that stands around them.

    It knows axes made by `Figure.subplots` with their insets and texts, and the figure's own texts and legends. As in
    constrained layout, a title or a label may be longer than its panel; a title in the last column has room.
    """

    _adjust_compatible = False
    _colorbar_gridspec = False

    def execute(self, fig: Figure) -> None:
        """Place panels and labels; matplotlib calls it before it draws the figure."""
        panels = [ax for ax in fig.axes if ax.get_visible() and ax.get_subplotspec() is not None]
        renderer = _renderer(fig)
        for _ in range(MAX_ROUNDS):  # the numbers at the ticks may change with the size of the panels
            before = [_numbers(ax) for ax in panels]
            _place(fig, panels, np.array([_room(fig, ax, renderer) for ax in panels]), renderer)
            if [_numbers(ax) for ax in panels] == before:
                break


def _renderer(figure: Figure) -> RendererBase:
    """What measures text: the canvas's own where it draws pixels."""
    if hasattr(figure.canvas, "get_renderer"):
        return figure.canvas.get_renderer()
    return RendererAgg(figure.bbox.width, figure.bbox.height, figure.dpi)


def _numbers(axes: Axes) -> tuple[list[float], list[float], int]:
    """What changes the room of a panel's labels with its size: where its ticks are, and its width if it has insets."""
    axes.apply_aspect()
    width = round(axes.get_window_extent().width) if axes.child_axes else 0
    return list(axes.xaxis.get_majorticklocs()), list(axes.yaxis.get_majorticklocs()), width


def _place(figure: Figure, panels: list[Axes], room: NDArray[np.float64], renderer: RendererBase) -> None:
    """Panels in what `_room` (panel, what) leaves of the figure."""
    specs = [_spec(ax) for ax in panels]
    columns, rows = [s.colspan.start for s in specs], [s.rowspan.start for s in specs]
    grid = specs[0].get_gridspec()
    n_rows, n_columns = grid.get_geometry()
    ratios = np.array(grid.get_height_ratios(), dtype=np.float64)
    sides = [np.zeros(n) for n in (n_columns, n_columns, n_rows, n_rows)]  # the widest of a column or row
    for side, where, values in zip(sides, (columns, columns, rows, rows), room.T[:4], strict=True):
        np.maximum.at(side, where, values)
    left, right, bottom, top = sides
    above, below = _outer_room(figure, renderer)
    pad, smallest = (points * figure.dpi / 72 for points in (PAD, SMALLEST))
    free_width = figure.bbox.width - (left + right + 2 * pad).sum()
    free_height = figure.bbox.height - above - below - (bottom + top + 2 * pad).sum()
    if n_columns > 1:
        longest = room[np.array(columns) == n_columns - 1, 4].max(initial=0.0)  # of the titles in the last column
        more = max(longest - free_width / n_columns - right[-1], 0.0) * n_columns / (n_columns - 1)
        right[-1] += more
        free_width -= more
    width = max(free_width / n_columns, smallest)
    height = np.maximum(free_height * ratios / ratios.sum(), smallest)
    x = np.cumsum(left + right + 2 * pad + width) - width - right - pad
    y = figure.bbox.height - above - np.cumsum(bottom + top + 2 * pad + height) + bottom + pad
    for ax, row, column in zip(panels, rows, columns, strict=True):
        place = Bbox.from_bounds(x[column], y[row], width, height[row])
        ax.set_position(place.transformed(figure.transFigure.inverted()))
        ax.set_in_layout(True)  # set_position takes it out


def _outer_room(figure: Figure, renderer: RendererBase) -> tuple[float, float]:
    """Pixels at the top and at the bottom that the figure's own texts and legends take."""
    height, above, below = figure.bbox.height, 0.0, 0.0
    for artist in (*figure.texts, *figure.legends):
        extent = artist.get_window_extent(renderer)
        if extent.y0 + extent.y1 > height:
            above = max(above, height - extent.y0)
        else:
            below = max(below, extent.y1)
    return above, below


def _spec(axes: Axes) -> SubplotSpec:
    spec = axes.get_subplotspec()
    assert spec is not None, "only those that have one are placed"
    return spec


def _room(figure: Figure, axes: Axes, renderer: RendererBase) -> NDArray[np.float64]:
    """Pixels (left, right, bottom, top) that labels, texts and insets take around a panel; places its labels.

    A fifth number is how far from the panel's left edge a title on the left reaches; the first four leave that out.
    """
    axes.apply_aspect()
    box = axes.get_window_extent()
    reach = 0.0
    taken: list[BboxBase] = [box, *(inset.get_tightbbox(renderer) or box for inset in axes.child_axes)]
    if axes.axison:
        taken += [_axis_extent(figure, axis, box, renderer) for axis in (axes.xaxis, axes.yaxis)]
    for child in axes.get_children():
        if isinstance(child, Text) and child.get_visible() and child.get_text():
            extent = child.get_window_extent(renderer)
            taken.append(Bbox([[box.x0, extent.y0], [box.x1, extent.y1]]))
            if child.get_horizontalalignment() == "left":  # of others it depends on the panel's width
                reach = max(reach, extent.x1 - box.x0)
    around = Bbox.union(taken)
    return np.array([box.x0 - around.x0, around.x1 - box.x1, box.y0 - around.y0, around.y1 - box.y1, reach])


def _axis_extent(figure: Figure, axis: Axis, box: Bbox, renderer: RendererBase) -> BboxBase:
    """What the numbers and the label of an axis take; the label is placed beyond the numbers."""
    if axis.get_label_position() not in ("bottom", "left"):
        return axis.get_tightbbox(renderer) or box
    label, below = axis.label, isinstance(axis, XAxis)
    # At a place of its own, or matplotlib would look for one each time that it measures or draws the axis.
    x, y = label.get_position()
    axis.set_label_coords(x, y)
    shown = label.get_visible()
    label.set_visible(False)
    numbers = Bbox.union([box, axis.get_tightbbox(renderer) or box])
    label.set_visible(shown)
    depth = box.y0 - numbers.y0 if below else box.x0 - numbers.x0
    depth = max(depth, axis.get_tick_padding() * figure.dpi / 72)
    if shown and label.get_text():
        depth += axis.labelpad * figure.dpi / 72
        away = depth / figure.dpi  # inches, whatever resolution the figure is drawn in
        shift = ScaledTranslation(0 if below else -away, -away if below else 0, figure.dpi_scale_trans)
        axis.set_label_coords(x if below else 0, 0 if below else y, axis.axes.transAxes + shift)
        size = label.get_window_extent(renderer)
        depth += size.height if below else size.width
    corner = (box.x0, box.y0 - depth) if below else (box.x0 - depth, box.y0)
    return Bbox.union([numbers, Bbox([corner, (box.x1, box.y1)])])
