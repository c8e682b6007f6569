"""The measure impulse response: how states answer inputs of the last few steps, compared across networks."""

from collections.abc import Collection, Mapping
from typing import ClassVar

import numpy as np
import pydantic
from numpy.typing import NDArray

from degeneracy.analysis.dynamics.linear.linear_models import input_responses
from degeneracy.analysis.dynamics.linear.of_halves import Fitted, Halves, OfHalves, Squares
from degeneracy.analysis.measure import SCALE, Measured, nan_finding
from degeneracy.analysis.recording import Recording
from degeneracy.core.errors import UserError

NO_INPUTS = "the inputs do not vary, or were not given"


class ImpulseResponse(OfHalves):
    """The states' answers to inputs of the last few steps, after the best rotation."""

    name: ClassVar[str] = "impulse_response"
    title: ClassVar[str] = "Impulse response"
    methods: ClassVar[str] = (
        "Answers to inputs were compared by the regression of states on the inputs of {n_steps} steps, in units of the "
        "inputs' spread, after the best rotation; the squared distance between halves of one network's trials was "
        "taken away."
    )
    cost: ClassVar[float] = 0.2
    variant_titles: ClassVar[Mapping[str, str]] = {"driven": "driven"}
    ignores: ClassVar[tuple[str, ...]] = (*OfHalves.ignores, SCALE)
    unit: ClassVar[str] = "squared distance"
    meaning: ClassVar[str] = (
        "how differently states answer inputs: squared distance of the regression coefficients of states on the "
        "inputs of the last steps, in units of the inputs' spread, all of norm 1, after the best rotation; unrelated "
        "answers: up to 2"
    )
    zero: ClassVar[str] = "the same answers to inputs up to a rotation and a factor; copies are at 0 on average"
    source: ClassVar[str] = "ours; of a linear system the Markov parameters (Ho & Kalman 1966)"

    n_steps: int = pydantic.Field(4, ge=1, description="steps that are looked at, that of the input and those after it")

    @property
    def n_input_lags(self) -> int:
        """From the last to the first of the steps."""
        return self.n_steps - 1

    def check(self, *, n_units: int, n_steps: int, n_trials: int, held_inputs: Collection[str]) -> None:  # noqa: ARG002
        """Refuse more steps than trials have."""
        if self.n_steps > n_steps:
            raise UserError(f"{self.name}: n_steps = {self.n_steps} is wrong: trials have {n_steps} steps")

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances, where there is an input that varies."""
        halves = recording.lag_grams
        assert halves is not None
        if not halves[0][0].inputs_vary:
            n = len(recording)
            matrix = np.full((n, n), np.nan)
            np.fill_diagonal(matrix, 0.0)
            return Measured(findings=(nan_finding("driven", n, NO_INPUTS),), distances={"driven": matrix})
        return super().__call__(recording)

    def fitted(self, halves: Halves, recording: Recording) -> tuple[Fitted, Fitted]:  # noqa: ARG002
        """The answers of each member, in as many coordinates as there are inputs and steps, at norm 1."""
        lags = self.n_input_lags
        first, second = ([_in_few_coordinates(input_responses(grams, lags)) for grams in half] for half in halves)
        return first, second

    def squares(self, first: Fitted, second: Fitted) -> Squares:
        """2 - 2 sum of the singular values of the answers' products: after the best rotation, exact."""
        products = np.array([[one @ other.T for other in second] for one in first])
        alike = np.linalg.svd(products, compute_uv=False).sum(axis=2)
        return Squares(squares=np.maximum(2 - 2 * alike, 0.0), diagnostics={})


def _in_few_coordinates(answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Answers (unit, number) turned into their own span, (number, number), of norm 1 (or 0)."""
    turned = np.zeros((answers.shape[1],) * 2)
    triangle = np.linalg.qr(answers, mode="r")
    turned[: len(triangle)] = triangle
    size = np.linalg.norm(turned)
    return turned / size if size > 0 else turned
