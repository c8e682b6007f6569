"""Figures of the dynamics in state space: trajectories and fixed points on their principal components."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from degeneracy.analysis.dynamics.attractors.census import FixedPointCensus
from degeneracy.analysis.dynamics.attractors.under_inputs import arrays_under, inputs_of
from degeneracy.analysis.recording import Array
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.measuring.results import Result
from degeneracy.plots.style import COLOURS, PALE, legend_below, marker, panels, styled

MAX_TRAJECTORIES = 12


@styled
def fixed_points(result: Result, members: Sequence[int] = (0, 1, 2), held_input: str = "") -> Figure:
    """Fixed points of some members on the first two principal components of their own states.

    Stable points are filled circles; saddles are open, a marker and colour for each number of unstable
    directions. Lines are the states of example trials. Axes are each member's own and not comparable across members.

    Args:
        result: with measured fixed points and examples.
        members: positions among the members with examples.
        held_input: the name of the constant input that they were searched under; "" for the first.

    Raises:
        UserError: no fixed points, none under this input, or no example states.
    """
    if result.examples is None or FixedPointCensus.name not in result.measured:
        raise UserError(f"fixed points: condition '{result.condition}' has no fixed points or no example states")
    under = inputs_of(result.measured[FixedPointCensus.name].arrays)
    if held_input and held_input not in under:
        raise unknown_name("held input", held_input, under, where=f"fixed points: condition '{result.condition}'")
    arrays = arrays_under(result.measured[FixedPointCensus.name].arrays, held_input or next(iter(under), ""))
    if "position" not in arrays or "member" not in arrays:
        raise UserError(f"fixed points: condition '{result.condition}' holds no positions of fixed points")
    labels = result.examples.members
    shown = [k for k in members if k < len(labels) and labels[k] in result.measured_members]
    if not shown:
        raise UserError(f"fixed points: condition '{result.condition}' has no example states of such members")
    figure, axes = panels(len(shown), 3, height=2.3 if len(shown) > 1 else 2.9, extra=0.3)
    for ax, k in zip(axes, shown, strict=True):
        position = result.measured_members.index(labels[k])
        points, index = _points_of(arrays, position)
        _phase_plane(ax, result.examples.states[k], points, index)
        ax.set_title(f"network {labels[k]}\n{int((index == 0).sum())} stable of {len(index)}")
    legend_below(figure, axes)
    return figure


def _points_of(arrays: Mapping[str, Array], member: int) -> tuple[Array, NDArray[np.int64]]:
    """Positions (point, state) and numbers of unstable directions (point,) of one member."""
    own = np.asarray(arrays["member"]).astype(int) == member
    return np.asarray(arrays["position"])[own], _index(arrays)[own]


def _index(arrays: Mapping[str, Array]) -> NDArray[np.int64]:
    """Unstable directions of every point: given, or counted from its eigenvalues; 0 if neither is there."""
    for name in ("index", "n_unstable"):
        if name in arrays:
            return np.asarray(arrays[name]).astype(np.int64)
    if "eigenvalues" in arrays:
        return (np.abs(arrays["eigenvalues"]) > 1).sum(axis=-1).astype(np.int64)
    return np.zeros(len(arrays["position"]), dtype=np.int64)


def principal_axes(states: Array) -> tuple[Array, Array, Array]:
    """Mean, first two principal directions and their shares of variance of states (trial, time, unit).

    Returns:
        Mean (unit,), directions (2, unit), shares (2,) in [0, 1].
    """
    flat = states.reshape(-1, states.shape[-1])
    mean = flat.mean(axis=0)
    _, values, directions = np.linalg.svd(flat - mean, full_matrices=False)
    total = float(np.sum(values**2)) or 1.0
    missing = max(0, 2 - len(directions))
    directions = np.pad(directions, ((0, missing), (0, 0)))
    return mean, directions[:2], np.pad(values**2 / total, (0, missing))[:2]


def _phase_plane(axes: Axes, states: Array, points: Array, index: NDArray[np.int64]) -> None:
    mean, directions, shares = principal_axes(states)
    for trial in states[:MAX_TRAJECTORIES]:
        path = (trial - mean) @ directions.T
        axes.plot(path[:, 0], path[:, 1], color=PALE, lw=0.6, zorder=1, rasterized=True)
    # An LSTM's fixed points are on [h, c]; the states, and their components, are on h.
    places = (points[:, : len(mean)] - mean) @ directions.T
    for k in sorted(set(index.tolist())):
        own = index == k
        colour = COLOURS[min(k, len(COLOURS) - 1)]
        axes.plot(
            places[own, 0], places[own, 1], marker(min(k, 6)), mfc=colour if k == 0 else "white", mec=colour,
            mew=1.2, ms=5, zorder=9 - min(k, 6), label=_kind(k),
        )  # fmt: skip
    axes.set_xlabel(f"PC 1 ({100 * shares[0]:.0f}% of variance)")
    axes.set_ylabel(f"PC 2 ({100 * shares[1]:.0f}%)")
    axes.set_aspect("equal", adjustable="datalim")


def _kind(index: int) -> str:
    if index == 0:
        return "stable"
    return f"saddle, {index} unstable" if index < 6 else "saddle, 6 or more unstable"
