"""How a report's numbers came about: settings, variants, what each measure says, how its fits went, provenance."""

import json
from collections.abc import Mapping
from typing import Any

from degeneracy.analysis import MEASURES, Measure
from degeneracy.studies.settings import dotted
from degeneracy.studies.study_result import StudyResult
from degeneracy.tasks import TASKS
from degeneracy.wording import numbers
from degeneracy.wording.conditions import condition_name
from degeneracy.wording.names import measure_name, own_cards, said_of, variant_name


def settings(study: StudyResult) -> dict[str, Any]:
    """The resolved specs: what is the same in all conditions, and what differs, by condition."""
    flat = [_flat(result.spec) for result in study.results]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    same = [(key, flat[0][key]) for key in keys if key in flat[0] and all(f.get(key) == flat[0][key] for f in flat)]
    differing = [key for key in keys if key not in dict(same)]
    return {
        "task": [TASKS[name] for name in _tasks(study) if name in TASKS],
        "same": same,
        "differing": [
            (condition_name(result), [(key, one.get(key, numbers.DASH)) for key in differing])
            for result, one in zip(study.results, flat, strict=True)
        ]
        if differing
        else [],
    }


def variants(study: StudyResult) -> list[tuple[str, str]]:
    """The task variants and what they change, where all conditions say the same of one."""
    seen: dict[str, set[str]] = {}
    for result in study.results:
        described = result.spec.get("variants")
        for name, words in described.items() if isinstance(described, Mapping) else ():
            seen.setdefault(str(name), set()).add(str(words))
    return [(variant_name(name), " / ".join(sorted(words))) for name, words in seen.items()]


def _tasks(study: StudyResult) -> list[str]:
    """The names of the tasks."""
    specs = [result.spec.get("task") for result in study.results]
    return list(dict.fromkeys(str(task.get("name")) for task in specs if isinstance(task, Mapping)))


def methods(study: StudyResult) -> list[dict[str, str]]:
    """What each measure says, how it was taken, what 0 means, its floor, reference and source."""
    names = dict.fromkeys(name for result in study.results for name in (*result.measured, *result.missing))
    rows, own = [], own_cards(study.results)
    for name in names:
        kind = MEASURES.get(name)
        lines = {field: said_of(name, field, own) for field in ("meaning", "zero", "floor", "reference", "source")}
        lines["meaning"] = lines["meaning"] or "a measure of this study's own"
        how = _sentences(study, kind) if kind else _own_sentences(study, name)
        rows.append({"measure": measure_name(name, own), "methods": " / ".join(how), **lines})
    return rows


def _own_sentences(study: StudyResult, name: str) -> list[str]:
    """The same of a measure of the user's own, whose card is kept with the options in it."""
    cards = [result.spec.get("cards", {}).get(name, {}) for result in study.results]
    return list(dict.fromkeys(said["methods"] for said in cards if said.get("methods")))


def _sentences(study: StudyResult, kind: type[Measure]) -> list[str]:
    """The sentence of a measure's card with the options it was taken by; several where conditions differ in them."""
    options = [result.spec.get("measures", {}).get(kind.name, {}) for result in study.results]
    return list(dict.fromkeys(kind(**given).methods_sentence() for given in options))


def diagnostics(study: StudyResult) -> list[tuple[str, str, str, str]]:
    """How fits and searches went: measure, what, condition, number."""
    return [
        (measure_name(name), key.replace("_", " "), condition_name(result), numbers.number(float(value)))
        for result in study.results
        for name, found in result.measured.items()
        for key, value in found.diagnostics.items()
    ]


def provenance(study: StudyResult) -> list[tuple[str, str]]:
    """Where the numbers come from: the study's entries, then those of the conditions that differ."""
    rows = list(_flat(study.provenance).items())
    each = [_flat(result.provenance) for result in study.results]
    for key in dict.fromkeys(key for one in each for key in one):
        values = [one.get(key, numbers.DASH) for one in each]
        if len(set(values)) == 1:
            rows.append((key, values[0]))
        else:
            names = [condition_name(result) for result in study.results]
            rows.append((key, "; ".join(f"{n}: {v}" for n, v in zip(names, values, strict=True))))
    return list(dict.fromkeys(rows))


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested mappings as dotted keys; everything else as text."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in dotted(values).items()
    }
