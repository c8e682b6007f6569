"""Measure and control solution degeneracy in task-trained recurrent neural networks.

import degeneracy as dg

task     = dg.tasks.FlipFlop(channels=3)
ensemble = dg.train(task, dg.Network(hidden_size=128), dg.Training(), seeds=range(50))
result   = dg.measure(ensemble, task)
result.table
"""

import importlib
from typing import TYPE_CHECKING, Any

from degeneracy.version import __version__

if TYPE_CHECKING:
    from degeneracy import analysis, checks, plots, tasks
    from degeneracy.analysis import MEASURES, Measure, Recording
    from degeneracy.arrays import load_arrays, measure_arrays
    from degeneracy.claims import Claim, Claims
    from degeneracy.ensemble import Ensemble, train
    from degeneracy.errors import UserError
    from degeneracy.measuring import measure
    from degeneracy.networks import CELLS, Cell, Network
    from degeneracy.record import Probe
    from degeneracy.results import Result, StudyResult, compare
    from degeneracy.streams import Streams
    from degeneracy.study import STUDIES, Study, load_run, load_study, run_study
    from degeneracy.tasks import TASKS, Task, Trials, Variant
    from degeneracy.training import Training

__all__ = [
    "CELLS",
    "MEASURES",
    "STUDIES",
    "TASKS",
    "Cell",
    "Claim",
    "Claims",
    "Ensemble",
    "Measure",
    "Network",
    "Probe",
    "Recording",
    "Result",
    "Streams",
    "Study",
    "StudyResult",
    "Task",
    "Training",
    "Trials",
    "UserError",
    "Variant",
    "__version__",
    "analysis",
    "checks",
    "compare",
    "load_arrays",
    "load_run",
    "load_study",
    "measure",
    "measure_arrays",
    "plots",
    "run_study",
    "tasks",
    "train",
]

# Where each name lives. They are imported at their first use, so that `degeneracy --help` need not wait for torch.
_HOMES = {
    "MEASURES": "analysis",
    "Measure": "analysis",
    "Recording": "analysis",
    "load_arrays": "arrays",
    "measure_arrays": "arrays",
    "CELLS": "networks",
    "Cell": "networks",
    "Claim": "claims",
    "Claims": "claims",
    "Ensemble": "ensemble",
    "train": "ensemble",
    "UserError": "errors",
    "measure": "measuring",
    "Network": "networks",
    "Probe": "record",
    "Result": "results",
    "StudyResult": "results",
    "compare": "results",
    "Streams": "streams",
    "STUDIES": "study",
    "Study": "study",
    "load_run": "study",
    "load_study": "study",
    "run_study": "study",
    "TASKS": "tasks",
    "Task": "tasks",
    "Trials": "tasks",
    "Variant": "tasks",
    "Training": "training",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name in ("analysis", "checks", "plots", "tasks"):
        value: Any = importlib.import_module(f"degeneracy.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"degeneracy.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'degeneracy' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
