"""How far weights moved."""

import numpy as np
import pytest

from degeneracy.analysis.recording import Weights
from degeneracy.analysis.weights import pif


def test_weight_change_by_hand():
    before, after = (
        Weights.of(recurrent=np.array([[[3.0, 0], [0, 4]]])),
        Weights.of(recurrent=np.array([[[3.0, 2], [1, 2]]])),
    )
    # Changes 0, 2, 1, -2: sqrt(9) = 3; ||W_0|| = sqrt(9 + 16) = 5.
    assert pif.weight_change(before, after) == pytest.approx((3.0, 0.6), abs=1e-10)
    assert pif.weight_change(before, before) == (0.0, 0.0)
    assert np.isnan(pif.weight_change(Weights.of(recurrent=np.zeros((1, 2, 2))), after)[1])
