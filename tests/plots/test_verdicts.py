"""The figures of verdicts: every row where it is, in percent, with its interval, margin, sign and agreement."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from degeneracy import plots
from degeneracy.core.errors import UserError
from degeneracy.plots.style import COLOURS, GREY

BLUE, ORANGE = (to_hex(colour) for colour in COLOURS[:2])
BLANK = {
    "scale": "value",
    "unit": "",
    "check": "primary measures",
    "ci_low": np.nan,
    "ci_high": np.nan,
    "corrected": False,
    "effect": np.nan,
    "at_lowest": np.nan,
    "margin": np.nan,
    "smallest_visible": np.nan,
    "verdict": "",
    "expected": "",
    "agreement": "",
    "n_members": 0,
}


def row(study: str, level: str, **known) -> dict:
    return {**BLANK, "study": study, "level": level, **known}


def measured(effect: float, half: float, verdict: str, expected: str, agreement: str, **more) -> dict:
    ends = {"effect": effect, "ci_low": effect - half, "ci_high": effect + half}
    judged = {"verdict": verdict, "expected": expected, "agreement": agreement, "margin": 0.2}
    return {**ends, **judged, "at_lowest": 2.0, "n_members": 20, **more}


TABLE = pd.DataFrame(
    [
        row("few", "dynamics", **measured(-0.5, 0.1, "down", "down", "agrees", n_members=13)),
        row("few", "weights", **measured(8.0, 0.2, "up", "down", "disagrees", n_members=14)),
        row("none", "dynamics", expected="down"),
        row("none", "weights", expected="up"),
        row("still", "dynamics", **measured(0.01, 0.05, "flat", "up", "disagrees")),
        row("still", "weights", **measured(0.1, 0.4, "unclear", "up", "unclear")),
    ]
)


def points(axes) -> dict[float, object]:
    """The marker of each row."""
    return {line.get_ydata()[0]: line for line in axes.lines if len(line.get_xdata()) == 1}


def legend(figure) -> list[str]:
    (box,) = figure.legends
    return [text.get_text() for text in box.get_texts()]


def test_every_row_stands_where_it_is_in_percent_with_its_interval() -> None:
    figure = plots.verdicts(TABLE)
    dynamics, weights = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["dynamics", "weights"]
    names = [label.get_text() for label in dynamics.get_yticklabels()]
    assert names == ["few (n=13)", "none (n=0)", "still (n=20)"]
    drawn = points(dynamics)
    assert {y: line.get_xdata()[0] for y, line in drawn.items()} == pytest.approx({0: -25.0, 2: 0.5})
    spans = {y[0]: line.get_xdata() for line in dynamics.lines if len(y := line.get_ydata()) == 2 and y[0] == y[1]}
    np.testing.assert_allclose(spans[0], [-30.0, -20.0])
    margin = dynamics.collections[0].get_paths()[0].vertices[:, 0]
    assert (margin.min(), margin.max()) == pytest.approx((-10.0, 10.0))
    # Beyond the limit: a triangle at the edge.
    assert (points(weights)[0].get_xdata()[0], points(weights)[0].get_marker()) == (150.0, ">")


def test_colour_shape_and_filling_say_what_was_found() -> None:
    dynamics, weights = plots.verdicts(TABLE).axes
    agrees, flat, unclear = points(dynamics)[0], points(dynamics)[2], points(weights)[2]
    looks = [(to_hex(x.get_color()), x.get_marker(), x.get_markerfacecolor()) for x in (agrees, flat, unclear)]
    assert looks == [
        (BLUE, "o", agrees.get_color()),
        (ORANGE, "s", "white"),
        (to_hex(GREY), "D", "white"),
    ]


def test_expected_signs_stand_clear_of_what_is_drawn_and_what_has_no_number_says_so() -> None:
    figure = plots.verdicts(TABLE)
    figure.canvas.draw()
    for axes, signs in zip(figure.axes, ("↓↓↑", "↓↑↑"), strict=True):
        arrows = {text.get_position()[1]: text for text in axes.texts if text.get_text() in set("↓↑")}
        assert "".join(arrows[y].get_text() for y in range(3)) == signs
        panel = axes.get_window_extent()
        for y, text in arrows.items():
            place = text.get_window_extent()
            assert panel.x0 < place.x0 < place.x1 <= panel.x1
            drawn = [line.get_window_extent().x1 for line in axes.lines if y in line.get_ydata()]
            assert place.x0 > max(drawn, default=panel.x0)
        assert [t.get_position()[1] for t in axes.texts if t.get_text() == "no number"] == [1]


def test_the_legend_explains_what_is_there_and_nothing_else() -> None:
    assert legend(plots.verdicts(TABLE)) == [
        "as expected",
        "not as expected",
        "unclear",
        "hollow: flat",
        "margin of no change",
        "expected sign",
    ]
    plain = TABLE[TABLE["study"] == "few"].assign(margin=np.nan, expected="", agreement="")
    assert legend(plots.verdicts(plain)) == ["nothing expected"]
    assert not plots.verdicts(TABLE[TABLE["study"] == "none"].assign(expected="")).legends


def test_the_matrix_says_what_each_check_said_of_each_study() -> None:
    other = TABLE.iloc[:1].assign(check="without input", agreement="unclear", expected="down")
    figure = plots.agreement(pd.concat([TABLE, other]))
    dynamics, weights = figure.axes
    assert [label.get_text() for label in dynamics.get_xticklabels()] == ["primary measures", "without input"]
    assert [label.get_text() for label in dynamics.get_yticklabels()] == [
        "few (n=13)",
        "none (n=0)",
        "still (n=20)",
    ]
    drawn = {text.get_position(): text.get_text() for text in dynamics.texts}
    minus = "\N{MINUS SIGN}"
    assert drawn == {(0, 0): "+", (1, 0): "?", (0, 1): "", (1, 1): "", (0, 2): minus, (1, 2): ""}
    assert [text.get_text() for text in weights.texts] == [minus, "", "?"]
    assert "+ as expected" in {text.get_text() for text in figure.findobj(Text)}


def test_measures_of_one_level_stand_side_by_side() -> None:
    """A panel per check, in the table's order, with one row per study."""
    dynamics = TABLE[TABLE["level"] == "dynamics"]
    published = dynamics.assign(check="as published", effect=-dynamics["effect"])
    figure = plots.verdicts(pd.concat([published, dynamics]), panel="check")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["as published", "primary measures"]
    assert len(figure.axes[0].get_yticklabels()) == dynamics["study"].nunique()
    with pytest.raises(UserError, match="verdicts: the table has no check"):
        plots.verdicts(TABLE.drop(columns="check"), panel="check")


def test_a_table_that_cannot_be_drawn_is_refused() -> None:
    bare = TABLE.drop(columns="check")
    with pytest.raises(UserError, match="agreement: the table has no check"):
        plots.agreement(bare)
    with pytest.raises(UserError, match="verdicts: the table has no check"):
        plots.verdicts(bare, by="check")
    with pytest.raises(UserError, match="verdicts: the table has no rows"):
        plots.verdicts(TABLE.iloc[:0])
