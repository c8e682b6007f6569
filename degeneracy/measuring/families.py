"""Solution families: groups of networks that solve a task alike, by several features of their dynamics together."""

from collections.abc import Sequence

from degeneracy.analysis.dynamics.attractors.graph_measure import FixedPointGraph
from degeneracy.analysis.dynamics.linear.linear_flow import LinearFlow
from degeneracy.analysis.measure import HELD
from degeneracy.analysis.statistics import families
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.measuring.results import Result

# What states run into and by which pulses, whether that is rest or a cycle, and how deviations move on the way.
FEATURES = {FixedPointGraph.name: ("graph", "endings"), LinearFlow.name: ("driven",)}


@ordinary_state()
def solution_families(result: Result, features: Sequence[str] = (), *, seed: int = 0) -> families.Families:
    """How many families of solutions the networks of one condition form, and which network is in which.

    Measured on networks made by hand for delayed cue discrimination, 16 in an ensemble: 8 with slow points and 8 on
    limit cycles are told apart without a mistake (adjusted Rand index 1 in 20 of 20 ensembles); of 100 ensembles on
    limit cycles alone 96 are one family, of 100 with slow points alone 99.

    Args:
        result: what was measured.
        features: names in `result.distances`, each counting as much; by default the graphs of attractors, the shares of
            states at rest and on cycles, and the linear flow, as far as they were measured.
        seed: of the clouds without groups that the best split has to beat.

    Returns:
        Labels in the order of `result.measured_members`; see `analysis.statistics.families.solution_families`.

    Raises:
        UserError: a distance that was not measured, or none at all.
    """
    names = list(features) or [name for name in result.distances if _is_feature(name)]
    if not names:
        raise UserError(f"families: none of {', '.join(FEATURES)} was measured; name features among result.distances")
    return families.solution_families(families.combined({name: result.distances[name] for name in names}), seed=seed)


def _is_feature(name: str) -> bool:
    measure, _, variant = name.partition("/")
    return variant.partition(HELD)[0] in FEATURES.get(measure, ())
