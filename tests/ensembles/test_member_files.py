"""A member's record: a member comes back as it was; one altered or of another kind is named."""

from pathlib import Path

import numpy as np
import pytest
import torch

from degeneracy.core.files import DamagedFile
from degeneracy.core.packs import Pack
from degeneracy.core.records import read_arrays
from degeneracy.ensembles.member_files import (
    KIND,
    load_member,
    member_pack,
    member_records,
    public_params,
    save_member,
)
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
        provenance={"device": "cpu", "backend": "bptt", "seconds": 1.5},
    )  # fmt: skip


def a_pack(folder: Path) -> Pack:
    return member_pack(folder, condition="c", spec="s")


@pytest.mark.parametrize("cell", CELLS)
def test_a_member_comes_back_as_it_was(cell: str, tmp_path: Path) -> None:
    member = some_member(cell)
    save_member(a_pack(tmp_path / "a"), member, CELLS[cell]())
    pack = a_pack(tmp_path / "a")  # another, that has to look into the file
    loaded = load_member(pack, member_records(pack, [7])[7])
    assert (loaded.seed, loaded.status, loaded.provenance) == (7, "diverged", member.provenance)
    for part in ("initial", "final"):
        assert list(getattr(loaded, part)) == list(getattr(member, part)), "in the order they are drawn in"
        for name, value in getattr(member, part).items():
            assert torch.equal(getattr(loaded, part)[name], value)
    for name, values in vars(member.history).items():
        assert np.array_equal(getattr(loaded.history, name), values, equal_nan=True)


def test_gates_stand_apart_in_the_file(tmp_path: Path) -> None:
    record = save_member(a_pack(tmp_path), some_member("gru"), CELLS["gru"]())
    arrays = read_arrays(record)
    assert arrays["final/W_rec"].shape == (3, 4, 4)
    assert arrays["final/W_in"].shape == (3, 4, 2)
    assert arrays["final/bias"].shape == (12,)
    assert public_params(CELLS["tanh"](), some_member().final)["W_rec"].shape == (4, 4)


def test_a_record_of_another_kind_is_no_member(tmp_path: Path) -> None:
    pack = a_pack(tmp_path)
    record = pack.append(KIND, "7", {"a": np.zeros(2)}, {"k": 1})
    with pytest.raises(DamagedFile, match="its member 7 lacks what a member has"):
        load_member(pack, record)


def test_a_member_under_another_seed_is_refused(tmp_path: Path) -> None:
    pack = a_pack(tmp_path)
    about = save_member(pack, some_member(), CELLS["tanh"]()).about
    record = pack.append(KIND, "8", {}, about)
    with pytest.raises(DamagedFile, match="its member 8 says that it is member 7"):
        load_member(pack, record)
