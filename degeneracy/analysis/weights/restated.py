"""Distances of weights said over again: over the number of weights that are compared, and over their norm.

    per parameter   d(A, B) / n               n = units^2, times the gates of gated cells; of the larger of two networks
    relative        d(A, B) / sqrt((||A||^2 + ||B||^2) / 2)

Raw distances grow with the number of units N, about as the root of it: N^2 entries of variance 1/N each. Divided by
N^2, as published, they fall as N^(-3/2). Both hold for weights in random order as well, so neither is evidence of
networks becoming more or less alike. Relative to the norm a little is left, since more units are harder to match
(untrained tanh networks, PIF: 1.15, 1.21 and 1.26 at 32, 64 and 128 units). Between floor and shuffled weights
nothing is left: untrained networks are at 1 at any size.

Source of "per parameter": Huang et al. (2025), arXiv 2410.03972, for networks of different sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from degeneracy.analysis.measure import PER_PARAMETER, RELATIVE, UNTRAINED
from degeneracy.analysis.recording import Array

TITLES: Mapping[str, str] = {
    "recurrent": "recurrent",
    f"recurrent{PER_PARAMETER}": "recurrent, per parameter",
    f"recurrent{RELATIVE}": "recurrent, relative",
    f"recurrent{UNTRAINED}": "recurrent, against untrained",
}
UNITS: Mapping[str, str] = {"": "", PER_PARAMETER: "per weight", RELATIVE: "share of the weights' norm"}
FALLS = "falls with the number of units for shuffled weights too"
NOTES: Mapping[str, str] = {"": "", PER_PARAMETER: f"over the number of weights, as published: {FALLS}", RELATIVE: ""}
_COMPARE = "sizes are compared by the calibrated value"
_A_LITTLE = f"it changes a little with the number of units for shuffled weights too: {_COMPARE}"
ACROSS_SIZES: Mapping[str, str] = {
    "recurrent": f"it grows with the number of units for shuffled weights too: {_COMPARE}",
    f"recurrent{PER_PARAMETER}": f"it {FALLS}: {_COMPARE}",
    f"recurrent{RELATIVE}": _A_LITTLE,
    "joint": _A_LITTLE,
}


@dataclass(frozen=True, kw_only=True)
class PairDistances:
    """Distances of pairs with what they are set in proportion to, each (pair,)."""

    distance: Array
    norm: Array  # root mean square of the two networks' norms
    n_parameters: Array

    def over(self, ending: str) -> Array:
        """The distances as the variant with this ending says them; 0 where both networks have no weights at all."""
        if ending == PER_PARAMETER:
            return self.distance / np.maximum(self.n_parameters, 1)
        if ending == RELATIVE:
            return np.divide(self.distance, self.norm, out=np.zeros_like(self.distance), where=self.norm > 0)
        return self.distance


def all_pairs(n_members: int, of_pairs: Array | Sequence[float]) -> Array:
    """Distances (member, member) from those of the pairs in the order of `np.triu_indices`."""
    matrix = np.zeros((n_members, n_members))
    first, second = np.triu_indices(n_members, k=1)
    matrix[first, second] = matrix[second, first] = of_pairs
    return matrix
