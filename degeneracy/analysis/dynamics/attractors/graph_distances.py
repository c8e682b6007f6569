"""How far the attractors of two networks are apart: their transition graphs, their layout, the spectra at each."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from degeneracy.analysis.dynamics.attractors.transition_graphs import Attractor, TransitionGraph
from degeneracy.analysis.dynamics.spectra import leading, wasserstein_distances
from degeneracy.analysis.recording import Array

# Two points, or one, have only one layout up to rotation and scale.
LEAST_POINTS = 3
ELSEWHERE_LABEL = "elsewhere"
Transition = tuple[int, str, str]  # pulse (-1: none), from, to


def transitions(graph: TransitionGraph) -> Mapping[Transition, float]:
    """How many attractors of each label lead to which label, by pulse; without a pulse each leads to itself."""
    labels = [*(node.label for node in graph.nodes), ELSEWHERE_LABEL]
    counts: Counter[Transition] = Counter()
    for i in range(len(graph.nodes)):
        counts[-1, labels[i], labels[i]] += 1
        for p, j in zip(*np.nonzero(graph.shares[:, i]), strict=True):
            counts[int(p), labels[i], labels[j]] += graph.shares[p, i, j]
    return counts


def graph_distance(a: TransitionGraph, b: TransitionGraph) -> float:
    """The share of transitions that two graphs do not have in common.

    With n(t) the number of attractors that make transition t = (pulse, label, label),

        d = 1 - sum_t min(n_a(t), n_b(t)) / sum_t max(n_a(t), n_b(t)).

    Attractors correspond by their labels, which is what the readout says there, so that nothing is matched; those of
    one label in one network count together.

    Returns:
        0: as many attractors of each label, and all pulses lead to the same labels; 1: no transition in common; NaN
        where either network has no graph. The triangle inequality holds.

    Source:
        The weighted Jaccard distance; Kosub (2019), Pattern Recognition Letters 120, proves the triangle inequality.
    """
    if not a.n_starts or not b.n_starts:
        return float("nan")
    mine, theirs = transitions(a), transitions(b)
    apart = sum(abs(mine.get(t, 0.0) - theirs.get(t, 0.0)) for t in mine.keys() | theirs.keys())
    both = sum(mine.values()) + sum(theirs.values())
    # sum max = (sum of both + sum of |difference|) / 2 and sum min = (sum of both - sum of |difference|) / 2
    return 2 * apart / (both + apart) if both else 0.0


def ending_distance(a: TransitionGraph, b: TransitionGraph) -> float:
    """How differently often visited states of two networks come to rest, run onto cycles, or do neither.

    Returns:
        Half the sum of the absolute differences of the three shares: 0: as often; 1: where one network rests, the other
        never does; NaN where either has no graph. The triangle inequality holds.
    """
    if not a.n_starts or not b.n_starts:
        return float("nan")
    return float(abs(_endings(a) - _endings(b)).sum() / 2)


def _endings(graph: TransitionGraph) -> Array:
    """The shares of forward runs that end in points, in cycles, and in neither."""
    points = np.array([node.is_point for node in graph.nodes], dtype=bool)
    runs = graph.n_runs[:-1]
    return np.array([runs[points].sum(), runs[~points].sum(), graph.n_runs[-1]]) / graph.n_starts


def _matched(a: TransitionGraph, b: TransitionGraph) -> list[tuple[Attractor, Attractor]]:
    """The fixed points of two networks that correspond: those that alone bear a label in both."""
    mine, theirs = _alone(a), _alone(b)
    return [(mine[label], theirs[label]) for label in sorted(mine.keys() & theirs.keys())]


def _alone(graph: TransitionGraph) -> dict[str, Attractor]:
    points = [node for node in graph.nodes if node.is_point]
    counts = Counter(node.label for node in points)
    return {node.label: node for node in points if counts[node.label] == 1}


def skeleton_distance(a: TransitionGraph, b: TransitionGraph) -> float:
    """The angle between the layouts of the fixed points of two networks, which correspond by their labels.

    With X, Y (point, unit) centred and of norm 1, d = 2 arcsin(min_R ||X - Y R|| / 2) over rotations and reflections R.

    Returns:
        Radians: 0: the same skeleton up to rotation, translation and scale; pi/2: nothing in common. NaN where fewer
        than 3 points correspond. Networks may differ in size.
    """
    pairs = _matched(a, b)
    if len(pairs) < LEAST_POINTS:
        return float("nan")
    x, y = (_normed(np.concatenate([pair[k].position for pair in pairs])) for k in (0, 1))
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (x, y))
    left, _, right = np.linalg.svd(y.T @ x)
    # By the difference and not by the cosine, which near 1 is blind to angles under 1.5e-8.
    apart = float(np.linalg.norm(x - y @ (left @ right)))
    return float(2 * np.arcsin(min(1.0, apart / 2)))


def _normed(points: Array) -> Array:
    centred = points - points.mean(axis=0)
    normed: Array = centred / np.linalg.norm(centred)
    return normed


def skeleton_spectrum_distance(a: TransitionGraph, b: TransitionGraph, n_eigenvalues: int) -> float:
    """The mean distance of the Jacobians' leading spectra at the fixed points that correspond.

    Returns:
        Root mean squared difference of matched eigenvalues (`spectra.wasserstein_distances`), 0: the same spectra; NaN
        where no points correspond.
    """
    pairs = _matched(a, b)
    if not pairs:
        return float("nan")
    spectra = (leading(np.stack([pair[k].eigenvalues for pair in pairs]), n_eigenvalues) for k in (0, 1))
    return float(np.mean([wasserstein_distances(p[None], q[None])[0, 0] for p, q in zip(*spectra, strict=True)]))
