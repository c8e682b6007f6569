"""DSA of all pairs of trained networks, operators included, against dsa-metric (angular score, its defaults).

    python -m tests.benchmarks.dsa --pairs 66 [--rank 50 --delays 10] [--repeats 5] [--short]
    python -m tests.benchmarks.dsa --memory [--members 200 --rank 100] [--short]

Networks are trained here (3-bit flip-flop, N = 64) and kept in a temporary folder for the next run. Ours fits all
pairs at every repeat; the peer takes seconds per pair, so it fits another share of the pairs at each repeat (its
operators too) and its time is scaled to all of them. Accuracy is counted over all pairs.

`--memory` gives the measure `dsa` random stable linear systems and compares 10 of them with all, with 2 steps per
round: pairs are searched one after another, so what is held at once grows neither with their number nor with steps. It
reports the most memory that this process ever held.
"""

import argparse
import contextlib
import io
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import degeneracy as dg
from degeneracy.analysis.dynamics.linear.dsa import delay_operators
from degeneracy.analysis.dynamics.linear.dsa_measure import DSA
from degeneracy.analysis.operator_alignment import search as alignment_search
from degeneracy.analysis.operator_alignment.pairs import fit_pairs
from degeneracy.analysis.recording import Array
from degeneracy.measuring.probe import Probe
from degeneracy.measuring.record import record

from .timing import Row, report, versus

SIZES = ((50, 10, 66), (100, 20, 10))  # rank, delays, pairs at most: the peer takes minutes for them
PEER_ROUNDING = 1e-5  # the peer's angle is an arccos in float32: 6e-8 over the sine of the angle, 0.01 and more


def trained_states(members: int, hidden_size: int, n_trials: int = 64) -> list[Array]:
    """Driven states of trained networks on common probe trials, each (trial, time, unit)."""
    task = dg.tasks.FlipFlop(channels=3, n_steps=50)
    folder = Path(tempfile.gettempdir()) / f"degeneracy-benchmark-{members}x{hidden_size}"
    if folder.exists():
        ensemble = dg.Ensemble.load(folder)
    else:
        training = dg.Training(learning_rate=3e-3, batch_size=64, steps_per_epoch=10, max_epochs=500, clip_norm=1.0)
        ensemble = dg.train(task, dg.Network(hidden_size=hidden_size), training, seeds=range(members))
        ensemble.save(folder)
    states = record(ensemble.converged, task, Probe(n_trials=n_trials)).states
    assert states is not None
    return list(states)


def peer_operator(states: Array, rank: int, n_delays: int) -> Array:
    """dsa-metric's operator of one network."""
    from DSA.dmd import DMD

    model = DMD(states, n_delays=n_delays, rank=rank)
    model.fit()
    return np.asarray(model.A_v.numpy())


def peer_distance(a: Array, b: Array) -> float:
    """dsa-metric's angle between two operators, with the settings of its `DSA` class."""
    from DSA.simdist import SimilarityTransformDist

    torch.manual_seed(0)
    fit = SimilarityTransformDist(iters=1500, lr=5e-3, score_method="angular")
    return float(fit.fit_score(a.copy(), b.copy()))


def compare(states: Sequence[Array], rank: int, n_delays: int, n_pairs: int, repeats: int) -> Row:
    """Time and accuracy of one rank."""
    pairs = np.array(list(combinations(range(len(states)), 2)))
    chosen = pairs[np.random.default_rng(0).permutation(len(pairs))[:n_pairs]]
    i, j = chosen.T
    used = sorted(set(chosen.ravel()))
    ours: Array = np.zeros(0)
    theirs = np.zeros(len(chosen))
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    fit_pairs(np.eye(rank)[None], np.diag(np.arange(1.0, rank + 1))[None])  # compiled before the clock starts
    for share in np.array_split(np.arange(len(chosen)), repeats):
        start = time.process_time()
        operators = delay_operators(states, rank=rank, n_delays=n_delays).operators
        ours = fit_pairs(operators[i], operators[j]).distance
        seconds["ours"].append(time.process_time() - start)
        start = time.process_time()
        own = peer_operator(states[used[len(seconds["peer"]) % len(used)]], rank, n_delays)
        an_operator = time.process_time() - start
        start = time.process_time()
        theirs[share] = [peer_distance(operators[i[k]], operators[j[k]]) for k in share]
        a_pair = (time.process_time() - start) / len(share)
        assert own.shape == (rank, rank)
        seconds["peer"].append(an_operator * len(used) + a_pair * len(chosen))
    row = f"DSA rank {rank}, {n_delays} delays, {len(chosen)} pairs"
    return versus(row, seconds, clock="CPU", **accuracy(operators, i, j, ours, theirs))


def accuracy(operators: Array, i: Array, j: Array, ours: Array, theirs: Array) -> dict[str, Any]:
    """Ours and the peer's distances against 128 starts, a conjugate pair, and the arguments swapped."""
    reference = fit_pairs(operators[i], operators[j], n_starts=128).distance
    least = np.minimum(reference, ours)
    rank = operators.shape[1]
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((rank, rank)))[0]
    swapped = fit_pairs(operators[j[:3]], operators[i[:3]]).distance
    return {
        "share not above peer": float(np.mean(ours <= theirs + PEER_ROUNDING)),
        "mean excess": float(np.mean(ours / least) - 1),
        "peer's mean excess": float(np.mean(theirs / least) - 1),
        "Spearman": float(spearmanr(ours, reference).statistic),
        "peer's Spearman": float(spearmanr(theirs, reference).statistic),
        "conjugate pair": float(fit_pairs(operators[:3], q @ operators[:3] @ q.T).distance.max()),
        "swapped": float(np.abs(swapped - ours[:3]).max()),
    }


def linear_states(members: int, units: int = 64, trials: int = 16, steps: int = 50) -> list[Array]:
    """(trial, time, unit) of each member: a random linear system of spectral radius 0.95, driven by noise."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(members):
        w = rng.normal(size=(units, units))
        w *= 0.95 / np.abs(np.linalg.eigvals(w)).max()
        h, states = np.zeros((trials, units)), []
        for _ in range(steps):
            h = h @ w.T + rng.normal(size=h.shape)
            states.append(h)
        found.append(np.stack(states, axis=1))
    return found


def memory(members: int, rank: int, delays: int, shown: int = 10) -> Row:
    """The most memory held by this process while `dsa` compared `shown` members with all, GB."""
    states = linear_states(members)
    measure = DSA(rank=rank, n_delays=delays)
    steps, align = (alignment_search.STEPS, alignment_search.STEPS_DENSE), alignment_search.align
    few = {"max_iter": 2, "tolerance": 1e-7}
    alignment_search.STEPS = alignment_search.STEPS_DENSE = (2, 2, 2, 2)
    alignment_search.align = lambda a, b, starts, inverse, **_: align(a, b, starts, inverse, **few)
    start = time.process_time()
    try:
        fit = measure._across(states, *np.divmod(np.arange(shown * members), members))
    finally:
        alignment_search.STEPS, alignment_search.STEPS_DENSE = steps
        alignment_search.align = align
    seconds = time.process_time() - start
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    extra = {"pairs": len(fit.distance), "peak GB": peak, "states GB": sum(x.nbytes for x in states) / 1e9}
    return versus(f"DSA memory, {members} members, rank {rank}, {delays} delays", {"ours": [seconds]}, **extra)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=66)
    parser.add_argument("--memory", action="store_true", help="peak memory of 200 members at rank 100 instead")
    parser.add_argument("--members", type=int, default=0, help="12 by default, 200 for --memory")
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--rank", type=int, default=0, help="one rank instead of 50 and 100")
    parser.add_argument("--delays", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="4 networks, rank 20, 2 pairs; keeps nothing")
    given = parser.parse_args(argv)
    if given.memory:
        members, rank, delays = (12, 20, 10) if given.short else (given.members or 200, given.rank or 100, 20)
        report("dsa_memory", [memory(members, rank, delays)], keep=not given.short)
        return
    members, n_pairs, repeats = (4, 2, 1) if given.short else (given.members or 12, given.pairs, given.repeats)
    sizes = ((given.rank, given.delays, n_pairs),) if given.rank else SIZES
    if given.short:
        sizes = ((20, 10, n_pairs),)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        states = trained_states(members, given.hidden_size)
    rows = []
    for rank, delays, most in sizes:
        n = min(n_pairs, most)
        rows.append(compare(states, rank, delays, n, min(repeats, n)))
    report("dsa", rows, keep=not given.short and not given.rank)


if __name__ == "__main__":
    main()
