"""All numbers of a result, by name, and the first in which two results differ."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import degeneracy as dg
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.results import Result
from degeneracy.runs.loading import load_run
from degeneracy.runs.run_directory import RunDirectory
from degeneracy.studies.study import Study
from degeneracy.studies.study_result import StudyResult

Numbers = Mapping[str, Any]


def of_study(study: StudyResult) -> dict[str, Any]:
    """Every number and word of a study's result but how long training took and when and where it was run."""
    numbers = _of_table("table", study.table) | _of_table("effects", dg.effects(study))
    for k, result in enumerate(study.results):
        numbers |= {f"{k}/{name}": value for name, value in of_result(result).items()}
    return numbers


def of_result(result: Result) -> dict[str, Any]:
    """Likewise of one condition."""
    numbers: dict[str, Any] = {
        "condition": result.condition,
        "factors": dict(result.factors),
        "measured members": result.measured_members,
        "levels": dict(result.levels),
        "missing": dict(result.missing),
    }
    numbers |= _of_table("table", result.table)
    for name, measured in result.measured.items():
        numbers |= {f"{name}/distance/{key}": value for key, value in measured.distances.items()}
        numbers |= {f"{name}/array/{key}": value for key, value in measured.arrays.items()}
        for finding in measured.findings:
            numbers[f"{name}/{finding.variant}"] = asdict(finding)
    for member in result.members:
        fields = {name: value for name, value in vars(member).items() if name != "seconds"}
        numbers |= {f"member {member.label}/{name}": value for name, value in fields.items()}
    if result.examples is not None:
        numbers |= {f"examples/{name}": value for name, value in vars(result.examples).items()}
    return numbers


def of_ensemble(ensemble: Ensemble) -> dict[str, Any]:
    """The parameters of all members, how their training went, and what they are networks of."""
    numbers: dict[str, Any] = {
        "network": ensemble.network.model_dump(mode="json"),
        "seeds": ensemble.seeds,
        "training": ensemble.training and ensemble.training.model_dump(mode="json"),
        "task": ensemble.task and ensemble.task.model_dump(mode="json"),
    }
    for member in ensemble.members:
        parts = {"initial": member.initial, "final": member.final}
        parts |= {f"at {fraction}": params for fraction, params in member.checkpoints.items()}
        for part, params in parts.items():
            numbers |= {f"{member.seed}/{part}/{name}": value.numpy() for name, value in params.items()}
        numbers |= {f"{member.seed}/{name}": value for name, value in vars(member.history).items()}
        numbers[f"{member.seed}/status"] = member.status
    return numbers


def of_run(root: Path) -> dict[str, Any]:
    """Of a finished run in its folder: its results, and the parameters of all its networks."""
    numbers, run = of_study(load_run(root)), RunDirectory.at(root)
    study = Study(**run.study)
    for condition in study.conditions():
        networks = of_ensemble(run.load_ensemble(condition, study.seeds))
        numbers |= {f"{condition.label}/{name}": value for name, value in networks.items()}
    return numbers


def _of_table(name: str, table: pd.DataFrame) -> dict[str, Any]:
    return {f"{name}/{column}": list(table[column]) for column in table.columns}


def difference(expected: Numbers, got: Numbers) -> str:
    """The first name whose values differ, in words; "" where none does. NaN equals NaN."""
    if expected.keys() != got.keys():
        odd = sorted(expected.keys() ^ got.keys())
        return f"{odd[0]} is in one of two results alone"
    for name, value in expected.items():
        if not equal(value, got[name]):
            ours, theirs = _innermost(value, got[name])
            return f"{name}: {_shown(theirs)} in place of {_shown(ours)}"
    return ""


def _innermost(a: Any, b: Any) -> tuple[Any, Any]:
    """The first entries in which two values differ, as far in as they have the same shape."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape or a.dtype != b.dtype or not a.ndim:
            return (a, b) if a.ndim and a.shape == b.shape else (a.shape, b.shape)
        a, b = list(a.ravel()), list(b.ravel())
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return next(_innermost(x, y) for x, y in zip(a, b, strict=True) if not equal(x, y))
    return a, b


def equal(a: Any, b: Any) -> bool:
    """Whether two nested values are the same, arrays by dtype and every bit that a number has."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            return False
        same = a.dtype == b.dtype and a.shape == b.shape
        return same and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)
    return type(a) is type(b) and bool(a == b)


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:60] + "..."
