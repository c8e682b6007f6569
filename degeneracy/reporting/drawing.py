"""Figures drawn into the bytes of their files, by several processes."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from degeneracy.core.errors import UserError
from degeneracy.core.workers import Call, spread
from degeneracy.reporting.seals import NAME

PIXELS = 192  # an inch: twice a screen's 96

Plot = Callable[[], Figure]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The files of one figure."""

    png: bytes
    svg: bytes
    width: float  # inches


def drawn_figures(plots: Sequence[Plot], jobs: int) -> list[Drawn | str]:
    """What `jobs` processes draw, in the order of `plots`; for a figure that cannot be drawn a line that says why."""
    drawn: dict[int, Drawn | str] = {}
    # One call per process: with each, all that its figures show travels.
    calls = (Call(_draw, (share,), "drawing the report's figures") for share in _shares(plots, jobs))
    for some in spread(calls, jobs=min(jobs, len(plots))):
        drawn |= some
    return [drawn[k] for k in range(len(plots))]


def _shares(plots: Sequence[Plot], jobs: int) -> Iterator[dict[int, Plot]]:
    """The plots by their places, dealt out there and back, so that kinds that alternate meet in each share."""
    turn = [*range(jobs), *reversed(range(jobs))]
    for share in range(min(jobs, len(plots))):
        yield {k: plot for k, plot in enumerate(plots) if turn[k % len(turn)] == share}


def _draw(share: Mapping[int, Plot]) -> dict[int, Drawn | str]:
    return {k: _drawn(plot) for k, plot in share.items()}


def _drawn(plot: Plot) -> Drawn | str:
    with _own_garbage():
        try:
            return _files(plot())
        except UserError as error:
            return str(error)


def _files(figure: Figure) -> Drawn:
    png, svg = image_bytes(figure, "png"), image_bytes(figure, "svg")
    return Drawn(png=png, svg=svg, width=figure.get_figwidth())


@contextmanager
def _own_garbage() -> Iterator[None]:
    """Collect what a figure leaves in cycles afterwards and by itself: collections of all took a tenth of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect(0)
        if before:
            gc.enable()


def image_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of a file, the same every time; text in an SVG is drawn, so that it needs no font."""
    # The canvases themselves: savefig would draw everything twice.
    target = BytesIO()
    if kind == "png":
        figure.set_dpi(PIXELS)
        FigureCanvasAgg(figure).print_png(target, metadata={"Software": NAME})
    else:
        with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": NAME}):
            FigureCanvasSVG(figure).print_svg(target, metadata={"Creator": NAME, "Date": None})
    figure.set_layout_engine("none")  # laid out by now; once is enough for both kinds
    return target.getvalue()
