"""Effects of a run on disk: the same from its files, and claims that change."""

import pandas as pd
import pytest

import degeneracy as dg
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult

STUDY = {
    "name": "tiny",
    "seeds": [0, 1, 2, 3],
    "task": {"name": "flip_flop", "n_steps": 10, "threshold": 2.0},
    "network": {"hidden_size": 8},
    "training": {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 5, "patience": 1},
    "vary": {"task.channels": [1, 2]},
    "probe": {"n_trials": 8},
    "measures": ["procrustes", "ood_log_error_sd"],
}
CLAIMS = {"dynamics": {"measure": "procrustes", "margin": 0.2, "expected": {"task.channels": "up"}}}


def run(out, **changes) -> StudyResult:
    return dg.run_study(dg.Study(**{**STUDY, **changes}), out=out, device="cpu", jobs=1, progress=False)


def test_a_finished_run_gives_the_same_effects_from_its_files(tmp_path) -> None:
    made = run(tmp_path / "run", claims=CLAIMS)
    loaded = dg.load_run(tmp_path / "run")
    assert loaded.claims == Claims(**CLAIMS)
    pd.testing.assert_frame_equal(dg.effects(loaded), dg.effects(made), check_exact=True)
    pd.testing.assert_frame_equal(dg.convergence(loaded), dg.convergence(made), check_exact=True)
    for name, table in (("effects", dg.effects(made)), ("convergence", dg.convergence(made))):
        as_text = dict.fromkeys(("lowest", "highest", "settings"), str)
        written = pd.read_csv(tmp_path / "run" / f"{name}.csv", dtype=as_text)
        texts = written.select_dtypes(exclude="number").columns
        pd.testing.assert_frame_equal(written.fillna(dict.fromkeys(texts, "")), table, check_dtype=False)
    value = dg.effects(made).query("scale == 'value'").set_index(["measure", "variant"])
    first, second = made.results
    compared = dg.compare(first, second).set_index(["measure", "variant"])
    for name in [("procrustes", "driven"), ("ood_log_error_sd", "length_2x")]:
        assert value.loc[name].effect == pytest.approx(compared.loc[name].difference)
        assert value.loc[name].ci_low == pytest.approx(compared.loc[name].ci_low)  # all seeds are shared
        assert value.loc[name].primary
    assert value.loc[("procrustes", "driven")].expected == "up"


def test_claims_train_and_measure_nothing_anew_and_what_changed_later_is_known(tmp_path, monkeypatch) -> None:
    first = run(tmp_path / "run", claims=CLAIMS)
    assert not first.provenance["claims_changed_since_training"]
    monkeypatch.setattr("degeneracy.runs.running.train_members", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr("degeneracy.runs.running.measure_recording", lambda *_, **__: pytest.fail("measured again"))
    later = run(tmp_path / "run", claims={"dynamics": {"measure": "procrustes", "margin": 5.0}})
    assert later.provenance["claims_changed_since_training"]
    assert dg.load_run(tmp_path / "run").provenance["claims_changed_since_training"]
    back = run(tmp_path / "run", claims=CLAIMS)
    assert not back.provenance["claims_changed_since_training"]
    assert [c.name for c in dg.Study(**STUDY).conditions()] == [
        c.name for c in dg.Study(**STUDY, claims=CLAIMS).conditions()
    ]


def test_measuring_again_without_a_claims_measure_drops_the_claim(tmp_path) -> None:
    from degeneracy.runs.loading import remeasured

    run(tmp_path / "run", claims={**CLAIMS, "factors": ["task.channels"]})
    assert remeasured(tmp_path / "run").claims.dynamics.measure == "procrustes"
    without = remeasured(tmp_path / "run", ["cka"])
    assert without.claims == Claims(factors=("task.channels",))


def test_a_run_that_varies_nothing_has_no_such_tables(tmp_path) -> None:
    run(tmp_path / "run", vary={})
    assert not (tmp_path / "run" / "effects.csv").exists()
    assert not (tmp_path / "run" / "convergence.csv").exists()
