"""What states run into under a constant input, and which brief inputs lead from one such attractor to another.

Attractors are where forward runs of visited states end: stable fixed points, cycles of a whole number of steps, and
closed curves that a run goes round and round in any number of steps (the limit cycles of continuous time). From each,
every pulse is given and the run goes on without it: what that ends in is an attractor too, so that the graph is closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.analysis.dynamics.attractors.fixed_point_search import (
    MARGINAL,
    affine_part,
    affine_step,
    distinct,
    draw_starts,
    host,
    move,
    polish,
    scale,
)
from degeneracy.analysis.dynamics.attractors.fixed_points import COARSE_DISTANCE, marginal, point_spectra
from degeneracy.analysis.dynamics.attractors.forward_runs import (
    APPROACHING,
    MAX_PERIOD,
    SAME_END,
    SETTLED,
    Cycle,
    new_cycles,
    periods,
    run_forward,
    state_distances,
)
from degeneracy.analysis.dynamics.attractors.orbits import distance_to_orbit, orbit_from
from degeneracy.analysis.dynamics.spectra import Spectra
from degeneracy.analysis.recording import Array, StepFunction

TOLERANCE = 1e-10  # the largest speed of a fixed point, as in the search for all of them
UNIQUE = 1e-3  # points closer than this are one: root-mean-square difference over the state's units
# Ends of runs closer than this share of `near` are solved once: a run that has settled is nearer than that to a point
# whose slowest eigenvalue is under .997.
TOGETHER = 0.1
MAX_POINTS = 512
MAX_ORBITS = 8  # runs of one member that are followed in search of a closed curve without finding one
MAX_ROUNDS = 5  # in which pulses may lead to attractors that are new
N_PULSED = 16  # phases of a closed curve that pulses are given at, or a few more
ELSEWHERE = -1


@dataclass(frozen=True, kw_only=True)
class Attractor:
    """A stable fixed point (period 1), a stable cycle of a few steps, or a closed curve of any longer period."""

    position: Array  # (phase, state), in the order of the steps; of a closed curve, evenly spaced phases of one turn
    period: float  # steps
    eigenvalues: Spectra  # (state,) of the Jacobian of one period; none, (0,), of a closed curve
    readout: NDArray[np.int64]  # (phase, out): the sign of each output, 0 where it is small

    @property
    def is_point(self) -> bool:
        """Whether it is a fixed point."""
        return self.period == 1

    @property
    def label(self) -> str:
        """What the readout says there, see `label_of`."""
        return label_of(self.readout, self.period)


def label_of(readout: NDArray[np.int64], period: float) -> str:
    """What the signs of outputs (phase, out) say, in words: "+-0" of a point, "(+ -)" of a cycle.

    A cycle's phases begin so that its label comes first in order. Of a closed curve, what holds for one of its phases
    alone is left out, and what holds for several is named once.
    """
    words = ["".join("-0+"[sign + 1] for sign in row) for row in readout.tolist()]
    if period == 1:
        return words[0]
    if period > MAX_PERIOD:
        words = [word for k, word in enumerate(words) if word in (words[k - 1], words[(k + 1) % len(words)])]
        words = [word for k, word in enumerate(words) if word != words[k - 1]] or words[:1]
    return f"({min(' '.join(words[k:] + words[:k]) for k in range(len(words)))})"


@dataclass(frozen=True, kw_only=True)
class TransitionGraph:
    """The attractors of one member under a constant input, and where pulses lead from each.

    `shares[p, i, j]` is the share of the phases of attractor i (a point has one) from which pulse p leads to attractor
    j; the last j stands for anything else, such as a run without end. `note` says why there is no graph, or why the
    number of attractors has no meaning.
    """

    nodes: tuple[Attractor, ...]  # by label, then first coordinate
    shares: Array  # (pulse, node, node + 1); rows sum to 1
    n_runs: NDArray[np.int64]  # (node + 1,): forward runs of visited states that end in each, the last one in none
    note: str = ""

    @property
    def n_starts(self) -> int:
        """Visited states that were run forward, from which the step is finite; 0: there is no graph."""
        return int(self.n_runs.sum())


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """Runs of one member under a constant input."""

    step: StepFunction
    quick: StepFunction  # the same step, written out where it can be
    inner: Tensor | None
    x: Tensor
    near: float

    def ends(self, states: Tensor) -> tuple[Array, Array]:
        """Where runs from states (state, unit) end, and their gaps: see `forward_runs.RunEnds`."""
        ended = run_forward(self.quick, states[None], self.x, [self.near])
        return host(ended.state[0]), host(ended.gap[0])


def transition_graphs(
    step: StepFunction, held_input: str, pulses: Sequence[Tensor], *, n_starts: int, seed: int
) -> list[TransitionGraph]:
    """The attractors of every member under a constant input, and where each pulse leads from each of them.

    Args:
        step: of all members, with a readout.
        held_input: the name in `step.inputs` of the one that is held constant.
        pulses: inputs, (in,) each, that stand in its place for `step.pulse_steps` steps.
        n_starts: runs per member, from visited states drawn without replacement.
        seed: of the draw.

    Returns:
        One graph per member, in their order; each depends on that member alone.
    """
    starts = draw_starts(step.visited, n_starts, 0.0, seed)
    x = step.inputs[held_input]
    return [_graph(step.select([k]), starts[[k]], x, pulses) for k in range(len(starts))]


def _graph(step: StepFunction, starts: Tensor, x: Tensor, pulses: Sequence[Tensor]) -> TransitionGraph:
    if step.faults and step.faults[0]:
        return _none(step.faults[0])
    assert step.read_out is not None
    if not step.read_out(step.visited).isfinite().all():
        return _none("the readout is not finite")
    usable = move(step, starts, x).isfinite().all(-1)[0]
    starts = starts[:, usable]
    if not starts.shape[1]:
        return _none("the step is not finite at any start")
    inner = affine_part(step, starts, x)
    quick = step if inner is None else affine_step(step, inner, starts, x)
    runs = _Runs(step=step, quick=quick, inner=inner, x=x, near=COARSE_DISTANCE * scale(starts).item())
    nodes, which = _grown(runs, [], *runs.ends(starts[0]))
    nodes, shares = _transitions(runs, nodes, pulses)
    order = sorted(range(len(nodes)), key=lambda k: (nodes[k].label, nodes[k].position[0, 0]))
    on_continuum = any(node.is_point and marginal(node.eigenvalues[None])[0] for node in nodes)
    return TransitionGraph(
        nodes=tuple(nodes[k] for k in order),
        shares=shares[:, order][:, :, [*order, len(nodes)]],
        n_runs=np.append(np.bincount(which[which >= 0], minlength=len(nodes))[order], (which == ELSEWHERE).sum()),
        note="points on a continuum, whose number has no meaning" if on_continuum else "",
    )


def _none(reason: str) -> TransitionGraph:
    return TransitionGraph(nodes=(), shares=np.zeros((0, 0, 1)), n_runs=np.zeros(1, dtype=np.int64), note=reason)


def _grown(
    runs: _Runs, known: Sequence[Attractor], ends: Array, gap: Array
) -> tuple[list[Attractor], NDArray[np.int64]]:
    """The known attractors with those that the ends show, and which each end is in (`ELSEWHERE` for none)."""
    nodes, which = list(known), np.full(len(ends), ELSEWHERE)
    bounded = np.asarray(np.isfinite(ends).all(axis=1))

    def left() -> NDArray[np.bool_]:
        which[bounded] = _nearest(ends[bounded], gap[bounded], nodes, runs.near)
        return np.asarray(bounded & (which == ELSEWHERE))

    slow = left() & (gap[:, 0] <= APPROACHING)
    if slow.any():
        nodes += _new_points(runs, ends[slow], [node.position for node in nodes if node.is_point])
    for share in (SETTLED, APPROACHING):
        period = periods(gap, share) * left()
        for p in sorted(set(period[period > 1].tolist())):
            nodes += _new_cycles(runs, ends[period == p], p, nodes, share == SETTLED)
    for _ in range(MAX_ORBITS):
        others = np.flatnonzero(left())
        if not len(others):
            break
        orbit = orbit_from(runs.quick, ends[others[0]], runs.x, runs.near)
        bounded[others[0]] = orbit is not None
        if orbit is not None:
            no_eigenvalues = np.zeros(0, dtype=np.complex128)
            nodes.append(_attractor(runs.step, orbit.position, orbit.period, no_eigenvalues))
            bounded[others[0]] = _nearest(ends[others[:1]], gap[others[:1]], nodes, runs.near)[0] != ELSEWHERE
    left()
    return nodes, which


def _attractor(step: StepFunction, position: Array, period: float, eigenvalues: Spectra) -> Attractor:
    return Attractor(position=position, period=period, eigenvalues=eigenvalues, readout=_signs(step, position))


def _signs(step: StepFunction, states: Array) -> NDArray[np.int64]:
    """What the readout says at states (state, unit): the sign of each output, 0 under half of its usual size.

    That size is the root mean square over the visited states. Where outputs are decisions, these: +1 and -1.
    """
    assert step.read_out is not None
    h = torch.from_numpy(states).to(step.visited.device)[None]
    outputs = step.read_out(h)
    if step.decide is not None:
        return host(2 * step.decide(outputs).double() - 1)[0].astype(np.int64)
    usual = step.read_out(step.visited.to(h.dtype)).square().mean(1, keepdim=True).sqrt()
    return host(torch.where(outputs.abs() >= usual / 2, outputs.sign(), 0.0))[0].astype(np.int64)


def _nearest(ends: Array, gap: Array, nodes: Sequence[Attractor], near: float) -> NDArray[np.int64]:
    """The attractor that each end is in: near it, and back after its period where that is a few steps."""
    distance = np.full((len(ends), len(nodes) + 1), np.inf)
    for k, node in enumerate(nodes):
        if node.period > MAX_PERIOD:
            distance[:, k] = distance_to_orbit(ends, node.position)
        else:
            back = gap[:, int(node.period) - 1] <= APPROACHING
            distance[:, k] = np.where(back, state_distances(ends, node.position).min(axis=1), np.inf)
    return np.where(distance.min(axis=1) <= SAME_END * near, distance.argmin(axis=1), ELSEWHERE)


def _new_points(runs: _Runs, ends: Array, known: Sequence[Array]) -> list[Attractor]:
    """The stable fixed points near the ends that are not known; on a continuum, at the spacing of neighbourhoods."""
    [(solved, speed)] = polish(runs.quick, [distinct(ends, TOGETHER * runs.near)], runs.x, runs.inner)
    before = np.concatenate([ends[:0], *known])
    points = distinct(np.concatenate([before, solved[speed <= TOLERANCE]]), UNIQUE)[:MAX_POINTS][len(before) :]
    if not len(points):
        return []
    if runs.inner is not None:  # by the step itself, from which the one that is written out differs by rounding
        [(points, speed)] = polish(runs.step, [points], runs.x, runs.inner)
        points = points[speed <= TOLERANCE]
    h = torch.from_numpy(points).to(runs.step.visited.device)[None]
    spectra = point_spectra(runs.step, runs.x, h)
    stable = (abs(spectra) <= 1 + MARGINAL).all(axis=1)
    on_continuum = stable & marginal(spectra)
    alone = [k for k in np.flatnonzero(stable) if not on_continuum[k]]
    spaced = distinct(np.concatenate([before, points[on_continuum]]), runs.near)
    alone += [k for k in np.flatnonzero(on_continuum) if (points[k] == spaced).all(axis=1).any()]
    return [_attractor(runs.step, points[[k]], 1.0, spectra[k]) for k in alone]


def _new_cycles(runs: _Runs, ends: Array, period: int, nodes: Sequence[Attractor], settled: bool) -> list[Attractor]:
    """The stable cycles near the ends that are not among the nodes."""
    known = [Cycle(position=node.position, eigenvalues=node.eigenvalues, n_runs=0) for node in nodes]
    cycles = new_cycles(runs.step, runs.x, ends, period, runs.near, TOLERANCE, known, settled)
    return [
        _attractor(runs.step, cycle.position, float(len(cycle.position)), cycle.eigenvalues)
        for cycle in cycles
        if cycle.is_stable
    ]


def _transitions(runs: _Runs, nodes: list[Attractor], pulses: Sequence[Tensor]) -> tuple[list[Attractor], Array]:
    """All attractors that pulses lead to from one another, and the shares of a `TransitionGraph`."""
    phases: list[Array] = []
    which = np.zeros((len(pulses), 0), dtype=np.int64)
    for _ in range(MAX_ROUNDS):
        fresh = [_phases(node) for node in nodes[len(phases) :]]
        if not pulses or not fresh:
            break
        phases += fresh
        after = torch.cat([_pulsed(runs.step, np.concatenate(fresh), pulse) for pulse in pulses])
        ended = runs.ends(after)
        nodes, to = _grown(runs, nodes, *ended)
        which = np.concatenate([which, to.reshape(len(pulses), -1)], axis=1)
    shares = np.zeros((len(pulses), len(nodes), len(nodes) + 1))
    owner = np.repeat(np.arange(len(phases)), [len(h) for h in phases])
    for p, to in enumerate(which):
        np.add.at(shares[p], (owner, to), 1.0)
    shares[:, len(phases) :, -1] = 1.0  # of attractors that the last round has shown, no pulse was tried
    return nodes, shares / np.maximum(shares.sum(axis=2, keepdims=True), 1.0)


def _phases(node: Attractor) -> Array:
    """The states of an attractor that pulses are given at, (phase, state)."""
    if node.period <= MAX_PERIOD:
        return node.position
    return node.position[:: max(1, len(node.position) // N_PULSED)]


def _pulsed(step: StepFunction, states: Array, pulse: Tensor) -> Tensor:
    """States (state, unit) after the pulse, in the precision of visited ones."""
    h = torch.from_numpy(states).to(step.visited.device)[None]
    with torch.no_grad():
        for _ in range(step.pulse_steps):
            h = step.step(h, pulse.to(h).expand(*h.shape[:2], -1))
    return h[0].to(step.visited.dtype)


def pulses_at_once(pulses: Sequence[Tensor], held: Tensor, at_once: int) -> list[Tensor]:
    """The pulses that differ from the held input, and sums of up to `at_once` that act on different channels.

    Of the flip-flop's 2K pulses of one bit, K at once make all 3^K - 1.

    Args:
        pulses: (in,) each.
        held: the constant input, (in,).
        at_once: how many pulses may come in one step.
    """
    single = [pulse - held for pulse in pulses if not torch.equal(pulse, held)]
    sums, last = list(single), [(k, change) for k, change in enumerate(single)]
    for _ in range(at_once - 1):
        last = [
            (j, change + single[j])
            for k, change in last
            for j in range(k + 1, len(single))
            if not ((change != 0) & (single[j] != 0)).any()
        ]
        sums += [change for _, change in last]
    return [held + change for change in sums]
