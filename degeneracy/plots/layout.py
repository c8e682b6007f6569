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
MAX_ROUNDS, NEAR = 4, 0.75  # of measuring and placing, until no margin changes by so many points
SMALLEST = 9.0  # points: the side that a panel keeps where its labels leave no room


class PanelLayout(LayoutEngine):
    """Panels of one size in rows and columns, the labels of their axes, and what stands above and below them all.

    It knows axes made by `Figure.subplots` with their insets and texts, and the figure's own texts and legends. As in
    constrained layout, a title or a label may be longer than its panel; in the last column there is room for it.
    """

    _adjust_compatible = False
    _colorbar_gridspec = False

    def execute(self, fig: Figure) -> None:
        """Place panels and labels; matplotlib calls it before it draws the figure."""
        panels = [ax for ax in fig.axes if ax.get_visible() and ax.get_subplotspec() is not None]
        renderer, before = _renderer(fig), np.zeros((len(panels), 4))
        for _ in range(MAX_ROUNDS):  # the numbers at the ticks may change with the size of the panels
            margins = np.array([_margins(fig, ax, renderer) for ax in panels])
            if np.abs(margins - before).max() < NEAR * fig.dpi / 72:
                break
            _place(fig, panels, margins, renderer)
            before = margins


def _renderer(figure: Figure) -> RendererBase:
    """What measures text: the canvas's own where it draws pixels."""
    if hasattr(figure.canvas, "get_renderer"):
        return figure.canvas.get_renderer()
    return RendererAgg(figure.bbox.width, figure.bbox.height, figure.dpi)


def _place(figure: Figure, panels: list[Axes], margins: NDArray[np.float64], renderer: RendererBase) -> None:
    """Panels of one size in the room that margins (panel, side) leave; sides: left, right, bottom, top."""
    specs = [_spec(ax) for ax in panels]
    columns, rows = [s.colspan.start for s in specs], [s.rowspan.start for s in specs]
    n_rows, n_columns = specs[0].get_gridspec().get_geometry()
    sides = [np.zeros(n) for n in (n_columns, n_columns, n_rows, n_rows)]  # the widest of a column or row
    for side, where, values in zip(sides, (columns, columns, rows, rows), margins.T, strict=True):
        np.maximum.at(side, where, values)
    left, right, bottom, top = sides
    above, below = _outer_room(figure, renderer)
    pad, smallest = (points * figure.dpi / 72 for points in (PAD, SMALLEST))
    free_width = figure.bbox.width - (left + right + 2 * pad).sum()
    free_height = figure.bbox.height - above - below - (bottom + top + 2 * pad).sum()
    width, height = max(free_width / n_columns, smallest), max(free_height / n_rows, smallest)
    x = np.cumsum(left + right + 2 * pad + width) - width - right - pad
    y = figure.bbox.height - above - np.cumsum(bottom + top + 2 * pad + height) + bottom + pad
    for ax, row, column in zip(panels, rows, columns, strict=True):
        place = Bbox.from_bounds(x[column], y[row], width, height)
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


def _margins(figure: Figure, axes: Axes, renderer: RendererBase) -> NDArray[np.float64]:
    """Pixels (left, right, bottom, top) that labels, texts and insets take around a panel; places its labels."""
    axes.apply_aspect()
    box = axes.get_window_extent()
    # What a panel of fixed aspect leaves of its place, where a title finds room.
    slack = axes.get_position(original=True).x1 * figure.bbox.width - box.x1
    taken: list[BboxBase] = [box, *(inset.get_tightbbox(renderer) or box for inset in axes.child_axes)]
    if axes.axison:
        taken += [_axis_extent(figure, axis, box, renderer) for axis in (axes.xaxis, axes.yaxis)]
    for child in axes.get_children():
        if isinstance(child, Text) and child.get_visible() and child.get_text():
            extent = child.get_window_extent(renderer)
            right = max(box.x1, extent.x1 - slack) if _spec(axes).is_last_col() else box.x1
            taken.append(Bbox([[box.x0, extent.y0], [right, extent.y1]]))
    around = Bbox.union(taken)
    return np.array([box.x0 - around.x0, around.x1 - box.x1, box.y0 - around.y0, around.y1 - box.y1])


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
