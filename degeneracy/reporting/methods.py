"""How a report's numbers came about: settings, variants, what each measure says, how its fits went, provenance."""

import json
from collections.abc import Mapping, Sequence
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


def pilot(study: StudyResult) -> str:
    """Where the rank and delays of linear models came from, where a pilot chose them; else ""."""
    if not study.pilot:
        return ""
    names = _listed([measure_name(name) for name in study.pilot["measures"]])
    seen = [len(seeds) for seeds in study.pilot["networks"].values()]
    of_each = f"{seen[0]}" if len(set(seen)) == 1 else f"{min(seen)} to {max(seen)}"
    conditions = "each condition" if len(seen) > 1 else "the condition"
    how = (
        f"Rank and number of delays of {names} came from a pilot, before any of them was taken. It looked at the "
        f"networks that converged first ({of_each} of {conditions}, {sum(seen)} in all), each by itself, and at the "
        "share of the next step that a linear model leaves unexplained on trials held out. Of what it tried it chose "
        "once, the same for all conditions: the fewest delays and then the least rank whose share, mean over "
        "conditions, is within a tenth of the least."
    )
    choices = study.pilot["choices"]
    return " ".join([how, *(_choice(one, alone=len(choices) == 1) for one in choices)])


def _choice(choice: Mapping[str, Any], *, alone: bool) -> str:
    """What a pilot chose of one kind of model, and among what."""
    tried = choice["tried"]
    ranks, delays = (_listed(sorted({one[name] for one in tried})) for name in ("rank", "n_delays"))
    least = min(tried, key=lambda one: float(one["error"]))
    said = f"{_form(choice)}, which leaves {numbers.number(choice['error'])}"
    if least["error"] != choice["error"]:
        said += f" (the least, with {_form(least)}: {numbers.number(least['error'])})"
    inputs, centred = "" if choice["inputs"] else "out", "" if choice["centre"] else "not "
    of = "It chose " if alone else f"Of models with{inputs} inputs, {centred}centred: "
    return f"{of}{said}; it tried ranks of {ranks} with {delays} delays."


def _form(form: Mapping[str, Any]) -> str:
    return f"rank {form['rank']} with {form['n_delays']} {'delay' if form['n_delays'] == 1 else 'delays'}"


def _listed(things: Sequence[Any]) -> str:
    """Several things in words: "1, 3 and 5"."""
    *first, last = map(str, things)
    return f"{', '.join(first)} and {last}" if first else last


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
