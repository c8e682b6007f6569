"""Random streams: a member's numbers depend on its seed and the stream's name, and on nothing else."""

import hashlib

import numpy as np
import pytest
import torch

import degeneracy as dg
from degeneracy.core.streams import Streams, generator

NAMES = ("initialisation", "data", "noise", "probe", "kick", "lesion", "probe noise 1", "probe noise 2")
DRAWS = {
    "uniform": lambda streams: streams.uniform((3, 4), -1.0, 2.0),
    "normal": lambda streams: streams.normal((3, 4)),
    "integers": lambda streams: streams.integers((3, 4), -2, 7),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_members_numbers_are_the_same_in_any_company(draw) -> None:
    company, alone = draw(Streams([3, 1, 7], "data")), draw(Streams([1], "data"))
    assert company.shape == (3, 3, 4)
    assert torch.equal(company[1], alone[0])
    assert not torch.equal(company[0], company[1])


def test_a_draw_does_not_depend_on_how_often_others_drew() -> None:
    both = Streams([0, 1], "data")
    both.uniform((5,))
    rest = both.select([1])
    alone = Streams([1], "data")
    alone.uniform((5,))
    assert rest.seeds == (1,)
    assert torch.equal(rest.normal((4,))[0], alone.normal((4,))[0]), "a selected stream goes on where it was"


def test_streams_of_one_seed_are_independent_by_name() -> None:
    draws = torch.stack([Streams([0], name).normal((2000,))[0] for name in NAMES])
    correlation = torch.corrcoef(draws) - torch.eye(len(NAMES))
    # The sd of the correlation of 2000 independent pairs is 0.022; 28 pairs: 5 sd.
    assert correlation.abs().max() < 0.11


def test_the_seeds_of_the_named_streams_do_not_collide() -> None:
    # torch's CPU generator looks at the low 32 bits of its seed alone, so the names are hashed to these.
    low = generator(0, "data")
    twin = torch.Generator().manual_seed(low.initial_seed() % 2**32)
    assert torch.equal(torch.rand(4, generator=low), torch.rand(4, generator=twin)), "torch has changed"
    seeds = {generator(seed, name).initial_seed() % 2**32 for name in NAMES for seed in range(1000)}
    assert len(seeds) == 1000 * len(NAMES)


def test_the_seed_of_a_stream_is_the_hash_of_its_name() -> None:
    # By hand: the first 8 bytes of the digest, lowest first, without the lowest bit. Other numbers: other networks.
    digest = hashlib.sha256(b"initialisation/5").digest()
    by_hand = sum(byte * 256**k for k, byte in enumerate(digest[:8])) // 2
    assert generator(5, "initialisation").initial_seed() == by_hand


def test_draws_keep_to_their_ranges() -> None:
    streams = Streams([0, 1], "data")
    uniform, whole = streams.uniform((4000,), -1.0, 2.0), streams.integers((4000,), -2, 3)
    assert uniform.min() >= -1
    assert uniform.max() < 2
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.05)  # sd of the mean 0.87 / sqrt(8000) = 0.01
    assert whole.unique().tolist() == [-2, -1, 0, 1, 2]
    normal = streams.normal((4000,), dtype=torch.float64)
    assert normal.dtype == torch.float64
    assert normal.std().item() == pytest.approx(1, abs=0.05)  # sd 1 / sqrt(16000) = 0.008


def test_no_part_of_the_flow_touches_global_random_state() -> None:
    task = dg.tasks.FlipFlop(channels=1, n_steps=12)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the state that must not move
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    training = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=1, patience=0, n_fixed_trials=8)
    network = dg.Network(hidden_size=6, sigma_rec=0.1, sigma_in=0.1)
    ensemble = dg.train(task.replace(threshold=9.0), network, training.replace(patience=0), seeds=[0, 1, 2], jobs=1)
    assert len(ensemble.converged) == 3
    options = {"dsa": {"rank": 3, "n_delays": 2, "n_starts": 4}, "fixed_points": {"n_starts": 8}}
    dg.measure(ensemble, task, probe=dg.Probe(n_trials=4), options=options)
    assert torch.equal(torch.get_rng_state(), torch_before)
    after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(after[1], numpy_before[1])
    assert after[2:] == numpy_before[2:]


def test_global_seeds_change_no_result() -> None:
    task = dg.tasks.FlipFlop(channels=1, n_steps=8)
    training = dg.Training(batch_size=4, steps_per_epoch=3, max_epochs=1, patience=0)
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(dg.train(task, dg.Network(hidden_size=4, sigma_rec=0.1), training, seeds=[4], jobs=1))
    assert torch.equal(found[0].params()["W_rec"], found[1].params()["W_rec"])


def test_streams_go_on_from_a_state_they_were_in() -> None:
    streams = Streams([3, 4], "data")
    streams.uniform((5,))
    states = streams.states()
    drawn = streams.uniform((5,))
    streams.restore(states)
    assert torch.equal(streams.uniform((5,)), drawn)
