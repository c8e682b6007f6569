"""Step functions for tests of fixed points: systems whose points are known, networks trained and untrained."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from degeneracy.analysis.dynamics.attractors.fixed_points import (
    FixedPoints,
)
from degeneracy.analysis.recording import StepFunction

TRAINED = Path(__file__).with_name("data") / "flipflop3_tanh64.safetensors"
CUBE = {0: 8, 1: 12, 2: 6, 3: 1}  # corners, edges, faces and centre of a cube: 27 points
NETWORK_KEYS = ("recurrent", "input", "bias")
Network = dict[str, torch.Tensor]


def step_of(function, visited, inputs=None, weights=()):
    """The step function(h, x, *weights), every weight with a leading member axis."""
    inputs = {"none": torch.zeros(1)} if inputs is None else inputs

    def select(members):
        chosen = list(members)
        return step_of(function, visited[chosen], inputs, [w[chosen] for w in weights])

    def step(h, x):
        return function(h, x, *(w.to(h.dtype) for w in weights))

    return StepFunction(step=step, hidden=lambda h: h, select=select, visited=visited, inputs=inputs)


def tanh_cell(h, x, w_rec, w_in, bias):
    return torch.tanh(h @ w_rec.mT + x @ w_in.mT + bias[:, None])


def tanh_step(networks: list[Network], visited=None, inputs=None) -> StepFunction:
    weights = [torch.stack([n[key] for n in networks]) for key in NETWORK_KEYS]
    if visited is None:
        visited = visited_states(weights)
    inputs = {"none": torch.zeros(weights[1].shape[-1])} if inputs is None else inputs
    return step_of(tanh_cell, visited, inputs, weights)


def visited_states(weights, n_trials=32, n_steps=50) -> torch.Tensor:
    """(member, trial * time, unit) on flip-flop trials: each channel is -1 or +1 with probability 0.3."""
    gen = torch.Generator().manual_seed(5)
    n_members, n_units, n_channels = weights[1].shape
    shape = (n_steps, n_trials, n_channels)
    pulses = torch.sign(torch.rand(shape, generator=gen) - 0.5) * (torch.rand(shape, generator=gen) < 0.3)
    h, states = torch.zeros(n_members, n_trials, n_units), []
    for x in pulses:
        h = tanh_cell(h, x, *weights)
        states.append(h)
    return torch.cat(states, dim=1)


def uniform(shape, seed=0, size=1.0):
    return size * (2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1)


def trained() -> Network:
    return load_file(TRAINED)


def untrained(n_units=64, n_channels=3, seed=1) -> Network:
    size = n_units**-0.5
    shapes = {"recurrent": (n_units, n_units), "input": (n_units, n_channels), "bias": (n_units,)}
    return {key: uniform(shape, seed + k, size) for k, (key, shape) in enumerate(shapes.items())}


def independent_units(n_units, gain=2.0, n_visited=256) -> StepFunction:
    """h_i' = tanh(gain h_i): every unit on its own."""
    return step_of(lambda h, _: torch.tanh(gain * h), uniform((1, n_visited, n_units)))


def same_set(a: FixedPoints, b: FixedPoints, tolerance: float) -> bool:
    if a.position.shape != b.position.shape:
        return False
    if len(a) == 0:
        return True
    gap = np.abs(a.position[:, None] - b.position[None]).max(-1)
    return bool(gap.min(0).max() < tolerance and gap.min(1).max() < tolerance)
