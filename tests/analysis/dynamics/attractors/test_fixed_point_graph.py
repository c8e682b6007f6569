"""Attractors and which pulses lead from which to which, on networks whose graphs are known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixed_point_systems import NETWORK_KEYS, trained, uniform, untrained, visited_states

from degeneracy.analysis.dynamics.attractors.graph_distances import (
    ending_distance,
    graph_distance,
    skeleton_distance,
    skeleton_spectrum_distance,
)
from degeneracy.analysis.dynamics.attractors.graph_measure import FixedPointGraph, transition_rows
from degeneracy.analysis.dynamics.attractors.transition_graphs import (
    Attractor,
    TransitionGraph,
    pulses_at_once,
    transition_graphs,
)
from degeneracy.analysis.recording import Recording, StepFunction
from degeneracy.measuring.record import step_function
from degeneracy.networks.pointwise import TanhCell
from degeneracy.tasks import FlipFlop, StreamingParity

NOTHING = {"none": torch.zeros(1)}


def network_step(params, visited, task) -> StepFunction:
    """The step of tanh networks, given by their recurrent, input and readout weights and biases, on a task."""
    names = {"W_rec": "recurrent", "W_in": "input", "bias": "bias", "W_out": "readout", "b_out": "readout_bias"}
    return step_function(
        TanhCell(),
        {name: torch.stack([each[key] for each in params]) for name, key in names.items()},
        visited,
        {name: torch.tensor(values) for name, values in task.held_inputs().items()},
        decide=task.loss.decide,
        pulses=tuple(torch.tensor(values) for values in task.pulses()),
        pulse_steps=task.pulse_steps,
    )


def flip_flop_by_hand(channels=3, gain=2.0, pulse=6.0):
    """Each unit holds one bit by itself: h' = tanh(gain h + pulse u), at rest where h = tanh(gain h)."""
    eye, nothing = torch.eye(channels), torch.zeros(channels)
    return {"recurrent": gain * eye, "input": pulse * eye, "bias": nothing, "readout": eye, "readout_bias": nothing}


def parity_by_hand():
    """One unit per parity p and last token c, near 1 where both hold and near -1 where not.

    Unit (p, c) comes on where token c comes and a unit of parity p xor c was on: of these two, one being on sums to 0
    and none to -2, so that sum + 2 token - 1 is 1 in that case and -1 or less in all others.
    """
    units = [(p, c) for p in (0, 1) for c in (0, 1)]
    recurrent = torch.tensor([[float(q == p ^ c) for q, _ in units] for p, c in units])
    tokens = torch.tensor([[2.0 * (c == token) for token in (0, 1)] for _, c in units])
    odd = torch.tensor([[1.0 if p else -1.0 for p, _ in units]])
    gain = 5.0
    return {
        "recurrent": gain * recurrent, "input": gain * tokens, "bias": -gain * torch.ones(4),
        "readout": odd, "readout_bias": torch.zeros(1),
    }  # fmt: skip


def parity_step(n_members=1):
    """On random tokens, from parity 0 and token 0 on."""
    network, h = parity_by_hand(), torch.tensor([[1.0, -1.0, -1.0, -1.0]]).expand(8, 4)
    tokens = torch.eye(2)[torch.randint(0, 2, (20, 8), generator=torch.Generator().manual_seed(3))]
    states = []
    for x in tokens:
        h = torch.tanh(h @ network["recurrent"].mT + x @ network["input"].mT + network["bias"])
        states.append(h)
    visited = torch.cat(states).expand(n_members, -1, -1)
    return network_step([network] * n_members, visited, StreamingParity())


def graph(step, held_input="none", n_starts=128, seed=0, at_once=1) -> TransitionGraph:
    pulses = pulses_at_once(step.pulses, step.inputs[held_input], at_once)
    [found] = transition_graphs(step, held_input, pulses, n_starts=n_starts, seed=seed)
    return found


def trained_step():
    network = trained()
    return network_step([network], visited_states([network[key][None] for key in NETWORK_KEYS]), FlipFlop(channels=3))


def flip_flop_step():
    return network_step([flip_flop_by_hand()], uniform((1, 256, 3)), FlipFlop(channels=3))


def led_to(found: TransitionGraph, pulse: int, node: int) -> str:
    """The label of the attractor that a pulse leads to for certain."""
    [to] = np.flatnonzero(found.shares[pulse, node])
    assert found.shares[pulse, node, to] == 1
    return found.nodes[to].label


def held_bits(label: str, pulse: torch.Tensor) -> str:
    """What a flip-flop holds after a pulse."""
    return "".join({1.0: "+", -1.0: "-"}.get(u, bit) for u, bit in zip(pulse.tolist(), label, strict=True))


class TestFlipFlops:
    @pytest.mark.parametrize("make", [flip_flop_step, trained_step])
    def test_eight_stable_points_and_every_pulse_leads_to_the_right_one(self, make):
        step = make()
        for at_once, n_pulses in ((1, 6), (3, 3**3 - 1)):
            pulses = pulses_at_once(step.pulses, step.inputs["none"], at_once)
            assert len({tuple(pulse.tolist()) for pulse in pulses}) == len(pulses) == n_pulses
            found = graph(step, at_once=at_once)
            labels = [node.label for node in found.nodes]
            assert labels == ["".join(bits) for bits in itertools.product("+-", repeat=3)]
            assert (found.n_runs[-1], found.note) == (0, "")
            for (p, pulse), (i, label) in itertools.product(enumerate(pulses), enumerate(labels)):
                assert led_to(found, p, i) == held_bits(label, pulse)

    def test_a_bit_that_is_pulsed_changes_along_24_edges(self):
        found = graph(trained_step())
        off_diagonal = found.shares[:, :, :-1] * (1 - np.eye(8))
        # A cube's 12 edges, each in both directions.
        assert off_diagonal.sum() == 24

    def test_the_transitions_are_those_of_running_the_network(self):
        """By hand: the pulse, then 400 steps without input, and the sign of the outputs."""
        step, found = trained_step(), graph(trained_step())
        for (p, pulse), (i, node) in itertools.product(enumerate(step.pulses), enumerate(found.nodes)):
            h = torch.from_numpy(node.position)[None]
            for x in (pulse, *[torch.zeros(3)] * 400):
                h = step.step(h, x.expand(1, 1, 3))
            signs = "".join("+" if y > 0 else "-" for y in step.read_out(h)[0, 0])
            assert led_to(found, p, i) == signs

    def test_a_second_search_finds_the_same_graph_and_skeleton(self):
        once, again = (graph(trained_step(), seed=seed) for seed in (0, 1))
        assert graph_distance(once, again) == 0
        # Points are solved to 1e-13 of states of size 1; the angle is of the difference, not of a cosine near 1.
        assert skeleton_distance(once, again) < 1.5e-8
        assert skeleton_spectrum_distance(once, again, 8) < 1e-9

    def test_an_untrained_network_has_one_point_from_which_no_pulse_leads(self):
        network = untrained() | {key: trained()[key] for key in ("readout", "readout_bias")}
        visited = visited_states([network[key][None] for key in NETWORK_KEYS])
        found = graph(network_step([network], visited, FlipFlop(channels=3)))
        assert len(found.nodes) == 1
        assert (found.shares == [[1.0, 0.0]]).all()
        assert graph_distance(found, graph(trained_step())) > 0.9

    def test_a_point_that_few_starts_lead_to_is_found_by_the_pulses(self):
        """Starts at one corner alone: pulses lead to all others, in as many rounds as there are bits."""
        step = network_step([flip_flop_by_hand()], torch.ones(1, 16, 3), FlipFlop(channels=3))
        assert len(graph(step, n_starts=16).nodes) == 8
        assert len(graph(replace_pulses(step, ()), n_starts=16).nodes) == 1


def replace_pulses(step: StepFunction, pulses) -> StepFunction:
    return replace(step, pulses=pulses)


class TestTokens:
    def test_either_parity_rests_under_token_0_and_token_1_exchanges_them(self):
        step = parity_step()
        even_odd = graph(step, "token_0")
        assert [node.label for node in even_odd.nodes] == ["+", "-"]
        assert [led_to(even_odd, 0, k) for k in (0, 1)] == ["-", "+"]
        turning = graph(step, "token_1")
        assert [(node.label, node.period) for node in turning.nodes] == [("(+ -)", 2.0)]
        assert led_to(turning, 0, 0) == "(+ -)"

    def test_counts_of_cycles_by_period(self):
        step = parity_step(2)
        measured = FixedPointGraph(n_starts=64)(Recording(members=("a", "b"), step=step))
        values = {finding.variant: finding.value.value for finding in measured.findings}
        assert (values["n_attractors/token_0"], values["n_cycles/token_0"]) == (2, 0)
        assert (values["n_cycles/token_1"], values["n_cycles_2/token_1"]) == (1, 1)
        rows = transition_rows(measured.arrays)
        assert {"member": 1, "input": "token_0", "pulse": "(0, 1)", "from": "+", "to": "-", "share": 1.0} in rows


def turning_step(period, growth=0.3):
    """Radius r -> r + growth r (1 - r^2), which comes to 1, and an angle that gains 2 pi / period per step."""
    cos, sin = np.cos(2 * np.pi / period), np.sin(2 * np.pi / period)
    turn = torch.tensor([[cos, -sin], [sin, cos]])

    def step(h, _):
        return (h * (1 + growth * (1 - h.square().sum(-1, keepdim=True)))) @ turn.to(h.dtype).mT

    visited = uniform((1, 64, 2), size=0.7)
    return StepFunction(
        step=step, hidden=lambda h: h, select=lambda _: turning_step(period, growth), visited=visited, inputs=NOTHING,
        read_out=lambda h: h[..., :1], pulses=(torch.ones(1),),
    )  # fmt: skip


class TestCycles:
    @pytest.mark.parametrize("period", [13.3, 13.5, 17 + 0.1 * 5**0.5, 20.41, 23.7, 31.47, 40.0, 103.4, 250.25])
    def test_a_planted_limit_cycle_has_its_period(self, period):
        found = graph(turning_step(period), n_starts=32)
        [node] = found.nodes
        # Of the mean change over lags the minimum is found by a parabola, which its fourth power bends.
        assert node.period == pytest.approx(period, rel=1e-4)
        assert found.n_runs[-1] == 0
        assert node.label == "(+ 0 - 0)"
        assert found.shares.tolist() == [[[1.0, 0.0]]]

    @pytest.mark.parametrize("n_units", [2, 3, 7, 11])
    def test_cycles_of_a_few_steps_are_counted_by_period(self, n_units):
        """A ring that hands tanh(2 h) on, from one unit on and all others off: that pattern comes round."""
        visited = 2 * torch.eye(n_units)[:1, None] - 1
        step = StepFunction(
            step=lambda h, _: torch.tanh(2 * h.roll(1, -1)), hidden=lambda h: h, select=lambda _: step,
            visited=visited, inputs=NOTHING, read_out=lambda h: h[..., :1],
        )  # fmt: skip
        [node] = graph(step, n_starts=1).nodes
        assert (node.period, len(node.position)) == (n_units, n_units)
        assert node.label == f"({' '.join('+' + '-' * (n_units - 1))})"

    def test_a_chaotic_run_is_in_no_attractor(self):
        """The logistic map at 3.9 with no stable orbit."""
        step = StepFunction(
            step=lambda h, _: 3.9 * h * (1 - h), hidden=lambda h: h, select=lambda _: step,
            visited=0.5 + 0.4 * uniform((1, 16, 1)), inputs=NOTHING, read_out=lambda h: h,
        )  # fmt: skip
        found = graph(step, n_starts=16)
        assert (len(found.nodes), found.n_runs.tolist()) == (0, [16])


def made_graph(targets, points=None) -> TransitionGraph:
    """A graph with nodes "+" and "-" (or more) and one pulse that leads node k to targets[k], -1 for elsewhere."""
    labels = ([1], [-1], [0])[: len(targets)]
    points = np.eye(3)[: len(targets)] if points is None else points
    nodes = tuple(
        Attractor(position=points[[k]], period=1.0, eigenvalues=np.zeros(1, complex), readout=np.array([label]))
        for k, label in enumerate(labels)
    )
    shares = np.zeros((1, len(nodes), len(nodes) + 1))
    for k, to in enumerate(targets):
        shares[0, k, to] = 1
    return TransitionGraph(nodes=nodes, shares=shares, n_runs=np.eye(len(nodes) + 1, dtype=int)[0])


class TestDistances:
    def test_values_worked_by_hand(self):
        exchange, stay, one = made_graph([1, 0]), made_graph([0, 1]), made_graph([0])
        assert graph_distance(exchange, made_graph([1, 0])) == 0
        # Common: the two nodes; in either alone: two transitions each. 1 - 2 / 6.
        assert graph_distance(exchange, stay) == pytest.approx(1 - 2 / 6)
        # Common: node + and its transition to +; in the first alone: node - and its transition. 1 - 2 / 4.
        assert graph_distance(stay, one) == pytest.approx(1 - 2 / 4)
        # Common: node + alone, of node and transition against two of each: 1 - 1 / 5.
        assert graph_distance(exchange, one) == pytest.approx(1 - 1 / 5)
        assert graph_distance(one, made_graph([-1])) == pytest.approx(1 - 1 / 3)
        assert np.isnan(graph_distance(one, replace(one, n_runs=np.zeros(2, dtype=int))))

    def test_shares_at_rest_and_on_cycles(self):
        """By hand: 3/4 at rest and 1/4 in nothing, against 1/2 at rest and 1/2 on a cycle: (1/4 + 1/2 + 1/4) / 2."""
        some, other = made_graph([0, 1]), made_graph([0, 1])
        some = replace(some, n_runs=np.array([2, 1, 1]))
        other = replace(other, nodes=(other.nodes[0], replace(other.nodes[1], period=31.5)), n_runs=np.array([1, 1, 0]))
        assert ending_distance(some, other) == pytest.approx(0.5)
        assert ending_distance(some, replace(some, n_runs=np.array([3, 3, 2]))) == 0

    def test_the_triangle_inequality_holds(self):
        graphs = [made_graph(targets) for n in (1, 2, 3) for targets in itertools.product(range(-1, n), repeat=n)]
        d = np.array([[graph_distance(a, b) for a in graphs] for b in graphs])
        assert (d <= (d[:, :, None] + d[None]).min(1) + 1e-12).all()
        assert ((d == 0) == np.eye(len(d), dtype=bool)).all()
        assert d.max() <= 1

    def test_the_angle_between_two_skeletons(self):
        """A right-angled triangle against an equilateral one, by the singular values of their product."""
        right = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        equal = np.array([[0.0, 0, 0], [1, 0, 0], [0.5, 3**0.5 / 2, 0]])
        x, y = ((z - z.mean(0)) / np.linalg.norm(z - z.mean(0)) for z in (right, equal))
        angle = np.arccos(np.linalg.svd(x.T @ y, compute_uv=False).sum())
        found = skeleton_distance(made_graph([0, 1, 2], right), made_graph([0, 1, 2], equal))
        assert found == pytest.approx(angle, rel=1e-9)
        moved = 3 * equal @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] + 1
        assert skeleton_distance(made_graph([0, 1, 2], equal), made_graph([0, 1, 2], moved)) < 1e-12
        assert np.isnan(skeleton_distance(made_graph([0, 1]), made_graph([0, 1])))

    def test_spectra_at_points_that_correspond(self):
        some, other = made_graph([0, 1]), made_graph([0, 1])
        changed = replace(other.nodes[1], eigenvalues=np.array([0.5 + 0j]))
        other = replace(other, nodes=(other.nodes[0], changed))
        assert skeleton_spectrum_distance(some, other, 1) == pytest.approx(0.25)  # 0 at one point, .5 at the other


class TestRows:
    def test_networks_without_three_points_in_common_have_no_skeleton_and_the_row_says_so(self):
        step = parity_step(3)
        rows = FixedPointGraph(n_starts=32, input="token_0")(Recording(members=("a", "b", "c"), step=step)).findings
        by_variant = {finding.variant: finding for finding in rows}
        assert by_variant["graph/token_0"].value.value == by_variant["spectra/token_0"].value.value == 0
        assert np.isnan(by_variant["skeleton/token_0"].value.value)
        said = "no number: 3 of 3 pairs of networks have fewer than 3 stable points with a label in common"
        assert by_variant["skeleton/token_0"].note == said

    def test_many_pulses_take_more_starts(self, monkeypatch):
        asked = []
        monkeypatch.setattr(
            "degeneracy.analysis.dynamics.attractors.graph_measure.transition_graphs",
            lambda *_, n_starts, seed: asked.append(n_starts) or [made_graph([0])] * (seed < 9),
        )
        for channels, n_starts in ((3, 256), (4, 1024)):
            step = network_step(
                [flip_flop_by_hand(channels)] * 2, uniform((2, 9, channels)), FlipFlop(channels=channels)
            )
            FixedPointGraph()(Recording(members=("a", "b"), step=step))
            assert set(asked) == {n_starts}
            asked.clear()
        assert FixedPointGraph(n_starts=7).n_starts == 7

    def test_a_network_that_cannot_be_searched_is_named(self):
        networks = [flip_flop_by_hand() for _ in range(2)]
        networks[1]["readout"] = networks[1]["readout"] * torch.nan
        step = network_step(networks, uniform((2, 32, 3)), FlipFlop(channels=3))
        [first, *_] = FixedPointGraph(n_starts=8)(Recording(members=("3", "5"), step=step)).findings
        assert np.isnan(first.value.value)
        said = "no number, as not every network has a graph; network 5: the readout is not finite"
        assert first.note == said
