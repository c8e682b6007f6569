"""The measure flow mismatch: how badly each network's linear dynamics predicts the steps of another's states."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from degeneracy.analysis.dynamics.linear.distances_of_halves import ordered_pairs
from degeneracy.analysis.dynamics.linear.linear_flow import OfSearchedModels
from degeneracy.analysis.dynamics.linear.of_halves import Fitted, OfHalves, Squares
from degeneracy.analysis.measure import SCALE, fit_diagnostics
from degeneracy.analysis.operator_alignment.flows import fit_flows


class FlowMismatch(OfSearchedModels):
    """The share of each network's motion that the other's linear dynamics gets wrong, in the best coordinates."""

    name: ClassVar[str] = "flow_mismatch"
    title: ClassVar[str] = "Flow mismatch"
    methods: ClassVar[str] = (
        "Dynamics were compared by how much of the motion of each network's states the other's linear model of one "
        "step, given the inputs, gets wrong (rank {rank}, delays: {n_delays}), after the best orthogonal change of "
        "basis; the squared distance between halves of one network's trials was taken away."
    )
    cost: ClassVar[float] = 6.0
    variant_titles: ClassVar[Mapping[str, str]] = {"driven": "driven"}
    ignores: ClassVar[tuple[str, ...]] = (*OfHalves.ignores, SCALE)
    unit: ClassVar[str] = "squared share"
    meaning: ClassVar[str] = (
        "how badly one network's linear dynamics predicts the steps of another's states: squared error of one step, "
        "given the input, over the squared length of that step, both ways, after the best orthogonal change of basis; "
        "1: as badly as to say that nothing moves; unlike linear flow it tells maps apart that differ by a factor"
    )
    zero: ClassVar[str] = "each predicts the other's steps as well as its own; copies are at 0 on average"
    source: ClassVar[str] = "ours, after Ostrow et al. (2023), arXiv 2306.10168"
    revision: ClassVar[int] = 1  # the search goes further in a step, and is in single precision until the best are near

    def squares(self, first: Fitted, second: Fitted) -> Squares:
        """Of the linear models and the states' spread."""
        one, other = ((np.array([s.a for s in half]), np.array([s.spread for s in half])) for half in (first, second))
        n = len(first)
        fit = fit_flows(one, other, *ordered_pairs(n), n_starts=self.n_starts, seed=self.seed)
        return Squares(squares=fit.square.reshape(n, n), diagnostics=fit_diagnostics(fit.spread, fit.converged))
