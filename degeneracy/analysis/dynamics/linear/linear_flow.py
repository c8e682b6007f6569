"""The measure linear flow: how the states' deviations are carried one step on, compared across networks."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pydantic

from degeneracy.analysis.dynamics.linear.distances_of_halves import squared_chords
from degeneracy.analysis.dynamics.linear.linear_models import (
    Form,
    Step,
    choose_form,
    fit_step,
    mean_held_out_error,
)
from degeneracy.analysis.dynamics.linear.of_halves import Fitted, Halves, OfHalves, Squares
from degeneracy.analysis.measure import SCALE, Finding, Measure, fit_diagnostics
from degeneracy.analysis.operator_alignment.halves import fit_halves
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name
from degeneracy.core.errors import UserError

# Above this share of the next step unexplained, a linear model says little of the dynamics.
LARGEST_ERROR = 0.3
ONE_STEP_ERROR = "one_step_error"


class OfLinearModels(OfHalves):
    """Base of the measures that compare linear models of one step (`linear_models`)."""

    rank: int = pydantic.Field(20, ge=1, description="axes of the states, the leading ones; all where there are fewer")
    n_delays: int = pydantic.Field(
        1, ge=1, description="successive states that a step is fitted from; 1 where all units are recorded"
    )

    @property
    def n_lags(self) -> int:
        """As many as delays."""
        return self.n_delays

    def check(self, *, n_units: int, n_steps: int, n_trials: int, held_inputs: Collection[str]) -> None:  # noqa: ARG002
        """Refuse more delays than steps."""
        if self.n_lags >= n_steps:
            raise UserError(f"{self.name}: n_delays = {self.n_delays} is wrong: trials have {n_steps} steps")

    def asked(self) -> Form:
        """What is to be fitted where all units are recorded."""
        return Form(rank=self.rank, n_delays=self.n_delays)

    def form(self, halves: Halves, recording: Recording) -> Form:
        """What is fitted: rank and delays as asked for, or by held-out error where only some units are recorded."""
        asked = self.asked()
        return asked if recording.fully_observed else choose_form(halves, asked)

    def fitted(self, halves: Halves, recording: Recording) -> tuple[Fitted, Fitted]:
        """The linear models of all members in each half."""
        form = self.form(halves, recording)
        first, second = ([fit_step(grams, form) for grams in half] for half in halves)
        return first, second

    def errors(self, halves: Halves, fits: tuple[Fitted, Fitted]) -> Array:
        """The held-out error of one step of each member, (member,)."""
        pairs = zip(zip(*halves, strict=True), zip(*fits, strict=True), strict=True)
        return np.array([mean_held_out_error(grams, steps) for grams, steps in pairs])

    def about(
        self, halves: Halves, fits: tuple[Fitted, Fitted], recording: Recording
    ) -> tuple[str, list[tuple[Finding, Array]]]:
        """How much of a step the model leaves out, where that is much or has a row, and what was not recorded."""
        texts, errors = [], self.errors(halves, fits)
        if errors.mean() > LARGEST_ERROR:
            texts.append(f"the linear model leaves {errors.mean():.0%} of the next step unexplained on trials held out")
        if not halves[0][0].n_inputs:
            texts.append("no inputs were given, so that what they do counts as dynamics")
        if not recording.fully_observed:
            form = fits[0][0].form
            texts.append(f"rank {form.rank}, {form.n_delays} delays by held-out error: only some units were recorded")
        row = by_name.finding(ONE_STEP_ERROR, "mean", errors, of=ONE_STEP_ERROR)
        return "; ".join(texts), [(row, errors)] if ONE_STEP_ERROR in self.variant_titles else []


def open_forms(measures: Mapping[str, Measure]) -> dict[str, Form]:
    """Of measures that compare linear models, by name: what those fit that set neither rank nor number of delays."""
    return {
        name: measure.asked()
        for name, measure in measures.items()
        if isinstance(measure, OfLinearModels) and not {"rank", "n_delays"} & measure.model_fields_set
    }


class OfSearchedModels(OfLinearModels):
    """Base of those whose best common coordinates are searched for."""

    n_starts: int = pydantic.Field(12, ge=2, description="starts of each fit, of both determinants")
    seed: int = pydantic.Field(0, ge=0, description="of the random starts")

    def memory(self, *, n_units: int, n_steps: int, n_trials: int) -> dict[str, int]:  # noqa: ARG002
        """The sums over trials, and the starts of a fit; float64."""
        return {
            f"n_delays = {self.n_delays} of {n_units} units": 24 * ((self.n_delays + 1) * n_units) ** 2,
            f"n_starts = {self.n_starts} of rank = {self.rank}": 8 * self.n_starts * self.rank**2,
        }


class LinearFlow(OfSearchedModels):
    """The flow of deviations, weighted by how far states deviate, in the best common coordinates."""

    name: ClassVar[str] = "linear_flow"
    title: ClassVar[str] = "Linear flow"
    methods: ClassVar[str] = (
        "Dynamics were compared by the covariance of successive states, given the inputs, in units of the states' "
        "spread (rank {rank}, delays: {n_delays}), after the best orthogonal change of basis; the squared distance "
        "between halves of one network's trials was taken away."
    )
    primary: ClassVar[bool] = True
    aspect: ClassVar[str] = "flow"
    cost: ClassVar[float] = 3.0
    variant_titles: ClassVar[Mapping[str, str]] = {"driven": "driven", ONE_STEP_ERROR: "one-step error"}
    averages: ClassVar[tuple[str, ...]] = (ONE_STEP_ERROR,)
    ignores: ClassVar[tuple[str, ...]] = (*OfHalves.ignores, SCALE)
    unit: ClassVar[str] = "squared distance"
    meaning: ClassVar[str] = (
        "how differently states move: squared distance of A S, A the linear map of one step given the input, S the "
        "states' spread along its axes, both of norm 1, after the best orthogonal change of basis; networks whose maps "
        "differ by a factor alone are 0 apart; 'one-step error' is the share of the next step that the linear model "
        "leaves unexplained on trials held out"
    )
    zero: ClassVar[str] = "the same linear dynamics up to a change of basis and a factor; copies are at 0 on average"
    source: ClassVar[str] = (
        "ours, after Ostrow et al. (2023), arXiv 2306.10168, and the inputs of Huang et al. (2025), arXiv 2510.25943"
    )
    revision: ClassVar[int] = 1  # one search for two members seen in halves

    weighting: Literal["variance", "none", "whitened"] = pydantic.Field(
        "variance",
        description="of the axes: variance: A S, by how far states deviate; none: A; whitened: S^-1 A S, all alike",
    )
    inputs: bool = pydantic.Field(True, description="take out what the inputs explain; else it counts as dynamics")
    centre: bool = pydantic.Field(True, description="take out the states' mean; else it acts as an eigenvalue 1")
    norm: Literal["flow", "states"] = pydantic.Field(
        "flow",
        description="what has norm 1: flow: the operator, which ignores a common factor; states: the spread S, so that "
        "networks that forget faster differ",
    )
    n_starts: int = pydantic.Field(24, ge=2, description="starts of each fit, of both determinants")

    def asked(self) -> Form:
        """Likewise, with or without inputs and mean."""
        return replace(super().asked(), inputs=self.inputs, centre=self.centre)

    def _operator(self, step: Step) -> Array:
        operator = {"variance": step.flow, "none": step.a, "whitened": step.whitened}[self.weighting]
        if self.norm == "flow":
            return operator
        spread = np.linalg.norm(step.spread) if self.weighting == "variance" else np.sqrt((step.spread > 0).sum())
        return operator / spread

    def squares(self, first: Fitted, second: Fitted) -> Squares:
        """Of the operators at norm 1, or of those in units of the states' spread."""
        fit = fit_halves(
            *(np.array([self._operator(step) for step in half]) for half in (first, second)),
            score="angular" if self.norm == "flow" else "frobenius",
            n_starts=self.n_starts,
            seed=self.seed,
        )
        squares = squared_chords(fit.distance) if self.norm == "flow" else fit.distance**2
        return Squares(squares=squares, diagnostics=fit_diagnostics(fit.spread, fit.converged))
