"""Does linear flow resolve? Its floor, what its rank does to it, and how well it tells planted groups apart.

On every task a few networks are trained to the task's threshold, and measured on 4,096 dynamics trials. It was said
beforehand what the primary measure of dynamics has to do: a floor of at most 15% of the value, a value that moves by
at most 5% from rank 15 to 28, and planted groups (another cell, other statistics of the training trials) told apart at
least as well as by Procrustes. Whatever comes out is kept. Run with `python -m tests.benchmarks.linear_flow`.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import silhouette_score

import degeneracy as dg
from degeneracy.analysis import MEASURES, Measured, Recording
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.record import record
from degeneracy.tasks import Task

FOLDER = Path(__file__).parent / "results" / "amd-epyc-2core"
N_TRIALS, RANKS = 4096, (15, 20, 28)
FAST = {"learning_rate": 3e-3, "batch_size": 64}
FLIP_FLOP = dg.tasks.FlipFlop(channels=3, n_steps=50)
# Task, cell, and what of the training is not the task's own.
CASES: dict[str, tuple[Task, str, dict[str, Any]]] = {
    "flip_flop, tanh": (FLIP_FLOP, "tanh", FAST | {"steps_per_epoch": 32}),
    "flip_flop, gru": (FLIP_FLOP, "gru", FAST | {"steps_per_epoch": 32}),
    "delayed_discrimination, tanh": (dg.tasks.DelayedDiscrimination(), "tanh", {"batch_size": 64}),
    "sine_wave, tanh": (dg.tasks.SineWave(), "tanh", {}),
    "lorenz96, tanh": (dg.tasks.Lorenz96(), "tanh", {}),
    "path_integration, gru": (dg.tasks.PathIntegration(), "gru", FAST),
}


def trained(task: Task, cell: str, settings: dict[str, Any], n_members: int) -> Ensemble:
    """The networks that reached the task's threshold."""
    network = dg.Network(cell=cell, hidden_size=64)
    return dg.train(task, network, dg.Training(**settings), seeds=range(n_members), progress=False, jobs=1).converged


def resolved(recording: Recording) -> dict[str, Any]:
    """The value at three ranks, its floor and its one-step error."""
    row: dict[str, Any] = {"n": len(recording)}
    for rank in RANKS:
        found = MEASURES["linear_flow"](rank=rank)(recording)
        finding, error = found.findings
        floor = finding.floor.value if finding.floor else float("nan")
        row[f"rank {rank}"] = {
            "root": signed_root(finding.value.value),
            "floor_share": signed_root(floor / (finding.value.value + floor)),
            "reference": signed_root(finding.reference.value) if finding.reference else None,
            "one_step_error": error.value.value,
        }
    roots = [row[f"rank {rank}"]["root"] for rank in RANKS]
    row["moved by rank"] = (max(roots) - min(roots)) / roots[1]
    return row


def signed_root(square: float) -> float:
    """The root of a square that noise may have made negative, with its sign."""
    return float(np.sign(square) * np.sqrt(abs(square)))


def together(recordings: Sequence[Recording]) -> Recording:
    """Networks of several groups on the same trials as one ensemble."""
    first, second = ([g for one in recordings for g in (one.lag_grams or ((), ()))[half]] for half in (0, 1))
    states = [x for one in recordings for x in one.states or ()]
    return Recording(members=tuple(map(str, range(len(states)))), states=states, lag_grams=(first, second))


def silhouette(found: Measured, groups: Sequence[int]) -> float:
    """How much nearer networks are to their own group than to the next: -1 to 1."""
    distances = next(iter(found.distances.values()))  # of the variant that stands for the measure
    return float(silhouette_score(np.maximum(distances, 0.0), groups, metric="precomputed"))


def told_apart(ensembles: dict[str, Ensemble]) -> dict[str, float]:
    """The silhouettes of planted groups by each measure of dynamics that has one distance per pair."""
    probe = dg.Probe(n_dynamics_trials=N_TRIALS)
    recordings = [record(each, FLIP_FLOP, probe, n_lags=1, n_input_lags=3) for each in ensembles.values()]
    groups = [k for k, each in enumerate(ensembles.values()) for _ in range(len(each))]
    whole = together(recordings)
    names = [
        n for n, kind in MEASURES.items() if kind.level == "dynamics" and kind.pairwise and "step" not in kind.needs
    ]
    return {name: silhouette(MEASURES[name]()(replace(whole, autonomous_states=None)), groups) for name in names}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--out", type=Path, default=FOLDER / "linear_flow.json")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    kept: dict[str, Any] = {"trials": N_TRIALS, "tasks": {}}
    ensembles = {}
    for name, (task, cell, settings) in CASES.items():
        started = time.process_time()
        ensemble = trained(task, cell, settings, asked.members)
        ensembles[name] = ensemble
        seconds = time.process_time() - started
        if len(ensemble) >= 2:
            recording = record(ensemble, task, dg.Probe(n_dynamics_trials=N_TRIALS), n_lags=1)
            kept["tasks"][name] = resolved(recording) | {"cpu_seconds_of_training": seconds}
        else:
            kept["tasks"][name] = {"n": len(ensemble), "cpu_seconds_of_training": seconds}
        print(name, json.dumps(kept["tasks"][name]), flush=True)
        asked.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    rare = FLIP_FLOP.model_copy(update={"switch_probability": 0.1})
    groups = {name: ensembles[name] for name in ("flip_flop, tanh", "flip_flop, gru")}
    groups["flip_flop, tanh, pulses at .1"] = trained(rare, "tanh", CASES["flip_flop, tanh"][2], asked.members)
    kept["silhouettes"] = told_apart(groups)
    print(json.dumps(kept["silhouettes"]))
    asked.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
