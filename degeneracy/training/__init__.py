"""Training: gradients, optimisation, and members trained side by side or spread over cores."""

from degeneracy.training.coupling import Coupling
from degeneracy.training.members import one_thread, resolve_device, train_members, train_stack, train_sweep
from degeneracy.training.memory import check_training_memory
from degeneracy.training.regularisers import REGULARISERS
from degeneracy.training.snapshots import nearest_kept
from degeneracy.training.specification import Training
from degeneracy.training.stack import History, Member, Status

__all__ = [
    "REGULARISERS",
    "Coupling",
    "History",
    "Member",
    "Status",
    "Training",
    "check_training_memory",
    "nearest_kept",
    "one_thread",
    "resolve_device",
    "train_members",
    "train_stack",
    "train_sweep",
]
