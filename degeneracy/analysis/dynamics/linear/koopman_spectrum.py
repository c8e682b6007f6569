"""The measure Koopman spectrum: eigenvalues of the linear model of one step, compared across networks."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from degeneracy.analysis.dynamics.linear.distances_of_halves import ordered_pairs
from degeneracy.analysis.dynamics.linear.linear_flow import OfLinearModels
from degeneracy.analysis.dynamics.linear.of_halves import Fitted, Squares
from degeneracy.analysis.measure import SCALE
from degeneracy.analysis.operator_alignment import pairs as alignment


class KoopmanSpectrum(OfLinearModels):
    """The eigenvalues of the linear model of one step, given the input."""

    name: ClassVar[str] = "koopman_spectrum"
    title: ClassVar[str] = "Koopman spectrum"
    methods: ClassVar[str] = (
        "Time scales were compared by the eigenvalues of linear models of one step, given the inputs (rank {rank}, "
        "delays: {n_delays}), matched one to one; the squared distance between halves of one network's trials was "
        "taken away."
    )
    cost: ClassVar[float] = 0.6
    variant_titles: ClassVar[Mapping[str, str]] = {"driven": "driven"}
    ignores: ClassVar[tuple[str, ...]] = (*OfLinearModels.ignores, SCALE)
    unit: ClassVar[str] = "squared eigenvalue"
    meaning: ClassVar[str] = (
        "how differently fast states decay and turn: mean squared distance of the eigenvalues of the linear map of one "
        "step given the input, matched one to one; blind to the directions in which they act, and eigenvalues of axes "
        "that hardly vary count in full, so that it hangs on the rank, and on which trials were drawn: its interval, "
        "which counts networks alone, is too narrow by a fifth to a third at 2,048 trials"
    )
    zero: ClassVar[str] = "the same eigenvalues; copies are at 0 on average"
    source: ClassVar[str] = (
        "Redman et al. (2024), arXiv 2302.04471, as a matched squared distance; given the input: ours"
    )

    def squares(self, first: Fitted, second: Fitted) -> Squares:
        """Of the eigenvalues in the best matching; exact."""
        one, other = (np.array([step.a for step in half]) for half in (first, second))
        n = len(first)
        fit = alignment.fit_among(one, other, *ordered_pairs(n), score="wasserstein")
        return Squares(squares=fit.distance.reshape(n, n) ** 2, diagnostics={})
