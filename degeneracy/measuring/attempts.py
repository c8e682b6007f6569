"""One measure tried: what it found, or the reason why it has no number, which ends no other measure."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degeneracy.analysis import Measured
from degeneracy.core.errors import UserError, one_line

log = logging.getLogger("degeneracy")
N_CALLS = 3  # that are named where an error arose: it may be far down in a library


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a measure has no number; plain text, so that it comes back from any process."""

    reason: str  # one line, for the table
    place: str = ""  # file, line and function of an error that no check foresaw; "" where the data were refused


def attempt(function: Callable[[], Any]) -> Any:
    """What a function returns, or a `Fault` for any error in it.

    A division by zero, a matrix without decomposition, too little memory or a mistake in a measure of the user's own
    are the matter of that measure alone. Ctrl-C and an exit pass through.
    """
    try:
        return function()
    except UserError as error:
        return Fault(reason=_line(error))
    except Exception as error:
        kind, text = type(error).__name__, _line(error)
        return Fault(reason=f"{kind}: {text}" if text else kind, place=_place(error))


def _place(error: Exception) -> str:
    """The last calls before an error, the innermost one last: what was called there, and by whom."""
    calls = traceback.extract_tb(error.__traceback__)[-N_CALLS:]
    return " > ".join(f"{Path(call.filename).name}, line {call.lineno}, in {call.name}" for call in calls)


def _line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, UserError) and error.args else error
    return one_line(" ".join(str(text).split()))


def outcome_of(name: str, value: Any, n_members: int) -> Measured | str:
    """What came of a measure, as the table takes it; an error that no check foresaw is logged, never hidden.

    Args:
        name: of the measure.
        value: what `attempt` gave.
        n_members: of the recording, for which the measure must have as many values without one of them.
    """
    if not isinstance(value, Fault):
        return _malformed(value, n_members) or value
    if value.place:
        log.warning("measure '%s' has no number: %s (%s)", name, value.reason, value.place)
    return value.reason


def _malformed(value: Any, n_members: int) -> str:
    """What is wrong with what a measure returned, "" where it is what the table can take."""
    if not isinstance(value, Measured):
        return f"returned a {type(value).__name__}; a Measured is needed"
    for finding in value.findings:
        for estimate in (finding.value, finding.floor, finding.reference):
            if estimate is not None and estimate.leave_one_out.shape != (n_members,):
                return (
                    f"returned {finding.variant} with leave_one_out of shape {estimate.leave_one_out.shape}; one "
                    f"number per member, ({n_members},), is needed"
                )
    for variant, matrix in value.distances.items():
        if matrix.shape != (n_members, n_members):
            return f"returned distances '{variant}' of shape {matrix.shape}; ({n_members}, {n_members}) is needed"
    return ""
