"""The studies in figures/studies: each loads at its three scales and runs at the smallest; scales refuse mistakes."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from stored import member_arrays, member_records, without

import degeneracy as dg
from degeneracy.core.errors import UserError
from degeneracy.studies.claims import JUDGED, first_measure

FOLDER = Path(__file__).parents[2] / "figures" / "studies"
STUDIES = sorted(path.stem for path in FOLDER.glob("*.toml"))
SCALED = """
name = "scaled"
seeds = "0:2"
[task]
name = "flip_flop"
[scale.small]
"network.hidden_size" = 8
[scale.large]
"network.hidden_size" = 64
seeds = "0:20"
"""


def test_all_studies_are_seen() -> None:
    assert len(STUDIES) >= 14


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "sources"])  # expects nothing
def test_a_study_says_beforehand_what_it_expects(name: str) -> None:
    sizes = {}
    for scale in ("smoke", "laptop", "paper"):
        plan = dg.load_study(FOLDER / f"{name}.toml", scale=scale)
        assert (plan.name, plan.scale) == (name, scale)
        [factor] = plan.vary
        for level, measure in zip(JUDGED, map(first_measure, JUDGED), strict=True):
            claim = plan.claims.by_level[level]
            assert claim.measure == measure
            assert claim.margin > 0
            # What another cell does is no agreement with what was published, nor disagreement.
            assert set(claim.expected) == (set() if name.endswith("_gru") else {factor})
        # One rank and delay in all studies at the scales that count.
        if scale != "smoke":
            assert (plan.options["dsa"]["rank"], plan.options["dsa"]["n_delays"]) == (20, 10)
        sizes[scale] = len(plan.seeds)
    assert sizes in [{"smoke": 3, "laptop": laptop, "paper": 50} for laptop in (20, 50)]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_at_smoke(name: str, tmp_path: Path) -> None:
    plan = dg.load_study(FOLDER / f"{name}.toml", scale="smoke")
    result = dg.run_study(plan, out=tmp_path / "run", jobs=1, progress=False)
    table = result.table
    assert set(table["condition"]) == {condition.label for condition in plan.conditions()}
    assert (table["n_converged"] >= 2).all(), "the threshold of this scale is reached at once"
    for measure, variant in (("dsa", "driven"), ("signed_pif", "recurrent")):
        rows = table[(table["measure"] == measure) & (table["variant"] == variant)]
        assert rows["value"].notna().all()
        assert len(rows) == len(plan.conditions())
    assert (tmp_path / "run" / "effects.csv").exists()


def scaled(tmp_path: Path, text: str = SCALED) -> Path:
    path = tmp_path / "scaled.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_scale_is_set_over_the_rest_and_settings_over_it(tmp_path: Path) -> None:
    path = scaled(tmp_path)
    small, large = (dg.load_study(path, scale=scale) for scale in ("small", "large"))
    assert (small.network, len(small.seeds)) == ({"hidden_size": 8}, 2)
    assert (large.network, len(large.seeds)) == ({"hidden_size": 64}, 20)
    assert str(large.folder) == str(Path("runs") / "scaled-large")
    own = dg.load_study(path, [("seeds", "0:4")], scale="large")
    assert len(own.seeds) == 4
    assert large.conditions()[0].name == dg.load_study(path, [("scale", "x")], scale="large").conditions()[0].name


@pytest.mark.parametrize(
    ("scale", "text", "message"),
    [
        ("", SCALED, "has several scales; name one with --scale: small, large"),
        ("smal", SCALED, "did you mean 'small'"),
        ("small", SCALED[: SCALED.index("[scale.small]")], "has no scales"),
        ("small", SCALED.replace("[scale.small]", "[scale]\nsmall = 3\n[other]"), "tables [scale.NAME]"),
        ("small", SCALED.replace("network.hidden_size", "network.units"), "units"),
    ],
)
def test_mistakes_in_scales(scale: str, text: str, message: str, tmp_path: Path) -> None:
    if "[other]" in text:
        text = text[: text.index("[other]")]
        tomllib.loads(text)
    with pytest.raises(UserError) as caught:
        dg.load_study(scaled(tmp_path, text), scale=scale)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_coupled_members_are_trained_together_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    text = SCALED[: SCALED.index("[scale.small]")] + (
        "n_steps = 6\nchannels = 1\nthreshold = 100.0\n[network]\nhidden_size = 5\n"
        "[training]\nbatch_size = 4\nsteps_per_epoch = 2\nmax_epochs = 5\ncoupling = { strength = 0.5 }\n"
    )
    path = scaled(tmp_path, text)
    taken = [("measures", ["weight_change"])]
    plan = dg.load_study(path, [*taken, ("seeds", "0:3")])
    [condition] = plan.conditions()
    [fewer] = dg.load_study(path, taken).conditions()
    assert condition.name != fewer.name, "members in another company are other members"
    whole = dg.run_study(plan, out=tmp_path / "whole", jobs=1, progress=False).table
    before, kept = member_arrays(tmp_path / "whole"), member_records(tmp_path / "whole")
    [pack] = (tmp_path / "whole").rglob("members-0001.pack")
    lost = next(iter(before))
    without(pack, "0")
    again = dg.run_study(plan, out=tmp_path / "whole", jobs=1, progress=False).table
    assert again.equals(whole)
    back = member_records(tmp_path / "whole")
    assert set(back) == set(kept)
    assert all(back[name].about == record.about for name, record in kept.items() if name != lost)
    for key, value in member_arrays(tmp_path / "whole")[lost].items():
        np.testing.assert_array_equal(value, before[lost][key], err_msg=f"{key}: trained among the others again")
