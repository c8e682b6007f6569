"""A measure that is added to the table, and nowhere else, is everywhere that measures are."""

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.analysis import MEASURES, Measure, Measured
from degeneracy.analysis.measure import PERMUTATION, ROTATION, SIGNS, Check, Level
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.by_name import finding
from degeneracy.cli.text import measures_text, table_text
from degeneracy.contrasts.robustness_checks import robustness_checks
from degeneracy.reporting.effects import sentences
from degeneracy.wording.names import full_name, own_cards

SAID = (
    "Size of states",
    "what no network makes of nothing",
    "the loudest networks",
    "Sizes were compared on {n} axis.",
)


class StateSize(Measure):
    """Difference of the networks' rms states."""

    name: ClassVar[str] = "state_size"
    title: ClassVar[str] = SAID[0]
    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    unit: ClassVar[str] = "rms"
    meaning: ClassVar[str] = "difference of rms states"
    zero: ClassVar[str] = "states of one size"
    source: ClassVar[str] = "this test"
    floor: ClassVar[str] = SAID[1]
    reference: ClassVar[str] = SAID[2]
    methods: ClassVar[str] = SAID[3]
    pairwise: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)
    checks: ClassVar[tuple[Check, ...]] = (Check(name="size", asks="how large", differs_in="quantity"),)

    n: int = 1

    def __call__(self, recording) -> Measured:
        size = np.array([np.sqrt(np.mean(x**2)) for x in recording.states])
        d, n = np.abs(size[:, None] - size), len(size)
        ends = {"floor": jackknife.constant(0.0, n), "reference": jackknife.member_mean(size)}
        return Measured(findings=(finding("rms", "pair_mean", d, of="rms", unit="rms", **ends),), distances={"rms": d})


def test_it_is_in_lists_tables_claims_effects_checks_report_and_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(MEASURES, StateSize.name, StateSize)
    assert all(said in measures_text() for said in SAID[:3])
    plan = dg.Study(
        name="one",
        seeds=range(4),
        task={"name": "flip_flop", "n_steps": 10, "threshold": 100.0},
        network={"hidden_size": 6},
        training={"batch_size": 8, "steps_per_epoch": 4, "max_epochs": 4},
        vary={"task.channels": [1, 2]},
        probe={"n_trials": 10},
        measures=["cka", StateSize.name],
        claims={"dynamics": {"measure": StateSize.name, "expected": {"task.channels": "up"}}},
    )
    study = dg.run_study(plan, out=tmp_path / "run", jobs=1, progress=False)
    assert StateSize.name in set(study.table["measure"])
    assert StateSize.name in table_text(study, tmp_path / "degeneracy.csv")
    effects = dg.effects(study)
    assert effects[effects["primary"]]["measure"].unique().tolist() == [StateSize.name]
    assert effects[effects["scale"] == "value, matched loss"].query("primary")["note"].item() != "", "too few networks"
    checks = robustness_checks(study)
    assert checks[checks["check"] == "size"]["measure"].tolist() == [StateSize.name]
    page = dg.report(study, tmp_path / "report.html").read_text(encoding="utf-8")
    for said in (*SAID[:3], "Sizes were compared on 1 axis."):
        assert said in page, said
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.svg")}
    assert SAID[0] in drawn["against_factor.svg"], "the measure that its level is judged by"
    assert SAID[0] in drawn["effects.svg"]


OWN = '''
from typing import ClassVar

import numpy as np

import degeneracy as dg
from degeneracy.analysis import Measured
from degeneracy.analysis.statistics import jackknife
from degeneracy.analysis.statistics.by_name import finding


class Loudness(dg.Measure):
    """Difference of rms states."""

    name: ClassVar[str] = "loudness"
    title: ClassVar[str] = "How loud <they> are"
    level: ClassVar[str] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    unit: ClassVar[str] = "decibel"
    meaning: ClassVar[str] = "how much louder one network is than another"
    zero: ClassVar[str] = "equally loud"
    source: ClassVar[str] = "a user"
    floor: ClassVar[str] = "silence itself"
    reference: ClassVar[str] = "the loudest of all"
    methods: ClassVar[str] = "Loudness was taken {n} times."
    variant_titles: ClassVar[dict[str, str]] = {"rms": "root mean square"}
    pairwise: ClassVar[bool] = True

    n: int = 3

    def __call__(self, recording):
        size = np.array([np.sqrt(np.mean(x**2)) for x in recording.states])
        d, n = np.abs(size[:, None] - size), len(size)
        ends = {"floor": jackknife.constant(0.0, n), "reference": jackknife.member_mean(size)}
        return Measured(findings=(finding("rms", "pair_mean", d, of="rms", **ends),), distances={"rms": d})


def brightness(recording):
    return np.array([np.abs(x).max() for x in recording.states])


brightness.title = "Brightness of networks"
brightness.unit = "lux"
brightness.meaning = "the brightest state of a network"
brightness.methods = "Braces that name {nothing} stay."
'''
SAID_BY_OWN = (
    "How loud &lt;they&gt; are (decibel)",
    "root mean square",
    "how much louder one network is than another",
    "equally loud",
    "silence itself",
    "the loudest of all",
    "Loudness was taken 3 times.",
    "a user",
    "Brightness of networks (lux)",
    "the brightest state of a network",
    "Braces that name {nothing} stay.",
)


def test_what_a_measure_of_ones_own_says_of_itself_stands_in_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also in that of a finished run which is read where its code cannot be had."""
    (tmp_path / "mine_with_cards.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = dg.Study(
        name="own",
        seeds=range(4),
        task={"name": "flip_flop", "n_steps": 10, "threshold": 100.0},
        network={"hidden_size": 6},
        training={"batch_size": 8, "steps_per_epoch": 4, "max_epochs": 4},
        vary={"task.channels": [1, 2]},
        probe={"n_trials": 10},
        measures=["mine_with_cards:Loudness", "mine_with_cards:brightness"],
        claims={"dynamics": {"measure": "loudness"}},
    )
    study = dg.run_study(plan, out=tmp_path / "run", jobs=1, progress=False)
    (tmp_path / "mine_with_cards.py").unlink()
    sys.modules.pop("mine_with_cards")
    again = dg.load_run(tmp_path / "run")
    for one, name in ((study, "first"), (again, "again")):
        page = dg.report(one, tmp_path / name / "report.html").read_text(encoding="utf-8")
        for said in SAID_BY_OWN:
            assert said in page, said
    own = own_cards(study.results)
    assert full_name("loudness", "rms", own) == "How loud <they> are, root mean square"
    [sentence] = sentences(dg.effects(study), "dynamics", own)
    assert "How loud <they> are (root mean square)" in sentence


def test_a_claim_of_it_knows_its_variants() -> None:
    """Those of its card, before anything is trained."""
    with pytest.raises(dg.UserError, match="unknown variant 'gone'"):
        dg.Study(
            name="s",
            seeds=[0, 1],
            task={"name": "flip_flop"},
            measures=["fixed_points"],
            claims={"dynamics": {"measure": "fixed_points", "variant": "gone"}},
        )
