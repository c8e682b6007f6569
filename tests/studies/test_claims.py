"""Claims: read as they are written, named after what measures report, and the same measures as figures show first."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.analysis import MEASURES, Finding, Measured, primary_measures
from degeneracy.analysis.statistics.jackknife import member_mean
from degeneracy.measuring.results import Result
from degeneracy.studies.claims import JUDGED, Claims
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult


def test_claims_are_read_from_a_study_file() -> None:
    text = """
        name = "s"
        seeds = "0:4"
        measures = ["dsa", "procrustes", "signed_pif"]
        [task]
        name = "flip_flop"
        [vary]
        task.channels = [2, 3]
        network.hidden_size = [8, 16]
        [probe]
        n_trials = 32
        [claims]
        factors = ["task.channels"]
        [claims.dynamics]
        measure = "procrustes"
        margin = 0.1
        [claims.weights]
        variant = "joint"
        expected.task.channels = "down"
    """
    study = dg.Study(**tomllib.loads(text))
    assert study.claims.factors == ("task.channels",)
    assert study.claims.dynamics == dg.Claim(measure="procrustes", margin=0.1)
    assert study.claims.weights == dg.Claim(measure="signed_pif", variant="joint", expected={"task.channels": "down"})
    assert list(study.claims.stated()) == ["dynamics", "weights"]
    assert dg.Study(**study.model_dump(mode="json")).claims == study.claims


def test_a_variant_that_is_seen_only_when_measured_is_taken_as_written() -> None:
    claims = Claims(dynamics={"measure": "fixed_points", "variant": "n_stable"})
    study = dg.Study(name="s", seeds=[0, 1], task={"name": "flip_flop"}, measures=["fixed_points"], claims=claims)
    assert study.claims == claims


def test_no_claims_name_the_measures_of_the_levels() -> None:
    judged = {level: claim.measure for level, claim in Claims().by_level.items()}
    assert judged == {"behavior": "ood_log_error_sd", "dynamics": "linear_flow", "weights": "signed_pif"}
    assert judged == {level: primary_measures(level)[0].name for level in JUDGED}
    assert Claims().stated() == {}
    # A study that does not take them is none the worse for it.
    dg.Study(name="s", seeds=[0, 1], task={"name": "flip_flop"}, measures=["cka"])


def test_figures_show_first_what_is_judged() -> None:
    """A claimed measure and variant stand for the level; one without a number leaves its place in figures."""
    results = (dsa_and_cka(),)
    assert primaries(results[0]) == {"dynamics": ("dsa", "driven")}
    claims = Claims(dynamics={"measure": "dsa", "variant": "autonomous"})
    assert primaries(StudyResult(name="s", results=results, claims=claims)) == {"dynamics": ("dsa", "autonomous")}
    study = StudyResult(name="s", results=results, claims=Claims(dynamics={"measure": "procrustes"}))
    assert primaries(study) == {"dynamics": ("procrustes", "")}, "asked for, and without a number"
    assert primaries(study, measured=True) == {"dynamics": ("dsa", "driven")}
    without = replace(results[0], levels={"dsa": "dynamics", "cka": "dynamics"})
    study = StudyResult(name="s", results=(without,), claims=Claims(dynamics={"measure": "procrustes"}))
    assert primaries(study) == {"dynamics": ("dsa", "driven")}, "never asked for"


def dsa_and_cka() -> Result:
    """A condition with two of three measures of dynamics."""
    x = np.array([1.0, 2.0, 4.0])
    rows = {"dsa": ("autonomous", "driven"), "cka": ("driven",)}
    return Result(
        condition="c",
        members=(),
        measured_members=("0", "1", "2"),
        levels=dict.fromkeys(("dsa", "cka", "procrustes"), "dynamics"),
        measured={
            name: Measured(findings=tuple(Finding(variant=v, value=member_mean(x)) for v in variants))
            for name, variants in rows.items()
        },
        missing={"procrustes": "a reason"},
    )


def test_the_variants_that_are_known_beforehand_are_those_that_are_measured() -> None:
    task = dg.tasks.FlipFlop(channels=1, n_steps=12, threshold=9.0)
    training = dg.Training(batch_size=4, steps_per_epoch=1, max_epochs=1, patience=0)
    ensemble = dg.train(task, dg.Network(hidden_size=5), training, seeds=range(2), jobs=1, progress=False)
    options = {"dsa": {"rank": 2, "n_delays": 2, "n_starts": 2}, "fixed_points": {"n_starts": 4}}
    of_closed_loops = [name for name, kind in MEASURES.items() if "prediction_times" in kind.needs]
    known = {
        name: kind.variant_titles
        for name, kind in MEASURES.items()
        if kind.variant_titles and name not in of_closed_loops
    }
    assert len(known) > 10
    found = dg.measure(ensemble, task, measures=list(known), options=options, probe=dg.Probe(n_trials=6)).measured
    for name, variants in known.items():
        assert sorted(f.variant for f in found[name].findings) == sorted(variants), name


# --- secondary claims ---


def secondary(**claim) -> dg.Study:
    claims = {"dynamics": {"measure": "linear_flow"}, "secondary": [claim]}
    vary, measures = {"task.channels": [2, 3]}, ["linear_flow", "dsa"]
    return dg.Study(name="s", seeds=[0, 1], task={"name": "flip_flop"}, measures=measures, vary=vary, claims=claims)


def test_a_secondary_claim_is_of_a_measure_and_variant() -> None:
    study = secondary(measure="dsa", variant="driven", expected={"task.channels": "down"})
    (claim,) = study.claims.secondary
    assert study.claims.secondary_of("dynamics", "dsa", "driven") == claim
    assert study.claims.secondary_of("dynamics", "dsa", "autonomous") is None
    assert dg.Study(**study.model_dump(mode="json")).claims == study.claims


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ({"measure": "dsa"}, r"claims.secondary\[0\]: variant is missing; dsa has driven, "),
        ({"measure": "dsa", "variant": "drivn"}, r"claims.secondary\[0\].*'drivn'; did you mean 'driven'"),
        ({"measure": "cka", "variant": "driven"}, r"claims.secondary\[0\]: 'cka' is not among the measures"),
        ({"measure": "linear_flow", "variant": "driven"}, r"claims.dynamics is of linear_flow/driven already"),
        ({"measure": "dsa", "variant": "driven", "robust_over": {"rank": [2]}}, "robust_over is for the measure that"),
        ({"measure": "dsa", "variant": "driven", "expected": {"task.chanels": "up"}}, "did you mean 'task.channels'"),
    ],
)
def test_mistakes_in_secondary_claims_are_named(claim: dict, says: str) -> None:
    with pytest.raises(dg.UserError, match=says):
        secondary(**claim)


def test_margins_that_a_secondary_claim_does_not_write_are_those_of_its_level() -> None:
    claims = Claims(
        dynamics={"margin": 0.2, "calibrated_margin": 0.3},
        secondary=[
            {"measure": "dsa", "variant": "driven", "margin": 0.05},
            {"measure": "cka", "variant": "driven", "calibrated_margin": 0.02},
            {"measure": "weight_norm", "variant": "recurrent"},
        ],
    )
    for level, measure, variant, margins in (
        ("dynamics", "dsa", "driven", (0.05, 0.3)),
        ("dynamics", "cka", "driven", (0.2, 0.02)),
        ("weights", "weight_norm", "recurrent", (0.0, 0.0)),  # that level has none either
        ("learning", "weight_norm", "recurrent", (0.0, 0.0)),  # and this one is not judged
    ):
        judged_by = claims.secondary_of(level, measure, variant)
        assert judged_by is not None
        assert (judged_by.margin, judged_by.calibrated_margin) == margins


def test_flat_is_expected_only_where_a_margin_says_what_that_is() -> None:
    expected = {"task.channels": "flat"}
    vary = {"task.channels": [2, 3]}
    of_dsa = {"measure": "dsa", "variant": "driven", "expected": expected}
    for claims, where in (
        ({"dynamics": {"expected": expected, "calibrated_margin": 0.1}}, r"claims\.dynamics"),
        ({"secondary": [of_dsa]}, r"claims\.secondary\[0\]"),
        ({"secondary": [of_dsa], "weights": {"margin": 0.1}}, r"claims\.secondary\[0\]"),
    ):
        with pytest.raises(dg.UserError, match=rf"^Study: {where}: flat is expected, .* write margin"):
            dg.Study(name="s", seeds=[0, 1], task={"name": "flip_flop"}, vary=vary, claims=claims)
    for claims in (
        {"dynamics": {"expected": expected, "margin": 0.1}},
        {"secondary": [{**of_dsa, "margin": 0.1}]},
        {"secondary": [of_dsa], "dynamics": {"margin": 0.1}},
    ):
        assert dg.Study(name="s", seeds=[0, 1], task={"name": "flip_flop"}, vary=vary, claims=claims)


def test_one_finding_has_one_secondary_claim() -> None:
    claim = {"measure": "dsa", "variant": "driven"}
    claims = {"secondary": [claim, claim]}
    with pytest.raises(dg.UserError, match=r"claims.secondary\[1\]: claims.secondary\[0\] is of dsa/driven already"):
        dg.Study(name="s", seeds=[0, 1], task={"name": "flip_flop"}, measures=["linear_flow", "dsa"], claims=claims)


def test_where_fewer_measures_are_taken_options_and_claims_of_the_others_go(tmp_path) -> None:
    """As a pilot of what is judged takes them; in the file itself what is not taken is a mistake."""
    text = """
        name = "s"
        seeds = "0:4"
        [task]
        name = "flip_flop"
        [vary]
        task.channels = [2, 3]
        [options.dsa]
        rank = 12
        [options.linear_flow]
        rank = 8
        [claims]
        factors = ["task.channels"]
        [claims.dynamics]
        margin = 0.2
        [claims.weights]
        margin = 0.3
        [[claims.secondary]]
        measure = "dsa"
        variant = "driven"
    """
    file = tmp_path / "s.toml"
    file.write_text(text, encoding="utf-8")
    study = dg.load_study(file, [("measures", ["linear_flow", "cka"])])
    assert study.options == {"linear_flow": {"rank": 8}}
    assert list(study.claims.stated()) == ["dynamics"]
    assert study.claims.dynamics.margin == 0.2
    assert study.claims.factors == ("task.channels",)
    assert study.claims.secondary == ()
    assert len(dg.load_study(file, [("measures", ["dsa", "signed_pif"])]).claims.secondary) == 1
    file.write_text(text.replace("seeds", 'measures = ["linear_flow", "signed_pif"]\nseeds'), encoding="utf-8")
    with pytest.raises(dg.UserError, match="'dsa' is not among the measures to take"):
        dg.load_study(file)
    for wrong in ("dsa", 3, ["dssa"]):
        with pytest.raises(dg.UserError, match="measure"):
            dg.load_study(file, [("measures", wrong)])


def test_mistakes_beside_fewer_measures_are_named_whatever_is_set_first(tmp_path) -> None:
    """What is set for a measure that is left out is a mistake, also before the measures; so is what is no name."""
    file = tmp_path / "s.toml"
    text = 'name = "s"\nseeds = "0:2"\nmeasures = ["linear_flow", "dsa"]\n[task]\nname = "flip_flop"\n'
    file.write_text(text, encoding="utf-8")
    pairs = [("options.dsa.rank", 5), ("measures", ["linear_flow"])]
    for order in (pairs, pairs[::-1]):
        with pytest.raises(dg.UserError, match="'dsa' is not among the measures to take"):
            dg.load_study(file, order)
    scale = "[scale.small]\n'options.dsa.rank' = 5\nmeasures = ['linear_flow']\n"
    file.write_text(text + scale, encoding="utf-8")
    with pytest.raises(dg.UserError, match="'dsa' is not among the measures to take"):
        dg.load_study(file, scale="small")
    for wrong in ([["dsa"]], [1]):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(dg.UserError, match=r"measures\.0 = .* is wrong"):
            dg.load_study(file, [("measures", wrong)])
    for claims in ("[claims.dynamics]", "[[claims.secondary]]"):
        file.write_text(f"{text}{claims}\nmeasure = [1]\n", encoding="utf-8")
        with pytest.raises(dg.UserError, match=r"measure = \[1\] is wrong"):
            dg.load_study(file, [("measures", ["linear_flow"])])
