"""The examples run as they stand, each within a file of its own."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


# What CONTRIBUTING.md sends a new contributor to. Parametrised tests of no examples would pass.
WANTED = {"own_cell", "own_loss", "own_measure", "own_penalty", "own_task"}
WHOLE_PROGRAMS = {"changed_networks", "neurogym_task", "other_frameworks", "pytorch_modules"}


def test_the_examples_are_there_and_named_where_contributors_look() -> None:
    assert {path.stem for path in EXAMPLES} >= WANTED | WHOLE_PROGRAMS
    contributing = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`examples/(\w+)\.py`", contributing)) == {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    if path.stem == "neurogym_task" and importlib.util.find_spec("neurogym") is None:
        pytest.skip("neurogym is not installed; it is run in an environment of its own")
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if path.stem == "pytorch_modules":  # to the speed at which the search calls a point fixed
        [miss] = re.findall(r"roots of the equations to within (\S+)", done.stdout)
        assert float(miss) < 1e-8
    if path.stem == "other_frameworks":  # a few roundings of single precision through 12 steps
        differences = [float(said) for said in re.findall(r"differ by up to (\S+)", done.stdout)]
        assert len(differences) == 4
        assert max(differences) < 1e-5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    """One thing of one's own, or a whole program of somebody who comes with networks, animals or tasks."""
    whole = path.stem in WHOLE_PROGRAMS
    assert len(path.read_text(encoding="utf-8").splitlines()) < (140 if whole else 60)


def test_the_measure_of_ones_own_has_a_floor_and_a_reference(tmp_path: Path) -> None:
    [path] = [path for path in EXAMPLES if path.stem == "own_measure"]
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    rows = [line.split() for line in done.stdout.splitlines() if line.strip().startswith("activity_difference")]
    assert len(rows) == 2
    for _, value, floor, reference, calibrated, *note in rows:
        assert 0 < float(floor) < float(reference)
        assert float(calibrated) == pytest.approx(
            (float(value) - float(floor)) / (float(reference) - float(floor)), rel=1e-3
        )
        assert not note
