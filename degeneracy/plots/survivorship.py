"""Figures that tell a difference in solutions from a difference in who survived training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from degeneracy.analysis.statistics.jackknife import interval
from degeneracy.core.errors import UserError
from degeneracy.measuring.results import Result
from degeneracy.plots.style import condition_colours, legend_below, marker, panels, results_of, styled
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.conditions import condition_title
from degeneracy.wording.names import distance_unit, full_name, with_unit


def shares_differ(results: Sequence[Result]) -> bool:
    """Whether the share of networks that converged is not the same in all conditions."""
    return len({result.n_converged / result.n_members for result in results}) > 1


def draw_against_convergence(axes: Axes, results: tuple[Result, ...], measure: str, variant: str) -> None:
    """A measure's value with its interval against the share of networks that converged, one point per condition."""
    unit = ""
    for k, (result, colour) in enumerate(zip(results, condition_colours(len(results)), strict=True)):
        for finding in result.measured[measure].findings if measure in result.measured else ():
            if finding.variant == variant:
                unit = finding.unit
                share = 100 * result.n_converged / result.n_members
                low, high = interval(finding.value, finding.scale)
                axes.plot([share, share], [low, high], color=colour, lw=1.2)
                axes.plot(share, finding.value.value, marker(k), color=colour, label=condition_title(result))
    axes.set_xlabel("networks converged (%)")
    axes.set_xlim(-5, 105)
    axes.set_ylabel(with_unit("value", unit))


@styled
def distance_against_updates(study: StudyResult | Result) -> Figure:
    """Each network's mean distance to the others against the updates it needed.

    If late networks stand farther from the others than early ones, those that never converged might have stood
    farther still, and leaving them out makes a condition look more alike than it is.

    Raises:
        UserError: no level has a pairwise distance of members whose updates are known.
    """
    results = results_of(study)
    chosen = [(m, v) for m, v in primaries(study, measured=True).values() if any(m in r.distances for r in results)]
    if not chosen or not any(len(_updates(r)) for r in results):
        raise UserError("distance against updates: no pairwise distance of networks with a known number of updates")
    figure, axes = panels(len(chosen), 2, height=2.3, extra=0.35)
    for ax, (measure, variant) in zip(axes, chosen, strict=True):
        drawn = _of_pairs(results, measure, variant)
        for k, (result, colour) in enumerate(zip(results, condition_colours(len(results)), strict=True)):
            matrix = _matrix(result, measure, drawn)
            updates = _updates(result)
            if matrix is None or not len(updates):
                continue
            others = np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)
            mean = np.nansum(others, axis=1) / np.maximum(np.isfinite(others).sum(axis=1), 1)
            ax.plot(
                updates, mean, marker(k), color=colour, ms=4, alpha=0.75, mew=0, label=condition_title(result),
                rasterized=True,
            )  # fmt: skip
        unit = next((distance_unit(r.measured[measure], drawn) for r in results if measure in r.measured), "")
        ax.set_xlabel("updates")
        ax.set_ylabel(with_unit("mean distance", unit))
        ax.set_title(full_name(measure, drawn))
    legend_below(figure, axes)
    return figure


def _of_pairs(results: Sequence[Result], measure: str, variant: str) -> str:
    """The variant whose distances are drawn: the one asked for, or the measure's first that is a distance of pairs."""
    there = [v for result in results if measure in result.measured for v in result.measured[measure].distances]
    return variant if variant in there else there[0]


def _matrix(result: Result, measure: str, variant: str) -> np.ndarray | None:
    """The distances of a measure's variant; none where the condition has no number."""
    return result.measured[measure].distances.get(variant) if measure in result.measured else None


def _updates(result: Result) -> np.ndarray:
    """Updates of the measured members, in their order; empty where they are not known."""
    known = {m.label: m.n_updates for m in result.members if len(m.epoch_loss)}
    if not all(label in known for label in result.measured_members):
        return np.zeros(0)
    return np.array([known[label] for label in result.measured_members], dtype=float)
