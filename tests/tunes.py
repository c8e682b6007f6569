"""What the tests of tuning share: a small study and what is asked of it."""

from pathlib import Path
from typing import Any

import degeneracy as dg

TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1, 2, 3],
    "task": {"name": "flip_flop", "channels": 1, "n_steps": 10, "threshold": 2.0},  # converges at once
    "network": {"hidden_size": 6},
    "training": {"batch_size": 8, "steps_per_epoch": 4, "max_epochs": 5, "patience": 1},
    "probe": {"n_trials": 8},
}
# How far weights move in so few updates grows with the learning rate, from 0.001 to 1 or so.
RATE: dict[str, Any] = {
    "knob": "training.learning_rate",
    "measure": "weight_change",
    "low": 1e-4,
    "high": 1e-1,
    "scale": "log",
}


def tiny(**changes: Any) -> dg.Study:
    return dg.Study(**{**TINY, **changes})


def tuned(out: Path, plan: dg.Study | None = None, **asked: Any) -> dg.Tuning:
    return dg.tune(plan or tiny(), **{**RATE, **asked}, out=out, device="cpu", jobs=1, progress=False)
