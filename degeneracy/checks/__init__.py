"""The tests that the built-in tasks, cells, recurrent maps and measures pass, offered to the user's own.

`check_task(mine.Accumulate())` in a test of one's own raises `CheckFailed`, an AssertionError that says what does
not hold. Each claim is a function of its own, so that a test can name the one that failed. Beside them the coordinate
check of a parametrisation: `check_widths(state_changes(task, network, training))`.
"""

from degeneracy.checks.cells import CELL_CLAIMS, check_cell
from degeneracy.checks.claim import CheckFailed
from degeneracy.checks.coordinates import check_widths, state_changes
from degeneracy.checks.measures import MEASURE_CLAIMS, check_measure, example_recording
from degeneracy.checks.recurrent_maps import MAP_CLAIMS, check_recurrent_map
from degeneracy.checks.tasks import TASK_CLAIMS, check_task

__all__ = [
    "CELL_CLAIMS",
    "MAP_CLAIMS",
    "MEASURE_CLAIMS",
    "TASK_CLAIMS",
    "CheckFailed",
    "check_cell",
    "check_measure",
    "check_recurrent_map",
    "check_task",
    "check_widths",
    "example_recording",
    "state_changes",
]


def __dir__() -> list[str]:
    """The public names, without the files that they are in."""
    return sorted(__all__)
