"""The JSON files of a run. results.json describes what the run found, and is the ledger of its tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from degeneracy.core.errors import UserError
from degeneracy.core.files import DamagedFile
from degeneracy.core.owned_folder import LACKS, NOT_WRITTEN, TABLES, OwnedFolder, Sealed

FORMAT = 5  # of all JSON files of a run, and of what its packs hold
STUDY = Sealed(name="study.json", kind="run", format=FORMAT)
RESULTS = Sealed(name="results.json", kind="results", format=FORMAT, holds=TABLES)
SPEC = Sealed(name="spec.json", kind="condition", format=FORMAT)
PROVENANCE = Sealed(name="provenance.json", kind="provenance", format=FORMAT, holds={"provenance": dict})
TELLING = ("degeneracy.csv", PROVENANCE.name)  # the files of every run that no other run has the same


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
