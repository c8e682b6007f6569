"""A 3-bit flip-flop ensemble trained to its threshold on both cores, wall time: ours against `nn.RNN`.

    python -m tests.benchmarks.to_threshold [--short]

16 members of 64 units by the quickstart's settings. The peer trains `nn.RNN` with `nn.Linear`, `clip_grad_norm_` and
`torch.optim.Adam` from the same initial weights on the same trials by the same stop rule, members spread over two
processes of one thread likewise. Both sides' processes are up before the clock starts.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import time
from collections.abc import Sequence

import joblib
import numpy as np
import torch
from torch import nn

from degeneracy.core.streams import Streams
from degeneracy.networks import Network, initial_params
from degeneracy.tasks import FlipFlop
from degeneracy.training import Training, train_members
from tests.benchmarks.timing import interleaved, report, versus

TASK, NETWORK = FlipFlop(channels=3, n_steps=50), Network(hidden_size=64)
TRAINING = Training(learning_rate=3e-3, batch_size=64, steps_per_epoch=10, max_epochs=500).for_task(TASK)
EASY = FlipFlop(channels=1, n_steps=10, threshold=0.2)


def train_ours(task: FlipFlop, members: int) -> list[int]:
    """Updates that each member took."""
    found = train_members(task, NETWORK, TRAINING, range(members), device="cpu", jobs=2)
    return sorted(len(member.history.loss) for member in found)


def train_peer(task: FlipFlop, members: int) -> list[int]:
    """The same with nn.RNN."""
    return sorted(joblib.Parallel(n_jobs=2, batch_size=1)(joblib.delayed(_one)(task, k) for k in range(members)))


def _one(task: FlipFlop, seed: int) -> int:
    """Train one nn.RNN; the number of updates."""
    torch.set_num_threads(1)
    rnn = nn.RNN(task.input_size, NETWORK.hidden_size, batch_first=True)
    readout = nn.Linear(NETWORK.hidden_size, task.output_size)
    drawn = {name: x[0] for name, x in initial_params(NETWORK, task.input_size, task.output_size, [seed]).items()}
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(drawn["W_rec"])
        rnn.weight_ih_l0.copy_(drawn["W_in"])
        rnn.bias_ih_l0.copy_(drawn["bias"])
        rnn.bias_hh_l0.zero_()
        readout.weight.copy_(drawn["W_out"])
        readout.bias.copy_(drawn["b_out"])
    rnn.bias_hh_l0.requires_grad_(False)  # ours has one bias
    params = [p for p in (*rnn.parameters(), *readout.parameters()) if p.requires_grad]
    optimiser = torch.optim.Adam(params, lr=TRAINING.learning_rate)
    streams, under = Streams([seed], "data"), 0
    seen = []
    for _ in range(TRAINING.max_epochs):
        losses = []
        for _ in range(TRAINING.steps_per_epoch):
            trials = task.sample(streams, TRAINING.batch_size)
            optimiser.zero_grad()
            loss = (readout(rnn(trials.inputs[0])[0]) - trials.targets[0]).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(params, TRAINING.clip_norm)
            optimiser.step()
            losses.append(loss.item())
        seen += losses
        under = under + 1 if np.mean(losses) < task.threshold else 0
        if under > TRAINING.patience:
            break
    return len(seen)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the row and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="2 members of an easy task, once; nothing is kept")
    args = parser.parse_args(argv)
    task, members, repeats = (EASY, 2, 1) if args.short else (TASK, 16, 5)
    updates: dict[str, list[int]] = {}

    def run(side: str) -> None:
        updates[side] = train_ours(task, members) if side == "ours" else train_peer(task, members)

    for train in (train_ours, train_peer):  # processes up, code compiled
        train(EASY, 2)
    seconds = interleaved(
        {side: lambda side=side: run(side) for side in ("ours", "peer")},
        repeats=repeats,
        warm_up=False,
        clock=time.perf_counter,
    )
    extra = {f"{side}_median_updates": float(np.median(n)) for side, n in updates.items()}
    row = versus(f"{members} members of 64 units to the threshold", seconds, clock="wall", **extra)
    report("to_threshold", [row], keep=not args.short)


if __name__ == "__main__":
    main()
