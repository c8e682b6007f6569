"""The picture of example trials: what is drawn, what is labelled, and what is refused."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib._pylab_helpers import Gcf

from degeneracy import plots
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.plots.trials import OUTPUT, TARGET
from degeneracy.tasks import TASKS, DelayedDiscrimination, FlipFlop, SineWave, Task


@pytest.mark.parametrize("kind", TASKS.values(), ids=TASKS)
def test_every_task_is_drawn_and_labelled(kind: type[Task], tmp_path: Path) -> None:
    task = kind()
    trials = task.sample(Streams([0, 1], "data"), 4)
    figure = plots.trials(task, trials, trials.targets, n_trials=2, member=1)
    rows = min(task.input_size, 8) + min(task.output_size, 4)
    assert len(figure.axes) == 2 * rows
    left = [axis.get_ylabel() for axis in figure.axes[::2]]
    assert left == [*task.input_names[:8], *task.output_names[:4]]
    assert figure.axes[-1].get_xlabel() == f"time ({task.step_unit})"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "input",
        "target",
        "output",
        "scored steps",
    ]
    figure.savefig(tmp_path / "trials.png", dpi=50)
    assert (tmp_path / "trials.png").stat().st_size > 5000


def test_values_and_times_are_those_of_the_trials() -> None:
    task = SineWave()
    trials = task.sample(Streams([0, 1], "data"), 3)
    figure = plots.trials(task, trials, 2 * trials.targets, n_trials=3, member=1)
    axis = figure.axes[5]  # the last row's last column
    lines = {line.get_color(): line for line in axis.lines}
    # A staircase has one edge more than steps.
    assert np.allclose(lines[TARGET].get_ydata()[:-1], trials.targets[1, 2, :, 0].numpy())
    assert np.allclose(lines[OUTPUT].get_ydata()[:-1], 2 * trials.targets[1, 2, :, 0].numpy())
    assert np.allclose(lines[TARGET].get_xdata(), 0.01 * np.arange(101))


def test_scored_steps_are_shaded_and_invalid_ones_left_out() -> None:
    task = DelayedDiscrimination(delay_min=5, delay_max=5)
    trials = task.sample(Streams([0], "data"), 1)
    valid = trials.valid.clone()
    valid[:, :, 50:] = False
    figure = plots.trials(task, trials.replace(valid=valid))
    axis = figure.axes[1]
    edges = axis.collections[0].get_paths()[0].vertices
    assert edges[edges[:, 1] > 0][:, 0].min() == 20, "the response begins at 5 + 5 + 5 + 5"
    drawn = axis.lines[0].get_ydata()
    assert np.isnan(drawn[50:]).all()
    assert np.isfinite(drawn[:50]).all()
    assert not figure.axes[0].collections, "inputs are not shaded"


def test_many_channels_are_capped_and_said_so() -> None:
    task = FlipFlop(channels=20)
    figure = plots.trials(task, task.sample(Streams([0], "data"), 1))
    assert len(figure.axes) == 12
    assert figure.get_suptitle() == "flip_flop (shown: 8 of 20 inputs, 4 of 20 outputs)"


def test_pyplot_and_settings_are_left_alone() -> None:
    before = dict(dict.items(matplotlib.rcParams))  # raw: reading it through rcParams would choose a backend
    task = FlipFlop()
    plots.trials(task, task.sample(Streams([0], "data"), 1))
    assert dict(dict.items(matplotlib.rcParams)) == before
    assert not Gcf.figs, "pyplot's own list of figures"


def test_mistakes_are_refused() -> None:
    task = FlipFlop()
    trials = task.sample(Streams([0], "data"), 2)
    with pytest.raises(UserError, match="trials have 3 inputs and 3 outputs, but sine_wave has 1 and 1"):
        plots.trials(SineWave(), trials)
    with pytest.raises(UserError, match=r"outputs of shape \(1, 2, 100, 1\) do not answer"):
        plots.trials(task, trials, torch.zeros(1, 2, 100, 1))
    with pytest.raises(UserError, match="member = 1 must be from 0 to 0"):
        plots.trials(task, trials, member=1)
    with pytest.raises(UserError, match="n_trials = 0 must be at least 1"):
        plots.trials(task, trials, n_trials=0)
