"""A stored measurement is used again for the same members, probe and options, and for nothing else."""

from pathlib import Path
from typing import Any

import pytest

import degeneracy as dg
from degeneracy.studies import keys
from degeneracy.studies.study import Study

TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1, 2],
    "task": {"name": "flip_flop", "channels": 1, "n_steps": 10, "threshold": 2.0},  # converges at once
    "network": {"hidden_size": 6},
    "training": {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 5, "patience": 1},
    "probe": {"n_trials": 8},
    "measures": ["procrustes", "weight_change"],
}


def tiny(**changes: Any) -> Study:
    return Study(**{**TINY, **changes})


def table(out: Path, **changes: Any) -> bytes:
    dg.run_study(tiny(**changes), out=out, device="cpu", jobs=1, progress=False)
    return (out / "degeneracy.csv").read_bytes()


CHANGES: list[dict[str, Any]] = [
    {"seeds": [0, 1, 3]},  # as many members, and others
    {"probe": {"n_trials": 12}},
    {"probe": {"n_trials": 8, "seed": 1}},
    {"options": {"procrustes": {"alpha": 0.0}}},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_changed_study_in_the_same_folder_has_the_table_of_a_new_one(changes: dict[str, Any], tmp_path: Path) -> None:
    before = table(tmp_path / "run")
    changed = table(tmp_path / "run", **changes)
    assert changed == table(tmp_path / "new", **changes)
    assert changed != before
    assert table(tmp_path / "run") == before, "and back"


def test_a_key_tells_all_that_a_measurement_depends_on() -> None:
    def key(members: tuple[int, ...] = (0, 1, 2), *, name: str = "procrustes", **changes: Any) -> str:
        plan = tiny(**changes)
        return keys.measured_key("m", plan.build_measures()[name], members, plan.probe)

    found = [
        key(),
        key((0, 1, 3)),
        key((0, 1)),
        key((2, 1, 0)),  # numbers are stored in the order of the members
        key(name="weight_change"),
        key(probe={"n_trials": 12}),
        key(probe={"n_trials": 8, "seed": 1}),
        key(probe={"n_trials": 8, "kick": 0.1}),
        key(probe={"n_trials": 8, "lesion": 0.3}),
        key(options={"procrustes": {"alpha": 0.0}}),
    ]
    assert len(set(found)) == len(found)
    assert key() == key()
