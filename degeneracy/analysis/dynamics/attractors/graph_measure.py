"""Attractors as a graph: which brief inputs lead from which to which, how they are laid out, the spectra there."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pydantic
from numpy.typing import NDArray

from degeneracy.analysis.dynamics.attractors.forward_runs import MAX_PERIOD
from degeneracy.analysis.dynamics.attractors.graph_distances import (
    ELSEWHERE_LABEL,
    LEAST_POINTS,
    ending_distance,
    graph_distance,
    skeleton_distance,
    skeleton_spectrum_distance,
)
from degeneracy.analysis.dynamics.attractors.transition_graphs import (
    TransitionGraph,
    label_of,
    pulses_at_once,
    transition_graphs,
)
from degeneracy.analysis.dynamics.attractors.under_inputs import UnderInputs, arrays_under, inputs_of, of_input
from degeneracy.analysis.measure import Measured, nan_finding
from degeneracy.analysis.recording import Array, Recording, StepFunction
from degeneracy.analysis.statistics import by_name, jackknife

BY_PERIOD = tuple(f"n_cycles_{p}" for p in range(2, MAX_PERIOD + 1))
Distance = Callable[[TransitionGraph, TransitionGraph], float]
# The constant input, the graphs of members under it, those of a second search, the pulses, and the members' names.
_Searched = tuple[str, list[TransitionGraph], list[TransitionGraph], Array, Sequence[str]]


class FixedPointGraph(UnderInputs):
    """Which attractors members have, which pulses lead from which to which, and how they are laid out."""

    name: ClassVar[str] = "fixed_point_graph"
    title: ClassVar[str] = "Fixed-point graph"
    aspect: ClassVar[str] = "topology"
    methods: ClassVar[str] = (
        "Attractors under {inputs}, and which pulses lead from which to which, were found by forward runs; graphs were "
        "compared by the share of transitions not in common, with attractors labelled by the readout."
    )
    cost: ClassVar[float] = 1.5
    variant_titles: ClassVar[Mapping[str, str]] = {
        "graph": "graph",
        "endings": "at rest or on cycles",
        "skeleton": "skeleton",
        "spectra": "spectra",
        "n_attractors": "number of attractors",
        "n_cycles": "number of stable cycles",
    }
    averages: ClassVar[tuple[str, ...]] = ("n_attractors", "n_cycles", *BY_PERIOD)
    needs: ClassVar[tuple[str, ...]] = ("step", "readout")
    meaning: ClassVar[str] = (
        "what states run into under constant input, attractors labelled by the sign of each output: share of "
        "transitions under the task's pulses that two members do not share (0 to 1); difference of the shares of "
        "visited states that come to rest and that end on cycles (0 to 1); angle between the layouts of their stable "
        "points; distance of the spectra there; how many attractors, and how many cycles by period"
    )
    zero: ClassVar[str] = "the same graph; as many states at rest; one skeleton up to rotation and scale; equal spectra"
    source: ClassVar[str] = "Sussillo & Barak (2013), Neural Computation 25:626, figure 3; distances ours"

    at_once: int = pydantic.Field(
        1,
        ge=1,
        description="pulses that may come at once, each on channels of its own",
    )
    n_eigenvalues: int = pydantic.Field(8, ge=1, description="eigenvalues per point that are compared")
    seed: int = pydantic.Field(0, ge=0, description="of the starts; the repeat search takes the next")

    def parts(self, recording: Recording) -> list[Callable[[], _Searched]]:
        """The graph of every member, and its repetition from other starts."""
        step = recording.step
        assert step is not None
        return [
            partial(self._search_twice, step.select([k]), held_input, [recording.members[k]])
            for held_input in self.searched_inputs(step.inputs)
            for k in range(len(step.visited))
        ]

    def _search_twice(self, step: StepFunction, held_input: str, members: Sequence[str]) -> _Searched:
        pulses = pulses_at_once(step.pulses, step.inputs[held_input], self.at_once)
        search = partial(transition_graphs, step, held_input, pulses, n_starts=self.starts(step))
        inputs = np.array([pulse.double().cpu().numpy() for pulse in pulses]).reshape(
            len(pulses), len(step.inputs[held_input])
        )
        return held_input, search(seed=self.seed), search(seed=self.seed + 1), inputs, members

    def under(self, held_input: str, done: Sequence[_Searched]) -> Measured:
        """What the searches under one constant input come to."""
        graphs = [graph for part in done for graph in part[1]]
        again = [graph for part in done for graph in part[2]]
        note = _note(graphs, [name for part in done for name in part[4]])
        name = partial(of_input, held_input=held_input)
        findings, distances = [], {}
        for variant, distance, unit in (
            ("graph", graph_distance, ""),
            ("endings", ending_distance, ""),
            ("skeleton", skeleton_distance, "rad"),
            ("spectra", partial(skeleton_spectrum_distance, n_eigenvalues=self.n_eigenvalues), ""),
        ):
            matrix, missing = _matrix(graphs, distance)
            if missing:
                findings.append(nan_finding(name(variant), len(graphs), "; ".join(filter(None, (missing, note)))))
                continue
            floor = jackknife.member_mean(np.array([distance(a, b) for a, b in zip(graphs, again, strict=True)]))
            distances[name(variant)] = matrix
            row = {"floor": floor, "unit": unit, "note": note, "scale": "share" if variant == "graph" else "linear"}
            findings.append(by_name.finding(name(variant), "pair_mean", matrix, of=name(variant), **row))
        counts = _counts(graphs)
        for variant, count in counts.items():
            findings.append(by_name.finding(name(variant), "mean", count, of=name(variant), note=note))
        arrays = {**counts, **_arrays(graphs), "pulse": done[0][3]}
        elsewhere = [graph.n_runs[-1] / graph.n_starts for graph in graphs if graph.n_starts]
        return Measured(
            findings=tuple(findings),
            distances=distances,
            arrays={name(key): array for key, array in arrays.items()},
            diagnostics={name("runs_elsewhere"): float(np.mean(elsewhere))} if elsewhere else {},
        )


def _matrix(graphs: Sequence[TransitionGraph], distance: Distance) -> tuple[Array, str]:
    """The distances of all pairs, and why some have none, "" where all have."""
    matrix = np.zeros((len(graphs), len(graphs)))
    for i, j in combinations(range(len(graphs)), 2):
        matrix[i, j] = matrix[j, i] = distance(graphs[i], graphs[j])
    n_pairs, lacking = len(graphs) * (len(graphs) - 1) // 2, int(np.isnan(matrix).sum()) // 2
    if not lacking:
        return matrix, ""
    if not all(graph.n_starts for graph in graphs):
        return matrix, "no number, as not every network has a graph"
    fewer = "no stable point" if distance is not skeleton_distance else f"fewer than {LEAST_POINTS} stable points"
    return matrix, f"no number: {lacking} of {n_pairs} pairs of networks have {fewer} with a label in common"


def _counts(graphs: Sequence[TransitionGraph]) -> dict[str, Array]:
    """How many attractors and cycles each member has, and how many cycles of each period that any member has."""
    has = np.where([graph.n_starts > 0 for graph in graphs], 1.0, np.nan)
    lengths = [[node.period for node in graph.nodes if not node.is_point] for graph in graphs]
    periods = sorted({p for each in lengths for p in each if p <= MAX_PERIOD})
    return {
        "n_attractors": has * [len(graph.nodes) for graph in graphs],
        "n_cycles": has * [len(each) for each in lengths],
        **{f"n_cycles_{p:.0f}": has * [each.count(p) for each in lengths] for p in periods},
    }


def _note(graphs: Sequence[TransitionGraph], names: Sequence[str]) -> str:
    """What is to be said of the members: of whom there is no graph, and what share of runs ends in no attractor."""
    said = []
    for text in sorted({graph.note for graph in graphs if graph.note}):
        some = [name for name, graph in zip(names, graphs, strict=True) if graph.note == text]
        said.append(f"network{'s' * (len(some) > 1)} {', '.join(some)}: {text}")
    n_elsewhere, n_starts = sum(int(graph.n_runs[-1]) for graph in graphs), sum(graph.n_starts for graph in graphs)
    if n_elsewhere:
        said.append(f"{n_elsewhere / n_starts:.1%} of forward runs end in no attractor")
    return "; ".join(said)


def _arrays(graphs: Sequence[TransitionGraph]) -> dict[str, NDArray[Any]]:
    """The states of all members' attractors one below the other, and all transitions.

    `node` numbers a member's attractors, in the order of their labels; the states of one follow in the order of steps.
    """
    nodes = [(k, i, node) for k, graph in enumerate(graphs) for i, node in enumerate(graph.nodes)]
    widths = {node.position.shape[1] for *_, node in nodes}
    turns = [node.position for *_, node in nodes]
    found = [(k, *at) for k, graph in enumerate(graphs) for at in np.argwhere(graph.shares).tolist()]
    table = np.array(found, dtype=np.int64).reshape(-1, 4)
    to = np.where(table[:, 3] == np.array([len(graph.nodes) for graph in graphs])[table[:, 0]], -1, table[:, 3])
    arrays: dict[str, NDArray[Any]] = {
        "node_member": np.repeat([k for k, *_ in nodes], [len(turn) for turn in turns]).astype(np.int64),
        "node": np.repeat([i for _, i, _ in nodes], [len(turn) for turn in turns]).astype(np.int64),
        "node_period": np.repeat([node.period for *_, node in nodes], [len(turn) for turn in turns]),
        "transition_member": table[:, 0],
        "transition_pulse": table[:, 1],
        "transition_from": table[:, 2],
        "transition_to": to,
        "transition_share": np.array([graphs[k].shares[p, i, j] for k, p, i, j in table.tolist()]),
    }
    if len(widths) == 1:  # members of different sizes have no common array
        arrays["node_position"] = np.concatenate(turns)
        arrays["node_readout"] = np.concatenate([node.readout for *_, node in nodes])
    return arrays


def node_labels(arrays: Mapping[str, NDArray[Any]]) -> dict[tuple[int, int], str]:
    """What the readout says at each attractor, by member and number, in the arrays under one constant input.

    Raises:
        KeyError: not the arrays of this measure, or of members of different sizes.
    """
    labels = {}
    for member, node in sorted(set(zip(arrays["node_member"].tolist(), arrays["node"].tolist(), strict=True))):
        of_node = (arrays["node_member"] == member) & (arrays["node"] == node)
        labels[member, node] = label_of(arrays["node_readout"][of_node], float(arrays["node_period"][of_node][0]))
    return labels


def transition_rows(arrays: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """The transitions in the arrays of the measure, one row each, attractors by their labels.

    Raises:
        KeyError: not the arrays of this measure, or of members of different sizes.
    """
    rows: list[dict[str, Any]] = []
    for held_input in inputs_of(arrays, "node_readout"):
        under = arrays_under(arrays, held_input)
        labels = node_labels(under)
        columns = (under[f"transition_{name}"].tolist() for name in ("member", "pulse", "from", "to", "share"))
        for member, pulse, start, end, share in zip(*columns, strict=True):
            values = ", ".join(f"{value:g}" for value in under["pulse"][pulse])
            to = labels.get((member, end), ELSEWHERE_LABEL)
            ends = {"from": labels[member, start], "to": to, "share": share}
            rows.append({"member": member, "input": held_input, "pulse": f"({values})", **ends})
    return rows
