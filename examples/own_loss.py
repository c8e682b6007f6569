"""A loss of your own: the absolute error, by which a few large errors count less than by the square.

Run it with `python examples/own_loss.py`. A task names its loss; here a built-in task is given another.
"""

from typing import ClassVar

import torch
from torch import Tensor

import degeneracy as dg
from degeneracy.tasks import Loss


def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    """|output - target|, of each output."""
    return (outputs - targets).abs()


def absolute_slope(outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The gradient of the sum of weights times absolute errors."""
    return torch.sign(outputs - targets) * weights


ABSOLUTE = Loss(
    name="absolute",
    summary="absolute difference of outputs and targets",
    label="mean absolute error",
    unit="output unit",
    value=absolute,
    slope=absolute_slope,
)


class AbsoluteFlipFlop(dg.tasks.FlipFlop):
    """The flip-flop, trained and judged by absolute errors."""

    name: ClassVar[str] = "absolute_flip_flop"
    loss: ClassVar[Loss] = ABSOLUTE


def main() -> None:
    """Train small networks and measure them; errors are absolute ones throughout."""
    task = AbsoluteFlipFlop(channels=2, n_steps=20, threshold=0.15)
    training = dg.Training(batch_size=32, steps_per_epoch=25, max_epochs=60, learning_rate=0.01)
    ensemble = dg.train(task, dg.Network(hidden_size=16), training, seeds=range(3), jobs=1, progress=False)
    result = dg.measure(ensemble, task, measures=("ood_error_mean",), jobs=1)
    print(result.table[["variant", "value", "ci_low", "ci_high"]].to_string(index=False))


if __name__ == "__main__":
    main()
