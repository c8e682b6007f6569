"""Given states and inputs as the sums that linear models of dynamics are fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from degeneracy.analysis.dynamics.linear.dsa import in_blocks
from degeneracy.analysis.dynamics.linear.linear_models import DELAYS
from degeneracy.analysis.lag_grams import LagGrams, pilot
from degeneracy.analysis.recording import Array, Recording
from degeneracy.core.errors import UserError

Halves = tuple[list[LagGrams], list[LagGrams]]


def checked_observed(value: object) -> bool | None:
    """Whether all units were recorded, as it was given.

    Raises:
        UserError: neither true nor false.
    """
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    raise UserError(f"fully_observed = {value!r} is wrong: True where the states are of all units, else False")


def lag_grams(
    states: Sequence[Array] | None, inputs: Array | None, lags: Mapping[str, Any]
) -> tuple[Halves | None, str]:
    """The sums of each member over two halves of its trials, every other one; of one trial, over blocks of it.

    Args:
        states: (trial, time, unit) of each member.
        inputs: (trial, time, in) of all members; without them nothing is known of what drives the states.
        lags: of the sums, as `lags_needed` gives them.

    Returns:
        The sums; None with the reason where the states allow none.
    """
    longest = max(lags.values())
    if states is None or not longest:
        return None, "not given (states)"
    halves: Halves = ([], [])
    for x in states:
        u = np.empty((*x.shape[:2], 0)) if inputs is None else inputs
        try:
            x, u = (in_blocks(each, longest) if len(x) == 1 else each for each in (x, u))
        except UserError:
            return None, f"one trial of {x.shape[1]} steps gives no halves of more than {longest} steps each"
        if x.shape[1] <= longest:
            return None, f"trials of {x.shape[1]} steps have none that are {longest} steps apart"
        first = pilot(x, u)
        for half, grams in enumerate(halves):
            grams.append(LagGrams(**first, n_units=x.shape[2], **lags))
            grams[-1].add(x[half::2], u[half::2])
    return halves, ""


def lags_for(observed: bool | None, asked: Mapping[str, int], states: Sequence[Array] | None) -> Mapping[str, int]:
    """The lags to sum: as many as measures ask for; where units are missing, as delays may be chosen from."""
    n_lags = asked["n_lags"]
    if observed is not False or not n_lags or states is None:
        return asked
    longest = min(x.shape[1] // 2 if len(x) == 1 else x.shape[1] for x in states) - 1
    return {**asked, "n_lags": max(n_lags, max((n for n in DELAYS if n < longest), default=n_lags))}


def with_lag_grams(
    recording: Recording, inputs: Array | None, lags: Mapping[str, int], observed: bool | None
) -> Recording:
    """The recording with the sums that linear models need, of the members and of those before training."""
    halves, reason = lag_grams(recording.states, inputs, lags)
    before = recording.untrained
    if before is not None and before.states is not None:
        driven = None if inputs is None or any(x.shape[:2] != inputs.shape[:2] for x in before.states) else inputs
        before = replace(before, lag_grams=lag_grams(before.states, driven, lags)[0], fully_observed=observed)
    missing = {**recording.missing, **({"lag_grams": reason} if reason else {})}
    return replace(recording, lag_grams=halves, fully_observed=observed, untrained=before, missing=missing)
