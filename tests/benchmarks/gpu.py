"""Updates of an ensemble on a GPU, wall time: ours under a CUDA graph against cuDNN's modules, member after member.

    python -m tests.benchmarks.gpu [--short]

Sizes are (members, units, trials, steps). Each cell is measured on every backend that serves it, so that the table says
whether the hand-written backward through time earns its place beside autograd. Ours makes its trials on the device
within the update; the peer's are made beforehand. Without a CUDA device it says so and measures nothing.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from degeneracy.core.streams import Streams
from degeneracy.networks import Network, initial_params
from degeneracy.networks.cell import Params
from degeneracy.tasks import FlipFlop
from degeneracy.training import Training
from degeneracy.training.costs import Costs
from degeneracy.training.stack import Stack
from tests.benchmarks.timing import Row, interleaved, keep_rows, report, versus
from tests.benchmarks.update import CHANNELS, make_peer

Sizes = tuple[int, int, int, int]
REPEATS = 5
PEER_SHARE = 5  # the peer, as slow at every update, does a fifth of the updates, and its time counts fivefold
# cell, backends, (members, units, trials, steps)
ROWS: list[tuple[str, tuple[str, ...], Sizes]] = [
    ("tanh", ("bptt", "autograd"), (50, 128, 64, 100)),
    ("tanh", ("bptt", "autograd"), (50, 64, 64, 100)),
    ("tanh", ("bptt",), (200, 32, 64, 100)),
    ("tanh", ("bptt",), (400, 128, 64, 100)),
    ("tanh", ("bptt",), (50, 256, 64, 100)),
    ("gru", ("autograd",), (50, 128, 64, 100)),
    ("lstm", ("autograd",), (50, 128, 64, 100)),
]
SHORT: list[tuple[str, tuple[str, ...], Sizes]] = [("tanh", ("bptt", "autograd"), (4, 32, 16, 20))]


def make_ours(cell: str, backend: str, sizes: Sizes, updates: int) -> Callable[[], None]:
    """An epoch of `updates` updates, as training does them."""
    members, n, n_trials, n_steps = sizes
    task, network = FlipFlop(channels=CHANNELS, n_steps=n_steps), Network(hidden_size=n, cell=cell)
    params: Params = initial_params(network, CHANNELS, CHANNELS, range(members))
    training = Training(batch_size=n_trials, steps_per_epoch=updates)
    stack = Stack.start(task, network, training, range(members), params, Costs(), "cuda")
    return lambda: stack.run_epoch(task, network, training, backend)


def measure(cell: str, backends: Sequence[str], sizes: Sizes, updates: int) -> list[Row]:
    """A row per backend: `updates` updates of the ensemble, against as many of the peer."""
    members, n, n_trials, n_steps = sizes
    with torch.device("cuda"):
        trials = FlipFlop(channels=CHANNELS, n_steps=n_steps).sample(Streams(range(members), "data", "cuda"), n_trials)
        one = make_peer(cell, members, n, trials)

    peer_updates = max(1, updates // PEER_SHARE)

    def peer() -> None:
        for _ in range(peer_updates):
            one()
        torch.cuda.synchronize()

    functions: dict[str, Callable[[], None]] = {"peer": peer}
    functions |= {backend: make_ours(cell, backend, sizes, updates) for backend in backends}
    seconds = interleaved(functions, repeats=REPEATS, clock=time.perf_counter)
    seconds["peer"] = [second * updates / peer_updates for second in seconds["peer"]]
    return [
        versus(
            f"{cell} {sizes}, {updates} updates, {backend}",
            seconds,
            ours=backend,
            clock="wall",
            member_updates_per_second=members * updates / median(seconds[backend]),
            gpu=torch.cuda.get_device_name(),
            peak_memory_gb=torch.cuda.max_memory_allocated() / 1e9,
        )
        for backend in backends
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rows and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a small ensemble; nothing is kept")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("gpu: no CUDA device here, 0 s [nothing measured]")
        return
    rows: list[Row] = []
    for cell, backends, sizes in SHORT if args.short else ROWS:
        torch.cuda.reset_peak_memory_stats()
        measured = measure(cell, backends, sizes, updates=2 if args.short else 20)
        report("gpu", measured, keep=False)
        rows += measured
        if not args.short:
            keep_rows(
                "gpu", rows, processor=torch.cuda.get_device_name()
            )  # as it goes: a stopped run has what it measured


if __name__ == "__main__":
    main()
