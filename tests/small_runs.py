"""A small study and its run, for tests of runs that go on."""

from pathlib import Path
from typing import Any

import numpy as np
from stored import member_arrays

from degeneracy import run_study
from degeneracy.studies.study import Study

SEEDS = (0, 1, 2)
TINY = {
    "name": "tiny",
    "seeds": list(SEEDS),
    "task": {
        "name": "flip_flop",
        "n_steps": 10,
        "threshold": 2.0,
    },  # any network is under 2: converges at once
    "network": {"hidden_size": 8},
    "training": {"batch_size": 8, "steps_per_epoch": 2, "max_epochs": 5, "patience": 1},
    "vary": {"task.channels": [1, 2]},
    "probe": {"n_trials": 8},
    "measures": ["procrustes", "weight_change"],
}


def tiny(**changes: Any) -> Study:
    return Study(**{**TINY, **changes})


def run(out: Path, **changes: Any) -> bytes:
    run_study(tiny(**changes), out=out, device="cpu", jobs=1, progress=False)
    return (out / "degeneracy.csv").read_bytes()


def assert_same_run(out: Path, other: Path) -> None:
    assert (out / "degeneracy.csv").read_bytes() == (other / "degeneracy.csv").read_bytes()
    ours, theirs = member_arrays(out), member_arrays(other)
    assert ours.keys() == theirs.keys()
    for name, arrays in ours.items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, theirs[name][key], err_msg=f"{name} {key}")
    assert not list(out.rglob("*.part"))
