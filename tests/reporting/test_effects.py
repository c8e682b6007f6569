"""What a report says of effects: verdicts in words that the numbers bear out, and the table of all."""

import re
import sys
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel
from synthetic import study

import degeneracy as dg
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics.jackknife import member_mean, member_sd
from degeneracy.contrasts import effects as contrast_effects
from degeneracy.measuring.results import GridPoint
from degeneracy.reporting import effects, render, report, summary, tables
from degeneracy.reporting.data import ReportData
from degeneracy.studies.claims import Claims
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording import numbers

SHOWN = replace(
    study(8),
    claims=Claims(dynamics={"margin": 0.1, "expected": {"task.channels": "up"}}, weights={"margin": 0.6}),
)


class Words(HTMLParser):
    """The text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.feed(html)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def shifted(shift: float, scale: str = "linear", **claim) -> StudyResult:
    """Two levels of 2 and 3 channels; DSA of the second is larger by so much, or its spread by that factor."""
    noise = np.random.default_rng(1).normal(size=8)
    results = []
    for k, result in enumerate(SHOWN.results[:2]):
        own = noise + 0.1 * np.random.default_rng(k).normal(size=8)
        if scale == "log":
            value = Finding(variant="driven", value=member_sd(own * (shift if k else 1)), scale="log")
        else:
            value = Finding(variant="driven", value=member_mean(5 + own + shift * k), unit="rad")
        measured = {"linear_flow": Measured(findings=(value,), arrays={"driven": own})}
        results.append(replace(result, measured=measured, missing={}, levels={"linear_flow": "dynamics"}))
    expected = {"expected": {"task.channels": "up"}}
    return StudyResult(name="s", results=tuple(results), claims=Claims(dynamics={**expected, **claim}))


@pytest.mark.parametrize(
    ("shift", "scale", "margin", "begins", "says"),
    [
        (1.0, "linear", 0.1, "Up: Linear flow (driven) rises, by", "Expected was up: this agrees."),
        (-1.0, "linear", 0.1, "Down: Linear flow (driven) falls, by −", "Expected was up: this disagrees."),
        (0.0, "linear", 0.1, "Flat: Linear flow (driven) changes by", "which is less than the margin of ±"),
        (0.0, "linear", 0.0, "Unclear: Linear flow (driven) changes by", "so no direction can be stated. About "),
        (0.0, "linear", 0.01, "Unclear: Linear flow (driven) changes by", "nor that it stays within ±"),
        (3.0, "log", 0.1, "Up: Linear flow (driven) changes by a factor of", "this agrees"),
        (
            1.0,
            "log",
            0.5,
            "Flat: Linear flow (driven) changes by a factor of",
            "which is less than the margin of 0.667 to 1.50",
        ),
    ],
)
def test_a_sentence_says_the_verdict(shift, scale, margin, begins, says) -> None:
    shown = shifted(shift, scale, margin=margin)
    (said,) = effects.sentences(dg.effects(shown), "dynamics")
    row = dg.effects(shown).iloc[0]
    assert said.startswith(begins)
    assert says in said
    assert "from channels = 2 to 3" in said
    ends = np.array([row.effect, row.ci_low, row.ci_high])
    assert numbers.with_interval(*(np.exp(ends) if scale == "log" else ends)) in said
    assert "Not calibrated: no floor and no reference." in said
    if row.verdict in ("flat", "unclear"):
        assert not re.search("rises|falls|higher|lower", said)
    (level,) = summary.summary(ReportData.of(shown))["levels"]
    assert level["trend"] == said


def test_each_factor_has_a_paragraph() -> None:
    two = tuple(
        replace(r, condition=f"{r.condition}/{cell}", factors={**r.factors, "network.cell": cell})
        for r in shifted(1.0).results
        for cell in ("tanh", "gru")
    )
    shown = StudyResult(name="s", results=two)
    (level,) = summary.summary(ReportData.of(shown))["levels"]
    assert [said.split(":")[0] for said in level["trend"].splitlines()] == ["Up", "Unclear"]
    page = render(ReportData.of(shown), [])
    assert all(f"<p>{escape(said)}</p>" in page for said in level["trend"].splitlines())


def test_what_hinders_calibration_is_said_once() -> None:
    shown = shifted(1.0)
    first, last = shown.results
    (finding,) = last.measured["linear_flow"].findings
    floor = replace(finding, floor=member_mean(np.ones(8)))
    other = replace(last, measured={"linear_flow": replace(last.measured["linear_flow"], findings=(floor,))})
    (said,) = effects.sentences(dg.effects(replace(shown, results=(first, other))), "dynamics")
    assert "Not calibrated: no floor and no reference; no reference." in said


def test_what_has_no_effect_says_why() -> None:
    shown = shifted(0.0)
    lost = tuple(
        replace(r, measured={}, missing={"linear_flow": "needs 2 converged members, 1 of 8 converged"})
        for r in shown.results
    )
    (said,) = effects.sentences(dg.effects(replace(shown, results=lost)), "dynamics")
    assert (
        said == "Linear flow: nothing can be said from channels = 2 to 3 (needs 2 converged members, 1 of 8 converged)."
    )


def test_the_page_holds_every_effect_with_its_numbers() -> None:
    page = Words(render(ReportData.of(SHOWN), [])).text
    table = dg.effects(SHOWN)
    for row in table[(table["scale"] == "value") & (table["unit"] != "log ratio")].itertuples():
        assert numbers.with_interval(row.effect, row.ci_low, row.ci_high) in page
    for said in effects.sentences(table, "dynamics"):
        assert said in page
    assert "changed after training had begun" not in page
    assert "Of each condition's networks 75% to 100% converged" in page
    later = replace(SHOWN, provenance={"claims_changed_since_training": True})
    assert "changed after training had begun" in Words(render(ReportData.of(later), [])).text


def test_the_judged_measure_comes_first_with_its_corrected_p_value() -> None:
    tables = {table.level: table for table in effects.tables(dg.effects(SHOWN))}
    assert list(tables) == ["behavior", "dynamics", "weights", "learning"]
    assert [row.primary for row in tables["dynamics"].rows] == [
        True,
        *[False] * (len(tables["dynamics"].rows) - 1),
    ]
    first, row = (
        tables["dynamics"].rows[0],
        dg.effects(SHOWN).query("measure == 'linear_flow' and variant == 'driven'").iloc[0],
    )
    assert first.p == numbers.number(row.p_holm, 2) != numbers.number(row.p, 2)
    assert tables["dynamics"].factor == "channels, 2 → 4"
    marks = [row.mark for row in tables["dynamics"].rows if row.mark]
    assert sorted(set(marks)) == [mark for mark, _ in tables["dynamics"].notes]


SECONDARY = {"dsa": ("up", "down", 0.3), "koopman_spectrum": ("down", "down", -0.4), "cka": ("flat", "flat", 0.02)}


def with_secondary_claims() -> StudyResult:
    """Two levels; what is judged and three further measures of which something was said, each with its own change."""
    shifts = {"procrustes": 0.5, "linear_flow": 1.0, "signed_pif": 1.0} | {m: s for m, (_, _, s) in SECONDARY.items()}
    levels = {**dict.fromkeys(shifts, "dynamics"), "signed_pif": "weights"}
    results = []
    for k, result in enumerate(SHOWN.results[:2]):
        measured = {}
        for place, (name, shift) in enumerate(shifts.items()):
            before, noise = np.random.default_rng(place).normal(size=(2, 8))
            change = shift + (0.1 if abs(shift) < 0.1 else 0.3) * (noise - noise.mean()) / noise.std()
            own, of = 5 + before + k * change, "recurrent" if name == "signed_pif" else "driven"
            finding = Finding(variant=of, value=member_mean(own), statistic="mean", of=of)
            measured[name] = Measured(findings=(finding,), arrays={of: own})
        results.append(replace(result, measured=measured, missing={}, levels=levels))
    secondary = [
        {"measure": name, "variant": "driven", "expected": {"task.channels": expected}}
        for name, (_, expected, _) in SECONDARY.items()
    ]
    claims = Claims(dynamics={"margin": 0.05}, secondary=secondary)
    return StudyResult(name="s", results=tuple(results), claims=claims)


def test_the_row_of_a_secondary_claim_says_its_measure_direction_and_p_value() -> None:
    shown = with_secondary_claims()
    page = render(ReportData.of(shown), [])
    (table,) = (table for table in effects.tables(dg.effects(shown)) if table.level == "dynamics")
    assert [row.primary for row in table.rows] == [True, *[False] * 4]
    assert [row.secondary for row in table.rows] == [False, *[True] * 3, False]
    assert table.rows[-1].measure == "Procrustes, driven"
    for name, title in (("dsa", "DSA"), ("koopman_spectrum", "Koopman spectrum"), ("cka", "CKA")):
        said, expected, _ = SECONDARY[name]
        before, after = (result.measured[name].arrays["driven"] for result in shown.results)
        p = ttest_rel(after, before).pvalue  # the same members at both levels: what a jackknife of means comes to
        (row,) = (row for row in table.rows if row.measure == f"{title}, driven")
        assert 0.001 < p < 1
        assert row.p == numbers.number(p, 2)
        assert row.verdict == f"{said} (expected {expected})"
        assert row.change.startswith(
            numbers.number((after - before).mean())[:4]
        )  # to as many digits as the interval has
        assert row.margin == f"±{numbers.number(0.05 * before.mean())}"
        (cells,) = (line for line in page.splitlines() if f"<td><i>{title}, driven</i></td>" in line)
        texts = re.findall(r"<td[^>]*>(.*?)</td>", cells)
        assert texts[1:6] == [escape(text) for text in (row.change, row.margin, row.visible, row.p, row.verdict)]
    assert "<i>Procrustes" not in page
    assert "<i>Linear flow" not in page
    assert len({row.p for row in table.rows}) == len(table.rows)


def test_the_summary_speaks_of_the_measure_that_is_judged() -> None:
    shown = replace(SHOWN, claims=Claims(dynamics={"measure": "procrustes"}))
    dynamics = summary.summary(ReportData.of(shown))["levels"][1]
    assert dynamics["measure"] == "Procrustes, driven"
    assert "Procrustes (driven)" in dynamics["trend"]


def test_what_varies_nothing_has_no_effects_section() -> None:
    page = render(ReportData.of(StudyResult(name="one", results=(replace(SHOWN.results[0], factors={}),))), [])
    assert "Effects of the factors" not in page


def test_final_losses_stand_with_what_was_trained() -> None:
    losses = [m.epoch_loss[-1] for m in SHOWN.results[0].members]
    assert tables.trained(SHOWN)[0]["loss"] == numbers.number(float(np.mean(losses)))
    given = replace(
        SHOWN.results[0], members=tuple(replace(m, epoch_loss=np.zeros(0)) for m in SHOWN.results[0].members)
    )
    assert tables.trained(StudyResult(name="g", results=(given,)))[0]["loss"] == numbers.DASH


def test_effects_are_computed_once_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = contrast_effects.effects

    def counted(study: StudyResult):
        asked.append(study)
        return real(study)

    for module in [m for name, m in sys.modules.items() if name.startswith("degeneracy.")]:
        for name, value in list(vars(module).items()):
            if value is real:
                monkeypatch.setattr(module, name, counted)
    report(SHOWN, tmp_path / "report.html")
    assert len(asked) == 1


def test_what_is_mostly_floor_is_said_to_be_with_the_most_it_can_be() -> None:
    shown = shifted(1.0)
    results = []
    for result in shown.results:
        (finding,) = result.measured["linear_flow"].findings
        low = member_mean(finding.value.leave_one_out * 0.9)
        mostly = replace(finding, floor=low, reference=member_mean(np.full(8, 30.0)))
        results.append(replace(result, measured={"linear_flow": Measured(findings=(mostly,))}))
    shown = replace(shown, results=tuple(results))
    (said,) = effects.sentences(dg.effects(shown), "dynamics")
    assert said.startswith("Not resolved: Linear flow (driven) changes by")
    assert "and no trend can be stated. Not resolved: the floor is 90% of the value in" in said
    assert "this leaves it open" in said
    assert not re.search("rises|falls|higher|lower", said)
    (level,) = summary.summary(ReportData.of(shown))["levels"]
    for line in level["values"]:
        assert re.match(
            r"not resolved: the floor is 90% of the value; without it the value is at most \d+% of the reference",
            line["resolution"],
        )
    page = Words(render(ReportData.of(shown), [])).text
    assert page.count("not resolved: the floor is 90% of the value") >= 4  # by condition, above and below the table
    two = tuple(replace(r, factors={}) for r in shown.results)  # nothing varied: two conditions side by side
    (level,) = summary.summary(ReportData.of(replace(shown, results=two)))["levels"]
    assert "no trend can be stated: not resolved: the floor is 90%" in level["trend"]


def test_squared_distances_change_by_percent_of_the_distance() -> None:
    shown = shifted(0.0, margin=0.2)
    results = []
    for result, square in zip(shown.results, (4.0, 9.0), strict=True):
        value = member_mean(square * (1 + 0.01 * np.random.default_rng(int(square)).normal(size=8)))
        finding = Finding(variant="driven", value=value, corrected=True, unit="squared distance")
        results.append(replace(result, measured={"linear_flow": Measured(findings=(finding,))}))
    table = dg.effects(replace(shown, results=tuple(results)))
    (said,) = effects.sentences(table, "dynamics")
    assert re.match(r"Up: Linear flow \(driven\) rises, by 50\.\d+ \[49\.\d+, 50\.\d+\]% of the distance from", said)
    assert effects.tables(table)[0].rows[0].margin == "±20%"


def test_the_smallest_visible_change_stands_in_every_row() -> None:
    table = dg.effects(SHOWN)
    page = Words(render(ReportData.of(SHOWN), [])).text
    for row in table[(table["scale"] == "value") & (table["unit"] != "log ratio")].itertuples():
        assert not np.isfinite(row.ci_low) or f"±{numbers.number(row.smallest_visible)}" in page
    log = effects.tables(table)[0].rows[0]
    assert re.fullmatch(r"0\.\d+ to \d+\.\d+", log.visible)


def test_a_verdict_that_hangs_on_a_setting_is_said_to_with_all_settings() -> None:
    shown = shifted(1.0)
    points = []
    for k, result in enumerate(shown.results):
        (finding,) = result.measured["linear_flow"].findings
        moved = replace(finding, value=member_mean(finding.value.leave_one_out - 2 * k))
        at = (Measured(findings=(finding,)), Measured(findings=(moved,)))
        grid = tuple(GridPoint(options={"rank": rank}, outcome=one) for rank, one in zip((5, 10), at, strict=True))
        points.append(replace(result, grids={"dynamics": grid}))
    shown = replace(shown, results=tuple(points))
    (said,) = effects.sentences(dg.effects(shown), "dynamics")
    assert said.startswith("Depends on rank: Linear flow (driven) changes by")
    assert "the verdict is the same at 1 of 2 settings only, and no direction can be stated" in said
    assert "Up at 1 of 2 (rank = 5); down at 1 of 2 (rank = 10)" in said
    assert "this leaves it open" in said
    first, second = effects.at_settings(dg.robustness(shown))
    assert (first.setting, first.verdict, second.setting, second.verdict) == ("rank = 5", "up", "rank = 10", "down")
    page = Words(render(ReportData.of(shown), [])).text
    assert "The same at other settings of what is judged" in page
    assert first.change in page
    assert "depends on rank (1 of 2 settings)" in page
    assert "The same at other settings" not in Words(render(ReportData.of(shifted(1.0)), [])).text
