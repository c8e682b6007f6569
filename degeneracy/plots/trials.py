"""A picture of example trials: what goes in above, what should come out (and what does) below."""

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.core.errors import UserError, one_line
from degeneracy.plots.drawing import PLAIN_TEXT, Drawing, boxes_for_unknown_letters
from degeneracy.tasks import Task, Trials

# Okabe & Ito (2008), told apart by colour-blind readers as well; a wide pale target under a thin dark output also
# reads in grey print.
INPUT, TARGET, OUTPUT, SCORED = "#000000", "#56B4E9", "#D55E00", "#ECECEC"
MAX_INPUTS, MAX_OUTPUTS = 8, 4  # rows; with more a figure no longer fits on a screen


def trials(task: Task, batch: Trials, outputs: Tensor | None = None, n_trials: int = 3, member: int = 0) -> Figure:
    """Draw the first trials of one member: one column per trial, one row per channel, inputs above, targets below.

    Where an output is judged is shaded. Steps that are no part of the trial are left out, and so are targets where they
    do not count in the loss. Outputs are drawn as what they say of the targets: a logit as a chance. The first 8 inputs
    and the first 4 outputs are shown, and the title says so when there are more.

    Args:
        task: names the channels and the unit of time.
        batch: trials of that task.
        outputs: (member, trial, time, out), drawn over the targets.
        n_trials: columns; fewer if there are fewer trials.
        member: whose trials, by position.

    Returns:
        A figure of its own, outside of pyplot: show it in a notebook or save it with `savefig`.

    Raises:
        UserError: the trials or outputs are not of this task, or there is no such member.
    """
    _check(task, batch, outputs, n_trials, member)
    with mpl.rc_context(PLAIN_TEXT), boxes_for_unknown_letters():
        predicted = None if outputs is None else task.loss.predict(outputs)
        return _trials_figure(task, batch, predicted, min(n_trials, batch.n_trials), member)


def _trials_figure(task: Task, trials: Trials, outputs: Tensor | None, n_columns: int, member: int) -> Drawing:
    n_in, n_out = min(task.input_size, MAX_INPUTS), min(task.output_size, MAX_OUTPUTS)
    figure = Drawing(figsize=(1.6 + 2.9 * n_columns, 1.3 + 0.75 * (n_in + n_out)), layout="constrained")
    axes = figure.subplots(n_in + n_out, n_columns, sharex=True, sharey="row", squeeze=False)
    # One edge more than steps: a step lasts from its own time to the next.
    edges = np.asarray(task.step_size * np.arange(trials.inputs.shape[2] + 1), dtype=np.float64)
    for trial, column in enumerate(axes.T):
        column[0].set_title(f"trial {trial + 1}", fontsize=10)
        column[-1].set_xlabel(f"time ({task.step_unit})")
        valid = _array(trials.valid[member, trial])
        scored, counts = (_by_output(x[member, trial], n_out) for x in (trials.scored, trials.loss_weights > 0))
        for k in range(n_in):
            _draw(column[k], edges, _array(trials.inputs[member, trial, :, k]), valid, INPUT)
        for k in range(n_out):
            axis = column[n_in + k]
            _shade(axis, edges, scored[:, k])
            _draw(axis, edges, _array(trials.targets[member, trial, :, k]), valid * counts[:, k], TARGET, 3.0)
            if outputs is not None:
                _draw(axis, edges, _array(outputs[member, trial, :, k]), valid, OUTPUT)
    _label(figure, axes, task, (n_in, n_out), has_outputs=outputs is not None)
    return figure


def _check(task: Task, trials: Trials, outputs: Tensor | None, n_trials: int, member: int) -> None:
    sizes = (trials.inputs.shape[-1], trials.targets.shape[-1])
    if sizes != (task.input_size, task.output_size):
        raise UserError(
            f"trials: the trials have {sizes[0]} inputs and {sizes[1]} outputs, but {task.name} has "
            f"{task.input_size} and {task.output_size}"
        )
    if outputs is not None and outputs.shape != trials.targets.shape:
        raise UserError(
            f"trials: outputs of shape {tuple(outputs.shape)} do not answer trials of shape "
            f"{tuple(trials.targets.shape)} (member, trial, time, out)"
        )
    if not 0 <= member < trials.inputs.shape[0]:
        raise UserError(f"trials: member = {member} must be from 0 to {trials.inputs.shape[0] - 1}")
    if n_trials < 1:
        raise UserError(f"trials: n_trials = {n_trials} must be at least 1")


def _array(x: Tensor) -> NDArray[np.float64]:
    return x.detach().cpu().numpy().astype(np.float64)


def _by_output(x: Tensor, n_out: int) -> NDArray[np.float64]:
    """What holds of a trial's steps (time,), or of outputs (time, out), of the first outputs: (time, output)."""
    return _array(x.unsqueeze(-1).expand(-1, n_out) if x.ndim == 1 else x[:, :n_out])


def _draw(
    axis: Axes,
    edges: NDArray[np.float64],
    values: NDArray[np.float64],
    valid: NDArray[np.float64],
    color: str,
    width: float = 1.2,
) -> None:
    """One channel as a staircase: what holds during each step."""
    values = np.where(valid > 0, values, np.nan)
    axis.step(edges, np.append(values, values[-1]), where="post", color=color, linewidth=width)


def _shade(axis: Axes, edges: NDArray[np.float64], scored: NDArray[np.float64]) -> None:
    """Grey behind the scored steps."""
    height = np.append(scored, scored[-1])
    axis.fill_between(
        edges,
        0,
        height,
        step="post",
        transform=axis.get_xaxis_transform(),
        color=SCORED,
        linewidth=0,
        zorder=0,
    )


def _label(figure: Figure, axes: NDArray[np.object_], task: Task, shown: tuple[int, int], *, has_outputs: bool) -> None:
    """Names of the channels at the left, title with what is not shown, and the legend."""
    names = (*task.input_names[: shown[0]], *task.output_names[: shown[1]])
    for k, (row, name) in enumerate(zip(axes, names, strict=True)):
        row[0].set_ylabel(one_line(name), rotation=0, ha="right", va="center", fontsize=9)
        for axis in row:
            axis.margins(x=0, y=0.15)
            axis.tick_params(labelsize=8, labelbottom=k == len(names) - 1)
            axis.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels(axes[:, 0])
    sizes = ((shown[0], task.input_size, "inputs"), (shown[1], task.output_size, "outputs"))
    hidden = [f"{some} of {all_} {kind}" for some, all_, kind in sizes if some < all_]
    figure.suptitle(one_line(task.name) + (f" (shown: {', '.join(hidden)})" if hidden else ""), fontsize=11)
    handles: list[Artist] = [
        Line2D([], [], color=INPUT, linewidth=1.2, label="input"),
        Line2D([], [], color=TARGET, linewidth=3.0, label="target"),
        Patch(color=SCORED, label="scored steps"),
    ]
    if has_outputs:
        handles.insert(2, Line2D([], [], color=OUTPUT, linewidth=1.2, label="output"))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )
