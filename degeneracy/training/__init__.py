"""Training: gradients, optimisation, and members trained side by side or spread over cores."""

from degeneracy.training.members import (
    History,
    Member,
    Status,
    Training,
    one_thread,
    resolve_device,
    resolve_jobs,
    train_members,
    train_stack,
)

__all__ = [
    "History",
    "Member",
    "Status",
    "Training",
    "one_thread",
    "resolve_device",
    "resolve_jobs",
    "train_members",
    "train_stack",
]
