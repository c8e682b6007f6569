"""What figures draw of networks one by one, by hand: means, medians, updates, shares and widths of intervals."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from synthetic import study

from degeneracy import plots
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics.jackknife import interval, member_sd, pair_mean

STUDY = study(8)  # two members of the last condition do not converge
FIRST, LAST = STUDY.results[0], STUDY.results[-1]


def points(axes: Axes) -> list[list[tuple[float, float]]]:
    """The points of every line."""
    return [[tuple(point) for point in np.asarray(line.get_xydata(), dtype=float)] for line in axes.lines]


def levels(axes: Axes) -> list[float]:
    """The heights of the horizontal lines that `hlines` drew."""
    return [float(segment[0][1]) for drawn in axes.collections for segment in drawn.get_segments()]


def test_a_networks_mean_distance_is_to_the_others() -> None:
    d = np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 5.0], [3.0, 5.0, 0.0]])
    measured = {
        "linear_flow": Measured(findings=(Finding(variant="driven", value=pair_mean(d)),), distances={"driven": d})
    }
    three = replace(FIRST, measured=measured, measured_members=("0", "4", "2"))
    (axes,) = plots.distance_against_updates(three).axes
    updates = [FIRST.members[k].n_updates for k in (0, 4, 2)]
    assert points(axes)[0] == list(zip(updates, [2.0, 3.0, 4.0], strict=True))


def test_a_panel_of_distances_is_named_after_them_where_the_measures_number_is_of_single_networks() -> None:
    d = np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 5.0], [3.0, 5.0, 0.0]])
    findings = tuple(Finding(variant=v, value=pair_mean(d)) for v in ("n_stable", "census_distance"))
    measured = {"fixed_points": Measured(findings=findings, distances={"census_distance": d})}
    three = replace(FIRST, measured=measured, measured_members=("0", "4", "2"))
    (axes,) = plots.distance_against_updates(three).axes
    assert axes.get_title(loc="left") == "Fixed points, census"
    assert [y for _, y in points(axes)[0]] == [2.0, 3.0, 4.0]


def test_the_line_among_errors_is_their_median() -> None:
    errors = np.array([1.0, 2.0, 30.0])
    measured = {"ood_error_cv": Measured(findings=(), arrays={"errors/length_2x": errors})}
    for source, at in ((replace(FIRST, measured=measured), 0), (replace(STUDY, results=(FIRST, LAST)), 1)):
        (axes, *_) = plots.ood_errors(source).axes
        expected = errors if at == 0 else LAST.measured["ood_log_error_sd"].arrays["errors/in_distribution"]
        assert [y for _, y in points(axes)[at]] == expected.tolist()
        assert levels(axes)[at] == np.median(expected)


def test_an_epochs_loss_stands_at_its_last_update() -> None:
    axes = plots.training_curves(LAST).axes[0]
    for member, curve in zip(LAST.members, points(axes), strict=False):
        assert curve[0] == (64, member.epoch_loss[0])
        assert curve[-1] == (member.n_updates, member.epoch_loss[-1])


def test_updates_to_threshold_are_of_those_that_reached_it() -> None:
    figure = plots.convergence(STUDY)
    for k, result in enumerate(STUDY.results):
        reached = [member.n_updates for member in result.members if member.status == "converged"]
        assert len(reached) == (6 if result is LAST else 8)
        assert [y for _, y in points(figure.axes[1])[k]] == reached
        assert levels(figure.axes[1])[k] == np.median(reached)


def test_a_value_stands_at_its_own_conditions_share_of_converged_networks() -> None:
    small = study(4).results[0]  # 4 of 4 networks converged, beside 6 of 8
    for axes in plots.convergence(replace(STUDY, results=(small, LAST))).axes[2:]:
        xs = [x for line in points(axes) for x, _ in line]
        assert set(xs) == {100.0, 75.0}
    drawn = [point for axes in plots.convergence(STUDY).axes[2:] for line in points(axes) for point in line]
    for result, share in ((FIRST, 100.0), (LAST, 75.0)):
        assert (share, result.measured["linear_flow"].findings[0].value.value) in drawn


def spread_of_errors() -> Finding:
    """A finding on the log scale: its interval is no value plus and minus something."""
    return Finding(variant="length_2x", value=member_sd([0.0, 1.0, 1.5, 4.0, 4.5, 6.0]), scale="log")


def test_intervals_of_the_log_scale_are_drawn_as_ratios() -> None:
    finding = spread_of_errors()
    low, high = interval(finding.value, "log")
    results = tuple(
        replace(result, measured={"ood_log_error_sd": Measured(findings=(finding,))}) for result in STUDY.results
    )
    logarithmic = replace(STUDY, results=results)
    raw = plots.against_factor(logarithmic, ["ood_log_error_sd/length_2x"]).axes[0]
    assert [(2.0, low), (2.0, high)] in points(raw)
    # The half-width of an interval from value / r to value r: 100 (r - 1) percent.
    (axes,) = plots.interval_width(results[0]).axes
    ((n, percent),) = points(axes)[1]
    assert n == 6
    assert percent == pytest.approx(100 * (high / finding.value.value - 1))


def test_pairs_are_of_different_networks() -> None:
    axes = plots.pair_distances(LAST, ["linear_flow"]).axes[0]
    drawn = [y for _, y in points(axes)[0]]
    assert sorted(drawn) == sorted(LAST.distances["linear_flow"][np.triu_indices(6, 1)])
    assert len(drawn) == 15


def test_the_coordinate_check_joins_the_means_of_each_width() -> None:
    changes = pd.DataFrame(
        {
            "hidden_size": [10, 10, 10, 20, 20, 20],
            "state_change": [1.0, 2.0, 6.0, 2.0, 2.0, 5.0],  # means 3 and 3
            "output_change": [1.0, 1.0, 4.0, 0.0, 0.0, 3.0],  # means 2 and 1
        }
    )
    states, outputs = plots.coordinate_check({"mup": changes}).axes
    assert points(states)[1] == [(10, 3.0), (20, 3.0)]
    assert points(outputs)[1] == [(10, 2.0), (20, 1.0)]
    assert len(points(states)[0]) == 6


def test_a_shares_interval_reaches_from_its_lower_to_its_upper_end() -> None:
    row = {"varies": "data", "level": "dynamics", "measure": "linear_flow", "variant": "driven", "note": ""}
    table = pd.DataFrame([row | {"share": 0.5, "ci_low": 0.4, "ci_high": 0.9, "n_members": 8}])
    ((bars,),) = (axes.containers for axes in plots.variability_shares(table).axes)
    ((ends,),) = (drawn.get_segments() for drawn in bars.lines[2])
    assert [x for x, _ in ends] == pytest.approx([0.4, 0.9])
