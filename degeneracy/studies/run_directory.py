"""A run directory: where a study's members, measurements and tables lie.

study.json                      the study, its seeds and the names of its conditions
provenance.json                 versions, device, numeric path, times
degeneracy.csv                  the table
effects.csv, convergence.csv    what the factors do, and who converged, where something is varied
report.html, figures/           the report
lock                            held while one of the files above is written
conditions/NAME-HASH/
    spec.json                   the resolved task, network and training
    lock                        held by the process at work on the condition
    members/seed-000000.safetensors ...
    measured/dsa.safetensors ...   findings, distances, fixed points
    examples.safetensors        a few probe trials
"""

import contextlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis import Estimate, Finding, Measured
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.ensembles.member_files import load_member, member_file, save_member
from degeneracy.errors import UserError
from degeneracy.files import lock, read_arrays, read_json, write_arrays, write_bytes, write_json
from degeneracy.measuring.results import Examples
from degeneracy.studies.claims import Claims
from degeneracy.studies.conditions import Condition
from degeneracy.studies.settings import dotted
from degeneracy.studies.study_result import StudyResult
from degeneracy.training import Member
from degeneracy.user_files import user_path
from degeneracy.version import __version__

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """The files of one run."""

    root: Path
    study: Mapping[str, Any]

    @classmethod
    def open(cls, root: Path, study: Mapping[str, Any], conditions: Sequence[Condition]) -> "RunDirectory":
        """Start a run in a new or empty folder, or go on with the same study's run.

        Raises:
            UserError: the folder holds something else, or conditions that the study does not have.
        """
        names = [condition.name for condition in conditions]
        _check_folder(root, conditions)
        with lock(root / "lock", wait=True):
            _check_folder(root, conditions)  # again: another process may have started a run here since
            _clean(root)
            claims = _claims_at_training(root, study)
            index = {"format": FORMAT, "study": study, "conditions": names, "claims_at_training": claims}
            write_json(root / "study.json", index)
        return cls(root=root, study=study)

    @classmethod
    def at(cls, root: Path) -> "RunDirectory":
        """The run in a folder.

        Raises:
            UserError: the folder is no run directory.
        """
        if not (root / "study.json").is_file():
            raise UserError(f"{root} is no run directory (it has no study.json)")
        found = read_json(root / "study.json")
        if not isinstance(found, Mapping) or found.get("format") != FORMAT:
            raise UserError(
                f"{root} is no run directory of this version (study.json has not format {FORMAT})"
            )
        return cls(root=root, study=found["study"])

    @property
    def study_file(self) -> dict[str, Any]:
        """What study.json holds."""
        found: dict[str, Any] = read_json(self.root / "study.json")
        return found

    @property
    def provenance(self) -> dict[str, Any]:
        """What provenance.json holds; nothing before the run is finished."""
        path = self.root / "provenance.json"
        return read_json(path) if path.exists() else {}

    def _folder(self, condition: Condition) -> Path:
        return self.root / "conditions" / condition.name

    def _member(self, condition: Condition, seed: int) -> Path:
        return self._folder(condition) / "members" / member_file(seed)

    def _measured(self, condition: Condition, name: str) -> Path:
        return self._folder(condition) / "measured" / user_path(f"{name}.safetensors")

    @contextlib.contextmanager
    def hold(self, condition: Condition, *, wait: bool) -> Iterator[bool]:
        """Work on a condition alone; yields False where another process holds it and not `wait`."""
        folder = self._folder(condition)
        with lock(folder / "lock", wait=wait) as held:
            if held:
                for inner in (folder, folder / "members", folder / "measured"):
                    _clean(inner)
                if not (folder / "spec.json").exists():
                    write_json(folder / "spec.json", condition.spec)
            yield held

    def missing_seeds(self, condition: Condition, seeds: Sequence[int]) -> list[int]:
        """The seeds whose members are not trained yet."""
        return [seed for seed in seeds if not self._member(condition, seed).exists()]

    def save_member(self, condition: Condition, member: Member) -> None:
        """Keep one member."""
        save_member(self._member(condition, member.seed), member, condition.network.build_cell())

    def load_ensemble(self, condition: Condition, seeds: Sequence[int]) -> Ensemble:
        """The members of a condition in the order of `seeds`."""
        return Ensemble(
            network=condition.network,
            task=condition.task,
            training=condition.training,
            members=tuple(load_member(self._member(condition, seed)) for seed in seeds),
        )

    def has_measured(self, condition: Condition, name: str, key: str) -> bool:
        """Whether a measure was taken of the same members with the same options."""
        path = self._measured(condition, name)
        return path.exists() and read_arrays(path)[1]["key"] == key

    def save_measured(self, condition: Condition, name: str, found: Measured | str, key: str) -> None:
        """Keep what a measure found, or why it can say nothing."""
        arrays, metadata = ({}, {"reason": found}) if isinstance(found, str) else _pack(found)
        write_arrays(self._measured(condition, name), arrays, metadata | {"key": key})

    def load_measured(self, condition: Condition, name: str) -> Measured | str:
        """What `save_measured` kept."""
        arrays, metadata = read_arrays(self._measured(condition, name))
        return metadata["reason"] if "reason" in metadata else _unpack(arrays, metadata)

    def has_examples(self, condition: Condition) -> bool:
        """Whether example trials are kept."""
        return (self._folder(condition) / "examples.safetensors").exists()

    def save_examples(self, condition: Condition, examples: Examples) -> None:
        """Keep a few probe trials."""
        arrays = {name: value for name, value in vars(examples).items() if name != "members"}
        write_arrays(
            self._folder(condition) / "examples.safetensors", arrays, {"members": list(examples.members)}
        )

    def load_examples(self, condition: Condition) -> Examples:
        """What `save_examples` kept."""
        arrays, metadata = read_arrays(self._folder(condition) / "examples.safetensors")
        return Examples(**arrays, members=tuple(metadata["members"]))

    def finish(self, result: StudyResult, *, seconds: float) -> StudyResult:
        """Write the table and where it came from; returns the result with its provenance."""
        provenance = _provenance(self, seconds)
        result = replace(result, provenance=provenance)
        with lock(self.root / "lock", wait=True):
            write_bytes(self.root / "degeneracy.csv", result.table.to_csv(index=False).encode())
            if result.factors:
                for name, table in (("effects", result.effects()), ("convergence", result.convergence())):
                    write_bytes(self.root / f"{name}.csv", table.to_csv(index=False).encode())
            write_json(self.root / "provenance.json", provenance)
        return result

    def report(self, result: StudyResult, *, jobs: int = 1) -> Path:
        """Write report.html and its figures, drawn by `jobs` processes; returns the report's path."""
        with lock(self.root / "lock", wait=True):
            _clean(self.root / "figures")
            return result.report(self.root / "report.html", jobs=jobs)


def _check_folder(root: Path, conditions: Sequence[Condition]) -> None:
    """Refuse a folder that holds anything but a run of these conditions or of some of them."""
    if root.is_dir() and not (root / "study.json").exists():
        # What a run leaves that was killed before its first file was there.
        strangers = [p for p in root.iterdir() if p.name != "lock" and not _is_part(p, "study.json")]
        if not strangers:
            return
    if root.exists():
        known = RunDirectory.at(root).study_file["conditions"]
        names = {condition.name for condition in conditions}
        lost = [name for name in known if name not in names]
        if lost:
            raise UserError(
                f"{root} holds a run with other settings (condition {lost[0]} is not in this study"
                f"{_what_differs(root / 'conditions' / lost[0], conditions)}); choose another folder with --out"
            )


def _what_differs(folder: Path, conditions: Sequence[Condition]) -> str:
    """In words, the settings of a stored condition that the most similar one of the study has not."""
    if not (folder / "spec.json").exists():
        return ""
    there = dotted(read_json(folder / "spec.json"))
    here = [dotted(condition.spec) for condition in conditions]
    keys = min(([k for k in {**there, **one} if there.get(k) != one.get(k)] for one in here), key=len)
    return f": other {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}" if keys else ""


def _claims_at_training(root: Path, study: Mapping[str, Any]) -> Any:
    """The claims that were written when the first network was trained: those of now where none is yet."""
    if not any(root.glob("conditions/*/members/seed-*.safetensors")):
        return study["claims"]
    before = read_json(root / "study.json")
    # Runs of earlier versions knew no claims, which is to have made none.
    return before.get("claims_at_training", Claims().model_dump(mode="json"))


def _is_part(path: Path, name: str) -> bool:
    return path.name.startswith(f".{name}.") and path.suffix == ".part"


def _clean(folder: Path) -> None:
    """Remove what a killed process was writing; whoever calls this holds the folder's lock."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _provenance(run: RunDirectory, seconds: float) -> dict[str, Any]:
    """Versions, devices, numeric paths and times; no host name and no path."""
    members = [
        read_arrays(path)[1]["provenance"]
        for path in sorted(run.root.glob("conditions/*/members/*.safetensors"))
    ]
    packages = ("torch", "numpy", "scipy", "scikit-learn")
    return {
        "degeneracy": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": f"{platform.system()} {platform.machine()}",
        "devices": sorted({member["device"] for member in members}),
        "numeric_paths": sorted({member["path"] for member in members}),
        "seeds": list(run.study["seeds"]),
        "claims_changed_since_training": run.study["claims"] != run.study_file["claims_at_training"],
        "training_seconds_of_all_members": round(sum(member["seconds"] for member in members), 1),
        "wall_seconds_of_last_start": round(seconds, 1),
    }


def _pack(found: Measured) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Numbers (which may be NaN) as arrays, the rest as JSON."""
    arrays: dict[str, NDArray[Any]] = {}
    findings = []
    for k, finding in enumerate(found.findings):
        given = {name: getattr(finding, name) for name in ("value", "floor", "reference")}
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


def _unpack(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> Measured:
    def estimate(key: str) -> Estimate | None:
        packed = arrays.get(key)
        return None if packed is None else Estimate(value=float(packed[0]), leave_one_out=packed[1:])

    findings = []
    for k, fields in enumerate(metadata["findings"]):
        value = estimate(f"finding/{k}/value")
        assert value is not None
        floor, reference = estimate(f"finding/{k}/floor"), estimate(f"finding/{k}/reference")
        findings.append(Finding(**fields, value=value, floor=floor, reference=reference))
    exported = {name: arrays[f"array/{name}"] for name in metadata["arrays"]}
    for name in metadata["complex"]:
        exported[name] = exported[name][..., 0] + 1j * exported[name][..., 1]
    return Measured(
        findings=tuple(findings),
        distances={name: arrays[f"distance/{name}"] for name in metadata["distances"]},
        arrays=exported,
        diagnostics={name: float(arrays[f"diagnostic/{name}"][0]) for name in metadata["diagnostics"]},
    )
