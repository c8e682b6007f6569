"""The folder of measured arrays: what somebody has written into it is refused before measuring and before writing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degeneracy.core.files import DamagedFile, read_json
from degeneracy.runs import arrays_folder
from degeneracy.runs.arrays_folder import measure_to_folder

STATES = np.random.default_rng(0).normal(size=(3, 8, 6, 5))
SAYS = "it is not what degeneracy has written; move it away, or choose another folder with --out"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    np.savez(tmp_path / "a.npz", states=STATES)
    monkeypatch.setattr(arrays_folder, "report", lambda _, path: path)  # the report has its own tests
    return tmp_path / "a.npz"


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("name", ["degeneracy.csv", "distances.npz"])
def test_an_altered_table_is_refused_before_measuring(name: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = source.parent / "out"
    measure_to_folder(source, out, measures=["cka"], jobs=1)
    (out / name).write_bytes(b"mine")
    before = contents(out)
    monkeypatch.setattr(arrays_folder, "measure_arrays", lambda **_: pytest.fail("measured"))
    with pytest.raises(DamagedFile, match=f"{name}: {SAYS}"):
        measure_to_folder(source, out, measures=["procrustes"], jobs=1)
    assert contents(out) == before


@pytest.mark.parametrize("name", ["degeneracy.csv", "distances.npz"])
@pytest.mark.parametrize("begun", [True, False])
def test_what_is_altered_while_it_measures_is_refused_before_writing(
    begun: bool, name: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = source.parent / "out"
    if begun:
        measure_to_folder(source, out, measures=["cka"], jobs=1)
    real = arrays_folder.measure_arrays

    def slow(**given: Any) -> Any:
        out.mkdir(exist_ok=True)
        (out / name).write_bytes(b"mine")
        return real(**given)

    monkeypatch.setattr(arrays_folder, "measure_arrays", slow)
    before = set(contents(out)) if begun else set()
    says = f"{name}: {SAYS}" if begun else r"holds something else \(it has no arrays.json\)"
    with pytest.raises(Exception, match=says):
        measure_to_folder(source, out, measures=["procrustes"], jobs=1)
    assert (out / name).read_bytes() == b"mine"
    assert set(contents(out)) == before | {name}


def test_a_kill_before_the_first_file_was_there_is_gone_on_from(source: Path) -> None:
    out = source.parent / "out"
    out.mkdir()
    (out / ".arrays.json.a1b2c3_4.part").touch()
    measure_to_folder(source, out, measures=["cka"], jobs=1)
    assert sorted(contents(out)) == ["arrays.json", "degeneracy.csv", "distances.npz", "lock"]
    assert read_json(out / "arrays.json")["replaced"] == {}


def test_measures_of_arrays_may_be_set(source: Path) -> None:
    study, _ = measure_to_folder(source, source.parent / "out", settings=[("measures", ["cka"])], jobs=1)
    assert list(study.results[0].levels) == ["cka"]
