"""Figures of degeneracy itself: against the varied factor, between floor and reference, and with more members."""

from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from degeneracy.analysis.measure import LEVELS, Finding
from degeneracy.analysis.statistics.jackknife import calibrate, interval, width_against_n
from degeneracy.core.errors import UserError
from degeneracy.measuring.results import Result, finding_of
from degeneracy.plots.style import (
    COLOURS,
    GREY,
    condition_colours,
    label_outer,
    legend_below,
    marker,
    panels,
    results_of,
    styled,
)
from degeneracy.studies.primary import primaries
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.conditions import brief_name, brief_names, n_text, short
from degeneracy.wording.factors import factor_name, level_text
from degeneracy.wording.names import (
    findings_of_level,
    full_name,
    joined,
    named_finding,
    split,
    stacked_name,
    with_unit,
)

Bars = tuple[float, float, float]  # value, low, high


@styled
def against_factor(
    study: StudyResult, names: Sequence[str] = (), factor: str = "", *, calibrated: bool = True
) -> Figure:
    """A measure in each condition against the varied factor, with intervals: as measured, and calibrated.

    Left, the value with its floor (dotted) and reference (dashed) in each condition; right, the value between
    them, 0 at the floor and 1 at the reference. Further factors are told apart by colour and marker.

    Args:
        study: two conditions or more with a varied factor.
        names: of measures, such as "dsa" or "dsa/driven"; by default the primary one of each level.
        factor: along the horizontal axis; by default the one with the most values.
        calibrated: show the calibrated panels too; without them the panels stand three in a row.

    Raises:
        UserError: nothing is varied, or no such factor or measure.
    """
    if not isinstance(study, StudyResult) or not study.factors or len(study.results) < 2:
        raise UserError("against factor: this study varies nothing")
    if factor and factor not in study.factors:
        raise UserError(f"against factor: '{factor}' is not varied (varied: {', '.join(study.factors)})")
    along = factor or max(study.factors, key=lambda name: len(_values(study, name)))
    names = names or [joined(*name) for name in primaries(study, measured=True).values()]
    for name in names:
        if all(named_finding(result, name) is None for result in study.results):
            raise UserError(f"against factor: no measure '{name}' was taken")
    if calibrated:
        figure, axes = panels(2 * len(names), 2, height=1.8, extra=0.65)
        for scaled, name in zip(axes[1::2], names, strict=True):
            _scaled_panel(scaled, study, along, name)
        _raw_panels(axes[::2], study, along, names, full_name)
        label_outer(axes[::2], 1)
        label_outer([scaled for scaled in axes[1::2] if scaled.axison], 1)
    else:
        figure, axes = panels(len(names), 3, height=1.8, extra=0.7)
        _raw_panels(axes, study, along, names, stacked_name)
        label_outer(axes, 3)
    legend_below(figure, axes)
    return figure


@styled
def overview(study: StudyResult | Result) -> Figure:
    """Where every measure stands between its floor (0) and its reference (1), with intervals, by level.

    Raises:
        UserError: nothing could be calibrated.
    """
    results = results_of(study)
    rows = [
        (measure, variant)
        for level in LEVELS
        for measure, variant in findings_of_level(results, level)
        if any(np.isfinite(_calibrated(finding_of(r, measure, variant))[0]) for r in results)
    ]
    if not rows:
        raise UserError("overview: nothing could be calibrated (the table says why)")
    figure, (ax,) = panels(1, 1, height=0.55 + len(rows) * max(0.24, 0.085 * len(results)), extra=0.4)
    figure.set_figwidth(6.7)
    names, colours = brief_names(results, 30), condition_colours(len(results))
    for k, (result, colour) in enumerate(zip(results, colours, strict=True)):
        shift = 0.7 * ((k + 0.5) / len(results) - 0.5)
        label = f"{names[k]} (n = {result.n_converged})"
        for row, name in enumerate(rows):
            _bar(ax, _calibrated(finding_of(result, *name)), row + shift, colour, marker(k), label, flat=True)
    ax.axvline(0, color=GREY, ls=":", lw=1.2)
    ax.axvline(1, color=GREY, ls="--", lw=1.2)
    ax.set_yticks(range(len(rows)), [full_name(*name) for name in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("calibrated: 0 = floor, 1 = reference\n(95% interval over networks)")
    legend_below(figure, [ax])
    return figure


@styled
def interval_width(study: StudyResult | Result, max_members: int = 0) -> Figure:
    """Half-width of the 95% interval expected with other numbers of members, for the primary measures.

    Args:
        study: a study or one condition.
        max_members: largest number shown; by default 64, or twice those there are.

    Raises:
        UserError: no primary measure has an interval.
    """
    results = results_of(study)
    levels = primaries(study, measured=True)
    chosen = [name for name in levels.values() if any(_has_interval(finding_of(r, *name)) for r in results)]
    if not chosen:
        raise UserError("interval width: no measure has an interval (3 converged networks or more are needed)")
    most = max_members or max(64, 2 * max(r.n_converged for r in results))
    sizes = np.unique(np.geomspace(3, most, 60).round().astype(int))
    figure, axes = panels(len(chosen), 2, height=2.05, extra=0.6)
    for ax, name in zip(axes, chosen, strict=True):
        for k, (result, colour) in enumerate(zip(results, condition_colours(len(results)), strict=True)):
            _width(ax, result, name, sizes, colour, marker(k))
        ax.set_xscale("log")
        ax.set_yscale("log")
        _plain_ticks(ax, most)
        ax.set_xlabel("converged networks n")
        ax.set_title(full_name(*name))
    for ax in axes[::2]:
        ax.set_ylabel("half-width (% of value)")
    label_outer(axes, 2)
    legend_below(figure, axes)
    return figure


def _plain_ticks(axes: Axes, most: int) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    axes.xaxis.set_major_locator(FixedLocator([t for t in (3, 5, 10, 20, 50, 100, 200, 500) if t <= most]))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    low, high = axes.get_ylim()
    marks = [m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5)]
    axes.yaxis.set_major_locator(FixedLocator([m for m in marks if low <= m <= high]))
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _has_interval(finding: Finding | None) -> bool:
    return finding is not None and bool(np.isfinite(interval(finding.value, finding.scale)[0]))


def _width(axes: Axes, result: Result, name: tuple[str, str], sizes: np.ndarray, colour: str, shape: str) -> None:
    """The expected half-width in percent of the value, and the one there is as a point."""
    finding = finding_of(result, *name)
    if finding is None or not _has_interval(finding) or finding.value.value == 0:
        return
    n = len(finding.value.leave_one_out)

    def percent(at: Sequence[int] | np.ndarray) -> np.ndarray:
        half = width_against_n(finding.value, at, finding.scale)
        relative = np.expm1(half) if finding.scale == "log" else half / abs(finding.value.value)
        return 100 * relative

    axes.plot(sizes, percent(sizes), color=colour)
    label = f"{brief_name(result, 30)} (n = {n})"
    axes.plot([n], percent([n]), shape, color=colour, ms=6, label=label)


# --- One measure against the factor ----------------------------------------------------------------------------


def _values(study: StudyResult, factor: str) -> list[object]:
    return list(dict.fromkeys(_hashable(result.factors[factor]) for result in study.results))


def _hashable(value: object) -> object:
    return value if isinstance(value, Real | str) else str(value)


def _raw_panels(
    axes: Sequence[Axes],
    study: StudyResult,
    along: str,
    names: Sequence[str],
    title: Callable[[str, str], str],
) -> None:
    """Values as measured."""
    for ax, name in zip(axes, names, strict=True):
        findings = {result.condition: named_finding(result, name) for result in study.results}
        _against(ax, study, along, {c: _raw(f) for c, f in findings.items()}, findings)
        unit = next((finding.unit for finding in findings.values() if finding is not None), "")
        ax.set_ylabel(with_unit("value", unit))
        ax.set_title(title(*split(name)))


def _scaled_panel(axes: Axes, study: StudyResult, along: str, name: str) -> None:
    """Values between floor and reference."""
    bars = {result.condition: _calibrated(named_finding(result, name)) for result in study.results}
    if not any(np.isfinite(value) for value, _, _ in bars.values()):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "not calibrated: see the table", transform=axes.transAxes, ha="center", color=GREY)
        return
    _against(axes, study, along, bars, {})
    axes.axhline(0, color=GREY, ls=":", lw=1.3)
    axes.axhline(1, color=GREY, ls="--", lw=1.3)
    axes.set_ylabel("calibrated")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.08), max(high, 1.08))


def _against(
    axes: Axes, study: StudyResult, along: str, bars: dict[str, Bars], levels: dict[str, Finding | None]
) -> None:
    """Values with intervals along a factor, one line per combination of the other factors."""
    values = _values(study, along)
    numeric = all(isinstance(v, Real) and not isinstance(v, bool) for v in values)
    place: Callable[[Result], float] = _placer(values, along, numeric=numeric)
    gap = _gap([place(r) for r in study.results])
    lines: dict[str, list[Result]] = {}
    for result in study.results:
        key = str({f: v for f, v in result.factors.items() if f != along})  # two tables may have one name
        lines.setdefault(key, []).append(result)
    for k, results in enumerate(lines.values()):
        others = {f: v for f, v in results[0].factors.items() if f != along}
        rest = ", ".join(f"{factor_name(f)} = {level_text(v)}" for f, v in others.items())
        colour = COLOURS[k % len(COLOURS)]
        shift = 0.12 * gap * (k - (len(lines) - 1) / 2)
        results.sort(key=place)
        at = [place(r) + shift for r in results]
        if numeric:
            axes.plot(at, [bars[r.condition][0] for r in results], color=colour, lw=0.8, alpha=0.6)
        for x, result in zip(at, results, strict=True):
            _bar(axes, bars[result.condition], x, colour, marker(k), rest, flat=False)
            _levels(axes, levels.get(result.condition), x, 0.16 * gap)
    _factor_ticks(axes, study, along, place)


def _placer(values: list[object], along: str, *, numeric: bool) -> Callable[[Result], float]:
    """Where a condition stands: at its value, at the value's logarithm over a wide range, or by order."""
    numbers = [float(v) for v in values if isinstance(v, Real)] if numeric else []
    if numbers and min(numbers) > 0 and max(numbers) / min(numbers) >= 8:
        return lambda result: float(np.log10(result.factors[along]))
    if numbers:
        return lambda result: float(result.factors[along])
    return lambda result: float(values.index(_hashable(result.factors[along])))


def _gap(places: list[float]) -> float:
    distinct = np.unique(places)
    return float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0


def _factor_ticks(axes: Axes, study: StudyResult, along: str, place: Callable[[Result], float]) -> None:
    """A tick at every value that was studied, thinned where many; n below where it is the same for all."""
    by_place = {place(result): result for result in study.results}
    places = sorted(by_place)
    every = -(-len(places) // 8)
    labels = [short(level_text(by_place[p].factors[along]), 14) for p in places[::every]]
    axes.set_xticks(places[::every], labels)
    gap = _gap(places)
    axes.set_xlim(places[0] - 0.6 * gap, places[-1] + 0.6 * gap)
    axes.set_xlabel(f"{factor_name(along)} ({n_text(result.n_converged for result in study.results)})")


def _bar(axes: Axes, bars: Bars, at: float, colour: str, shape: str, label: str, *, flat: bool) -> None:
    """A value with its interval, upright or lying."""
    value, low, high = bars
    ends, middle = ([low, high], [at, at]), ([value], [at])
    if not flat:
        ends, middle = (ends[1], ends[0]), (middle[1], middle[0])
    axes.plot(*ends, color=colour, lw=1.5)
    axes.plot(*middle, shape, color=colour, label=label or None)


def _levels(axes: Axes, finding: Finding | None, at: float, half: float) -> None:
    """Floor and reference as short lines."""
    if finding is None:
        return
    for level, line, label in ((finding.floor, ":", "floor"), (finding.reference, "--", "reference")):
        if level is not None:
            axes.hlines(level.value, at - half, at + half, color=GREY, ls=line, lw=1.4, label=label)


def _raw(finding: Finding | None) -> Bars:
    if finding is None:
        return np.nan, np.nan, np.nan
    return finding.value.value, *interval(finding.value, finding.scale)


def _calibrated(finding: Finding | None) -> Bars:
    if finding is None:
        return np.nan, np.nan, np.nan
    found = calibrate(finding)
    return found.value, found.low, found.high
