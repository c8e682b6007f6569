"""Networks made by hand for delayed cue discrimination, whose dynamics are known: slow points, or limit cycles."""

import numpy as np
import torch

from degeneracy.core.streams import Streams
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.networks import Network
from degeneracy.tasks import DelayedCue
from degeneracy.training import History, Member

TASK = DelayedCue()
N_UNITS = 32
SLOW, CYCLE = "slow point", "limit cycle"


def planted_weights(kind: str, rng: np.random.Generator) -> tuple[dict[str, torch.Tensor], float]:
    """The parameters of a tanh network, and the leading eigenvalue of its point at 0, or the period of its cycle.

    Without input 0 is at rest. With two random orthonormal directions Q (unit, 2), W_rec is rho Q R(2 pi / period) Q'
    of a cycle: 0 is unstable for rho > 1, and what leaves it turns. Of a slow point W_rec is rho q q' with rho just
    under 1: states come back to 0 along q, by a factor of rho a step at the most. Either cue pushes along the first
    direction, one forward and one back; the readout looks along the state in the middle of the reaction to cue 1.
    """
    q = np.linalg.qr(rng.normal(size=(N_UNITS, 2)))[0]
    if kind == CYCLE:
        rho, period = rng.uniform(1.2, 1.4), rng.uniform(22, 28)
        angle = 2 * np.pi / period
        recurrent = rho * q @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ q.T
        known = period
    else:
        known = rng.uniform(0.96, 0.99)
        recurrent = known * q[:, :1] @ q[:, :1].T
    push = rng.uniform(0.5, 1.0) * q[:, 0]
    into = np.stack([push, -push], axis=1)
    h = np.zeros(N_UNITS)
    for t in range(TASK.cue_steps + TASK.delay_steps + TASK.reaction_steps // 2):
        h = np.tanh(recurrent @ h + into[:, 0] * (t < TASK.cue_steps))
    arrays = {
        "W_rec": recurrent, "W_in": into, "bias": np.zeros(N_UNITS),
        "W_out": np.stack([h, -h]) / (h @ h), "b_out": np.zeros(2),
    }  # fmt: skip
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, known


def planted(kinds: list[str], seed: int) -> tuple[Ensemble, list[float]]:
    """An ensemble with a network of each kind, and what is known of each."""
    rng = np.random.default_rng(seed)
    made = [planted_weights(kind, rng) for kind in kinds]
    members = tuple(
        Member(seed=k, status="given", initial={}, final=weights, history=History.empty())
        for k, (weights, _) in enumerate(made)
    )
    return Ensemble(network=Network(hidden_size=N_UNITS), members=members), [known for _, known in made]


def right_in_the_reaction(ensemble: Ensemble) -> np.ndarray:
    """Whether the higher output in mid-reaction is that of the cue in all trials, (member,)."""
    trials = TASK.sample(Streams([0], "data"), 20)
    _, outputs = ensemble.rollout(trials.inputs[0])
    middle = TASK.cue_steps + TASK.delay_steps + TASK.reaction_steps // 2
    called_for = trials.targets[0, :, middle].argmax(-1).numpy()
    right: np.ndarray = (outputs[:, :, middle].argmax(-1) == called_for).all(axis=1)
    return right
