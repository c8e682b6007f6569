"""Names and units of what a result has: each distance once, in its own unit."""

import numpy as np

from degeneracy.analysis import Finding, Measured
from degeneracy.analysis.statistics.jackknife import pair_mean
from degeneracy.measuring.results import Result
from degeneracy.plots.changes import rows_of_spread
from degeneracy.plots.distances import _known
from degeneracy.wording.names import distance_unit, distances_of_level, findings_of_level, full_name

MATRIX = 1.0 - np.eye(3)
UNITS = {"recurrent": "", "recurrent/per_parameter": "per weight", "recurrent/relative": "share of the weights' norm"}
MEASURED = Measured(
    findings=tuple(
        Finding(variant=variant, value=pair_mean(MATRIX), of=variant, unit=unit)
        for variant, unit in {**UNITS, "joint": ""}.items()
    ),
    distances={**dict.fromkeys(UNITS, MATRIX), "joint": MATRIX},
)
RESULT = Result(
    condition="a",
    members=(),
    measured_members=("0", "1", "2"),
    levels={"signed_pif": "weights"},
    measured={"signed_pif": MEASURED},
)


def test_distances_said_over_again_take_no_place_in_figures() -> None:
    """They are in the table, and are drawn where they are asked for by name."""
    drawn = ["signed_pif/recurrent", "signed_pif/joint"]
    assert distances_of_level([RESULT], "weights") == drawn
    assert _known([RESULT], ()) == drawn
    assert _known([RESULT], ["signed_pif/recurrent/relative"]) == ["signed_pif/recurrent/relative"]
    assert findings_of_level([RESULT], "weights") == [("signed_pif", "recurrent"), ("signed_pif", "joint")]
    assert list(rows_of_spread(RESULT.table)["variant"]) == ["recurrent", "joint"]
    assert list(RESULT.table["variant"]) == [*UNITS, "joint"]


def test_each_distance_has_its_own_unit() -> None:
    for variant, unit in UNITS.items():
        assert distance_unit(MEASURED, variant) == unit
    assert distance_unit(MEASURED) == ""
    assert full_name("signed_pif", "recurrent/relative") == "Signed PIF, recurrent, relative"
