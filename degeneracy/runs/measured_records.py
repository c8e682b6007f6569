"""Records of what was measured of a condition: what a measure found or why it says nothing, and example trials."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis import Estimate, Finding, Measured
from degeneracy.core.files import DamagedFile
from degeneracy.core.packs import Pack
from degeneracy.core.records import Record
from degeneracy.measuring.results import Examples
from degeneracy.studies.conditions import Place

STEM, MEASURE, EXAMPLES = "measured", "measure", "example"
ESTIMATES = ("value", "floor", "reference")
FIELDS = tuple(one.name for one in fields(Finding) if one.name not in ESTIMATES)  # kept as JSON


def measured_pack(folder: Path, place: Place) -> Pack:
    """What was measured of the condition that lies in a folder."""
    return Pack(folder=folder, stem=STEM, condition=place.name, spec=place.spec, kinds=(MEASURE, EXAMPLES))


def save_measured(pack: Pack, name: str, found: Measured | str, key: str, made_from: str) -> None:
    """Append what a measure found, or why it can say nothing."""
    arrays, about = ({}, {"reason": found}) if isinstance(found, str) else _packed(found)
    pack.append(MEASURE, name, arrays, about, key=key, made_from=made_from)


def load_measured(pack: Pack, record: Record) -> Measured | str:
    """What `save_measured` kept.

    Raises:
        DamagedFile: it is not what was written.
    """
    arrays, about = pack.read(record), record.about
    try:
        return str(about["reason"]) if "reason" in about else _unpacked(arrays, about)
    except (KeyError, TypeError, IndexError) as error:
        raise DamagedFile(record.path, f"its {record.title} lacks what a measurement has ({error})") from error


def save_examples(pack: Pack, examples: Examples, key: str, made_from: str) -> None:
    """Append a few probe trials."""
    arrays = {name: value for name, value in vars(examples).items() if name != "members"}
    about = {"members": list(examples.members)}
    pack.append(EXAMPLES, "trials", arrays, about, key=key, made_from=made_from)


def load_examples(pack: Pack, record: Record) -> Examples:
    """What `save_examples` kept.

    Raises:
        DamagedFile: it is not what was written.
    """
    try:
        return Examples(**pack.read(record), members=tuple(record.about["members"]))
    except (KeyError, TypeError) as error:
        raise DamagedFile(record.path, f"its {record.title} lack what examples have ({error})") from error


def _packed(found: Measured) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Numbers (which may be NaN) as arrays, the rest as JSON."""
    arrays: dict[str, NDArray[Any]] = {}
    findings = []
    for k, finding in enumerate(found.findings):
        given = {name: getattr(finding, name) for name in ESTIMATES}
        for name, estimate in given.items():
            if estimate is not None:
                arrays[f"finding/{k}/{name}"] = np.append(estimate.value, estimate.leave_one_out)
        findings.append({name: value for name, value in asdict(finding).items() if name not in given})
    arrays |= {f"distance/{name}": value for name, value in found.distances.items()}
    # The format knows no complex128: real and imaginary parts as a last axis.
    split = [name for name, value in found.arrays.items() if np.iscomplexobj(value)]
    for name, value in found.arrays.items():
        arrays[f"array/{name}"] = np.stack([value.real, value.imag], axis=-1) if name in split else value
    arrays |= {f"diagnostic/{name}": np.array([value]) for name, value in found.diagnostics.items()}
    names = {kind: list(getattr(found, kind)) for kind in ("distances", "arrays", "diagnostics")}
    return arrays, {"findings": findings, "complex": split, **names}


def _unpacked(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Measured:
    def estimate(key: str) -> Estimate | None:
        packed = arrays.get(key)
        return None if packed is None else Estimate(value=float(packed[0]), leave_one_out=packed[1:])

    findings = []
    for k, about_finding in enumerate(about["findings"]):
        value = estimate(f"finding/{k}/value")
        assert value is not None
        floor, reference = estimate(f"finding/{k}/floor"), estimate(f"finding/{k}/reference")
        known = {name: about_finding[name] for name in FIELDS}  # none is left to a default
        findings.append(Finding(**known, value=value, floor=floor, reference=reference))
    exported = {name: arrays[f"array/{name}"] for name in about["arrays"]}
    for name in about["complex"]:
        exported[name] = exported[name][..., 0] + 1j * exported[name][..., 1]
    return Measured(
        findings=tuple(findings),
        distances={name: arrays[f"distance/{name}"] for name in about["distances"]},
        arrays=exported,
        diagnostics={name: float(arrays[f"diagnostic/{name}"][0]) for name in about["diagnostics"]},
    )
