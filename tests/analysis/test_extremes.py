"""Every measure at extreme sizes: what it claims to ignore it ignores there too, and its unit scales along."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from degeneracy.analysis import MEASURES, Estimate, Measured, Recording, TangentKernel, Weights
from degeneracy.analysis.matching.linear_assignment import assign
from degeneracy.analysis.measure import SCALE, TRANSLATION
from degeneracy.analysis.statistics.contrasts import joint_p, linear_contrast
from degeneracy.analysis.statistics.jackknife import interval
from degeneracy.analysis.weights.pif import align
from degeneracy.checks import example_recording
from degeneracy.measuring.arrays.dynamics import lag_grams

# 1e-300 to 1e300 in powers of two, which round nothing: a search takes the same way. Even powers, of roots of products.
SIZES = tuple(2.0**k for k in (-996, -532, -60, 60, 532, 996))
CLOSE = 1e-9  # relative: the rounding of logarithms of intervals, of exponents and of normalised scales
QUICK: dict[str, dict[str, Any]] = {"dsa": {"rank": 4, "n_delays": 3, "n_starts": 8}}
# The power of a common factor of all weights, states, outputs (squared in errors) or gradients that goes into each
# variant, of measures that do not say that they ignore it. Fixed points are searched with tolerances in the unit of the
# states.
OVER_WEIGHTS = {"recurrent": 1, "recurrent/untrained": 1, "recurrent/per_parameter": 1, "recurrent/relative": 0}
DEGREES: dict[str, dict[str, int]] = {
    "participation_ratio": {"mean": 0, "sd": 0},
    "representation_alignment": {"mean": 0, "sd": 0},
    "kernel_alignment": {"mean": 0, "sd": 0},
    "pif": {**OVER_WEIGHTS, "joint": 0, "joint/untrained": 0},
    "signed_pif": {**OVER_WEIGHTS, "joint": 0, "joint/untrained": 0},
    "orthogonal": OVER_WEIGHTS,
    "effective_rank": {"mean": 0, "sd": 0},
    "weight_change": {"absolute": 1, "relative": 0},
    "output_distance": {"in_distribution": 1},
    "ood_log_error_sd": {"in_distribution": 0},
    "ood_error_sd": {"in_distribution": 1},
    "ood_error_mean": {"in_distribution": 1},
    "ood_error_cv": {"in_distribution": 0},
    "ood_error_iqr": {"in_distribution": 0},
    "valid_prediction_time": {"mean": 1, "sd": 1},
    "accuracy": {"in_distribution": 0},
    "accuracy_logit_sd": {"in_distribution": 0},
    "decision_disagreement": {"in_distribution": 0},
}
FREE = [name for name, kind in MEASURES.items() if SCALE in kind.ignores]


def scaled_weights(weights: Weights, size: float) -> Weights:
    blocks = {name: block.array for name, block in weights.blocks.items()}
    return weights.replace(**{name: size * x for name, x in blocks.items() if x is not None})


def scaled_kernel(kernel: TangentKernel, size: float) -> TangentKernel:
    return replace(kernel, kernel=lambda trials, steps: size * kernel.kernel(trials, steps))


def scaled(recording: Recording, size: float) -> Recording:
    """All that measures look at, times a common factor."""

    def times(arrays: Any) -> Any:
        return None if arrays is None else [size * x for x in arrays]

    changed = {name: times(getattr(recording, name)) for name in ("states", "autonomous_states")}
    for name in ("weights", "initial_weights"):
        given = getattr(recording, name)
        changed[name] = None if given is None else [scaled_weights(w, size) for w in given]
    behavior = {
        name: replace(one, errors=size * one.errors, outputs=None if one.outputs is None else size * one.outputs)
        for name, one in recording.behavior.items()
    }
    changed["lag_grams"] = summed(changed["states"]) if recording.lag_grams else None
    kernel, times_, before = recording.tangent_kernel, recording.prediction_times, recording.untrained
    return replace(
        recording,
        **changed,
        behavior=behavior,
        tangent_kernel=None if kernel is None else scaled_kernel(kernel, size),
        prediction_times=None if times_ is None else size * times_,
        untrained=None if before is None else scaled(before, size),
    )


def summed(states: Any) -> Any:
    """The sums over the states themselves, all driven by the same inputs."""
    inputs = np.random.default_rng(0).normal(size=(*states[0].shape[:2], 2))
    return lag_grams(states, inputs, {"n_lags": 1, "n_input_lags": 3})[0]


def numbers(found: Measured, degrees: dict[str, int], size: float) -> dict[str, np.ndarray]:
    """Every number of a measure's rows, intervals too, in units of the size."""
    rows = {}
    for finding in found.findings:
        if finding.variant in degrees:
            unit = size ** degrees[finding.variant]
            for name in ("value", "floor", "reference"):
                estimate: Estimate | None = getattr(finding, name)
                if estimate is not None:
                    ends = interval(estimate, finding.scale)
                    all_of_it = np.array([estimate.value, *estimate.leave_one_out, *ends])
                    rows[f"{finding.variant}/{name}"] = all_of_it / unit
    assert len(rows) >= len(degrees)
    return rows


@pytest.fixture(scope="module")
def plain() -> Recording:
    """Trained networks that have left where they began: the untrained ones are others."""
    recording = example_recording()
    before = replace(example_recording(n_members=8), members=recording.members)
    later = {name: getattr(before, name)[4:] for name in ("states", "autonomous_states", "weights")}
    assert before.tangent_kernel is not None
    later["tangent_kernel"] = before.tangent_kernel.select(range(4, 8))
    later["lag_grams"] = summed(later["states"])
    untrained = replace(recording.untrained, **later)
    sums = summed(recording.states)
    return replace(recording, initial_weights=later["weights"], lag_grams=sums, untrained=untrained)


def test_every_measure_is_tried() -> None:
    tried = {"fixed_points", "fixed_point_graph", *DEGREES}  # a step that is scaled is another network
    untried = {name for name, kind in MEASURES.items() if SCALE not in kind.ignores} - tried
    assert not untried, f"say in DEGREES by which power of a common factor the variants of {untried} grow"


@pytest.mark.parametrize("name", [*DEGREES, *FREE])
def test_a_common_factor_of_any_size_scales_a_measure_by_its_degree(name: str, plain: Recording) -> None:
    measure = MEASURES[name](**QUICK.get(name, {}))
    before = measure(plain)
    degrees = DEGREES.get(name, {finding.variant: 0 for finding in before.findings})
    expected = numbers(before, degrees, 1.0)
    for size in SIZES:
        found = numbers(measure(scaled(plain, size)), degrees, size)
        for row, values in found.items():
            # 1e-6: the root of the rounding that a factor which is no power of two leaves in each entry.
            np.testing.assert_allclose(values, expected[row], rtol=1e-6, atol=1e-6, err_msg=f"{row}, {size:g}")


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("size", SIZES)
def test_one_member_in_another_unit_is_no_other_member(name: str, size: float, plain: Recording) -> None:
    measure = MEASURES[name](**QUICK.get(name, {}))
    changed = {
        key: [*getattr(plain, key)[:-1], size * getattr(plain, key)[-1]] for key in ("states", "autonomous_states")
    }
    changed["lag_grams"] = summed(changed["states"])
    before, after = (measure(recording).distances for recording in (plain, replace(plain, **changed)))
    for variant, matrix in after.items():
        np.testing.assert_allclose(matrix, before[variant], rtol=CLOSE, err_msg=variant)


@pytest.mark.parametrize(
    "name", [name for name, kind in MEASURES.items() if TRANSLATION in kind.ignores] + ["participation_ratio"]
)
def test_an_offset_of_any_size_is_ignored_where_translations_are(name: str, plain: Recording) -> None:
    # Searches of few starts may end elsewhere when the last digits of the states change.
    measure = MEASURES[name](**({"n_starts": 64} if name in ("linear_flow", "flow_mismatch", "input_dsa") else {}))
    assert plain.states is not None
    for offset in (1e3, 1e6, 1e9):
        states = [x + offset * np.arange(1, 7) for x in plain.states]
        moved = replace(plain, states=states, lag_grams=summed(states))
        before, after = measure(plain), measure(moved)
        for first, second in zip(before.findings, after.findings, strict=True):
            # Each entry is rounded to 1e-16 of the offset, 1e-6 of the states' spread at 1e9; angles and
            # correlations near 1 take the root of that at worst.
            assert second.value.value == pytest.approx(first.value.value, rel=10 * (1e-16 * offset) ** 0.5)


@pytest.mark.parametrize("name", ["pif", "signed_pif", "orthogonal"])
@pytest.mark.parametrize("size", [0.0, *SIZES])
def test_one_member_of_tiny_or_huge_weights_costs_no_other_pair(name: str, size: float, plain: Recording) -> None:
    """Such a member divided by zero in the assignment: copies of it are compared for the floor."""
    measure = MEASURES[name]()
    assert plain.weights is not None
    weights = [*plain.weights[:-1], scaled_weights(plain.weights[-1], size)]
    before, after = measure(plain), measure(replace(plain, weights=weights))
    old, new = before.distances["recurrent"], after.distances["recurrent"]
    assert new[:-1, :-1] == pytest.approx(old[:-1, :-1], rel=CLOSE)
    assert np.isfinite(new).all()
    first = float(np.linalg.norm(plain.weights[0].recurrent))
    last = float(np.linalg.norm(plain.weights[-1].recurrent)) * size
    # Of two networks of very different size the distance is the larger norm: 1e-15 is float64's rounding.
    if size < 1e-17 or size > 1e17:
        assert new[0, -1] == pytest.approx(max(first, last), rel=1e-15)
    for finding in after.findings:
        assert np.isfinite([finding.value.value, *finding.value.leave_one_out]).all()
        assert finding.floor is not None
        # Copies are at 0 on the scale of their own weights, which the largest member's is.
        assert finding.floor.value <= 1e-6 * max(first, last)


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_is_found_among_weights_of_any_size(size: float, plain: Recording) -> None:
    assert plain.weights is not None
    network = scaled_weights(plain.weights[0], size)
    order = np.array([3, 0, 5, 1, 4, 2])
    copy = network.replace(recurrent=network.recurrent[:, order][:, :, order])
    found = align(network, copy, signed=True)
    assert found.distance == 0
    assert np.array_equal(order[found.permutation], np.arange(6))
    assert found.converged


def test_profits_that_hardly_differ_are_matched_all_the_same() -> None:
    """2^24 over a span under 2^-103 is no float32."""
    rng = np.random.default_rng(0)
    profits = rng.uniform(size=(5, 5)).astype(np.float32)
    for size in (2.0**-99, 1.0, 2.0**90):
        small = (size * profits).astype(np.float32)
        assert np.array_equal(assign(small, np.zeros(5, np.float32)), linear_sum_assignment(profits, maximize=True)[1])
    matching = assign((2.0**-120 * profits).astype(np.float32), np.zeros(5, np.float32))
    assert sorted(matching) == list(range(5))


@pytest.mark.parametrize("size", SIZES)
def test_rectified_networks_of_any_size_have_canonical_scales(size: float) -> None:
    rng = np.random.default_rng(0)
    networks = [
        Weights.of(
            recurrent=rng.normal(size=(1, 5, 5)),
            input=rng.normal(size=(1, 5, 2)),
            readout=rng.normal(size=(2, 5)),
            symmetry="scaled_permutation",
        )
        for _ in range(3)
    ]
    # Without readout nothing but the weights from outside fixes the common factor of all scales.
    for given in (
        networks,
        [w.replace(readout=None) for w in networks],
        [w.replace(input=None) for w in networks],
    ):
        larger = [scaled_weights(w, size) for w in given]
        before, after = (
            MEASURES["pif"]()(Recording(members=("0", "1", "2"), weights=each)).findings for each in (given, larger)
        )
        for first, second in zip(before, after, strict=True):
            unit = size ** DEGREES["pif"][first.variant]
            assert second.value.value / unit == pytest.approx(first.value.value, rel=CLOSE), first.variant


@pytest.mark.parametrize("size", SIZES)
def test_intervals_and_contrasts_of_estimates_of_any_size(size: float) -> None:
    labels = [str(k) for k in range(6)]

    def estimates(unit: float) -> list[Estimate]:
        values = np.random.default_rng(1).uniform(1, 2, size=(3, 6))
        return [Estimate(value=unit * v.mean(), leave_one_out=unit * (v.sum() - v) / 5) for v in values]

    plain, large = estimates(1.0), estimates(size)
    for a, b in zip(plain, large, strict=True):
        assert np.divide(interval(b), size) == pytest.approx(interval(a), rel=CLOSE)
    weights = np.array([-1.0, 0.0, 1.0])
    one, other = (linear_contrast(e, [labels] * 3, weights) for e in (plain, large))
    assert other.standard_error / size == pytest.approx(one.standard_error, rel=CLOSE)
    both = np.array([[-1.0, 0.0, 1.0], [1.0, -2.0, 1.0]])
    p_plain, p_large = (joint_p(e, [labels] * 3, both) for e in (plain, large))
    assert p_large == pytest.approx(p_plain, rel=CLOSE)
