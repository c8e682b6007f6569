"""A task of your own: say which of three tokens came two steps ago. Checked, trained and measured by its decisions.

Run it with `python examples/own_task.py`. In a study file the task is named as task.name = "own_task:Echo".
"""

import math
from typing import ClassVar

from torch.nn import functional

import degeneracy as dg
from degeneracy.tasks import CROSS_ENTROPY


class Echo(dg.Task):
    """Tokens and answers are one-hot; the first two steps have no answer, and count for nothing."""

    name, summary, citation = "echo", "say which token came two steps ago", "this example"
    difficulty_fields, training_defaults = ("n_steps",), {"learning_rate": 0.01, "batch_size": 32}
    loss, stop = CROSS_ENTROPY, "wrong"  # outputs are logits; the largest is the decision, by which training stops
    input_size: ClassVar[int] = 3
    output_size: ClassVar[int] = 3
    n_steps: int = 12
    threshold: float = 0.01  # of wrong decisions

    def sample(self, streams, n_trials):
        """Random tokens, and each of them two steps later."""
        tokens = functional.one_hot(streams.integers((n_trials, self.n_steps), 0, 3), 3).float()
        targets = self.solve(tokens).clamp(max=1)
        answered = targets.sum(-1) > 0  # (member, trial, time)
        return dg.Trials.of(tokens, targets, scored=answered).replace(loss_weights=answered.float())

    def solve(self, inputs):
        """The tokens two steps ago, without doubt: a logit of 20."""
        return functional.pad(20 * inputs, (0, 0, 2, 0))[:, :, : inputs.shape[2]].contiguous()

    def chance_loss(self):
        """All tokens are equally likely."""
        return math.log(3)

    def variants(self):
        """Three times as long."""
        longer = self.replace(n_steps=3 * self.n_steps)
        return {"length_3x": dg.Variant(description=f"{longer.n_steps} tokens; the same rule", sample=longer.sample)}

    def rest_input(self):
        """None: a token comes at every step."""

    def held_inputs(self):
        """Fixed points are searched under each token."""
        return {"token_0": (1.0, 0.0, 0.0), "token_1": (0.0, 1.0, 0.0), "token_2": (0.0, 0.0, 1.0)}


if __name__ == "__main__":
    dg.checks.check_task(Echo())
    training = dg.Training(steps_per_epoch=25, max_epochs=40)
    ensemble = dg.train(Echo(), dg.Network(hidden_size=24), training, seeds=range(3), jobs=1, progress=False)
    result = dg.measure(ensemble, Echo(), measures=("accuracy", "fixed_points"), probe=dg.Probe(n_trials=32))
    print(result.table[["measure", "variant", "value", "ci_low", "ci_high", "note"]].to_string(index=False))
