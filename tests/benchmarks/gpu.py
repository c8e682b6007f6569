"""One update of an ensemble on a GPU, wall time: ours under a CUDA graph against cuDNN's `nn.RNN` member after member.

    python -m tests.benchmarks.gpu [--short]

(members, units, trials, steps) = (50, 128, 64, 100). Ours makes its trials on the device within the update; the
peer's are made beforehand. Without a CUDA device it says so and measures nothing.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch

from degeneracy.networks import Network, initial_params
from degeneracy.networks.cells import Params
from degeneracy.streams import Streams
from degeneracy.tasks import FlipFlop
from degeneracy.training import Training
from degeneracy.training.costs import Costs
from degeneracy.training.stack import Stack
from tests.benchmarks.timing import interleaved, report, versus
from tests.benchmarks.update import CHANNELS, make_peer

SIZES = [(50, 128, 64, 100), (50, 64, 64, 100), (200, 32, 64, 100), (50, 256, 64, 100)]


def make_ours(members: int, n: int, n_trials: int, n_steps: int, updates: int) -> Callable[[], None]:
    """An epoch of `updates` updates, as training does them."""
    task, network = FlipFlop(channels=CHANNELS, n_steps=n_steps), Network(hidden_size=n)
    params: Params = initial_params(network, CHANNELS, CHANNELS, range(members))
    training = Training(batch_size=n_trials, steps_per_epoch=updates)
    stack = Stack.start(task, network, training, range(members), params, Costs(), "cuda")
    return lambda: stack.run_epoch(task, network, training, "bptt")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rows and keep them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="a small ensemble; nothing is kept")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("gpu: no CUDA device here, 0 s [nothing measured]")
        return
    rows = []
    for sizes in [(4, 32, 16, 20)] if args.short else SIZES:
        members, n, n_trials, n_steps = sizes
        updates = 2 if args.short else 20
        with torch.device("cuda"):
            trials = FlipFlop(channels=CHANNELS, n_steps=n_steps).sample(
                Streams(range(members), "data", "cuda"), n_trials
            )
            one = make_peer("tanh", members, n, trials)

        def peer(one: Callable[[], None] = one, updates: int = updates) -> None:
            for _ in range(updates):
                one()
            torch.cuda.synchronize()

        ours = make_ours(members, n, n_trials, n_steps, updates)
        seconds = interleaved({"ours": ours, "peer": peer}, clock=time.perf_counter)
        per_second = members * updates / float(sorted(seconds["ours"])[len(seconds["ours"]) // 2])
        rows.append(
            versus(
                f"tanh {sizes}, {updates} updates", seconds, clock="wall", member_updates_a_second=per_second
            )
        )
    report("gpu", rows, keep=not args.short)


if __name__ == "__main__":
    main()
