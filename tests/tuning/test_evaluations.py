"""How many evaluations a tune makes: as many as are granted, where the target is not met before."""

from pathlib import Path
from typing import Any

import pytest

import degeneracy as dg

TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1, 2],
    "task": {"name": "flip_flop", "channels": 1, "n_steps": 8, "threshold": 2.0},  # converges at once
    "network": {"hidden_size": 5},
    "training": {"batch_size": 4, "steps_per_epoch": 2, "max_epochs": 3, "patience": 1},
    "probe": {"n_trials": 8},
}


@pytest.mark.parametrize("most", [2, 4])
def test_no_more_evaluations_than_were_granted(most: int, tmp_path: Path) -> None:
    # Weights move further at larger rates; no evaluation is as near to the target as 1e-9.
    found = dg.tune(
        dg.Study(**TINY),
        knob="training.learning_rate",
        measure="weight_change",
        target=0.03,
        low=1e-4,
        high=1e-1,
        scale="log",
        tolerance=1e-9,
        max_evaluations=most,
        out=tmp_path / "out",
        device="cpu",
        jobs=1,
        progress=False,
    )
    values = found.evaluations["value"]
    assert values.min() < 0.03 < values.max()
    assert len(found.evaluations) == most
    assert found.status == "not reached"
    assert found.message.startswith(f"not reached in {most} evaluations")
