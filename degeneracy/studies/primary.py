"""Which measure and variant stand for each level of a study: the one definition of "primary"."""

from collections.abc import Sequence

from degeneracy.analysis import MEASURES, Measure, primary_measures
from degeneracy.analysis.measure import LEVELS
from degeneracy.measuring.results import Result
from degeneracy.studies.study_result import StudyResult


def primaries(study: StudyResult | Result, *, measured: bool = False) -> dict[str, tuple[str, str]]:
    """The measure and variant that stand for each level, of the levels that have any.

    A level is judged by the measure of its claim (`claims`) where the study asked for that, whether it has a number
    or not. Where the study did not, the level is shown by the first of the primary measures that was measured, else by
    the first of all.

    Args:
        study: a study, or one condition, which claims nothing.
        measured: take the next measure of a level where the one that it is judged by has no finding in any condition,
            so that there is something to draw.
    """
    chosen = {level: _primary(study, level, measured=measured) for level in LEVELS}
    return {level: name for level, name in chosen.items() if name is not None}


def _primary(study: StudyResult | Result, level: str, *, measured: bool) -> tuple[str, str] | None:
    results = study.results if isinstance(study, StudyResult) else (study,)
    claim = study.claims.by_level.get(level) if isinstance(study, StudyResult) else None
    variants = _variants(results, level)
    asked = claim is not None and any(result.levels.get(claim.measure) == level for result in results)
    if claim is not None and asked and (claim.measure in variants or not measured):
        return claim.measure, claim.chosen_variant(variants.get(claim.measure, ()))
    preferred = [kind.name for kind in primary_measures(level) if kind.name in variants]
    measure = next(iter([*preferred, *variants]), "")
    return (measure, MEASURES.get(measure, Measure).chosen_variant(variants[measure])) if measure else None


def _variants(results: Sequence[Result], level: str) -> dict[str, dict[str, None]]:
    """The variants of each measure of a level that has findings, in the order of the first condition that has them."""
    variants: dict[str, dict[str, None]] = {}
    for result in results:
        for measure, found in result.measured.items():
            if found.findings and result.levels.get(measure) == level:
                variants.setdefault(measure, {}).update({finding.variant: None for finding in found.findings})
    return variants
