"""Distances of weights across numbers of units: raw, per parameter, relative and calibrated, of untrained networks."""

import numpy as np
import pytest

from degeneracy.analysis import MEASURES, Finding, Recording
from degeneracy.analysis.recording import Weights
from degeneracy.analysis.statistics.jackknife import calibrate, interval
from degeneracy.analysis.weights.restated import FALLS
from degeneracy.measuring.member_weights import member_weights
from degeneracy.networks import Network, initial_params

N_MEMBERS = 8
# Measured with these 8 networks of 32, 64, 128, 256 and 512 units, PIF (signed PIF within 0.003 of it calibrated):
# raw            3.768, 5.600, 8.223, 11.97, 17.34
# per parameter  3.68e-3, 1.37e-3, 5.02e-4, 1.83e-4, 6.61e-5; shuffled 3.67e-3, 1.37e-3, 5.02e-4, 1.83e-4, 6.61e-5
# relative       1.154, 1.211, 1.259, 1.297, 1.327
# calibrated     1.0017 [.9946, 1.0088], 1.0000 [.9965, 1.0035], 1.0003 [.9977, 1.0030], 1.0000 [.9994, 1.0006],
#                1.0000 [.9997, 1.0003]
NAMES = ("pif", "signed_pif", "orthogonal")


def untrained(n_units: int) -> Recording:
    """Tanh networks at initialisation, weights alone."""
    network = Network(hidden_size=n_units)
    params = {name: x.double() for name, x in initial_params(network, 2, 2, range(N_MEMBERS)).items()}
    labels = tuple(str(k) for k in range(N_MEMBERS))
    return Recording(members=labels, weights=member_weights(network.build_cell(), params))


def rows(name: str, recording: Recording) -> dict[str, Finding]:
    options = {} if name == "orthogonal" else {"variants": ("recurrent",)}
    return {finding.variant: finding for finding in MEASURES[name](**options)(recording).findings}


@pytest.fixture(scope="module")
def by_size() -> dict[str, dict[int, dict[str, Finding]]]:
    recordings = {n: untrained(n) for n in (16, 32, 64)}
    return {name: {n: rows(name, recording) for n, recording in recordings.items()} for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_untrained_networks_are_flat_when_calibrated(name: str, by_size) -> None:
    """At their reference whatever the size, while the raw distance grows and that per parameter falls."""
    for variant in ("recurrent", "recurrent/per_parameter", "recurrent/relative"):
        for n, found in by_size[name].items():
            scaled = calibrate(found[variant])
            # Shuffled uniform entries are uniform entries: 1, give or take what 28 pairs of 8 networks vary by.
            assert scaled.low - 0.01 < 1 < scaled.high + 0.01, (n, variant)
            assert scaled.value == pytest.approx(1, abs=0.03), (n, variant)
    raw = {n: found["recurrent"] for n, found in by_size[name].items()}
    over = {n: found["recurrent/per_parameter"] for n, found in by_size[name].items()}
    for smaller, larger in ((16, 32), (32, 64)):
        assert interval(raw[smaller].value)[1] < interval(raw[larger].value)[0]
        assert interval(over[smaller].value)[0] > interval(over[larger].value)[1]
        # N^(1/2) and N^(-3/2), a tenth aside for the units that are harder to match among more.
        assert raw[larger].value.value / raw[smaller].value.value == pytest.approx(2**0.5, rel=0.15)
        assert over[larger].value.value / over[smaller].value.value == pytest.approx(2**-1.5, rel=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_the_fall_per_parameter_is_one_of_shuffled_weights_too_and_said_to_be(name: str, by_size) -> None:
    for n, found in by_size[name].items():
        per, plain = found["recurrent/per_parameter"], found["recurrent"]
        for mine, theirs in ((per.value, plain.value), (per.floor, plain.floor), (per.reference, plain.reference)):
            assert mine.value == pytest.approx(theirs.value / n**2, rel=1e-12)
            np.testing.assert_allclose(mine.leave_one_out, theirs.leave_one_out / n**2, rtol=1e-12)
        assert calibrate(per).value == pytest.approx(calibrate(plain).value, rel=1e-9)
        assert FALLS in per.note
        assert per.unit == "per weight"
    first, last = (by_size[name][n]["recurrent/per_parameter"] for n in (16, 64))
    value, reference = last.value.value / first.value.value, last.reference.value / first.reference.value
    assert value < 0.2
    assert reference == pytest.approx(value, rel=0.02)
    assert FALLS in MEASURES[name].across_sizes["recurrent/per_parameter"]
    assert "shuffled weights too" in MEASURES["pif"].meaning


@pytest.mark.parametrize("name", NAMES)
def test_relative_distances_do_not_see_a_common_size(name: str) -> None:
    """By hand: a network of three times the weights is 2 |W| away, over the root of (1 + 9) / 2 of |W|."""
    rng = np.random.default_rng(0)
    w = Weights.of(recurrent=rng.normal(size=(1, 6, 6)))
    tripled = w.replace(recurrent=3 * w["recurrent"])
    recording = Recording(members=("a", "b"), weights=[w, tripled])
    matrix = MEASURES[name]()(recording).distances["recurrent/relative"]
    assert matrix[0, 1] == pytest.approx(2 / np.sqrt(5), rel=1e-3)  # the orthogonal search stops at a slope of 1e-3
    empty = w.replace(recurrent=0 * w["recurrent"])
    found = MEASURES[name]()(Recording(members=("a", "b"), weights=[empty, empty]))
    assert all(matrix[0, 1] == 0 for matrix in found.distances.values())
    if name != "orthogonal":
        assert found.findings[-1].variant == "joint"
        assert found.findings[-1].note == "all weights are 0"


@pytest.mark.parametrize("name", NAMES)
def test_rows_follow_from_one_matching(name: str, by_size) -> None:
    recording = untrained(16)
    found = MEASURES[name]()(recording).distances
    assert recording.weights is not None
    sizes = np.array([np.linalg.norm(w.recurrent) for w in recording.weights])
    over = np.sqrt((sizes[:, None] ** 2 + sizes**2) / 2)
    np.testing.assert_allclose(found["recurrent/relative"], found["recurrent"] / over, rtol=1e-12)
    assert list(found) == ["recurrent", "recurrent/per_parameter", "recurrent/relative"] + (
        ["joint"] if name != "orthogonal" else []
    )


@pytest.mark.benchmark
@pytest.mark.parametrize("n_units", [128, 256, 512])
@pytest.mark.parametrize("name", ["pif", "signed_pif"])
def test_large_untrained_networks_are_flat_when_calibrated(name: str, n_units: int) -> None:
    scaled = calibrate(rows(name, untrained(n_units))["recurrent"])
    assert scaled.value == pytest.approx(1, abs=0.003)  # intervals of +-0.003 at 128 units, less at more
