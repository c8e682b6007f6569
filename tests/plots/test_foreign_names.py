"""Names, levels and units that users choose are drawn as they are written: no formulas, no warnings, on their line."""

import warnings
from dataclasses import replace
from io import BytesIO

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from synthetic import study

from degeneracy import plots
from degeneracy.core.streams import Streams
from degeneracy.measuring.results import Result
from degeneracy.studies.study_result import StudyResult
from degeneracy.tasks import FlipFlop

# Damaged as a formula (an error when it is drawn), letters that DejaVu Sans lacks, characters that are none.
FORMULA, BOXES, CONTROL = r"$\frac{a_$", "神🙂", "\a\n\0\ud800"
NAME = FORMULA + BOXES + CONTROL


def renamed(result: Result, k: int, factors: bool) -> Result:
    measured = {
        name: replace(found, findings=tuple(replace(f, unit=NAME, variant=f.variant + NAME) for f in found.findings))
        for name, found in result.measured.items()
    }
    levels = {f"network.{NAME}": f"{k}{NAME}"} if factors else {}
    return replace(result, condition=f"{k}{NAME}", factors=levels, measured=measured)


def named(factors: bool) -> StudyResult:
    plain = study(8)
    results = tuple(renamed(result, k, factors) for k, result in enumerate(plain.results))
    return replace(plain, name=NAME, description=NAME, results=results)


VARIED, ALONE = named(True), named(False)
FIGURES = {
    "example_trials": lambda: plots.example_trials(VARIED.results[1]),
    "training_curves": lambda: plots.training_curves(VARIED),
    "training_curves of conditions": lambda: plots.training_curves(ALONE),
    "convergence": lambda: plots.convergence(VARIED),
    "distance_against_updates": lambda: plots.distance_against_updates(VARIED),
    "ood_errors": lambda: plots.ood_errors(VARIED),
    "distance_heatmaps": lambda: plots.distance_heatmaps(VARIED, ["linear_flow", "signed_pif/recurrent"]),
    "mds_maps": lambda: plots.mds_maps(ALONE.results[1], ["linear_flow", "procrustes"]),
    "fixed_points": lambda: plots.fixed_points(VARIED.results[1]),
    "weight_distances": lambda: plots.weight_distances(ALONE),
    "against_factor": lambda: plots.against_factor(VARIED),
    "overview": lambda: plots.overview(VARIED),
    "interval_width": lambda: plots.interval_width(VARIED),
}


@pytest.mark.parametrize("name", FIGURES)
def test_names_are_drawn_as_they_are_written(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        FigureCanvasAgg(figure).draw()
        figure.savefig(BytesIO(), format="svg")
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert [text.get_text() for text in texts if text.get_parse_math()] == []
    drawn = "".join(text.get_text() for text in texts)
    assert not set(CONTROL) - {"\n"} & set(drawn)


@pytest.mark.parametrize("name", ["against_factor", "weight_distances", "ood_errors"])
def test_the_whole_name_is_there_with_what_cannot_be_drawn_escaped(name: str) -> None:
    drawn = "".join(text.get_text() for text in FIGURES[name]().findobj(Text))
    assert FORMULA + BOXES + r"\x07\n\x00\ud800" in drawn


def test_ticks_that_are_made_as_a_figure_is_drawn_are_plain_too() -> None:
    figure, (axes,) = plots.style.panels(1, 1)
    axes.plot([0, 1], [0, 1])
    axes.xaxis.set_major_formatter(lambda x, _: f"${x}\\frac{{$")
    figure.draw_without_rendering()


def test_a_tasks_own_names_are_plain_in_the_picture_of_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    task = FlipFlop(channels=1, n_steps=10)
    monkeypatch.setattr(FlipFlop, "name", NAME)
    monkeypatch.setattr(FlipFlop, "input_names", property(lambda _: (NAME,)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.trials(task, task.sample(Streams([0], "data"), 4))
        FigureCanvasAgg(figure).draw()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert sum(FORMULA in text.get_text() for text in texts) == 2
    assert not any(text.get_parse_math() for text in texts)


def test_the_callers_own_formulas_stay_formulas() -> None:
    FIGURES["ood_errors"]()
    assert mpl.rcParams["text.parse_math"]
