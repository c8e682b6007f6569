"""The folder that `degeneracy measure ARRAYS.npz` writes.

arrays.json                the name of the file measured, its networks' cell, measures, options and versions, and the
                           SHA-256 of table and distances; written before them, with those that they replace
lock                       held while one of the files is written
degeneracy.csv             the table
distances.npz              members (labels), and each pairwise distance as MEASURE/VARIANT, (member, member)
report.html, figures/      the report
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from degeneracy.analysis import MEASURES
from degeneracy.core.errors import UserError
from degeneracy.core.files import advising
from degeneracy.core.owned_folder import MOVE_AWAY, TABLES, OwnedFolder, Sealed
from degeneracy.core.user_files import path_text, user_path
from degeneracy.core.version import __version__
from degeneracy.measuring.arrays.files import load_arrays
from degeneracy.measuring.arrays.measure import measure_arrays
from degeneracy.measuring.measure import build_measures
from degeneracy.measuring.results import Result
from degeneracy.reporting import report
from degeneracy.studies.settings import key_parts, override_all
from degeneracy.studies.study_result import StudyResult

ABOUT = Sealed(name="arrays.json", kind="arrays", format=2, holds=TABLES)


def measure_to_folder(
    source: Path,
    out: Path,
    *,
    measures: Sequence[str] = (),
    cell: str = "",
    settings: Iterable[tuple[str, Any]] = (),
    jobs: int = -1,
) -> tuple[StudyResult, Path]:
    """Measure arrays and write table, distances and report.

    Args:
        source: an .npz file as `load_arrays` reads it.
        out: a new or empty folder, or one that this function wrote.
        measures: names; all where none are given.
        cell: of the networks, in place of what the file says: a name, or `module:Name`, which is imported.
        settings: (key, value) pairs, of `options`, `measures`, `cell_options` and `fully_observed` only.
        jobs: processes, -1 for one per core.

    Returns:
        The result as that of a study with one condition, and the report's path.

    Raises:
        UserError: damaged arrays, unknown measures or options, a folder that holds something else.
    """
    source, out, name = user_path(source), user_path(out), path_text(source.stem)
    folder = OwnedFolder(root=out, index=ABOUT, ledger=ABOUT)
    _check_folder(folder)
    fields = _fields(measures, settings)
    built = build_measures(fields["measures"], fields["options"])
    arguments = load_arrays(source) | ({"cell": cell} if cell else {})
    if fields["fully_observed"] is None:
        del fields["fully_observed"]  # what the file says
    fields["cell_options"] = {**arguments.pop("cell_options", {}), **fields["cell_options"]}
    result = measure_arrays(**(arguments | fields), jobs=jobs, condition=name)
    study = StudyResult(name=name, results=(result,), provenance={"degeneracy": __version__})
    about = {
        "source": path_text(source.name),
        "cell": result.spec["cell"],
        "measures": {name: measure.model_dump(mode="json") for name, measure in built.items()},
        "degeneracy": __version__,
    }
    tables = {"degeneracy.csv": study.table.to_csv(index=False).encode(), "distances.npz": _distances(result)}
    with folder.take(lambda: _check_folder(folder), "figures"):
        with advising(MOVE_AWAY):
            folder.write_tables(about, tables)
        return study, report(study, out / "report.html")


def _fields(measures: Sequence[str], settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The arguments of `measure_arrays` that are set, beside those that the file holds."""
    fields: dict[str, Any] = {
        "measures": tuple(measures) or tuple(MEASURES),
        "options": {},
        "cell_options": {},
        "fully_observed": None,
    }
    pairs = list(settings)
    for key, _ in pairs:
        if key_parts(key)[0] not in fields:
            raise UserError(
                f"'{key}' cannot be set for arrays: only options, measures, cell_options and fully_observed can"
            )
    override_all(fields, pairs)
    if not isinstance(fields["cell_options"], Mapping):
        raise UserError(f"cell_options = {fields['cell_options']!r} is wrong: write cell_options.FIELD=VALUE")
    return fields


def _check_folder(folder: OwnedFolder) -> None:
    """Refuse a folder that holds something else, or a table that was changed since it was written."""
    with advising(MOVE_AWAY):
        if folder.begun():
            folder.check_tables()


def _distances(result: Result) -> bytes:
    """All pairwise distances in one .npz file."""
    arrays: dict[str, Any] = {name: matrix for name, matrix in result.distances.items() if "/" in name}
    file = io.BytesIO()
    np.savez_compressed(file, members=np.array(result.measured_members), **arrays)
    return file.getvalue()
