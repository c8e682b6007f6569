"""Conditions and studies whose numbers are given member by member, for tests of effects."""

from dataclasses import replace

import numpy as np

from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics import jackknife
from degeneracy.measuring.results import MemberSummary, Result
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult

SCALES = ["value", "calibrated", "value, matched loss"]


def member(label: str, loss: float = 0.01) -> MemberSummary:
    return MemberSummary(
        label=label, status="converged", n_updates=8, seconds=0.1, epoch_loss=np.array([1.0, loss]),
        learning_rate=np.ones(2), steps_per_epoch=4,
    )  # fmt: skip


def condition(factors: dict, measured: dict, labels, losses=(), lost: int = 0, missing=None) -> Result:
    """A condition of members with these labels, measured so; `lost` more did not converge."""
    names = [str(label) for label in labels]
    trained = [member(*one) for one in zip(names, losses or [0.01] * len(names), strict=True)]
    trained += [replace(member(f"lost {k}"), status="not converged") for k in range(lost)]
    levels = {"linear_flow": "dynamics", "signed_pif": "weights", "ood_log_error_sd": "behavior", "own": "learning"}
    return Result(
        condition=", ".join(f"{key}={value}" for key, value in factors.items()),
        factors=factors,
        members=tuple(trained),
        measured_members=tuple(names),
        levels={name: level for name, level in levels.items() if name in {*measured, *(missing or {})}},
        measured=measured,
        missing=missing or {},
    )


def mean_of(x, **fields) -> Measured:
    """A measure that is the mean of one number per member."""
    finding = Finding(variant="driven", value=jackknife.member_mean(x), statistic="mean", of="driven", **fields)
    return Measured(findings=(finding,), arrays={"driven": np.array(x)})


def spread_of(x) -> Measured:
    of = {"statistic": "sd_of_logarithms", "of": "errors/length_2x"}
    finding = Finding(variant="length_2x", value=jackknife.member_sd(x), scale="log", unit="natural-log units", **of)
    return Measured(findings=(finding,), arrays={"errors/length_2x": np.exp(x)})


def over(values, name: str = "linear_flow", factor: str = "task.channels", **claims) -> StudyResult:
    """A study of one factor, whose levels have these members' numbers by seed."""
    results = tuple(condition({factor: level}, {name: mean_of(x)}, range(len(x))) for level, x in values.items())
    return StudyResult(name="s", results=results, claims=Claims(**claims))


X = {level: np.random.default_rng(level).normal(2.0 + 0.5 * level, 0.3, 6) for level in (2, 4, 8, 16)}


def factorial(rng, effects=(0.0, 0.0), n: int = 8) -> tuple[Result, ...]:
    """Two factors of three and two levels that shift the mean by so much from end to end; seeds are shared."""
    seed = rng.normal(size=n)
    return tuple(
        condition(
            {"task.channels": a, "network.cell": b},
            {"linear_flow": mean_of(5 + seed + 0.2 * rng.normal(size=n) + effects[0] * (a - 1) / 2 + effects[1] * k)},
            range(n),
        )
        for a in (1, 2, 3)
        for k, b in enumerate(("tanh", "gru"))
    )
