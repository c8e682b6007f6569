"""Figures of pairwise distances: heat-maps, maps in two dimensions with solution families, pairs by condition."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from degeneracy.analysis.measure import RESTATED
from degeneracy.analysis.recording import Array
from degeneracy.analysis.statistics.families import mds, solution_families
from degeneracy.analysis.statistics.jackknife import interval
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.measuring.results import Result
from degeneracy.plots.style import (
    COLOURS,
    GREY,
    SEQUENTIAL,
    Numbers,
    condition_axis,
    condition_colours,
    condition_key,
    label_outer,
    legend_below,
    marker,
    panels,
    results_of,
    spread,
    styled,
)
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.conditions import brief_names, short
from degeneracy.wording.names import (
    distance_unit,
    distances_of_level,
    full_name,
    joined,
    named_finding,
    short_unit,
    split,
    stacked_name,
    with_unit,
)

MAX_LABELS = 7
MAX_COLUMNS = 4


@styled
def distance_heatmaps(source: StudyResult | Result, names: Sequence[str] = ()) -> Figure:
    """Distances of all pairs of members, one panel per measure and condition; one colour scale per measure, shown once.

    Members stand in the order of an average-linkage tree of the panel's distances, so that families are blocks; the
    same across as down.

    Args:
        source: a study or one of its conditions.
        names: of pairwise distances, such as "dsa" or "dsa/driven"; all by default.

    Raises:
        UserError: no such distance.
    """
    results = results_of(source)
    names = _known(results, names)
    columns = min(len(results), MAX_COLUMNS) if len(results) > 1 else min(len(names), 3)
    cells = _cells(results, names, columns)
    figure, axes = panels(len(cells), columns, height=1.85 if columns < 4 else 1.75)
    scales = {name: _scale(results, name) for name in names}
    # Of each measure the last panel of its first row, and that row.
    explained: dict[str, tuple[int, Axes, AxesImage]] = {}
    for k, (ax, cell) in enumerate(zip(axes, cells, strict=True)):
        if cell is None:
            ax.set_visible(False)
            continue
        result, name = cell
        image = _heatmap(ax, result, name, scales[name], columns)
        ax.set_title(_panel_title(results, result, name, columns))
        row = k // columns
        if image is not None and explained.get(name, (row,))[0] == row:
            explained[name] = row, ax, image
    for name, (_, ax, image) in explained.items():
        _colour_scale(figure, ax, image, _unit_in(results, name))
    label_outer(axes, columns)
    return figure


@styled
def mds_maps(source: StudyResult | Result, names: Sequence[str] = ()) -> Figure:
    """Members as points whose distances resemble the measured ones, with the families of solutions found.

    Families differ in colour and marker. The title says how many were found and the stress of the map (0: it shows
    the distances exactly).

    Args:
        source: a study or one of its conditions.
        names: of pairwise distances; all by default.

    Raises:
        UserError: no such distance.
    """
    results = results_of(source)
    names = _known(results, names)
    columns = min(len(results), MAX_COLUMNS) if len(results) > 1 else min(len(names), 3)
    cells = _cells(results, names, columns)
    figure, axes = panels(len(cells), columns, height=2.3 if columns < 4 else 2.25)
    for ax, cell in zip(axes, cells, strict=True):
        if cell is None:
            ax.set_visible(False)
            continue
        result, name = cell
        found = _map(ax, _matrix(result, name))
        # Narrow panels: the number of families beside n, the stress below.
        joint, found = (", ", found.replace(", ", "\n")) if columns == MAX_COLUMNS else ("\n", found)
        ax.set_title(_panel_title(results, result, name, columns) + joint + found)
        unit = _unit_in(results, name)
        ax.set_xlabel(with_unit("MDS 1", unit))
        if _leftmost(ax):
            ax.set_ylabel(with_unit("MDS 2", unit))
    return figure


@styled
def pair_distances(source: StudyResult | Result, names: Sequence[str] = ()) -> Figure:
    """Distances of all pairs by condition, with their mean and its interval, floor and reference.

    Args:
        source: a study or one of its conditions.
        names: of pairwise distances; all by default.

    Raises:
        UserError: no such distance.
    """
    results = results_of(source)
    names = _known(results, names)
    if len(results) == 1:
        figure, axes = panels(len(names), 4, height=2.4, extra=0.3)
    else:
        figure, axes = panels(len(names), 2 if len(names) < 3 else 3, height=2.4, extra=0.3)
    for ax, name in zip(axes, names, strict=True):
        for k, (result, colour) in enumerate(zip(results, condition_colours(len(results)), strict=True)):
            if name in result.distances:
                _pairs(ax, k, result, name, colour)
        condition_axis(ax, results)
        if len(results) == 1:
            ax.set_xticks([0], [f"n = {results[0].n_converged}"])
            ax.set_xlabel("")
        ax.set_ylim(bottom=0)
        ax.set_title(stacked_name(*split(name)))
        ax.set_ylabel(with_unit("distance", _unit_in(results, name)))
    if len(results) > 1:
        condition_key(figure, axes[0], results)
    legend_below(figure, axes)
    return figure


def weight_distances(source: StudyResult | Result) -> Figure:
    """`pair_distances` of the measures of the weights.

    Raises:
        UserError: no pairwise distance of the weights was measured.
    """
    names = distances_of_level(results_of(source), "weights")
    if not names:
        raise UserError("weight distances: no pairwise distance of the weights was measured")
    return pair_distances(source, names)


# --- What is drawn where ---------------------------------------------------------------------------------------


def _known(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """The distances asked for, or all, each said once."""
    known = {name: None for result in results for name in result.distances}
    if not names:
        names = [
            joined(measure, variant)
            for measure in dict.fromkeys(m for result in results for m in result.measured)
            for variant in dict.fromkeys(
                v for result in results if measure in result.measured for v in result.measured[measure].distances
            )
            if not variant.endswith(RESTATED)
        ]
    for name in names:
        if name not in known:
            raise unknown_name("pairwise distance", name, known)
    if not names:
        raise UserError("distances: no pairwise distance was measured")
    return list(names)


def _cells(results: Sequence[Result], names: Sequence[str], columns: int) -> list[tuple[Result, str] | None]:
    """What stands in each panel, row by row: a measure begins a new row where there are several conditions."""
    if len(results) == 1:
        return [(results[0], name) for name in names]
    cells: list[tuple[Result, str] | None] = []
    for name in names:
        cells += [(result, name) for result in results]
        cells += [None] * (-len(results) % columns)
    return cells


def _panel_title(results: Sequence[Result], result: Result, name: str, columns: int) -> str:
    width = 78 // max(columns, 2)
    n = f"n = {result.n_converged}"
    if len(results) == 1:
        return f"{short(full_name(*split(name)), width)}\n{n}"
    measure = full_name(*split(name))
    if len(measure) > width:
        measure = stacked_name(*split(name))
    room = width - (9 if columns < MAX_COLUMNS else 3)
    number = next(k for k, one in enumerate(results) if one is result)
    condition = brief_names(results, room, break_lines=True)[number]
    if "…" in condition:  # cut, so maybe no longer its own
        condition = f"condition {number + 1}"
    return f"{measure}\n{condition} ({n})" if columns < MAX_COLUMNS else f"{measure}\n{condition}\n{n}"


def _unit_in(results: Sequence[Result], name: str) -> str:
    measure, variant = split(name)
    return next((distance_unit(r.measured[measure], variant) for r in results if measure in r.measured), "")


def _matrix(result: Result, name: str) -> Array | None:
    distances = result.distances
    if name not in distances:
        return None
    return np.maximum(distances[name], 0.0)  # roots of squares that noise was taken from may be negative: at 0


def _scale(results: Sequence[Result], name: str) -> tuple[float, float]:
    """From 0 to the largest distance of any condition."""
    values = [np.nanmax(m, initial=0.0) for r in results if (m := _matrix(r, name)) is not None and m.size]
    return 0.0, float(max(values, default=1.0)) or 1.0


# --- Heat-maps -------------------------------------------------------------------------------------------------


def _heatmap(axes: Axes, result: Result, name: str, scale: tuple[float, float], columns: int) -> AxesImage | None:
    matrix = _matrix(result, name)
    if matrix is None:
        _say(axes, "not measured")
        return None
    order = tree_order(matrix)
    shown = np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)[np.ix_(order, order)]
    axes.set_facecolor("#e4e4e4")  # the diagonal and what is not finite
    image = axes.imshow(shown, cmap=SEQUENTIAL, vmin=scale[0], vmax=scale[1], interpolation="nearest", rasterized=True)
    axes.set_anchor("W")
    labels = [result.measured_members[k] for k in order]
    every = -(-len(labels) // (MAX_LABELS if columns < 4 else MAX_LABELS - 2))
    axes.set_xticks([])
    axes.set_yticks(range(0, len(labels), every), labels[::every])
    axes.set_xlabel("network")
    if _leftmost(axes):
        axes.set_ylabel("network")
    axes.spines[["left", "bottom"]].set_visible(False)
    return image


def _colour_scale(figure: Figure, axes: Axes, image: AxesImage, unit: str) -> None:
    """Beside a square and as tall as it."""
    bar = figure.colorbar(image, cax=axes.inset_axes((1.04, 0, 0.06, 1)), format=Numbers())
    bar.outline.set_visible(False)
    bar.ax.set_xlabel(short_unit(unit), loc="left")


def tree_order(distances: Array) -> list[int]:
    """Members in the order of an average-linkage tree; their own order where a distance is not finite."""
    if len(distances) < 3 or not np.isfinite(distances).all():
        return list(range(len(distances)))
    symmetric = (distances + distances.T) / 2
    np.fill_diagonal(symmetric, 0.0)
    tree = linkage(squareform(symmetric, checks=False), "average", optimal_ordering=True)
    return [int(k) for k in leaves_list(tree)]


# --- Maps ------------------------------------------------------------------------------------------------------


def _map(axes: Axes, matrix: Array | None) -> str:
    """Draw one map; returns what to say of it."""
    if matrix is None:
        _say(axes, "not measured")
        return ""
    if not np.isfinite(matrix).all():
        _say(axes, "some distances\nare not defined")
        return ""
    # Clouds to compare with cost as n^2: fewer for large ensembles, where 199 would take most of a minute.
    picture = mds(matrix)
    families = solution_families(matrix, n_null=199 if len(matrix) <= 100 else 59)
    for k in range(families.n_families):
        own = families.labels == k
        axes.plot(
            picture.coordinates[own, 0], picture.coordinates[own, 1], marker(k), color=COLOURS[k % len(COLOURS)],
            ms=5, alpha=0.8, mec="white", mew=0.4,
        )  # fmt: skip
    half = 1.15 * float(np.abs(picture.coordinates).max(initial=0.0)) or 1.0
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    axes.set_aspect("equal", anchor="W")
    axes.locator_params(axis="y", nbins=3)
    axes.locator_params(axis="x", nbins=2)  # side by side, three would touch
    n = families.n_families
    return f"{n} {'family' if n == 1 else 'families'}, stress {picture.stress:.2f}"


def _leftmost(axes: Axes) -> bool:
    """Whether a panel begins a row, where the vertical axis is named for all."""
    place = axes.get_subplotspec()
    return place is None or place.is_first_col()


def _say(axes: Axes, text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


# --- Pairs by condition ----------------------------------------------------------------------------------------


def _pairs(axes: Axes, place: int, result: Result, name: str, colour: str) -> None:
    matrix = result.distances[name]
    upper = matrix[np.triu_indices(len(matrix), 1)]
    axes.plot(
        place + spread(len(upper), 0.5), upper, marker(place), color=colour, ms=2.5, alpha=0.35, mew=0,
        rasterized=True,
    )  # fmt: skip
    finding = named_finding(result, name)
    if finding is None:
        return
    low, high = interval(finding.value, finding.scale)
    axes.plot([place + 0.36] * 2, [low, high], color="black", lw=1.4, zorder=5)
    axes.plot(place + 0.36, finding.value.value, "o", color="black", ms=4, zorder=5, label="mean, 95% interval")
    for level, line, label in ((finding.floor, ":", "floor"), (finding.reference, "--", "reference")):
        if level is not None:
            axes.hlines(level.value, place - 0.42, place + 0.42, color=GREY, ls=line, lw=1.3, label=label)
