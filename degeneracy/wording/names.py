"""Names a reader knows, for measures, variants and units, and what there is of each level."""

from collections.abc import Mapping, Sequence
from typing import Any

from degeneracy.analysis import MEASURES, Measure, Measured
from degeneracy.analysis.measure import RESTATED, Finding, in_words
from degeneracy.core.errors import one_line
from degeneracy.measuring.results import Result, finding_of

# Units where a panel has little room; others as they are.
SHORT_UNITS = {
    "natural-log units": "ln units",
    "squared output unit": "output²",
    "output unit": "output",
    "unit of the loss": "loss",
}


def card(measure: str) -> type[Measure]:
    """The class that says all about a measure; of the user's own, which only its author knows, what all have."""
    return MEASURES.get(measure, Measure)


Cards = Mapping[str, Mapping[str, Any]]  # what the user's own measures say of themselves, by measure
NO_CARDS: Cards = {}


def own_cards(results: Sequence[Result]) -> Cards:
    """The cards of the user's own measures among those of some conditions."""
    return {name: said for result in results for name, said in result.spec.get("cards", {}).items()}


def said_of(measure: str, field: str, own: Cards = NO_CARDS) -> str:
    """A line of a measure's card, such as its meaning; "" where it says nothing."""
    return str(getattr(MEASURES[measure], field) if measure in MEASURES else own.get(measure, {}).get(field, ""))


def measure_name(measure: str, own: Cards = NO_CARDS) -> str:
    """A measure's name in words."""
    if measure in MEASURES:
        return MEASURES[measure].readable_name()
    return one_line(said_of(measure, "title", own)) or in_words(measure)


def variant_name(variant: str, measure: str = "", own: Cards = NO_CARDS) -> str:
    """A variant's name in words: as its measure calls it, or of a task's variant those words."""
    titles = own.get(measure, {}).get("variant_titles", {})
    return one_line(titles.get(variant, "")) or card(measure).variant_title(variant)


def full_name(measure: str, variant: str = "", own: Cards = NO_CARDS) -> str:
    """Measure and variant in words."""
    name = measure_name(measure, own)
    return f"{name}, {variant_name(variant, measure, own)}" if variant else name


def stacked_name(measure: str, variant: str = "") -> str:
    """Measure and variant in words, one below the other, over a narrow panel."""
    return f"{measure_name(measure)}\n{variant_name(variant, measure)}" if variant else measure_name(measure)


def split(name: str) -> tuple[str, str]:
    """A name as `Result.distances` takes it: 'dsa' or 'dsa/driven' gives (measure, variant or '')."""
    measure, _, variant = name.partition("/")
    return measure, variant


def joined(measure: str, variant: str) -> str:
    """The inverse of `split`."""
    return f"{measure}/{variant}" if variant else measure


def short_unit(unit: str) -> str:
    """A unit for a panel with little room."""
    return SHORT_UNITS.get(unit) or one_line(unit)


def with_unit(label: str, unit: str) -> str:
    """An axis label with its unit in brackets."""
    return f"{label} ({short_unit(unit)})" if unit else label


def named_finding(result: Result, name: str) -> Finding | None:
    """A result's finding by a name as `Result.distances` takes it, the measure's first one for the measure alone."""
    measure, variant = split(name)
    finding = finding_of(result, measure, variant)
    if finding is None and not variant and measure in result.measured:
        return next(iter(result.measured[measure].findings), None)
    return finding


def distance_unit(found: Measured, variant: str = "") -> str:
    """The unit of a measure's distances: that of the findings which are of them, by default of the first."""
    of = variant or next(iter(found.distances), "")
    return next((finding.unit for finding in found.findings if of in (finding.of, finding.variant)), "")


def findings_of_level(results: Sequence[Result], level: str) -> list[tuple[str, str]]:
    """(measure, variant) of a level's findings, each said once, in the order of the first condition that has them."""
    seen: dict[tuple[str, str], None] = {}
    for result in results:
        for measure, found in result.measured.items():
            if result.levels.get(measure) == level:
                variants = [finding.variant for finding in found.findings if not finding.variant.endswith(RESTATED)]
                seen.update(dict.fromkeys((measure, variant) for variant in variants))
    return list(seen)


def distances_of_level(results: Sequence[Result], level: str) -> list[str]:
    """Names ('measure/variant') of a level's pairwise distances, each said once."""
    seen: dict[str, None] = {}
    for result in results:
        for measure, found in result.measured.items():
            if result.levels.get(measure) == level:
                variants = [variant for variant in found.distances if not variant.endswith(RESTATED)]
                seen.update(dict.fromkeys(joined(measure, variant) for variant in variants))
    return list(seen)
