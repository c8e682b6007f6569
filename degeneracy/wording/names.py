"""Names a reader knows, for measures, variants and levels, and which measure speaks first at each level."""

from collections.abc import Sequence

from degeneracy.analysis.measure import Finding, Measured
from degeneracy.core.errors import one_line
from degeneracy.measuring.results import Result

LEVELS = ("behavior", "dynamics", "weights", "learning")

MEASURE_NAMES = {
    "dsa": "DSA",
    "procrustes": "Procrustes",
    "svcca": "SVCCA",
    "cka": "CKA",
    "pif": "PIF",
    "signed_pif": "Signed PIF",
    "ood_log_error_sd": "SD of log error",
    "ood_error_sd": "SD of error",
    "ood_error_mean": "Mean error",
    "ood_error_cv": "CV of error",
    "ood_error_iqr": "IQR/median of error",
    "output_distance": "Output distance",
    "valid_prediction_time": "Valid prediction time",
    "fixed_points": "Fixed points",
    "orthogonal": "Orthogonal distance",
    "effective_rank": "Effective rank",
    "participation_ratio": "Participation ratio",
    "weight_change": "Weight change",
    "representation_alignment": "Representation alignment",
    "kernel_alignment": "Kernel alignment",
}

VARIANT_NAMES = {
    "in_distribution": "in distribution",
    "length_2x": "length ×2",
    "delay_2x": "delay ×2",
    "n_stable": "number stable",
    "n_total": "number",
    "n_cycles": "number of cycles",
    "n_stable_sd": "number stable, SD",
    "n_total_sd": "number, SD",
    "census_distance": "census",
    "spectrum_distance": "spectrum",
    "recurrent/untrained": "recurrent, against untrained",
    "joint/untrained": "joint, against untrained",
}

# Units where a panel has little room; others as they are.
SHORT_UNITS = {"natural-log units": "ln units", "squared output unit": "output²", "output unit": "output"}

# In degeneracy.csv, but neither drawn nor printed: means, and other scalings of what a level's primary measure shows.
IN_CSV_ONLY = ("ood_error_mean", "ood_error_cv", "ood_error_iqr")

# The measures by which a level is summarised, the first that was measured, with the variants tried in order.
PRIMARY: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "behavior": (
        ("ood_log_error_sd", ("length_2x", "delay_2x")),
        ("output_distance", ("length_2x", "delay_2x")),
    ),
    "dynamics": (("dsa", ("driven",)), ("procrustes", ())),
    "weights": (("signed_pif", ("recurrent",)), ("pif", ("recurrent",))),
    "learning": (("weight_change", ("absolute",)),),
}


def measure_name(measure: str) -> str:
    """A measure's name in words."""
    return MEASURE_NAMES.get(measure) or one_line(measure.replace("_", " "))


def variant_name(variant: str) -> str:
    """A variant's name in words."""
    return VARIANT_NAMES.get(variant) or one_line(variant.replace("_", " "))


def full_name(measure: str, variant: str = "") -> str:
    """Measure and variant in words."""
    return f"{measure_name(measure)}, {variant_name(variant)}" if variant else measure_name(measure)


def stacked_name(measure: str, variant: str = "") -> str:
    """Measure and variant in words, one below the other, over a narrow panel."""
    return f"{measure_name(measure)}\n{variant_name(variant)}" if variant else measure_name(measure)


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


def finding_of(result: Result, measure: str, variant: str = "") -> Finding | None:
    """A result's finding by measure and variant (the first one for ''); None where it has none."""
    found = result.measured.get(measure)
    if found is None:
        return None
    for finding in found.findings:
        if variant in ("", finding.variant):
            return finding
    return None


def distance_unit(found: Measured) -> str:
    """The unit of a measure's distances: that of its findings."""
    return next((finding.unit for finding in found.findings if finding.unit), "")


def findings_of_level(results: Sequence[Result], level: str) -> list[tuple[str, str]]:
    """(measure, variant) of all findings of a level, in the order of the first condition that has them."""
    seen: dict[tuple[str, str], None] = {}
    for result in results:
        for measure, found in result.measured.items():
            if result.levels.get(measure) == level:
                seen.update(dict.fromkeys((measure, finding.variant) for finding in found.findings))
    return list(seen)


def distances_of_level(results: Sequence[Result], level: str) -> list[str]:
    """Names ('measure/variant') of all pairwise distances of a level."""
    seen: dict[str, None] = {}
    for result in results:
        for measure, found in result.measured.items():
            if result.levels.get(measure) == level:
                seen.update(dict.fromkeys(joined(measure, variant) for variant in found.distances))
    return list(seen)


def primary(results: Sequence[Result], level: str) -> tuple[str, str] | None:
    """The measure and variant that stand for a level: `PRIMARY`'s first that was measured, else the first of all.

    Out-of-distribution errors are preferred to those on the training distribution.
    """
    there = findings_of_level(results, level)
    for measure, wanted in PRIMARY.get(level, ()):
        variants = [variant for name, variant in there if name == measure]
        preferred = [v for v in wanted if v in variants] + [v for v in variants if v != "in_distribution"]
        if variants:
            return measure, (preferred or variants)[0]
    return there[0] if there else None


def primaries(results: Sequence[Result]) -> dict[str, tuple[str, str]]:
    """The primary measure and variant of each level that has one."""
    chosen = {level: primary(results, level) for level in LEVELS}
    return {level: name for level, name in chosen.items() if name is not None}
