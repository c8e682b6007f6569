"""Conditions in figures: named as far as there is room, by number with a key else, each with its n."""

from dataclasses import replace

import pytest
from synthetic import study

from degeneracy import plots
from degeneracy.plots.style import MAX_KEYS, condition_key, panels
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.conditions import brief_name, brief_names, n_text

ONE = study(8)


def crossed(*gammas: float) -> StudyResult:
    """Three numbers of channels by these gammas."""
    results = [
        replace(r, condition=f"{r.condition}/{gamma}", factors={**r.factors, "network.gamma": gamma})
        for r in ONE.results
        for gamma in gammas
    ]
    return replace(ONE, results=tuple(results))


TWO = crossed(0.5, 1.0)
KEYS = [
    f"{k}: channels = {c}, gamma = {g} (n = {6 if c == 4 else 8})"
    for k, (c, g) in enumerate([(c, g) for c in (2, 3, 4) for g in (0.5, 1)], start=1)
]


def entries(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def xlabels(figure) -> set[str]:
    return {axes.get_xlabel() for axes in figure.axes} - {""}


@pytest.mark.parametrize("name", ["ood_errors", "pair_distances", "convergence"])
def test_conditions_by_number_have_a_key(name: str) -> None:
    figure = getattr(plots, name)(TWO)
    assert [entry for entry in entries(figure) if "channels" in entry] == KEYS
    assert {" ".join(label.split()) for label in xlabels(figure)} >= {"condition number (n = 6–8)"}
    figure.canvas.draw()
    (legend,) = figure.legends
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    assert 0 <= legend.get_window_extent().y0 < legend.get_window_extent().y1 <= lowest + 1


def test_conditions_by_their_factor_need_none() -> None:
    figure = plots.ood_errors(ONE)
    assert not entries(figure)
    assert xlabels(figure) == {"channels (n = 6–8)"}


def test_of_many_conditions_there_is_no_key() -> None:
    many = crossed(*(0.1 * k for k in range(1, 6))).results
    assert len(many) > MAX_KEYS
    figure, (axes,) = panels(1, 1)
    assert not condition_key(figure, axes, many)
    assert not axes.lines


def test_names_take_the_room_there_is() -> None:
    result = TWO.results[0]
    assert brief_name(result, 25) == "channels = 2, gamma = 0.5"
    assert brief_name(result, 24) == "channels=2, gamma=0.5"
    assert brief_name(result, 20) == "2, 0.5"
    assert brief_names([result], 20, break_lines=True) == ["channels=2,\ngamma=0.5"]
    assert brief_names([result], 8, break_lines=True) == ["2, 0.5"]
    assert brief_name(replace(result, factors={}, condition="own_condition"), 7) == "own…ion"


def test_conditions_of_one_figure_are_named_in_one_way() -> None:
    pair = [replace(ONE.results[0], factors={"task.switch_probability": p}) for p in (0.3, 0.25)]
    assert brief_names(pair, 23) == ["switch probability=0.3", "switch probability=0.25"]
    assert brief_names(pair, 22) == ["0.3", "0.25"]
    own = [replace(ONE.results[0], factors={}, condition=name) for name in ("mine", "my_second_one")]
    assert brief_names(own, 13) == ["mine", "my_second_one"]
    assert brief_names(own, 9) == ["mine", "my_s…_one"]


def test_numbers_of_networks() -> None:
    assert n_text([8, 8]) == "n = 8"
    assert n_text([8, 12, 6]) == "n = 6–12"
