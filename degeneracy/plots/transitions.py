"""A figure of the fixed-point graph: which pulse leads from which attractor to which, of one typical network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch
from numpy.typing import NDArray

from degeneracy.analysis.dynamics.attractors.graph_measure import FixedPointGraph, node_labels
from degeneracy.analysis.dynamics.attractors.under_inputs import arrays_under, inputs_of, of_input
from degeneracy.analysis.recording import Array
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.measuring.results import Result
from degeneracy.plots.states import principal_axes
from degeneracy.plots.style import COLOURS, GREY, WIDTH, legend_below, panels, styled
from degeneracy.wording.conditions import short

MAX_NODES = 32  # more have no room on a page
SAME = 1e-9  # distances of graphs under this are rounding
LETTER, LINE = 6.2, 7.0  # points: the width of a letter of a label, and half of the height of its lines
LEAST_SIDE, ROOM_SIDE = 250.0, 400.0  # points: of the square that attractors stand in, at the least and at the most
LEGEND_LINE = 0.17  # inches: the height of a line of the legend
# The directions of up to four outputs, where attractors stand by them: no two sums of some of them are close.
OUTPUTS = ((1.0, 0.0), (0.0, 1.0), (0.42, 0.34), (-0.2, 0.5))
CURVES = (0.13, 0.26, 0.39)  # of arrows that lead the same way
SOLID, DASHED, DOTTED = "-", (0, (3.5, 1.6)), (0, (1, 1.3))


@dataclass(frozen=True, kw_only=True)
class _Node:
    label: str
    period: float
    position: Array  # (state,): the mean over its phases

    @property
    def text(self) -> str:
        """What stands in it."""
        said = short(self.label.replace("-", "−"), 15)
        return said if self.period == 1 else f"{said}\nperiod {self.period:.3g}"

    @property
    def radius(self) -> float:
        """Points from its middle to its edge."""
        return LINE + LETTER / 2 * max(map(len, self.text.split("\n")))


@styled
def transition_graph(result: Result, held_input: str = "") -> Figure:
    """The attractors of the most typical network under a constant input, and which pulse leads from which to which.

    The network is the one whose graph has the least mean distance to those of the others. Circles are stable points,
    boxes stable cycles with their period in steps, both labelled by the sign of each output. An arrow has the colour of
    its pulse, and is as thick as the share of a cycle's phases from which it leads there; a pulse that leads back to
    where it was given is not drawn. Attractors stand by the first two principal components of their states; where they
    would cover one another there, by what the outputs say; else on a circle.

    Args:
        result: with a measured fixed-point graph.
        held_input: the name of the constant input that attractors were searched under; "" for the first.

    Raises:
        UserError: no graph, none under this input, or one of more attractors than there is room for.
    """
    where = f"transition graph: condition '{result.condition}'"
    measured = result.measured.get(FixedPointGraph.name)
    under = inputs_of(measured.arrays, "node_readout") if measured else []
    if held_input and held_input not in under:
        raise unknown_name("held input", held_input, under, where=where)
    name = held_input or next(iter(under), "")
    distances = measured.distances.get(of_input("graph", name)) if measured else None
    if measured is None or distances is None or not under:
        raise UserError(f"{where} has no graphs of attractors")
    arrays, member = arrays_under(measured.arrays, name), medoid(distances)
    nodes, moves = _graph_of(arrays, member)
    if not 1 <= len(nodes) <= MAX_NODES:
        raise UserError(f"{where} has {len(nodes)} attractors in a network, of which 1 to {MAX_NODES} can be drawn")
    places, by = _places(nodes, moves)
    x, y = _limits(nodes, places)
    figure, [ax] = panels(1, 1, height=np.ptp(y) / 72, extra=0.45)
    figure.set_figwidth(min(WIDTH, np.ptp(x) / 72))
    _draw(ax, nodes, places, moves, arrays["pulse"])
    ax.set(xlim=x, ylim=y, aspect="equal")
    ax.set_axis_off()
    n_same, n = int((distances[member] <= SAME).sum()), len(distances)
    ax.set_title(f"network {result.measured_members[member]}{by}\nthe same graph in {n_same} of {n} networks")
    n_lines = legend_below(figure, [ax])
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * n_lines)
    return figure


def medoid(distances: Array) -> int:
    """The member with the least mean distance to the others, of several the first; NaN is left out."""
    others = np.where(np.eye(len(distances), dtype=bool), np.nan, distances)
    counts = np.isfinite(others).sum(axis=1)
    mean = np.where(counts > 0, np.nansum(others, axis=1) / np.maximum(counts, 1), np.inf)
    return int(np.argmin(np.round(mean, 9)))


def _graph_of(arrays: Mapping[str, NDArray[Any]], member: int) -> tuple[list[_Node], NDArray[Any]]:
    """The attractors of a member, and its transitions (transition, [pulse, from, to, share]) between two of them.

    One that leads to no attractor has the number of attractors as its end.
    """
    nodes = []
    for (k, node), label in node_labels(arrays).items():
        if k == member:
            mine = (arrays["node_member"] == member) & (arrays["node"] == node)
            position = arrays["node_position"][mine].mean(axis=0)
            nodes.append(_Node(label=label, period=float(arrays["node_period"][mine][0]), position=position))
    mine = arrays["transition_member"] == member
    moves = np.stack([arrays[f"transition_{name}"][mine] for name in ("pulse", "from", "to", "share")], axis=1)
    moves[moves[:, 2] < 0, 2] = len(nodes)
    return nodes, moves[moves[:, 1] != moves[:, 2]]


def _places(nodes: Sequence[_Node], moves: NDArray[Any]) -> tuple[Array, str]:
    """Where the attractors stand, in points; and by what, in words. Where moves lead elsewhere, that is the last."""
    n = len(nodes)
    ends = {(int(min(a, b)), int(max(a, b))) for a, b in moves[:, 1:3] if max(a, b) < n}
    radii = np.array([node.radius for node in nodes])
    for way, places in _ways(nodes):
        size = np.ptp(places, axis=0).max()
        for side in np.linspace(LEAST_SIDE, ROOM_SIDE, 4) if size > 0 else ():
            if not _covered(side * places / size, radii, ends):
                return _with_elsewhere(side * places / size, moves), f", by {way}"
    angles = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    side = np.clip(2.9 * radii.max() * n / np.pi, LEAST_SIDE, ROOM_SIDE) if n > 1 else 0.0
    places = np.empty((n, 2))
    places[_order(n, ends)] = side / 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _with_elsewhere(places, moves), ", on a circle" if n > 1 else ""


def _ways(nodes: Sequence[_Node]) -> Iterator[tuple[str, Array]]:
    """Where attractors may stand, in any unit, and by what."""
    positions = np.stack([node.position for node in nodes])
    mean, directions, _ = principal_axes(positions)
    yield "principal components", (positions - mean) @ directions.T
    if all(node.period == 1 for node in nodes) and len(nodes[0].label) <= len(OUTPUTS):
        signs = np.array([["-0+".index(sign) - 1.0 for sign in node.label] for node in nodes])
        yield "outputs", signs @ np.array(OUTPUTS)[: signs.shape[1]]


def _with_elsewhere(places: Array, moves: NDArray[Any]) -> Array:
    if not (moves[:, 2] == len(places)).any():
        return places
    return np.vstack([places, [places[:, 0].mean(), places[:, 1].min() - 70.0]])


def _covered(places: Array, radii: Array, ends: set[tuple[int, int]]) -> bool:
    """Whether two attractors nearly touch, or the line between two of `ends` runs over a third."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    if any(apart[i, j] < 1.3 * (radii[i] + radii[j]) for i, j in combinations(range(len(places)), 2)):
        return True
    for i, j in ends:
        along = (places[j] - places[i]) / apart[i, j]
        steps = np.clip((places - places[i]) @ along, 0, apart[i, j])
        beside = np.linalg.norm(places - places[i] - steps[:, None] * along, axis=1) < radii + 3
        if beside.sum() > 2:
            return True
    return False


def _order(n_nodes: int, ends: set[tuple[int, int]]) -> NDArray[np.int64]:
    """Which attractor stands at each place of a circle: of orders that turn or swap a part, none has shorter lines."""
    order = np.arange(n_nodes)
    steps = abs(np.arange(n_nodes)[:, None] - np.arange(n_nodes))
    lines = np.sin(np.pi * steps / n_nodes)

    def length(tried: NDArray[np.int64]) -> float:
        place = np.argsort(tried)
        return float(sum(lines[place[i], place[j]] for i, j in ends))

    best, better = length(order), True
    while better:
        better = False
        for i, j in combinations(range(n_nodes), 2):
            turned, swapped = order.copy(), order.copy()
            turned[i : j + 1] = order[i : j + 1][::-1]
            swapped[[i, j]] = order[[j, i]]
            for tried in (turned, swapped):
                if length(tried) < best - SAME:
                    order, best, better = tried, length(tried), True
    return order


def _looks(pulses: Array) -> list[dict[str, Any]]:
    """Colour and line of every pulse: one that is the opposite of another has its colour, and is dashed."""
    looks: list[dict[str, Any]] = []
    n_colours = 0
    for k, pulse in enumerate(pulses):
        opposite = next((j for j in range(k) if np.array_equal(pulses[j], -pulse)), None)
        if opposite is not None:
            looks.append({**looks[opposite], "linestyle": DASHED})
        else:
            line = SOLID if n_colours < len(COLOURS) else DOTTED
            looks.append({"color": COLOURS[n_colours % len(COLOURS)], "linestyle": line})
            n_colours += 1
    return looks


def _draw(ax: Axes, nodes: Sequence[_Node], places: Array, moves: NDArray[Any], pulses: Array) -> None:
    looks = _looks(pulses)
    shapes = [_shape(node, place) for node, place in zip(nodes, places, strict=False)]
    shapes += [_box("elsewhere", place, fc="white", ec="none") for place in places[len(nodes) :]]
    for text, colour, shape, place in zip(
        [*(node.text for node in nodes), "elsewhere"], ["black"] * len(nodes) + [GREY], shapes, places, strict=False
    ):
        ax.add_patch(shape)
        ax.text(place[0], place[1], text, ha="center", va="center_baseline", color=colour, zorder=4, linespacing=1.1)
    drawn: dict[tuple[int, int], int] = {}
    for pulse, *pair, share in moves:
        start, end = int(pair[0]), int(pair[1])
        before = drawn.get((start, end), 0)
        drawn[start, end] = before + 1
        arrow = FancyArrowPatch(
            places[start],
            places[end],
            arrowstyle="-|>",
            connectionstyle=f"arc3,rad={CURVES[min(before, len(CURVES) - 1)]}",
            patchA=shapes[start],
            patchB=shapes[end],
            mutation_scale=9,
            shrinkA=2,
            shrinkB=2,
            lw=0.5 + 0.9 * share,
            zorder=2,
            **looks[int(pulse)],
        )
        ax.add_patch(arrow)
    for pulse in sorted(set(moves[:, 0].astype(int).tolist())):
        values = ", ".join(f"{value + 0.0:g}".replace("-", "−") for value in pulses[pulse])
        ax.add_line(Line2D([], [], lw=1.4, label=f"pulse ({values})", **looks[pulse]))


def _shape(node: _Node, place: Array) -> Patch:
    """A circle of a stable point, a box of a cycle."""
    if node.period == 1:
        return Circle((place[0], place[1]), node.radius, fc="#f1f1ee", ec="black", lw=0.9, zorder=3)
    return _box(node.text, place, fc="white", ec="black", lw=1.8)


def _box(text: str, place: Array, **how: Any) -> Patch:
    lines = text.split("\n")
    width, height = LETTER * max(map(len, lines)), 2 * LINE * len(lines)
    corner = place[0] - width / 2, place[1] - height / 2
    return FancyBboxPatch(corner, width, height, boxstyle="round,pad=2,rounding_size=4", zorder=3, **how)


def _limits(nodes: Sequence[_Node], places: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    """How far the drawing reaches, across and up, in points; arrows that are bent reach over the places."""
    edge = max(node.radius for node in nodes) + 6.0
    bent = 0.04 * np.ptp(places, axis=0).max()
    (left, low), (right, high) = places.min(axis=0) - edge - bent, places.max(axis=0) + edge + bent
    beside = max(0.6 * WIDTH * 72 - (right - left), 0.0) / 2  # room for title and legend
    return (float(left - beside), float(right + beside)), (float(low), float(high))
