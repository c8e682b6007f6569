"""Figures of what was trained: example trials, training curves, convergence."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from degeneracy.core.errors import UserError
from degeneracy.measuring.results import Examples, MemberSummary, Result
from degeneracy.plots.style import (
    COLOURS,
    GREY,
    PALE,
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
from degeneracy.plots.survivorship import draw_against_convergence, shares_differ
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.conditions import brief_names, condition_name
from degeneracy.wording.losses import Stop, course_name, stop
from degeneracy.wording.names import full_name

STATUS_COLOURS = {"converged": COLOURS[0], "not converged": COLOURS[4], "diverged": COLOURS[1], "given": PALE}
_ROOM = 36  # characters below a panel, two in a row
MAX_CHANNELS = 4


@styled
def example_trials(source: StudyResult | Result, n_trials: int = 2, n_members: int = 3) -> Figure:
    """A few probe trials: inputs above, targets and the outputs of some members below.

    Args:
        source: one condition, or a study, of which the last condition with converged networks is drawn.
        n_trials: shown side by side.
        n_members: whose outputs are drawn.

    Raises:
        UserError: there are no examples.
    """
    results = results_of(source)
    drawable = [one for one in results if one.examples is not None and one.examples.inputs.size]
    if not drawable:
        names = ", ".join(f"'{one.condition}'" for one in results)
        raise UserError(f"example trials: none were recorded of condition {names}")
    examples = drawable[-1].examples
    assert examples is not None
    name = f"{condition_name(drawable[-1])}, " if isinstance(source, StudyResult) else ""
    n_trials = min(n_trials, len(examples.inputs))
    members = range(min(n_members, len(examples.members)))
    n_in, n_out = (min(a.shape[-1], MAX_CHANNELS) for a in (examples.inputs, examples.targets))
    figure, axes = panels(2 * n_trials, n_trials, height=0.45 * (n_in + n_out) / 2 + 0.55, extra=0.35)
    for trial in range(n_trials):
        above, below = axes[trial], axes[n_trials + trial]
        _channels(above, examples.inputs[trial, :, :n_in], GREY, "-")
        _targets_and_outputs(below, examples, trial, members, n_out)
        above.set_title(f"{name}{'p' if name else 'P'}robe trial {trial + 1}")
        below.set_xlabel("time (steps)")
    axes[0].set_ylabel(_channel_label("input", n_in, examples.inputs.shape[-1]))
    axes[n_trials].set_ylabel(_channel_label("output", n_out, examples.targets.shape[-1]))
    legend_below(figure, axes[n_trials:])
    return figure


def _channel_label(kind: str, n_shown: int, n_all: int) -> str:
    label = f"{kind} channel" if n_shown > 1 else f"{kind} (a.u.)"
    return label if n_shown == n_all else f"{label}\n({n_shown} of {n_all})"


def _step(values: np.ndarray) -> float:
    """How far apart channels are drawn, so that they do not touch; each from its own 0, also where all are constant."""
    return 1.15 * float(max(np.nanmax(values, initial=0.0) - np.nanmin(values, initial=0.0), 1e-9))


def _channels(axes: Axes, values: np.ndarray, colour: str, line: str, step: float = 0.0, label: str = "") -> None:
    """Channels (time, channel), the first on top."""
    step = step or _step(values)
    for k in range(values.shape[-1]):
        axes.plot(values[:, k] - k * step, line, color=colour, lw=1.0, label=label if k == 0 else None)
    if values.shape[-1] > 1:
        axes.set_yticks([-k * step for k in range(values.shape[-1])], [f"{k + 1}" for k in range(values.shape[-1])])


def _targets_and_outputs(axes: Axes, examples: Examples, trial: int, members: range, n_out: int) -> None:
    target = examples.targets[trial, :, :n_out]
    step = _step(target)
    for k in members:
        label = f"network {examples.members[k]}"
        _channels(axes, examples.outputs[k, trial, :, :n_out], COLOURS[k % len(COLOURS)], "-", step, label)
    _channels(axes, target, "black", ":", step, "target")
    unscored = ~examples.scored[trial]
    if unscored.any():
        time = np.arange(len(unscored))
        axes.fill_between(
            time, 0, 1, where=unscored, transform=axes.get_xaxis_transform(), color=PALE, alpha=0.4, lw=0,
            label="not scored", step="mid",
        )  # fmt: skip


@styled
def training_curves(study: StudyResult | Result) -> Figure:
    """What every member's training was judged by against updates, one panel per condition; dashed, what stopped it.

    That is the loss, or the share of wrong decisions; on the logarithmic axis epochs without any have no place.

    Raises:
        UserError: no member has a training history.
    """
    results = [r for r in results_of(study) if any(len(m.epoch_loss) for m in r.members)]
    if not results:
        raise UserError("training curves: no network has a training history (they were trained elsewhere)")
    columns = min(3, len(results)) if len(results) <= 15 else 5
    figure, axes = panels(len(results), columns, height=2.1, extra=0.3, share=True)
    seen: dict[str, None] = {}
    room = 26 if columns <= 3 else 16  # characters over a panel
    names = brief_names(results, room, break_lines=True)
    own_line = "\n" if max(len(name.split("\n")[-1]) for name in names) > room - 9 else " "
    for ax, result, name in zip(axes, results, names, strict=True):
        for member in result.members:
            _curve(ax, member, stop(result), rasterized=len(result.members) * len(results) > 60)
            seen[member.status] = None
        if line := stop(result):
            ax.axhline(line.under, color="black", ls="--", lw=0.9)
        log_y(ax)
        ax.set_title(f"{name}{own_line}(n = {result.n_members})")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4 if columns <= 3 else 2, min_n_ticks=2))
    for ax in axes[:: min(columns, len(axes))]:
        ax.set_ylabel(textwrap.fill(course_name(results), 26))
    for ax in axes[-columns:]:
        ax.set_xlabel("updates")
    label_outer(axes, columns, same_y=True)
    for status in seen:
        axes[0].plot([], [], color=STATUS_COLOURS.get(status, GREY), label=status)
    if any(stop(result) for result in results):
        axes[0].plot([], [], color="black", ls="--", lw=0.9, label="training stops below")
    legend_below(figure, axes)
    return figure


def _curve(axes: Axes, member: MemberSummary, line: Stop | None, *, rasterized: bool) -> None:
    course = np.asarray(member.epoch_loss, dtype=float) if line is None else line.course(member)
    updates = member.steps_per_epoch * np.arange(1, len(course) + 1)
    axes.plot(
        updates, np.where(course > 0, course, np.nan), color=STATUS_COLOURS.get(member.status, GREY), lw=0.8,
        alpha=0.75, rasterized=rasterized, zorder=3 if member.status == "converged" else 2.5,
    )  # fmt: skip


@styled
def convergence(study: StudyResult | Result) -> Figure:
    """How many networks converged in each condition, and after how many updates.

    Where that share is not the same in all conditions, the primary measure of each level against it stands below:
    networks that never converge are left out, so a condition in which few do is one of survivors.
    """
    results = results_of(study)
    levels = primaries(study, measured=True) if shares_differ(results) else {}
    figure, axes = panels(2 + len(levels), 2, height=1.85 + 0.06 * max(0, len(results) - 6), extra=0.35)
    _counts(axes[0], results)
    _updates(axes[1], results)
    keyed = condition_key(figure, axes[1], results, _ROOM)
    for ax, (measure, variant) in zip(axes[2:], levels.values(), strict=True):
        draw_against_convergence(ax, results, measure, variant)
        ax.set_title(full_name(measure, variant))
    legend_below(figure, axes[:2] if keyed else axes)
    return figure


def _counts(axes: Axes, results: tuple[Result, ...]) -> None:
    """Stacked bars of the members' statuses, with the counts in words."""
    left = np.zeros(len(results))
    for status, colour in STATUS_COLOURS.items():
        counts = np.array([sum(m.status == status for m in r.members) for r in results], dtype=float)
        if counts.any():
            axes.bar(range(len(results)), counts, 0.62, bottom=left, color=colour, label=status)
            left += counts
    if len(results) <= 6:
        for k, result in enumerate(results):
            done = sum(m.status in ("converged", "given") for m in result.members)
            axes.annotate(f"{done}/{result.n_members}", (k, left[k]), (0, 2), textcoords="offset points", ha="center")
    condition_axis(axes, results, _ROOM)
    axes.set_ylim(0, 1.12 * max(left.max(), 1))
    axes.set_ylabel("networks")
    axes.set_title("Networks converged / trained")


def _updates(axes: Axes, results: tuple[Result, ...]) -> None:
    """Updates until each converged member stopped."""
    colours, highest = condition_colours(len(results)), 0.0
    for k, result in enumerate(results):
        updates = np.array([m.n_updates for m in result.members if m.status == "converged"], dtype=float)
        axes.plot(
            k + spread(len(updates)),
            updates,
            marker(k),
            color=colours[k],
            ms=3.5,
            alpha=0.7,
            mew=0,
            rasterized=True,
        )
        if len(updates):
            axes.hlines(np.median(updates), k - 0.38, k + 0.38, color="black", lw=1.2)
        highest = max(highest, updates.max(initial=0))
    condition_axis(axes, results, _ROOM)
    axes.set_ylim(0, 1.12 * highest or 1)
    axes.set_ylabel("updates")
    axes.set_title("Updates to threshold (line: median)")
