"""Figures of results: functions that take a study or a condition and return a matplotlib figure.

Nothing here uses pyplot; a notebook shows what is returned. The report is made of these.
"""

from degeneracy.plots.agreement import agreement
from degeneracy.plots.behavior import ood_errors
from degeneracy.plots.distances import distance_heatmaps, mds_maps, pair_distances, weight_distances
from degeneracy.plots.effects import effects
from degeneracy.plots.factors import against_factor, interval_width, overview
from degeneracy.plots.parametrisation import coordinate_check
from degeneracy.plots.run_panels import dsa_sensitivity, during_training
from degeneracy.plots.states import fixed_points
from degeneracy.plots.survivorship import distance_against_updates
from degeneracy.plots.training import convergence, example_trials, training_curves
from degeneracy.plots.transitions import transition_graph
from degeneracy.plots.trials import trials
from degeneracy.plots.tuning import tuning_curve
from degeneracy.plots.variability_shares import variability_shares
from degeneracy.plots.verdicts import verdicts

__all__ = [
    "against_factor",
    "agreement",
    "convergence",
    "coordinate_check",
    "distance_against_updates",
    "distance_heatmaps",
    "dsa_sensitivity",
    "during_training",
    "effects",
    "example_trials",
    "fixed_points",
    "interval_width",
    "mds_maps",
    "ood_errors",
    "overview",
    "pair_distances",
    "training_curves",
    "transition_graph",
    "trials",
    "tuning_curve",
    "variability_shares",
    "verdicts",
    "weight_distances",
]


def __dir__() -> list[str]:
    """The public names, without the files that they are in."""
    return sorted(__all__)
