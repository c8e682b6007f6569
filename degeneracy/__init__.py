"""Measure and control solution degeneracy in task-trained recurrent neural networks.

import degeneracy as dg

task     = dg.tasks.FlipFlop(channels=3)
ensemble = dg.train(task, dg.Network(hidden_size=128), dg.Training(), seeds=range(50))
result   = dg.measure(ensemble, task)
result.table
"""

from degeneracy import analysis, tasks
from degeneracy.analysis import MEASURES, Measure, Recording
from degeneracy.arrays import load_arrays, measure_arrays
from degeneracy.cells import CELLS, Cell
from degeneracy.ensemble import Ensemble, train
from degeneracy.errors import UserError
from degeneracy.measuring import measure
from degeneracy.networks import Network
from degeneracy.record import Probe
from degeneracy.results import Result, StudyResult, compare
from degeneracy.streams import Streams
from degeneracy.study import STUDIES, Study, load_run, load_study, run_study
from degeneracy.tasks import TASKS, Task, Trials
from degeneracy.training import Training
from degeneracy.version import __version__

__all__ = [
    "CELLS",
    "MEASURES",
    "STUDIES",
    "TASKS",
    "Cell",
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
    "__version__",
    "analysis",
    "compare",
    "load_arrays",
    "load_run",
    "load_study",
    "measure",
    "measure_arrays",
    "run_study",
    "tasks",
    "train",
]
