"""What every measure keeps to."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from degeneracy.analysis import Finding, Measure, Measured, Recording, Variant
from degeneracy.analysis.measure import PERMUTATION, ROTATION, SCALE, SIGNS, TRANSLATION
from degeneracy.analysis.statistics.by_name import STATISTICS, kept_for
from degeneracy.analysis.weights.symmetry import transform
from degeneracy.checks.cells import relabelled
from degeneracy.checks.claim import CheckFailed, require
from degeneracy.core.ambient import ordinary_state
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.measure import lags_needed
from degeneracy.measuring.probe import Probe
from degeneracy.measuring.record import record
from degeneracy.networks import Network, initial_params
from degeneracy.networks.cell import Params
from degeneracy.tasks import FlipFlop
from degeneracy.training import History, Member

N_UNITS, N_CHANNELS = 6, 2


@ordinary_state()
def example_recording(
    *, n_members: int = 4, twin: Callable[[Params], Params] | None = None, measure: Measure | None = None
) -> Recording:
    """A recording of small random tanh networks on flip-flop trials, to try a measure on.

    Args:
        n_members: members with seeds 0, 1, ...
        twin: makes the last member from the parameters of the first (no member axis).
        measure: sums over dynamics trials go back as far as it needs; there are none without it.
    """
    network, task = Network(hidden_size=N_UNITS, init_gain=2.0), FlipFlop(channels=N_CHANNELS, n_steps=20)
    params = initial_params(network, task.input_size, task.output_size, range(n_members))
    members = []
    for k in range(n_members):
        own = {name: value[k].double() for name, value in params.items()}
        first = {name: value[0].double() for name, value in params.items()}
        final = twin(first) if twin is not None and k == n_members - 1 else own
        members.append(_untrained_member(k, own, final))
    probe = Probe(n_trials=16, n_dynamics_trials=32)
    lags = lags_needed({} if measure is None else {measure.name: measure})
    recording = record(Ensemble(network=network, members=tuple(members)), task, probe, **lags)
    # What networks on a task with a closed loop would have; copies of a network stay as long as it does.
    times = np.array([5.0 + np.arange(16) % 3 + k for k in range(n_members)])
    return replace(recording, prediction_times=times, behavior=as_decisions(recording.behavior))


def as_decisions(behavior: Mapping[str, Variant]) -> dict[str, Variant]:
    """The variants as if outputs were decisions by their signs, which are right where those of the first member are."""
    decided = {}
    for name, variant in behavior.items():
        decisions = None if variant.outputs is None else variant.outputs > 0
        right = None if decisions is None else decisions[0]
        wrong = variant.errors / (1 + variant.errors)
        decided[name] = replace(variant, wrong=wrong, decisions=decisions, called_for=right)
    return decided


def _untrained_member(seed: int, initial: Params, final: Params) -> Member:
    return Member(seed=seed, status="given", initial=initial, final=final, history=History.empty())


def relabelled_twin(*, signs: bool) -> Callable[[Params], Params]:
    """Makes a network's copy with its units in another order and, if asked for, some with another sign."""

    def twin(params: Params) -> Params:
        order = np.array([3, 0, 5, 1, 4, 2])
        flip = np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0]) if signs else np.ones(N_UNITS)
        stacked = {name: value.unsqueeze(0) for name, value in params.items()}
        copy = relabelled(Network().build_cell(), stacked, lambda weights: transform(weights, order, flip))
        return {name: value[0] for name, value in copy.items()}

    return twin


def measure_form(measure: Measure) -> None:
    """Every finding has one leave-one-out value per member, distances are symmetric with a zero diagonal."""
    require(measure.name and measure.meaning and measure.zero and measure.source, "says what it is")
    recording = example_recording(measure=measure)
    found = measure(recording)
    require(found.findings, "finds something")
    require(len({f.variant for f in found.findings}) == len(found.findings), "each variant has one row")
    for finding in found.findings:
        for estimate in (finding.value, finding.floor, finding.reference):
            one_each = estimate is None or np.shape(estimate.leave_one_out) == (len(recording),)
            require(one_each, f"{finding.variant}: one leave-one-out value per member")
        _require_origin(found, finding)
    require(bool(found.distances) == measure.pairwise, "gives distances if, and only if, it says it is pairwise")
    for name, matrix in found.distances.items():
        require(np.shape(matrix) == (len(recording),) * 2, f"{name}: distances are (member, member)")
        require(np.array_equal(matrix, matrix.T), f"{name}: distances are symmetric")
        require(not np.diag(matrix).any(), f"{name}: a member is at distance 0 from itself")
        signed = any(finding.corrected and finding.of == name for finding in found.findings)
        require(signed or (matrix >= 0).all(), f"{name}: distances are not negative")
        if measure.is_metric:
            through = (matrix[:, :, None] + matrix[None]).min(1)
            require((matrix <= through + 1e-9).all(), f"{name}: the triangle inequality holds")


def _require_origin(measured: Measured, finding: Finding) -> None:
    """A finding that says what it is made of is that, to the last digit."""
    if not finding.statistic:
        return
    known = ", ".join(STATISTICS)
    require(finding.statistic in STATISTICS, f"{finding.variant}: its statistic is one of {known}")
    kept = kept_for(measured, finding)
    if kept is None:
        raise CheckFailed(f"{finding.variant}: the measure keeps '{finding.of}', which it is of, by member")
    again = STATISTICS[finding.statistic](kept)
    ours, theirs = (np.append(each.value, each.leave_one_out) for each in (again, finding.value))
    require(
        np.array_equal(ours, theirs, equal_nan=True),
        f"{finding.variant}: it is the {finding.statistic} of '{finding.of}'",
    )


def measure_repeats(measure: Measure) -> None:
    """The same recording gives the same numbers."""
    recording = example_recording(measure=measure)
    first, second = measure(recording), measure(recording)
    for a, b in zip(first.findings, second.findings, strict=True):
        same = np.array_equal([a.value.value], [b.value.value], equal_nan=True)
        require(same, f"{a.variant}: the same number twice")


def measure_silent(measure: Measure) -> None:
    """A measure on states has no number where a member's states do not vary, and its notes name that member."""
    if not {"states", "lag_grams"} & set(measure.needs):
        return
    recording = _transformed(example_recording(measure=measure), lambda x: 0 * x)
    silent = recording.members[-1]
    for finding in measure(recording).findings:
        numbers = np.append(finding.value.value, finding.value.leave_one_out)
        require(np.isnan(numbers).all(), f"{finding.variant}: has no number where a member's states do not vary")
        named = f"member {silent}" in finding.note
        require(named, f"{finding.variant}: its note names the member whose states do not vary, 'member {silent}'")


def _transformed(recording: Recording, change: Callable[[Any], Any]) -> Recording:
    """The last member's states made from the first member's."""
    driven, autonomous = list(recording.states or ()), list(recording.autonomous_states or ())
    shift = change(np.zeros(N_UNITS))
    matrix = np.array([change(row) - shift for row in np.eye(N_UNITS)]).T
    halves = recording.lag_grams
    if halves is not None:
        first, second = ([*half[:-1], half[0].mapped(matrix, shift)] for half in halves)
        halves = first, second
    return replace(
        recording,
        states=[*driven[:-1], change(driven[0])],
        autonomous_states=[*autonomous[:-1], change(autonomous[0])],
        lag_grams=halves,
    )


def measure_ignores(measure: Measure) -> None:
    """A pairwise measure is 0 between a member and a copy of it made by anything that it says it ignores."""
    if not measure.pairwise or getattr(measure, "halves", False):
        return  # DSA compares halves of the trials by default, without taking noise away: a copy is at the floor
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(N_UNITS, N_UNITS)))[0]
    copies: dict[str, Recording] = {
        PERMUTATION: example_recording(twin=relabelled_twin(signs=False), measure=measure),
        SIGNS: example_recording(twin=relabelled_twin(signs=True), measure=measure),
    }
    if {"states", "lag_grams"} & set(measure.needs):
        plain = example_recording(measure=measure)
        copies[ROTATION] = _transformed(plain, lambda x: x @ rotation)
        copies[TRANSLATION] = _transformed(plain, lambda x: x + np.arange(N_UNITS))
        copies[SCALE] = _transformed(plain, lambda x: 3 * x)
    for name, recording in copies.items():
        if name in measure.ignores:
            for variant, matrix in measure(recording).distances.items():
                # 1e-6: what the square root of float64 rounding leaves of an angle.
                require(abs(matrix[0, -1]) <= 1e-6, f"{variant}: ignores {name} (found {matrix[0, -1]:g})")


MEASURE_CLAIMS: dict[str, Callable[[Measure], None]] = {
    "form": measure_form,
    "repeats": measure_repeats,
    "silent": measure_silent,
    "ignores": measure_ignores,
}


@ordinary_state()
def check_measure(measure: Measure) -> None:
    """All claims of a measure.

    Args:
        measure: of a class of one's own, or `analysis.as_measure(name, function)()` for a function.

    Raises:
        CheckFailed: one that does not hold.
    """
    for claim in MEASURE_CLAIMS.values():
        claim(measure)
