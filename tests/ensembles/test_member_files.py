"""A member's file: a member comes back as it was; one cut short or of another kind is named."""

from pathlib import Path

import numpy as np
import pytest
import torch

from degeneracy.ensembles.member_files import load_member, public_params, save_member
from degeneracy.errors import UserError
from degeneracy.files import read_arrays, write_arrays
from degeneracy.networks import Network, initial_params
from degeneracy.networks.cells import CELLS
from degeneracy.training import History, Member


def some_member(cell: str = "tanh") -> Member:
    drawn = initial_params(Network(hidden_size=4, cell=cell), 2, 1, [7])
    own = {name: value[0] for name, value in drawn.items()}
    history = History(
        loss=np.array([1, np.nan], dtype=np.float32),
        gradient_norm=np.array([2, 3], dtype=np.float32),
        learning_rate=np.array([0.1]),
        epoch_loss=np.array([np.nan]),
    )
    return Member(
        seed=7, status="diverged", initial=own, final={n: 2 * v for n, v in own.items()}, history=history,
        provenance={"device": "cpu", "path": "bptt", "seconds": 1.5},
    )  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
def test_a_member_comes_back_as_it_was(cell: str, tmp_path: Path) -> None:
    member, path = some_member(cell), tmp_path / "a" / "seed.safetensors"
    save_member(path, member, CELLS[cell]())
    loaded = load_member(path)
    assert (loaded.seed, loaded.status, loaded.provenance) == (7, "diverged", member.provenance)
    for part in ("initial", "final"):
        assert list(getattr(loaded, part)) == list(getattr(member, part)), "in the order they are drawn in"
        for name, value in getattr(member, part).items():
            assert torch.equal(getattr(loaded, part)[name], value)
    for name, values in vars(member.history).items():
        assert np.array_equal(getattr(loaded.history, name), values, equal_nan=True)


def test_gates_stand_apart_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "seed.safetensors"
    save_member(path, some_member("gru"), CELLS["gru"]())
    arrays, _ = read_arrays(path)
    assert arrays["final/W_rec"].shape == (3, 4, 4)
    assert arrays["final/W_in"].shape == (3, 4, 2)
    assert arrays["final/bias"].shape == (12,)
    assert public_params(CELLS["tanh"](), some_member().final)["W_rec"].shape == (4, 4)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_cut_short_is_named(share: float, tmp_path: Path) -> None:
    path = tmp_path / "seed.safetensors"
    save_member(path, some_member(), CELLS["tanh"]())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"cannot read .*seed\.safetensors"):
        load_member(path)


def test_a_file_of_another_kind_is_no_members(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x", {"a": np.zeros(2)}, {"k": 1})
    with pytest.raises(UserError, match="not a member's file"):
        load_member(tmp_path / "x")
