"""The measures: arrays and plain functions in, numbers with intervals out. Knows no task and no network.

`MEASURES` is the table of what is here; a measure's options are the fields of its class, and all that is said of it
are the class's variables. Of the primary measures of a level, the first in the table stands for it.
"""

from degeneracy.analysis.as_measure import as_measure
from degeneracy.analysis.behavior.accuracy import Accuracy, AccuracySpread
from degeneracy.analysis.behavior.decision_disagreement import DecisionDisagreement
from degeneracy.analysis.behavior.measures import (
    OODErrorCV,
    OODErrorIQR,
    OODErrorMean,
    OODErrorSD,
    OODLogErrorSD,
    OutputDistance,
    ValidPredictionTime,
)
from degeneracy.analysis.dynamics.attractors.census import FixedPointCensus
from degeneracy.analysis.dynamics.attractors.graph_measure import FixedPointGraph
from degeneracy.analysis.dynamics.layout.shape_measures import CKA, SVCCA, Procrustes
from degeneracy.analysis.dynamics.linear.dsa_measure import DSA
from degeneracy.analysis.dynamics.linear.flow_mismatch import FlowMismatch
from degeneracy.analysis.dynamics.linear.impulse_response import ImpulseResponse
from degeneracy.analysis.dynamics.linear.input_dsa import InputDSA
from degeneracy.analysis.dynamics.linear.koopman_spectrum import KoopmanSpectrum
from degeneracy.analysis.dynamics.linear.linear_flow import LinearFlow
from degeneracy.analysis.learning.measures import (
    EffectiveRank,
    KernelAlignment,
    ParticipationRatio,
    RepresentationAlignment,
)
from degeneracy.analysis.measure import Estimate, Finding, Measure, Measured
from degeneracy.analysis.recording import Recording, StepFunction, TangentKernel, Variant, Weights
from degeneracy.analysis.weights.measures import PIF, Orthogonal, SignedPIF, WeightChange

MEASURES: dict[str, type[Measure]] = {
    kind.name: kind
    for kind in (
        OODLogErrorSD,
        OODErrorSD,
        OODErrorMean,
        OODErrorCV,
        OODErrorIQR,
        OutputDistance,
        Accuracy,
        AccuracySpread,
        DecisionDisagreement,
        ValidPredictionTime,
        LinearFlow,
        FlowMismatch,
        InputDSA,
        KoopmanSpectrum,
        ImpulseResponse,
        DSA,
        Procrustes,
        SVCCA,
        CKA,
        FixedPointCensus,
        FixedPointGraph,
        ParticipationRatio,
        SignedPIF,
        PIF,
        Orthogonal,
        EffectiveRank,
        WeightChange,
        RepresentationAlignment,
        KernelAlignment,
    )
}


def primary_measures(level: str) -> list[type[Measure]]:
    """The measures that may stand for a level, in order of preference."""
    return [kind for kind in MEASURES.values() if kind.primary and kind.level == level]


__all__ = [
    "MEASURES",
    "Estimate",
    "Finding",
    "Measure",
    "Measured",
    "Recording",
    "StepFunction",
    "TangentKernel",
    "Variant",
    "Weights",
    "as_measure",
    "primary_measures",
]


def __dir__() -> list[str]:
    """The public names, without the files that they are in."""
    return sorted(__all__)
