"""The figures: what they draw is what was measured, they read well, and they survive what a study may lack."""

from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic import condition, study

from degeneracy import plots
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics.jackknife import calibrate, interval, member_mean
from degeneracy.core.errors import UserError
from degeneracy.plots import style
from degeneracy.plots.distances import tree_order
from degeneracy.plots.states import principal_axes
from degeneracy.studies.primary import primaries
from degeneracy.wording import conditions, factors

STUDY = study(8)
RESULT = STUDY.results[1]

FIGURES = {
    "example_trials": lambda: plots.example_trials(RESULT),
    "training_curves": lambda: plots.training_curves(STUDY),
    "convergence": lambda: plots.convergence(STUDY),
    "convergence of one": lambda: plots.convergence(RESULT),
    "distance_against_updates": lambda: plots.distance_against_updates(STUDY),
    "ood_errors": lambda: plots.ood_errors(STUDY),
    "ood_errors of one": lambda: plots.ood_errors(RESULT),
    "distance_heatmaps": lambda: plots.distance_heatmaps(STUDY, ["linear_flow", "signed_pif/recurrent"]),
    "mds_maps": lambda: plots.mds_maps(RESULT, ["linear_flow", "procrustes"]),
    "fixed_points": lambda: plots.fixed_points(RESULT),
    "weight_distances": lambda: plots.weight_distances(STUDY),
    "against_factor": lambda: plots.against_factor(STUDY),
    "against_factor, raw": lambda: plots.against_factor(STUDY, ["linear_flow", "procrustes"], calibrated=False),
    "overview": lambda: plots.overview(STUDY),
    "interval_width": lambda: plots.interval_width(STUDY),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_labelled_readable_and_says_n(name: str) -> None:
    with mpl.rc_context({"font.size": 31}):
        figure = FIGURES[name]()
        assert mpl.rcParams["font.size"] == 31  # the caller's settings are as they were
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() <= 6.7  # the text of an A4 page
    texts = [t for t in figure.findobj(Text) if t.get_text().strip()]
    assert min(t.get_fontsize() for t in texts) >= 9
    for axes in figure.axes:
        if axes.get_visible() and axes.axison and axes.get_label() != "<colorbar>":
            assert axes.get_title("left") or axes.get_xlabel() or axes.get_ylabel()
    said = " ".join(t.get_text() for t in texts)
    if name not in ("example_trials", "fixed_points", "ood_errors", "weight_distances"):  # single networks
        assert "n = " in said or "/8" in said


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_or_covers_another(name: str) -> None:
    figure = FIGURES[name]()
    FigureCanvasAgg(figure).draw()
    boxes = {
        text: text.get_window_extent()
        for axes in [*figure.axes, *(inset for axes in figure.axes for inset in axes.child_axes)]
        for text in _shown_texts(axes)
    } | {text: text.get_window_extent() for legend in figure.legends for text in legend.get_texts()}
    assert len(boxes) > 5
    for text, box in boxes.items():
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, f"{text} is cut"
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, f"{text} is cut"
    # 2 pixels less on each side: the box of a line is as high as its highest letter could be.
    inner = {text: box.padded(-2) for text, box in boxes.items()}
    overlaps = [(a, b) for a, b in combinations(inner, 2) if inner[a].overlaps(inner[b])]
    assert overlaps == []


def _shown_texts(axes: mpl.axes.Axes) -> list[Text]:
    if not axes.get_visible():
        return []
    ticks = [
        label
        for k, axis in enumerate((axes.xaxis, axes.yaxis))
        for label in axis.get_ticklabels()
        if min(axis.get_view_interval()) <= label.get_position()[k] <= max(axis.get_view_interval())
    ] * axes.axison  # those outside the panel are there, but not drawn
    texts = [child for child in axes.get_children() if isinstance(child, Text)]
    labels = [axes.xaxis.label, axes.yaxis.label] if axes.axison else []
    return [text for text in (*ticks, *labels, *texts) if text.get_visible() and text.get_text().strip()]


def _drawn(axes: mpl.axes.Axes) -> np.ndarray:
    """All points of all lines, (point, 2)."""
    return np.concatenate([np.asarray(line.get_xydata(), dtype=float) for line in axes.lines])


def test_against_factor_draws_values_intervals_and_calibration() -> None:
    figure = plots.against_factor(STUDY, ["linear_flow/driven"])
    raw, scaled = figure.axes[:2]
    for result in STUDY.results:
        finding = result.measured["linear_flow"].findings[0]
        low, high = interval(finding.value)
        for number in (finding.value.value, low, high):
            assert [result.factors["task.channels"], number] in _drawn(raw).tolist()
        assert [result.factors["task.channels"], calibrate(finding).value] in _drawn(scaled).tolist()
    levels = {round(float(s[0][1]), 12) for c in raw.collections for s in c.get_segments()}
    flows = [result.measured["linear_flow"].findings[0] for result in STUDY.results]
    assert levels == {round(e.value, 12) for f in flows for e in (f.floor, f.reference) if e is not None}


def test_against_factor_refuses_what_is_not_there() -> None:
    with pytest.raises(UserError, match="varies nothing"):
        plots.against_factor(study(4, channels=(3,)))
    with pytest.raises(UserError, match="varies nothing"):
        plots.against_factor(RESULT)
    with pytest.raises(UserError, match="'size' is not varied"):
        plots.against_factor(STUDY, factor="size")
    with pytest.raises(UserError, match="no measure 'dsb'"):
        plots.against_factor(STUDY, ["dsb"])


def test_several_factors_and_words_as_values() -> None:
    results = tuple(
        replace(condition(4, 3), condition=f"{cell}-{gamma}", factors={"network.cell": cell, "gamma": gamma})
        for cell in ("tanh", "gru")
        for gamma in (0.1, 1.0, 10.0)
    )
    figure = plots.against_factor(replace(STUDY, results=results), ["linear_flow"])
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["0.1", "1", "10"]
    assert "cell = gru" in [t.get_text() for legend in figure.legends for t in legend.get_texts()]
    by_cell = plots.against_factor(replace(STUDY, results=results), ["linear_flow"], factor="network.cell")
    assert [t.get_text() for t in by_cell.axes[0].get_xticklabels()] == ["tanh", "gru"]


def test_heatmap_shows_the_distances_in_tree_order() -> None:
    figure = plots.distance_heatmaps(RESULT, ["linear_flow"])
    shown = np.asarray(figure.axes[0].images[0].get_array())
    order = tree_order(RESULT.distances["linear_flow"])
    expected = RESULT.distances["linear_flow"][np.ix_(order, order)]
    off = ~np.eye(len(order), dtype=bool)
    np.testing.assert_array_equal(shown[off], expected[off])
    assert sorted(order) == list(range(len(order)))
    # Two clouds, even and odd members: each stands together.
    assert len({k % 2 for k in order[:4]}) == 1


def test_heatmaps_of_a_measure_have_one_scale_at_the_last_measured_panel_of_the_first_row() -> None:
    unmeasured = replace(STUDY.results[2], measured={})
    for results, scales in ((STUDY.results, [0, 0, 1]), ((*STUDY.results[:2], unmeasured), [0, 1, 0])):
        figure = plots.distance_heatmaps(replace(STUDY, results=results), ["linear_flow", "signed_pif/recurrent"])
        assert [len(axes.child_axes) for axes in figure.axes] == 2 * scales
    five = study(4, channels=(2, 3, 4, 5, 6))  # four in the first row
    figure = plots.distance_heatmaps(five, ["linear_flow"])
    assert [len(axes.child_axes) for axes in figure.axes if axes.get_visible()] == [0, 0, 0, 1, 0]
    figure = plots.distance_heatmaps(RESULT, ["linear_flow", "procrustes"])
    assert [len(axes.child_axes) for axes in figure.axes] == [1, 1]  # each on a scale of its own


def test_convergence_is_compared_with_only_where_it_differs() -> None:
    assert len(plots.convergence(STUDY).axes) == 6  # two of eight failed in one condition; four levels
    same = replace(STUDY, results=STUDY.results[:2])
    assert len(plots.convergence(same).axes) == 2


def test_heatmap_labels_are_thinned_for_200_members() -> None:
    d = np.abs(np.subtract.outer(np.arange(200.0), np.arange(200.0)))
    labels = tuple(str(k) for k in range(200))
    measured = {"linear_flow": Measured(findings=(), distances={"driven": d})}
    figure = plots.distance_heatmaps(replace(RESULT, measured=measured, measured_members=labels))
    assert len(figure.axes[0].get_yticks()) <= 8


def test_undefined_distances_are_said_not_drawn() -> None:
    d = np.array([[0, 1, np.nan], [1, 0, 2], [np.nan, 2, 0]])
    measured = {"own": Measured(findings=(), distances={"": d})}
    result = replace(RESULT, measured=measured, measured_members=("0", "1", "2"), levels={"own": "dynamics"})
    assert "some distances\nare not defined" in [t.get_text() for t in plots.mds_maps(result).axes[0].texts]
    plots.distance_heatmaps(result)


def test_families_differ_in_marker_and_colour() -> None:
    lines = plots.mds_maps(study(12).results[1], ["linear_flow"]).axes[0].lines
    assert len(lines) == 2  # planted: two clouds, 30 sd apart
    assert len({line.get_marker() for line in lines}) == len({line.get_color() for line in lines}) == 2


def test_fixed_points_are_marked_by_stability() -> None:
    axes = plots.fixed_points(RESULT).axes[0]
    by_label = {line.get_label(): line for line in axes.lines}
    # A 3-bit cube: 8 corners, 12 edges, 6 faces, 1 centre.
    counts = {label: len(line.get_xdata()) for label, line in by_label.items() if not label.startswith("_")}
    assert counts == {"stable": 8, "saddle, 1 unstable": 12, "saddle, 2 unstable": 6, "saddle, 3 unstable": 1}
    assert by_label["stable"].get_markerfacecolor() != "white"
    assert by_label["saddle, 1 unstable"].get_markerfacecolor() == "white"


def test_stability_is_counted_from_eigenvalues_where_no_index_is_given() -> None:
    arrays = dict(RESULT.measured["fixed_points"].arrays)
    index = arrays.pop("index")
    arrays["eigenvalues"] = np.where(np.arange(5) < index[:, None], 1.5, 0.5) + 0j
    measured = {"fixed_points": Measured(findings=(), arrays=arrays)}
    figure = plots.fixed_points(replace(RESULT, measured=measured))
    assert "8 stable of 27" in figure.axes[0].get_title("left")


def test_principal_axes_find_the_plane_of_the_states() -> None:
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    z = rng.normal(size=(200, 2)) * [3.0, 1.0]
    mean, directions, shares = principal_axes((z @ q[:, :2].T + 2.0).reshape(4, 50, 5))
    # The same plane: its projector is the same, to rounding.
    np.testing.assert_allclose(directions.T @ directions, q[:, :2] @ q[:, :2].T, atol=1e-12)
    assert shares.sum() == pytest.approx(1.0, abs=1e-12)
    assert shares[0] > shares[1]
    assert mean.shape == (5,)


@pytest.mark.parametrize(
    ("missing", "figure", "message"),
    [
        ({"examples": None}, plots.example_trials, "none were recorded"),
        ({"examples": None}, plots.fixed_points, "no fixed points or no example states"),
        ({"measured": {}}, plots.ood_errors, "no condition holds the errors"),
        ({"measured": {}}, plots.distance_heatmaps, "no pairwise distance"),
        ({"measured": {}}, plots.weight_distances, "no pairwise distance of the weights"),
        ({"measured": {}}, plots.overview, "nothing could be calibrated"),
        ({"measured": {}}, plots.interval_width, "no measure has an interval"),
    ],
)
def test_what_is_missing_is_said_in_a_line(missing, figure, message) -> None:
    with pytest.raises(UserError, match=message):
        figure(replace(RESULT, **missing))


OF_A_STUDY = (
    "example_trials",
    "training_curves",
    "convergence",
    "distance_against_updates",
    "ood_errors",
    "distance_heatmaps",
    "mds_maps",
    "weight_distances",
    "against_factor",
    "overview",
    "interval_width",
)


@pytest.mark.parametrize("name", OF_A_STUDY)
def test_conditions_in_which_no_network_converged_leave_the_others_drawn(name: str) -> None:
    members = tuple(replace(member, status="not converged") for member in RESULT.members)
    lost = replace(
        STUDY.results[-1],
        members=members,
        measured_members=(),
        measured={},
        missing=dict.fromkeys(RESULT.measured, "needs 2 converged members, 0 of 8 converged"),
        examples=None,
    )
    figure = getattr(plots, name)(replace(STUDY, results=(*STUDY.results[:2], lost)))
    FigureCanvasAgg(figure).draw()
    texts = " ".join(text.get_text() for axes in figure.axes for text in _shown_texts(axes))
    assert len(texts) > 20


def test_of_a_study_the_last_condition_with_examples_is_drawn() -> None:
    whole = study(2)
    lost = replace(whole.results[1], examples=None)  # no network converged
    name = whole.results[0].factors["task.channels"]
    figure = plots.example_trials(replace(whole, results=(whole.results[0], lost)))
    assert figure.axes[0].get_title("left") == f"channels = {name}, probe trial 1"
    assert plots.example_trials(whole.results[0]).axes[0].get_title("left") == "Probe trial 1"


def test_networks_trained_elsewhere_have_no_curves() -> None:
    given = tuple(
        replace(m, status="given", epoch_loss=np.zeros(0), learning_rate=np.zeros(0), n_updates=0)
        for m in RESULT.members
    )
    result = replace(RESULT, members=given)
    with pytest.raises(UserError, match="trained elsewhere"):
        plots.training_curves(result)
    plots.convergence(result)


def test_primary_measure_is_out_of_distribution_and_falls_back_to_the_users_own() -> None:
    assert primaries(STUDY)["behavior"] == ("ood_log_error_sd", "length_2x")
    own = Measured(findings=(Finding(variant="", value=member_mean([1.0, 2.0, 3.0])),))
    result = replace(RESULT, measured={"tortuosity": own}, levels={"tortuosity": "dynamics"})
    assert primaries(result) == {"dynamics": ("tortuosity", "")}


def test_a_notebook_shows_a_figure_without_pyplot() -> None:
    assert plots.interval_width(RESULT)._repr_png_().startswith(b"\x89PNG")


def test_colours_and_short_names() -> None:
    assert len(set(style.condition_colours(20))) == 20
    assert conditions.short("abcdefghij", 5) == "ab…ij"
    assert factors.factor_name("task.switch_probability") == "switch probability"


def test_the_overview_has_room_for_its_label_beside_long_names() -> None:
    name = "mine:ADistanceOfMyOwnWithALongName"
    own = replace(RESULT, measured={name: RESULT.measured["linear_flow"]}, levels={name: "dynamics"})
    figure = plots.overview(own)
    figure.canvas.draw()
    place = figure.axes[0].xaxis.label.get_window_extent()
    assert 0 < place.x0 < place.x1 < figure.bbox.width
