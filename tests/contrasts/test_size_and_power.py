"""From results to verdicts: simulated null studies are called at the stated rate, planted trends are found."""

import numpy as np
import pandas as pd
from by_hand import SCALES, condition, spread_of

import degeneracy as dg
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics import jackknife
from degeneracy.studies.study_result import StudyResult


def planted(rng, slopes: dict, n: int = 12) -> StudyResult:
    """Three levels of a factor; distances grow by a share `slopes["dynamics"]` a level, spreads of log errors by
    `slopes["behavior"]`; seeds have a part in all levels, and some networks do not converge."""
    places, errors = rng.normal(size=(n, 3)), rng.normal(size=n)
    results = []
    for k in range(3):
        kept = np.flatnonzero(rng.random(n) > 0.08)
        kept = kept if len(kept) > 5 else np.arange(6)
        x = (0.6 * places + 0.8 * rng.normal(size=(n, 3)))[kept] * (1 + k * slopes["dynamics"])
        logs = (0.6 * errors + 0.8 * rng.normal(size=n))[kept] * (1 + k * slopes["behavior"])
        d = np.linalg.norm(x[:, None] - x, axis=-1)
        pairs = Measured(
            findings=(
                Finding(
                    variant="driven", value=jackknife.pair_mean(d), floor=jackknife.constant(0.1, len(kept)),
                    reference=jackknife.member_mean(3 + 0.1 * rng.normal(size=len(kept))),
                    statistic="pair_mean", of="driven",
                ),
            ),
            distances={"driven": d},
        )  # fmt: skip
        measured = {"linear_flow": pairs, "ood_log_error_sd": spread_of(logs)}
        losses = list(0.01 + 0.001 * rng.random(len(kept)))
        results.append(condition({"a": k}, measured, kept, losses=losses))
    return StudyResult(name="s", results=tuple(results))


def rates(slopes: dict, n_studies: int, seed: int, n: int = 12) -> pd.DataFrame:
    """How often each verdict falls on each primary cell and scale, and how often on any cell of a scale."""
    rng = np.random.default_rng(seed)
    tables = [dg.effects(planted(rng, slopes, n)).query("primary") for _ in range(n_studies)]
    return pd.concat(tables, keys=range(n_studies), names=["study"]).reset_index("study")


def test_null_studies_name_a_direction_at_the_stated_rate_on_every_scale() -> None:
    table = rates({"dynamics": 0.0, "behavior": 0.0}, 500, seed=0)
    named = table.assign(named=table.verdict.isin(["up", "down"])).groupby(["scale", "study"]).named.any()
    for scale in SCALES:
        # 7%: the stated 5% of Holm's family and twice the simulation's own error of 1%.
        assert named[scale].mean() <= 0.07, scale
    value = table[table.scale == "value"]
    assert 0.02 <= (value.p < 0.05).mean() <= 0.07


def test_planted_trends_are_found_each_at_its_own_level() -> None:
    table = rates({"dynamics": -0.3, "behavior": 0.0}, 60, seed=1, n=20).set_index(["scale", "level"]).verdict
    for scale in SCALES[:2]:
        assert (table[scale, "dynamics"] == "down").mean() > 0.9
    assert (table["value, matched loss", "dynamics"] == "down").mean() > 0.7
    other = table["value", "behavior"].isin(["up", "down"])
    assert other.mean() <= 0.15  # of 60: 5% and three times its error
    table = rates({"dynamics": 0.0, "behavior": 1.2}, 60, seed=2, n=20).set_index(["scale", "level"]).verdict
    assert (table["value", "behavior"] == "up").mean() > 0.9
