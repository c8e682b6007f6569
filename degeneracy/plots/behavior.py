"""Figures of behavior out of distribution."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from degeneracy.analysis.behavior.measures import ERRORS
from degeneracy.core.errors import UserError
from degeneracy.measuring.results import Result
from degeneracy.plots.style import (
    condition_axis,
    condition_colours,
    condition_key,
    label_outer,
    legend_below,
    log_y,
    marker,
    panels,
    results_of,
    spread,
    styled,
)
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.conditions import condition_title
from degeneracy.wording.losses import loss_axis
from degeneracy.wording.names import variant_name


@styled
def ood_errors(study: StudyResult | Result) -> Figure:
    """Every network's error, the task's mean loss, on each task variant; the line is the median, the spread degeneracy.

    With several conditions one panel per variant, with one condition all variants in one panel.

    Raises:
        UserError: no condition holds the errors of its networks.
    """
    results = tuple(result for result in results_of(study) if member_errors(result))
    if not results:
        raise UserError("OOD errors: no condition holds the errors of its networks on task variants")
    variants = list(dict.fromkeys(name for result in results for name in member_errors(result)))
    if len(results) == 1:
        return _one_condition(results[0], variants)
    figure, axes = panels(len(variants), 3, height=1.75, extra=0.25, share=True)
    colours = condition_colours(len(results))
    for ax, variant in zip(axes, variants, strict=True):
        for k, result in enumerate(results):
            _strip(ax, k, member_errors(result).get(variant, np.zeros(0)), colours[k], marker(k))
        condition_axis(ax, results)
        ax.set_title(variant_name(variant))
    _same_limits(axes, [e for result in results for e in member_errors(result).values()])
    for ax in axes[::3]:
        ax.set_ylabel(loss_axis(results))
    label_outer(axes, 3, same_y=True)
    condition_key(figure, axes[0], results)
    legend_below(figure, axes[:1])
    return figure


def member_errors(result: Result) -> dict[str, np.ndarray]:
    """Errors of each member (member,) by task variant; empty where none were measured."""
    for found in result.measured.values():
        errors = {key[len(ERRORS) :]: a for key, a in found.arrays.items() if key.startswith(ERRORS)}
        if errors:
            return errors
    return {}


def _one_condition(result: Result, variants: list[str]) -> Figure:
    figure, (ax,) = panels(1, 1, height=2.6)
    figure.set_size_inches(6.7 if len(variants) > 4 else 4.8, 2.6)
    errors = member_errors(result)
    for k, (variant, colour) in enumerate(zip(variants, condition_colours(len(variants)), strict=True)):
        _strip(ax, k, errors[variant], colour, marker(k))
    ax.set_xticks(range(len(variants)), [variant_name(v).replace(" ", "\n", 1) for v in variants])
    ax.set_xlim(-0.6, len(variants) - 0.4)
    _same_limits([ax], errors.values())
    ax.set_ylabel(loss_axis([result]))
    ax.set_title(condition_title(result, 60))
    return figure


def _strip(axes: Axes, place: int, values: np.ndarray, colour: str, shape: str) -> None:
    """One point per member, with the median as a line."""
    positive = np.where(values > 0, values, np.nan)
    axes.plot(place + spread(len(values)), positive, shape, color=colour, ms=3.5, alpha=0.7, mew=0, rasterized=True)
    if np.isfinite(positive).any():
        axes.hlines(np.nanmedian(positive), place - 0.38, place + 0.38, color="black", lw=1.2, zorder=4)


def _same_limits(axes: Iterable[Axes], errors: Iterable[np.ndarray]) -> None:
    """One logarithmic axis for all panels, so that variants can be compared."""
    values = np.concatenate([np.ravel(e) for e in errors])
    values = values[np.isfinite(values) & (values > 0)]
    for ax in axes:
        log_y(ax)
        if len(values):
            ax.set_ylim(values.min() / 1.6, values.max() * 1.6)
