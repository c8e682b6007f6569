"""One update of an ensemble on both cores: ours against torch's recurrent modules, and a core's share of its peak.

    python -m tests.benchmarks.update [--short]

Both sides do the same: the members' own weights, the same trials made beforehand, mean squared error, the gradient
clipped at norm 1, Adam. Peer: `nn.RNN` (`nn.GRU`; for leaky units a loop over time) with `nn.Linear`,
`clip_grad_norm_` and `torch.optim.Adam`, member after member. Two processes of one thread share the members and keep
both cores busy with the same side at the same time; a repeat's time is the mean CPU time of the two.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import multiprocessing as mp
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from degeneracy.core.streams import Streams
from degeneracy.networks import Network, initial_params
from degeneracy.networks.cell import Params
from degeneracy.tasks import FlipFlop, Trials
from degeneracy.training.backends import backend_for
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import Groups, flatten
from degeneracy.training.optimisers import Adam
from degeneracy.training.updates import Updates
from tests.benchmarks.timing import Row, interleaved, report, versus

PROCESSES, CHANNELS, RATE = 2, 3, 1e-3
# name, cell, (members, units, trials, steps)
ROWS: list[tuple[str, str, tuple[int, int, int, int]]] = [
    ("tanh", "tanh", (50, 128, 64, 100)),
    ("tanh", "tanh", (50, 64, 64, 100)),
    ("tanh", "tanh", (200, 32, 64, 100)),
    ("tanh", "tanh", (10, 512, 64, 100)),
    ("gru", "gru", (10, 128, 64, 100)),
    ("leaky tanh", "leaky_tanh", (10, 128, 64, 100)),
    ("lstm", "lstm", (10, 128, 64, 100)),
]
SHORT = [("tanh", "tanh", (4, 32, 16, 20)), ("gru", "gru", (4, 32, 16, 20))]


class LeakyLoop(nn.Module):
    """Leaky tanh units as one writes them: a loop over time, autograd."""

    def __init__(self, n_in: int, n: int, alpha: float) -> None:
        super().__init__()
        self.inward, self.recurrent, self.alpha = nn.Linear(n_in, n), nn.Linear(n, n, bias=False), alpha

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        drive = self.inward(inputs)
        state, states = drive.new_zeros(drive.shape[0], drive.shape[2]), []
        for t in range(drive.shape[1]):
            state = (1 - self.alpha) * state + self.alpha * torch.tanh(drive[:, t] + self.recurrent(state))
            states.append(state)
        return torch.stack(states, 1), None


def make_ours(cell: str, members: int, n: int, trials: Trials) -> Callable[[], None]:
    """One update of every member."""
    network = Network(hidden_size=n, cell=cell)
    params: Params = initial_params(network, CHANNELS, CHANNELS, range(members))
    flat, built = flatten(params), network.build_cell()
    adam = Adam().start(flat, Groups.plain(flat.shape[1]))
    update = Updates(built, backend_for(built), flat, params, adam, 1.0, Costs())
    rates = torch.full((members,), RATE)
    return lambda: update(trials, {}, rates)


def make_peer(cell: str, members: int, n: int, trials: Trials) -> Callable[[], None]:
    """The same with torch's modules."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "tanh": lambda: nn.RNN(CHANNELS, n, batch_first=True),
        "gru": lambda: nn.GRU(CHANNELS, n, batch_first=True),
        "lstm": lambda: nn.LSTM(CHANNELS, n, batch_first=True),
        "leaky_tanh": lambda: LeakyLoop(CHANNELS, n, 0.2),
    }
    networks = [(kinds[cell](), nn.Linear(n, CHANNELS)) for _ in range(members)]
    weights = [[*rnn.parameters(), *readout.parameters()] for rnn, readout in networks]
    optimisers = [torch.optim.Adam(each, lr=RATE) for each in weights]

    def update() -> None:
        for k, ((rnn, readout), params, optimiser) in enumerate(zip(networks, weights, optimisers, strict=True)):
            optimiser.zero_grad()
            loss = (readout(rnn(trials.inputs[k])[0]) - trials.targets[k]).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(params, 1.0)
            optimiser.step()

    return update


def _work(share: int, row: tuple[str, tuple[int, int, int, int]], repeats: int, gate: Any, out: Any) -> None:
    """One process's members: its CPU seconds per repeat and side, both processes in step."""
    torch.set_num_threads(1)
    cell, (members, n, n_trials, n_steps) = row
    mine = members // PROCESSES
    task = FlipFlop(channels=CHANNELS, n_steps=n_steps)
    trials = task.sample(Streams(range(share * mine, (share + 1) * mine), "data"), n_trials)
    sides = {"ours": make_ours(cell, mine, n, trials), "peer": make_peer(cell, mine, n, trials)}

    def in_step(function: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            gate.wait()
            function()

        return run

    out.put(interleaved({name: in_step(f) for name, f in sides.items()}, repeats=repeats))


def measure(cell: str, sizes: tuple[int, int, int, int], repeats: int) -> dict[str, list[float]]:
    """Mean CPU seconds of the two processes, a side and repeat."""
    context = mp.get_context("spawn")
    gate, out = context.Barrier(PROCESSES), context.Queue()
    workers = [context.Process(target=_work, args=(k, (cell, sizes), repeats, gate, out)) for k in range(PROCESSES)]
    for worker in workers:
        worker.start()
    found = [out.get() for _ in workers]
    for worker in workers:
        worker.join()
    return {side: list(np.mean([each[side] for each in found], axis=0)) for side in found[0]}


def flops(sizes: tuple[int, int, int, int]) -> float:
    """Floating-point operations of one update of a one-gate ensemble: E B T (6 N^2 + 4 N I + 6 N O)."""
    members, n, n_trials, n_steps = sizes
    return members * n_trials * n_steps * (6 * n * n + 10 * n * CHANNELS)


def peak_flops() -> float:
    """float32 operations per second of one core: torch's product of two 1,024 x 1,024 matrices, best of 20."""
    a, b, c = (torch.randn(1024, 1024) for _ in range(3))
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        torch.mm(a, b, out=c)
        best = min(best, time.process_time() - start)
    return 2 * 1024**3 / best


def _peak_memory(side: str, out: Any) -> None:
    """Peak memory of the first update beyond parameters, moments and trials, MB."""
    torch.set_num_threads(1)
    members, n, n_trials, n_steps = ROWS[0][2]
    small = FlipFlop(channels=CHANNELS, n_steps=2).sample(Streams(range(1), "data"), 2)
    make_ours("tanh", 1, n, small)()  # compiled code is no part of it
    trials = FlipFlop(channels=CHANNELS, n_steps=n_steps).sample(Streams(range(members), "data"), n_trials)
    make = {
        "ours": lambda: make_ours("tanh", members, n, trials),
        "peer": lambda: _stacked_autograd(members, n, trials),
    }
    update = make[side]()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew (Linux)
    before = _status("VmRSS")
    update()
    out.put(_status("VmHWM") - before)


def _status(field: str) -> float:
    """A figure of this process's memory, MB."""
    found = re.search(
        rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert found is not None
    return int(found.group(1)) / 1024


def _stacked_autograd(members: int, n: int, trials: Trials) -> Callable[[], None]:
    """All members in one bmm per step, by autograd."""
    params = initial_params(Network(hidden_size=n), CHANNELS, CHANNELS, range(members))
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    optimiser = torch.optim.Adam(list(leaves.values()), lr=RATE)

    def update() -> None:
        state, outputs = torch.zeros(members, trials.n_trials, n), []
        for t in range(trials.inputs.shape[2]):
            drive = torch.baddbmm(leaves["bias"].unsqueeze(1), trials.inputs[:, :, t], leaves["W_in"].mT)
            state = torch.tanh(torch.baddbmm(drive, state, leaves["W_rec"].mT))
            outputs.append(torch.baddbmm(leaves["b_out"].unsqueeze(1), state, leaves["W_out"].mT))
        loss = (torch.stack(outputs, 2) - trials.targets).square().mean((1, 2, 3)).sum()
        loss.backward()
        optimiser.step()

    return update


def memory() -> tuple[float, float]:
    """Peak extra memory of one update of (50, 128, 64, 100), ours and stacked autograd's, MB."""
    context, found = mp.get_context("spawn"), []
    for side in ("ours", "peer"):
        out = context.Queue()
        worker = context.Process(target=_peak_memory, args=(side, out))
        worker.start()
        found.append(out.get())
        worker.join()
    return found[0], found[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rows and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small ensembles, once; nothing is kept")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for k, (name, cell, sizes) in enumerate(SHORT if args.short else ROWS):
        seconds = measure(cell, sizes, 1 if args.short else 5)
        extra = {}
        if cell == "tanh":
            share = flops(sizes) / PROCESSES / float(np.median(seconds["ours"]))
            extra["share_of_gemm_peak"] = share / peak_flops()
        if k == 0 and not args.short:
            extra["extra_memory_mb"], extra["stacked_autograd_extra_memory_mb"] = memory()
        rows.append(versus(f"{name} {sizes}", seconds, **extra))
    report("update", rows, keep=not args.short)


if __name__ == "__main__":
    main()
