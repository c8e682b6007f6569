"""Ensembles: what a member's numbers look like from outside, files and back, networks trained elsewhere."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stored import without
from torch import nn

import degeneracy as dg
from degeneracy.core import owned_folder
from degeneracy.core.errors import UserError
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.ensembles.seeds import check_seeds
from degeneracy.measuring.member_weights import member_weights

TASK = dg.tasks.FlipFlop(channels=2, n_steps=10)
TRAINING = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=2, patience=1, n_fixed_trials=8)


def trained(cell: str = "tanh", seeds=(0, 3, 1), **fields) -> Ensemble:
    network = dg.Network(hidden_size=6, cell=cell, **fields)
    return dg.train(TASK, network, TRAINING, seeds=seeds, jobs=1, progress=False)


def modules(kind: type, n: int = 2, bias: bool = True, **options) -> list[tuple[nn.Module, nn.Module]]:
    """PyTorch networks drawn from a generator of their own."""
    made = []
    for k in range(n):
        core, readout = kind(3, 6, batch_first=True, bias=bias, **options), nn.Linear(6, 2, bias=bias)
        gen = torch.Generator().manual_seed(k)
        with torch.no_grad():
            for parameter in (*core.parameters(), *readout.parameters()):
                parameter.normal_(std=0.5, generator=gen)
        made.append((core, readout))
    return made


def test_weights_are_post_by_pre_and_gates_stand_apart() -> None:
    weights = trained().weights()
    assert {name: value.shape for name, value in weights.items()} == {
        "W_rec": (3, 6, 6),
        "W_in": (3, 6, 2),
        "bias": (3, 6),
        "W_out": (3, 2, 6),
        "b_out": (3, 2),
    }
    gated = trained("gru")
    assert gated.weights()["W_rec"].shape == (3, 3, 6, 6)
    assert gated.weights()["W_in"].shape == (3, 3, 6, 2)
    assert trained("lstm").weights()["W_rec"].shape == (3, 4, 6, 6)
    # Gate g, post i, pre j is row g * N + i of torch's stacked form, and what the measures see.
    assert np.array_equal(gated.weights()["W_rec"][1, 2, 4], gated.params()["W_rec"][1, 2 * 6 + 4].numpy())
    seen = member_weights(gated.cell, gated.params())
    assert np.array_equal(seen[1].recurrent, gated.weights()["W_rec"][1])


def test_weights_are_copies() -> None:
    ensemble = trained()
    ensemble.weights()["W_rec"][:] = 0
    assert ensemble.params()["W_rec"].abs().min() > 0


def test_post_and_pre_by_hand() -> None:
    # Unit 0 drives unit 1 through W_rec[post=1, pre=0] alone: h_1 at step 1 is tanh(2 tanh(x_0)).
    core, readout = modules(nn.RNN, n=1)[0]
    with torch.no_grad():
        for parameter in (*core.parameters(), *readout.parameters()):
            parameter.zero_()
        core.weight_ih_l0[0, 0] = 1
        core.weight_hh_l0[1, 0] = 2
    ensemble = Ensemble.from_modules([(core, readout)])
    assert ensemble.weights()["W_rec"][0, 1, 0] == 2
    inputs = np.zeros((1, 2, 3))
    inputs[0, 0, 0] = 0.5
    states, _ = ensemble.rollout(inputs)
    assert states[0, 0, 0, 0] == pytest.approx(np.tanh(0.5), rel=1e-6)
    assert states[0, 0, 1, 1] == pytest.approx(np.tanh(2 * np.tanh(0.5)), rel=1e-6)


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_rollout_shapes(cell: str) -> None:
    ensemble = trained(cell)
    inputs = np.random.default_rng(0).normal(size=(4, 7, 2))
    states, outputs = ensemble.rollout(inputs)
    assert states.shape == (3, 4, 7, 6), "member, trial, time, unit; of LSTM h alone"
    assert outputs.shape == (3, 4, 7, 2)
    own = np.stack([inputs, 2 * inputs, 3 * inputs])
    each, _ = ensemble.rollout(own)
    assert np.array_equal(each[0], states[0])
    assert np.array_equal(each[2], ensemble.rollout(3 * inputs)[0][2])


def test_rollout_has_no_noise() -> None:
    ensemble = trained(sigma_rec=0.5, sigma_in=0.5)
    inputs = np.ones((2, 5, 2))
    assert np.array_equal(ensemble.rollout(inputs)[1], ensemble.rollout(inputs)[1])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 7, 3), r"inputs of shape \(4, 7, 3\)|\(3, 4, 7, 3\)"),
        ((2, 4, 7, 2), "needed are"),
        ((7, 2), "needed are"),
    ],
)
def test_rollout_refuses_other_shapes(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        trained().rollout(np.zeros(shape))


def test_rollout_refuses_inputs_that_are_not_finite() -> None:
    inputs = np.zeros((1, 5, 2))
    inputs[0, 2, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        trained().rollout(inputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"),
    [(nn.RNN, {}), (nn.RNN, {"nonlinearity": "relu"}), (nn.GRU, {}), (nn.LSTM, {})],
    ids=["tanh", "relu", "gru", "lstm"],
)
def test_modules_run_as_in_torch(kind: type, options: dict, bias: bool) -> None:
    given = modules(kind, bias=bias, **options)
    ensemble = Ensemble.from_modules(given)
    inputs = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(9))
    states, outputs = ensemble.rollout(inputs)
    for k, (core, readout) in enumerate(given):
        with torch.no_grad():
            expected, _ = core(inputs)
            # float32, 9 steps of 6 units: rounding near 1e-6 of the largest state.
            np.testing.assert_allclose(states[k], expected.numpy(), rtol=1e-5, atol=1e-5 * expected.abs().max())
            read = readout(expected).numpy()
            np.testing.assert_allclose(outputs[k], read, rtol=1e-5, atol=1e-5 * np.abs(read).max())
    assert [member.status for member in ensemble.members] == ["given", "given"]
    assert len(ensemble.converged) == 2


def test_modules_in_double_precision_keep_it() -> None:
    given = [(core.double(), readout.double()) for core, readout in modules(nn.GRU)]
    states, _ = Ensemble.from_modules(given).rollout(np.ones((1, 4, 3)))
    with torch.no_grad():
        expected, _ = given[0][0](torch.ones(1, 4, 3, dtype=torch.float64))
    np.testing.assert_allclose(states[0], expected.numpy(), rtol=1e-12)


def test_modules_are_copied() -> None:
    given = modules(nn.RNN)
    ensemble = Ensemble.from_modules(given)
    before = ensemble.params()["W_rec"].clone()
    with torch.no_grad():
        given[0][0].weight_hh_l0.zero_()
    assert torch.equal(ensemble.params()["W_rec"], before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no modules given"),
        ([(nn.Linear(3, 6), nn.Linear(6, 2))], "member 0 is a Linear without input_size and hidden_size"),
        ([(nn.RNN(3, 6), nn.RNN(3, 6))], "member 0: its readout cannot be run"),
        ([(nn.GRU(3, 6, bidirectional=True), nn.Linear(12, 2))], "runs in both directions"),
        ([(nn.RNN(3, 6), nn.Linear(5, 2))], "readout takes 5 units of 6"),
    ],
)
def test_other_modules_are_refused(given: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Ensemble.from_modules(given)


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_what_is_saved_is_what_is_loaded(cell: str, tmp_path: Path) -> None:
    ensemble = trained(cell, sigma_rec=0.1)
    folder = ensemble.save(tmp_path / "kept")
    loaded = Ensemble.load(folder)
    assert (loaded.network, loaded.task, loaded.training) == (
        ensemble.network,
        ensemble.task,
        ensemble.training,
    )
    assert loaded.seeds == ensemble.seeds
    for mine, theirs in zip(ensemble.members, loaded.members, strict=True):
        assert (mine.status, mine.provenance) == (theirs.status, theirs.provenance)
        for part in ("initial", "final"):
            for name, value in getattr(mine, part).items():
                assert torch.equal(value, getattr(theirs, part)[name])
        for name, values in vars(mine.history).items():
            assert np.array_equal(values, getattr(theirs.history, name))
            assert values.dtype == getattr(theirs.history, name).dtype
    inputs = np.ones((2, 5, 2))
    assert np.array_equal(loaded.rollout(inputs)[1], ensemble.rollout(inputs)[1])


def test_a_nan_member_is_kept_as_it_is(tmp_path: Path) -> None:
    core, readout = modules(nn.RNN, n=1)[0]
    with torch.no_grad():
        core.weight_hh_l0[0, 0] = float("nan")
    Ensemble.from_modules([(core, readout)]).save(tmp_path / "kept")
    assert Ensemble.load(tmp_path / "kept").params()["W_rec"][0, 0, 0].isnan()


def test_given_modules_are_saved_without_a_task(tmp_path: Path) -> None:
    loaded = Ensemble.load(Ensemble.from_modules(modules(nn.GRU)).save(tmp_path / "kept"))
    assert loaded.task is None
    assert loaded.training is None


def test_saving_writes_to_a_new_or_empty_folder_only(tmp_path: Path) -> None:
    ensemble = Ensemble.from_modules(modules(nn.RNN))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"full holds something else \(it has no ensemble.json\); choose another folder$"
    ):
        ensemble.save(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="file holds something else"):
        ensemble.save(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert Ensemble.load(ensemble.save(tmp_path / "empty")).seeds == (0, 1)
    before = (tmp_path / "empty" / "ensemble.json").read_bytes()
    with pytest.raises(UserError, match="empty holds an ensemble already; choose another folder"):
        Ensemble.from_modules(modules(nn.GRU)).save(tmp_path / "empty")
    assert (tmp_path / "empty" / "ensemble.json").read_bytes() == before


def test_another_process_may_save_into_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look into the folder and the lock on it: the first stays as it is, and the second says so."""
    first, second = (Ensemble.from_modules(modules(kind)) for kind in (nn.RNN, nn.GRU))
    real = owned_folder.lock

    def late(path: Path, *, wait: bool) -> Any:
        monkeypatch.setattr(owned_folder, "lock", real)
        first.save(path.parent)
        return real(path, wait=wait)

    monkeypatch.setattr(owned_folder, "lock", late)
    with pytest.raises(UserError, match="holds an ensemble already"):
        second.save(tmp_path / "out")
    assert Ensemble.load(tmp_path / "out").network.cell == first.network.cell


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    folder = Ensemble.from_modules(modules(nn.RNN)).save(tmp_path / "kept")
    with pytest.raises(UserError, match=r"cannot read .*nowhere"):
        Ensemble.load(tmp_path / "nowhere")
    kept = (folder / "ensemble.json").read_text(encoding="utf-8")
    for damaged in (kept[:-9], "{}", "[]", json.dumps(json.loads(kept) | {"seeds": 3})):
        (folder / "ensemble.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(UserError, match=r"cannot read .*ensemble\.json"):
            Ensemble.load(folder)
    (folder / "ensemble.json").write_text(
        json.dumps({"network": {}, "task": None, "training": None, "seeds": []}), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"ensemble\.json was written by an earlier version"):
        Ensemble.load(folder)
    (folder / "ensemble.json").write_text(kept, encoding="utf-8")
    without(folder / "members-0001.pack", "1")
    with pytest.raises(UserError, match=r"members-\*\.pack: member 1 is not there"):
        Ensemble.load(folder)


def test_members_of_another_ensemble_are_refused(tmp_path: Path) -> None:
    """Of the same kind, size and seeds: what differs are the weights alone."""
    drawn = modules(nn.RNN, n=4)
    first = Ensemble.from_modules(drawn[:2]).save(tmp_path / "first")
    second = Ensemble.from_modules(drawn[2:]).save(tmp_path / "second")
    (first / "members-0001.pack").write_bytes((second / "members-0001.pack").read_bytes())
    with pytest.raises(UserError, match="member 0 is another one than was saved"):
        Ensemble.load(first)
    third = Ensemble.from_modules(modules(nn.GRU)).save(tmp_path / "third")
    (third / "members-0001.pack").write_bytes((second / "members-0001.pack").read_bytes())
    with pytest.raises(UserError, match="belongs to an ensemble with another spec"):
        Ensemble.load(third)


def test_two_members_of_one_seed_are_not_saved_over_one_another(tmp_path: Path) -> None:
    ensemble = Ensemble.from_modules(modules(nn.RNN))
    twice = replace(ensemble, members=(ensemble.members[0], ensemble.members[0]))
    with pytest.raises(UserError, match=r"two members have the same seed \(seeds \[0, 0\]\)"):
        twice.save(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_readout_without_bias_may_have_more_outputs_than_units() -> None:
    core, readout = nn.RNN(3, 2, batch_first=True), nn.Linear(2, 5, bias=False)
    inputs = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
    outputs = Ensemble.from_modules([(core, readout)]).rollout(inputs)[1][0]
    # 1e-6: float32 rounding.
    np.testing.assert_allclose(outputs, readout(core(inputs)[0]).detach().numpy(), atol=1e-6)


def test_a_number_of_seeds_is_no_seeds() -> None:
    with pytest.raises(UserError, match="one per member is needed"):
        check_seeds(8)  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", [[], [-1], [0, 0], [0.5], [True], ["0"]])
def test_impossible_seeds_are_refused(seeds: list) -> None:
    with pytest.raises(UserError, match="whole numbers from 0 on"):
        check_seeds(seeds)


def test_seeds_may_be_any_whole_numbers() -> None:
    assert check_seeds(range(3)) == (0, 1, 2)
    assert check_seeds(np.arange(2)) == (0, 1)
    assert all(type(seed) is int for seed in check_seeds(np.arange(2)))


def test_an_ensemble_without_members_runs_nothing() -> None:
    empty = Ensemble(network=dg.Network(hidden_size=6), members=())
    with pytest.raises(UserError, match="no members"):
        empty.rollout(np.ones((1, 2, 2)))
