"""What to do where no network of an ensemble converged."""

from collections.abc import Iterable

ADVICE = (
    "more training.max_epochs or another training.learning_rate may help; what training has to reach is set by"
    " task.threshold"
)


def stuck(statuses: Iterable[str]) -> bool:
    """Whether no network converged, and not all of them diverged, which more training would not help."""
    kinds = set(statuses)
    return "not converged" in kinds and kinds <= {"not converged", "diverged"}
