"""The reference of a distance of states is what the same measure finds among the untrained networks' states."""

import numpy as np
import pytest

from degeneracy.analysis import MEASURES, Recording

NAMES = ("a", "b", "c")
OPTIONS = {"dsa": {"rank": 2, "n_delays": 2, "n_starts": 8}}


def walks(seed: int) -> list[np.ndarray]:
    """States (trial, time, unit) of three members."""
    return list(np.random.default_rng(seed).normal(size=(3, 8, 12, 3)).cumsum(2))


@pytest.mark.parametrize("name", ["dsa", "procrustes", "svcca", "cka"])
def test_references_come_from_the_untrained_networks_same_states(name: str) -> None:
    measure = MEASURES[name](**OPTIONS.get(name, {}))
    untrained = Recording(members=NAMES, states=walks(2), autonomous_states=walks(3))
    recording = Recording(members=NAMES, states=walks(0), autonomous_states=walks(1), untrained=untrained)
    found = {finding.variant: finding for finding in measure(recording).findings}
    assert set(found) == ({"driven", "autonomous"} if name == "dsa" else {"driven"})
    # As if the untrained states were those of networks before a training that left them as they were.
    for variant, states in (("driven", walks(2)), ("autonomous", walks(3))):
        if variant in found:
            same = Recording(members=NAMES, states=states)
            [alike] = measure(Recording(members=NAMES, states=states, untrained=same)).findings
            assert found[variant].reference.value == pytest.approx(alike.reference.value, rel=1e-6)
            assert found[variant].reference.value != pytest.approx(found[variant].value.value, rel=1e-3)
            if name != "dsa":  # whose pairs are averaged over both halves
                assert found[variant].reference.value == pytest.approx(alike.value.value, rel=1e-9)
