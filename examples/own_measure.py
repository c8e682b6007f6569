"""A measure of one's own: how differently networks are active. One class says all about it; nothing else is touched."""

from typing import ClassVar

import numpy as np

import degeneracy as dg
from degeneracy.analysis import Measured
from degeneracy.analysis.measure import PERMUTATION, ROTATION, SIGNS, Level
from degeneracy.analysis.recording import Recording
from degeneracy.analysis.statistics.by_name import finding


class ActivityDifference(dg.Measure):
    """Difference of two networks' root mean squared activity."""

    name: ClassVar[str] = "activity_difference"
    title: ClassVar[str] = "Activity difference"
    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    meaning: ClassVar[str] = "how differently active networks are: difference of their rms hidden states"
    methods: ClassVar[str] = "Activity is the root mean squared hidden state over probe trials, steps and units."
    zero: ClassVar[str] = "equally active networks"
    source: ClassVar[str] = "this example"
    pairwise: ClassVar[bool] = True
    is_metric: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)

    def __call__(self, recording: Recording) -> Measured:
        """The mean over pairs of networks, with the distances that it is the mean of."""
        activity = np.array([np.sqrt(np.mean(states**2)) for states in recording.states or ()])
        apart = np.abs(activity[:, None] - activity)
        return Measured(findings=(finding("rms", "pair_mean", apart, of="rms"),), distances={"rms": apart})


def main() -> None:
    """Check the measure, then measure two conditions with it."""
    dg.checks.check_measure(ActivityDifference())
    training = dg.Training(batch_size=16, steps_per_epoch=8, max_epochs=1, patience=0)
    for channels in (1, 2):
        task = dg.tasks.FlipFlop(channels=channels, n_steps=20, threshold=10.0)  # any network will do here
        ensemble = dg.train(task, dg.Network(hidden_size=8), training, seeds=range(4), jobs=1, progress=False)
        result = dg.measure(ensemble, task, measures=[ActivityDifference], probe=dg.Probe(n_trials=16))
        print(result.table[["measure", "variant", "value", "ci_low", "ci_high"]].to_string(index=False))


if __name__ == "__main__":
    main()
