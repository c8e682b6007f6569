"""The figure of the fixed-point graph: what it draws are the transitions that were measured, of a typical network."""

from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.text import Text
from synthetic import condition

import degeneracy as dg
from degeneracy import plots
from degeneracy.analysis.measure import Measured
from degeneracy.core.errors import UserError
from degeneracy.measuring.results import Result
from degeneracy.plots.transitions import medoid

N_MEMBERS = 6


def measured(arrays: dict[str, Any], distances: np.ndarray, under: str = "") -> dict[str, Measured]:
    named = {f"{name}{under}": np.asarray(value) for name, value in arrays.items()}
    return {"fixed_point_graph": Measured(findings=(), distances={f"graph{under}": distances}, arrays=named)}


def graph(nodes: list[tuple[float, list[list[int]], list[float]]], moves: list[tuple], pulses: Any) -> dict[str, Any]:
    """The arrays of members that all have these nodes (period, signs by phase, position) and transitions."""
    phases = [(k, *node) for k, node in enumerate(nodes) for _ in node[1]]
    n = len(phases)
    table = np.array([(m, *move) for m in range(N_MEMBERS) for move in moves], dtype=float)
    whole = {name: table[:, k].astype(int) for k, name in enumerate(("member", "pulse", "from", "to"))}
    return {
        "node_member": np.repeat(np.arange(N_MEMBERS), n),
        "node": np.tile([k for k, *_ in phases], N_MEMBERS),
        "node_period": np.tile([period for _, period, *_ in phases], N_MEMBERS),
        "node_readout": np.tile(np.concatenate([signs for _, signs, _ in nodes]), (N_MEMBERS, 1)),
        "node_position": np.tile(np.array([at for *_, at in phases], dtype=float), (N_MEMBERS, 1)),
        **{f"transition_{name}": values for name, values in whole.items()},
        "transition_share": table[:, 4],
        "pulse": np.asarray(pulses, dtype=float),
    }


def flip_flop(n_bits: int, *, flat: bool = False) -> dict[str, Any]:
    """All corners, and where a pulse of one bit leads from each; flat corners cover one another on two components."""
    corners = list(product((-1, 1), repeat=n_bits))
    mixing = np.random.default_rng(0).normal(size=(n_bits, 12))
    if flat:
        mixing *= 10.0 ** -np.arange(n_bits)[:, None]
    nodes = [(1.0, [list(corner)], list(np.array(corner) @ mixing)) for corner in corners]
    pulses = [sign * np.eye(n_bits)[k] for k in range(n_bits) for sign in (1, -1)]
    moves = []
    for p, pulse in enumerate(pulses):
        for start, corner in enumerate(corners):
            after = tuple(np.where(pulse == 0, corner, pulse).astype(int))
            moves.append((p, start, corners.index(after), 1.0))
    return graph(nodes, moves, pulses)


def cycles() -> dict[str, Any]:
    """Two points, a cycle of two steps and a closed curve, from which one pulse leads elsewhere in part."""
    nodes = [
        (1.0, [[1]], [2, 0, 0]),
        (1.0, [[-1]], [-2, 0.3, 0]),
        (2.0, [[1], [-1]], [0, 2, 0]),
        (23.4, [[1], [1], [-1], [-1]], [0.3, -2, 0]),
    ]
    moves = [(0, 0, 1, 1.0), (2, 0, 1, 1.0), (1, 1, 0, 1.0), (0, 2, 0, 0.5), (0, 2, 1, 0.5)]
    moves += [(1, 0, 3, 1.0), (0, 3, -1, 0.75), (0, 3, 0, 0.25)]
    return graph(nodes, moves, [[1, 0], [0, 1], [1, 1]])


SAME = np.zeros((N_MEMBERS, N_MEMBERS))
DRAWN = {
    "1 bit": flip_flop(1),
    "2 bits": flip_flop(2),
    "3 bits": flip_flop(3),
    "3 bits, flat": flip_flop(3, flat=True),
    "4 bits": flip_flop(4),
    "cycles": cycles(),
}
DEAD = graph([(1.0, [[1]], [0.0, 0.0])], [(0, 0, 0, 1.0)], [[1.0]])


def result(arrays: dict[str, Any], distances: np.ndarray = SAME, under: str = "") -> Result:
    return replace(condition(N_MEMBERS, 2), measured=measured(arrays, distances, under))


def arrows(axes: Axes) -> list[FancyArrowPatch]:
    return [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]


def labels(axes: Axes) -> dict[tuple[float, ...], str]:
    return {tuple(np.round(text.get_position(), 6)): text.get_text().replace("−", "-") for text in axes.texts}


@pytest.mark.parametrize("name", DRAWN)
def test_no_text_is_small_cut_or_covers_another(name: str) -> None:
    figure = plots.transition_graph(result(DRAWN[name]))
    FigureCanvasAgg(figure).draw()
    assert figure.get_figwidth() <= 6.7
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    assert min(text.get_fontsize() for text in texts) >= 9
    for text, box in zip(texts, boxes, strict=True):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, f"{text} is cut"
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, f"{text} is cut"
    assert not any(a.padded(-2).overlaps(b.padded(-2)) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "cycles"])
def test_attractors_stand_apart_and_their_text_is_in_them(name: str) -> None:
    figure = plots.transition_graph(result(DRAWN[name]))
    FigureCanvasAgg(figure).draw()
    circles = [patch for patch in figure.axes[0].patches if isinstance(patch, Circle)]
    for a, b in combinations(circles, 2):
        assert np.hypot(*np.subtract(a.center, b.center)) > a.radius + b.radius
    for circle, text in zip(circles, figure.axes[0].texts, strict=True):
        inside, letters = circle.get_window_extent(), text.get_window_extent()
        assert inside.x0 < letters.x0 < letters.x1 < inside.x1


@pytest.mark.parametrize("n_bits", [2, 3, 4])
def test_every_arrow_flips_the_bit_of_its_pulse_in_its_colour(n_bits: int) -> None:
    axes = plots.transition_graph(result(flip_flop(n_bits))).axes[0]
    said = labels(axes)
    assert set(said.values()) == {
        "".join("-+"[bit > 0] for bit in corner) for corner in product((-1, 1), repeat=n_bits)
    }
    legend = {line.get_label(): line for line in axes.get_lines()}
    assert len(legend) == 2 * n_bits
    assert len(arrows(axes)) == n_bits * 2**n_bits  # 24 of 3 bits: those that lead back are left out
    seen = set()
    for arrow in arrows(axes):
        start, end = (said[tuple(np.round(patch.center, 6))] for patch in (arrow.patchA, arrow.patchB))
        [bit] = [k for k in range(n_bits) if start[k] != end[k]]
        pulse = ["0"] * n_bits
        pulse[bit] = "1" if end[bit] == "+" else "−1"
        line = legend[f"pulse ({', '.join(pulse)})"]
        assert to_hex(arrow.get_edgecolor()) == to_hex(line.get_color())
        assert (arrow.get_linestyle() in ("-", "solid")) == (end[bit] == "+")
        seen.add((start, end))
    assert len(seen) == n_bits * 2**n_bits
    colours = [to_hex(line.get_color()) for line in axes.get_lines()]
    assert len(set(colours)) == n_bits  # opposite pulses share one


def test_points_and_cycles_are_told_apart_and_a_pulse_may_lead_elsewhere() -> None:
    axes = plots.transition_graph(result(cycles())).axes[0]
    said = labels(axes)
    assert set(said.values()) == {"+", "-", "(+ -)\nperiod 2", "(+ -)\nperiod 23.4", "elsewhere"}
    assert sum(isinstance(patch, Circle) for patch in axes.patches) == 2
    widths = sorted(arrow.get_linewidth() for arrow in arrows(axes))
    assert widths == pytest.approx([0.725, 0.95, 0.95, 1.175, *[1.4] * 4])  # 0.5 + 0.9 of the share of phases
    one_way = [arrow for arrow in arrows(axes) if isinstance(arrow.patchA, Circle) and isinstance(arrow.patchB, Circle)]
    assert len({arrow.get_connectionstyle().rad for arrow in one_way}) == 2  # two of them lead the same way


def test_where_components_cover_attractors_others_places_are_taken() -> None:
    def title(arrays: dict[str, Any]) -> str:
        return str(plots.transition_graph(result(arrays)).axes[0].get_title("left"))

    assert "by principal components" in title(flip_flop(2))
    assert "by outputs" in title(flip_flop(3, flat=True))
    assert "on a circle" in title(flip_flop(5))
    assert title(DEAD).startswith("network 0\n")


def test_the_network_is_the_most_typical_one_and_the_title_says_how_many_are_like_it() -> None:
    distances = np.full((N_MEMBERS, N_MEMBERS), 0.3)
    distances[2, 4] = distances[4, 2] = 0.0
    distances[1] = distances[:, 1] = np.nan
    np.fill_diagonal(distances, 0.0)
    assert medoid(distances) == 2
    assert medoid(SAME) == 0
    arrays = flip_flop(2)
    keep = arrays["transition_member"] != 2
    keep |= arrays["transition_pulse"] == 0
    arrays = {name: value[keep] if name.startswith("transition") else value for name, value in arrays.items()}
    axes = plots.transition_graph(result(arrays, distances)).axes[0]
    assert axes.get_title("left") == "network 2, by principal components\nthe same graph in 2 of 6 networks"
    assert len(arrows(axes)) == 2  # those of network 2 alone


@pytest.mark.parametrize(
    ("made", "held_input", "says"),
    [
        (replace(condition(N_MEMBERS, 2), measured={}), "", "has no graphs of attractors"),
        (result(flip_flop(6)), "", "has 64 attractors in a network, of which 1 to 32 can be drawn"),
        (result(flip_flop(2), under="/token_0"), "token_2", "unknown held input 'token_2'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(made: Result, held_input: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        plots.transition_graph(made, held_input)


def test_the_report_has_it_under_every_input_with_pulses(tmp_path: Path) -> None:
    both = {
        "fixed_point_graph": Measured(
            findings=(),
            distances={"graph/token_0": SAME, "graph/token_1": SAME},
            arrays={
                **measured(flip_flop(2), SAME, "/token_0")["fixed_point_graph"].arrays,
                **measured({**flip_flop(2), "pulse": np.zeros((0, 2))}, SAME, "/token_1")["fixed_point_graph"].arrays,
            },
        )
    }
    text = dg.report(replace(condition(N_MEMBERS, 2), measured=both), tmp_path / "one").read_text(encoding="utf-8")
    drawn = [path.name for path in (tmp_path / "one" / "figures").glob("transitions*.png")]
    assert drawn == ["transitions_token_0.png"]
    assert "Which pulse leads where, channels = 2, input token 0" in text
    dg.report(result(flip_flop(3)), tmp_path / "plain")
    assert (tmp_path / "plain" / "figures" / "transitions.svg").exists()
