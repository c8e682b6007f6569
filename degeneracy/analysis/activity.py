"""Members without activity: their states say nothing about dynamics, so they are named and no number hides them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

from degeneracy.analysis.measure import Measured, nan_finding
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.scaling import near_one
from degeneracy.core.errors import UserError

NO_ACTIVITY = "no activity, the states do not vary"
N_NAMED = 5  # members that a note names before it counts


def varies(states: Array) -> bool:
    """Whether states (trial, time, unit) or (sample, unit) vary by more than the rounding of their mean.

    True where some are not finite, which is no lack of activity.
    """
    x, _ = near_one(states.reshape(-1, states.shape[-1]))
    if not np.isfinite(x).all():
        return True
    rounding = np.finfo(float).eps * max(x.shape) * np.linalg.norm(x)
    return bool(np.linalg.norm(x - x.mean(axis=0)) > rounding)


def silent_members(states: Sequence[Array]) -> list[int]:
    """Positions of the members whose states do not vary over trials and steps, whether at 0 or elsewhere."""
    return [k for k, x in enumerate(states) if not varies(x)]


def silent_note(silent: Sequence[int], labels: Sequence[str]) -> str:
    """One line that names the members without activity; "" where there are none."""
    return f"{named(silent, labels)}: {NO_ACTIVITY}" if silent else ""


def named(members: Sequence[int], labels: Sequence[str]) -> str:
    """'member 3', 'members 3 and 5', or the first few of many with the number of the others."""
    names = [labels[k] for k in members]
    if len(names) == 1:
        return f"member {names[0]}"
    if len(names) > N_NAMED:
        names = [*names[:N_NAMED], f"{len(names) - N_NAMED} more"]
    return f"members {', '.join(names[:-1])} and {names[-1]}"


def among_all(matrix: Array, active: Sequence[int], n_members: int) -> Array:
    """Distances of some members as part of those of all: NaN to and from the others, 0 on the diagonal."""
    whole = np.full((n_members, n_members), np.nan)
    whole[np.ix_(active, active)] = matrix
    np.fill_diagonal(whole, 0.0)
    return whole


def of_active_members(variant: str) -> Callable[[Callable[..., Measured]], Callable[..., Measured]]:
    """A decorator for the `__call__` of a pairwise measure on driven states that has one variant.

    Where a member has no activity, its distance to others is a convention (such as a right angle), and one such member
    would set the mean: then the row names it in place of a number, and the matrix has the distances of the others.
    Untrained members without activity are no reference.
    """

    def decorate(call: Callable[..., Measured]) -> Callable[..., Measured]:
        @wraps(call)
        def measured(measure: Any, recording: Recording) -> Measured:
            recording = _with_active_reference(recording)
            silent = silent_members(recording.states or ())
            if not silent:
                return call(measure, recording)
            n = len(recording)
            active = [k for k in range(n) if k not in silent]
            matrix = np.full((len(active), len(active)), np.nan)
            if len(active) >= 2:
                with suppress(UserError):  # there is no number either way, and the row has its reason
                    [matrix] = call(measure, _states_of(recording, active)).distances.values()
            finding = nan_finding(variant, n, silent_note(silent, recording.members))
            return Measured(findings=(finding,), distances={variant: among_all(matrix, active, n)})

        return measured

    return decorate


def _with_active_reference(recording: Recording) -> Recording:
    """Without the states of untrained members where one of these has no activity: `missing` says which."""
    before = recording.untrained
    note = silent_note(silent_members(before.states), before.members) if before and before.states else ""
    if before is None or not note:
        return recording
    without = replace(before, states=None, missing={**before.missing, "states": note})
    return replace(recording, untrained=without)


def _states_of(recording: Recording, members: Sequence[int]) -> Recording:
    """The states of some members alone, without reference."""
    assert recording.states is not None
    labels = tuple(recording.members[k] for k in members)
    return Recording(members=labels, states=[recording.states[k] for k in members])
