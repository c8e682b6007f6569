"""The JSON files of a run. results.json describes what the run found, and is the ledger of its tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile
from degeneracy.core.owned_folder import LACKS, NOT_WRITTEN, TABLES, OwnedFolder, Sealed
from degeneracy.ensembles.ensemble_files import RUN_FORMAT

STUDY = Sealed(name="study.json", kind="run", format=RUN_FORMAT)
RESULTS = Sealed(name="results.json", kind="results", format=RUN_FORMAT, holds=TABLES)
PROVENANCE = Sealed(name="provenance.json", kind="provenance", format=RUN_FORMAT, holds={"provenance": dict})
TELLING = ("degeneracy.csv", PROVENANCE.name)  # the files of every run that no other run has the same


def repair_advice(root: Path) -> str:
    """What to do about a damaged file of a run."""
    return f"'degeneracy run STUDY --out {root} --repair' sets it aside and makes it again"


def run_folder(root: Path) -> OwnedFolder:
    """The folder of a run."""
    return OwnedFolder(root=root, index=STUDY, ledger=RESULTS, telling=TELLING)


def members_of_results(root: Path) -> dict[str, dict[str, str]]:
    """The fingerprints of the members that the run's results were made of, by condition and seed."""
    conditions = run_folder(root).read_ledger().get("conditions", [])
    try:
        return {condition["name"]: {str(seed): made for seed, made in condition["members"]} for condition in conditions}
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFile(root / RESULTS.name, f"{LACKS} ({error})") from error


def check_finished(folder: OwnedFolder, results: Mapping[str, Any]) -> None:
    """Refuse a run whose tables are not those of results.json.

    Raises:
        DamagedFile: a table is not what the run has written.
        UserError: the tables were not written to the end.
    """
    for name, written in results["tables"].items():
        digest = folder.digest(name)
        if digest == written:
            continue
        if digest in ("", results["replaced"].get(name)):
            raise UserError(f"{folder.root}: the run is not finished ({name} is not written); start it again to go on")
        raise DamagedFile(folder.root / name, NOT_WRITTEN)
