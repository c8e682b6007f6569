"""Rank and delays by a pilot: chosen once by held-out error, the same for all conditions, kept in study.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import run, tiny
from tunes import tiny as tuned_study
from tunes import tuned

import degeneracy as dg
from degeneracy.analysis.dynamics.linear.linear_models import Form
from degeneracy.core.errors import UserError
from degeneracy.runs import piloting
from degeneracy.runs.loading import remeasured
from degeneracy.studies.pilot import choice
from tests.linear_systems import grams, rotation, system
from tests.linear_systems import run as linear_run

PILOT = {"n_networks": 2, "rank": [2, 4, 8], "n_delays": [1, 2]}
PILOTED: dict[str, Any] = {
    "measures": ["linear_flow", "koopman_spectrum"],
    "probe": {"n_trials": 8, "n_dynamics_trials": 32},
    "pilot": PILOT,
}


def kept(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "study.json").read_text(encoding="utf-8"))["pilot"])


def taken(out: Path) -> list[tuple[int, int]]:
    """Rank and delays of every measure of every condition, as they were taken."""
    specs = [one for result in dg.load_run(out).results for one in result.spec["measures"].values()]
    return [(spec["rank"], spec["n_delays"]) for spec in specs if "rank" in spec]


def no_choice(*_: Any, **__: Any) -> Any:
    raise AssertionError("chosen again")


def planted(ensemble: Any, *_: Any, n_lags: int, **__: Any) -> Any:
    """Sums of 20 units that move in 3 dimensions, but for a little noise of all: another system for every member."""
    halves: tuple[list[Any], list[Any]] = ([], [])
    for half, sums in enumerate(halves):
        for seed in ensemble.seeds:
            states, inputs = linear_run(*system(seed + 1, n_units=3), 60, (seed, half))
            noise = 0.01 * np.random.default_rng((seed, half)).normal(size=(*states.shape[:2], 20))
            sums.append(grams(states @ rotation(seed, 20)[:3] + noise, inputs, n_lags))
    return halves


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pilot") / "run"
    run(out, **PILOTED)
    return out


def test_the_planted_rank_is_chosen_for_all_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piloting, "dynamics_sums", planted)
    run(tmp_path / "run", **{**PILOTED, "pilot": {"n_networks": 3, "rank": [5, 1, 2, 3, 10, 20], "n_delays": [1, 2]}})
    [choice] = kept(tmp_path / "run")["choices"]
    assert (choice["rank"], choice["n_delays"]) == (3, 1)
    assert taken(tmp_path / "run") == [(3, 1)] * 4  # two measures of two conditions
    errors = {(one["rank"], one["n_delays"]): one["error"] for one in choice["tried"]}
    assert set(errors) == {(rank, n) for rank in (1, 2, 3, 5, 10, 20) for n in (1, 2)}
    # Noise of variance 1e-4 in each of 20 units is under 1% of that of 3 dimensions, of about 1; a lost one is more.
    assert errors[3, 1] < 0.01 < errors[2, 1] < errors[1, 1]


def test_the_choice_is_that_of_options_which_say_the_same(finished: Path, tmp_path: Path) -> None:
    [choice] = kept(finished)["choices"]
    fixed = {"rank": choice["rank"], "n_delays": choice["n_delays"]}
    assert set(taken(finished)) == {(choice["rank"], choice["n_delays"])}
    assert choice["error"] <= 1.1 * min(one["error"] for one in choice["tried"])
    same = {**PILOTED, "pilot": {}, "options": {"linear_flow": fixed, "koopman_spectrum": fixed}}
    assert run(tmp_path / "fixed", **same) == (finished / "degeneracy.csv").read_bytes()
    assert kept(tmp_path / "fixed") == {}


def test_conditions_count_alike() -> None:
    """By the first condition alone rank 2 would do, and by the second alone rank 8 would be needed."""
    forms = [Form(rank=rank) for rank in (2, 4, 8)]
    made = choice(forms, [[0.10, 0.10, 0.10], [0.90, 0.21, 0.19]])
    assert (made["rank"], made["n_delays"]) == (4, 1)
    assert [one["error"] for one in made["tried"]] == pytest.approx([0.5, 0.155, 0.145])


def test_what_was_chosen_stands_at_all_times_of_training(tmp_path: Path) -> None:
    training = {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 5, "patience": 1, "checkpoints": [0.5]}
    run(tmp_path / "run", **{**PILOTED, "measures": ["koopman_spectrum"]}, training=training)
    table = dg.during_training(tmp_path / "run", ["koopman_spectrum"], jobs=1, progress=False)
    at_end, final = table[table["fraction"] == 1.0], dg.load_run(tmp_path / "run").table
    assert len(at_end) == 2
    np.testing.assert_array_equal(at_end["value"], final["value"])


def test_a_run_that_goes_on_never_chooses_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(tmp_path / "run", **PILOTED)
    chosen = kept(tmp_path / "run")
    assert list(chosen["networks"].values()) == [[0, 1], [0, 1]]  # of three that converged
    monkeypatch.setattr(piloting, "held_out_errors", no_choice)
    assert run(tmp_path / "run", **PILOTED) == before
    # Networks and a condition are added.
    more = {"seeds": list(range(5)), "vary": {"task.channels": [1, 2, 3]}}
    run(tmp_path / "run", **PILOTED, **more)
    assert kept(tmp_path / "run") == chosen
    assert len(dg.load_run(tmp_path / "run").results) == 3
    assert set(taken(tmp_path / "run")) == {(chosen["choices"][0]["rank"], chosen["choices"][0]["n_delays"])}
    # A damaged study.json is made again with the choice that results.json holds.
    (tmp_path / "run" / "study.json").write_text("{}", encoding="utf-8")
    dg.run_study(tiny(**PILOTED, **more), out=tmp_path / "run", jobs=1, progress=False, repair=True)
    assert kept(tmp_path / "run") == chosen


def test_a_choice_is_kept_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from degeneracy.runs import running

    with monkeypatch.context() as patched:
        patched.setattr(running, "measure_recording", no_choice)
        with pytest.raises(AssertionError):
            run(tmp_path / "run", **PILOTED)
    assert kept(tmp_path / "run")["choices"]
    monkeypatch.setattr(piloting, "held_out_errors", no_choice)
    run(tmp_path / "run", **PILOTED)


@pytest.mark.parametrize(("field", "value"), [("n_networks", 3), ("rank", [2, 4]), ("n_delays", [1])])
def test_other_settings_of_a_pilot_that_has_chosen_are_refused(finished: Path, field: str, value: Any) -> None:
    before = (finished / "study.json").read_bytes()
    with pytest.raises(UserError, match=rf"pilot\.{field} = .* is wrong: .* chooses once; choose another folder"):
        run(finished, **{**PILOTED, "pilot": {**PILOT, field: value}})
    assert (finished / "study.json").read_bytes() == before


def test_each_kind_of_model_has_its_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = {**PILOTED, "options": {"linear_flow": {"inputs": False}}}
    run(tmp_path / "run", **{**two, "measures": ["linear_flow"]})
    first = kept(tmp_path / "run")
    assert [(one["inputs"], one["centre"]) for one in first["choices"]] == [(False, True)]
    # A measure of another kind comes by its own later, of the same networks; what there is stands.
    run(tmp_path / "run", **two, seeds=[2, 1, 0])
    second = kept(tmp_path / "run")
    assert second["choices"][0] == first["choices"][0]
    assert [(one["inputs"], one["centre"]) for one in second["choices"]] == [(False, True), (True, True)]
    assert second["networks"] == first["networks"]
    monkeypatch.setattr(piloting, "held_out_errors", no_choice)
    plan = remeasured(tmp_path / "run", ["flow_mismatch", "procrustes"])  # takes the choice of its kind
    dg.run_study(plan, out=tmp_path / "run", jobs=1, progress=False)
    assert taken(tmp_path / "run") == [(second["choices"][1]["rank"], second["choices"][1]["n_delays"])] * 2
    assert "came from a pilot" in dg.report(dg.load_run(tmp_path / "run"), tmp_path).read_text(encoding="utf-8")
    dg.run_study(remeasured(tmp_path / "run", ["procrustes"]), out=tmp_path / "run", jobs=1, progress=False)
    assert "came from a pilot" not in dg.report(dg.load_run(tmp_path / "run"), tmp_path).read_text(encoding="utf-8")
    assert kept(tmp_path / "run") == second
    plan = remeasured(tmp_path / "run", ["linear_flow"])  # the pilot is not forgotten
    dg.run_study(plan, out=tmp_path / "run", jobs=1, progress=False)
    assert set(taken(tmp_path / "run")) == {(second["choices"][1]["rank"], second["choices"][1]["n_delays"])}


def test_a_report_names_only_choices_that_a_measure_takes(tmp_path: Path) -> None:
    two = {**PILOTED, "options": {"linear_flow": {"inputs": False}}}
    run(tmp_path / "run", **two)
    without, with_inputs = kept(tmp_path / "run")["choices"]
    assert (without["inputs"], with_inputs["inputs"]) == (False, True)
    of_each = [f"Of models with{out} inputs, centred: " for out in ("out", "")]

    def said() -> str:
        return dg.report(dg.load_run(tmp_path / "run"), tmp_path).read_text(encoding="utf-8")

    assert all(start in said() for start in of_each)
    for left, used in (("linear_flow", without), ("koopman_spectrum", with_inputs)):
        dg.run_study(remeasured(tmp_path / "run", [left]), out=tmp_path / "run", jobs=1, progress=False)
        assert dg.load_run(tmp_path / "run").pilot["choices"] == [used]
        assert not any(start in said() for start in of_each)
        assert f"It chose rank {used['rank']} with " in said()
    assert kept(tmp_path / "run")["choices"] == [without, with_inputs]  # none is forgotten


def test_options_and_settings_that_say_rank_or_delays_keep_their_own(tmp_path: Path) -> None:
    claims = {"dynamics": {"measure": "linear_flow", "robust_over": {"rank": [3, 5]}}}
    run(tmp_path / "run", **PILOTED, options={"koopman_spectrum": {"rank": 6}}, claims=claims)
    [choice] = kept(tmp_path / "run")["choices"]
    assert taken(tmp_path / "run") == [(choice["rank"], choice["n_delays"]), (6, 1)] * 2
    loaded = dg.load_run(tmp_path / "run")
    assert loaded.pilot["measures"] == ["linear_flow"]
    points = loaded.results[0].grids["dynamics"]
    assert [dict(point.options) for point in points] == [{"rank": 3}, {"rank": 5}]
    at_3 = {"linear_flow": {"rank": 3, "n_delays": choice["n_delays"]}}
    direct = dg.run_study(
        tiny(**{**PILOTED, "pilot": {}, "options": at_3, "measures": ["linear_flow"]}),
        out=tmp_path / "at 3",
        jobs=1,
        progress=False,
    )
    there, here = (
        one.findings[0].value.value for one in (points[0].outcome, direct.results[0].measured["linear_flow"])
    )
    assert there == here


def test_a_pilot_that_cannot_choose_says_so_in_one_line(tmp_path: Path) -> None:
    untrained = {"training": {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 2, "patience": 1}}
    hard = {"task": {"name": "flip_flop", "n_steps": 10, "threshold": 1e-9}}
    with pytest.raises(UserError, match="pilot: no network converged with states that vary, so that rank and delays"):
        run(tmp_path / "none", **PILOTED, **untrained, **hard)
    assert kept(tmp_path / "none") == {}
    for idle in ({"measures": ["procrustes"]}, {"options": {name: {"rank": 3} for name in PILOTED["measures"]}}):
        with pytest.raises(UserError, match=r"^pilot: it has nothing to choose: no measure of linear models is taken"):
            run(tmp_path / "short", **{**PILOTED, **idle})
    with pytest.raises(UserError, match=r"^pilot: linear_flow: n_delays = 10 is wrong: trials have 10 steps$"):
        run(tmp_path / "short", **{**PILOTED, "pilot": {"n_networks": 2, "n_delays": [1, 10]}})
    assert not (tmp_path / "short").exists()
    with pytest.raises(UserError, match=r"^Pilot: rank\.1 = 0 is wrong"):
        tiny(pilot={**PILOT, "rank": [2, 0]})
    with pytest.raises(UserError, match=r"^Pilot: 'n_networks' is missing"):
        tiny(pilot={"rank": [2]})
    with pytest.raises(UserError, match=r"^tune: the study's pilot would choose rank and delays of linear_flow anew"):
        tuned(tmp_path / "tuned", tuned_study(pilot=PILOT), measure="linear_flow", target=0.1)
    assert not (tmp_path / "tuned").exists()
    tuned(tmp_path / "tuned", tuned_study(pilot=PILOT), target=0.1)  # of weight_change, which has nothing to choose


def test_a_network_that_is_silent_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_silent(ensemble: Any, *args: Any, **how: Any) -> Any:
        first, second = planted(ensemble, *args, **how)
        states, inputs = np.ones((8, 10, 20)), np.random.default_rng(0).normal(size=(8, 10, 3))
        return tuple([grams(states, inputs, how["n_lags"]), *half[1:]] for half in (first, second))

    monkeypatch.setattr(piloting, "dynamics_sums", one_silent)
    run(tmp_path / "run", **{**PILOTED, "pilot": {"n_networks": 3, "rank": [2, 3, 5], "n_delays": [1]}})
    assert list(kept(tmp_path / "run")["networks"].values()) == [[1, 2], [1, 2]]
    assert kept(tmp_path / "run")["choices"][0]["rank"] == 3


def test_the_report_says_what_the_pilot_chose(finished: Path, tmp_path: Path) -> None:
    text = dg.report(dg.load_run(finished), tmp_path).read_text(encoding="utf-8")
    [choice] = kept(finished)["choices"]
    delays = "1 delay" if choice["n_delays"] == 1 else f"{choice['n_delays']} delays"
    assert (
        "Rank and number of delays of Linear flow and Koopman spectrum came from a pilot, before any of them was taken."
    ) in text
    assert "(2 of each condition, 4 in all)" in text
    assert f"It chose rank {choice['rank']} with {delays}, which leaves {choice['error']:.3g}" in text
    assert "it tried ranks of 2, 4 and 8 with 1 and 2 delays." in text
