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
    from degeneracy.ensemble import Ensemble
    from degeneracy.ensemble_training import sweep, train
    from degeneracy.errors import UserError
    from degeneracy.measuring import measure
    from degeneracy.networks import CELLS, Cell, Network
    from degeneracy.panels import dsa_sensitivity, during_training
    from degeneracy.probe import Probe
    from degeneracy.results import Result, StudyResult, compare
    from degeneracy.scrutiny import criticisms, gather
    from degeneracy.sources import source_shares
    from degeneracy.streams import Streams
    from degeneracy.study import STUDIES, Study, load_run, load_runs, load_study, run_study
    from degeneracy.tasks import TASKS, Task, Trials, Variant
    from degeneracy.training import Training
    from degeneracy.tuning import Tuning, tune

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
    "Tuning",
    "UserError",
    "Variant",
    "__version__",
    "analysis",
    "checks",
    "compare",
    "criticisms",
    "dsa_sensitivity",
    "during_training",
    "gather",
    "load_arrays",
    "load_run",
    "load_runs",
    "load_study",
    "measure",
    "measure_arrays",
    "plots",
    "run_study",
    "source_shares",
    "sweep",
    "tasks",
    "train",
    "tune",
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
    "criticisms": "scrutiny",
    "gather": "scrutiny",
    "Ensemble": "ensemble",
    "sweep": "ensemble_training",
    "train": "ensemble_training",
    "UserError": "errors",
    "measure": "measuring",
    "Network": "networks",
    "Probe": "probe",
    "Result": "results",
    "StudyResult": "results",
    "compare": "results",
    "dsa_sensitivity": "panels",
    "during_training": "panels",
    "source_shares": "sources",
    "Streams": "streams",
    "STUDIES": "study",
    "Study": "study",
    "load_run": "study",
    "load_runs": "study",
    "load_study": "study",
    "run_study": "study",
    "TASKS": "tasks",
    "Task": "tasks",
    "Trials": "tasks",
    "Variant": "tasks",
    "Training": "training",
    "Tuning": "tuning",
    "tune": "tuning",
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
