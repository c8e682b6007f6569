"""A golden training: a refactor leaves the losses of a short, deterministic training as they are.

The losses are kept in `data/golden_losses.json`. Where a change is meant to change them, make them anew with
`python tests/training/test_golden.py` and say why in the changelog.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from degeneracy.networks import Network
from degeneracy.tasks import FlipFlop
from degeneracy.training import Training, train_stack

GOLDEN = Path(__file__).parents[1] / "data" / "golden_losses.json"
TASK = FlipFlop(channels=2, n_steps=20)
TRAINING = Training(learning_rate=0.01, batch_size=16, steps_per_epoch=10, max_epochs=4)
NETWORKS = {
    "tanh": Network(hidden_size=16),
    "leaky_tanh, noise": Network(hidden_size=16, cell="leaky_tanh", sigma_rec=0.05),
    "gru": Network(hidden_size=16, cell="gru"),
    "min_gru, noise": Network(hidden_size=16, cell="min_gru", sigma_rec=0.05),
    "leaky_tau": Network(hidden_size=16, cell="leaky_tau"),
    "tanh, low_rank": Network(hidden_size=16, recurrent="low_rank"),
    "relu, dale": Network(hidden_size=16, cell="relu", recurrent="dale"),
}


def losses(network: Network) -> list[float]:
    """The losses of 40 updates of seed 0."""
    return [float(loss) for loss in train_stack(TASK, network, TRAINING, [0])[0].history.loss]


@pytest.mark.parametrize("name", NETWORKS)
def test_losses_are_as_they_were(name: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = losses(NETWORKS[name])
    assert len(found) == len(golden) == 40
    # The first loss comes before any update: float32 rounding alone, under 1e-6.
    assert found[0] == pytest.approx(golden[0], rel=1e-5)
    # Another BLAS or CPU rounds differently: moving every initial weight at random by 2 units in the last place moves
    # these losses by 5e-7 at most (12 draws), the other backend by less. 100 times that; a wrong sign or a lost
    # factor moves them by percents.
    np.testing.assert_allclose(found, golden, rtol=5e-5)


if __name__ == "__main__":
    GOLDEN.write_text(
        json.dumps({name: losses(network) for name, network in NETWORKS.items()}, indent=1) + "\n",
        encoding="utf-8",
    )
