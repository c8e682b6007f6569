"""The measure InputDSA: linear models of one step, of states alone and together with what inputs do."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from degeneracy.analysis.dynamics.linear.distances_of_halves import ordered_pairs, squared_chords
from degeneracy.analysis.dynamics.linear.impulse_response import NO_INPUTS
from degeneracy.analysis.dynamics.linear.linear_flow import OfSearchedModels
from degeneracy.analysis.dynamics.linear.of_halves import Fitted, OfHalves, Squares
from degeneracy.analysis.measure import SCALE, Measured, fit_diagnostics, nan_finding
from degeneracy.analysis.operator_alignment.halves import fit_halves
from degeneracy.analysis.operator_alignment.joint import fit_joint
from degeneracy.analysis.operator_alignment.pairs import normalised
from degeneracy.analysis.recording import Array, Recording


class InputDSA(OfSearchedModels):
    """The linear map of one step given the input, alone and under one change of basis with what an input adds."""

    name: ClassVar[str] = "input_dsa"
    title: ClassVar[str] = "InputDSA"
    methods: ClassVar[str] = (
        "Dynamics were compared by InputDSA (Huang et al. 2025): the maps of states and of inputs in linear models of "
        "one step, fitted within trials (rank {rank}, delays: {n_delays}), of states alone and jointly, after the best "
        "orthogonal change of basis; the squared distance between halves of one network's trials was taken away."
    )
    cost: ClassVar[float] = 7.0
    variant_titles: ClassVar[Mapping[str, str]] = {"state": "states", "joint": "states and inputs"}
    ignores: ClassVar[tuple[str, ...]] = (*OfHalves.ignores, SCALE)
    unit: ClassVar[str] = "squared distance"
    meaning: ClassVar[str] = (
        "how differently states move and answer inputs: squared distance of A in h' = A h + B u', at norm 1, after the "
        "best orthogonal change of basis ('state'); mean of those of A and B, each at norm 1, under one change of "
        "basis ('joint'); axes that hardly vary count in full; networks that are not linear have another A on inputs "
        "of other statistics"
    )
    zero: ClassVar[str] = (
        "the same A up to a change of basis and a factor, and by it the same B; copies are at 0 on average"
    )
    source: ClassVar[str] = "Huang, Ostrow et al. (2025), arXiv 2510.25943, fitted within trials, noise taken away"
    revision: ClassVar[int] = 1  # the search goes further in a step, and is in single precision until the best are near

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances of the states' maps, and of both maps where there is an input that varies."""
        of_states = super().__call__(recording)
        halves, n = recording.lag_grams, len(recording)
        assert halves is not None
        if halves[0][0].inputs_vary:
            joint = _Joint(**self.model_dump())(recording)
        else:
            matrix = np.full((n, n), np.nan)
            np.fill_diagonal(matrix, 0.0)
            joint = Measured(findings=(nan_finding("joint", n, NO_INPUTS),), distances={"joint": matrix})
        return Measured(
            findings=(*of_states.findings, *joint.findings),
            distances={**of_states.distances, **joint.distances},
            diagnostics={
                f"{variant}/{key}": number
                for variant, measured in (("state", of_states), ("joint", joint))
                for key, number in measured.diagnostics.items()
            },
        )

    def squares(self, first: Fitted, second: Fitted) -> Squares:
        """Of the states' maps at norm 1."""
        one, other = (np.array([step.a for step in half]) for half in (first, second))
        fit = fit_halves(one, other, n_starts=self.n_starts, seed=self.seed)
        return Squares(squares=squared_chords(fit.distance), diagnostics=fit_diagnostics(fit.spread, fit.converged))


class _Joint(InputDSA):
    """The variant of states and inputs under one change of basis."""

    variant_titles: ClassVar[Mapping[str, str]] = {"joint": "states and inputs"}

    def __call__(self, recording: Recording) -> Measured:
        """Pairwise distances of both maps."""
        return OfHalves.__call__(self, recording)

    def squares(self, first: Fitted, second: Fitted) -> Squares:
        """The mean of those of both maps at norm 1, under one change of basis."""
        one, other = (_at_norm_1(half) for half in (first, second))
        n = len(first)
        fit = fit_joint(one, other, *ordered_pairs(n), n_starts=self.n_starts, seed=self.seed)
        return Squares(
            squares=(fit.state + fit.input).reshape(n, n) / 2, diagnostics=fit_diagnostics(fit.spread, fit.converged)
        )


def _at_norm_1(steps: Fitted) -> tuple[Array, Array]:
    """The maps of states and of inputs, each at norm 1 (or 0)."""
    return normalised(np.array([step.a for step in steps]))[0], normalised(np.array([step.b for step in steps]))[0]
