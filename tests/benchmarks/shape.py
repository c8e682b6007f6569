"""Procrustes, SVCCA and CKA of all pairs, against netrep (where it is installed) and an SVCCA in plain numpy.

The plain estimators are compared, which are the peers' too; the default, across trials, is timed beside the plain one.

States of untrained tanh networks of 64 units driven by a 3-bit flip-flop's inputs, 64 trials of 50 steps; in the short
form smaller. Run with `python -m tests.benchmarks.shape`.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.dynamics.layout import shape, shape_by_trials
from tests.benchmarks.timing import Row, interleaved, report, versus

try:
    from netrep import metrics as netrep
except ImportError:
    netrep = None

Array = NDArray[np.float64]
VARIANCE = 0.99


def states_of(n_members: int, n_units: int, n_trials: int, n_steps: int) -> list[Array]:
    """(trial, time, unit) of each member, on the same trials."""
    rng = np.random.default_rng(0)
    inputs = rng.choice([-1.0, 0.0, 1.0], p=[0.15, 0.7, 0.15], size=(n_trials, n_steps, 3))
    found = []
    for _ in range(n_members):
        shapes = ((n_units, n_units), (n_units, 3), (n_units,))
        w, u, b = (rng.uniform(-1, 1, size=size) / np.sqrt(n_units) for size in shapes)
        h, states = np.zeros((n_trials, n_units)), []
        for t in range(n_steps):
            h = np.tanh(h @ w.T + inputs[:, t] @ u.T + b)
            states.append(h)
        found.append(np.stack(states, axis=1))
    return found


def numpy_svcca(x: Array, y: Array) -> float:
    """As one would write it for two networks: two SVDs, two QRs, one small SVD."""
    kept = []
    for flat in (x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])):
        u, s, _ = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
        explained = np.cumsum(s**2) / np.sum(s**2)
        k = int(np.searchsorted(explained, VARIANCE) + 1)
        kept.append(np.linalg.qr(u[:, :k] * s[:k])[0])
    correlations = np.linalg.svd(kept[0].T @ kept[1], compute_uv=False)
    return float(1 - correlations.mean())


def procrustes_by_netrep(x: Array, y: Array) -> float:
    return float(netrep.LinearMetric(alpha=1.0).fit_score(flat(x), flat(y)))


def cka_by_netrep(x: Array, y: Array) -> float:
    return float(1 - np.cos(netrep.LinearCKA().score(flat(x), flat(y))))  # it returns the angle


def flat(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def compared(
    name: str,
    ours: Callable[[Sequence[Array]], Array],
    peer: Callable[[Array, Array], float] | None,
    states: Sequence[Array],
    repeats: int,
) -> Row:
    """All pairs by ours; by the peer too, whose distances ours must equal."""
    first, second = np.triu_indices(len(states), k=1)
    last: dict[str, Any] = {}

    def run_ours() -> None:
        last["ours"] = ours(states)[first, second]

    def run_peer() -> None:
        assert peer is not None
        last["peer"] = np.array([peer(states[i], states[j]) for i, j in combinations(range(len(states)), 2)])

    functions: dict[str, Callable[[], object]] = {"ours": run_ours}
    if peer is not None:
        functions["peer"] = run_peer
    seconds = interleaved(functions, repeats=repeats)
    extra = {"pairs": len(first)}
    if peer is not None:
        extra["largest_difference"] = float(np.abs(last["ours"] - last["peer"]).max())
    return versus(name, seconds, **extra)


def across_trials(name: str, states: Sequence[Array], repeats: int) -> Row:
    """The default estimator of a measure, and how many times the plain one's time it takes."""
    measure = name.lower()
    seconds = interleaved(
        {
            "ours": lambda: shape_by_trials.cross_validated_distances(states, measure),
            "plain": lambda: shape.shape_distances(states, (measure,)),
        },
        repeats=repeats,
    )
    times = float(np.median(seconds["ours"]) / np.median(seconds["plain"]))
    return versus(f"{name} across trials", {"ours": seconds["ours"]}, times_plain=times)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="few small networks, 2 repeats; nothing kept")
    short = parser.parse_args(argv).short
    repeats, states = (2, states_of(3, 16, 8, 20)) if short else (5, states_of(16, 64, 64, 50))
    have = netrep is not None
    rows = [
        compared(
            "Procrustes / netrep",
            shape.procrustes_distances,
            procrustes_by_netrep if have else None,
            states,
            repeats,
        ),
        compared("SVCCA / numpy", shape.svcca_distances, numpy_svcca, states, repeats),
        compared("CKA / netrep", shape.cka_distances, cka_by_netrep if have else None, states, repeats),
    ]
    rows += [across_trials(name, states, repeats) for name in ("Procrustes", "SVCCA", "CKA")]
    report("shape", rows, keep=not short)


if __name__ == "__main__":
    main(sys.argv[1:])
