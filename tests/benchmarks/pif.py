"""Weight distances of all pairs, `pif` and `signed_pif`, against scipy's FAQ with 8 restarts.

Recurrent weights at initialisation, U(-1/sqrt n, 1/sqrt n); of 64 units also networks trained on a 3-bit flip-flop.
Run with `python -m tests.benchmarks.pif`.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import quadratic_assignment

import degeneracy as dg
from degeneracy.analysis.recording import Weights
from degeneracy.analysis.weights import pif
from degeneracy.analysis.weights.symmetry import transform
from tests.benchmarks.timing import Row, interleaved, report, versus

RESTARTS = 8
Pairs = list[tuple[Weights, Weights]]


def untrained(n: int, n_members: int) -> list[Weights]:
    rng = np.random.default_rng(n)
    return [Weights.of(recurrent=rng.uniform(-1, 1, size=(1, n, n)) / np.sqrt(n)) for _ in range(n_members)]


def trained(n: int, n_members: int) -> list[Weights]:
    """Networks of a 3-bit flip-flop, all that converged."""
    training = dg.Training(learning_rate=3e-3, batch_size=64, steps_per_epoch=32)
    task = dg.tasks.FlipFlop(channels=3, n_steps=50)
    ensemble = dg.train(task, dg.Network(hidden_size=n), training, seeds=range(n_members), progress=False)
    recurrent = ensemble.converged.weights()["W_rec"].astype(np.float64)
    return [Weights.of(recurrent=w[None]) for w in recurrent]


def ours(pairs: Pairs, signed: bool) -> list[float]:
    found = pif.pif_pairs(pairs, signed=signed, block_scales={"recurrent": 1.0}, n_restarts=RESTARTS)
    return [one.distance for one in found]


def faq(pairs: Pairs) -> list[float]:
    """The least distance of scipy's search from 8 starts, for each pair."""
    found = []
    for x, y in pairs:
        a, b = x.recurrent[0], y.recurrent[0]
        gains = []
        for seed in range(RESTARTS):
            options = {"maximize": True, "P0": "randomized", "rng": np.random.default_rng(seed)}
            gains.append(quadratic_assignment(a, b, options=options).fun)
        found.append(float(np.sqrt((a**2).sum() + (b**2).sum() - 2 * max(gains))))
    return found


def planted_found(n: int, n_networks: int, signed: bool) -> int:
    """How many planted matchings are recovered exactly at noise of half an entry's sd."""
    found = 0
    for seed in range(n_networks):
        rng = np.random.default_rng(seed)
        x = Weights.of(recurrent=rng.uniform(-1, 1, size=(1, n, n)) / np.sqrt(n))
        planted = rng.permutation(n)
        signs = rng.choice([-1.0, 1.0], size=n) if signed else np.ones(n)
        y = transform(x, planted, signs)
        noisy = y.recurrent + 0.5 / np.sqrt(3 * n) * rng.normal(size=y.recurrent.shape)
        back = pif.align(x, y.replace(recurrent=noisy), signed=signed, n_restarts=RESTARTS)
        same_units = bool((planted[back.permutation] == np.arange(n)).all())
        found += int(same_units and abs((back.signs * signs[back.permutation]).sum()) == n)
    return found


def compared(name: str, networks: Sequence[Weights], repeats: int, n_planted: int = 0) -> Row:
    pairs: Pairs = list(combinations(networks, 2))
    last: dict[str, list[float]] = {}

    def keep(key: str, distances: list[float]) -> None:
        last[key] = distances

    seconds = interleaved(
        {
            "ours": lambda: keep("ours", ours(pairs, signed=False)),
            "signed": lambda: keep("signed", ours(pairs, signed=True)),
            "peer": lambda: keep("peer", faq(pairs)),
        },
        repeats=repeats,
    )
    planted = {}
    if n_planted:
        n = networks[0].recurrent.shape[-1]
        found = [planted_found(n, n_planted, signed) for signed in (False, True)]
        planted = {"planted": n_planted, "planted_found": found[0], "planted_with_signs_found": found[1]}
    return versus(
        name,
        seconds,
        pairs=len(pairs),
        mean_distance=mean(last["ours"]),
        peer_mean_distance=mean(last["peer"]),
        signed_mean_distance=mean(last["signed"]),
        signed_over_unsigned_time=float(np.median(seconds["signed"]) / np.median(seconds["ours"])),
        **planted,
    )


def mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    return float(np.mean(values))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="small networks, 2 repeats; nothing kept")
    parser.add_argument("--planted", type=int, default=200, help="planted matchings to recover, of each kind")
    options = parser.parse_args(argv)
    if options.short:
        report("pif", [compared("untrained, 32 units", untrained(32, 3), 2)], keep=False)
        return
    rows = [
        compared("trained 3-bit flip-flop, 64 units", trained(64, 8), 5),
        compared("untrained, 128 units", untrained(128, 5), 5, n_planted=options.planted),
        compared("untrained, 256 units", untrained(256, 3), 5),
    ]
    report("pif", rows)


if __name__ == "__main__":
    main(sys.argv[1:])
