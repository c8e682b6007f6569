"""Training: gradients, optimisation, and members trained side by side or spread over cores."""

from degeneracy.training.coupling import Coupling
from degeneracy.training.members import one_thread, resolve_device, train_members, train_stack, train_sweep
from degeneracy.training.memory import check_training_memory
from degeneracy.training.optimisers import OPTIMISERS, Optimiser
from degeneracy.training.regularisers import REGULARISERS, Regulariser
from degeneracy.training.schedules import SCHEDULES, Schedule
from degeneracy.training.snapshots import nearest_kept
from degeneracy.training.specification import Training, check_training
from degeneracy.training.stack import History, Member, Status

__all__ = [
    "OPTIMISERS",
    "REGULARISERS",
    "SCHEDULES",
    "Coupling",
    "History",
    "Member",
    "Optimiser",
    "Regulariser",
    "Schedule",
    "Status",
    "Training",
    "check_training",
    "check_training_memory",
    "nearest_kept",
    "one_thread",
    "resolve_device",
    "train_members",
    "train_stack",
    "train_sweep",
]
