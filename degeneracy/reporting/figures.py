"""Which figures a report shows, in which order, with their captions."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from degeneracy import plots
from degeneracy.analysis.dynamics.attractors.census import FixedPointCensus
from degeneracy.analysis.dynamics.attractors.graph_measure import FixedPointGraph
from degeneracy.analysis.dynamics.attractors.under_inputs import inputs_of, of_input
from degeneracy.analysis.measure import LEVELS, UNTRAINED, in_words
from degeneracy.analysis.recording import NO_INPUT
from degeneracy.contrasts.cells import CALIBRATED, VALUE
from degeneracy.measuring.results import Result
from degeneracy.plots.style import WIDTH
from degeneracy.plots.survivorship import shares_differ
from degeneracy.reporting.data import ReportData
from degeneracy.reporting.drawing import Drawn, drawn_figures
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.conditions import condition_name
from degeneracy.wording.factors import factor_name
from degeneracy.wording.losses import course_name, loss_name
from degeneracy.wording.names import (
    card,
    distances_of_level,
    findings_of_level,
    full_name,
    joined,
    split,
)

LARGEST_SVG = 220_000  # bytes; a larger one is embedded as PNG
BUDGET = 4_000_000  # bytes of figures in the HTML before base64, so that it can be sent by mail
MAX_CONDITIONS = 6  # shown one by one; of more, the first and the last
PANELS_A_PAGE = 12


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """One figure of the report: its place, its words, and its files by name."""

    section: str
    title: str
    caption: str
    width: float  # share of the text's width, so that text in figures is of one size
    source: str  # a data URI; "" where the figure stands beside the report only
    files: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    section: str
    name: str  # of its files, without suffix
    title: str
    caption: str
    draw: Callable[[], Figure]


def draw_figures(data: ReportData, jobs: int = 1) -> tuple[list[ReportFigure], list[str]]:
    """All figures that can be drawn, and a line for each that cannot, with the reason; `jobs` processes draw."""
    asked = list(_wanted(data))
    figures: list[ReportFigure] = []
    left_out: dict[str, None] = {}
    spent = 0
    for wanted, drawn in zip(asked, drawn_figures([one.draw for one in asked], jobs), strict=True):
        if isinstance(drawn, str):
            left_out[drawn] = None
            continue
        figure = _report_figure(wanted, drawn, BUDGET - spent)
        spent += len(figure.source) * 3 // 4
        figures.append(figure)
    return figures, list(left_out)


def _report_figure(wanted: _Wanted, drawn: Drawn, budget: int) -> ReportFigure:
    kind, image = ("svg+xml", drawn.svg) if len(drawn.svg) <= LARGEST_SVG else ("png", drawn.png)
    source = f"data:image/{kind};base64,{base64.b64encode(image).decode()}" if len(image) <= budget else ""
    return ReportFigure(
        section=wanted.section,
        title=wanted.title,
        caption=wanted.caption,
        width=round(min(drawn.width / WIDTH, 1.0), 3),
        source=source,
        files={f"{wanted.name}.png": drawn.png, f"{wanted.name}.svg": drawn.svg},
    )


def _wanted(data: ReportData) -> Iterator[_Wanted]:
    study = data.study
    yield from _of_training(study)
    yield from _of_all_levels(study)
    yield from _of_effects(data)
    yield from _of_behavior(study)
    for level in LEVELS:
        if level == "weights" and distances_of_level(study.results, "weights"):
            yield _Wanted(
                section="weights",
                name="weight_distances",
                title="Distances of weights, pair by pair",
                caption="Each point is a pair of networks. " + _MEAN_CAPTION,
                draw=partial(plots.weight_distances, study),
            )
        yield from _of_distances(study, level)
        if level == "dynamics":
            yield from _of_fixed_points(study)
            yield from _of_transitions(study)
        yield from _against_factor(study, level)
    yield _Wanted(
        section="members",
        name="interval_width",
        title="Width of the interval against the number of networks",
        caption=(
            "Half-width of the 95% interval expected with n converged networks, in percent of the value: it falls "
            "as t(n−1)/√n. The marker is what this study has. It assumes that further networks vary as these do."
        ),
        draw=partial(plots.interval_width, study),
    )


_SURVIVORS = (
    " Below, the primary measure of each level against the share that converged: networks that did not converge are "
    "left out of all measures, so a condition in which few did is one of survivors."
)
_MEAN_CAPTION = (
    "Black: mean over pairs with its 95% interval over networks (pairs share networks, so they are not independent). "
    "Dotted: floor; dashed: reference."
)


def _shown(study: StudyResult) -> Sequence[Result]:
    """The conditions that are shown one by one."""
    results = study.results
    return results if len(results) <= MAX_CONDITIONS else (results[0], results[-1])


def _suffix(study: StudyResult, result: Result) -> str:
    return f"_{study.results.index(result) + 1}" if len(study.results) > 1 else ""


def _of_examples(study: StudyResult) -> Iterator[_Wanted]:
    for result in _shown(study):
        yield _Wanted(
            section="examples",
            name=f"example_trials{_suffix(study, result)}",
            title=f"Example trials, {condition_name(result)}",
            caption=(
                "Probe trials, the same for all networks. Above, the inputs; below, the targets (dotted) and the "
                "outputs of the first networks that converged. Channels are offset, in arbitrary units."
            ),
            draw=partial(plots.example_trials, result),
        )


def _of_training(study: StudyResult) -> Iterator[_Wanted]:
    yield from _of_examples(study)
    yield _Wanted(
        section="training",
        name="training_curves",
        title="Training curves",
        caption=(
            f"The {course_name(study.results)} over each epoch's batches, one line per network (n: trained); dashed, "
            "where training stops. On the logarithmic axis 0 has no place."
        ),
        draw=partial(plots.training_curves, study),
    )
    survivors = shares_differ(study.results)
    # Of networks that were trained elsewhere nothing is known of how they converged.
    if any(member.status != "given" for result in study.results for member in result.members):
        yield _Wanted(
            section="training",
            name="convergence",
            title="Convergence" + (", and degeneracy against it" if survivors else ""),
            caption="How many networks converged and after how many updates." + (_SURVIVORS if survivors else ""),
            draw=partial(plots.convergence, study),
        )
    yield _Wanted(
        section="training",
        name="distance_against_updates",
        title="Late networks against early ones",
        caption=(
            "Each point is a network: its mean distance to the others of its condition against the updates it needed. "
            "If late networks stood farther out, those that never converged might stand farther still."
        ),
        draw=partial(plots.distance_against_updates, study),
    )


def _of_all_levels(study: StudyResult) -> Iterator[_Wanted]:
    if study.factors and len(study.results) > 1:
        yield _Wanted(
            section="results",
            name="against_factor",
            title=f"Degeneracy against {' and '.join(map(factor_name, study.factors))}",
            caption=(
                "The primary measure of each level. Left, the value with its 95% interval, its floor (dotted) and its "
                "reference (dashed); right, calibrated: 0 at the floor, 1 at the reference."
            ),
            draw=partial(plots.against_factor, study),
        )
    yield _Wanted(
        section="results",
        name="overview",
        title="All calibrated measures",
        caption=(
            "Where each measure stands between its floor (0) and its reference (1), with 95% intervals. The reference "
            "is no maximum: values above 1 are possible. Measures without floor or reference are in the table only."
        ),
        draw=partial(plots.overview, study),
    )


def _of_effects(data: ReportData) -> Iterator[_Wanted]:
    """What the factors do: to the values, and between floor and reference."""
    if data.effects.empty:
        return
    for name, scale, title in (
        ("effects", VALUE, "Effects"),
        ("effects_calibrated", CALIBRATED, "Calibrated effects"),
    ):
        yield _Wanted(
            section="effects",
            name=name,
            title=f"{title} of {' and '.join(map(factor_name, data.study.factors))}",
            caption=(
                "Change from the lowest to the highest level along the fitted line, with its 95% interval. Filled: the "
                "measure that the level is judged by, with its verdict; open: exploratory. Grey bar: the margin within "
                "which a change is none, where one was written; grey strokes: the smallest changes that 80% of studies "
                "with as many networks would have shown."
            ),
            draw=partial(plots.effects, data.effects, scale),
        )


def _of_behavior(study: StudyResult) -> Iterator[_Wanted]:
    yield _Wanted(
        section="behavior",
        name="ood_errors",
        title="Errors out of distribution",
        caption=(
            f"Each point is a network: its {loss_name(study.results)} over the probe trials of a task variant. The "
            "line is the median. On this logarithmic axis, the spread is what the SD of the log error measures."
        ),
        draw=partial(plots.ood_errors, study),
    )


def _of_distances(study: StudyResult, level: str) -> Iterator[_Wanted]:
    """Heat-maps and maps of a level's distances, so many that a figure fills no more than a page."""
    names = distances_of_level(study.results, level)
    a_figure = max(1, PANELS_A_PAGE // (4 * -(-len(study.results) // 4))) if len(study.results) > 1 else 9
    for k in range(0, len(names), a_figure):
        some = names[k : k + a_figure]
        suffix = f"_{k // a_figure + 1}" if len(names) > a_figure else ""
        words = ", ".join(full_name(*split(name)) for name in some)
        yield _Wanted(
            section=level,
            name=f"distances_{level}{suffix}",
            title=f"Distances of all pairs: {words}",
            caption=(
                "Networks in the order of an average-linkage tree of each panel, so that families of alike solutions "
                "show as dark blocks; the same order across as down. Grey: the diagonal, or not defined. One colour "
                "scale per measure."
            ),
            draw=partial(plots.distance_heatmaps, study, some),
        )
        yield _Wanted(
            section=level,
            name=f"maps_{level}{suffix}",
            title=f"Maps and solution families: {words}",
            caption=(
                "Metric multidimensional scaling: networks as points whose distances resemble the measured ones "
                "(stress 0: exactly). Colours and markers are families, told apart only where the split is clearer "
                "than in 95% of clouds without groups; directions in a map mean nothing."
            ),
            draw=partial(plots.mds_maps, study, some),
        )


def _of_fixed_points(study: StudyResult) -> Iterator[_Wanted]:
    """A figure for each constant input that was searched under; one that says why there is none, where nothing was."""
    for result in _shown(study):
        if FixedPointCensus.name not in result.measured:
            continue
        under = inputs_of(result.measured[FixedPointCensus.name].arrays) or [NO_INPUT]
        for held_input, suffix, words in _under_inputs(under):
            yield _Wanted(
                section="dynamics",
                name=f"{FixedPointCensus.name}{_suffix(study, result)}{suffix}",
                title=f"Fixed points, {condition_name(result)}{words}",
                caption=(
                    "Fixed points of the first networks on the first two principal components of their own states "
                    "(grey: states on probe trials). Filled: stable; open: saddles, by number of unstable directions. "
                    "Cycles are not drawn. "
                    "Axes are each network's own."
                ),
                draw=partial(plots.fixed_points, result, held_input=held_input),
            )


def _of_transitions(study: StudyResult) -> Iterator[_Wanted]:
    """A figure for each constant input under which pulses lead from one attractor to another."""
    for result in _shown(study):
        arrays = result.measured[FixedPointGraph.name].arrays if FixedPointGraph.name in result.measured else {}
        pulsed = [name for name in inputs_of(arrays, "node_readout") if len(arrays[of_input("pulse", name)])]
        for held_input, suffix, words in _under_inputs(pulsed):
            yield _Wanted(
                section="dynamics",
                name=f"transitions{_suffix(study, result)}{suffix}",
                title=f"Which pulse leads where, {condition_name(result)}{words}",
                caption=(
                    "The attractors of the network whose graph is nearest to those of all others, labelled by the sign "
                    "of each output (0: small). Circles: stable points; boxes: stable cycles, with their period in "
                    "steps. Arrows: where a pulse leads from each, in the pulse's colour; the opposite pulse is "
                    "dashed, and pulses that lead back are not drawn. Graphs are the same where all pulses lead from "
                    "the same labels to the same labels."
                ),
                draw=partial(plots.transition_graph, result, held_input=held_input),
            )


def _under_inputs(names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Constant inputs as plots take them, with what is added to a file's name and to a title for each."""
    for name in names:
        yield ("", "", "") if list(names) == [NO_INPUT] else (name, f"_{name}", f", input {in_words(name)}")


def _against_factor(study: StudyResult, level: str) -> Iterator[_Wanted]:
    """All measures of a level against the factor, without the level's primary one, which stands above."""
    if not study.factors or len(study.results) < 2:
        return
    chosen = primaries(study, measured=True).get(level)
    names = [
        joined(measure, variant)
        for measure, variant in findings_of_level(study.results, level)
        if card(measure).shown and (measure, variant) != chosen and not variant.endswith(UNTRAINED)
    ]
    for k in range(0, len(names), PANELS_A_PAGE):
        some = names[k : k + PANELS_A_PAGE]
        suffix = f"_{k // PANELS_A_PAGE + 1}" if len(names) > PANELS_A_PAGE else ""
        yield _Wanted(
            section=level,
            name=f"against_factor_{level}{suffix}",
            title=f"Other measures of {level} against {' and '.join(map(factor_name, study.factors))}",
            caption="Values with 95% intervals over networks; floor dotted, reference dashed where there is one.",
            draw=partial(plots.against_factor, study, some, calibrated=False),
        )
