"""One recording of members that were recorded apart: networks of other cells or sizes, or modules of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from degeneracy.analysis.recording import Recording, StepFunction, TangentKernel, Variant

Places = tuple[int, ...]  # of the members of a part, among all
T = TypeVar("T")
PER_MEMBER = ("states", "autonomous_states", "weights", "initial_weights")  # sequences, one entry per member
DIFFERENT_SIZES = "the members' states differ in size"


def joined(parts: Mapping[Places, Recording]) -> Recording:
    """The members of all parts in their order; what one part lacks is missing, with that part's reason.

    Args:
        parts: recordings on the same trials, by the positions that their members have among all.
    """
    if len(parts) == 1:
        return next(iter(parts.values()))
    recordings, order = list(parts.values()), np.argsort(np.concatenate(list(parts)))
    untrained = [each.untrained for each in recordings]
    steps, missing = [each.step for each in recordings], _missing(parts)
    step = None
    if all(each is not None for each in steps):
        step = _step(parts)
        if step is None:
            missing["step"] = DIFFERENT_SIZES
    per_member: dict[str, Any] = {
        name: _in_order([getattr(each, name) for each in recordings], order) for name in PER_MEMBER
    }
    return replace(
        recordings[0],
        members=tuple(str(label) for label in _in_order([each.members for each in recordings], order) or ()),
        **per_member,
        noisy_states=_halves([each.noisy_states for each in recordings], order),
        lag_grams=_halves([each.lag_grams for each in recordings], order),
        fully_observed=_agreed([each.fully_observed for each in recordings]),
        behavior=_behavior([each.behavior for each in recordings], order),
        noisy_outputs=_draws([each.noisy_outputs for each in recordings], order),
        noisy_decisions=_draws([each.noisy_decisions for each in recordings], order),
        step=step,
        tangent_kernel=_kernel(parts) if all(each.tangent_kernel for each in recordings) else None,
        prediction_times=_stacked([each.prediction_times for each in recordings], order),
        untrained=None
        if any(each is None for each in untrained)
        else joined({places: each for places, each in zip(parts, untrained, strict=True) if each is not None}),
        missing=missing,
    )


def _missing(parts: Mapping[Places, Recording]) -> dict[str, str]:
    """The reasons of all parts, the first for each; with the member's name where other parts have what it lacks."""
    found: dict[str, str] = {}
    for each in parts.values():
        for name, reason in each.missing.items():
            common = all(name in other.missing for other in parts.values())
            found.setdefault(name, reason if common else f"member {each.members[0]}: {reason}")
    return found


def _in_order(parts: Sequence[Sequence[T] | None], order: Any) -> list[T] | None:
    given = [part for part in parts if part is not None]
    if len(given) < len(parts):
        return None
    every = [one for part in given for one in part]
    return [every[k] for k in order]


def _halves(parts: Sequence[Any], order: Any) -> Any:
    if any(part is None for part in parts):
        return None
    return tuple(_in_order([part[half] for part in parts], order) for half in range(2))


def _agreed(values: Sequence[bool | None]) -> bool | None:
    return None if None in values else all(values)


def _stacked(parts: Sequence[Any], order: Any) -> Any:
    """Arrays with a leading member axis, as one; None where a part has none or members differ in the other axes."""
    if any(part is None for part in parts) or len({part.shape[1:] for part in parts}) > 1:
        return None
    return np.concatenate(parts)[order]


def _draws(parts: Sequence[Any], order: Any) -> Any:
    if any(part is None for part in parts):
        return None
    names = [name for name in parts[0][0] if all(name in part[0] for part in parts)]
    return tuple({name: _stacked([part[k][name] for part in parts], order) for name in names} for k in range(2))


def _behavior(parts: Sequence[Mapping[str, Variant]], order: Any) -> dict[str, Variant]:
    """The variants that all parts have."""
    common = [name for name in parts[0] if all(name in part for part in parts)]
    return {
        name: replace(
            parts[0][name],
            **{
                field: _stacked([getattr(part[name], field) for part in parts], order)
                for field in ("errors", "outputs", "wrong", "decisions")
            },
        )
        for name in common
    }


def _by_part(order: Sequence[int], parts: Sequence[Places]) -> dict[int, list[tuple[int, int]]]:
    """Of members chosen by their position: for each part, (where it stands in the choice, its position in the part)."""
    where = {place: (p, k) for p, places in enumerate(parts) for k, place in enumerate(places)}
    found: dict[int, list[tuple[int, int]]] = {}
    for slot, place in enumerate(order):
        part, k = where[place]
        found.setdefault(part, []).append((slot, k))
    return found


def _step(parts: Mapping[Places, Recording]) -> StepFunction | None:
    """The step of all members; None where their states differ in size."""
    steps = {places: each.step for places, each in parts.items() if each.step is not None}
    if len({each.visited.shape[-1] for each in steps.values()}) > 1:
        return None
    return _chosen_steps(list(steps), list(steps.values()), range(sum(map(len, steps))))


def _chosen_steps(parts: Sequence[Places], steps: Sequence[StepFunction], chosen: Sequence[int]) -> StepFunction:
    by_part = _by_part(chosen, parts)
    picked = {p: steps[p].select([k for _, k in members]) for p, members in by_part.items()}
    if len(picked) == 1:
        return next(iter(picked.values()))
    slots = {p: [slot for slot, _ in members] for p, members in by_part.items()}

    def split(call: Callable[[StepFunction, Any], Tensor], *values: Tensor) -> Tensor:
        made = {p: call(picked[p], tuple(value[slots[p]] for value in values)) for p in picked}
        first = next(iter(made.values()))
        out = first.new_empty(len(chosen), *first.shape[1:])
        return out.index_copy(
            0, torch.tensor([slot for p in made for slot in slots[p]], device=first.device), torch.cat([*made.values()])
        )

    some = [picked[p] for p in picked]
    faults = {slot: fault for p in picked for slot, fault in zip(slots[p], picked[p].faults, strict=False)}
    readable = all(each.read_out is not None for each in some)
    return replace(
        some[0],
        step=lambda h, x: split(lambda each, of: each.step(*of), h, x),
        hidden=lambda h: split(lambda each, of: each.hidden(*of), h),
        select=lambda members: _chosen_steps(parts, steps, [chosen[k] for k in members]),
        visited=split(lambda each, _: each.visited),
        faults=tuple(faults.get(k, "") for k in range(len(chosen))) if faults else (),
        read_out=(lambda h: split(lambda each, of: each.read_out(*of), h)) if readable else None,  # type: ignore[misc]
    )


def _kernel(parts: Mapping[Places, Recording]) -> TangentKernel:
    kernels = [each.tangent_kernel for each in parts.values() if each.tangent_kernel is not None]
    return _chosen_kernels(list(parts), kernels, range(sum(map(len, parts))))


def _chosen_kernels(parts: Sequence[Places], kernels: Sequence[TangentKernel], chosen: Sequence[int]) -> TangentKernel:
    by_part = _by_part(chosen, parts)

    def kernel(trials: Sequence[int], steps: Sequence[int]) -> Any:
        rows: dict[int, Any] = {}
        for p, members in by_part.items():
            made = kernels[p].select([k for _, k in members]).kernel(trials, steps)
            rows |= {slot: row for (slot, _), row in zip(members, made, strict=True)}
        return np.stack([rows[slot] for slot in range(len(chosen))])

    return TangentKernel(
        kernel=kernel,
        select=lambda members: _chosen_kernels(parts, kernels, [chosen[k] for k in members]),
        n_trials=kernels[0].n_trials,
        n_steps=kernels[0].n_steps,
    )
