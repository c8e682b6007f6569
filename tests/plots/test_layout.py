"""The layout of panels: equal, aligned, with room for what stands around them, in whatever resolution."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from degeneracy.plots import layout
from degeneracy.plots.layout import PanelLayout
from degeneracy.plots.style import Drawing, LogNumbers, Numbers, label_outer, legend_below, log_y, panels

room = layout._room


def _grid(rows: int, columns: int, dpi: float = 100) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(6.7, 2.0 * rows), dpi=dpi, layout=PanelLayout())
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for k, ax in enumerate(axes.flat):
        ax.plot([0, 1], [0, 10.0 ** (k % 5)])
        ax.set(xlabel="across (s)", ylabel="up (a.u.)")
        ax.set_title("one\ntwo" if k == 0 else "one", y=1.0)
    return figure, axes


def test_panels_are_equal_aligned_and_apart() -> None:
    figure, axes = _grid(2, 3)
    figure.draw_without_rendering()
    boxes = np.array([[ax.get_window_extent().extents for ax in row] for row in axes])  # (row, column, side)
    # A hundredth of a pixel: rounding of sums of a thousand pixels is far less.
    assert np.ptp(boxes[..., 2] - boxes[..., 0]) < 0.01
    assert np.ptp(boxes[..., 3] - boxes[..., 1]) < 0.01
    for side in (0, 2):
        assert np.ptp(boxes[..., side], axis=0).max() < 0.01
    for side in (1, 3):
        assert np.ptp(boxes[..., side], axis=1).max() < 0.01
    tight = np.array([[ax.get_tightbbox().extents for ax in row] for row in axes])
    gap = 2 * 3 * figure.dpi / 72  # PAD on each side; the numbers at the ticks move by less than a point
    assert (tight[:, 1:, 0] - tight[:, :-1, 2]).min() > gap - 2
    assert (tight[:-1, :, 1] - tight[1:, :, 3]).min() > gap - 2
    assert tight[..., :2].min() > 0
    assert (tight.max(axis=(0, 1))[2:] < [670, 400]).all()


def test_rows_are_as_high_as_asked() -> None:
    figure, axes = panels(3, 1, height=[1.0, 3.0, 2.0], extra=0.5)
    figure.draw_without_rendering()
    assert figure.get_figheight() == 6.5
    heights = np.array([ax.get_window_extent().height for ax in axes])
    np.testing.assert_allclose(heights / heights[0], [1, 3, 2], rtol=1e-6)
    tops = [ax.get_tightbbox().y1 for ax in axes]
    assert all(ax.get_tightbbox().y0 > top for ax, top in zip(axes, tops[1:], strict=False))


def test_legends_and_titles_of_the_figure_have_room() -> None:
    figure, axes = _grid(2, 1)
    title = figure.suptitle("all of it")
    axes[0, 0].plot([0, 1], [0, 1], label="a line")
    legend = figure.legend(loc="lower center")
    figure.draw_without_rendering()
    assert title.get_window_extent().y0 > axes[0, 0].get_tightbbox().y1
    assert legend.get_window_extent().y1 < axes[1, 0].get_tightbbox().y0


def test_labels_stand_beyond_the_numbers_in_any_resolution() -> None:
    places = []
    for dpi in (50, 300):
        figure, axes = _grid(1, 2, dpi)
        axes[0, 0].set_yticks([0.5], ["a very long number"])
        figure.draw_without_rendering()
        for ax in axes.flat:
            label, number = ax.yaxis.label.get_window_extent(), ax.get_yticklabels()[0].get_window_extent()
            assert label.x1 < number.x0
            assert ax.xaxis.label.get_window_extent().y1 < ax.get_xticklabels()[0].get_window_extent().y0
            places.append(label.x1 / dpi)
    # Inches: letters are fitted to pixels, which at 50 per inch are 0.02 wide.
    np.testing.assert_allclose(places[:2], places[2:], atol=0.04)


def test_labels_stand_at_the_same_places_once_the_layout_is_off() -> None:
    """As the report draws: laid out in pixels, then drawn again in points."""
    figure, axes = _grid(1, 2)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    before = [ax.yaxis.label.get_window_extent().x1 / figure.dpi for ax in axes.flat]
    figure.set_dpi(200)
    figure.draw_without_rendering()
    after = [ax.yaxis.label.get_window_extent().x1 / figure.dpi for ax in axes.flat]
    np.testing.assert_allclose(before, after, atol=0.02)  # inches: a pixel or two


def test_a_long_title_finds_room_in_the_last_column() -> None:
    figure, axes = _grid(1, 2)
    axes[0, 1].set_title("a title that is much longer than its panel, as some are", y=1.0, loc="left")
    figure.draw_without_rendering()
    texts = [child for child in axes[0, 1].get_children() if hasattr(child, "get_text") and child.get_text()]
    ends = max(text.get_window_extent().x1 for text in texts)
    assert figure.bbox.x1 - 10 < ends < figure.bbox.x1  # no more room than it needs


def test_a_title_in_the_middle_takes_no_room_from_its_panel() -> None:
    widths = []
    for title in ("", "a title that is much longer than its panel, as some are"):
        figure, axes = _grid(1, 2)
        axes[0, 1].set_title(title, y=1.0, loc="center")
        figure.draw_without_rendering()
        widths.append(axes[0, 1].get_window_extent().width)
    assert widths[0] == widths[1]


def test_panels_are_measured_again_only_if_their_ticks_change(monkeypatch) -> None:
    measured = []
    monkeypatch.setattr(layout, "_room", lambda *args: measured.append(args) or room(*args))
    figure, axes = _grid(1, 2)
    for ax in axes.flat:
        ax.set(xticks=[0, 1], yticks=[0, 1])
    figure.draw_without_rendering()
    assert len(measured) == 2
    axes[0, 0].inset_axes((1.04, 0, 0.3, 1))
    figure.draw_without_rendering()
    assert len(measured) > 4


def test_twin_axes_keep_their_labels_on_the_right() -> None:
    figure, axes = _grid(1, 1)
    twin = axes[0, 0].twinx()
    twin.plot([0, 1], [0, 1000])
    twin.set_ylabel("other")
    figure.draw_without_rendering()
    label = twin.yaxis.label.get_window_extent()
    assert twin.get_window_extent().x1 < label.x0 < label.x1 <= figure.bbox.x1


def test_insets_beside_a_panel_have_room() -> None:
    figure, axes = _grid(1, 2)
    insets = [ax.inset_axes((1.04, 0, 0.3, 1)) for ax in axes.flat]
    figure.draw_without_rendering()
    first, second = (inset.get_tightbbox() for inset in insets)
    pad = 3 * figure.dpi / 72
    # Two pixels for the width of the insets, which is a share of the panels'.
    assert first.x1 + 2 * pad - 2 < axes[0, 1].get_tightbbox(bbox_extra_artists=[]).x0
    assert second.x1 + pad - 2 < figure.bbox.x1


def test_it_is_laid_out_for_any_canvas() -> None:
    """An SVG's canvas does not measure in pixels."""
    figure, axes = _grid(1, 1)
    before = axes[0, 0].get_position().bounds
    figure.savefig(BytesIO(), format="svg")
    assert axes[0, 0].get_position().bounds != before


def test_labels_without_room_leave_panels_small_and_nothing_fails() -> None:
    figure, axes = _grid(1, 3)
    for ax in axes.flat:
        ax.set_yticks([0], ["a number so long that no panel has any room for it"])
    figure.draw_without_rendering()
    assert axes[0, 0].get_window_extent().width == pytest.approx(9 * figure.dpi / 72)  # SMALLEST


def test_outer_labels_stand_at_the_lowest_panels_and_first_columns() -> None:
    figure, axes = panels(5, 3, share=True)
    for ax in axes:
        ax.set(xlabel="across", ylabel="up")
    label_outer(axes, 3, same_y=True)
    assert isinstance(figure, Drawing)
    assert [ax.get_xlabel() for ax in axes] == ["", "", "across", "across", "across"]  # none below the third
    assert [ax.get_ylabel() for ax in axes] == ["up", "", "", "up", ""]
    figure.draw_without_rendering()
    assert [bool(ax.get_xticklabels()) for ax in axes] == [False, False, True, True, True]
    assert [bool(ax.get_yticklabels()) for ax in axes] == [True, False, False, True, False]


def test_numbers_carry_their_power_of_ten() -> None:
    figure, (ax,) = panels(1, 1)
    ax.set_ylim(0, 3.2e-6)
    figure.draw_without_rendering()
    texts = [label.get_text() for label in ax.get_yticklabels()]
    assert texts[:3] == ["0", "1×10⁻⁶", "2×10⁻⁶"]
    assert ax.yaxis.get_offset_text().get_text() == ""
    assert isinstance(ax.yaxis.get_major_formatter(), Numbers)


def test_logarithmic_axes_are_numbered_at_powers_of_ten_or_between_them() -> None:
    figure, (wide, narrow) = panels(2, 2)
    for ax, limits in ((wide, (2e-4, 30.0)), (narrow, (2.0, 7.0))):
        ax.set_ylim(*limits)
        log_y(ax)
    figure.draw_without_rendering()
    assert isinstance(wide.yaxis.get_major_formatter(), LogNumbers)
    assert [t.get_text() for t in wide.get_yticklabels()][1:-1] == ["10⁻³", "10⁻²", "10⁻¹", "10⁰", "10¹"]
    assert {t.get_text() for t in wide.get_yticklabels(minor=True)} == {""}
    between = [t.get_text() for t in narrow.get_yticklabels(minor=True)]
    assert {"2", "4"} <= set(between)


@pytest.mark.parametrize("n_entries", [0, 1, 3, 5, 16])
def test_the_lines_of_a_legend_are_as_many_as_are_drawn(n_entries: int) -> None:
    figure, axes = panels(2, 2)
    for k in range(n_entries):
        axes[k % 2].plot([0, 1], [0, 1], label=f"condition = {k:02d}")
    n_lines = legend_below(figure, axes)
    FigureCanvasAgg(figure).draw()
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    assert len(texts) == n_entries
    assert n_lines == len({round(text.get_window_extent().y0) for text in texts})  # letters reach as far down in each
