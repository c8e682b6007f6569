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
    from degeneracy.effects.scrutiny import criticisms, gather
    from degeneracy.effects.sources import source_shares
    from degeneracy.ensembles.ensemble import Ensemble
    from degeneracy.ensembles.train import sweep, train
    from degeneracy.errors import UserError
    from degeneracy.measuring.array_files import load_arrays
    from degeneracy.measuring.arrays import measure_arrays
    from degeneracy.measuring.measure import measure
    from degeneracy.measuring.probe import Probe
    from degeneracy.measuring.results import Result, compare
    from degeneracy.networks import CELLS, Cell, Network
    from degeneracy.streams import Streams
    from degeneracy.studies.claims import Claim, Claims
    from degeneracy.studies.loading import load_run, load_runs
    from degeneracy.studies.panels import dsa_sensitivity, during_training
    from degeneracy.studies.running import run_study
    from degeneracy.studies.study import STUDIES, Study, load_study
    from degeneracy.studies.study_result import StudyResult
    from degeneracy.tasks import TASKS, Task, Trials, Variant
    from degeneracy.training import Training
    from degeneracy.tuning.tune import Tuning, tune

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
    "load_arrays": "measuring.array_files",
    "measure_arrays": "measuring.arrays",
    "CELLS": "networks",
    "Cell": "networks",
    "Claim": "studies.claims",
    "Claims": "studies.claims",
    "criticisms": "effects.scrutiny",
    "gather": "effects.scrutiny",
    "Ensemble": "ensembles.ensemble",
    "sweep": "ensembles.train",
    "train": "ensembles.train",
    "UserError": "errors",
    "measure": "measuring.measure",
    "Network": "networks",
    "Probe": "measuring.probe",
    "Result": "measuring.results",
    "StudyResult": "studies.study_result",
    "compare": "measuring.results",
    "dsa_sensitivity": "studies.panels",
    "during_training": "studies.panels",
    "source_shares": "effects.sources",
    "Streams": "streams",
    "STUDIES": "studies.study",
    "Study": "studies.study",
    "load_run": "studies.loading",
    "load_runs": "studies.loading",
    "load_study": "studies.study",
    "run_study": "studies.running",
    "TASKS": "tasks",
    "Task": "tasks",
    "Trials": "tasks",
    "Variant": "tasks",
    "Training": "training",
    "Tuning": "tuning.tune",
    "tune": "tuning.tune",
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
