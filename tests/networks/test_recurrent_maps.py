"""Recurrent maps: they start as dense networks do, keep what they promise, and say where they do not serve."""

import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import degeneracy as dg
from degeneracy.checks import MAP_CLAIMS, CheckFailed, check_recurrent_map
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.networks import RECURRENT_MAPS, Network, Params, RecurrentMap, initial_params
from degeneracy.networks.recurrent_maps import Dale, Dense, LowRank

N, IN, OUT = 9, 2, 2
MAPS = {name: kind() for name, kind in RECURRENT_MAPS.items()}
MAPS |= {"rank 1": LowRank(rank=1), "full rank": LowRank(rank=10), "half": Dale(excitatory=0.5)}


@pytest.mark.parametrize("claim", MAP_CLAIMS)
@pytest.mark.parametrize("name", MAPS)
def test_every_map_keeps_its_claims(name: str, claim: str) -> None:
    MAP_CLAIMS[claim](MAPS[name])


@pytest.mark.parametrize("kind", RECURRENT_MAPS.values())
def test_every_entry_of_the_table_says_what_it_is(kind: type[RecurrentMap]) -> None:
    assert RECURRENT_MAPS[kind.name] is kind
    assert kind.summary.strip()
    assert kind.source.strip()


class Idle(Dense):
    """Trains what does not act."""

    name: ClassVar[str] = "idle"

    def free(self, drawn: Tensor, sd: float, streams: Streams) -> Params:
        return super().free(drawn, sd, streams) | {"more": drawn}


class Mixing(Dale):
    """Says that units are alike whose signs differ."""

    name: ClassVar[str] = "mixing"

    def classes(self, n_units: int) -> tuple[str, ...]:  # noqa: ARG002
        return ()


class Flipping(Dale):
    """Says that units may change sign."""

    name: ClassVar[str] = "flipping"

    def symmetry(self, cell: str) -> str:
        return cell


class Common(LowRank):
    """Takes the mean over members."""

    name: ClassVar[str] = "common"

    def acting(self, free: Params) -> Tensor:
        return super().acting(free) + 0.1 * super().acting(free).mean(0)


class Rounded(LowRank):
    """Cuts the gradient of half of what acts."""

    name: ClassVar[str] = "rounded"

    def acting(self, free: Params) -> Tensor:
        product = super().acting(free)
        return 0.5 * product + 0.5 * product.detach()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Idle, "more has a gradient"),
        (Mixing, "copies under 'permutation' are such as the map makes"),
        (Flipping, "copies under 'signed_permutation' are such as the map makes"),
        (Common, "a member's weights do not depend on its companions"),
        (Rounded, "the gradient of left is off by"),
    ],
)
def test_checks_can_fail(kind: type[RecurrentMap], said: str) -> None:
    with pytest.raises(CheckFailed, match=said):
        check_recurrent_map(kind())


def test_weights_by_hand() -> None:
    left, right = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[[5.0, 6.0], [7.0, 8.0]]])
    # [1 5 + 2 6, 1 7 + 2 8; 3 5 + 4 6, 3 7 + 4 8]
    assert LowRank().acting({"left": left, "right": right})[0].tolist() == [[17.0, 23.0], [39.0, 53.0]]
    size = torch.tensor([[[1.0, -2.0], [-3.0, 4.0]]])
    assert Dale(excitatory=0.5).acting({"size": size})[0].tolist() == [[1.0, -2.0], [3.0, -4.0]]


@pytest.mark.parametrize("cell", ["tanh", "gru"])
@pytest.mark.parametrize("name", ["low_rank", "dale"])
def test_all_other_parameters_are_those_of_the_dense_network(name: str, cell: str) -> None:
    dense, mapped = (
        initial_params(Network(hidden_size=N, cell=cell, recurrent=each), IN, OUT, [3, 8]) for each in ("dense", name)
    )
    assert dense.keys() == mapped.keys()
    assert list(dense) == list(mapped)
    for key, value in dense.items():
        assert value.shape == mapped[key].shape
        assert torch.equal(value, mapped[key]) == (key != "W_rec")
    alone = initial_params(Network(hidden_size=N, cell=cell, recurrent=name), IN, OUT, [8])
    assert torch.equal(alone["W_rec"][0], mapped["W_rec"][1]), "a member is its seed"


@pytest.mark.parametrize("gain", [1.0, 1.5])
@pytest.mark.parametrize("recurrent", [LowRank(rank=20), Dale(), Dale(excitatory=0.5)])
def test_the_dynamics_start_as_those_of_a_dense_network(recurrent: RecurrentMap, gain: float) -> None:
    network = Network(hidden_size=400, recurrent=recurrent, init_gain=gain)
    w = initial_params(network, IN, OUT, [0])["W_rec"][0].double()
    # Without what rows differ from 0 by, which alone puts eigenvalues outside the bulk.
    radius = torch.linalg.eigvals(w - w.mean(1, keepdim=True)).abs().max().item()
    # 1/sqrt(3) for entries uniform in +-1/sqrt(400); the largest of 20 or 400 eigenvalues is known to 15%.
    assert radius == pytest.approx(gain / 3**0.5, rel=0.15)
    # Rows have the mean 0: of 400 entries of sd 0.03 to 0.06 times the gain, known to 0.003; of all rows to 0.0003.
    assert w.mean().item() == pytest.approx(0, abs=0.0015)


def test_signs_and_rank() -> None:
    dale = initial_params(Network(hidden_size=10, recurrent="dale"), IN, OUT, [0])["W_rec"][0]
    assert (dale[:, :8] >= 0).all()
    assert (dale[:, 8:] <= 0).all()
    assert Dale().classes(10) == ("excitatory",) * 8 + ("inhibitory",) * 2
    assert not Dale().holds(-dale[None]).any()
    low = initial_params(Network(hidden_size=10, recurrent=LowRank(rank=3)), IN, OUT, [0])["W_rec"]
    assert torch.linalg.matrix_rank(low[0].double(), rtol=1e-5) == 3  # float32 products: singular values to 1e-7
    assert LowRank(rank=3).holds(low).all()
    assert not LowRank(rank=2).holds(low).any()


def test_a_network_is_described_with_its_map() -> None:
    network = Network(recurrent={"name": "low_rank", "rank": 3})
    assert network.recurrent == LowRank(rank=3)
    described = network.model_dump(mode="json")
    assert described["recurrent"] == {"name": "low_rank", "rank": 3}
    assert Network(**described) == network
    assert Network().model_dump(mode="json")["recurrent"] == {"name": "dense"}
    assert not Network().mapped


OWN = """
import torch
from degeneracy import RecurrentMap


class Masked(RecurrentMap):
    name = "masked"
    summary = "units see their neighbours alone"
    source = "mine"

    def mask(self, w):
        n = w.shape[-1]
        return (torch.arange(n)[:, None] - torch.arange(n)).abs() < 2

    def free(self, drawn, sd, streams):
        return {"all": drawn}

    def acting(self, free):
        return free["all"] * self.mask(free["all"])

    def holds(self, acting):
        return (acting[..., ~self.mask(acting)] == 0).all(-1)
"""


def test_a_map_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_map.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    network = Network(hidden_size=6, recurrent="own_map:Masked")
    assert network.model_dump()["recurrent"] == {"name": "own_map:Masked"}
    task = dg.tasks.FlipFlop(channels=1, n_steps=8, threshold=9.0)
    brief = dg.Training(batch_size=8, steps_per_epoch=5, max_epochs=1, patience=0)
    w = dg.train(task, network, brief, seeds=range(2), jobs=1, progress=False).weights()["W_rec"]
    far = np.abs(np.arange(6)[:, None] - np.arange(6)) > 1
    assert not w[:, far].any()
    assert w[:, ~far].all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"recurrent": "low_rnak"}, "unknown recurrent map 'low_rnak'.*low_rank"),
        ({"recurrent": {"rank": 2}}, "recurrent map: 'name' is missing"),
        ({"recurrent": {"name": "low_rank", "rang": 2}}, "LowRank: unknown key 'rang'"),
        ({"recurrent": {"name": "low_rank", "rank": 10}}, "rank = 10 is wrong: 9 units allow 9 at most"),
        ({"recurrent": {"name": "dale", "excitatory": 0.02}}, "of 9 units 0 would be excitatory, and both kinds"),
        ({"recurrent": {"name": "dale", "excitatory": 1}}, "excitatory = 1 is wrong"),
        ({"recurrent": 3}, "recurrent map = 3 is wrong: a name, or a table with a name and fields"),
        ({"recurrent": "degeneracy.networks:Network"}, "is no recurrent map: a subclass of degeneracy.RecurrentMap"),
        (
            {"recurrent": "dale", "parametrisation": "mup"},
            "parametrisation 'mup' is for the recurrent map dense, not for 'dale'",
        ),
        (
            {"recurrent": "low_rank", "cell": "gates_alone"},
            "recurrent = 'low_rank' is of recurrent weights, and cell 'gates_alone' has none",
        ),
    ],
)
def test_maps_that_cannot_be_are_refused(fields: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.networks.test_own_parameters import Gates

    monkeypatch.setitem(dg.CELLS, Gates.name, Gates)
    with pytest.raises(UserError, match=said) as caught:
        Network(hidden_size=N, **fields)
    assert "\n" not in str(caught.value)
