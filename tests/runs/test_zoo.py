"""Kept networks: they come back to the last bit, and what is damaged, missing or another's is named in one line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import SEEDS, TINY, run, tiny
from stored import records, without

import degeneracy as dg
from degeneracy.core.files import DamagedFile
from degeneracy.core.owned_folder import Sealed
from degeneracy.core.packs import Pack
from degeneracy.core.records import read_arrays
from degeneracy.measuring.measure import member_summaries
from degeneracy.runs import zoo as zoo_file
from degeneracy.runs.zoo import CHECKOUT, ZOO, counts

MAX_BYTES = 60_000_000  # of all kept networks together: what a checkout can bear
SMALL = {"jobs": 1, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dg.Ensemble]]:
    """A run that is trained and not measured, and its ensembles."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return out, dg.train_study(tiny(), out=out, **SMALL)


@pytest.fixture
def kept(networks: tuple[Path, dict[str, dg.Ensemble]], tmp_path: Path) -> Path:
    dg.pack_zoo(networks[0], tmp_path / "zoo")
    return tmp_path / "zoo"


def the_pack(zoo: Path, channels: int = 1) -> Path:
    [file] = zoo.glob(f"tiny/channels={channels}-*/networks-0001.pack")
    return file


def test_networks_come_back_to_the_last_bit(networks: tuple[Path, dict[str, dg.Ensemble]], kept: Path) -> None:
    zoo = dg.load_zoo("tiny", directory=kept)
    assert list(zoo) == list(networks[1]) == ["channels=1", "channels=2"]
    assert dict(zoo.factors) == {"channels=1": {"task.channels": 1}, "channels=2": {"task.channels": 2}}
    for label, before in networks[1].items():
        after = zoo[label]
        assert (after.task, after.network, after.training) == (before.task, before.network, before.training)
        assert after.seeds == before.seeds
        inputs = np.random.default_rng(0).normal(size=(4, 10, before.task.input_size))
        for ours, theirs in zip(after.rollout(inputs), before.rollout(inputs), strict=True):
            assert ours.dtype == np.float32
            assert np.array_equal(ours, theirs)
        for initial in (False, True):
            for name, value in before.params(initial=initial).items():
                assert torch.equal(after.params(initial=initial)[name], value), "the initial ones are drawn again"
        # What a report says of training: nothing of it is lost with the losses of single updates.
        ours, theirs = (member_summaries(each.members, 2) for each in (after, before))
        for one, other in zip(ours, theirs, strict=True):
            assert (one.n_updates, one.seconds, one.status) == (other.n_updates, other.seconds, other.status)
            assert one.n_updates == len(networks[1][label].members[0].history.loss)
            assert np.array_equal(one.epoch_loss, other.epoch_loss)


def test_measures_of_kept_networks_are_those_of_the_run(
    networks: tuple[Path, dict[str, dg.Ensemble]], kept: Path
) -> None:
    """`weight_change` compares with the start: with weights that are drawn again."""
    ensemble, before = dg.load_zoo("tiny", directory=kept)["channels=2"], networks[1]["channels=2"]
    measures, probe = ["procrustes", "weight_change"], dg.Probe(n_trials=8)
    ours, theirs = (
        dg.measure(each, each.task, measures=measures, probe=probe, jobs=1).table for each in (ensemble, before)
    )
    assert ours.equals(theirs)
    assert ours["value"].notna().all()


@pytest.mark.parametrize("network", [{"cell": "gru"}, {"recurrent": {"name": "low_rank", "rank": 2}}])
def test_gates_and_recurrent_maps_are_kept(network: dict[str, Any], tmp_path: Path) -> None:
    study = tiny(network={"hidden_size": 6, **network}, vary={}, training=TINY["training"] | {"checkpoints": [0.5]})
    [before] = dg.train_study(study, out=tmp_path / "run", **SMALL).values()
    dg.pack_zoo(tmp_path / "run", tmp_path / "zoo")
    [after] = dg.load_zoo("tiny", directory=tmp_path / "zoo").values()
    for ours, theirs in zip(after.members, before.members, strict=True):
        for part in ("final", "initial", "map_parts"):
            mine, yours = getattr(ours, part), getattr(theirs, part)
            assert list(mine) == list(yours)
            assert all(torch.equal(mine[name], yours[name]) for name in mine)
    assert not after.members[0].checkpoints


def test_a_shared_initialisation_is_drawn_from_the_shared_seed(tmp_path: Path) -> None:
    training = TINY["training"] | {"shared_streams": ["initialisation"], "shared_seed": 5}
    dg.train_study(tiny(vary={}, training=training), out=tmp_path / "run", **SMALL)
    dg.pack_zoo(tmp_path / "run", tmp_path / "zoo")
    [ensemble] = dg.load_zoo("tiny", directory=tmp_path / "zoo").values()
    first, *others = ensemble.weights(initial=True)["W_rec"]
    assert all(np.array_equal(first, other) for other in others)


def test_training_alone_trains_what_running_measures_later(
    networks: tuple[Path, dict[str, dg.Ensemble]], alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    dg.train_study(tiny(), out=out, **SMALL)
    assert not list(out.rglob("measured-*.pack"))
    assert not (out / "degeneracy.csv").exists()
    with pytest.raises(dg.UserError, match="the run is not finished"):
        dg.load_run(out)
    assert run(out) == (alone / "degeneracy.csv").read_bytes()


def test_the_rest_of_a_run_is_added_to_what_is_kept(tmp_path: Path) -> None:
    """As training goes on, member by member; what was kept before stays byte for byte."""
    out, zoo = tmp_path / "run", tmp_path / "zoo"
    dg.train_study(tiny(seeds=[0, 1], vary={"task.channels": [1]}), out=out, **SMALL)
    dg.pack_zoo(out, zoo)
    assert list(dg.load_zoo("tiny", directory=zoo)) == ["channels=1"]
    before = the_pack(zoo).read_bytes()
    ensembles = dg.train_study(tiny(), out=out, **SMALL)
    dg.pack_zoo(out, zoo)
    dg.pack_zoo(out, zoo)  # once more: nothing is new
    loaded = dg.load_zoo("tiny", directory=zoo)
    assert {label: each.seeds for label, each in loaded.items()} == dict.fromkeys(ensembles, SEEDS)
    assert the_pack(zoo).read_bytes().startswith(before)
    assert len(records(the_pack(zoo))) == len(SEEDS)


def test_a_partial_run_keeps_what_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, n = tmp_path / "run", 0

    def stopped(*_: Any, **__: Any) -> None:
        nonlocal n
        n += 1
        if n == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("degeneracy.runs.progress.Progress.step", stopped)
    with pytest.raises(KeyboardInterrupt):
        dg.train_study(tiny(vary={"task.channels": [2, 1]}, seeds=range(4)), out=out, **SMALL)
    dg.pack_zoo(out, tmp_path / "zoo")
    zoo = dg.load_zoo("tiny", directory=tmp_path / "zoo")
    assert {label: each.seeds for label, each in zoo.items()} == {"channels=2": (0, 1, 2)}
    with pytest.raises(dg.UserError, match=r"^zoo 'tiny': unknown condition 'channels=1'.*known: channels=2"):
        zoo["channels=1"]


def test_a_run_takes_what_is_kept_and_trains_the_rest(
    kept: Path, alone: Path, trained: list[tuple[int, int]], tmp_path: Path
) -> None:
    """As on another machine: the table is the one of a run that trained all of its networks."""
    dg.run_study(tiny(seeds=[*SEEDS, 7]), out=tmp_path / "run", zoo=kept, **SMALL)
    assert trained == [(1, 7), (2, 7)]
    dg.run_study(tiny(), out=tmp_path / "same", zoo=kept, **SMALL)
    assert (tmp_path / "same" / "degeneracy.csv").read_bytes() == (alone / "degeneracy.csv").read_bytes()
    assert (tmp_path / "same" / "convergence.csv").read_bytes() == (alone / "convergence.csv").read_bytes()
    assert len(trained) == 2


def test_kept_networks_of_other_settings_are_not_taken(
    kept: Path, trained: list[tuple[int, int]], tmp_path: Path
) -> None:
    training = TINY["training"] | {"learning_rate": 0.5}
    dg.train_study(tiny(training=training, vary={"task.channels": [1]}), out=tmp_path / "run", zoo=kept, **SMALL)
    assert trained == [(1, seed) for seed in SEEDS]
    dg.train_study(tiny(name="tinier", vary={"task.channels": [1]}), out=tmp_path / "other", zoo=kept, **SMALL)
    assert len(trained) == 2 * len(SEEDS), "nothing is kept of a study of this name"
    with pytest.raises(dg.UserError, match=r"^zoo: there is no folder .*/none$"):
        dg.train_study(tiny(), out=tmp_path / "third", zoo=tmp_path / "none", **SMALL)
    flipped(the_pack(kept))
    with pytest.raises(DamagedFile, match="the kept networks are damaged"):
        dg.train_study(tiny(), out=tmp_path / "fourth", zoo=kept, **SMALL)


def test_a_level_says_how_many_of_its_networks_converged(tmp_path: Path) -> None:
    """A loss under 2 is reached at once, one under 1e-9 never."""
    dg.train_study(tiny(), out=tmp_path / "easy", **SMALL)
    dg.train_study(tiny(name="hard", task=TINY["task"] | {"threshold": 1e-9}), out=tmp_path / "hard", **SMALL)
    for name in ("easy", "hard"):
        dg.pack_zoo(tmp_path / name, tmp_path / "zoo")
    easy, hard = (dg.load_zoo(name, directory=tmp_path / "zoo") for name in ("tiny", "hard"))
    assert counts(easy) == ["channels=1: 3 networks, all converged", "channels=2: 3 networks, all converged"]
    assert repr(hard).endswith("channels=2: 3 networks, 0 of them converged")
    assert {member.status for member in hard["channels=1"].members} == {"not converged"}
    assert not hard["channels=1"].converged.members
    about = ZOO.read(tmp_path / "zoo" / "hard")["conditions"][0]["networks"][0]
    last = hard["channels=1"].members[0]
    assert about["status"] == "not converged"
    assert about["updates"] == TINY["training"]["max_epochs"] * TINY["training"]["steps_per_epoch"]
    assert about["final_loss"] == last.history.epoch_loss[-1] > 0
    assert about["seconds"] == last.provenance["seconds"] > 0


def test_only_the_first_networks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 of networks with more than 128 units, 20 of others; here 1 and 2 of them, and 7 units are wide."""
    monkeypatch.setattr(zoo_file, "N_KEPT", 2)
    monkeypatch.setattr(zoo_file, "N_KEPT_WIDE", 1)
    monkeypatch.setattr(zoo_file, "WIDE", 7)
    study = tiny(seeds=[4, 2, 0], network={}, vary={"network.hidden_size": [7, 8]})
    dg.train_study(study, out=tmp_path / "run", **SMALL)
    dg.pack_zoo(tmp_path / "run", tmp_path / "zoo")
    zoo = dg.load_zoo("tiny", directory=tmp_path / "zoo")
    assert {label: each.seeds for label, each in zoo.items()} == {"hidden_size=7": (4, 2), "hidden_size=8": (4,)}


def flipped(file: Path) -> Path:
    data = bytearray(file.read_bytes())
    data[-5] ^= 16
    file.write_bytes(data)
    return file


def lost(file: Path) -> Path:
    without(file, "1")
    return file


def swapped(file: Path) -> Path:
    """The networks of the other level in the place of these."""
    other = the_pack(file.parents[2], 2)
    file.write_bytes(other.read_bytes())
    return file


def edited(file: Path) -> Path:
    index = file.parents[1] / ZOO.name
    text = index.read_text(encoding="utf-8")
    index.write_text(text.replace('"hidden_size": 8', '"hidden_size": 9', 1), encoding="utf-8")
    return index


def other_settings(file: Path) -> Path:
    """zoo.json with a checksum that fits, and settings that do not fit the condition's name."""
    folder = file.parents[1]
    index = {key: value for key, value in ZOO.read(folder).items() if key not in ("kind", "format", "checksum")}
    index["conditions"][0]["resolved"]["network"]["hidden_size"] = 9
    ZOO.write(folder, index)
    return folder / ZOO.name


def of_another_seed(file: Path) -> Path:
    """Another network under the name of seed 1: of the same condition, its record whole."""
    [record] = [one for one in records(file) if one.header["name"] == "2"]
    arrays, about = read_arrays(record), {**record.about, "seed": 1}
    without(file, "1")
    header = record.header
    pack = Pack(
        folder=file.parent, stem="networks", condition=header["condition"], spec=header["spec"], kinds=("network",)
    )
    pack.append("network", "1", arrays, about)
    return file


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (flipped, "networks-0001.pack: "),
        (lost, r"the network of seed 1 is not there"),
        (swapped, "belongs to channels=2"),
        (edited, "zoo.json: "),
        (other_settings, "the settings of channels=1 are not those that its name says"),
        (of_another_seed, "the network of seed 1 is another one than was kept"),
        (lambda file: os.unlink(file), "the network of seed 0 is not there"),
    ],
)
def test_what_is_damaged_is_refused(damage: Callable[[Path], Any], says: str, kept: Path) -> None:
    damage(the_pack(kept))
    with pytest.raises(DamagedFile, match=says) as error:
        dg.load_zoo("tiny", directory=kept)
    assert "\n" not in str(error.value)
    assert "take this folder from the source again, or pack the run again" in str(error.value)


def test_initial_weights_are_compared_with_those_of_the_seed(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another version of the program, or of torch, draws other numbers."""
    real = zoo_file.initial_params

    def other(*args: Any) -> dict[str, torch.Tensor]:
        drawn = real(*args)
        drawn["W_rec"][1, 3, 3] += 1e-7
        return drawn

    monkeypatch.setattr(zoo_file, "initial_params", other)
    with pytest.raises(DamagedFile, match="network 1 did not begin with the weights that its seed draws here"):
        dg.load_zoo("tiny", directory=kept)


def test_another_network_of_the_same_seed_is_not_exchanged(
    networks: tuple[Path, dict[str, dg.Ensemble]], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = the_pack(kept).read_bytes()
    real = zoo_file.RunDirectory.load_members

    def moved(*args: Any) -> tuple[Any, ...]:
        members = real(*args)
        members[1].final["W_rec"][0, 0] += 1
        return members

    monkeypatch.setattr(zoo_file.RunDirectory, "load_members", moved)
    with pytest.raises(dg.UserError, match="keeps another network of seed 1; move it away"):
        dg.pack_zoo(networks[0], kept)
    assert the_pack(kept).read_bytes() == before
    assert len(dg.load_zoo("tiny", directory=kept)) == 2


def test_folders_of_others_are_left_alone(networks: tuple[Path, dict[str, dg.Ensemble]], tmp_path: Path) -> None:
    (tmp_path / "zoo" / "tiny").mkdir(parents=True)
    (tmp_path / "zoo" / "tiny" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(dg.UserError, match="holds something else"):
        dg.pack_zoo(networks[0], tmp_path / "zoo")
    assert os.listdir(tmp_path / "zoo" / "tiny") == ["thesis.txt"]


def test_other_settings_need_another_folder(kept: Path, tmp_path: Path) -> None:
    dg.train_study(tiny(network={"hidden_size": 5}), out=tmp_path / "run", **SMALL)
    with pytest.raises(dg.UserError, match=r"keeps networks of other settings \(condition channels=1-.* move it away"):
        dg.pack_zoo(tmp_path / "run", kept)
    assert dg.load_zoo("tiny", directory=kept)["channels=1"].network.hidden_size == 8


def test_a_kill_while_packing_leaves_what_can_be_packed_on(
    networks: tuple[Path, dict[str, dg.Ensemble]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, n = Sealed.write, 0

    def dying(self: Sealed, folder: Path, value: Any) -> None:
        nonlocal n
        n += self is ZOO
        if n == 2:
            raise KeyboardInterrupt
        real(self, folder, value)

    with monkeypatch.context() as patch:
        patch.setattr(Sealed, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            dg.pack_zoo(networks[0], tmp_path)
    assert len(dg.load_zoo("tiny", directory=tmp_path)) == 0
    dg.pack_zoo(networks[0], tmp_path)
    assert len(dg.load_zoo("tiny", directory=tmp_path)) == 2


def test_where_networks_are_not_is_said(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(dg.UserError, match=r"unknown study 'tinny'; did you mean 'tiny'\?"):
        dg.load_zoo("tinny", directory=kept)
    with pytest.raises(dg.UserError, match=r"^load_zoo: there is no folder .*/none$"):
        dg.load_zoo("tiny", directory=tmp_path / "none")
    monkeypatch.setattr(zoo_file, "CHECKOUT", tmp_path / "site-packages" / "figures" / "zoo")
    with pytest.raises(dg.UserError, match="an installed package brings none: copy figures/zoo from the source"):
        dg.load_zoo("tiny")


KEPT_STUDIES = sorted(path.name for path in CHECKOUT.iterdir() if path.is_dir()) if CHECKOUT.is_dir() else []


@pytest.mark.parametrize("name", KEPT_STUDIES)
def test_the_kept_networks_of_this_project_are_those_of_its_study_files(name: str) -> None:
    """A study file that trains other networks than those kept would be answered by the wrong ones."""
    zoo = dg.load_zoo(name)
    study = dg.load_study(CHECKOUT.parent / "studies" / f"{name}.toml", scale="laptop")
    index = {one["name"] for one in ZOO.read(CHECKOUT / name)["conditions"]}
    assert index <= {condition.name for condition in study.conditions()}
    for ensemble in zoo.values():
        assert len(ensemble) <= (20 if ensemble.network.hidden_size <= 128 else 8)


def test_all_kept_networks_are_small_enough() -> None:
    assert sum(file.stat().st_size for file in CHECKOUT.rglob("*") if file.is_file()) <= MAX_BYTES
