"""A finding among some of its members is what the measure says of these alone."""

from dataclasses import replace

import numpy as np
import pytest

from degeneracy.analysis import MEASURES
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.recording import Recording, Variant, Weights
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.by_name import STATISTICS, among, finding, kept_for

RNG = np.random.default_rng(0)
N = 6


def recording(members) -> Recording:
    """Some of six networks: states, weights, outputs and errors that have nothing to do with each other."""
    rng = np.random.default_rng(1)
    states = [rng.normal(size=(8, 12, 5)).cumsum(1) for _ in range(N)]
    before, after = ([Weights.of(recurrent=rng.normal(size=(5, 5))) for _ in range(N)] for _ in range(2))
    errors, outputs = np.exp(rng.normal(size=(N, 8))), rng.normal(size=(N, 8, 12, 2))
    times = 1 + rng.random((N, 8))
    chosen = list(members)
    return Recording(
        members=tuple(str(k) for k in chosen),
        states=[states[k] for k in chosen],
        weights=[after[k] for k in chosen],
        initial_weights=[before[k] for k in chosen],
        behavior={
            name: Variant(
                errors=scale * errors[chosen],
                outputs=outputs[chosen],
                mask=np.ones((8, 12), bool),
                wrong=(outputs[chosen] > scale).mean((2, 3)),
                decisions=outputs[chosen] > 0,
            )
            for name, scale in (("length_2x", 1.0), ("amplitude", 3.0))
        },
        prediction_times=times[chosen],
    )


TAKEN = [
    *("ood_log_error_sd", "ood_error_sd", "ood_error_mean", "ood_error_cv", "output_distance"),
    *("accuracy", "accuracy_logit_sd", "decision_disagreement"),
    *("valid_prediction_time", "procrustes", "svcca", "cka", "dsa", "weight_change"),
]


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_the_measure_of_these_members(name: str) -> None:
    options = {"dsa": {"rank": 3, "n_delays": 2, "n_starts": 4, "autonomous": False}}.get(name, {})
    measure = MEASURES[name](**options)
    whole, part = measure(recording(range(N))), measure(recording([0, 2, 3, 5]))
    assert whole.findings
    for row, alone in zip(whole.findings, part.findings, strict=True):
        found = among(whole, row, [0, 2, 3, 5])
        assert found is not None
        # 1e-6: DSA's search ends where its tolerance allows, on the same operators.
        assert found.value == pytest.approx(alone.value.value, rel=1e-6)
        np.testing.assert_allclose(found.leave_one_out, alone.value.leave_one_out, rtol=1e-6)


@pytest.mark.parametrize("name", TAKEN)
def test_a_finding_is_the_statistic_that_it_names_of_the_array_that_it_names(name: str) -> None:
    """To the last bit, so that what is taken again for all members is what stands in the table."""
    options = {"dsa": {"rank": 3, "n_delays": 2, "n_starts": 4, "autonomous": False}}.get(name, {})
    measured = MEASURES[name](**options)(recording(range(N)))
    for one in measured.findings:
        assert one.statistic, one.variant
        again = STATISTICS[one.statistic](kept_for(measured, one))
        assert again.value == one.value.value
        np.testing.assert_array_equal(again.leave_one_out, one.value.leave_one_out)


def test_a_second_variant_of_the_same_distances_is_taken_from_those_that_it_names() -> None:
    """Also where other distances give the same mean, which no trial could tell apart."""
    d = np.abs(RNG.normal(size=(4, 4)))
    d = d + d.T
    order = [1, 0, 2, 3]
    other = d[np.ix_(order, order)]  # the same mean of all pairs
    findings = tuple(finding(v, "pair_mean", d, of="recurrent") for v in ("recurrent", "recurrent/untrained"))
    measured = Measured(findings=findings, distances={"joint": other, "recurrent": d})
    for one in findings:
        assert among(measured, one, [0, 3]).value == d[0, 3] != other[0, 3]


def test_what_a_measure_does_not_say_cannot_be_taken_again() -> None:
    x = RNG.gamma(2.0, size=5)
    said = finding("own", "mean", x, of="own")
    kept = Measured(findings=(said,), arrays={"own": x})
    assert among(kept, said, [1, 2]).value == x[1:3].mean()
    assert among(kept, Finding(variant="own", value=jackknife.member_mean(x)), [1, 2]) is None
    for arrays in ({}, {"own": x[:4]}, {"other": x}):
        assert among(replace(kept, arrays=arrays), said, [1, 2]) is None
    assert among(kept, replace(said, statistic="median"), [1, 2]) is None
    spread = finding("own", "iqr_over_median", x, of="own")
    assert among(kept, spread, [1, 2, 4]).value == jackknife.iqr_over_median(x[[1, 2, 4]]).value
