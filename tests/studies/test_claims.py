"""Claims: read as they are written, named after what measures report, and the same measures as figures show first."""

import tomllib

import degeneracy as dg
from degeneracy.studies.claims import PREFERRED_VARIANTS, PRIMARY, VARIANTS, Claims
from degeneracy.wording import names


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
    assert {level: claim.measure for level, claim in Claims().by_level.items()} == PRIMARY
    assert Claims().stated() == {}
    # A study that does not take them is none the worse for it.
    dg.Study(name="s", seeds=[0, 1], task={"name": "flip_flop"}, measures=["cka"])


def test_figures_show_first_what_is_judged() -> None:
    for level, measure in PRIMARY.items():
        first, variants = names.PRIMARY[level][0]
        assert first == measure
        assert dg.MEASURES[measure].level == level
        assert set(variants) <= set(PREFERRED_VARIANTS)


def test_the_variants_that_are_known_beforehand_are_those_that_are_measured() -> None:
    task = dg.tasks.FlipFlop(channels=1, n_steps=12, threshold=9.0)
    training = dg.Training(batch_size=4, steps_per_epoch=1, max_epochs=1, patience=0)
    ensemble = dg.train(task, dg.Network(hidden_size=5), training, seeds=range(2), jobs=1, progress=False)
    options = {"dsa": {"rank": 2, "n_delays": 2, "n_starts": 2}}
    found = dg.measure(ensemble, task, measures=list(VARIANTS), options=options, probe=dg.Probe(n_trials=6)).measured
    for name, known in VARIANTS.items():
        assert tuple(sorted(f.variant for f in found[name].findings)) == tuple(sorted(known)), name
