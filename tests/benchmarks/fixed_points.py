"""Fixed points of trained 3-bit flip-flop networks from 256 starts each, against a loop written plainly.

The plain loop goes network by network: torch's Adam on the speed of all starts, then Levenberg-Marquardt in numpy for
one state after another, with the Jacobian of the tanh cell written out, and restarts from all midpoints as ours has.
Run with `python -m tests.benchmarks.fixed_points`.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

import degeneracy as dg
from degeneracy.analysis.dynamics.attractors.fixed_points import find_fixed_points
from degeneracy.analysis.recording import StepFunction
from degeneracy.measuring.probe import Probe
from degeneracy.measuring.record import record
from tests.benchmarks.timing import Row, interleaved, report, versus

Array = NDArray[np.float64]
N_STARTS = 256
N_ADAM = 300
NEAR = 0.1  # of the starts' root mean square: one neighbourhood


def trained(n_units: int, n_members: int, channels: int) -> tuple[StepFunction, dict[str, Array]]:
    """The step of the members that converged, and their weights."""
    training = dg.Training(learning_rate=3e-3, batch_size=64, steps_per_epoch=32)
    task = dg.tasks.FlipFlop(channels=channels, n_steps=50)
    network = dg.Network(hidden_size=n_units)
    ensemble = dg.train(task, network, training, seeds=range(n_members), progress=False).converged
    step = record(ensemble, task, Probe()).step
    assert step is not None
    weights = {name: value.astype(np.float64) for name, value in ensemble.weights().items()}
    return step, weights


def plain_loop(visited: torch.Tensor, w: Array, b: Array) -> Array:
    """The fixed points of h -> tanh(w h + b)."""
    rows = torch.randperm(len(visited), generator=torch.Generator().manual_seed(0))[:N_STARTS]
    starts = visited[rows].detach()
    size = float(starts.square().mean().sqrt())
    h = starts.clone().requires_grad_()
    weight, bias = torch.from_numpy(w).float(), torch.from_numpy(b).float()
    optimiser = torch.optim.Adam([h], lr=0.04 * size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / N_ADAM, N_ADAM)
    for _ in range(N_ADAM):
        optimiser.zero_grad()
        (0.5 * (torch.tanh(h @ weight.T + bias) - h).square().sum()).backward()
        optimiser.step()
        schedule.step()
    states = distinct(h.detach().double().numpy(), NEAR * size)
    points: list[Array] = []
    for _ in range(6):
        ends = [levenberg_marquardt(state, w, b) for state in states]
        n_old = len(points)
        for end, speed in ends:
            if speed < 1e-10 and all(rms(end - point) > 1e-3 for point in points):
                points.append(end)
        pairs = [pair for pair in combinations(range(len(points)), 2) if pair[1] >= n_old]
        middle = [(points[i] + points[j]) / 2 for i, j in pairs]
        states = [m for m in middle if all(rms(m - point) > NEAR * size for point in points)]
        states = distinct(np.array(states).reshape(-1, len(w)), NEAR * size)
        if not states:
            break
    return np.array(points)


def levenberg_marquardt(h: Array, w: Array, b: Array) -> tuple[Array, float]:
    damping, identity = 1e-2, np.eye(len(w))
    moved = np.tanh(w @ h + b) - h
    for _ in range(40):
        speed = float(np.linalg.norm(moved))
        if speed < 1e-13 or damping > 1e6:
            break
        jacobian = (1 - (h + moved) ** 2)[:, None] * w - identity
        normal = jacobian.T @ jacobian + damping * speed**2 * identity
        new = h - np.linalg.solve(normal, jacobian.T @ moved)
        new_moved = np.tanh(w @ new + b) - new
        if np.linalg.norm(new_moved) < speed:
            h, moved, damping = new, new_moved, max(damping / 4, 1e-4)
        else:
            damping *= 8
    return h, float(np.linalg.norm(moved))


def distinct(states: Array, tolerance: float) -> list[Array]:
    kept: list[Array] = []
    for state in states:
        if all(rms(state - other) > tolerance for other in kept):
            kept.append(state)
    return kept


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def compared(name: str, step: StepFunction, weights: dict[str, Array], repeats: int) -> Row:
    last: dict[str, list[int]] = {}
    members = range(len(step.visited))

    def ours() -> None:
        last["ours"] = [len(found) for found in find_fixed_points(step, n_starts=N_STARTS)]

    def peer() -> None:
        last["peer"] = [len(plain_loop(step.visited[k], weights["W_rec"][k], weights["bias"][k])) for k in members]

    seconds = interleaved({"ours": ours, "peer": peer}, repeats=repeats)
    return versus(name, seconds, networks=len(members), points=last["ours"], peer_points=last["peer"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one small network, 2 repeats; nothing kept")
    short = parser.parse_args(argv).short
    torch.set_num_threads(1)
    if short:
        rows = [compared("2-bit flip-flop, 16 units", *trained(16, 1, channels=2), 2)]
    else:
        rows = [compared("3-bit flip-flop, 64 units", *trained(64, 6, channels=3), 5)]
    report("fixed_points", rows, keep=not short)


if __name__ == "__main__":
    main(sys.argv[1:])
