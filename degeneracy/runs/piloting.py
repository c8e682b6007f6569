"""The pilot of a run: rank and delays of linear models, chosen once on its first converged networks, and kept.

study.json holds under "pilot" the settings of the pilot, the seeds that it looked at by condition, and its choices, one
per kind of model, with the held-out errors of all that was tried. What is kept there is never chosen again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from degeneracy.analysis.dynamics.linear.linear_models import Form, held_out_errors
from degeneracy.analysis.lag_grams import LagGrams
from degeneracy.core.errors import UserError
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.record import dynamics_sums
from degeneracy.runs.run_directory import RunDirectory
from degeneracy.studies.conditions import Condition
from degeneracy.studies.pilot import Pilot, choice, kinds
from degeneracy.studies.study import Study
from degeneracy.training import Member


def check_pilot(plan: Study, conditions: Sequence[Condition], *, device: str) -> None:
    """Refuse a pilot that has nothing to choose, or tries what trials or memory do not allow, before any training.

    Raises:
        UserError: such a pilot.
    """
    if not plan.pilot.n_networks:
        return
    largest = plan.pilot.largest(plan.build_measures())
    if not largest:
        raise UserError(
            "pilot: it has nothing to choose: no measure of linear models is taken, or options set rank or n_delays of"
            " each; leave these to the pilot, or set pilot.n_networks = 0"
        )
    try:
        for condition in conditions:
            condition.check_measures(largest, plan.probe)
            condition.check_memory(largest, plan.probe, plan.pilot.n_networks, device=device)
    except UserError as error:
        raise UserError(f"pilot: {error}") from None


def plan_of(run: RunDirectory) -> Study:
    """The study of a run, with what its pilot chose where that is all that it has to choose."""
    plan = Study(**run.study)
    choices = run.pilot.get("choices", ())
    has_chosen = plan.pilot.n_networks and not kinds(plan.build_measures(), choices)
    return plan.after_pilot(choices) if has_chosen else plan


def pilot_chosen(
    run: RunDirectory, plan: Study, conditions: Sequence[Condition], step: Callable[[str], None]
) -> RunDirectory:
    """The run with all that the pilot of its study has to choose; what was chosen before stands.

    Args:
        run: whose networks are trained.
        plan: its study.
        conditions: of the study.
        step: is told of each condition that is looked at.

    Raises:
        UserError: no network to choose by.
    """
    pilot, measures = plan.pilot, plan.build_measures()

    def choose(kept: Mapping[str, Any]) -> Mapping[str, Any]:
        left = kinds(measures, kept.get("choices", ()))
        if not left:
            return kept
        settings, networks = pilot.model_dump(mode="json"), dict(kept.get("networks", {}))
        choices = _choices(run, plan, pilot, conditions, left, networks, step)
        return {"settings": settings, "networks": networks, "choices": [*kept.get("choices", ()), *choices]}

    return run.with_pilot(choose)


def _choices(
    run: RunDirectory,
    plan: Study,
    pilot: Pilot,
    conditions: Sequence[Condition],
    left: Sequence[Form],
    networks: dict[str, list[int]],
    step: Callable[[str], None],
) -> list[dict[str, Any]]:
    """What is chosen of each kind of model, on networks that were looked at before, or else on the first ones.

    `networks` is filled with their seeds, by the name of the condition, where it is empty.
    """
    tried = [pilot.forms(form) for form in left]
    errors: list[list[list[float]]] = [[] for _ in left]  # by kind, condition and form
    first = not networks
    for condition in conditions:
        step(condition.label)
        if first:
            members = run.load_ensemble(condition, plan.seeds).converged.members[: pilot.n_networks]
        else:
            members = run.load_members(condition.place, networks.get(condition.name, ()))
        halves, seeds = _sums(condition, members, plan, n_lags=max(pilot.n_delays))
        if seeds:
            networks[condition.name] = seeds
            for found, forms in zip(errors, tried, strict=True):
                found.append(np.mean(held_out_errors(halves, forms), axis=1).tolist())
    if not networks:
        raise UserError(
            f"{run.root}: pilot: no network converged with states that vary, so that rank and delays cannot be chosen;"
            " set them in the study's options, or train longer"
        )
    return [choice(forms, found) for forms, found in zip(tried, errors, strict=True)]


def _sums(
    condition: Condition, members: Sequence[Member], plan: Study, *, n_lags: int
) -> tuple[tuple[list[LagGrams], list[LagGrams]], list[int]]:
    """The sums of those members whose states vary and are finite, in two halves of the trials; and their seeds."""
    if not members:
        return ([], []), []
    ensemble = Ensemble(
        network=condition.network, task=condition.task, training=condition.training, members=tuple(members)
    )
    halves = dynamics_sums(ensemble, condition.task, plan.probe, n_lags=n_lags)
    usable = [k for k in range(len(members)) if all(half[k].finite and half[k].varies for half in halves)]
    one, other = ([half[k] for k in usable] for half in halves)
    return (one, other), [members[k].seed for k in usable]
