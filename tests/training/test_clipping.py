"""What is clipped is a member's whole gradient: the task's, and what regularisers add to it."""

import pytest
import torch

from degeneracy.core.streams import Streams
from degeneracy.networks import Network, initial_params
from degeneracy.tasks import FlipFlop
from degeneracy.training.backends import BACKENDS, Batch
from degeneracy.training.costs import Costs
from degeneracy.training.flat_parameters import Groups, flatten
from degeneracy.training.optimisers import Adam
from degeneracy.training.updates import Updates


@pytest.mark.parametrize(
    ("cell", "backend"),
    [("tanh", "autograd"), ("tanh", "bptt"), ("tanh", "compiled"), ("gru", "autograd"), ("gru", "compiled")],
)
def test_regularisers_are_clipped_with_the_task(cell: str, backend: str) -> None:
    """Member 0's penalty takes it over the norm that its task alone keeps under; member 1 has none."""
    network = Network(hidden_size=10, cell=cell)
    params = initial_params(network, 2, 2, range(2))
    trials = FlipFlop(channels=2, n_steps=7).sample(Streams(range(2), "data"), 6)
    strengths = torch.tensor([3.0, 0.0])
    batch = Batch(cell=network.build_cell(), params=params, trials=trials)
    _, _, grads = BACKENDS["autograd"]().gradients(batch)
    clip_norm = 1.5 * flatten({name: grads[name] for name in params}).norm(dim=1).max().item()
    penalised = grads["W_rec"] + 2 * strengths[:, None, None] * params["W_rec"]
    whole = flatten({name: grads[name] for name in params} | {"W_rec": penalised})
    norms = whole.norm(dim=1)
    assert norms[0] > 2 * clip_norm > clip_norm > norms[1]

    flat = flatten(params).clone()
    adam = Adam().start(flat, Groups.plain(flat.shape[1]))
    costs = Costs(strengths={"l2": strengths})
    update = Updates(network.build_cell(), backend, flat, params, adam, clip_norm, costs)
    _, found, _ = update(trials, {}, torch.tensor([1e-3, 1e-3]))
    torch.testing.assert_close(found, norms, rtol=1e-5, atol=0)
    # After one update the first moment is 0.1 of the clipped gradient.
    expected = whole * torch.tensor([clip_norm / norms[0].item(), 1.0]).unsqueeze(1)
    torch.testing.assert_close(10 * adam.first, expected, rtol=1e-4, atol=1e-6)
