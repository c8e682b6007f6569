"""Each claim that a measure makes, walked through for every measure of the table; claims fail on broken measures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from degeneracy.analysis import MEASURES, Finding, Measure, Recording, StepFunction
from degeneracy.analysis.measure import PERMUTATION, ROTATION, SCALE, SIGNS, TRANSLATION
from degeneracy.analysis.weights.symmetry import transform
from degeneracy.checks import MEASURE_CLAIMS, example_recording
from degeneracy.checks.measures import N_UNITS, as_decisions, relabelled_twin
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.probe import Probe
from degeneracy.measuring.record import record
from degeneracy.networks import Network, initial_params
from degeneracy.tasks import FlipFlop
from degeneracy.training import History, Member

QUICK: dict[str, dict[str, Any]] = {
    "dsa": {"rank": 4, "n_delays": 3, "n_starts": 8},
    "pif": {"n_restarts": 8},
    "signed_pif": {"n_restarts": 8},
    "fixed_points": {"n_starts": 32},
    "fixed_point_graph": {"n_starts": 32},
}
# Untrained networks have too few stable points in common for these.
FEW_POINTS: dict[str, tuple[str, ...]] = {"fixed_point_graph": ("skeleton", "spectra")}
PAIRWISE = [name for name, kind in MEASURES.items() if kind.pairwise]
ON_STATES = [name for name in PAIRWISE if "states" in MEASURES[name].needs]
ROTATED = np.linalg.qr(np.random.default_rng(0).normal(size=(N_UNITS, N_UNITS)))[0]
# The square root of float64's rounding: an angle or a root of a difference of nearly equal sums.
ZERO = 1e-6


def quick(name: str) -> Measure:
    return MEASURES[name](**QUICK.get(name, {}))


@pytest.fixture(scope="module")
def noisy() -> Recording:
    """Small random networks with noise, so that every measure has what it can use."""
    network, task = Network(hidden_size=8, init_gain=2.0, sigma_rec=0.05), FlipFlop(channels=2, n_steps=15)
    final, initial = (initial_params(network, 2, 2, seeds) for seeds in (range(5), range(100, 105)))
    members = tuple(
        Member(
            seed=k,
            status="given",
            initial={name: value[k].double() for name, value in initial.items()},
            final={name: value[k].double() for name, value in final.items()},
            history=History.empty(),
        )
        for k in range(5)
    )
    recording = record(Ensemble(network=network, members=members), task, Probe(n_trials=8))
    return replace(
        recording,
        prediction_times=np.random.default_rng(0).uniform(1, 9, size=(5, 8)),
        behavior=as_decisions(recording.behavior),
        noisy_decisions=tuple({name: out > 0 for name, out in draw.items()} for draw in recording.noisy_outputs or ()),
    )


@pytest.mark.parametrize("claim", MEASURE_CLAIMS)
@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_keeps_its_claims(name: str, claim: str) -> None:
    MEASURE_CLAIMS[claim](quick(name))


def test_dsa_of_all_trials_at_once_keeps_the_claims_of_a_distance() -> None:
    """Copies in other coordinates at 0, which halves of the trials do not allow."""
    for claim in MEASURE_CLAIMS.values():
        claim(quick("dsa").replace(halves=False, n_starts=64))


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_works_on_noisy_networks(name: str, noisy: Recording) -> None:
    found = quick(name)(noisy)
    for finding in found.findings:
        if finding.variant not in FEW_POINTS.get(name, ()):
            assert np.isfinite(finding.value.value), finding.variant
    if name in ("procrustes", "svcca", "cka", "output_distance", "decision_disagreement"):
        floor = found.findings[0].floor
        assert floor is not None
        assert 0 < floor.value < found.findings[0].value.value, "two draws of one network are nearer than two networks"


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_says_what_it_is(name: str) -> None:
    kind = MEASURES[name]
    assert kind.name == name
    assert kind.level in ("behavior", "dynamics", "weights", "learning")
    for text in (kind.meaning, kind.zero, kind.source, kind.__doc__):
        assert len(text) > 3
        assert "\n" not in text.strip() or text is kind.__doc__
    assert all(hasattr(Recording(members=()), need) for need in kind.needs)
    assert set(kind.ignores) <= {ROTATION, TRANSLATION, SCALE, PERMUTATION, SIGNS}
    if kind.pairwise:
        assert kind.ignores


def without(recording: Recording, k: int) -> Recording:
    """The recording as it would be had member k not been there."""
    stay = [i for i in range(len(recording)) if i != k]

    def fewer(given: Any) -> Any:
        if given is None:
            return None
        if isinstance(given, tuple):
            return tuple(fewer(part) for part in given)
        if isinstance(given, Mapping):
            return {name: fewer(part) for name, part in given.items()}
        if isinstance(given, np.ndarray):
            return given[stay]
        assert isinstance(given, Sequence)
        return [given[i] for i in stay]

    names = ("states", "autonomous_states", "noisy_states", "weights", "initial_weights", "noisy_outputs")
    names += ("noisy_decisions", "lag_grams")
    return replace(
        recording,
        members=tuple(recording.members[i] for i in stay),
        **{name: fewer(getattr(recording, name)) for name in names},
        behavior={
            name: replace(
                variant,
                **{part: fewer(getattr(variant, part)) for part in ("errors", "outputs", "wrong", "decisions")},
            )
            for name, variant in recording.behavior.items()
        },
        prediction_times=fewer(recording.prediction_times),
        step=None if recording.step is None else recording.step.select(stay),
        tangent_kernel=None if recording.tangent_kernel is None else recording.tangent_kernel.select(stay),
        untrained=None if recording.untrained is None else without(recording.untrained, k),
    )


# What is searched for from random starts, drawn for all members at once, and scales set by the whole ensemble, need
# not come out the same without a member: what is compared then, and how closely.
RECURRENT = ("recurrent", "recurrent/untrained", "recurrent/per_parameter", "recurrent/relative")
SEARCHED: dict[str, tuple[tuple[str, ...], float]] = {
    "dsa": (("driven", "autonomous"), 1e-3),
    "pif": (RECURRENT, 1e-3),
    "signed_pif": (RECURRENT, 1e-3),
    "orthogonal": (RECURRENT, 1e-9),
    "fixed_points": (
        ("n_stable", "n_total", "n_stable_sd", "n_total_sd", "n_cycles", "census_distance"),
        1e-9,
    ),
    "fixed_point_graph": (("graph", "endings", "n_attractors", "n_cycles"), 1e-9),
}


@pytest.mark.parametrize("name", MEASURES)
def test_leaving_a_member_out_is_measuring_without_it(name: str, noisy: Recording) -> None:
    measure = quick(name)
    whole = measure(noisy)
    variants, tolerance = SEARCHED.get(name, (tuple(f.variant for f in whole.findings), 1e-9))
    for k in (0, 3):
        fewer = {finding.variant: finding for finding in measure(without(noisy, k)).findings}
        for finding in whole.findings:
            if finding.variant not in variants:
                continue
            other = fewer[finding.variant]
            pairs = [(finding.value, other.value)]
            if name not in SEARCHED:  # their floors and references have searches and copies of their own
                pairs += [(finding.floor, other.floor), (finding.reference, other.reference)]
            for mine, theirs in pairs:
                assert (mine is None) == (theirs is None)
                if mine is not None:
                    found, expected = mine.leave_one_out[k], theirs.value
                    assert found == pytest.approx(expected, rel=tolerance, abs=1e-12), finding.variant


def changed_states(change: Any, n_members: int = 4) -> Recording:
    """Random networks, the last member's states made from the first one's."""
    plain = example_recording(n_members=n_members)
    assert plain.states is not None
    assert plain.autonomous_states is not None
    return replace(
        plain,
        states=[*plain.states[:-1], change(plain.states[0])],
        autonomous_states=[*plain.autonomous_states[:-1], change(plain.autonomous_states[0])],
    )


def changed_weights(change: Any) -> Recording:
    """Random networks, the last member's weights made from the first one's."""
    plain = example_recording()
    assert plain.weights is not None
    return replace(plain, weights=[*plain.weights[:-1], change(plain.weights[0])])


def conjugate(step: StepFunction, rotation: torch.Tensor) -> StepFunction:
    """The same dynamics in rotated coordinates: h' = R step(R^T h)."""
    return replace(
        step,
        step=lambda h, x: step.step(h @ rotation.to(h.dtype), x) @ rotation.T.to(h.dtype),
        visited=step.visited @ rotation.T.to(step.visited.dtype),
        select=lambda members: conjugate(step.select(members), rotation),
    )


def floor_of(finding: Finding, k: int) -> float:
    """Member k's own floor, from the mean over members and the mean without it."""
    assert finding.floor is not None
    n = len(finding.floor.leave_one_out)
    return n * finding.floor.value - (n - 1) * finding.floor.leave_one_out[k]


@pytest.mark.parametrize("change", [ROTATION, SCALE, PERMUTATION, SIGNS])
def test_dsa_has_a_copy_at_its_floor(change: str) -> None:
    """Halves of the trials are compared, so a copy is as far away as the member from itself."""
    recordings = {
        ROTATION: lambda: changed_states(lambda x: x @ ROTATED, 3),
        SCALE: lambda: changed_states(lambda x: 3 * x, 3),
        PERMUTATION: lambda: example_recording(n_members=3, twin=relabelled_twin(signs=False)),
        SIGNS: lambda: example_recording(n_members=3, twin=relabelled_twin(signs=True)),
    }
    assert set(MEASURES["dsa"].ignores) == set(recordings)
    found = quick("dsa").replace(n_starts=64)(recordings[change]())  # with 8, some searches end 1% higher
    for finding in found.findings:
        copy = found.distances[finding.variant][0, -1]
        assert floor_of(finding, 0) > 1e-3, "no two halves of the trials are the same"
        # A search in floating point: another order of sums ends elsewhere by 1e-6 of the angle or less.
        assert copy == pytest.approx(floor_of(finding, 0), rel=1e-4), finding.variant
        assert copy < 0.9 * found.distances[finding.variant][0, 1], "another network is farther"


def test_fixed_points_ignore_rotated_coordinates() -> None:
    """Member 0's dynamics once more beside itself, in rotated coordinates."""
    plain = example_recording()
    assert plain.step is not None
    same, rotated = plain.step.select([0]), conjugate(plain.step.select([0]), torch.from_numpy(ROTATED))
    both = StepFunction(
        step=lambda h, x: torch.cat([same.step(h[:1], x[:1]), rotated.step(h[1:], x[1:])]),
        hidden=same.hidden,
        select=lambda members: {(0,): same, (1,): rotated, (0, 1): both}[tuple(members)],
        visited=torch.cat([same.visited, rotated.visited]),
        inputs=same.inputs,
    )
    found = quick("fixed_points")(replace(plain, members=("0", "0 rotated"), step=both))
    assert found.distances["census_distance"][0, 1] == 0
    assert found.distances["spectrum_distance"][0, 1] < ZERO


@pytest.mark.parametrize("name", PAIRWISE)
def test_another_network_is_not_at_distance_0(name: str) -> None:
    found = quick(name)(example_recording(n_members=3, measure=quick(name)))
    for variant, matrix in found.distances.items():
        if variant not in ("census_distance", "endings"):  # two random networks may have one stable point each
            assert matrix[0, 1] > 1e-3, variant


def test_pif_does_not_ignore_signs() -> None:
    recording = example_recording(twin=relabelled_twin(signs=True))
    assert SIGNS not in MEASURES["pif"].ignores
    for variant, matrix in quick("pif")(recording).distances.items():
        assert matrix[0, -1] > 0.1 * matrix[0, 1], variant


@pytest.mark.parametrize("name", ["pif", "signed_pif"])
def test_weight_distances_ignore_no_rotation_and_no_scale(name: str) -> None:
    for change in (
        lambda w: w.replace(recurrent=ROTATED @ w.recurrent @ ROTATED.T),
        lambda w: w.replace(recurrent=2 * w.recurrent),
        lambda w: w.replace(recurrent=w.recurrent.transpose(0, 2, 1)),
    ):
        matrix = quick(name)(changed_weights(change)).distances["recurrent"]
        assert matrix[0, -1] > 0.1


def test_the_orthogonal_distance_ignores_a_rotation_and_nothing_else() -> None:
    assert ROTATION in MEASURES["orthogonal"].ignores
    rotated = changed_weights(lambda w: w.replace(recurrent=ROTATED @ w.recurrent @ ROTATED.T))
    assert quick("orthogonal")(rotated).distances["recurrent"][0, -1] < ZERO
    for change in (
        lambda w: w.replace(recurrent=2 * w.recurrent),
        lambda w: w.replace(recurrent=w.recurrent.transpose(0, 2, 1)),
        lambda w: w.replace(recurrent=ROTATED @ w.recurrent),
    ):
        assert quick("orthogonal")(changed_weights(change)).distances["recurrent"][0, -1] > 0.1


@pytest.mark.parametrize("name", ["pif", "signed_pif"])
def test_only_the_joint_variant_sees_inputs_and_readouts(name: str) -> None:
    order = np.array([3, 0, 5, 1, 4, 2])
    for change in (
        lambda w: transform(w, order).replace(input=w["input"]),
        lambda w: transform(w, order).replace(readout=w["readout"]),
        lambda w: transform(w, order).replace(bias=w["bias"]),
    ):
        found = quick(name)(changed_weights(change)).distances
        assert found["recurrent"][0, -1] < ZERO
        assert found["joint"][0, -1] > 0.1


def test_dsa_does_not_ignore_translation() -> None:
    assert TRANSLATION not in MEASURES["dsa"].ignores
    found = quick("dsa")(changed_states(lambda x: x + 3.0))
    assert found.distances["driven"][0, -1] > 1.5 * floor_of(found.findings[0], 0)


@pytest.mark.parametrize("name", ["procrustes", "cka"])
def test_shapes_ignore_no_stretch_and_no_other_trials(name: str) -> None:
    stretched = quick(name)(changed_states(lambda x: x * np.array([5.0, 1, 1, 1, 1, 1])))
    assert stretched.distances["driven"][0, -1] > 0.01
    shuffled = quick(name)(changed_states(lambda x: x[::-1]))
    assert shuffled.distances["driven"][0, -1] > 0.01, "the same trials row by row, not the same cloud"


def test_output_distance_sees_outputs_alone() -> None:
    plain = example_recording()
    first = plain.behavior["in_distribution"]
    assert first.outputs is not None
    outputs = first.outputs.copy()
    outputs[-1] = outputs[0] + 0.25
    recording = replace(plain, behavior={"in_distribution": replace(first, outputs=outputs)})
    found = quick("output_distance")(recording).distances["in_distribution"]
    assert found[0, -1] == pytest.approx(0.25, rel=1e-12)  # the root of the mean of 0.25^2
