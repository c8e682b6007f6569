"""A measure of one's own: how differently networks are active. One class says all about it; nothing else is touched.

The floor is what a network differs from itself, the reference the same networks before training: see `calibrated`.
"""

from typing import ClassVar

import numpy as np

import degeneracy as dg
from degeneracy.analysis import Measured
from degeneracy.analysis.activity import of_active_members
from degeneracy.analysis.measure import PERMUTATION, ROTATION, SIGNS, Level
from degeneracy.analysis.statistics.by_name import finding
from degeneracy.analysis.statistics.jackknife import member_mean, pair_mean


class ActivityDifference(dg.Measure):
    """Difference of two networks' root mean squared activity."""

    name: ClassVar[str] = "activity_difference"
    title: ClassVar[str] = "Activity difference"
    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    meaning: ClassVar[str] = "how differently active networks are: difference of their rms hidden states"
    methods: ClassVar[str] = "Activity is the root mean squared hidden state over probe trials, steps and units."
    zero: ClassVar[str] = "equally active networks"
    floor: ClassVar[str] = "the same network on two halves of the trials"
    reference: ClassVar[str] = "the same networks before training"
    source: ClassVar[str] = "this example"
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)

    @of_active_members("rms")  # a network whose states do not vary is named, in place of a number
    def __call__(self, recording):
        """The mean over pairs of networks, with the distances that it is the mean of."""
        rms, before = [np.sqrt(np.mean(x**2)) for x in recording.states], recording.untrained
        halves = [np.sqrt(np.mean(x[::2] ** 2)) - np.sqrt(np.mean(x[1::2] ** 2)) for x in recording.states]
        ends = {"floor": member_mean(np.abs(halves))}
        if before is not None and before.states is not None:
            ends["reference"] = pair_mean(self(before).distances["rms"])
        apart = np.abs(np.subtract.outer(rms, rms))
        return Measured(findings=(finding("rms", "pair_mean", apart, of="rms", **ends),), distances={"rms": apart})


def main() -> None:
    """Check the measure, then measure two conditions with it."""
    dg.checks.check_measure(ActivityDifference())
    training = dg.Training(batch_size=16, steps_per_epoch=8, max_epochs=1, patience=0)
    for channels in (1, 2):
        task = dg.tasks.FlipFlop(channels=channels, n_steps=20, threshold=10.0)  # any network will do here
        ensemble = dg.train(task, dg.Network(hidden_size=8), training, seeds=range(16), jobs=1, progress=False)
        result = dg.measure(ensemble, task, measures=[ActivityDifference], probe=dg.Probe(n_trials=128))
        print(result.table[["measure", "value", "floor", "reference", "calibrated", "note"]].to_string(index=False))


if __name__ == "__main__":
    main()
