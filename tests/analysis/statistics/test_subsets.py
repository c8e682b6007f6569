"""A finding among some of its members is what the measure says of these alone."""

from dataclasses import replace

import numpy as np
import pytest

from degeneracy.analysis import MEASURES
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.recording import Recording, Variant, Weights
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.subsets import among

RNG = np.random.default_rng(0)
N = 6


def recording(members) -> Recording:
    """Some of six networks: states, weights, outputs and errors that have nothing to do with each other."""
    rng = np.random.default_rng(1)
    states = [rng.normal(size=(8, 12, 5)).cumsum(1) for _ in range(N)]
    before, after = ([Weights(recurrent=rng.normal(size=(5, 5))) for _ in range(N)] for _ in range(2))
    errors, outputs = np.exp(rng.normal(size=(N, 8))), rng.normal(size=(N, 8, 12, 2))
    times = 1 + rng.random((N, 8))
    chosen = list(members)
    return Recording(
        members=tuple(str(k) for k in chosen),
        states=[states[k] for k in chosen],
        weights=[after[k] for k in chosen],
        initial_weights=[before[k] for k in chosen],
        behavior={
            name: Variant(errors=scale * errors[chosen], outputs=outputs[chosen], mask=np.ones((8, 12), bool))
            for name, scale in (("length_2x", 1.0), ("amplitude", 3.0))
        },
        prediction_times=times[chosen],
    )


TAKEN = [
    *("ood_log_error_sd", "ood_error_sd", "ood_error_mean", "ood_error_cv", "output_distance"),
    *("valid_prediction_time", "procrustes", "svcca", "cka", "dsa", "weight_change"),
]


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_the_measure_of_these_members(name: str) -> None:
    options = {"dsa": {"rank": 3, "n_delays": 2, "n_starts": 4, "autonomous": False}}.get(name, {})
    measure = MEASURES[name](**options)
    whole, part = measure(recording(range(N))), measure(recording([0, 2, 3, 5]))
    assert whole.findings
    for finding, alone in zip(whole.findings, part.findings, strict=True):
        found = among(whole, finding, [0, 2, 3, 5])
        assert found is not None
        # 1e-6: DSA's search ends where its tolerance allows, on the same operators.
        assert found.value == pytest.approx(alone.value.value, rel=1e-6)
        np.testing.assert_allclose(found.leave_one_out, alone.value.leave_one_out, rtol=1e-6)


def test_a_second_variant_of_the_same_distances_is_known_by_its_numbers() -> None:
    d = np.abs(RNG.normal(size=(4, 4)))
    value = jackknife.pair_mean(d + d.T)
    findings = tuple(Finding(variant=v, value=value) for v in ("recurrent", "recurrent/untrained"))
    found = Measured(findings=findings, distances={"joint": 2 * (d + d.T), "recurrent": d + d.T})
    for finding in findings:
        np.testing.assert_allclose(among(found, finding, [0, 3]).value, (d + d.T)[0, 3])


def test_what_was_not_kept_cannot_be_taken_again() -> None:
    x = RNG.gamma(2.0, size=5)
    finding = Finding(variant="own", value=jackknife.member_mean(x))
    kept = Measured(findings=(finding,), arrays={"own": x})
    assert among(kept, finding, [1, 2]).value == pytest.approx(x[1:3].mean())
    for other in (
        {"own": x + 1e-6},  # other numbers
        {"own": x[:4]},
        {"own": np.append(x[:4], np.nan)},
        {"own": x.astype(complex)},
        {},
    ):
        assert among(replace(kept, arrays=other), finding, [1, 2]) is None
    askew = replace(kept, arrays={}, distances={"own": np.arange(25.0).reshape(5, 5)})
    assert among(askew, finding, [1, 2]) is None
    spread = Finding(variant="own", value=jackknife.iqr_over_median(x))
    assert among(kept, spread, [1, 2, 4]).value == jackknife.iqr_over_median(x[[1, 2, 4]]).value
    unknown = replace(spread, value=replace(spread.value, value=1.1 * spread.value.value))
    assert among(kept, unknown, [1, 2]) is None
