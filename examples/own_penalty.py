"""A penalty of your own: weights between distant units cost more, so that wiring becomes local.

Run it with `python examples/own_penalty.py`. In a study file the penalty is named by where it is defined:

    training.regularisers = { "own_penalty:DISTANCE" = 0.01 }
"""

import torch
from torch import Tensor

import degeneracy as dg


def wiring_length(w: Tensor) -> Tensor:
    """Sum of |weight| times the distance of its two units, which lie on a ring.

    Args:
        w: the recurrent weights, (member, gate, post, pre).

    Returns:
        (member,)
    """
    place = torch.arange(w.shape[-1], device=w.device)
    apart = (place[:, None] - place).abs()
    distance = torch.minimum(apart, w.shape[-1] - apart) / w.shape[-1]
    return (w.abs() * distance).sum((1, 2, 3))


# Its gradient is taken by autograd; where you know it, `gradient=` is faster.
DISTANCE = dg.Regulariser(
    summary="wiring length on a ring",
    source="as in Jacobs & Jordan (1992), J Cogn Neurosci 4:323",
    on="weights",
    penalty=wiring_length,
)


def main() -> None:
    """Train small networks with and without the penalty, and say how long their wiring is."""
    task = dg.tasks.FlipFlop(channels=2, n_steps=20, threshold=0.05)
    network = dg.Network(hidden_size=16)
    training = dg.Training(batch_size=32, steps_per_epoch=25, max_epochs=40, learning_rate=0.01)
    for strength in (0.0, 0.003):
        training = training.replace(regularisers={"own_penalty:DISTANCE": strength})
        ensemble = dg.train(task, network, training, seeds=range(3), jobs=1, progress=False)
        weights = torch.stack([member.final["W_rec"] for member in ensemble.members])
        print(f"strength {strength:g}: wiring length {wiring_length(weights[:, None]).mean():.1f}")


if __name__ == "__main__":
    main()
