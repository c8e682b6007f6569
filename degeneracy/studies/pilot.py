"""The pilot of a study: rank and delays of linear models of dynamics, chosen by held-out error before measuring.

[pilot]                     # optional
n_networks = 8              # of each condition, the first that converged
rank = [5, 10, 15, 20]      # optional, as is the next: what is tried
n_delays = [1, 3]

It looks at states and inputs alone, never at what differs between networks or conditions. Of each kind of model (with
or without inputs, centred or not) one form is chosen, the same for all conditions, and kept in study.json: a run that
goes on takes what is kept there, also where networks or conditions were added. A measure whose options set rank or
n_delays keeps its own.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pydantic

from degeneracy.analysis import Measure
from degeneracy.analysis.dynamics.linear.linear_flow import open_forms
from degeneracy.analysis.dynamics.linear.linear_models import DELAYS, RANKS, Form, least_form
from degeneracy.core.errors import UserError
from degeneracy.core.specs import Spec

KIND = ("inputs", "centre")  # the fields of a form that measures set, and a pilot does not choose

Number = Annotated[int, pydantic.Field(ge=1)]


class Pilot(Spec):
    """What a pilot tries, and on how many networks."""

    n_networks: int = pydantic.Field(0, ge=0, description="of each condition, the first that converged; 0: no pilot")
    rank: tuple[Number, ...] = pydantic.Field(RANKS, min_length=1, description="ranks to try")
    n_delays: tuple[Number, ...] = pydantic.Field(DELAYS, min_length=1, description="numbers of delays to try")

    @pydantic.model_validator(mode="after")
    def _networks_are_named(self) -> "Pilot":
        if self.model_fields_set and "n_networks" not in self.model_fields_set:
            raise UserError("Pilot: 'n_networks' is missing: on how many networks of each condition, such as 8")
        return self

    def forms(self, asked: Form) -> list[Form]:
        """All that is tried of one kind of model."""
        kind = {name: getattr(asked, name) for name in KIND}
        return [
            Form(rank=rank, n_delays=n, **kind) for n in sorted(set(self.n_delays)) for rank in sorted(set(self.rank))
        ]

    def largest(self, measures: Mapping[str, Measure]) -> dict[str, Measure]:
        """The measures that it chooses for, with the largest values that it tries."""
        most = {"rank": max(self.rank), "n_delays": max(self.n_delays)}
        return {name: measures[name].replace(**most) for name in open_forms(measures)}


def kinds(measures: Mapping[str, Measure], choices: Sequence[Mapping[str, Any]] = ()) -> list[Form]:
    """The kinds of models that measures leave open, one form of each, without those that were chosen already."""
    known = _by_kind(choices)
    asked = {_kind(form): form for form in open_forms(measures).values()}
    return [form for kind, form in asked.items() if kind not in known]


def _kind(form: Form) -> tuple[bool, ...]:
    return tuple(getattr(form, name) for name in KIND)


def _by_kind(choices: Sequence[Mapping[str, Any]]) -> dict[tuple[bool, ...], Mapping[str, Any]]:
    return {tuple(choice[name] for name in KIND): choice for choice in choices}


def choice(forms: Sequence[Form], errors: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The form with the least held-out error, conditions counting alike, as plain data.

    Args:
        forms: that were tried, of one kind.
        errors: by condition and form, the mean over its networks.
    """
    mean = np.mean(errors, axis=0).tolist()
    best = least_form(forms, mean)
    tried = [{"rank": form.rank, "n_delays": form.n_delays, "error": e} for form, e in zip(forms, mean, strict=True)]
    return {**{name: getattr(forms[0], name) for name in KIND}, **tried[best], "tried": tried}


def chosen(measures: Mapping[str, Measure], choices: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Rank and number of delays of the measures that left them open, by name."""
    known = _by_kind(choices)
    return {
        name: {field: known[_kind(form)][field] for field in ("rank", "n_delays")}
        for name, form in open_forms(measures).items()
    }


def choices_taken(measures: Mapping[str, Measure], choices: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The choices that any of the measures takes ("choices"), and the names of those that take one ("measures").

    A run may hold others: those of measures that it was measured with before.
    """
    forms = open_forms(measures)
    asked = {_kind(form) for form in forms.values()}
    return {"measures": list(forms), "choices": [one for kind, one in _by_kind(choices).items() if kind in asked]}
