"""Networks trained elsewhere: leaky softplus units that excite or inhibit, trained by PyTorch on a context decision.

Run it with `python examples/pytorch_modules.py`. Nothing of the networks is this package's: their class, their training
loop and their loss are as one writes them. The task says how to draw trials, so that they can be measured.
"""

from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import root
from torch import nn
from torch.nn.functional import cross_entropy, one_hot, softplus

import degeneracy as dg
from degeneracy.tasks import CROSS_ENTROPY

UNITS, LEAK = 24, 0.2


class ContextDecision(dg.Task):
    """Two noisy streams, and a context that says which of them counts: its sign is to be named at the end."""

    name, summary, citation = (
        "context_decision",
        "name the sign of the stream that the context points at",
        "this example",
    )
    difficulty_fields, training_defaults, loss = ("n_steps",), {}, CROSS_ENTROPY
    input_size: ClassVar[int] = 4
    output_size: ClassVar[int] = 2
    n_steps: int = 20  # the longest; trials end at any step from half of it on
    threshold: float = 0.2

    def sample(self, streams, n_trials, unequal=True):
        """Streams of mean -0.5 or 0.5; what follows a trial's end is no part of it."""
        signs, context = (streams.integers((n_trials, 2), 0, 2), streams.integers((n_trials,), 0, 2))
        ends = streams.integers((n_trials, 1), self.n_steps // 2, self.n_steps) if unequal else self.n_steps - 1
        steps = torch.arange(self.n_steps, device=streams.device).expand(len(streams), n_trials, -1)
        noisy = (signs - 0.5).unsqueeze(2) + 0.5 * streams.normal((n_trials, self.n_steps, 2))
        valid, last = steps <= ends, steps == ends
        told = one_hot(context, 2).unsqueeze(2).expand(-1, -1, self.n_steps, -1)
        right = one_hot(signs.gather(2, context.unsqueeze(-1)), 2).expand(-1, -1, self.n_steps, -1)
        inputs = torch.cat([noisy, told], -1) * valid.unsqueeze(-1)
        return dg.Trials(inputs=inputs, targets=1.0 * right, loss_weights=1.0 * last, valid=valid, scored=last)

    def probe(self, streams, n_trials):
        """States are recorded on trials of one length."""
        return self.sample(streams, n_trials, unequal=False)

    def chance_loss(self):
        """Both signs are equally likely."""
        return float(np.log(2))

    def variants(self):
        """Twice as long."""
        return self.longer_trials(2)

    def held_inputs(self):
        """Fixed points are searched under each context."""
        return {"context_1": (0.0, 0, 1, 0), "context_2": (0.0, 0, 0, 1)}


class Dale(nn.Module):
    """h' = (1 - leak) h + leak softplus(|W| signs h + W_in x + b); 4 of 5 units excite."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.recurrent = nn.Parameter(torch.rand(UNITS, UNITS) / UNITS)
        self.into, self.out = nn.Linear(4, UNITS), nn.Linear(UNITS, 2)
        self.signs = torch.where(torch.arange(UNITS) < 0.8 * UNITS, 1.0, -4.0)

    def step(self, h, x):
        """The next state."""
        return (1 - LEAK) * h + LEAK * softplus(h @ (self.recurrent.abs() * self.signs).T + self.into(x))

    def forward(self, x):
        """The logits of both answers at every step."""
        h, outputs = x.new_zeros(len(x), UNITS), []
        for now in x.unbind(1):
            h = self.step(h, now)
            outputs.append(self.out(h))
        return torch.stack(outputs, 1)


def trained(network, seed):
    """Adam on the cross-entropy of the last step of each trial."""
    adam, streams = torch.optim.Adam(network.parameters(), lr=0.01), dg.Streams([seed], "data")
    for _ in range(200):
        trials = ContextDecision().sample(streams, 64)
        last = trials.scored[0]
        loss = cross_entropy(network(trials.inputs[0])[last], trials.targets[0][last])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return network


def weights(network):
    """What acts, for measures of weights."""
    acting = network.recurrent.abs() * network.signs
    return {"recurrent": acting, "input": network.into.weight, "bias": network.into.bias, "readout": network.out.weight}


def largest_miss(networks, found):
    """How far the fixed points under the first context are from the roots of the equations, by another solver."""
    misses, x = [], np.array([0.0, 0, 1, 0])
    for k, network in enumerate(networks):
        acting, into, bias = (
            weights(network)[name].detach().double().numpy() for name in ("recurrent", "input", "bias")
        )
        drive = into @ x + bias
        for point in found["position/context_1"][found["member/context_1"] == k]:
            solved = root(lambda h, w=acting, b=drive: np.logaddexp(0, w @ h + b) - h, point, tol=1e-12)
            misses.append(np.abs(solved.x - point).max())
    return max(misses)


if __name__ == "__main__":
    dg.checks.check_task(ContextDecision())
    networks = [trained(Dale(seed), seed) for seed in range(6)]
    ensemble = dg.Ensemble.from_modules(
        networks,
        initial=[Dale(seed) for seed in range(6)],
        step=lambda network, h, x: network.step(h, x),
        readout=lambda network, h: network.out(h),
        state_size=UNITS,
        input_size=4,
        weights=weights,
    )
    measures = [name for name in dg.MEASURES if name != "fixed_point_graph"]  # which takes as long as all others
    probe = dg.Probe(n_trials=32, n_dynamics_trials=128)
    result = dg.measure(ensemble, ContextDecision(), measures=measures, probe=probe)
    shown = result.table[result.table.measure.isin(["accuracy", "linear_flow", "fixed_points", "pif"])]
    print(shown[["measure", "variant", "value", "ci_low", "ci_high", "reference"]].to_string(index=False))
    print("fixed points are roots of the equations to within", largest_miss(networks, result.fixed_points))
    print(dg.report(result, "context_decision.html"))
