"""Random study files: each is refused in one line before anything is written, or is a study that says what it was told.

Nothing is trained (but for a handful of tiny studies): a study that gets as far as the first network is a valid one.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np

import degeneracy as dg
from degeneracy.reporting import page
from degeneracy.runs import running

from .file_damage import Rng, damaged
from .framework import Answer, Outcome, Program, Reached, attempt, snapshot

HUGE = (10**9, 10**12, 10**18)
TEXTS = (
    "", " ", "x", "0:4", "0:", "1e-3", "nan", "inf", "true", "ünïcode 漢字 🙂", "$x_{", "a\u2028b", "a\nb",
    "\x00", "\x1b[31m", "../up", "/", "~", "CON", "a" * 300, "x" * 20_000, "-1", "<b>&amp;", "%s {0}",
    "\u202etxt",
)  # fmt: skip
NONSENSE = (
    ":", "a:", ":b", "a:b", "a:b:c", "no_such_module:Thing", "os:path", "os:no_such", "math:pi",
    "json:loads", "sys:exit", "degeneracy:Task", "degeneracy:Study", "degeneracy:__version__",
    "builtins:object", "typing:Any", "torch.nn:RNN", "..:x", "a b:c", "ü:ü", "a.b.c:d", "1:2",
    "numpy:ndarray", "collections:OrderedDict", "torch:tensor", "__main__:x",
)  # fmt: skip
NUMBERS = (
    0,
    -1,
    1,
    2,
    0.5,
    -0.5,
    1e-300,
    1e300,
    -1e300,
    math.inf,
    -math.inf,
    math.nan,
    2**63,
    10**400,
    *HUGE,
)
OTHERS = (
    True, False, [], [[]], {}, [1, "a"], [1, [2]], {"x": 1}, {"name": "x"}, [0, 0], [math.nan], [{}, {}],
)  # fmt: skip
# Sizes of arrays that no machine holds: the recurrent weights of one network would take 2 TB and more.
SIZES = {"hidden_size": 10**6, "n_steps": 10**11, "batch_size": 10**11, "n_trials": 10**11}
ODD_KEYS = (
    "",
    "zzz",
    "Name",
    "ünïcode",
    "a.b",
    "a b",
    '"',
    "$x",
    "x" * 300,
    "\u2028",
    "__class__",
    "model_config",
)


def toml(value: Any) -> str:
    """A value as TOML, tables inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = {'"': '\\"', "\\": "\\\\"}
        letters = (plain.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in value)
        return f'"{"".join(letters)}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, float):
        return str(value) if math.isfinite(value) else str(value).replace("Infinity", "inf")
    return str(value)


def study_text(fields: Mapping[str, Any]) -> str:
    """A study file."""
    return "".join(f"{toml(str(key))} = {toml(value)}\n" for key, value in fields.items())


def pick(rng: Rng, values: Any) -> Any:
    """One of the values."""
    listed = list(values)
    return listed[int(rng.integers(len(listed)))]


def valid(rng: Rng) -> dict[str, Any]:
    """The fields of a tiny study that is as it should be."""
    task = pick(rng, sorted(dg.TASKS))
    small = {"n_steps": 10} if task == "flip_flop" else {}
    cell = pick(rng, ("tanh", "gru", "lstm", "relu"))
    measures = list(rng.choice(sorted(dg.MEASURES), size=3, replace=False))
    training: dict[str, Any] = {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 5, "patience": 1}
    training |= pick(rng, ({}, {"regularisers": {"l2": 1e-4}}, {"schedule": {"name": "reduce_on_plateau"}}))
    training |= pick(rng, ({}, {"coupling": {"strength": 0.1}}, {"shared_streams": ["data"], "checkpoints": [0.5]}))
    vary = pick(rng, ({}, {"network.hidden_size": [4, 6]}, {"training.learning_rate": [1e-3, 3e-3]}))
    network = {"cell": cell} if "network.hidden_size" in vary else {"cell": cell, "hidden_size": 6}
    return {
        "name": "random",
        "description": "a study",
        "seeds": pick(rng, ("0:3", [0, 1, 2], "0:2,7")),
        "task": {"name": task, **small},
        "network": network,
        "training": training,
        "vary": vary,
        "probe": {"n_trials": 8, "seed": 1},
        "measures": [str(name) for name in measures],
        "options": {"dsa": {"rank": 2, "n_delays": 2}} if "dsa" in measures else {},
        "claims": pick(rng, ({}, {"factors": list(vary)})),
    }


def _tables(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every table of the file, the outermost first."""
    yield fields
    for value in fields.values():
        if isinstance(value, dict):
            yield from _tables(value)


def _value(rng: Rng) -> Any:
    return pick(rng, pick(rng, (NUMBERS, TEXTS, OTHERS, NONSENSE)))


def _another_value(rng: Rng, fields: dict[str, Any]) -> str:
    table = pick(rng, [table for table in _tables(fields) if table])
    key = pick(rng, table)
    table[key] = _value(rng)
    return f"{key} = {str(table[key])[:40]!r}"


def _a_field(rng: Rng, fields: dict[str, Any]) -> str:
    """A field that the file leaves to its default."""
    kinds = {"network": dg.Network, "training": dg.Training, "probe": dg.Probe}
    task = fields.get("task", {})
    if isinstance(task, dict) and isinstance(task.get("name"), str) and task["name"] in dg.TASKS:
        kinds["task"] = dg.TASKS[task["name"]]
    part = pick(rng, kinds)
    key = pick(rng, kinds[part].model_fields)
    value = _value(rng)
    if isinstance(fields.get(part), dict):
        fields[part][key] = value
    return f"{part}.{key} = {str(value)[:40]!r}"


def _a_size(rng: Rng, fields: dict[str, Any]) -> str:
    part, key = pick(
        rng,
        (("network", "hidden_size"), ("task", "n_steps"), ("training", "batch_size"), ("probe", "n_trials")),
    )
    fields[part] = (fields[part] if isinstance(fields.get(part), dict) else {}) | {key: pick(rng, HUGE)}
    return f"{part}.{key} = {fields[part][key]}"


def _an_option(rng: Rng, fields: dict[str, Any]) -> str:
    measure = pick(rng, sorted(dg.MEASURES))
    known = list(dg.MEASURES[measure].model_fields)
    key = pick(rng, known or ODD_KEYS)
    value = _value(rng)
    fields["measures"], fields["options"] = [measure], {measure: {key: value}}
    return f"options.{measure}.{key} = {str(value)[:40]!r}"


def _another_key(rng: Rng, fields: dict[str, Any]) -> str:
    table = pick(rng, [table for table in _tables(fields) if table])
    key = pick(rng, table)
    new = pick(rng, (*ODD_KEYS, key + "s", key[:-1], key.upper(), key[::-1]))
    table[new] = table.pop(key)
    return f"{key} called {new[:40]!r}"


def _no_key(rng: Rng, fields: dict[str, Any]) -> str:
    table = pick(rng, [table for table in _tables(fields) if table])
    key = pick(rng, table)
    del table[key]
    return f"without {key}"


def _levels(rng: Rng, fields: dict[str, Any]) -> str:
    part = pick(rng, ("task", "network", "training", "probe", "", "zzz", "task.x"))
    field = pick(
        rng, ("n_steps", "hidden_size", "cell", "learning_rate", "schedule", "shared_streams", "zzz", "", "name")
    )
    factor = f"{part}.{field}" if rng.random() < 0.9 else part
    levels = [_value(rng) for _ in range(int(rng.integers(4)))]
    fields["vary"] = {factor: levels if rng.random() < 0.9 else _value(rng)}
    return f"vary {factor} over {str(levels)[:40]}"


def _names(rng: Rng, fields: dict[str, Any]) -> str:
    name = pick(rng, (*NONSENSE, *TEXTS))
    where = pick(rng, ("measures", "task", "cell", "name", "claims", "description"))
    if where == "measures":
        fields["measures"] = [name] if rng.random() < 0.5 else [*dg.MEASURES, name]
    elif where == "task":
        fields["task"] = {"name": name}
    elif where == "cell":
        fields["network"] = {"cell": name}
    elif where == "claims":
        fields["claims"] = {pick(rng, ("behavior", "dynamics", "weights")): {"measure": name}}
    else:
        fields[where] = name
    return f"{where} {name[:40]!r}"


CHANGES = (_another_value, _a_field, _a_field, _a_size, _an_option, _another_key, _no_key, _levels, _names)


def _bytes(rng: Rng, text: str) -> tuple[str, bytes, bool]:
    """The file damaged or in another encoding: how, the bytes, and whether a reader may see another study in them."""
    makers = {
        "as it is": lambda: text.encode(),
        "with a BOM": lambda: text.encode("utf-8-sig"),
        "UTF-16": lambda: text.encode("utf-16"),
        "Latin-1": lambda: text.replace("a study", "ünïcode").encode("latin-1", errors="replace"),
        "CRLF": lambda: text.replace("\n", "\r\n").encode(),
        "nested": lambda: text.encode() + b"x = " + b"[" * 100_000,
        "twice": lambda: text.encode() * 2,
        "a NUL": lambda: text.encode() + b"\0",
    }
    if rng.random() < 0.4:
        how, data = damaged(rng, text.encode())
        return how, data, True
    how = pick(rng, makers)
    return how, makers[how](), how in ("nested", "twice", "a NUL", "Latin-1")


class RandomStudies(Program):
    """See the module."""

    name: ClassVar[str] = "studies"
    about: ClassVar[str] = "random study files"
    short: ClassVar[int] = 200
    long: ClassVar[int] = 2_000

    def case(self, rng: Rng) -> Outcome:
        """Change a study in one to three ways, or its file, and start it."""
        place = Path.cwd()
        fields = valid(rng)
        if rng.random() < 0.004:
            return self._trained(rng)
        in_file = rng.random() < 0.2
        changes = [] if in_file else [pick(rng, CHANGES)(rng, fields) for _ in range(int(rng.integers(1, 4)))]
        text = study_text(fields)
        how, data, other = _bytes(rng, text) if in_file else ("", text.encode(), False)
        Path("study.toml").write_bytes(data)
        overrides = [("training.clip_norm", _value(rng))] if rng.random() < 0.1 else []
        changes += [f"clip_norm = {str(value)[:40]!r}" for _, value in overrides]
        what = "; ".join([how, *changes] if how else changes)
        before = snapshot(place)
        answer = attempt(lambda: _started(overrides))
        wrong, cause = "", ""
        if answer.refusal and snapshot(place) != before:
            wrong, cause = "it was refused, and yet something was written", "written though refused"
        elif in_file and not (other or overrides or how == "UTF-16") and answer.refusal:
            wrong, cause = f"a valid study was refused: {answer.refusal}", f"a valid study refused: {how}"
        elif answer.value is not None:
            wrong, cause = _unlike(answer.value, {} if other else fields, dict(overrides))
        return answer.outcome(what, wrong=wrong, cause=cause)

    def _trained(self, rng: Rng) -> Outcome:
        """A study with an odd description, to its end and its report; figures are left out."""
        fields = valid(rng) | {"task": {"name": "flip_flop", "n_steps": 10, "threshold": 5.0}, "vary": {}}
        fields |= {"description": pick(rng, TEXTS), "claims": {}, "network": {"hidden_size": 6}}
        fields |= {"measures": ["procrustes", "ood_log_error_sd"], "options": {}}

        def whole() -> Any:
            result = dg.run_study(dg.Study(**fields), out="run", jobs=1, progress=False)
            with patch.object(page, "draw_figures", return_value=([], [])):
                return dg.report(result, "run/report.html")

        answer: Answer = attempt(whole)
        wrong = f"a valid study was refused: {answer.refusal}" if answer.refusal else ""
        return answer.outcome(f"trained: {fields['description'][:40]!r}", wrong=wrong, cause="a valid study refused")


def _started(overrides: list[tuple[str, Any]]) -> dg.Study:
    """The study, started up to its first network."""
    study = dg.load_study("study.toml", overrides)
    with patch.object(running, "train_members", side_effect=Reached), contextlib.suppress(Reached):
        dg.run_study(study, out="run", device="cpu", jobs=1, progress=False)
    return study


def _unlike(study: dg.Study, fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> tuple[str, str]:
    """In what a study that was taken is not what its file says, or could not be run; and the kind of that."""
    if dg.Study(**study.model_dump(mode="json")) != study:
        return "it is another once it is stored", "another once stored"
    spec = study.conditions()[0].spec
    for part in ("task", "network", "training"):
        table = fields.get(part, {})
        for key, value in table.items() if isinstance(table, Mapping) else ():
            now = spec[part].get(key)
            if f"{part}.{key}" not in overrides and not _says(value, now):
                return (
                    f"{part}.{key} = {value!r} was taken as {now!r}",
                    f"{part}.{key} taken as another value",
                )
    sizes = spec["task"] | spec["network"] | spec["training"] | {"n_trials": study.probe.n_trials}
    for key, most in SIZES.items():
        if sizes.get(key, 0) >= most:
            return f"{key} = {sizes[key]} was taken, which no memory holds", f"an impossible {key} taken"
    return "", ""


def _says(told: Any, now: Any) -> bool:
    """Whether a scalar of a file was taken as itself; tables and lists are the specs' own."""
    if isinstance(told, Mapping | list) or isinstance(now, Mapping | list):
        return True
    if isinstance(told, str) and not isinstance(now, str):
        with contextlib.suppress(ValueError):
            return bool(np.isclose(float(told), float(now)))
        return told.lower() in ("true", "yes", "on", "false", "no", "off") and isinstance(now, bool)
    return bool(told == now)
