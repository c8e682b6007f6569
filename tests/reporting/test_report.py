"""The report: self-contained, whole, true to the numbers, and careful with files that are not its own."""

import gc
import re
import weakref
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from synthetic import LEVELS, condition, study

import degeneracy as dg
from degeneracy.analysis.measure import Estimate, Finding, Measured
from degeneracy.analysis.statistics.contrasts import linear_contrast
from degeneracy.analysis.statistics.jackknife import calibrate, interval, member_mean, pair_mean
from degeneracy.core.errors import UserError
from degeneracy.measuring.results import Result
from degeneracy.reporting import drawing, figures, render, report, tables
from degeneracy.reporting import summary as report_summary
from degeneracy.reporting.data import ReportData
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording import numbers


class Page(HTMLParser):
    """What a reader sees of the HTML, and what it refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "data", "action", "srcset") and v]

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def words(study_result: StudyResult) -> str:
    """The text of a report without its figures, which take most of the time."""
    return Page(render(ReportData.of(study_result), [])).text


def _blank(section: str) -> figures.ReportFigure:
    return figures.ReportFigure(section=section, title="", caption="", width=1, source="data:image/png,", files={})


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    kept = ("ood_log_error_sd", "linear_flow", "fixed_points", "signed_pif")
    some = study(5, channels=(2, 3))
    results = tuple(replace(r, measured={name: r.measured[name] for name in kept}) for r in some.results)
    return report(replace(some, results=results), tmp_path_factory.mktemp("run"))


def test_one_file_that_needs_nothing_else(written: Path) -> None:
    html = written.read_text(encoding="utf-8")
    page = Page(html)
    assert written.name == "report.html"
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert all(r.startswith(("data:image/", "#")) for r in page.references)
    assert "@import" not in html
    assert "url(" not in html
    assert len(html) < 6_000_000
    anchors = {r[1:] for r in page.references if r.startswith("#")}
    assert all(f'id="{anchor}"' in html for anchor in anchors)


def test_every_figure_is_on_disk_twice_and_in_the_page(written: Path) -> None:
    folder = written.parent / "figures"
    stems = {file.stem for file in folder.iterdir()}
    assert {file.name for file in folder.iterdir()} == {f"{s}.{kind}" for s in stems for kind in ("png", "svg")}
    assert {
        "example_trials_1", "training_curves", "convergence", "distance_against_updates", "against_factor",
        "overview", "ood_errors", "distances_dynamics", "maps_dynamics", "fixed_points_2", "weight_distances",
        "distances_weights", "maps_weights", "interval_width",
    } <= stems  # fmt: skip
    assert Page(written.read_text(encoding="utf-8")).tags.count("img") == len(stems)
    for file in folder.iterdir():
        data = file.read_bytes()
        assert data.startswith(b"\x89PNG" if file.suffix == ".png" else b"<?xml")
        assert b"<text" not in data  # drawn as paths: no font is needed
    assert [f for f in written.parent.rglob("*") if f.name.endswith(".part")] == []


def test_what_is_drawn_does_not_depend_on_the_processes(monkeypatch) -> None:
    monkeypatch.setattr(figures, "_wanted", _three_figures)
    alone, two = (figures.draw_figures(ReportData.of(study(4)), jobs) for jobs in (1, 2))
    assert alone == two
    assert [figure.title.split(",")[0] for figure in alone[0]] == ["Example trials"] * 3


def _three_figures(data: ReportData):
    yield from list(figures._of_training(data.study))[:3]


@pytest.mark.parametrize(("n_figures", "jobs"), [(31, 2), (31, 4), (3, 8), (1, 1)])
def test_each_figure_is_in_one_share_and_shares_are_even(n_figures: int, jobs: int) -> None:
    shares = list(drawing._shares([str(k) for k in range(n_figures)], jobs))
    assert sorted(place for share in shares for place in share) == list(range(n_figures))
    assert all(str(place) == one for share in shares for place, one in share.items())
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len(shares) == min(n_figures, jobs)


def test_collection_of_garbage_is_as_it_was() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

    with drawing._own_garbage():
        assert not gc.isenabled()
        left = weakref.ref(Cycle())
    assert left() is None
    assert gc.isenabled()


def test_a_second_report_replaces_the_first_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(figures, "_wanted", _one_figure)
    first = report(study(4), tmp_path / "mine.html")
    assert first == tmp_path / "mine.html"
    (tmp_path / "mine_figures" / "notes.txt").write_text("keep", encoding="utf-8")
    before = first.read_bytes()
    assert report(study(4), first).read_bytes() == before  # the same study, the same file
    assert report(study(5), first).read_bytes() != before
    assert (tmp_path / "mine_figures" / "notes.txt").read_text(encoding="utf-8") == "keep"


def _one_figure(data: ReportData):
    yield from list(figures._of_training(data.study))[:1]


@pytest.mark.parametrize("taken", ["report.html", "figures/example_trials_1.png"])
def test_files_of_others_are_never_overwritten(tmp_path: Path, monkeypatch, taken: str) -> None:
    monkeypatch.setattr(figures, "_wanted", _one_figure)
    foreign = tmp_path / taken
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("<html>my own page</html>", encoding="utf-8")
    with pytest.raises(UserError, match="was not written by a report"):
        report(study(4), tmp_path)
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == [foreign]  # nothing was written
    assert foreign.read_text(encoding="utf-8") == "<html>my own page</html>"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(figures, "_wanted", _one_figure)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        report(study(4), tmp_path / "file" / "report.html")


def test_the_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_wanted", _one_figure)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert report(study(4), "~/mine.html") == tmp_path / "mine.html"


def test_the_users_words_are_escaped() -> None:
    result = replace(
        condition(4),
        condition="<b>bold</b>",
        factors={},
        missing={"pif": "<script>alert(1)</script>"},
        spec={"task": {"name": "<img src=x>"}},
    )
    html = render(ReportData.of(StudyResult(name="<script>", description="a & b < c", results=(result,))), [])
    assert "<script" not in html
    assert "<img" not in html
    assert "a &amp; b &lt; c" in html


def test_the_table_says_what_was_measured() -> None:
    shown = study(8)
    text = words(shown)
    for result in shown.results:
        for finding in (result.measured["linear_flow"].findings[0], result.measured["signed_pif"].findings[0]):
            value = numbers.with_interval(finding.value.value, *interval(finding.value, finding.scale))
            scaled = calibrate(finding)
            assert value in text
            assert numbers.with_interval(scaled.value, scaled.low, scaled.high) in text
    assert "6 of 8" in text  # two members of the last condition failed
    assert "needs weights, which were not given" in text
    assert "arXiv 2306.10168" in text  # DSA's source
    assert "812.4" in text  # provenance
    assert "100 steps instead of 50" in Page(render(ReportData.of(shown), [_blank("behavior")])).text


def test_the_summary_counts_the_converged() -> None:
    summary = report_summary.summary(ReportData.of(study(8)))
    assert summary["convergence"] == (
        "24 networks trained in 3 conditions; 22 converged and were measured. Converged by condition: "
        "channels = 2: 8 of 8; channels = 3: 8 of 8; channels = 4: 6 of 8."
    )
    assert [one["level"] for one in summary["levels"]] == ["behavior", "dynamics", "weights", "learning"]


def _two(a: list[float], b: list[float], scale: str = "linear") -> StudyResult:
    """Two conditions with one measure, the mean of these numbers, with members of their own."""

    def result(values: list[float], size: int) -> Result:
        found = Measured(findings=(Finding(variant="", value=member_mean(np.array(values)), scale=scale),))
        labels = tuple(f"{size}/{k}" for k in range(len(values)))
        return replace(
            condition(len(values)), condition=str(size), factors={"size": size}, measured={"own": found},
            measured_members=labels, levels={"own": "dynamics"}, missing={},
        )  # fmt: skip

    return StudyResult(name="two", results=(result(a, 10), result(b, 20)))


@pytest.mark.parametrize(
    ("b", "scale", "says"),
    [
        ([5.0, 5.1, 4.9, 5.0], "linear", "it is higher: the difference is"),
        ([0.1, 0.2, 0.0, 0.1], "linear", "it is lower: the difference is"),
        ([1.0, 1.3, 0.9, 1.0], "linear", "its interval includes 0, so no direction can be stated"),
        ([5.0, 5.1, 4.9, 5.0], "log", "it changes by a factor of"),
        ([1.0, 1.3, 0.9, 1.0], "log", "its interval includes 1, so no direction can be stated"),
    ],
)
def test_no_direction_is_stated_whose_interval_includes_none(b: list[float], scale: str, says: str) -> None:
    shown = _two([1.0, 1.1, 0.9, 1.05], b, scale)
    values, members = zip(
        *((r.measured["own"].findings[0].value, r.measured_members) for r in shown.results), strict=True
    )
    low, high = linear_contrast(values, members, [-1, 1], scale).interval()
    settled = low > 0 or high < 0
    (level,) = report_summary.summary(ReportData.of(shown))["levels"]
    assert says in level["trend"]
    assert settled == ("includes" not in level["trend"])
    if not settled:
        assert not re.search("higher|lower|larger|smaller|more|less", level["trend"])


def test_what_is_not_there_is_a_dash_with_its_reason() -> None:
    n = 2
    findings = (
        Finding(variant="pair", value=pair_mean(np.array([[0.0, 1.25], [1.25, 0.0]]))),
        Finding(
            variant="nothing",
            value=Estimate(value=np.nan, leave_one_out=np.full(n, np.nan)),
            note="sizes differ",
        ),
    )
    result = replace(
        condition(n),
        measured={"own": Measured(findings=findings)},
        levels=LEVELS | {"own": "weights", "pif": "weights"},
    )
    shown = StudyResult(name="pair", results=(result,))
    (table,) = tables.levels(shown)
    pair, nothing = table.blocks[0].rows
    assert (pair.value, pair.calibrated, pair.floor) == ("1.25", "—", "—")
    assert nothing.value == "—"
    notes = dict(table.notes)
    assert "3 converged networks or more" in notes[pair.mark]
    assert notes[nothing.mark].startswith("sizes differ; not calibrated")
    text = words(shown)
    assert "nan" not in text.lower().split()
    assert "sizes differ" in text


def test_two_given_networks_without_examples_make_a_report(tmp_path: Path) -> None:
    full = condition(2)
    given = tuple(
        replace(m, status="given", n_updates=0, seconds=0.0, epoch_loss=np.zeros(0), learning_rate=np.zeros(0))
        for m in full.members
    )
    own = {"tortuosity": full.measured["procrustes"]}
    result = replace(
        full, condition="mine", factors={}, spec={}, members=given, examples=None, measured=own,
        levels={"tortuosity": "dynamics", "pif": "weights"}, provenance={},
    )  # fmt: skip
    page = Page(dg.report(result, tmp_path / "mine.html").read_text(encoding="utf-8"))
    assert "2 networks trained elsewhere were given; 2 were measured." in page.text
    assert "tortuosity, driven" in page.text
    assert "no network has a training history" in page.text  # why there are no curves
    assert "How many networks converged and after" not in page.text  # a figure with an empty panel
    assert "Example trials: none were recorded" in page.text or "example trials: none were recorded" in page.text


def test_figures_over_the_budget_stand_beside(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(figures, "_wanted", _one_figure)
    monkeypatch.setattr(figures, "BUDGET", 1000)
    path = report(study(4), tmp_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert "img" not in page.tags
    assert "figures/example_trials_1.png" in page.text
    assert (tmp_path / "figures" / "example_trials_1.png").exists()


def test_a_study_in_which_no_network_converged_has_a_report(tmp_path: Path) -> None:
    reason = "needs 2 converged members, 0 of 3 converged"
    results = tuple(
        replace(
            trained,
            condition=f"channels={channels}",
            factors={"task.channels": channels},
            members=tuple(replace(member, status="not converged") for member in trained.members),
            measured_members=(),
            measured={},
            missing=dict.fromkeys(LEVELS, reason),
            examples=None,
        )
        for channels, trained in ((2, condition(3, 2)), (3, condition(3, 3)))
    )
    page = report(StudyResult(name="none", results=results), tmp_path / "report.html").read_text(encoding="utf-8")
    assert reason in page
    assert (tmp_path / "figures" / "training_curves.png").exists()


def test_reports_in_one_folder_keep_their_figures(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(figures, "_wanted", _one_figure)
    monkeypatch.setattr(figures, "BUDGET", 1000)  # figures stand beside only, and the page says where
    pages = [
        report(study(4, channels), tmp_path / name)
        for name, channels in (("a.html", (2,)), ("b.html", (3,)), ("report.html", (4,)))
    ]
    folders = ["a_figures", "b_figures", "figures"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == folders
    drawn = [next((tmp_path / folder).glob("*.png")) for folder in folders]
    assert len({png.read_bytes() for png in drawn}) == 3, "none was overwritten by another report's"
    for page, png in zip(pages, drawn, strict=True):
        assert f" {png.parent.name}/{png.name}" in page.read_text(encoding="utf-8")
