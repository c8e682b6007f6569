"""Results as xarray has them: arrays with named axes, for those who go on from there."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from degeneracy.analysis import MEASURES, Measure
from degeneracy.core.errors import UserError

NUMBERS = {
    "value": "what was measured",
    "ci_low": "lower end of the 95% interval over networks",
    "ci_high": "upper end of the 95% interval over networks",
    "floor": "what networks score against themselves",
    "reference": "what unrelated networks score",
    "calibrated": "(value - floor) / (reference - floor)",
    "calibrated_low": "lower end of the calibrated value's 95% interval",
    "calibrated_high": "upper end of the calibrated value's 95% interval",
}


def _xarray() -> Any:
    try:
        return importlib.import_module("xarray")
    except ImportError:
        raise UserError("to_xarray needs xarray: pip install xarray") from None


def dataset(result: Any) -> Any:
    """A `Result` as an `xarray.Dataset`; see `Result.to_xarray`."""
    xarray = _xarray()
    table = result.table
    names = [f"{m}/{v}" if v else m for m, v in zip(table["measure"], table["variant"], strict=True)]
    said = ("level", "measure", "variant", "note")
    coords: dict[str, Any] = {name: ("finding", table[name].astype(str)) for name in said}
    coords |= {"finding": names, "unit": ("finding", _units(result, list(table["measure"]), list(table["variant"])))}
    variables: dict[str, Any] = {
        name: ("finding", table[name].astype(float), {"long_name": text}) for name, text in NUMBERS.items()
    }
    distances = {name: matrix for name, matrix in result.distances.items() if "/" in name}
    if distances:
        members = list(result.measured_members)
        coords |= {"member": members, "other_member": members, "distance_of": list(distances)}
        of = ("distance_of", "member", "other_member")
        variables["distance"] = (of, np.stack(list(distances.values())), {"long_name": "distance of two networks"})
    about = {"condition": result.condition, "n_members": result.n_members, "n_converged": result.n_converged}
    return xarray.Dataset(variables, coords=coords, attrs=about | {k: str(v) for k, v in result.factors.items()})


def _units(result: Any, measures: Sequence[str], variants: Sequence[str]) -> list[str]:
    """The unit of each row of the table."""
    own = {
        (name, finding.variant): finding.unit for name, found in result.measured.items() for finding in found.findings
    }
    return [own.get((m, v)) or MEASURES.get(m, Measure).unit for m, v in zip(measures, variants, strict=True)]


def datasets(results: Sequence[Any]) -> Any:
    """The `Result`s of several conditions as one `xarray.Dataset`; see `StudyResult.to_xarray`."""
    xarray = _xarray()
    apart = []
    for result in results:
        one = dataset(result)
        counts = {name: ("condition", [one.attrs[name]]) for name in ("n_members", "n_converged")}
        factors = {name: ("condition", [value]) for name, value in result.factors.items()}
        notes = {"notes": ("finding", one["note"].values)}
        one = one.drop_vars("note").assign(notes).expand_dims(condition=[result.condition])
        apart.append(one.assign_coords({**counts, **factors}).drop_attrs(deep=False))
    joined = xarray.concat(apart, dim="condition", join="outer", coords="different", compat="equals")
    return joined.assign(notes=joined["notes"].fillna(""))
