"""How cost grows: CPU time of one thread against members, units and steps, with the exponent of each.

    python -m tests.benchmarks.scale [--short]

One quantity is varied at a time, from E = 16 members, N = 64 units, B = 64 trials of T = 50 steps. The exponent is the
slope of log time against log size over the larger half of the sizes. States and weights are random: these costs hardly
depend on their values, save for the iterations of DSA's and PIF's searches.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from degeneracy.analysis.dynamics.layout import shape
from degeneracy.analysis.dynamics.linear.dsa import delay_operators
from degeneracy.analysis.operator_alignment.pairs import fit_among
from degeneracy.analysis.recording import Weights
from degeneracy.analysis.weights import pif
from degeneracy.core.streams import Streams
from degeneracy.tasks import FlipFlop
from tests.benchmarks.timing import Row, interleaved, report, versus
from tests.benchmarks.update import CHANNELS, make_ours

E, N, B, T = 16, 64, 64, 50
Work = Callable[[], object]


def states(members: int, units: int) -> list[NDArray[np.float64]]:
    """(trial, time, unit) of each member: noise, smoothed in time."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(members, B, T, units))
    return list(np.tanh(np.cumsum(drawn, axis=2) / 3))


def weights(members: int, units: int) -> list[Weights]:
    """Recurrent weights as tanh networks begin with."""
    rng = np.random.default_rng(0)
    bound = units**-0.5
    return [Weights.of(recurrent=rng.uniform(-bound, bound, size=(1, units, units))) for _ in range(members)]


def update(members: int, units: int, steps: int) -> Work:
    """One training update of all members."""
    trials = FlipFlop(channels=CHANNELS, n_steps=steps).sample(Streams(range(members), "data"), B)
    return make_ours("tanh", members, units, trials)


def dsa(members: int, units: int, rank: int) -> Work:
    """All pairs, 10 delays, operators included."""
    given = states(members, units)
    first, second = np.triu_indices(members, 1)

    def work() -> object:
        operators = delay_operators(given, rank=rank, n_delays=10).operators
        return fit_among(operators, operators, first, second)

    return work


def pif_all(members: int, units: int) -> Work:
    """All pairs."""
    given = weights(members, units)
    pairs = [(given[a], given[b]) for b in range(members) for a in range(b)]
    return lambda: pif.pif_pairs(pairs, signed=False, block_scales={"recurrent": 1.0})


def shapes(members: int, units: int) -> Work:
    """Procrustes, SVCCA and CKA of all pairs."""
    given = states(members, units)
    return lambda: shape.shape_distances(given)


def series(short: bool) -> dict[str, tuple[list[int], Callable[[int], Work]]]:
    """What is varied, at which sizes, and the work of each."""
    members, units, steps = (
        ([4, 8], [16, 32, 48], [10, 20])
        if short
        else ([16, 50, 200, 800], [32, 64, 128, 256, 512], [25, 50, 100, 200, 400])
    )
    few = members if short else [16, 32, 64]
    return {
        "update / members": (members, lambda size: update(size, N, T)),
        "update / units": (units, lambda size: update(4, size, T)),
        "update / steps": (steps, lambda size: update(4, N, size)),
        "dsa of rank 20 / members": (few, lambda size: dsa(size, N, 20)),
        "dsa of rank 20 / units": (units[1:], lambda size: dsa(6, size, 20)),
        "dsa of 6 members / rank": (
            [5, 10] if short else [10, 20, 50, 100],
            lambda size: dsa(6, 2 * N, size),
        ),
        "pif / members": (few, lambda size: pif_all(size, N)),
        "pif / units": (units[:-1], lambda size: pif_all(6, size)),
        "procrustes, svcca, cka / members": (few if short else [16, 50, 200], lambda size: shapes(size, N)),
        "procrustes, svcca, cka / units": (units[:-1], lambda size: shapes(8, size)),
    }


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Slope of log time against log size over the larger half."""
    half = max(1, len(sizes) // 2)
    return float(np.polyfit(np.log(sizes[half - 1 :]), np.log(seconds[half - 1 :]), 1)[0])


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rows and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes, once; nothing is kept")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for name, (sizes, work) in series(args.short).items():
        medians = []
        for size in sizes:
            seconds = interleaved({"ours": work(size)}, repeats=1 if args.short else 3)
            medians.append(float(np.median(seconds["ours"])))
            rows.append(versus(f"{name} = {size}", seconds, size=size))
        rows.append(versus(f"{name}, the largest", seconds, exponent=exponent(sizes, medians)))
    report("scale", rows, keep=not args.short)


if __name__ == "__main__":
    main()
